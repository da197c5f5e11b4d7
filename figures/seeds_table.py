"""Markdown tables of `make demo`'s comparison over several training seeds.

    python figures/seeds_table.py figures/out/seed-0 figures/out/seed-1 figures/out/seed-2

Each folder holds the metrics.csv of 00_quickstart run with another `seed`. A cell is the mean over seeds of the mean
over subjects, and the standard deviation over seeds where a method is trained.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from diffens_core.evaluate import results_table

COLUMNS = [(kind, metric) for kind in ("single sample", "mean of samples") for metric in ("psnr", "ssim", "psnr_brain")]


def seeds_table(folders: list[Path], task: str) -> pd.DataFrame:
    """Rows: methods; columns: (kind, metric); cells: `mean ± sd over seeds` as text."""
    tables = []
    for folder in folders:
        metrics = pd.read_csv(folder / "metrics.csv", dtype={"sample": str})
        metrics = metrics[metrics["task"] == task]
        tables.append(results_table(metrics, list(dict.fromkeys(metrics["method"])))[COLUMNS])
    stacked = pd.concat(tables, keys=range(len(tables)))
    mean, spread = stacked.groupby(level=1, sort=False).mean(), stacked.groupby(level=1, sort=False).std()
    return pd.DataFrame({c: [_cell(c, *both) for both in zip(mean[c], spread[c])] for c in mean}, index=mean.index)


def _cell(column: tuple[str, str], mean: float, spread: float) -> str:
    if pd.isna(mean):
        return ""
    digits = 3 if "ssim" in column[1] else 2
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread > 1e-6 else "")


def print_markdown(table: pd.DataFrame) -> None:
    """Print `table` as a Markdown table."""
    print("| method | " + " | ".join(f"{metric}, {kind}" for kind, metric in table.columns) + " |")
    print("|" + "---|" * (len(table.columns) + 1))
    for method, row in table.iterrows():
        print(f"| `{method}` | " + " | ".join(row) + " |")


if __name__ == "__main__":
    found = [Path(argument) for argument in sys.argv[1:]]
    for name in pd.read_csv(found[0] / "metrics.csv")["task"].unique():
        print(f"\nTask `{name}`\n")
        print_markdown(seeds_table(found, name))
