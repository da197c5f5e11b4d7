"""What a notebook opens: a preset, its data and its runs, from a handful of flat parameters."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch.nn as nn
from filelock import FileLock

from ..data.prepared import DataConfig, Pair, PreparedData, describe_data
from ..data.tasks import task_named
from ..models.segmentation import Segmenter
from ..support.device import pick_device
from ..support.places import default_runs, home
from ..support.progress import Progress
from ..training.config import RunConfig
from ..training.runs import find, load_or_train
from .methods import method_named, model_of
from .presets import Preset, preset_named
from .samples import sample
from .setting import Setting


@dataclass(frozen=True)
class Experiment:
    """One preset on one data set; methods, runs and subjects are asked of it by name.

    elsewhere: another data set, whose subjects are asked for in place of those of `data`, which models are trained on.
    """

    preset: Preset
    data: DataConfig
    runs: Path
    seed: int
    embedded: bool
    elsewhere: DataConfig | None = None

    @property
    def judged(self) -> DataConfig:
        """The data set whose subjects are translated."""
        return self.elsewhere or self.data

    @property
    def out(self) -> Path:
        """Where its results go: `figures/out/<preset>`, or with the data set's name behind it if it is not embedded."""
        own = self.embedded and self.elsewhere is None
        place = self.preset.name + ("" if own else f"-{self.judged.name}-{self.judged.fingerprint}")
        return home() / "figures" / "out" / place

    def setting(self, task: str) -> Setting:
        """What the runs of every method share in a task."""
        return Setting(self.preset, task, self.data, self.seed)

    def model(self, method: str, task: str) -> nn.Module:
        """The trained model of a method on the best device; what is not trained yet is trained now."""
        self._prepare_training(self.runs_of(method, task))
        return model_of(method, self.setting(task), self.runs).to(pick_device())

    def segmenter_run(self, task: str) -> RunConfig:
        """The training of the judge of tumours, `seg4`, `seg2` or `seg1`: one for all seeds."""
        return Setting(self.preset, task, self.data).segmenter()

    def segmenter(self, task: str) -> Segmenter:
        """The trained judge of tumours on the best device; trained now where it is not yet."""
        run = self.segmenter_run(task)
        self._prepare_training([run])
        return load_or_train(run, self.runs).to(pick_device())

    def _prepare_training(self, runs: Sequence[RunConfig]) -> None:
        if self.embedded and any(find(run, self.runs) is None for run in runs):
            embedded_data(self.preset, ("train",))

    def runs_of(self, method: str, task: str) -> tuple[RunConfig, ...]:
        """The configurations of the trainings that a method needs, experts within their fusion."""
        return tuple(method_named(method, task).runs(self.setting(task)))

    def log(self, run: RunConfig) -> pd.DataFrame:
        """The training log of a finished run: columns step, loss, lr."""
        return pd.read_csv(find(run, self.runs) / "log.csv")

    def subjects(self, split: str, task: str, keep: bool = False) -> PreparedData:
        """The pairs of a split for a task; with `keep`, as training wants it, they stay in memory once read."""
        return PreparedData(self.judged, split, task_named(task), keep)

    def translate(self, method: str, task: str, pair: Pair, samples: int = 1, model: nn.Module | None = None, first=0):
        """Translations [K, 1, X, Y, Z] in [-1, 1] of one subject: `samples` of them, or one if all would be the same.

        model: the method's, if it is at hand. first: the number of the first sample.
        """
        return sample(
            model or self.model(method, task),
            pair.y,
            task_named(task),
            subject=pair.subject,
            samples=samples,
            first=first,
            steps=self.preset.steps,
            seed=self.seed,
            project=method_named(method, task).project,
        )


def open_experiment(
    preset: str,
    seed: int = 0,
    data: str = "",
    runs: str = "",
    splits: Sequence[str] = ("test",),
    elsewhere: str = "",
    steps: int = 0,
) -> Experiment:
    """Open prepared data at `data`, or the preset's embedded phantoms, of which missing `splits` are made now.

    Training phantoms are made when a training needs them. `elsewhere`: prepared data whose subjects are to be
    translated by models that are trained on the former. `steps`: of sampling, in place of the preset's.

    `runs` is where trainings are kept (default: DIFFENS_RUNS or `runs`). Raises `ConfigError` for an unknown
    preset and `VolumeError` for data that is not there.
    """
    chosen = preset_named(preset)
    chosen = replace(chosen, steps=steps) if steps else chosen
    root = Path(data) if data else embedded_data(chosen, () if elsewhere else splits)
    trained, other = (describe_data(r, chosen.spacing, chosen.shape) if r else None for r in (root, elsewhere))
    return Experiment(chosen, trained, Path(runs) if runs else default_runs(), seed, not data, other)


def embedded_data(preset: Preset, splits: Sequence[str]) -> Path:
    """The folder of a preset's phantoms, `data/phantom-<preset>` at home; makes the `splits` that are missing."""
    from data_prep.phantom import prepare_phantoms

    root = home() / "data" / f"phantom-{preset.name}"
    root.parent.mkdir(parents=True, exist_ok=True)
    bar = Progress("making phantoms", 0)
    # Two notebooks may ask at once. A worker does not wait: what waits for it may hold the lock, in a script without a
    # main guard.
    patience = -1 if multiprocessing.parent_process() is None else 0
    with FileLock(root.parent / f".{root.name}.lock", timeout=patience):
        prepare_phantoms(root, subjects=preset.phantoms, spacing=preset.spacing, only=tuple(splits), progress=bar.count)
    return root
