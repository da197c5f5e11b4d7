"""Markdown tables of `make demo`'s comparison over several training seeds.

    python figures/seeds_table.py figures/out/seed-0 figures/out/seed-1 figures/out/seed-2

Each folder `seed-<n>` holds the metrics.csv of 00_quickstart run with that `seed`. First, per task, the mean over
seeds of the mean over subjects, and the standard deviation over seeds where a method is trained; then how far the
fusion is ahead of the average of the very same experts, seed by seed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from diffens_core.evaluate import METRICS, results_table, subject_means

COLUMNS = [(kind, metric) for kind in ("single sample", "mean of samples") for metric in ("psnr", "ssim", "psnr_brain")]


def seeds_table(seeds: dict[str, pd.DataFrame], task: str) -> pd.DataFrame:
    """Rows: methods; columns: (kind, metric); cells: `mean ± sd over seeds` as text. seeds: metrics by seed."""
    tables = {}
    for seed, metrics in seeds.items():
        metrics = metrics[metrics["task"] == task]
        tables[seed] = results_table(metrics, list(dict.fromkeys(metrics["method"])))[COLUMNS]
    by_method = pd.concat(tables).groupby(level=1, sort=False)
    mean, spread = by_method.mean(), by_method.std()
    return pd.DataFrame({c: [_cell(c, *both) for both in zip(mean[c], spread[c])] for c in mean}, index=mean.index)


def _cell(column: tuple[str, str], mean: float, spread: float) -> str:
    if pd.isna(mean):
        return ""
    digits = 3 if "ssim" in column[1] else 2
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread > 1e-6 else "")


def leads(metrics: pd.DataFrame) -> pd.DataFrame:
    """`ours-tpdm` minus `tpdm`, one row per (task, kind, subject), a column per metric."""
    table = subject_means(metrics).unstack("metric")
    return (table.loc["ours-tpdm"] - table.loc["tpdm"])[list(METRICS)]


def leads_table(seeds: dict[str, pd.DataFrame]) -> Iterable[list[str]]:
    """The rows of the table of leads: task, kind of sample, seed, mean lead in each metric, subjects ahead."""
    tables = {seed: leads(metrics) for seed, metrics in seeds.items()}
    for task, kind in next(iter(tables.values())).index.droplevel("subject").unique():
        for seed, table in tables.items():
            rows = table.loc[task, kind]
            ahead = f"{(rows['psnr'] > 0).sum()} of {len(rows)}"
            yield [f"`{task}`", kind.split()[0], seed, *(f"{rows[m].mean():+.3f}" for m in METRICS), ahead]


def print_markdown(header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a Markdown table."""
    header = list(header)
    for cells in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    folders = [Path(argument) for argument in sys.argv[1:]]
    found = {f.name.removeprefix("seed-"): pd.read_csv(f / "metrics.csv", dtype={"sample": str}) for f in folders}
    for name in next(iter(found.values()))["task"].unique():
        print(f"\nTask `{name}`\n")
        table = seeds_table(found, name)
        header = ["method", *(f"{metric}, {kind}" for kind, metric in table.columns)]
        print_markdown(header, ([f"`{method}`", *row] for method, row in table.iterrows()))
    print("\nLead of `ours-tpdm` over `tpdm`\n")
    print_markdown(["task", "samples", "seed", *METRICS, "subjects ahead in psnr"], leads_table(found))
