"""Samples of a model, and the files that keep them: what was drawn once is read ever after."""

from __future__ import annotations

import csv
import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pandas as pd
import torch

from .checkpoints import write_atomically
from .cost import Spent
from .data import Pair
from .device import autocast
from .methods import method_named
from .sampler import mix_seed, noise_for, trajectory
from .tasks import Task, task_named
from .volumes import VolumeError, load_volume, save_image

if TYPE_CHECKING:
    from .experiment import Experiment


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
    first: int = 0,
    show=lambda done: None,
) -> torch.Tensor:
    """`samples` translations [K, 1, X, Y, Z] in [-1, 1] of the conditions `y` [C, X, Y, Z] of one subject.

    A denoiser is sampled by deterministic DDIM from random noise, another model by its own `trajectory`; one that is
    `deterministic` answers once. What was measured is projected onto in every step, unless `project` is off. What is
    background in the first condition is background, -1, in every sample.

    Sample k depends on (seed, subject, k) alone, so K can be raised without changing the first ones; `first`: the
    number to begin with. `show(done)` is called after each of the K * steps steps.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    y, volumes = y[None].to(device), []
    for index in range(different_samples(model, samples)):
        noise = noise_for(subject, [first + index], seed, y.shape[2:], device)
        generator = torch.Generator().manual_seed(mix_seed(seed, subject, first + index, "steps"))
        with autocast(device, precision):
            options = {"project": task.project if project else None, "generator": generator}
            for state in trajectory(model, y, noise, steps, **options):
                show(index * steps + state.index + 1)
        show((index + 1) * steps)  # some take fewer steps
        volumes.append(torch.where(y[:, :1] > -1.0, state.x0_hat, -1.0).cpu())
    return torch.cat(volumes)


def different_samples(model, samples: int) -> int:
    """How many of `samples` a model gives: one, if all would be the same."""
    return 1 if getattr(model, "deterministic", False) else samples


def save_translation(path: str | Path, volume: torch.Tensor, pair: Pair) -> None:
    """Write one translation [1, X, Y, Z] of `pair` as NIfTI, with its affine and in the unit of its data."""
    data = np.where(pair.seen, pair.scale.invert(volume[0].numpy()), 0.0)
    save_image(path, nib.Nifti1Image(data.astype(np.float32), pair.affine))


def load_translation(path: str | Path, pair: Pair) -> torch.Tensor:
    """What `save_translation` wrote, [1, X, Y, Z] in [-1, 1]; raises `VolumeError` where it is not of this grid."""
    data = load_volume(path).data
    if data.shape != pair.seen.shape:
        raise VolumeError(f"{path}: shape {data.shape}, but {pair.subject} has {pair.seen.shape}; delete this file")
    return torch.from_numpy(pair.scale.apply(data, pair.seen, clip=False))[None]


class Samples:
    """The translations of one method: `<runs>/<preset>/samples-<task>-<method>-<hash8>/<subject>-<k>.nii.gz`.

    The hash is over all that decides them: the trained runs, the data, the sampling. A sample that is not there is
    drawn, so an evaluation that was interrupted goes on, and one with more samples or subjects adds to what is there.
    Everything that measures a method reads these files, and so measures what a user would get.
    """

    def __init__(self, experiment: Experiment, method: str, task: str):
        self.experiment, self.method, self.task = experiment, method, task
        data = experiment.judged
        about = {
            "method": method,
            "task": task,
            "runs": [run.identity for run in experiment.runs_of(method, task)],
            "data": [data.name, data.fingerprint, data.spacing, data.shape],
            "steps": experiment.preset.steps,
            "seed": experiment.seed,
        }
        hash8 = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:8]
        self.folder = experiment.runs / experiment.preset.name / f"samples-{task}-{method}-{hash8}"
        if not (self.folder / "config.json").is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / "config.json", json.dumps(about, indent=2).encode())

    @cached_property
    def model(self) -> torch.nn.Module:
        """The method's model, trained now where it is not trained yet."""
        return self.experiment.model(self.method, self.task)

    def of(self, pair: Pair, count: int) -> torch.Tensor:
        """The first `count` translations of a subject [K, 1, X, Y, Z] in [-1, 1]; one, if all would be the same."""
        paths = [self.folder / f"{pair.subject}-{k}.nii.gz" for k in range(count)]
        if not all(path.is_file() for path in paths):
            paths = paths[: different_samples(self.model, count)]
        for number, path in enumerate(paths):
            if not path.is_file():
                self._draw(pair, number, path)
        return torch.stack([load_translation(path, pair) for path in paths])

    @property
    def cost(self) -> pd.Series:
        """Means over the samples drawn so far: `seconds` on the clock and `core_seconds` each."""
        path = self.folder / "cost.csv"
        return pd.read_csv(path)[["seconds", "core_seconds"]].mean() if path.is_file() else pd.Series(dtype=float)

    def _draw(self, pair: Pair, number: int, path: Path) -> None:
        model, before = self.model, Spent.now()
        (volume,) = sample(
            model,
            pair.y,
            task_named(self.task),
            subject=pair.subject,
            samples=1,
            first=number,
            steps=self.experiment.preset.steps,
            seed=self.experiment.seed,
            project=method_named(self.method, self.task).project,
        )
        spent = Spent.now() - before
        save_translation(path, volume, pair)
        table, new = self.folder / "cost.csv", not (self.folder / "cost.csv").exists()
        with open(table, "a", newline="") as file:
            rows = [("subject", "sample", "seconds", "core_seconds")] if new else []
            rows.append((pair.subject, number, f"{spent.clock:.3f}", f"{spent.cores:.3f}"))
            csv.writer(file, lineterminator="\n").writerows(rows)
