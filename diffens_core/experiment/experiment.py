"""The experiment that a notebook opens: a preset, its data and its runs, from a few flat parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import torch.nn as nn

from ..data.layout import CONTRASTS, DataConfig, data_contrasts, describe_data
from ..data.prepared import Pair, PreparedData
from ..data.tasks import Task, task_named
from ..diffusion.sampler import sampler_named, timesteps
from ..models.segmentation import Segmenter
from ..support.device import pick_device
from ..support.places import default_runs, home
from ..training.config import RunConfig
from ..training.loop import read_log
from ..training.runs import find, load_or_train
from .embedded import Phantoms
from .methods import method_named, model_of
from .presets import Preset, preset_named
from .samples import sample
from .setting import Setting


@dataclass(frozen=True)
class Experiment:
    """One preset on one data set; methods, runs and subjects are asked of it by name.

    data: what models are trained on; second: another data set, whose subjects are translated instead.
    phantoms: those of these data sets that are embedded, by `root`; they are made when they are first read.
    """

    preset: Preset
    data: DataConfig
    runs: Path
    seed: int
    phantoms: Mapping[str, Phantoms] = field(default_factory=dict)
    second: DataConfig | None = None

    @property
    def translated(self) -> DataConfig:
        """The data set whose subjects are translated."""
        return self.second or self.data

    @property
    def out(self) -> Path:
        """The folder of its results: `figures/out/<preset>`, with the names of second data and of those trained on,
        unless they are embedded."""
        given = [self.second, None if self.data.root in self.phantoms else self.data]
        data = "-by-".join(f"{one.name}-{one.fingerprint}" for one in given if one)
        return home() / "figures" / "out" / "-".join(filter(None, [self.preset.name, data]))

    def task(self, name: str) -> Task:
        """A task by its name or line, with the conditions that its networks read."""
        return self.preset.task(name)

    def setting(self, task: str) -> Setting:
        """The setting that the runs of all methods share in a task."""
        return Setting(self.preset, task_named(task).name, self.data, self.seed)

    def model(self, method: str, task: str) -> nn.Module:
        """The trained model of a method on the best device; missing runs are trained now."""
        self._make_training_data(self.runs_of(method, task))
        return model_of(method, self.setting(task), self.runs).to(pick_device())

    def segmenter_run(self, task: str) -> RunConfig:
        """The training of the tumour segmenter for `seg4`, `seg2` or `seg1`; all seeds share it."""
        return Setting(self.preset, task, self.data).segmenter()

    def segmenter(self, task: str) -> Segmenter:
        """The trained tumour segmenter on the best device; it is trained now where it is missing."""
        run = self.segmenter_run(task)
        self._make_training_data([run])
        return load_or_train(run, self.runs).to(pick_device())

    def is_trained(self, runs: Sequence[RunConfig]) -> bool:
        """Whether the weights of all these trainings are there, its own or shipped ones."""
        return all(find(run, self.runs) for run in runs)

    def _make_training_data(self, runs: Sequence[RunConfig]) -> None:
        if not self.is_trained(runs):
            self._make(self.data, "train")

    def _make(self, data: DataConfig, split: str) -> None:
        if data.root in self.phantoms:
            self.phantoms[data.root].make([split])

    def runs_of(self, method: str, task: str) -> tuple[RunConfig, ...]:
        """The configurations of the trainings that a method needs, experts within their fusion."""
        return tuple(method_named(method, task).runs(self.setting(task)))

    def log(self, run: RunConfig) -> pd.DataFrame:
        """The training log of a finished run: columns step, loss, lr."""
        return read_log(find(run, self.runs))

    def subjects(self, split: str, task: str, keep: bool = False) -> PreparedData:
        """The pairs of a split for a task; phantoms are made now. With `keep`, pairs stay in memory once read."""
        self._make(self.translated, split)
        return PreparedData(self.translated, split, self.task(task), keep)

    @property
    def contrasts(self) -> set[str]:
        """The contrasts that all subjects have, those to train on and those to translate."""
        known = [CONTRASTS if d.root in self.phantoms else data_contrasts(d) for d in (self.data, self.translated)]
        return set.intersection(*map(set, known))

    def translate(self, method: str, task: str, pair: Pair, samples: int = 1, model: nn.Module | None = None, first=0):
        """Translations [K, 1, X, Y, Z] in [-1, 1] of one subject: K = `samples`, or 1 if all would be the same.

        model: the method's, if it is loaded already. first: the number of the first sample.
        """
        return sample(
            model or self.model(method, task),
            pair.y,
            self.task(task),
            subject=pair.subject,
            samples=samples,
            first=first,
            steps=self.preset.steps,
            sampler=self.preset.sampler,
            seed=self.seed,
            cut=self.preset.cut,
            mirrored=self.preset.mirrored,
            project=method_named(method, task).project,
        )


def open_experiment(
    preset: str,
    seed: int = 0,
    data: str | DataConfig = "",
    runs: str = "",
    second: str | Phantoms = "",
    steps: int = 0,
    sampler: str = "",
) -> Experiment:
    """Open prepared data at `data`, or else the preset's embedded phantoms; nothing is made or written yet.

    data: a description where the data themselves may be elsewhere, as those of shipped weights are.
    second: a folder of other data, or other phantoms, that are translated by the models trained on the first.
    runs: where trainings are kept (default: DIFFENS_RUNS or `runs`). steps, sampler: of sampling, in place of the
    preset's.

    Raises `ConfigError` for an unknown preset or sampler, `InputError` for a number of steps that the schedule does not
    have, and `VolumeError` for data that are not there.
    """
    chosen = preset_named(preset)
    chosen = replace(chosen, steps=steps or chosen.steps, sampler=sampler or chosen.sampler)
    sampler_named(chosen.sampler)
    timesteps(chosen.diffusion.schedule, chosen.steps)
    sources = [data or Phantoms(f"phantom-{preset}", chosen.phantoms, chosen.spacing), *filter(None, [second])]
    described = [replace(_described(source, chosen), normalisation=chosen.normalisation) for source in sources]
    phantoms = {config.root: source for config, source in zip(described, sources) if isinstance(source, Phantoms)}
    return Experiment(chosen, described[0], Path(runs) if runs else default_runs(), seed, phantoms, *described[1:])


def _described(source: str | DataConfig | Phantoms, preset: Preset) -> DataConfig:
    if isinstance(source, DataConfig):
        return source
    if isinstance(source, Phantoms):
        return source.describe(preset.shape)
    return describe_data(source, preset.spacing, preset.shape)
