"""The sources of the site in one folder, laid out as the repository is, so that links between files keep their meaning.

From here: `site/pages`. Copied: the texts and pictures of the repository. Made: a page for each wing of the library,
for each folder of results, and of all exercises; and the notebooks, with the outputs of their executed copies.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import jupytext
from executed import ROOT, Store, with_outputs
from nbformat import NotebookNode

PAGES = ROOT / "site" / "pages"
TEXTS = ("README.md", "CONTRIBUTING.md", "data_prep/README.md", "diffens_core/weights/README.md", "figures/results.md")
TEXTS += ("figures/results/*.md",)
PICTURES = ("figures/*.png", "figures/out/*/pages/*/*.png")
REPOSITORY = "https://github.com/diffens/diffens/blob/main/"
LINK = re.compile(r"\]\((?![a-z]+:)([^)#\s]+)(#[^)\s]*)?\)")
BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\(([^)]*)\)")
BADGES = re.compile(r"^\[!\[.*\n", re.MULTILINE)  # pictures that come over the network, which no page needs
NUMBER = re.compile(r"\[\[(\d\d)\]\]")  # of a notebook
EXERCISES = """# Exercises

`make course` writes two copies of each notebook: for students, with questions and checks, in `course/student/`, and
with the solutions in `course/solutions/`. A check answers at once: right, or one line with a hint.
"""


def stage(source: Path, store: Store) -> list[str]:
    """Write the sources to the folder `source`, anew; return the notebooks that are shown without outputs."""
    shutil.rmtree(source, ignore_errors=True)
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    pages = {path.name: path.read_text() for path in sorted(PAGES.glob("*.md"))} | exercise_page(notebooks)
    texts = {name: with_notebooks(text, notebooks) for name, text in pages.items()}
    texts |= {_name(path): path.read_text() for pattern in TEXTS for path in sorted(ROOT.glob(pattern))}
    texts["README.md"] = BADGES.sub("", texts["README.md"])
    texts |= api_pages() | result_pages()
    pictures = [path for pattern in PICTURES for path in sorted(ROOT.glob(pattern))]
    names = {*texts, *map(_name, pictures), *map(_name, notebooks)}
    for name, text in texts.items():
        write(source / name, with_links(text, name, names))
    for path in pictures:
        (source / _name(path)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, source / _name(path))
    bare = []
    for path in notebooks:
        executed = store.read(path)
        bare += [] if executed else [path.stem]
        page = notebook_page(jupytext.read(path), executed, store.preset)
        for cell in page.cells:
            cell.source = with_links(cell.source, _name(path), names) if cell.cell_type == "markdown" else cell.source
        write(source / _name(path), jupytext.writes(page, "ipynb"))
    return bare


def notebook_page(notebook: NotebookNode, executed: NotebookNode | None, preset: str) -> NotebookNode:
    """A notebook as the site shows it: what it was executed with in place of the badge, and no cell for Colab."""
    note = f"```{{note}}\nExecuted at preset `{preset}`. Sliders move in Jupyter only.\n```"
    if executed:
        notebook = with_outputs(notebook, executed)
    else:
        note = "```{warning}\nNot executed for this build of the site: text and code without results.\n```"
    head = notebook.cells[0]
    head.source = BADGE.sub(lambda match: f"[Open in Colab]({match[1]})\n\n{note}", head.source)
    notebook.cells = [cell for cell in notebook.cells if "google.colab" not in cell.source]
    return notebook


def with_notebooks(text: str, notebooks: list[Path]) -> str:
    """`[[04]]` becomes a link to notebook 04, named by its heading; `[[all]]` lines of a toctree, for all of them."""
    links = {path.stem[:2]: f"[{path.stem[:2]} {title(path)}]({_name(path)})" for path in notebooks}
    contents = "\n".join(f"{path.stem[:2]} {title(path)} <notebooks/{path.stem}>" for path in notebooks)
    text = text.replace("[[all]]", contents)
    return NUMBER.sub(lambda match: links.get(match[1], f"{match[1]} (not in this build)"), text)


def with_links(text: str, name: str, names: set[str]) -> str:
    """Links of the page `name` to what is in the repository but not among `names`, the pages: to its public address.

    A link to a folder leads to its page, `index.md` in it or in the folder above, if there is one.
    """

    def replaced(match: re.Match) -> str:
        target = os.path.normpath(os.path.join(os.path.dirname(name), match[1]))
        index = next((p for p in (f"{target}/index.md", f"{os.path.dirname(target)}/index.md") if p in names), None)
        if target in names or not (ROOT / target).exists():
            return match[0]
        if index and (ROOT / target).is_dir():
            return f"]({os.path.relpath(index, os.path.dirname(name) or '.')})"
        return f"]({REPOSITORY}{target}{match[2] or ''})"

    return LINK.sub(replaced, text)


def api_pages() -> dict[str, str]:
    """A page for each wing of the library, with all its modules, one for what stands on top, one for `data_prep`."""
    core = ROOT / "diffens_core"
    folders = [path for path in sorted(core.iterdir()) if (path / "__init__.py").is_file()]
    pages = {f"api/{folder.name}.md": (f"diffens_core.{folder.name}", folder) for folder in folders}
    pages |= {f"api/{name}.md": (name, ROOT / name) for name in ("diffens_core", "data_prep")}
    return {name: _api_page(package, folder) for name, (package, folder) in pages.items()}


def _api_page(package: str, folder: Path) -> str:
    directive = "```{eval-rst}\n.. automodule:: %s\n```\n"
    modules = [path.stem for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]
    head = f"# `{package}`\n\n" + directive.replace("%s\n", "%s\n   :no-members:\n") % package
    return head + "".join(f"\n## `{name}`\n\n" + directive % f"{package}.{name}" for name in modules)


def result_pages() -> dict[str, str]:
    """A page for each folder of results that is there: its tables and figures, below each other."""
    from figures.contents import PAGES as TITLES

    pages, before = {}, (ROOT / "figures" / "results" / "before.md").read_text()
    for folder in sorted((ROOT / "figures" / "out").glob("*/pages")):
        old = f"{folder.parent.name}/pages" in before
        says = "[Before](../../../results/before.md)" if old else "[Results](../../../results.md)"
        text = f"# Tables and figures: {folder.parent.name}\n\nMade from one list of evaluations. "
        text += f"{says} says what was measured, and on what. A table is named as its files are.\n"
        for page in (name for name in TITLES if (folder / name).is_dir()):
            text += f"\n## {TITLES[page].title}\n"
            for path in sorted((folder / page).iterdir()):
                if path.suffix == ".md":
                    text += f"\n`{path.stem}`\n\n{path.read_text()}\n"
                elif path.suffix == ".png":
                    text += f"\n![{path.stem}]({page}/{path.name})\n"
        pages[_name(folder / "index.md")] = text
    return pages


def exercise_page(notebooks: list[Path]) -> dict[str, str]:
    """The list of all exercises: `course/exercises/<notebook>.py`."""
    text = ""
    for path in (path for path in notebooks if (ROOT / "course" / "exercises" / f"{path.stem}.py").is_file()):
        asked = (ROOT / "course" / "exercises" / f"{path.stem}.py").read_text()
        text += f"\n## [[{path.stem[:2]}]]\n\n" + "".join(
            f"- {heading}\n" for heading in re.findall(r"^# #+ (.+)$", asked, re.MULTILINE)
        )
    return {"exercises.md": EXERCISES + text if text else "# Exercises\n\nThere are none in this checkout.\n"}


def title(path: Path) -> str:
    """The first heading of a notebook."""
    return re.search(r"^# (.+)$", jupytext.read(path).cells[0].source, re.MULTILINE)[1]


def write(path: Path, text: str) -> None:
    """Write `path`, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
