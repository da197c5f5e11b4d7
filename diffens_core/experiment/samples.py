"""Samples of a model, and the files that keep them: each sample is drawn once and then read."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pandas as pd
import torch
import torch.nn as nn

from ..data.prepared import Pair
from ..data.tasks import Task, task_named
from ..data.volumes import VolumeError, load_volume, save_image
from ..diffusion.model import Translator
from ..diffusion.sampler import noise_for, sampler_named
from ..networks.precision import autocast
from ..support.cost import Spent
from ..support.device import keep_freed_memory
from ..support.files import alone_in, write_atomically
from ..support.progress import Progress
from ..support.records import read_records
from ..support.seeds import mix_seed
from ..support.settings import ConfigError
from ..training.runs import weights_digest

if TYPE_CHECKING:
    from .experiment import Experiment

TIMES = ("subject", "sample", "sampling", "core_sampling")  # columns of cost.csv, seconds


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
    sampler: str = "ddim",
    cut: bool = True,
    first: int = 0,
    mirrored: bool = False,
    show=lambda done: None,
) -> torch.Tensor:
    """`samples` translations [K, 1, X, Y, Z] in [-1, 1] of the conditions `y` [C, X, Y, Z] of one subject.

    A denoiser is sampled from random noise by the `sampler` of that name, deterministic DDIM by default; any other
    model by its own `trajectory`, and `ConfigError` is raised where another sampler is asked of it. A `deterministic`
    one gives one sample. Every step projects its estimate onto the measurement, unless `project` is off. Voxels that
    are background in the first condition are background, -1, in every sample, unless `cut` is off.

    Sample k depends on (seed, subject, k) alone, so K can be raised without changing the first ones; first: the number
    to begin with. mirrored: those of odd k are of the mirrored head, and mirrored back, unless its measurement would be
    another one: heads are nearly symmetric, networks only if they were trained for it, and the mean of both guesses is
    better than that of two guesses of one kind. `show(done)` is called after each of the K * steps steps.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    y, volumes = y[None].to(device), []
    chosen = sampler_option(model, sampler)
    mirrored &= task.degradation is None or task.degradation.mirrors(y.shape[2])
    keep_freed_memory()
    for index in range(different_samples(model, samples)):
        k = first + index
        axes = (2,) if mirrored and k % 2 else ()  # to turn around
        noise = noise_for(subject, [k], seed, y.shape[2:], device)
        generator = torch.Generator().manual_seed(mix_seed(seed, subject, k, "steps"))
        with autocast(device, precision):
            options = {"project": task.project if project else None, "generator": generator} | chosen
            for state in model.trajectory(y.flip(axes), noise, steps, **options):
                show(index * steps + state.index + 1)
        show((index + 1) * steps)  # some models take fewer steps
        x0 = state.x0_hat.flip(axes)
        volumes.append((torch.where(y[:, :1] != -1.0, x0, -1.0) if cut else x0).cpu())
    return torch.cat(volumes)


def sampler_option(model: Translator, sampler: str) -> dict[str, str]:
    """What `model.trajectory` is told of a sampler; `ConfigError` for one that is unknown or cannot be chosen."""
    sampler_named(sampler)
    if sampler != "ddim" and not model.any_sampler:
        raise ConfigError(f"sampler {sampler} does not go with this method, which samples in its own way")
    return {"sampler": sampler} if model.any_sampler else {}


def different_samples(model: Translator, samples: int) -> int:
    """The number of samples that a model gives when asked for `samples`: 1 if all would be the same."""
    return 1 if model.deterministic else samples


def save_translation(path: str | Path, volume: torch.Tensor, pair: Pair, cut: bool = True) -> None:
    """Write one translation [1, X, Y, Z] of `pair` as NIfTI, with its affine and in the unit of its data.

    cut: what is background in the first condition is 0. The header identifies the conditions that were translated.
    Raises `VolumeError` for values that are not finite.
    """
    if not torch.isfinite(volume).all():
        raise VolumeError(f"{path}: the translation of {pair.subject} holds values that are not finite")
    data = pair.scale.invert(volume[0].numpy())
    data = np.where(pair.seen, data, 0.0) if cut else data
    image = nib.Nifti1Image(data.astype(np.float32), pair.affine)
    image.header["descrip"] = _conditions(pair)
    save_image(path, image)


def save_spread(path: str | Path, std: torch.Tensor, pair: Pair) -> None:
    """Write the standard deviation [1, X, Y, Z] of samples of `pair` as NIfTI, in the unit of its data."""
    save_image(path, nib.Nifti1Image(pair.scale.invert_spread(std[0].numpy()), pair.affine))


def load_translation(path: str | Path, pair: Pair, cut: bool = True) -> torch.Tensor:
    """Read what `save_translation` wrote: [1, X, Y, Z] in [-1, 1]; `VolumeError` where it is of other conditions."""
    try:
        volume = load_volume(path)
    except VolumeError as error:
        raise VolumeError(f"{error}; delete it, and it is drawn again") from None
    if volume.header["descrip"].item() != _conditions(pair):
        raise VolumeError(f"{path}: {pair.subject} was prepared anew since this was drawn; delete this file")
    return torch.from_numpy(pair.scale.apply(volume.data, pair.seen if cut else np.True_, clip=False))[None]


def _conditions(pair: Pair) -> bytes:
    """Sixteen hexadecimal digits that identify the conditions and the scale of a subject."""
    content = pair.y.numpy().tobytes() + repr(pair.scale).encode()
    return hashlib.sha256(content).hexdigest()[:16].encode()


def read_times(folder: Path) -> pd.DataFrame:
    """What each sample in a folder took: `TIMES`; raises `ConfigError` for a file that is damaged."""
    return read_records(folder / "cost.csv", TIMES, texts=TIMES[:1])


class Samples:
    """The translations of one method: `<runs>/<preset>/samples-<task>-<method>-<hash8>/<subject>-<k>.nii.gz`.

    The hash is over the trained weights, the data and the settings of the sampling. A missing sample is drawn, so an
    interrupted evaluation goes on, and one with more samples or subjects adds to the existing ones. Everything that
    measures a method reads these files, and so measures what a user would get.
    """

    def __init__(self, experiment: Experiment, method: str, task: str):
        self.experiment, self.method, self.task = experiment, method, task_named(task).name

    @cached_property
    def description(self) -> dict:
        """The settings that the hash is over. Weights are among them, so missing runs are trained now."""
        runs, data = self.experiment.runs_of(self.method, self.task), self.experiment.translated
        if not self.experiment.is_trained(runs):
            _ = self.model
        return {
            "method": self.method,
            "task": self.task,
            "weights": [weights_digest(run, self.experiment.runs) for run in runs],
            "data": [data.name, data.fingerprint, data.spacing, data.shape],
            "steps": self.experiment.preset.steps,
            "seed": self.experiment.seed,
            **({} if self.experiment.preset.cut else {"cut": False}),
            **({"mirrored": True} if self.experiment.preset.mirrored else {}),
            **({} if data.normalisation == "condition" else {"normalisation": data.normalisation}),
            **({"sampler": sampler} if (sampler := self.experiment.preset.sampler) != "ddim" else {}),
        }

    @cached_property
    def folder(self) -> Path:
        """The folder of the files; it may not exist yet."""
        hash8 = hashlib.sha256(json.dumps(self.description, sort_keys=True).encode()).hexdigest()[:8]
        name = f"samples-{self.task}-{self.method}-{hash8}"
        return self.experiment.runs / self.experiment.preset.name / name

    @cached_property
    def model(self) -> nn.Module:
        """The trained model; it is loaded only where a sample is drawn."""
        return self.experiment.model(self.method, self.task)

    def of(self, pair: Pair, count: int) -> torch.Tensor:
        """The first `count` translations of a subject [K, 1, X, Y, Z] in [-1, 1]; one if all would be the same."""
        volumes = []
        for number in range(count):
            path = self.path(pair.subject, number)
            if not path.is_file():
                if number >= different_samples(self.model, count):
                    break
                with alone_in(self.folder):  # another process may be drawing it
                    if not path.is_file():
                        self._draw(pair, number, path)
            volumes.append(load_translation(path, pair, self.experiment.preset.cut))
        return torch.stack(volumes)

    def path(self, subject: str, number: int) -> Path:
        """The file of one sample."""
        return self.folder / f"{subject}-{number}.nii.gz"

    @property
    def cost(self) -> dict[str, float]:
        """Mean seconds of the samples drawn so far: `sampling` on the clock, `core_sampling` over all cores."""
        there = (self.folder / "cost.csv").is_file()
        return read_times(self.folder)[[*TIMES[2:]]].mean().round(2).to_dict() if there else {}

    def _draw(self, pair: Pair, number: int, path: Path) -> None:
        write_atomically(self.folder / "config.json", json.dumps(self.description, indent=2).encode())
        before = Spent.now()
        (volume,) = self.experiment.translate(self.method, self.task, pair, model=self.model, first=number)
        spent = Spent.now() - before
        self._note(pair.subject, number, spent)  # first, as a sample that is there is not drawn again
        save_translation(path, volume, pair, self.experiment.preset.cut)

    def _note(self, subject: str, number: int, spent: Spent) -> None:
        """Write what a sample took to cost.csv, in place of what it took when it was drawn before."""
        costs = pd.DataFrame([(subject, number, round(spent.clock, 3), round(spent.cores, 3))], columns=TIMES)
        if (self.folder / "cost.csv").is_file():
            costs = pd.concat([read_times(self.folder), costs])
        costs = costs.drop_duplicates(["subject", "sample"], keep="last")
        write_atomically(self.folder / "cost.csv", costs.to_csv(index=False, lineterminator="\n").encode())


def draw(drawn: Samples, split: str, subjects: int, samples: int) -> pd.DataFrame:
    """Draw the missing samples of the first `subjects` of a split (0: all); a row per file, with a digest of voxels."""
    data, rows = drawn.experiment.subjects(split, drawn.task), []
    with Progress(f"sampling {drawn.method} ({drawn.task})", len(data.first(subjects))) as bar:
        for index in data.first(subjects):
            pair = data[index]
            for number, volume in enumerate(drawn.of(pair, samples)):
                voxels = hashlib.sha256(volume.numpy().tobytes()).hexdigest()[:16]
                rows.append((pair.subject, number, drawn.path(pair.subject, number).name, voxels))
            bar.update(index + 1, pair.subject)
    return pd.DataFrame(rows, columns=["subject", "sample", "file", "voxels"])
