"""Markdown tables of all methods, from the folders that `diffens evaluate` writes.

    python figures/methods_table.py figures/out/demo/*-seed*

First, per task, a row per method: metrics of single samples, and what it cost (training of everything it builds on,
once each, and a sample, in time of one CPU core; largest memory). Means over subjects, then over seeds, ± the standard
deviation over seeds. Then how far each fusion is ahead of the average of the very same experts, seed by seed, with 95 %
bootstrap intervals over subjects and p of Wilcoxon's signed-rank test, adjusted by Holm's method.
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
from diffens_core.statistics import comparisons

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
    """Each fusion against the average that it fuses, a row per task and seed.

    Mean lead in PSNR and in SSIM with its interval, subjects ahead, and p of PSNR, adjusted for the fusions of this
    task and seed.
    """
    for (task, seed), part in metrics.groupby(["task", "seed"]):
        tables = {metric: part[metric].unstack("method").dropna(how="all") for metric in METRICS}
        rivals = {ours: rival for ours, rival in RIVALS.items() if {ours, rival} <= set(tables["psnr"])}
        found = {metric: comparisons(table, rivals) for metric, table in tables.items()}
        for ours, rival in rivals.items():
            lines = {metric: table.loc[ours] for metric, table in found.items()}
            leads = [_lead(lines["psnr"]), _lead(lines["ssim"]), f"{lines['psnr_brain']['difference']:+.3f}"]
            psnr = lines["psnr"]
            tested = [f"{psnr['ahead']} of {psnr['subjects']}", f"{psnr['p']:.3f}"]
            yield [f"`{task}`", f"`{ours}`", f"`{rival}`", seed, *leads, *tested]


def _lead(line: pd.Series) -> str:
    return f"{line['difference']:+.3f} [{line['low']:+.3f}, {line['high']:+.3f}]"


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
    tested = ["PSNR", "SSIM", "PSNR brain", "ahead in PSNR", "p"]
    print_markdown(["task", "fusion", "average", "seed", *tested], lead_rows(scores))
