"""Executed copies of notebooks, kept by content: a notebook is executed again only if what decides its outputs changed.

That is its code cells, the preset, the modules and weights that notebooks import, and the pinned versions of what these
depend on. Text and comments are not part of it, so outputs are always shown with the text as it is now.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import tomllib
from hashlib import sha256
from pathlib import Path

import jupytext
import papermill
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
CODE = ("diffens_core", "data_prep")


def digest_of_code(root: Path = ROOT) -> str:
    """Digest of the modules (without comments), the weights and the pinned versions of the checkout `root`."""
    digest = sha256("\n".join(_pins(root)).encode())
    for path in sorted(path for folder in CODE for path in (root / folder).rglob("*")):
        if path.suffix == ".py":
            digest.update(ast.dump(ast.parse(path.read_bytes())).encode())
        elif path.suffix in (".safetensors", ".json"):
            digest.update(path.read_bytes())
        else:
            continue
        digest.update(path.relative_to(root).as_posix().encode())
    return digest.hexdigest()


def _pins(root: Path) -> list[str]:
    """The lines of constraints.txt for what the package itself depends on."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in project["dependencies"]}
    lines = (root / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line.split("==")[0].lower().replace("_", "-") in names]


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells, without the one in which papermill puts parameters."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell for cell in cells if "injected-parameters" not in cell.metadata.get("tags", [])]


def with_outputs(notebook: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """`notebook` with the outputs of its executed copy, whose code cells are the same."""
    for cell, done in zip(code_cells(notebook), code_cells(executed), strict=True):
        cell.outputs, cell.execution_count = done.outputs, done.execution_count
    return notebook


class Store:
    """Executed notebooks of one preset in `folder`, and the home folder of their data and runs beside them.

    code: digest of what they import. With other code the data and runs of before are deleted, as runs and samples are
    found by their settings, and the code is not among these.
    """

    def __init__(self, folder: Path, preset: str, code: str):
        self.folder, self.preset, self.code, self.home = folder / preset, preset, code, folder / "home"
        self.folder.mkdir(parents=True, exist_ok=True)

    def digest(self, path: Path) -> str:
        """Of everything that decides the outputs of the notebook `path`."""
        sources = [cell.source for cell in code_cells(jupytext.read(path))]
        return sha256("\0".join([self.code, self.preset, *sources]).encode()).hexdigest()

    def read(self, path: Path) -> NotebookNode | None:
        """The executed copy of the notebook `path`; None if there is none that still holds."""
        kept, note = self.folder / path.name, self.folder / f"{path.stem}.digest"
        if not kept.is_file() or not note.is_file() or note.read_text() != self.digest(path):
            return None
        return jupytext.read(kept)

    def execute(self, path: Path) -> None:
        """Execute the notebook `path` and keep the copy. Raises what papermill raises, and keeps nothing then."""
        self._clear_home()
        os.environ["DIFFENS_HOME"] = str(self.home)
        working, note = self.folder / f"{path.stem}.part.ipynb", self.folder / f"{path.stem}.digest"
        note.unlink(missing_ok=True)
        digest = self.digest(path)
        options = {"kernel_name": "python3", "progress_bar": False, "coalesce_streams": True}  # prints in a row are one
        papermill.execute_notebook(path, working, {"preset": self.preset}, **options)
        working.replace(self.folder / path.name)
        note.write_text(digest)

    def _clear_home(self) -> None:
        note = self.home / "code.digest"
        if not note.is_file() or note.read_text() != self.code:
            shutil.rmtree(self.home, ignore_errors=True)
            self.home.mkdir(parents=True)
            note.write_text(self.code)
