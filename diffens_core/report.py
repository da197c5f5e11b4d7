"""One method, evaluated: what it scores on a split, what its translations are good for, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from .checkpoints import write_atomically
from .config import RunConfig
from .cost import forget_peak, peak_memory, read_cost
from .device import pick_device
from .evaluate import SET, rows, score
from .experiment import Experiment
from .judges import Judges, SetMetrics
from .progress import Progress
from .runs import find
from .samples import Samples

KEYS = ("seconds", "core_seconds", "parameters", "memory")
TRUTH = "truth"  # evaluated like a method: the upper bound of every downstream score


def report(
    experiment: Experiment,
    method: str,
    task: str,
    *,
    split: str,
    subjects: int,
    samples: int,
    out: Path,
    judges: Judges | None = None,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Translate the first `subjects` of a split (0: all) and measure: `metrics.csv` and `cost.json` in `out`.

    What is not trained or not drawn yet is made now; what there is is read, so a second call goes on where the first
    was stopped. One subject at a time is in memory. The method `truth` is what a perfect one would answer: only its
    segmentation is measured.

    Returns the metrics as a table; and the cost as in `cost_of`, with `sampling` and `core_sampling`, seconds a sample.
    """
    judges = judges or Judges()
    data, tables, sets = experiment.subjects(split, task), [], SetMetrics(judges.features)
    tumours = experiment.subjects(split, judges.contrasts) if judges.segmenter else None
    drawn = None if method == TRUTH else Samples(experiment, method, task)
    count = min(subjects, len(data)) if subjects else len(data)
    forget_peak(pick_device())
    bar = Progress(f"evaluating {method} ({task})", count)
    for index in range(count):
        pair = data[index]
        labels = data.labels(pair.subject)
        volumes = drawn.of(pair, samples) if drawn else pair.x0[None]
        if drawn:
            tables.append(score(volumes, pair, method, task, None if labels is None else labels > 0))
            sets.add(volumes[0], pair.x0)
        if tumours and labels is not None:
            _, found = judges.segment(tumours.pair(pair.subject), volumes[0])
            tables.append(rows(method, task, pair.subject, {"0": found}))
        bar.update(index + 1, pair.subject)
    if drawn:
        tables.append(rows(method, task, SET, {"0": sets.values()}))
    metrics = pd.concat(tables, ignore_index=True)
    cost = _cost(experiment, method, task, drawn) | {"samples": samples}
    cost |= {"features": {extractor.name: extractor.digest for extractor in judges.features}}
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "metrics.csv", metrics.to_csv(index=False, lineterminator="\n").encode())
    write_atomically(out / "cost.json", json.dumps(cost).encode())
    return metrics, cost


def _cost(experiment: Experiment, method: str, task: str, drawn: Samples | None) -> dict[str, float]:
    if drawn is None:
        return {}
    cost, known = cost_of(experiment.runs_of(method, task), experiment.runs), drawn.cost
    if len(known):
        cost |= {"sampling": round(known["seconds"], 2), "core_sampling": round(known["core_seconds"], 2)}
    return cost | {"sampling_memory": round(peak_memory(pick_device()), 2)}


def cost_of(runs: Iterable[RunConfig], folder: Path) -> dict[str, float]:
    """Over a method's runs and those that they build on: time and parameters in all, and the largest memory (GiB).

    Only what is known of all of them.
    """
    costs = [read_cost(find(run, folder)) for run in {run.folder: run for run in with_experts(runs)}.values()]
    known = {key: [cost[key] for cost in costs if key in cost] for key in KEYS}
    complete = {key: values for key, values in known.items() if values and len(values) == len(costs)}
    return {key: max(values) if key == "memory" else sum(values) for key, values in complete.items()}


def with_experts(runs: Iterable[RunConfig]) -> Iterable[RunConfig]:
    """Every run, and every run below it."""
    for run in runs:
        yield run
        yield from with_experts(run.experts)


def read_reports(folders: Iterable[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Metrics of several reports as one table; and their costs, a row per (method, task)."""
    metrics = [pd.read_csv(folder / "metrics.csv", dtype={"sample": str}) for folder in folders]
    costs = [json.loads((folder / "cost.json").read_text()) for folder in folders]
    index = pd.MultiIndex.from_tuples([(m["method"][0], m["task"][0]) for m in metrics], names=["method", "task"])
    return pd.concat(metrics, ignore_index=True), pd.DataFrame(costs, index=index)
