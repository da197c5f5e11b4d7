"""Markdown tables of all methods, from the folders that `diffens evaluate` writes.

    python figures/methods_table.py figures/out/demo/*-seed*

First, per task and kind (single samples; means of several, where some were drawn), a row per method: metrics, and what
it cost (training of everything it builds on, once each, and a sample, in time of one CPU core; largest memory). Means
over subjects, then over seeds, ± the standard deviation over seeds. Then how far each fusion is ahead of the average of
the very same experts, seed by seed, with 95 % bootstrap intervals over subjects and p of Wilcoxon's signed-rank test,
adjusted by Holm's method.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from diffens_core.evaluate import METRICS, subject_means
from diffens_core.methods import METHODS
from diffens_core.report import read_reports
from diffens_core.statistics import comparisons
from figures.pages import RIVALS

KINDS = {"single sample": "one sample each", "mean of samples": "mean of each subject's samples"}
NAMES = ["PSNR", "SSIM", "PSNR brain", "SSIM brain"]


def read(folders: Iterable[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Metrics per kind and subject, and costs; both with the seed that a folder's name ends in.

    Folders without image metrics, as `truth` has, are left out. Raises `SystemExit` for subjects of several data sets.
    """
    metrics, costs, sets = [], [], set()
    for folder in folders:
        table, cost = read_reports([folder])
        if not set(METRICS) <= set(table["metric"]):
            continue
        sets.add(tuple(cost.iloc[0][["data", "split"]]))
        if len(sets) > 1:
            raise SystemExit(f"{folder}: other subjects than in the folders before: {sorted(sets)}")
        seed = folder.name.rsplit("-seed", 1)[1]
        means = subject_means(table[table["metric"].isin(METRICS)]).unstack("metric")
        metrics.append(means[list(METRICS)].assign(seed=seed))
        costs.append(cost.assign(seed=seed))
    keys = ["seed"]
    return pd.concat(metrics).set_index(keys, append=True), pd.concat(costs).set_index(keys, append=True)


def methods_rows(metrics: pd.DataFrame, costs: pd.DataFrame) -> Iterable[list[str]]:
    """A row per method of one task and kind, in the order of the registry."""
    seeds = metrics.groupby(["method", "seed"]).mean().groupby("method")
    mean, spread, count = seeds.mean(), seeds.std(), seeds.size()
    cost = costs.groupby("method").mean(numeric_only=True)
    for method in (m for m in METHODS if m in mean.index):
        cells = [_number(mean.loc[method, m], spread.loc[method, m], 3 if "ssim" in m else 2) for m in METRICS]
        known = cost.loc[method].to_dict()
        minutes = known.get("core_seconds", float("nan")) / 60
        cells += [_or_nothing(minutes, "{:.0f}"), _or_nothing(known.get("parameters", float("nan")) / 1e6, "{:.2f}")]
        cells += [
            _or_nothing(known.get("memory", float("nan")), "{:.1f}"),
            f"{known.get('core_sampling', float('nan')):.1f}",
        ]
        yield [f"`{method}`", str(count[method]), *cells]


def lead_rows(metrics: pd.DataFrame) -> Iterable[list[str]]:
    """Each fusion against the average that it fuses, a row per task, kind and seed.

    Mean lead in PSNR and in SSIM with its interval, subjects ahead, and p of PSNR, adjusted for the fusions of this
    task and seed.
    """
    for (task, kind, seed), part in metrics.groupby(["task", "kind", "seed"]):
        tables = {metric: part[metric].unstack("method").dropna(how="all") for metric in METRICS}
        rivals = {ours: rival for ours, rival in RIVALS.items() if {ours, rival} <= set(tables["psnr"])}
        found = {metric: comparisons(table, rivals) for metric, table in tables.items()}
        for ours, rival in rivals.items():
            lines = {metric: table.loc[ours] for metric, table in found.items()}
            leads = [_lead(lines["psnr"]), _lead(lines["ssim"]), f"{lines['psnr_brain']['difference']:+.3f}"]
            psnr = lines["psnr"]
            tested = [f"{psnr['ahead']} of {psnr['subjects']}", f"{psnr['p']:.3f}"]
            yield [f"`{task}`", f"`{ours}`", f"`{rival}`", kind.split()[0], seed, *leads, *tested]


def print_markdown(header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a Markdown table."""
    header = list(header)
    for cells in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(cells) + " |")


def _lead(line: pd.Series) -> str:
    return f"{line['difference']:+.3f} [{line['low']:+.3f}, {line['high']:+.3f}]"


def _number(mean: float, spread: float, digits: int) -> str:
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread > 1e-6 else "")


def _or_nothing(value: float, form: str) -> str:
    return "" if pd.isna(value) or value == 0 else form.format(value)


if __name__ == "__main__":
    scores, prices = read(Path(argument) for argument in sys.argv[1:])
    for (task, kind), part in scores.groupby(["task", "kind"], sort=False):
        print(f"\nTask `{task}`, {KINDS[kind]}\n")
        header = ["method", "seeds", *NAMES, "training, core min", "parameters, M", "memory, GiB", "a sample, core s"]
        print_markdown(header, methods_rows(part.droplevel(["task", "kind"]), prices.xs(task, level="task")))
    print("\nLead of each fusion over the average that it fuses\n")
    tested = ["PSNR", "SSIM", "PSNR brain", "ahead in PSNR", "p"]
    print_markdown(["task", "fusion", "average", "samples", "seed", *tested], lead_rows(scores))
