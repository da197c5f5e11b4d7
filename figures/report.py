"""The report: one HTML page with all tables and figures, what they are made of, and links to executed notebooks."""

from __future__ import annotations

import html
import platform
import re
import subprocess
from collections.abc import Iterable
from datetime import datetime
from importlib.metadata import version
from os.path import relpath
from pathlib import Path

import jupytext
from PIL import Image

from diffens_core.support.files import write_atomically

from .contents import Page, pages_of
from .plan import Plan
from .tables import TASKS

PACKAGES = ("diffens", "torch", "monai", "numpy", "scipy", "snakemake", "papermill")
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1200px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.7em } h2 { font-size: 1.25em; margin-top: 2.2em; border-top: 1px solid #ccc; padding-top: 1em }
table { border-collapse: collapse; font-size: 13px; margin: .5em 0 } .wide { overflow-x: auto }
th, td { padding: .2em .7em; text-align: left; white-space: nowrap; border-bottom: 1px solid #eee }
th { border-bottom: 2px solid #888 } tr:hover td { background: #f4f7fb }
img { max-width: 100%; height: auto; margin: .5em 0 } nav a { margin-right: 1em; white-space: nowrap }
.facts td { white-space: normal } h4 { margin: 1.2em 0 0 }
.files, footer { color: #666; font-size: 13px } p { max-width: 60em }
"""


def write_index(plan: Plan, path: Path) -> None:
    """Write `index.html`; links are relative; those to trainings lead out of the folder of results."""
    out = path.parent
    pages = {name: page for name, page in pages_of(plan).items() if (out / "pages" / f"{name}.ipynb").is_file()}
    sections = "".join(_section(name, page, out) for name, page in pages.items())
    links = "".join(f'<a href="#{name}">{html.escape(page.title)}</a> ' for name, page in pages.items())
    text = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Diffens: preset {plan.preset}</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>
<h1>Diff-Ensembler, reproduced: preset {plan.preset}</h1>
<div class="facts">{_table(["what", "how"], _facts(plan).items())}</div>
<nav>{links}<a href="#runs">Runs</a></nav>
{sections}
<h2 id="runs">Runs</h2>{_runs(plan, out)}
<footer>Research software, not for diagnosis.</footer></body></html>
"""
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


def _section(name: str, page: Page, out: Path) -> str:
    folder = out / "pages" / name
    tables, images = (sorted(folder.glob(f"*{suffix}"), key=_order) for suffix in (".md", ".png"))
    executed = out / "pages" / f"{name}.ipynb"
    text = jupytext.read(executed).cells[0].source.split("\n", 1)[1]
    parts = [f'<h2 id="{name}">{html.escape(page.title)}</h2>', *_paragraphs(text)]
    for path in tables:
        head, _, *lines = (_cells(line) for line in path.read_text().splitlines())
        parts += [f"<h4>{_heading(path.stem)}</h4>", _table(head, lines), _links(out, path, (".csv", ".md", ".tex"))]
    for path in images:
        with Image.open(path) as image:
            width = image.width // 2  # as large as in print, whatever the number of columns
        source = f'<img src="{relpath(path, out)}" alt="{path.stem}" width="{width}" loading="lazy">'
        parts += [f"<h4>{_heading(path.stem)}</h4>", source, _links(out, path, (".png", ".pdf"))]
    parts.append(f'<p class="files">notebook: <a href="{relpath(executed, out)}">{executed.name}</a></p>')
    return "\n".join(parts)


def _heading(stem: str) -> str:
    """`table_1_sr` as Table 1, sr: super-resolution; `figure_8_13_sr_0` as Figure 8 to 13, ..., subject 1."""
    kind, *rest = stem.split("_")
    count = next((place for place, part in enumerate(rest) if not part[-1].isdigit()), len(rest))
    names = [f"{part}: {TASKS[part]}" if part in TASKS else part for part in rest[count:]]
    names = [f"subject {int(name) + 1}" if name.isdigit() else name for name in names]
    numbers = " to ".join(part.upper() for part in rest[:count])
    return html.escape(", ".join([f"{kind.capitalize()} {numbers}", *names]))


def _order(path: Path) -> tuple:
    """Tasks in their own order, before what is on all of them."""
    tasks = [place for place, task in enumerate(TASKS) if task in path.stem.split("_")]
    number = [int(part) for part in path.stem.split("_") if part.isdigit()]
    return (not tasks, tasks, number, path.stem)


def _paragraphs(text: str) -> Iterable[str]:
    for block in text.strip().split("\n\n"):
        yield "<p>" + re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(" ".join(block.split("\n")))) + "</p>"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in line) + "</tr>" for line in lines)
    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return f'<div class="wide"><table><tr>{top}</tr>{rows}</table></div>'


def _links(out: Path, path: Path, suffixes: Iterable[str]) -> str:
    files = [path.with_suffix(suffix) for suffix in suffixes]
    links = ", ".join(f'<a href="{relpath(file, out)}">{file.suffix[1:]}</a>' for file in files)
    return f'<p class="files">{links}</p>'


def _runs(plan: Plan, out: Path) -> str:
    """Links to what every evaluation and every training has left behind."""
    folders = [plan.evaluations_folder / name for name in plan.wanted] + [
        plan.experiment().runs / run for run in plan.trainings
    ]
    rows = []
    for folder in folders:
        found = [p for p in (*sorted(folder.glob("*.ipynb")), *sorted(folder.glob("*.csv"))) if p.is_file()]
        links = ", ".join(f'<a href="{html.escape(relpath(p, out))}">{p.name}</a>' for p in found)
        rows.append(f"<tr><td>{html.escape(folder.name)}</td><td>{links}</td></tr>")
    return f'<div class="wide"><table><tr><th>run</th><th>files</th></tr>{"".join(rows)}</table></div>'
