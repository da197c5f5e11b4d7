"""Notebooks: generated from their sources, without outputs, short, and ready for papermill."""

import ast
import math
import re
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = [ROOT / "notebooks", ROOT / "figures" / "steps", ROOT / "figures" / "pages"]
SOURCES = sorted(path for folder in FOLDERS for path in folder.glob("*.py"))
notebook = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def code_cells(source: Path) -> list:
    return [cell for cell in jupytext.read(source).cells if cell.cell_type == "code"]


def plain_python(cell) -> str:
    """The source without the lines that only a notebook understands."""
    return "\n".join(line for line in cell.source.splitlines() if not line.lstrip().startswith(("%", "!")))


def test_sources_and_notebooks_come_in_pairs():
    for folder in FOLDERS:
        assert {p.stem for p in folder.glob("*.py")} == {p.stem for p in folder.glob("*.ipynb")} != set()


@notebook
def test_notebook_is_what_its_source_says(source):
    """Run `make notebooks` if this fails."""
    expected, found = jupytext.read(source), jupytext.read(source.with_suffix(".ipynb"))
    assert [(c.cell_type, c.source) for c in found.cells] == [(c.cell_type, c.source) for c in expected.cells]
    assert [c.metadata.get("tags", []) for c in found.cells] == [c.metadata.get("tags", []) for c in expected.cells]


@notebook
def test_notebook_has_no_outputs_and_a_kernel_that_exists_everywhere(source):
    found = jupytext.read(source.with_suffix(".ipynb"))
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in found.cells)
    assert found.metadata["kernelspec"]["name"] == "python3"
    assert not {"widgets", "colab"} & set(found.metadata)


@pytest.mark.parametrize("source", sorted(FOLDERS[0].glob("*.py")), ids=lambda path: path.stem)
def test_notebook_opens_and_installs_itself_on_colab(source):
    first, install = jupytext.read(source).cells[0].source, code_cells(source)[0].source
    assert f"blob/main/notebooks/{source.stem}.ipynb" in first.splitlines()[2]
    assert "google.colab" in install and "git+https://github.com/diffens/diffens" in install


def test_every_notebook_leads_to_the_next():
    course = sorted(FOLDERS[0].glob("*.py"))
    for source, after in zip(course, course[1:]):
        last = jupytext.read(source).cells[-1].source
        assert f"[`{after.stem}`]({after.stem}.ipynb)" in last, f"{source.name} should end with the way to {after.name}"


MEASURED = (ROOT / "site" / "pages" / "instructors.md").read_text()


@pytest.mark.parametrize("source", sorted(FOLDERS[0].glob("*.py")), ids=lambda path: path.stem)
@pytest.mark.parametrize("preset, column", [("smoke", 1), ("demo", 2)])
def test_a_notebook_states_the_minutes_that_were_measured(source, preset, column):
    """Rounded up to half a minute; what is not measured is not compared."""
    row = re.search(rf"^\| \[\[{source.stem[:2]}\]\] \|.*$", MEASURED, re.MULTILINE)[0]
    seconds = row.split("|")[1 + column].strip()
    assert preset == "demo" or seconds.isdigit()
    stated = re.search(rf"^# \| `{preset}`.*\|(.*)\|.*\|$", source.read_text(), re.MULTILINE)[1].strip()
    if seconds.isdigit():
        minutes = math.ceil(int(seconds) / 30) / 2
        least = {0.5: "half a minute", 1: "a minute"}.get(minutes, f"{minutes:g} minutes")
        assert stated.startswith(f"{least} of one core")


@notebook
def test_notebook_has_one_flat_typed_parameters_cell(source):
    (cell,) = [c for c in code_cells(source) if "parameters" in c.metadata.get("tags", [])]
    statements = ast.parse(cell.source).body
    assert all(isinstance(s, ast.AnnAssign) and isinstance(s.annotation, ast.Name) for s in statements)
    values = {s.target.id: (ast.literal_eval(s.value), s.annotation.id) for s in statements}
    assert all(type(value).__name__ == kind for value, kind in values.values())
    common = {"notebooks": {"preset", "task", "seed", "data", "runs"}, "pages": {"preset", "data", "runs"}}
    assert common.get(source.parent.name, {"runs"}) <= set(values)


@notebook
def test_parameters_are_checked_before_anything_is_computed(source):
    cells = code_cells(source)
    (place,) = [k for k, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])]
    first = next(cell.source for cell in cells[place + 1 :] if not is_import(cell))
    assert re.search(r"^(check_parameters\(\)|page = open_page\()", first, re.MULTILINE)


def is_import(cell) -> bool:
    """Whether a cell does nothing but import."""
    return all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.parse(plain_python(cell)).body)


@notebook
def test_cells_are_short_and_define_no_library(source):
    for cell in code_cells(source):
        most = 20 if "parameters" in cell.metadata.get("tags", []) else 15  # a list is not read line by line
        assert len(cell.source.splitlines()) <= most, f"{source.name}: a cell of more lines:\n{cell.source}"
        for node in ast.walk(ast.parse(plain_python(cell))):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                assert node.end_lineno - node.lineno < 5, f"{source.name}: {node.name} belongs into diffens_core"


@pytest.mark.parametrize("source", sorted(FOLDERS[2].glob("*.py")), ids=lambda path: path.stem)
def test_a_page_opens_itself_and_no_other(source):
    assert f'page = open_page("{source.stem}", preset, settings, data, runs)' in source.read_text()
