"""Exercises: right answers pass, others get one line; each kind of notebook holds what it should."""

import io
from contextlib import redirect_stdout

import jupytext
import nbformat
import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course import build
from course.checks import NotRefused, Unanswered, Wrong, answered, choice, holds, must_refuse, near, seal
from diffens_core.support.errors import InputError

FILES = sorted(build.EXERCISES.glob("*.py"))
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
TEXT = """# %% [markdown]
# ### Exercise 1. Half
# Half of `whole`?
# %% tags=["solution"]
half = whole / 2
# %% tags=["stub"]
half = ...  # your code here
# %% tags=["wrong"]
half = whole * 2
# %% tags=["check"]
from course.checks import near
near(half, whole / 2, "divide")

# %% [markdown]
# ### Exercise 2. Letter
# %% tags=["stub"]
answer = ...
# %% tags=["solution"]
answer = "b"
# %% tags=["check"]
from course.checks import choice
choice(answer, "b", "the second"); choice(answer, "b", "ä")
"""


@pytest.fixture
def course(tmp_path):
    """A notebook with two exercises, in a folder of its own."""
    (tmp_path / "exercises").mkdir()
    (tmp_path / "exercises" / "halves.py").write_text(TEXT)
    cells = [new_markdown_cell("# Halves"), new_code_cell("whole = 3.0", metadata={"tags": ["parameters"]})]
    nbformat.write(new_notebook(cells=cells), tmp_path / "halves.ipynb")
    return tmp_path


def run_all(path):
    """Run the code cells of a notebook, and return its names."""
    names = {}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    return names


@pytest.mark.parametrize("kind", [float, np.float32, torch.tensor, lambda x: np.full((2, 3), x), lambda x: [x, 2 * x]])
def test_near_takes_numbers_arrays_tensors_and_lists(kind, capsys):
    near(kind(2.0), kind(2.001), "no")
    assert capsys.readouterr().out == "right\n"
    with pytest.raises(Wrong, match="off by .*think"):
        near(kind(2.0), kind(3.0), "think")


def test_the_tolerance_is_a_share_of_the_largest_value_or_where_all_is_zero_as_it_is():
    near(np.array([100.0, 0.05]), np.array([100.0, 0.0]), "no")
    near(1e-4, 0.0, "no")
    for answer, truth in ((1.1e-6, 1e-6), (2e-3, 0.0), (np.array([0.0, 2e-3]), np.array([1.0, 0.0]))):
        with pytest.raises(Wrong):
            near(answer, truth, "no")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (np.ones(4), r"shape \(4,\) where \(2, 2\) is asked for"),
        (1.0, r"shape \(\) where"),
        (np.array([[1.0, np.nan], [np.inf, 1]]), "2 of 4 values are not finite"),
        ("one", "str is neither a number"),
        (None, "NoneType is neither"),
        ([[1.0], [1.0, 1.0]], "list is neither"),
    ],
)
def test_near_says_what_is_the_matter_and_the_hint(answer, said):
    with pytest.raises(Wrong, match=f"^not yet: {said}.*a hint$"):
        near(answer, torch.ones(2, 2, dtype=torch.bfloat16), "a hint")


def test_holds_takes_a_condition_and_a_function(capsys):
    holds(True, "no"), holds(lambda: 1 < 2, "no"), holds(np.bool_(True), "no")
    assert capsys.readouterr().out == 3 * "right\n"
    for condition in (False, lambda: 1 > 2, None):
        with pytest.raises(Wrong, match="^not yet: look again$"):
            holds(condition, "look\n   again")


def test_choice_compares_letters_open_or_sealed(capsys):
    sealed = seal("b", "a notebook: 1")
    assert sealed.startswith("a notebook: 1:") and sealed != seal("b", "a notebook: 2") != seal("a", "a notebook: 2")
    choice(" B", "b", "no"), choice("b", sealed, "no"), choice("b", "B", "no")
    assert capsys.readouterr().out == 3 * "right\n"
    for right in ("b", sealed):
        with pytest.raises(Wrong, match="^not yet: read again$"):
            choice("a", right, "read again")
        with pytest.raises(Wrong, match="in quotes"):
            choice(2, right, "read again")


@pytest.mark.parametrize(
    "check",
    [
        lambda: near(..., 1.0, "no"),
        lambda: near([1.0, ...], [1.0, 2.0], "no"),
        lambda: holds(..., "no"),
        lambda: holds(lambda: ..., "no"),
        lambda: choice(..., "b", "no"),
        lambda: answered(1.0, ...),
    ],
)
def test_an_unanswered_check_says_so(check):
    with pytest.raises(Unanswered, match="^not answered yet: "):
        check()


@pytest.mark.parametrize("answer", ["...", "2"])
def test_a_notebook_shows_one_line_and_no_traceback(answer):
    shown = io.StringIO()
    with redirect_stdout(shown):
        InteractiveShell().run_cell(f"from course.checks import near\nnear({answer}, 1, 'a hint')")
    (line,) = shown.getvalue().strip().splitlines()
    assert line == ("not yet: off by 1. a hint" if answer == "2" else line) and line.startswith("not ")


def test_an_attempt_must_be_refused_and_for_the_right_reason(capsys):
    must_refuse(Wrong, "two", "near(x, 1, 'a hint')", {"near": near, "x": 2})
    assert capsys.readouterr().out == "two is refused: not yet: off by 1. a hint\n"
    for x, said in ((1, "is not refused"), (..., "Unanswered, not in Wrong"), (None, "never reached")):
        if x is not None:
            with pytest.raises(NotRefused, match=said):
                must_refuse(Wrong, "it", "near(x, 1, 'a hint')", {"near": near, "x": x})
    with pytest.raises(NotRefused, match="TypeError"):
        must_refuse(Unanswered, "the stub", "near(x + 1, 1, 'a hint')", {"near": near, "x": ...})


def test_a_student_gets_stubs_and_folded_checks_and_can_read_no_answer(course):
    found = nbformat.read(build.write(course / "halves.ipynb", "student", course), as_version=4)
    nbformat.validate(found)
    sources = [cell.source for cell in found.cells]
    assert sources[:2] == ["# Halves", "whole = 3.0"] and found.cells[1].metadata.tags == ["parameters"]
    assert sources[2].startswith("## Exercises") and sources[3].startswith("### Exercise 1. Half")
    assert sources[4] == "half = ...  # your code here" and found.cells[5].metadata.jupyter.source_hidden
    text = "\n".join(sources)
    assert "* 2" not in text and '"b"' not in text and "half = whole / 2" not in text and '"ä")' in text


def test_solutions_pass_their_checks(course, capsys):
    names = run_all(build.write(course / "halves.ipynb", "solutions", course))
    assert capsys.readouterr().out == 3 * "right\n" and names["half"] == 1.5


def test_every_attempt_is_tried(course, capsys):
    run_all(build.write(course / "halves.ipynb", "verify", course))
    lines = capsys.readouterr().out.splitlines()
    starts = [
        "the stub of exercise 1 is refused: not answered yet",
        "the wrong of exercise 1 is refused: not yet",
        "right",
    ]
    starts += ["the stub of exercise 2 is refused", "right", "right"]
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))


@pytest.mark.parametrize("change", [("half = ...", "half = whole / 2"), ("half = whole * 2", "half = 1.5")])
def test_a_stub_or_a_wrong_answer_that_passes_is_found(course, change):
    (course / "exercises" / "halves.py").write_text(TEXT.replace(*change))
    with pytest.raises(NotRefused, match="of exercise 1 is not refused"):
        run_all(build.write(course / "halves.ipynb", "verify", course))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((' tags=["stub"]\nhalf', "\nhalf"), "one tag of given, solution, stub, wrong, check, and not ''"),
        (('# %% tags=["stub"]\nhalf = ...  # your code here\n', ""), "exercise 1: no stub"),
        (('# %% tags=["solution"]\nhalf = whole / 2\n', ""), "exercise 1: no solution"),
        (('tags=["wrong"]', 'tags=["wrnog"]'), "exercise 1: a code cell has one tag of .*'wrnog'"),
        (('tags=["wrong"]', 'tags=["stub"]'), "exercise 1: a second stub"),
        (("half = whole / 2", "half = whole /"), "exercise 1: its solution is no Python"),
        (("Exercise 2.", "Exercise 3."), "begin with '### Exercise 2. Title'"),
        ((TEXT[: TEXT.index("# %% tags")], ""), "a solution before the first question"),
        ((TEXT, ""), "exercise 1: no check and no question"),
    ],
)
def test_a_malformed_file_is_named_with_what_is_wrong(course, change, said):
    path = course / "exercises" / "halves.py"
    path.write_text(TEXT.replace(*change))
    with pytest.raises(InputError, match=f"halves.py: .*{said}") as caught:
        build.read_exercises(path)
    assert "\n" not in str(caught.value)


def test_exercises_without_a_notebook_are_named(course):
    with pytest.raises(InputError, match="thirds.ipynb does not exist"):
        build.write(course / "thirds.ipynb", "student", course)


def test_building_again_changes_nothing_and_leaves_answers_alone(course, capsys):
    path = build.write(course / "halves.ipynb", "student", course)
    first = path.read_bytes()
    assert build.write(course / "halves.ipynb", "student", course).read_bytes() == first
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[4].source = "half = 1.5"
    nbformat.write(notebook, path)
    build.write(course / "halves.ipynb", "student", course)
    assert nbformat.read(path, as_version=4).cells[4].source == "half = 1.5"
    assert "has been worked in" in capsys.readouterr().err


def test_a_notebook_with_exercises_is_tested_with_them_and_others_as_they_are(course):
    (course / "plain.ipynb").write_text((course / "halves.ipynb").read_text())
    verify = course / "verify" / "halves.ipynb"
    assert build.to_test([course], course) == [verify, course / "plain.ipynb"] and verify.exists()
    assert build.to_test([course / "plain.ipynb"], course) == [course / "plain.ipynb"]


@each_file
def test_exercises_belong_to_a_notebook_and_their_cells_are_short(path):
    assert (build.NOTEBOOKS / f"{path.stem}.ipynb").exists()
    exercises = build.read_exercises(path)
    assert len(exercises) >= 3
    for cell in (c for c in jupytext.read(path).cells if c.cell_type == "code"):
        assert len(cell.source.splitlines()) <= 15, f"{path.name}: a cell of more lines:\n{cell.source}"


@each_file
def test_the_student_notebook_holds_no_solution(path):
    exercises = build.read_exercises(path)
    notebook = build.build(build.NOTEBOOKS / f"{path.stem}.ipynb", exercises, "student")
    nbformat.validate(notebook)
    sources = {cell.source for cell in notebook.cells}
    assert not sources & {text for e in exercises for text in (e.solution, e.wrong) if text}
    assert sources >= {e.question for e in exercises} | {e.stub for e in exercises}
