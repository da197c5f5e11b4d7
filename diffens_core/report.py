"""One method, evaluated: what it scores on a split, and what it costs to train and to sample."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from .checkpoints import write_atomically
from .config import RunConfig
from .cost import Spent, forget_peak, peak_memory, read_cost
from .device import pick_device
from .experiment import Experiment
from .runs import find

KEYS = ("seconds", "core_seconds", "parameters", "memory")


def report(experiment: Experiment, method: str, task: str, *, split: str, subjects: int, samples: int, out: Path):
    """Train what is missing, translate the first `subjects` of a split, write `metrics.csv` and `cost.json` to `out`.

    Returns both: the metrics as a table; the cost as in `cost_of`, with `sampling` and `core_sampling`, seconds a
    sample.
    """
    model = experiment.model(method, task)
    data = experiment.subjects(split, task)
    pairs = [data[i] for i in range(min(subjects, len(data)) if subjects else len(data))]
    forget_peak(pick_device())
    started = Spent.now()
    metrics, volumes = experiment.compare([method], task, pairs, samples, {method: model})
    spent = Spent.now() - started
    count = sum(len(v) for v in volumes.values())
    cost = cost_of(experiment.runs_of(method, task), experiment.runs)
    cost |= {"sampling": round(spent.clock / count, 2), "core_sampling": round(spent.cores / count, 2)}
    cost |= {"sampling_memory": round(peak_memory(pick_device()), 2), "samples": count}
    out.mkdir(parents=True, exist_ok=True)
    metrics.to_csv(out / "metrics.csv", index=False)
    write_atomically(out / "cost.json", json.dumps(cost).encode())
    return metrics, cost


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
