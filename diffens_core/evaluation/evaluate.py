"""The evaluation of one method on a split: its metrics, the segmentation of its translations, and its cost."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ..data.tasks import task_named
from ..experiment.experiment import Experiment
from ..experiment.samples import Samples, save_spread, save_translation
from ..support.cost import KEYS, read_cost
from ..support.device import device_name, pick_device
from ..support.files import check_writable, write_atomically
from ..support.progress import Progress
from ..support.records import REMEDY, read_record, read_records
from ..support.settings import ConfigError
from ..training.config import RunConfig
from ..training.runs import find
from .judges import Judges, SetMetrics
from .scores import COLUMNS, SET, rows, score

TRUTH = "truth"  # evaluated like a method: the upper bound of every downstream score


def evaluation_name(method: str, task: str, seed: int, steps: int = 0, split: str = "test", sampler: str = "") -> str:
    """The name of an evaluation's folder below `Experiment.out`; steps, sampler: 0 and empty for the preset's."""
    special = (f"-steps{steps}" if steps else "") + (f"-{sampler.replace(':', '')}" if sampler else "")
    special += f"-{split}" if split != "test" else ""
    return f"{method}-{task}-seed{seed}{special}"


def evaluate(
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
    """Translate the first `subjects` of a split (0: all), measure, and write `metrics.csv` and `cost.json` to `out`.

    Missing trainings and samples are made now. Existing ones are read, so a second call goes on where the first was
    stopped. One subject at a time is in memory. The method `truth` stands for perfect translations: only their
    segmentation is measured.

    Of several samples, the mean and standard deviation are written to `out` too: `<subject>_mean.nii.gz`, `_std`.

    Returns the metrics as a table, and the cost: that of `cost_of`; `sampling` and `core_sampling`, seconds a sample;
    `method`, `task`, `data`, `split`, `subjects`, `samples`; the digests of the `judges`; and the `device`.
    """
    check_writable(out)
    judges, task = judges or Judges(), task_named(task).name
    data, tables, sets = experiment.subjects(split, task), [], SetMetrics(judges.features)
    tumours = experiment.subjects(split, judges.contrasts) if judges.segmenter and data.labelled else None
    drawn = None if method == TRUTH else Samples(experiment, method, task)
    count = len(data.first(subjects))
    with Progress(f"evaluating {method} ({task})", count) as bar:
        for index in range(count):
            pair = data[index]
            labels = data.labels(pair.subject)
            volumes = drawn.of(pair, samples) if drawn else pair.x0[None]
            if drawn:
                tables.append(score(volumes, pair, method, task, None if labels is None else labels > 0))
                sets.add(volumes[0], pair.x0)
            if len(volumes) > 1:
                save_translation(out / f"{pair.subject}_mean.nii.gz", volumes.mean(0), pair, experiment.preset.cut)
                save_spread(out / f"{pair.subject}_std.nii.gz", volumes.std(0), pair)
            if tumours and labels is not None:
                _, scores = judges.segment(tumours.pair(pair.subject), volumes[0])
                tables.append(rows(method, task, pair.subject, {"0": scores}))
            bar.update(index + 1, pair.subject)
    if drawn:
        tables.append(rows(method, task, SET, {"0": sets.values()}))
    metrics = pd.concat(tables or [rows(method, task, SET, {})], ignore_index=True)
    cost = (cost_of(experiment.runs_of(method, task), experiment.runs) | drawn.cost) if drawn else {}
    context = {
        "method": method,
        "task": task,
        "data": f"{experiment.translated.name} {experiment.translated.fingerprint}",
        "split": split,
        "device": device_name(pick_device()),
    }
    cost |= context | {"subjects": count, "samples": samples, "judges": judges.digests}
    write_atomically(out / "metrics.csv", metrics.to_csv(index=False, lineterminator="\n").encode())
    write_atomically(out / "cost.json", json.dumps(cost).encode())
    return metrics, cost


def cost_of(runs: Iterable[RunConfig], folder: Path) -> dict[str, float]:
    """The cost of a method's runs and of those that they build on: total time and parameters, largest memory (GiB).

    A quantity that is not known of every run is left out; after trainings on several kinds of device, parameters alone
    are comparable.
    """
    costs = [read_cost(find(run, folder)) for run in {run.folder: run for run in with_experts(runs)}.values()]
    devices = {cost.get("device", "CPU").split(",")[0] for cost in costs}  # "CPU, x86_64"
    comparable = KEYS if len(devices) < 2 else ("parameters",)
    known = {key: [cost[key] for cost in costs if key in cost] for key in comparable}
    complete = {key: values for key, values in known.items() if values and len(values) == len(costs)}
    return {key: max(values) if key == "memory" else sum(values) for key, values in complete.items()}


def with_experts(runs: Iterable[RunConfig]) -> Iterable[RunConfig]:
    """Every run, followed by the runs that it builds on."""
    for run in runs:
        yield run
        yield from with_experts(run.experts)


def read_reports(folders: Iterable[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Metrics of several evaluations as one table; and their costs, a row per (method, task).

    Raises `ConfigError` for a file that is damaged.
    """
    folders = list(folders)
    metrics = [read_records(folder / "metrics.csv", COLUMNS, texts=COLUMNS[:-1]) for folder in folders]
    costs = [read_record(folder / "cost.json") for folder in folders]
    for folder, cost in zip(folders, costs):
        if not all(isinstance(cost.get(key), str) for key in ("method", "task")):
            raise ConfigError(f"{folder / 'cost.json'}: says no method or task; {REMEDY}")
    return pd.concat(metrics, ignore_index=True), pd.DataFrame(costs).set_index(["method", "task"])
