"""Tables of metrics: scores of samples against the truth, and means over subjects.

`metrics.csv` has one row per subject, sample and metric. The sample is a number, `mean` for the mean of all samples, or
`all` for metrics of all samples together; the subject `all` stands for metrics of the whole set of subjects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from ..data.layout import EVERYONE as SET
from ..data.prepared import Pair
from ..data.tasks import task_named
from ..experiment.experiment import Experiment
from ..experiment.samples import Samples
from ..support.device import pick_device
from ..support.progress import Progress
from .metrics import image_metrics
from .uncertainty import uncertainty, uncertainty_metrics

COLUMNS = ["method", "task", "subject", "sample", "metric", "value"]
METRICS = ("psnr", "ssim", "psnr_brain", "ssim_brain")


def score(
    volumes: torch.Tensor, pair: Pair, method: str, task: str, tumour: torch.Tensor | None = None
) -> pd.DataFrame:
    """Metrics of each of `volumes` [K, 1, X, Y, Z]; where K > 1 also of their mean, and of their uncertainty.

    tumour: bool [X, Y, Z]. `measurement_error` is the largest difference between what was measured and the measurement
    of any sample (the block means), in the unit of volumes in [-1, 1].
    """
    device = pick_device()
    candidates = {str(k): volume for k, volume in enumerate(volumes)}
    if len(volumes) > 1:
        candidates["mean"] = volumes.mean(0)
    target, brain = pair.x0[0].to(device), pair.brain
    scores = {name: image_metrics(v[0].to(device), target, brain, tumour) for name, v in candidates.items()}
    together = {}
    if degradation := task_named(task).degradation:
        errors = [(degradation.degrade(v[None]) - pair.y[:1]).abs().max() for v in volumes]
        together["measurement_error"] = float(max(errors))
    if len(volumes) > 1:
        single = [scores[str(k)] for k in range(len(volumes))]
        spread = (*METRICS, "ssim_paper")
        together |= {f"std_of_{m}": float(np.std([metrics[m] for metrics in single], ddof=1)) for m in spread}
        together |= uncertainty_metrics(uncertainty(volumes[:, 0].to(device), target), brain.to(device))
    return rows(method, task, pair.subject, scores | ({SET: together} if together else {}))


def compare(
    experiment: Experiment, names: Sequence[str], task: str, pairs: Sequence[Pair], samples: int
) -> tuple[pd.DataFrame, dict[tuple[str, str], torch.Tensor]]:
    """Score every method on every pair from the files of its samples, as `evaluate` does; missing samples are drawn.

    Returns the metrics as a table and the volumes as {(method, subject): [K, 1, X, Y, Z]}.
    """
    tables, volumes = [pd.DataFrame(columns=COLUMNS)], {}
    with Progress(f"translating ({task})", len(names) * len(pairs)) as bar:
        for method in names:
            drawn = Samples(experiment, method, task)
            for pair in pairs:
                volumes[method, pair.subject] = drawn.of(pair, samples)
                tables.append(score(volumes[method, pair.subject], pair, method, task))
                bar.update(len(volumes), method)
    return pd.concat(tables[1:] or tables, ignore_index=True), volumes


def rows(method: str, task: str, subject: str, scores: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """A table with `COLUMNS` from the scores of a subject: for each sample, metrics by name."""
    lines = [(method, task, subject, sample, m, v) for sample, metrics in scores.items() for m, v in metrics.items()]
    return pd.DataFrame(lines, columns=COLUMNS)


def subject_means(metrics: pd.DataFrame) -> pd.Series:
    """Mean over the samples of each subject, by (method, task, kind, metric, subject).

    The kind is `single sample`, `mean of samples` for the metrics of the samples' mean, or `all samples`.
    """
    kinds = {"mean": "mean of samples", SET: "all samples"}
    kind = metrics["sample"].map(kinds).fillna("single sample")
    return metrics.assign(kind=kind).groupby(["method", "task", "kind", "metric", "subject"])["value"].mean()


def by_subject(metrics: pd.DataFrame, metric: str, methods: Sequence[str], kind: str = "single sample") -> pd.DataFrame:
    """One metric of one task: a row per subject, a column for each of `methods` that has it.

    kind: as in `subject_means`.
    """
    means = subject_means(metrics[metrics["metric"] == metric])
    if kind not in means.index.get_level_values("kind"):
        return pd.DataFrame()
    table = means.xs(kind, level="kind").unstack("method").droplevel(["task", "metric"])
    return table[[method for method in methods if method in table]]


def summary(metrics: pd.DataFrame) -> pd.DataFrame:
    """Mean over subjects of every metric of one method: a row per metric, a column per kind of sample.

    `subjects` counts those that have the metric: a subject without labels or tumour has none within the tumour.
    """
    values = subject_means(metrics)
    means = values.groupby(["metric", "kind"]).mean().unstack("kind")
    counts = values.drop(SET, level="subject", errors="ignore").groupby(["metric", "kind"]).count()
    means["subjects"] = counts.groupby("metric").max().astype("Int64")
    return means.reindex(metrics["metric"].drop_duplicates()).astype(object).fillna("")


def results_table(metrics: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """Means over subjects of `METRICS`, of single samples and of the mean of samples: a row per method in `order`.

    The metrics of single samples are averaged over the samples of a subject first. A method with one sample, such
    as interpolation, has no mean of samples.
    """
    table = subject_means(metrics).groupby(["method", "kind", "metric"]).mean().unstack(["kind", "metric"])
    columns = [(kind, metric) for kind in ("single sample", "mean of samples") for metric in METRICS]
    return table.reindex(index=order, columns=[c for c in columns if c in table.columns])
