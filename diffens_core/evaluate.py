"""Translate the subjects of a split with a method and score the samples and their mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import torch

from .data import Pair
from .device import autocast
from .metrics import image_metrics
from .sampler import mix_seed, noise_for, trajectory
from .tasks import Task
from .volumes import save_image

COLUMNS = ["method", "task", "subject", "sample", "metric", "value"]
METRICS = ("psnr", "ssim", "psnr_brain", "ssim_brain")


@torch.inference_mode()
def sample(
    model,
    y,
    task: Task,
    *,
    subject: str,
    samples: int,
    steps: int,
    seed=0,
    precision="auto",
    project=True,
    show=lambda done: None,
) -> torch.Tensor:
    """`samples` translations [K, 1, X, Y, Z] in [-1, 1] of the conditions `y` [C, X, Y, Z] of one subject.

    A denoiser is sampled by deterministic DDIM from random noise, another model by its own `trajectory`; one that is
    `deterministic` answers once. What was measured is projected onto in every step, unless `project` is off. Sample k
    depends on (seed, subject, k) alone, so K can be raised without changing the first ones. `show(done)` is called
    after each of the K * steps steps.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    y, volumes = y[None].to(device), []
    for k in range(different_samples(model, samples)):
        noise = noise_for(subject, [k], seed, y.shape[2:], device)
        generator = torch.Generator().manual_seed(mix_seed(seed, subject, k, "steps"))
        with autocast(device, precision):
            options = {"project": task.project if project else None, "generator": generator}
            for state in trajectory(model, y, noise, steps, **options):
                show(k * steps + state.index + 1)
        show((k + 1) * steps)  # some take fewer steps
        volumes.append(state.x0_hat.cpu())
    return torch.cat(volumes)


def different_samples(model, samples: int) -> int:
    """How many of `samples` a model gives: one, if all would be the same."""
    return 1 if getattr(model, "deterministic", False) else samples


def score(volumes: torch.Tensor, pair: Pair, method: str, task: str) -> pd.DataFrame:
    """Metrics of each of `volumes` [K, 1, X, Y, Z] and, for K > 1, of their mean (sample `mean`)."""
    candidates = {str(k): volume for k, volume in enumerate(volumes)}
    if len(volumes) > 1:
        candidates["mean"] = volumes.mean(0)
    target, brain = pair.x0[0].numpy(), pair.brain.numpy()
    rows = [
        (method, task, pair.subject, name, metric, value)
        for name, volume in candidates.items()
        for metric, value in image_metrics(volume[0].numpy(), target, brain).items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def subject_means(metrics: pd.DataFrame) -> pd.Series:
    """Mean over the samples of each subject, by (method, task, kind, metric, subject).

    kind is `single sample`, or `mean of samples` for the metrics of the samples' mean.
    """
    kind = np.where(metrics["sample"] == "mean", "mean of samples", "single sample")
    return metrics.assign(kind=kind).groupby(["method", "task", "kind", "metric", "subject"])["value"].mean()


def results_table(metrics: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """Mean over subjects: a row per method in `order`; for single samples and for the mean of samples the metrics.

    The metrics of single samples are averaged over the samples of a subject first. A method with one sample, such
    as interpolation, has no mean of samples.
    """
    table = subject_means(metrics).groupby(["method", "kind", "metric"]).mean().unstack(["kind", "metric"])
    columns = [(kind, metric) for kind in ("single sample", "mean of samples") for metric in METRICS]
    return table.reindex(index=order, columns=[c for c in columns if c in table.columns])


def save_translation(path: str | Path, volume: torch.Tensor, pair: Pair) -> None:
    """Write one translation [1, X, Y, Z] of `pair` as NIfTI, with its affine and in the unit of its data."""
    seen = (pair.y[0] > -1.0).numpy()  # what is background in the condition stays background
    data = np.where(seen, pair.scale.invert(volume[0].numpy()), 0.0)
    save_image(path, nib.Nifti1Image(data.astype(np.float32), pair.affine))
