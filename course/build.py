"""Make notebooks with exercises: each notebook, followed by the exercises of `exercises/` that have its name.

`student/` has questions, stubs and checks, `solutions/` has questions, solutions and checks. `verify/` is for tests:
there every check must refuse the stub, and the wrong answer if one is given, and accept the solution.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell

from diffens_core.support.errors import DiffensError, InputError

from .checks import seal

COURSE = Path(__file__).parent
NOTEBOOKS = COURSE.parent / "notebooks"
EXERCISES = COURSE / "exercises"
TAGS = ("given", "solution", "stub", "wrong", "check")
TITLE = re.compile(r"### Exercise (\d+)\. \S")
FOLDED = {"tags": ["hide-input"], "jupyter": {"source_hidden": True}, "cellView": "form"}  # the last is Colab's
HEADING = {
    "student": "## Exercises, with checks\nReplace each `...`, run the cell, then the check below it. A check needs "
    "the variables of the notebook: run all cells above first.",
    "solutions": "## Exercises, solved",
    "verify": "## Exercises, tried",
}


@dataclass(frozen=True)
class Exercise:
    """One exercise: texts as they are in the file.

    given: code between question and stub, or empty; wrong: an answer that the check refuses, or empty.
    """

    number: int
    question: str
    stub: str
    solution: str
    check: str
    given: str = ""
    wrong: str = ""


def read_exercises(path: Path) -> list[Exercise]:
    """The exercises of one file (jupytext's percent format); raises `InputError` with what is wrong with it."""
    found = []
    for cell in jupytext.read(path).cells:
        where = f"{path}: exercise {len(found)}"
        if cell.cell_type == "markdown":
            title = TITLE.match(cell.source)
            if title is None or int(title[1]) != len(found) + 1:
                raise InputError(f"{path}: a text must begin with '### Exercise {len(found) + 1}. Title'")
            found.append({"number": int(title[1]), "question": cell.source})
        elif cell.source.strip():
            tag = tag_of(cell, where)
            if not found or tag in found[-1]:
                raise InputError(f"{where}: a second {tag}" if found else f"{path}: a {tag} before the first question")
            found[-1][tag] = cell.source
    for parts in found or [{"number": 1}]:
        if missing := {"question", "solution", "stub", "check"} - set(parts):
            raise InputError(f"{path}: exercise {parts['number']}: no {' and no '.join(sorted(missing))}")
    return [Exercise(**parts) for parts in found]


def tag_of(cell, where: str) -> str:
    """The tag of a code cell; raises `InputError` if it has none of `TAGS`, or others, or is no Python."""
    tags = cell.metadata.get("tags", [])
    if len(tags) != 1 or tags[0] not in TAGS:
        raise InputError(f"{where}: a code cell has one tag of {', '.join(TAGS)}, and not '{', '.join(tags)}'")
    try:
        ast.parse(cell.source)
    except SyntaxError as error:
        raise InputError(f"{where}: its {tags[0]} is no Python: {error}") from None
    return tags[0]


def sealed(check: str, salt: str) -> str:
    """The code of a check with the right letter of each `choice` replaced by its seal, so that it cannot be read."""
    lines = [line.encode() for line in check.splitlines()]  # Python counts columns in bytes
    calls = [node for node in ast.walk(ast.parse(check)) if isinstance(node, ast.Call) and len(node.args) > 1]
    letters = [call.args[1] for call in calls if ast.unparse(call.func) == "choice"]
    for right in sorted(letters, key=lambda node: (node.lineno, node.col_offset), reverse=True):
        line = lines[right.lineno - 1]
        quoted = f'"{seal(ast.literal_eval(right), salt)}"'.encode()
        lines[right.lineno - 1] = line[: right.col_offset] + quoted + line[right.end_col_offset :]
    return b"\n".join(lines).decode()


def cells_of(exercise: Exercise, kind: str, salt: str) -> list:
    """The cells of one exercise in a notebook of this kind; salt: for the seals."""
    check = sealed(exercise.check, f"{salt}.{exercise.number}")
    cells, judge = [new_markdown_cell(exercise.question)], new_code_cell(check, metadata=FOLDED)
    if exercise.given:
        cells.append(new_code_cell(exercise.given))
    if kind == "student":
        return [*cells, new_code_cell(exercise.stub), judge]
    if kind == "solutions":
        return [*cells, new_code_cell(exercise.solution, metadata={"tags": ["solution"]}), judge]
    for error, tag in (("Unanswered", "stub"), ("Wrong", "wrong")):
        if attempt := getattr(exercise, tag):
            names = f"{error}, 'the {tag} of exercise {exercise.number}'"
            refusal = f"from course.checks import {error}, must_refuse\nmust_refuse({names}, {check!r}, globals())"
            cells += [new_code_cell(attempt), new_code_cell(refusal)]
    return [*cells, new_code_cell(exercise.solution), judge]


def build(source: Path, exercises: Sequence[Exercise], kind: str) -> nbformat.NotebookNode:
    """The notebook of the file `source`, followed by its exercises; kind: one of `HEADING`."""
    notebook = nbformat.read(source, as_version=4)
    added = [new_markdown_cell(HEADING[kind])]
    for exercise in exercises:
        added += cells_of(exercise, kind, source.stem)
    for number, cell in enumerate(added):
        cell.id = f"exercise-{number}"  # the same in every build
    notebook.cells += added
    notebook.metadata["diffens_course"] = digest(notebook)
    return notebook


def digest(notebook: nbformat.NotebookNode) -> str:
    """Of what stands in the cells; outputs do not count."""
    text = repr([(cell.cell_type, cell.source) for cell in notebook.cells])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def answers_in(path: Path) -> bool:
    """Whether somebody has changed a notebook since it was built."""
    if not path.exists():
        return False
    notebook = nbformat.read(path, as_version=4)
    return notebook.metadata.get("diffens_course") != digest(notebook)


def write(source: Path, kind: str, course: Path = COURSE) -> Path:
    """Build one notebook into `course/kind` and return its path; one that a student has worked in is left as it is."""
    path = course / kind / source.name
    if not source.exists():
        raise InputError(f"{source} does not exist, though there are exercises for it")
    made = build(source, read_exercises(course / "exercises" / f"{source.stem}.py"), kind)
    if kind == "student" and answers_in(path):
        print(
            f"{path} has been worked in and is left as it is: rename or delete it to have it made anew", file=sys.stderr
        )
        return path
    path.parent.mkdir(exist_ok=True)
    nbformat.write(made, path)
    return path


def to_test(asked: Sequence[Path], course: Path = COURSE) -> list[Path]:
    """What to test in place of the notebooks `asked` (files, folders): that of `verify/`, where there are exercises."""
    files = [file for path in asked for file in (sorted(path.glob("*.ipynb")) if path.is_dir() else [path])]
    return [write(f, "verify", course) if (course / "exercises" / f"{f.stem}.py").exists() else f for f in files]


def main() -> None:
    """`python -m course.build`, or with `--to-test` and notebooks: prints which to run in their place."""
    parser = argparse.ArgumentParser(prog="python -m course.build", description=__doc__.partition("\n")[0])
    parser.add_argument("--to-test", nargs="+", type=Path, metavar="NOTEBOOK", help="print what to run in their place")
    asked = parser.parse_args().to_test
    if asked:
        print(*(os.path.relpath(path) for path in to_test(asked)), sep="\n")
        return
    for exercises in sorted(EXERCISES.glob("*.py")):
        made = [write(NOTEBOOKS / f"{exercises.stem}.ipynb", kind) for kind in ("student", "solutions")]
        print(*(path.relative_to(COURSE.parent) for path in made), sep="  ")


if __name__ == "__main__":
    try:
        main()
    except DiffensError as error:
        sys.exit(f"course: {error}")
