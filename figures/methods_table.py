"""Markdown tables of all methods, from the folders that `diffens evaluate` writes.

    python figures/methods_table.py figures/out/demo/*-seed*

First, per task, a row per method: metrics of single samples, and what it cost (training of everything it builds on,
once each, and a sample, in time of one CPU core; largest memory). Means over subjects, then over seeds, ± the standard
deviation over seeds. Then how far each fusion is ahead of the average of the very same experts, seed by seed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from seeds_table import print_markdown

from diffens_core.evaluate import METRICS, subject_means
from diffens_core.methods import METHODS
from diffens_core.report import read_reports

RIVALS = {"ours-tpdm": "tpdm", "ours-small": "tpdm", "ours-tosm": "tosm", "ours-madm": "madm"}
RIVALS |= {"multi-ours": "multi-tpdm", "multi-small": "multi-tpdm"}


def read(folders: Iterable[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Metrics per subject, and costs; both with the seed that a folder's name ends in."""
    metrics, costs = [], []
    for folder in folders:
        table, cost = read_reports([folder])
        seed = folder.name.rsplit("-seed", 1)[1]
        metrics.append(subject_means(table).xs("single sample", level="kind").unstack("metric").assign(seed=seed))
        costs.append(cost.assign(seed=seed))
    keys = ["seed"]
    return pd.concat(metrics).set_index(keys, append=True), pd.concat(costs).set_index(keys, append=True)


def methods_rows(metrics: pd.DataFrame, costs: pd.DataFrame, task: str) -> Iterable[list[str]]:
    """A row per method of a task, in the order of the registry."""
    seeds = metrics.xs(task, level="task")[list(METRICS)].groupby(["method", "seed"]).mean().groupby("method")
    mean, spread, count = seeds.mean(), seeds.std(), seeds.size()
    cost = costs.xs(task, level="task").groupby("method").mean(numeric_only=True)
    for method in (m for m in METHODS if m in mean.index):
        cells = [_number(mean.loc[method, m], spread.loc[method, m], 3 if "ssim" in m else 2) for m in METRICS]
        known = cost.loc[method].to_dict()
        minutes = known.get("core_seconds", float("nan")) / 60
        cells += [_or_nothing(minutes, "{:.0f}"), _or_nothing(known.get("parameters", float("nan")) / 1e6, "{:.2f}")]
        cells += [_or_nothing(known.get("memory", float("nan")), "{:.1f}"), f"{known['core_sampling']:.1f}"]
        yield [f"`{method}`", str(count[method]), *cells]


def lead_rows(metrics: pd.DataFrame) -> Iterable[list[str]]:
    """Each fusion minus the average that it fuses: task, fusion, seed, mean lead in each metric, subjects ahead."""
    for ours, rival in RIVALS.items():
        found = metrics.index.get_level_values("method")
        if not {ours, rival} <= set(found):
            continue
        lead = (metrics.xs(ours, level="method") - metrics.xs(rival, level="method")).dropna()
        for (task, seed), rows in lead.groupby(["task", "seed"]):
            ahead = f"{(rows['psnr'] > 0).sum()} of {len(rows)}"
            yield [f"`{task}`", f"`{ours}`", f"`{rival}`", seed, *(f"{rows[m].mean():+.3f}" for m in METRICS), ahead]


def _number(mean: float, spread: float, digits: int) -> str:
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread > 1e-6 else "")


def _or_nothing(value: float, form: str) -> str:
    return "" if pd.isna(value) or value == 0 else form.format(value)


if __name__ == "__main__":
    scores, prices = read(Path(argument) for argument in sys.argv[1:])
    names = ["PSNR", "SSIM", "PSNR brain", "SSIM brain"]
    for name in scores.index.unique("task"):
        print(f"\nTask `{name}`\n")
        header = ["method", "seeds", *names, "training, core min", "parameters, M", "memory, GiB", "a sample, core s"]
        print_markdown(header, methods_rows(scores, prices, name))
    print("\nLead of each fusion over the average that it fuses\n")
    print_markdown(["task", "fusion", "average", "seed", *names, "subjects ahead in PSNR"], lead_rows(scores))
