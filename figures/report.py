"""The report: one HTML page with all tables and figures, what they are made of, and links to executed notebooks.

As a step of the graph: python -m figures.report PRESET FILE [name=value]..., with the settings of the graph.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from datetime import datetime
from importlib.metadata import version
from os.path import relpath
from pathlib import Path

import jupytext
from jinja2 import Environment, FileSystemLoader
from PIL import Image

from diffens_core.support.files import write_atomically

from .contents import Page, pages_of
from .plan import Plan, open_plan
from .tables import TASKS, title_of

TEMPLATE = Path(__file__).with_name("report.html.jinja")
PACKAGES = ("diffens", "torch", "monai", "numpy", "scipy", "snakemake", "papermill")


def main(preset: str, file: str, *settings: str) -> None:
    """Entry point."""
    write_report(open_plan(preset, **dict(setting.split("=", 1) for setting in settings)), Path(file))


def write_report(plan: Plan, path: Path) -> None:
    """Write `index.html`; links are relative; those to trainings lead out of the folder of results."""
    out = path.parent
    pages = {name: page for name, page in pages_of(plan).items() if (out / "pages" / f"{name}.ipynb").is_file()}
    environment = Environment(loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, trim_blocks=True)
    environment.filters["link"] = lambda file: relpath(file, out)
    text = environment.get_template(TEMPLATE.name).render(
        preset=plan.preset,
        facts=_facts(plan),
        sections=[_section(name, page, out) for name, page in pages.items()],
        runs=_runs(plan),
    )
    write_atomically(path, text.encode())


def _facts(plan: Plan) -> dict[str, str]:
    costs = plan.read(lambda one: True)[1]
    devices = costs["device"].dropna().unique() if "device" in costs else ["not recorded"]
    return {
        "made": f"{datetime.now():%Y-%m-%d %H:%M}",
        "commit": _commit(),
        "evaluated on": ", ".join(devices),
        "versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES) + f", python {platform.python_version()}",
        "setting": plan.about(costs),
        "trained here": f"{len(plan.trainings)} networks; all others come with the package",
    }


def _commit() -> str:
    """The commit of the checkout, and whether anything was changed since."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
        )
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"


def _section(name: str, page: Page, out: Path) -> dict:
    """A page as the template shows it: its text, and with their headings its tables and figures."""
    executed = out / "pages" / f"{name}.ipynb"
    tables, figures = (sorted((out / "pages" / name).glob(f"*{kind}"), key=_order) for kind in (".md", ".png"))
    return {
        "name": name,
        "title": page.title,
        "paragraphs": jupytext.read(executed).cells[0].source.split("\n", 1)[1].strip().split("\n\n"),
        "tables": [(_heading(path.stem), _rows(path), path) for path in tables],
        "figures": [(_heading(path.stem), _width(path), path) for path in figures],
        "notebook": executed,
    }


def _heading(stem: str) -> str:
    """`table_1_sr` as Table 1, sr: super-resolution; `figure_8_13_sr_0` as Figure 8 to 13, ..., subject 1."""
    kind, *rest = (part.replace("~", "_") for part in stem.replace("_lr", "~lr").split("_"))
    count = next((place for place, part in enumerate(rest) if not re.fullmatch(r"s?\d+", part)), len(rest))
    names = [f"{part}: {TASKS[part]}" if part in TASKS else title_of(part) for part in rest[count:]]
    names = [f"subject {int(name) + 1}" if name.isdigit() else name for name in names]
    numbers = " to ".join(part.upper() for part in rest[:count])
    return ", ".join([f"{kind.capitalize()} {numbers}", *names])


def _order(path: Path) -> tuple:
    """Tasks in their own order, before what is on all of them."""
    tasks = [place for place, task in enumerate(TASKS) if task in path.stem.split("_")]
    number = [int(part) for part in path.stem.split("_") if part.isdigit()]
    return (not tasks, tasks, number, path.stem)


def _rows(path: Path) -> list[list[str]]:
    """The cells of a Markdown table; the first row is its head."""
    head, _, *lines = path.read_text().splitlines()
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in (head, *lines)]


def _width(path: Path) -> int:
    """As large as in print, whatever the number of columns."""
    with Image.open(path) as image:
        return image.width // 2


def _runs(plan: Plan) -> dict[str, list[Path]]:
    """What every evaluation and every training has left behind."""
    folders = [plan.evaluations_folder / name for name in plan.wanted]
    folders += [plan.experiment().runs / run for run in plan.trainings]
    found = {folder.name: [*sorted(folder.glob("*.ipynb")), *sorted(folder.glob("*.csv"))] for folder in folders}
    return {name: [path for path in paths if path.is_file()] for name, paths in found.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
