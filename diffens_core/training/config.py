"""What defines a run: frozen dataclasses, checked when read, and the hash that names its folder."""

from __future__ import annotations

import hashlib
import json
import math
import types
import typing
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path

from ..data.tasks import SEGMENTATIONS, TASKS
from ..diffusion.schedule import PREDICTIONS, Schedule


class ConfigError(ValueError):
    """An unknown key, a wrong type or an impossible value; one line that names it."""


def option(default):
    """A setting with a neutral value. At that value it is left out of a run's identity and of its JSON.

    So a new option never orphans the runs that were trained before there was a choice.
    """
    return field(default=default, metadata={"option": True})


@dataclass(frozen=True)
class DiffusionConfig:
    """Noise schedule shared by every network of a run; kind: `linear` beta, or `cosine` (which has no use for beta)."""

    steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 2e-2
    kind: str = option("linear")

    def __post_init__(self):
        _one_of("kind", self.kind, ("linear", "cosine"))
        _at_least("steps", self.steps, 1)
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise ConfigError(f"0 < beta_start <= beta_end < 1 must hold, not {self.beta_start}, {self.beta_end}")

    @property
    def schedule(self) -> Schedule:
        """The table of noise levels that these settings mean."""
        return Schedule(self.steps, self.beta_start, self.beta_end, self.kind)


@dataclass(frozen=True)
class UNetConfig:
    """Widths are `base * mult[k]` at level k; `blocks` residual blocks a level.

    attention: levels whose blocks are followed by self-attention; where there are any, the middle has it too.
    kernel: of the convolutions within a level, 1 or 3; with 1 and a single level no voxel sees another.
    """

    base: int = 64
    mult: tuple[int, ...] = (1, 2, 4, 8)
    blocks: int = 2
    dropout: float = 0.0
    checkpointing: bool = False
    attention: tuple[int, ...] = option(())
    kernel: int = option(3)

    def __post_init__(self):
        _one_of("kernel", self.kernel, (1, 3))
        _at_least("base", self.base, 2)
        _at_least("blocks", self.blocks, 1)
        if not self.mult or min(self.mult) < 1:
            raise ConfigError(f"mult must be positive numbers, not {self.mult}")
        if not set(self.attention) <= set(range(len(self.mult))):
            raise ConfigError(f"attention must name levels 0 to {len(self.mult) - 1}, not {self.attention}")


@dataclass(frozen=True)
class FusionConfig:
    """gate: `softmax` (convex), `affine` (the authors'), or `uniform` (the average: all that is learnt is residual).

    lam: weight of the residual, 0 leaves the gate alone; features: read the experts' feature maps; coordinates: tell
    the 3D network where in the head it is; linear: start from a least-squares correction of the average, and read the
    estimate that the sampler makes of it; context: off, a control: no neighbours, and the finest feature maps averaged
    over planes (with a network that is as blind, `UNetConfig.kernel`); keep_contrast: in each step brightness and
    contrast of a head stay those of the experts' average (`contrast.py`).
    """

    gate: str = "softmax"
    lam: float = 1.0
    features: bool = True
    prediction: str = "v"
    coordinates: bool = option(True)
    linear: bool = option(False)
    context: bool = option(True)
    keep_contrast: bool = option(False)

    def __post_init__(self):
        _one_of("gate", self.gate, ("softmax", "affine", "uniform"))
        _one_of("prediction", self.prediction, PREDICTIONS)
        if not math.isfinite(self.lam):
            raise ConfigError(f"lam must be a number, not {self.lam}")
        if self.linear and self.prediction != "x0":
            raise ConfigError("a linear start corrects clean estimates: it needs prediction 'x0'")


@dataclass(frozen=True)
class AutoencoderConfig:
    """channels: widths of the levels, each half as fine as the one before; kl: weight of the KL divergence."""

    channels: tuple[int, ...] = (128, 256, 512, 512)
    blocks: int = 2
    latent_channels: int = 4
    kl: float = 1e-4

    def __post_init__(self):
        _at_least("blocks", self.blocks, 1)
        _at_least("latent_channels", self.latent_channels, 1)
        if not self.channels or min(self.channels) < 1 or any(width % self.groups for width in self.channels):
            raise ConfigError(f"channels must be multiples of half of the first one, not {self.channels}")
        if self.latent_channels >= self.factor**2:
            raise ConfigError(f"latent_channels must be below {self.factor**2}: more would compress nothing")

    @property
    def factor(self) -> int:
        """How many times smaller latents are, along both axes of a slice."""
        return 2 ** (len(self.channels) - 1)

    @property
    def groups(self) -> int:
        """Groups of the normalisation layers."""
        return max(1, min(32, self.channels[0] // 2))


@dataclass(frozen=True)
class SegmenterConfig:
    """A SwinUNETR. feature_size: its first width, a multiple of 12; attention: edge of the windows that its tokens see
    each other in; window: edge of the boxes that a volume is segmented in."""

    feature_size: int = 48
    attention: int = 7
    window: int = 128

    def __post_init__(self):
        if self.feature_size < 12 or self.feature_size % 12:
            raise ConfigError(f"feature_size must be a multiple of 12, not {self.feature_size}")
        _at_least("attention", self.attention, 1)
        if self.window < 64 or self.window % 32:
            raise ConfigError(f"window must be a multiple of 32 from 64 on, not {self.window}")


@dataclass(frozen=True)
class Phase:
    """`steps` optimiser steps on whole volumes, or on parts of them.

    crop: random windows of so many voxels are all that a model sees; 1 along an axis makes slices, for 2D models.
    patch: a fusion works in random boxes of so many voxels, while its experts see the whole slices through them.
    alone: the 3D network of a fusion learns without its experts (`states.without_experts`).
    """

    steps: int
    batch: int
    lr: float
    crop: tuple[int, ...] | None = None
    patch: tuple[int, ...] | None = None
    alone: bool = option(False)

    def __post_init__(self):
        _at_least("steps", self.steps, 1)
        _at_least("batch", self.batch, 1)
        for key, size in (("crop", self.crop), ("patch", self.patch)):
            if size is not None and (len(size) != 3 or min(size) < 1):
                raise ConfigError(f"{key} must be three positive numbers, not {size}")


@dataclass(frozen=True)
class StatesConfig:
    """A fusion's training on the states that its sampler meets (`states.py`).

    steps: of the trajectories; heads: how many are followed at a time; patches: about how many are kept of what was
    met, the bound on memory; rounds: how often they are gathered anew, along trajectories that the fusion corrects by
    then. fit: how many heads the least-squares start is fitted on.
    true: an ablation: of the true image with noise instead.
    """

    steps: int
    heads: int
    patches: int
    rounds: int
    fit: int
    true: bool = option(False)

    def __post_init__(self):
        for key in ("steps", "heads", "patches", "rounds", "fit"):
            _at_least(key, getattr(self, key), 1)


@dataclass(frozen=True)
class TrainConfig:
    """phases follow one another; ema: decay of the averaged weights; warmup and decay shape the rate of each phase.

    loss: whose squared error is minimised. `eps` is the paper's (Eqs. 2, 5); whatever the network predicts, `v` and
    `x0` differ from it by a weight that depends on the noise level alone: 1 / alpha_bar, and 1 / alpha_bar - 1.
    norm: `l2`, or `l1` for the absolute error (Med-DDPM); beta1: Adam's. move_every: after how many steps training
    heads are moved, see `PreparedData.moved` (0: never). optimizer: `adam`, or `muon` (see `muon.py`).
    decay: `constant`, `cosine` to zero, `tail` (constant, then linear to zero over the second half: pix2pix), or
    `exponential` (0.99 per 1000 steps: I2SB).
    """

    phases: tuple[Phase, ...]
    loss: str = "v"
    ema: float = 0.9999
    accumulate: int = 1
    warmup: int = 0
    decay: str = "constant"
    save_every: int = 500
    norm: str = option("l2")
    beta1: float = option(0.9)
    states: StatesConfig | None = option(None)
    move_every: int = option(0)
    optimizer: str = option("adam")

    def __post_init__(self):
        _one_of("optimizer", self.optimizer, ("adam", "muon"))
        _at_least("move_every", self.move_every, 0)
        _one_of("loss", self.loss, PREDICTIONS)
        _one_of("decay", self.decay, ("constant", "cosine", "tail", "exponential"))
        _one_of("norm", self.norm, ("l2", "l1"))
        _at_least("accumulate", self.accumulate, 1)
        _at_least("save_every", self.save_every, 1)
        if not self.phases:
            raise ConfigError("phases must not be empty")
        alone = [phase.alone for phase in self.phases]
        if any(alone) and (self.states is None or alone != sorted(alone, reverse=True) or all(alone)):
            raise ConfigError("only a fusion on the states of its sampler begins alone, and it ends with its experts")

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    @property
    def steps_alone(self) -> int:
        """How many steps, the first ones, a fusion learns without its experts."""
        return sum(phase.steps for phase in self.phases if phase.alone)

    def round(self, step: int) -> int:
        """Which round of gathering states `step` (from 0) belongs to; none, -1, where the experts are not heard."""
        step -= self.steps_alone
        return step * self.states.rounds // (self.steps - self.steps_alone) if step >= 0 else -1


@dataclass(frozen=True)
class DataConfig:
    """Which prepared data, at which resolution. `root` says where it lies and is no part of a run's identity."""

    root: str
    name: str
    fingerprint: str
    spacing: float
    shape: tuple[int, ...]


# What a run trains, and whether it works on the slices of a plane (None: either) and builds on other runs.
STAGES = {
    "expert": (True, False),  # a 2D diffusion model
    "fusion": (False, True),  # the 3D network that fuses experts
    "volume": (False, False),  # a 3D diffusion model on its own
    "regression": (None, False),
    "pix2pix": (None, False),
    "bridge": (None, False),
    "autoencoder": (True, False),
    "latent": (True, True),  # a 2D diffusion model of an autoencoder's latents
    "volumetric": (True, True),  # the volumetric layers of a latent model
    "segmentation": (False, False),
}


@dataclass(frozen=True)
class RunConfig:
    """One training. experts: the runs that it builds on; plane: what a 2D model slices.

    prediction: what a diffusion model puts out; a fusion says it in `fusion`.
    unet: None for an autoencoder and a segmenter, which have settings of their own, and for volumetric layers, which go
    into a network.
    slab: neighbours on either side of a slice whose conditions a 2.5D model reads too; ode: a bridge without noise.
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
    autoencoder: AutoencoderConfig | None = option(None)
    segmenter: SegmenterConfig | None = option(None)

    def __post_init__(self):
        _one_of("stage", self.stage, STAGES)
        _one_of("task", self.task, SEGMENTATIONS if self.stage == "segmentation" else TASKS)
        _one_of("prediction", self.prediction, PREDICTIONS)
        _at_least("slab", self.slab, 0)
        sliced, builds = STAGES[self.stage]
        if (sliced is not None and sliced != (self.plane is not None)) or builds != bool(self.experts):
            wants = {True: "a plane", False: "no plane", None: "a plane or none"}[sliced]
            raise ConfigError(f"stage '{self.stage}' has {wants} and {'some' if builds else 'no'} experts")
        if any(p.crop if self.stage == "fusion" else p.patch for p in self.train.phases):
            raise ConfigError(f"stage '{self.stage}': a fusion's phases have a patch, those of all others a crop")
        if self.fusion and self.fusion.keep_contrast and (TASKS[self.task].measured or not self.train.states):
            raise ConfigError("keep_contrast is for a task without a measurement, learnt on the sampler's states")

    @property
    def identity(self) -> str:
        """Eight hexadecimal digits over every setting that decides the trained weights (not over the code)."""
        content = _forget_roots(to_dict(self))
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def folder(self) -> Path:
        """`<preset>/<stage>-<task>-<name>-<hash8>`, below the folder of all runs."""
        return Path(self.preset) / f"{self.stage}-{self.task}-{self.name}-{self.identity}"


def to_dict(config) -> dict:
    """Plain nested dictionaries and lists, fit for JSON; an `option` at its neutral value is left out."""
    if is_dataclass(config):
        kept = (f for f in fields(config) if "option" not in f.metadata or getattr(config, f.name) != f.default)
        return {f.name: to_dict(getattr(config, f.name)) for f in kept}
    return [to_dict(item) for item in config] if isinstance(config, tuple) else config


def from_dict(kind, content):
    """Build the dataclass `kind` from JSON `content`; raises `ConfigError` for an unknown key or a wrong type."""
    return _read(kind, content, kind.__name__)


def load_config(path: str | Path) -> RunConfig:
    """Read a `config.json`."""
    path = Path(path)
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid JSON ({error})") from None
    try:
        return from_dict(RunConfig, content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _one_of(key: str, value, allowed) -> None:
    if value not in allowed:
        raise ConfigError(f"{key} must be one of {', '.join(map(str, allowed))}, not {value!r}")


def _at_least(key: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{key} must be at least {least}, not {value}")


def _forget_roots(content):
    """Without where the data lie: the same data elsewhere are the same data."""
    if isinstance(content, dict):
        return {key: _forget_roots(value) for key, value in content.items() if key != "root"}
    return [_forget_roots(value) for value in content] if isinstance(content, list) else content


def _read(kind, value, where: str):
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in args:
            return None
        return _read(next(a for a in args if a is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where} must be a list, not {value!r}")
        return tuple(_read(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{where} must be {kind.__name__}, not {value!r}")
    return value


def _read_dataclass(kind, value, where: str):
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be an object, not {value!r}")
    hints = typing.get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(value) - known)
    if unknown:
        raise ConfigError(f"{where}: unknown key {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    try:
        return kind(**{key: _read(hints[key], item, f"{where}.{key}") for key, item in value.items()})
    except TypeError as error:
        raise ConfigError(f"{where}: {str(error).split('() ')[-1]}") from None
