"""Run configurations of the trainings behind methods, for one preset, task, data set and seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..data.layout import DataConfig
from ..data.planes import PLANES
from ..data.tasks import task_named
from ..networks.unet import UNetConfig
from ..training.config import RESIDUAL, RunConfig
from ..training.loop import Phase, TrainConfig
from .presets import Preset, shortened


@dataclass(frozen=True)
class Setting:
    """Preset, task, data and seed that all runs of a method share, and the runs that can be made of them."""

    preset: Preset
    task: str
    data: DataConfig
    seed: int = 0

    def expert(self, plane: str, slab: int = 0, task: str | None = None, all_time: bool = False) -> RunConfig:
        """A 2D diffusion model on the slices of `plane`, or on slabs of 2 slab + 1 of them.

        all_time: train it for half of the time of `ours-tpdm`.
        """
        name = f"{plane}-2.5d" if slab else plane
        task = task or self.task
        phases = (*self.preset.expert_train, *self.preset.expert_restarts.get(task, ()))
        train = self.preset.training(self._sliced(phases, plane))
        if all_time:
            name, train = self._given_time("expert", name, train)
        run = self._run("expert", name, self.preset.expert, train, plane=plane, slab=slab)
        return replace(run, task=task)

    def fusion(
        self,
        name: str,
        experts: Sequence[RunConfig],
        *,
        unet: UNetConfig | None = None,
        train: TrainConfig | None = None,
        **changes,
    ) -> RunConfig:
        """The 3D network that fuses `experts`; train: another training than the preset's; changes: to its settings.

        If it is trained on the sampler's states, a task without a measurement keeps the average's contrast, and only
        such a task has the preset's ramp, unless `changes` say otherwise.
        """
        unmeasured = task_named(self.task).degradation is None
        own = {"keep_contrast": unmeasured and self.preset.states is not None}
        own |= {"ramp": self.preset.fusion_config.ramp if unmeasured else 0.0}
        config = replace(self.preset.fusion_config, **own | changes)
        options = {"prediction": config.prediction, "fusion": config, "experts": tuple(experts)}
        return self._run("fusion", name, unet or self.preset.fusion, train or self.preset.fusion_training(), **options)

    def baseline(self, name: str, stage: str, plane: str | None = None, all_time: bool = False, **options) -> RunConfig:
        """A method of one network, by the preset's recipe for it; 2D on the slices of `plane`, else 3D.

        all_time: train it for all the time of `ours-tpdm`.
        """
        recipe = self.preset.recipe(name, plane)
        train = replace(recipe.train, phases=self._sliced(recipe.train.phases, plane))
        if all_time:
            name, train = self._given_time(name, name, train)
        run = self._run(stage, name, recipe.unet, train, plane=plane, **options)
        return replace(run, diffusion=recipe.diffusion, prediction=recipe.prediction)

    def segmenter(self) -> RunConfig:
        """The network that segments the tumour, for a segmentation task."""
        train = self.preset.recipe("segmenter", None).train
        return self._run("segmentation", "segmenter", None, train, segmenter=self.preset.segmenter)

    def _run(self, stage: str, name: str, unet: UNetConfig, train, **options) -> RunConfig:
        preset = self.preset
        common = {"prediction": preset.prediction, "interpolated": preset.interpolated}
        common |= {"target": preset.target} if stage in RESIDUAL else {}
        return RunConfig(
            preset.name, stage, self.task, name, self.seed, self.data, preset.diffusion, unet, train, **common | options
        )

    def _given_time(self, kind: str, name: str, train: TrainConfig) -> tuple[str, TrainConfig]:
        """Name and training of a model that may take all the time of its `kind` (`Preset.all_time`)."""
        return f"{name}-all-time", replace(train, phases=shortened(train.phases, self.preset.all_time[kind]))

    def _sliced(self, phases: Sequence[Phase], plane: str | None) -> tuple[Phase, ...]:
        """The phases; those of a 2D model that name no crop see whole slices."""
        if plane is None:
            return tuple(phases)
        thick = tuple(1 if p == plane else n for p, n in zip(PLANES, self.preset.shape))
        return tuple(replace(phase, crop=phase.crop or thick) for phase in phases)
