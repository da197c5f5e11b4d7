"""What defines a run: frozen dataclasses, checked when read, and the hash that names its folder."""

from __future__ import annotations

import hashlib
import json
import types
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path

from .schedule import PREDICTIONS


class ConfigError(ValueError):
    """An unknown key, a wrong type or an impossible value; one line that names it."""


@dataclass(frozen=True)
class DiffusionConfig:
    """Noise schedule (linear beta) shared by every network of a run."""

    steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 2e-2

    def __post_init__(self):
        _at_least("steps", self.steps, 1)
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise ConfigError(f"0 < beta_start <= beta_end < 1 must hold, not {self.beta_start}, {self.beta_end}")


@dataclass(frozen=True)
class UNetConfig:
    """Widths are `base * mult[k]` at level k; `blocks` residual blocks a level."""

    base: int = 64
    mult: tuple[int, ...] = (1, 2, 4, 8)
    blocks: int = 2
    dropout: float = 0.0
    checkpointing: bool = False

    def __post_init__(self):
        _at_least("base", self.base, 2)
        _at_least("blocks", self.blocks, 1)
        if not self.mult or min(self.mult) < 1:
            raise ConfigError(f"mult must be positive numbers, not {self.mult}")


@dataclass(frozen=True)
class FusionConfig:
    """gate: `softmax` (convex) or `affine`; lam: weight of the residual; features: read the experts' feature maps."""

    gate: str = "softmax"
    lam: float = 1.0
    features: bool = True
    prediction: str = "v"

    def __post_init__(self):
        _one_of("gate", self.gate, ("softmax", "affine"))
        _one_of("prediction", self.prediction, PREDICTIONS)


@dataclass(frozen=True)
class Phase:
    """`steps` optimiser steps on whole volumes, or on parts of them.

    crop: random windows of so many voxels are all that a model sees; 1 along an axis makes slices, for experts.
    patch: a fusion works in random boxes of so many voxels, while its experts see the whole slices through them.
    """

    steps: int
    batch: int
    lr: float
    crop: tuple[int, ...] | None = None
    patch: tuple[int, ...] | None = None

    def __post_init__(self):
        _at_least("steps", self.steps, 1)
        _at_least("batch", self.batch, 1)
        for key, size in (("crop", self.crop), ("patch", self.patch)):
            if size is not None and (len(size) != 3 or min(size) < 1):
                raise ConfigError(f"{key} must be three positive numbers, not {size}")


@dataclass(frozen=True)
class TrainConfig:
    """phases follow one another; ema: decay of the averaged weights; warmup and decay shape the rate of each phase.

    loss: whose squared error is minimised. `eps` is the paper's (Eqs. 2, 5); whatever the network predicts, `v` and
    `x0` differ from it by a weight that depends on the noise level alone: 1 / alpha_bar, and 1 / alpha_bar - 1.
    """

    phases: tuple[Phase, ...]
    loss: str = "v"
    ema: float = 0.9999
    accumulate: int = 1
    warmup: int = 0
    decay: str = "constant"
    save_every: int = 500

    def __post_init__(self):
        _one_of("loss", self.loss, PREDICTIONS)
        _one_of("decay", self.decay, ("constant", "cosine"))
        _at_least("accumulate", self.accumulate, 1)
        _at_least("save_every", self.save_every, 1)
        if not self.phases:
            raise ConfigError("phases must not be empty")

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)


@dataclass(frozen=True)
class DataConfig:
    """Which prepared data, at which resolution. `root` says where it lies and is no part of a run's identity."""

    root: str
    name: str
    fingerprint: str
    spacing: float
    shape: tuple[int, ...]


@dataclass(frozen=True)
class RunConfig:
    """One training: an expert (one plane) or a fusion (of `experts`).

    prediction: what an expert puts out; a fusion says it in `fusion`.
    """

    preset: str
    stage: str
    task: str
    name: str
    seed: int
    data: DataConfig
    diffusion: DiffusionConfig
    unet: UNetConfig
    train: TrainConfig
    plane: str | None = None
    prediction: str = "v"
    fusion: FusionConfig | None = None
    experts: tuple[RunConfig, ...] = field(default=())

    def __post_init__(self):
        _one_of("stage", self.stage, ("expert", "fusion"))
        _one_of("task", self.task, ("sr", "mt", "both"))
        _one_of("prediction", self.prediction, PREDICTIONS)
        if (self.stage == "expert") != (self.plane is not None) or (self.stage == "fusion") != bool(self.experts):
            raise ConfigError(f"stage '{self.stage}': an expert has a plane, a fusion has experts")
        if any(p.patch if self.stage == "expert" else p.crop for p in self.train.phases):
            raise ConfigError(f"stage '{self.stage}': crop is for the phases of experts, patch for those of a fusion")

    @property
    def identity(self) -> str:
        """Eight hexadecimal digits over every setting that decides the trained weights (not over the code)."""
        content = to_dict(self)
        _forget_roots(content)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def folder(self) -> Path:
        """`<preset>/<stage>-<task>-<name>-<hash8>`, below the folder of all runs."""
        return Path(self.preset) / f"{self.stage}-{self.task}-{self.name}-{self.identity}"


def to_dict(config) -> dict:
    """Plain nested dictionaries and lists, fit for JSON."""
    return json.loads(json.dumps(asdict(config)))


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


def _one_of(key: str, value: str, allowed) -> None:
    if value not in allowed:
        raise ConfigError(f"{key} must be one of {', '.join(allowed)}, not {value!r}")


def _at_least(key: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{key} must be at least {least}, not {value}")


def _forget_roots(content) -> None:
    if isinstance(content, dict):
        content.pop("root", None)
        for value in content.values():
            _forget_roots(value)
    elif isinstance(content, list):
        for value in content:
            _forget_roots(value)


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
