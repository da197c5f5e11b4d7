"""Tables as CSV, Markdown and LaTeX, figures as PNG and PDF."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from diffens_core.support.files import replacing, write_atomically

DPI = 200  # of PNG: print at 15 cm
ARROWS = {"↑": r"$\uparrow$", "↓": r"$\downarrow$"}  # which LaTeX's own fonts lack
METADATA = {"CreationDate": None}  # the same figure is the same file


def write_table(table: pd.DataFrame, shown: pd.DataFrame, path: Path) -> None:
    """`path`.csv of the numbers, `path`.md and `path`.tex of how they are shown; the first column is the index."""
    numbers = table.to_csv(lineterminator="\n", float_format="%.6g")
    for suffix, text in ((".csv", numbers), (".md", markdown(shown)), (".tex", latex(shown))):
        write_atomically(path.with_suffix(suffix), text.encode())


def markdown(shown: pd.DataFrame) -> str:
    """A Markdown table of text cells, with the index in front."""
    table = shown.reset_index()
    lines = [table.columns, ["---"] * len(table.columns), *table.itertuples(index=False)]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def latex(shown: pd.DataFrame) -> str:
    """A LaTeX table of text cells, with the index in front; needs the package booktabs."""
    table = shown.reset_index()
    style = table.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    text = style.to_latex(hrules=True, column_format="l" * len(table.columns))
    for arrow, command in ARROWS.items():
        text = text.replace(arrow, command)
    return text


def write_figure(figure: plt.Figure, path: Path) -> None:
    """`path`.png and `path`.pdf."""
    for suffix, options in ((".png", {"dpi": DPI}), (".pdf", {"metadata": METADATA})):
        with replacing(path.with_name(path.name + suffix)) as temporary:
            figure.savefig(temporary, bbox_inches="tight", **options)
