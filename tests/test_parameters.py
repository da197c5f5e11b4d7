"""Parameters of a notebook: what papermill gives is checked before anything is computed, and refused in one line."""

from pathlib import Path

import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from diffens_core.show.parameters import checked, read_cells
from diffens_core.support.settings import ConfigError

THEORY = Path(__file__).parents[1] / "notebooks" / "03_theory.ipynb"
CELL = 'preset: str = "demo"  # a comment\ntask: str = "sr"\nmethods: str = "tpdm,unet-2d"\n'
CELL += "seed: int = 0\ntilt: float = 15.0"
DECLARED = {"preset": "str", "task": "str", "methods": "str", "seed": "int", "tilt": "float"}
VALUES = {"preset": "demo", "task": "sr", "methods": "tpdm,unet-2d", "seed": 0, "tilt": 15.0}


def test_names_and_types_are_read_from_the_cells_that_ran():
    cells = [
        "",
        "%pip install x",
        CELL,
        '# Parameters\nseed = "abc"\nsed = 3\n',
        "from a import b\n\ncheck_parameters()",
    ]
    assert read_cells(cells) == (DECLARED, ["seed", "sed"])
    assert read_cells([*cells, CELL]) == (DECLARED, [])  # run again by hand, without what was given


def test_good_values_pass_and_whole_numbers_become_what_is_wanted():
    assert checked(DECLARED, VALUES) == VALUES
    assert checked(DECLARED | {"out": "str"}, VALUES | {"tilt": 3, "out": 2024}) == VALUES | {
        "tilt": 3.0,
        "out": "2024",
    }
    assert checked(DECLARED, VALUES | {"methods": "", "task": "t1->t2"})["methods"] == ""


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"sede": 3}, "unknown parameter 'sede': did you mean seed? There are preset, task, methods, seed, tilt"),
        ({"seed": "abc"}, "seed must be a whole number, not 'abc'"),
        ({"seed": True}, "seed must be a whole number, not True"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"tilt": "flat"}, "tilt must be a number"),
        ({"task": None}, "task must be text"),
        ({"preset": "smok"}, "smok"),
        ({"task": "flair"}, "flair"),
        ({"methods": "tpdm,unet"}, "unknown method 'unet': choose from"),
        ({"methods": "cubic", "task": "mt"}, "method 'cubic' does"),
    ],
)
def test_others_are_refused_in_one_line(wrong, message):
    with pytest.raises(ConfigError) as error:
        checked(DECLARED, VALUES | wrong)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "wrong, message",
    [({"seeed": 3}, "did you mean seed?"), ({"seed": "abc"}, "whole number"), ({"preset": "smok"}, "smok")],
)
def test_papermill_ends_with_one_line(tmp_path, wrong, message):
    with pytest.raises(PapermillExecutionError) as error:
        papermill.execute_notebook(THEORY, tmp_path / "out.ipynb", wrong, kernel_name="python3", progress_bar=False)
    (line,) = error.value.traceback
    assert line.startswith("ConfigError: ") and message in line
    assert "check_parameters" in error.value.source
