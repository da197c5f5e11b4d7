"""The committed pictures: python -m figures.pictures (`make pictures`) makes them anew, in minutes, at preset demo.

`pictures.json` says of each what it was made from: the code that draws it and the weights behind what it shows. A test
compares that with the checkout. What lies in figures/out belongs to the evaluations beside it, which take hours.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import papermill

from diffens_core.support.files import write_atomically

from . import hero

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks" / "00_quickstart.ipynb"
RECORD = Path(__file__).with_name("pictures.json")
WEIGHTS = "diffens_core/weights/demo/*/model.safetensors"


@dataclass(frozen=True)
class Picture:
    """One that is drawn by the quickstart, or by a module. drawn: what it calls it; parameters: of its run."""

    drawn: str
    parameters: tuple[tuple[str, str | int], ...] = ()
    source: Path = NOTEBOOK


PICTURES = {
    "hero.png": Picture("hero.png", source=Path(hero.__file__)),
    "zoom.png": Picture("zoom_sr.png"),
    "zoom_mt.png": Picture("zoom_mt.png", (("task", "mt"), ("subjects", 6))),
}


def main() -> None:
    """Entry point: run the quickstart once for each set of parameters, and keep its pictures with what they are of."""
    hero.main()
    quick = {name: picture for name, picture in PICTURES.items() if picture.source == NOTEBOOK}
    for parameters in dict.fromkeys(picture.parameters for picture in quick.values()):
        with TemporaryDirectory() as folder:
            given = {"preset": "demo", "out": folder, **dict(parameters)}
            papermill.execute_notebook(NOTEBOOK, Path(folder) / "run.ipynb", given, kernel_name="python3")
            for name, picture in quick.items():
                if picture.parameters == parameters:
                    shutil.copyfile(Path(folder) / picture.drawn, RECORD.with_name(name))
    write_atomically(RECORD, (json.dumps({name: made_of(name) for name in PICTURES}, indent=2) + "\n").encode())


def made_of(name: str) -> dict[str, str]:
    """Digests of a picture: of its file, of the code that draws it, and of all weights that come with the package."""
    weights = sha256()
    for path in sorted(ROOT.glob(WEIGHTS)):
        weights.update(path.relative_to(ROOT).as_posix().encode() + sha256(path.read_bytes()).digest())
    picture = sha256(RECORD.with_name(name).read_bytes()).hexdigest()
    return {"picture": picture, "code": _code_of(PICTURES[name]), "weights": weights.hexdigest()}


def _code_of(picture: Picture) -> str:
    """Of the code cells that draw it, and of what these use of `diffens_core/show`, but for comments and docstrings."""
    cells = [cell.source for cell in jupytext.read(picture.source).cells if cell.cell_type == "code"]
    parts = {name: part for path in ROOT.glob("diffens_core/show/*.py") for name, part in _parts(path)}
    used, new = set(), set(re.findall(r"\w+", "\n".join(cells))) & set(parts)
    while new:
        used |= new
        names = {word for name in new for word in re.findall(r"\w+", parts[name])}
        new = names & set(parts) - used
    texts = [repr(picture.parameters), *cells, *(parts[name] for name in sorted(used))]
    return sha256("\0".join(texts).encode()).hexdigest()


def _parts(path: Path) -> list[tuple[str, str]]:
    """Name and code of each function and constant of a module."""
    found = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            if ast.get_docstring(node):
                node.body = node.body[1:]
            found.append((node.name, ast.unparse(node)))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.append((node.targets[0].id, ast.unparse(node)))
    return found


if __name__ == "__main__":
    main()
