"""The configuration of a run: frozen dataclasses, checked when read, and the hash that names its folder."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..data.layout import DataConfig
from ..data.tasks import LABELS, Task, task_named
from ..diffusion.schedule import PREDICTIONS, DiffusionConfig
from ..models.autoencoder import AutoencoderConfig
from ..models.fusion import FusionConfig
from ..models.segmentation import SegmenterConfig
from ..networks.unet import UNetConfig
from ..support.files import is_name
from ..support.records import read_json
from ..support.settings import ConfigError, at_least, from_dict, one_of, option, quoted, to_dict
from .loop import TrainConfig
from .stages import STAGES

RESIDUAL = ("expert", "volume", "fusion")  # stages whose `target` can be a residual


@dataclass(frozen=True)
class RunConfig:
    """One training. experts: the runs that it builds on; plane: whose slices a 2D model sees.

    prediction: what the network of a diffusion model predicts; that of a fusion is in `fusion`.
    unet: None for an autoencoder and a segmenter, which have settings of their own, and for volumetric layers, which
    are added to an existing network.
    slab: neighbours on either side of a slice whose conditions a 2.5D model reads too; ode: a bridge without noise;
    interpolated: whether a network reads the interpolation of a measurement besides the measurement; target: what is
    diffused, the `image` or the `residual` (`diffusion/residual.py`).
    """

    preset: str
    stage: str
    task: str
    name: str
    seed: int
    data: DataConfig
    diffusion: DiffusionConfig
    unet: UNetConfig | None
    train: TrainConfig
    plane: str | None = None
    prediction: str = "v"
    fusion: FusionConfig | None = None
    experts: tuple[RunConfig, ...] = field(default=())
    slab: int = option(0)
    ode: bool = option(False)
    interpolated: bool = option(True)
    target: str = option("image")
    autoencoder: AutoencoderConfig | None = option(None)
    segmenter: SegmenterConfig | None = option(None)

    def __post_init__(self):
        for key, value in (("preset", self.preset), ("name", self.name)):
            if not is_name(value):
                raise ConfigError(f"{key} must be a name that a folder can have, not {quoted(value)}")
        one_of("stage", self.stage, STAGES)
        task = task_named(self.task)
        if (task.target == LABELS) != (self.stage == "segmentation") or self.task != task.name:
            raise ConfigError(f"stage '{self.stage}' does not do task {quoted(self.task)}; is it not '{task.name}'?")
        one_of("prediction", self.prediction, PREDICTIONS)
        one_of("target", self.target, ("image", "residual"))
        at_least("slab", self.slab, 0)
        stage = STAGES[self.stage]
        if stage.sliced not in (None, self.plane is not None) or {run.stage for run in self.experts} != stage.builds_on:
            wants = {True: "a plane", False: "no plane", None: "a plane or none"}[stage.sliced]
            below = " and ".join(f"runs of stage '{name}'" for name in stage.builds_on) or "none"
            raise ConfigError(f"stage '{self.stage}' has {wants}, and as its experts {below}")
        if any(p.patch for p in self.train.phases) and self.stage != "fusion":
            raise ConfigError(f"stage '{self.stage}': only a fusion's phases have a patch, those of all others a crop")
        if self.target == "residual" and (self.stage not in RESIDUAL or self.train.states):
            raise ConfigError("a residual target is for diffusion models of images that learn from true ones")
        if any(run.target != self.target for run in self.experts):
            raise ConfigError("a run and its experts have the same target")
        if self.fusion and self.fusion.keep_contrast and (task.degradation or not self.train.states):
            raise ConfigError("keep_contrast is for a task without a measurement, learnt on the sampler's states")
        if self.fusion and self.fusion.ramp and not self.train.states:
            raise ConfigError("a ramp is for a fusion that learns the whole correction, on the sampler's states")

    @property
    def translation(self) -> Task:
        """Its task, with the conditions that its networks read."""
        return replace(task_named(self.task), interpolated=self.interpolated)

    @property
    def identity(self) -> str:
        """Eight hexadecimal digits of a hash over all settings that decide the trained weights, not over the code."""
        content = _forget_roots(to_dict(self))
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def folder(self) -> Path:
        """The folder of this run below that of all runs: `<preset>/<stage>-<task>-<name>-<hash8>`."""
        return Path(self.preset) / f"{self.stage}-{self.task}-{self.name}-{self.identity}"


def load_config(path: str | Path) -> RunConfig:
    """Read a `config.json`; raises `ConfigError` where it is missing or invalid."""
    path = Path(path)
    try:
        content = read_json(path, "correct it")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    try:
        return from_dict(RunConfig, content)
    except (ConfigError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from None


def _forget_roots(content):
    """The content without folders of data: the same data elsewhere are the same data."""
    if isinstance(content, dict):
        return {key: _forget_roots(value) for key, value in content.items() if key != "root"}
    return [_forget_roots(value) for value in content] if isinstance(content, list) else content


def pool_gib(run: RunConfig) -> float:
    """Memory in GiB that the states of a fusion take while it trains; in bf16 the experts' feature maps take half."""
    patch = run.train.phases[0].patch or run.data.shape
    voxels = math.prod(min(size, n) for size, n in zip(patch, run.data.shape))
    conditions = len(run.translation.conditions)
    maps = sum(expert.unet.base * m / 4**k for expert in run.experts for k, m in enumerate(expert.unet.mult))
    volumes = 2 + conditions + 3 + len(run.experts) + run.fusion.linear  # x0, xt, y, coords, eps_planes, start
    return run.train.states.patches * voxels * 4 * (volumes + maps * run.fusion.features) / 2**30
