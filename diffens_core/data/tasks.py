"""Tasks: a target contrast, the conditions it is made from, and how a measurement of it was degraded.

A task is written in one line: `t1->t2`, `flair_lr+t1ce->flair`, `t2_lr->t2@1x1x5`. A condition `<target>_lr` is a
measurement of the target, by means of 4x4x4 blocks unless another `Degradation` follows after `@`. The paper's three
have names. `sr`: `flair_lr->flair`; `mt`: `t1ce->flair`; `both`: `flair_lr+t1ce->flair`. To judge these, `seg4`,
`seg2`, `seg1`: tumour labels from four contrasts, from FLAIR and T1ce, from FLAIR alone.

A measurement enters twice: as measured, and interpolated. Within a block all slices of the measurement are equal, so
they tell a 2D model nothing about neighbouring slices; the interpolation does.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch

from ..support.errors import InputError
from ..support.settings import ConfigError, quoted
from .layout import contrasts_in, is_contrast
from .measurement import BLOCKS, Degradation

FLAIR, LABELS = "flair", "seg"


@dataclass(frozen=True)
class Task:
    """A task. inputs: what a user gives, first the measurement `<target>_lr` if there is one, then contrasts.

    target: a contrast, or `seg`: the labels of a tumour. degradation: of the measurement; None without one.
    interpolated: whether the measurement is read interpolated, too; off, the conditions are the inputs alone (paper).
    """

    name: str
    inputs: tuple[str, ...]
    target: str = FLAIR
    degradation: Degradation | None = None
    interpolated: bool = True

    @property
    def contrasts(self) -> tuple[str, ...]:
        """The inputs that are as sharp as the target."""
        return self.inputs[1:] if self.degradation else self.inputs

    @property
    def given_as(self) -> dict[str, str]:
        """The inputs by the names that users give them: a measurement is `lr`, contrasts have their own."""
        return {"lr" if self.degradation and name == self.inputs[0] else name: name for name in self.inputs}

    @property
    def conditions(self) -> tuple[str, ...]:
        """The channels of `y`, in order: the measurement and its interpolation, then the contrasts."""
        up = (f"{self.target}_up",) if self.degradation and self.interpolated else ()
        return (*self.inputs[:1], *up, *self.inputs[1:])

    @property
    def nearest(self) -> int:
        """The channel of `y` that is nearest to the target: the interpolation, or else the first."""
        return 1 if self.degradation and self.interpolated else 0

    @property
    def parts(self) -> tuple[str, ...]:
        """The tasks that read the measurement alone and the contrasts alone; none where either is all there is."""
        if not self.degradation or not self.contrasts:
            return ()
        measured = f"{self.inputs[0]}->{self.target}@{self.degradation}"
        return tuple(task_named(line).name for line in (measured, f"{'+'.join(self.contrasts)}->{self.target}"))

    def channels_of(self, other: Task) -> list[int]:
        """The channels of this task's `y` that hold the conditions of `other`, in the order of `other`.

        Raises `InputError` where this task lacks one.
        """
        missing = [name for name in other.conditions if name not in self.conditions]
        if missing or (other.degradation and other.degradation != self.degradation):
            named = ", ".join(missing) or f"measurement by {other.degradation}"
            raise InputError(f"task '{self.name}' has no {named}, which an expert of '{other.name}' reads")
        return [self.conditions.index(name) for name in other.conditions]

    def stack(self, channels: dict[str, torch.Tensor]) -> torch.Tensor:
        """`y` [C, X, Y, Z] from the inputs by name, each [1, X, Y, Z] in [-1, 1]."""
        if self.degradation and self.interpolated:
            measurement = channels[self.inputs[0]][None]
            channels = {**channels, f"{self.target}_up": interpolate(measurement, self.degradation)[0]}
        return torch.cat([channels[name] for name in self.conditions])

    def project(self, x0_hat: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """`x0_hat` [B, 1, X, Y, Z] projected onto the measurement within `y`; unchanged where there is none."""
        return self.degradation.project(x0_hat, y[:, :1]) if self.degradation else x0_hat


def interpolate(measurement: torch.Tensor, degradation: Degradation) -> torch.Tensor:
    """The best estimate of the target [B, 1, X, Y, Z] without learning: interpolation, then projection."""
    return degradation.project(degradation.interpolate(measurement).clamp(-1.0, 1.0), measurement)


TASKS = {
    "sr": Task("sr", ("flair_lr",), degradation=BLOCKS),
    "mt": Task("mt", ("t1ce",)),
    "both": Task("both", ("flair_lr", "t1ce"), degradation=BLOCKS),
}

SEGMENTATIONS = {
    "seg4": Task("seg4", (FLAIR, "t1ce", "t1", "t2"), LABELS),
    "seg2": Task("seg2", (FLAIR, "t1ce"), LABELS),
    "seg1": Task("seg1", (FLAIR,), LABELS),
}


@functools.lru_cache(maxsize=1024)
def task_named(text: str) -> Task:
    """A task by its name, or from the line that describes it; raises `ConfigError` where that makes no sense.

    A line and its `name` mean the same task: in the name, which is part of those of folders, `->` is written `-to-`.
    Inputs may stand in any order.
    """
    known = TASKS | SEGMENTATIONS
    if text in known:
        return known[text]
    task = _parse(text)
    return next((named for named in TASKS.values() if _content(named) == _content(task)), task)


def translation_named(text: str) -> Task:
    """As `task_named`, of those whose target is an image."""
    if text in SEGMENTATIONS:
        raise ConfigError(f"task '{text}' is a segmentation, which judges translations; choose another task")
    return task_named(text)


def _content(task: Task) -> tuple:
    return task.inputs, task.target, task.degradation


def _parse(text: str) -> Task:
    """The task that a line describes."""
    inputs, arrow, rest = text.replace("->", "-to-").partition("-to-")
    target, at, degradation = rest.partition("@")
    names, measurement = inputs.split("+"), f"{target}_lr"
    if not arrow or len(set(names)) < len(names) or not all(map(is_contrast, [target, *set(names) - {measurement}])):
        raise ConfigError(
            f"unknown task {quoted(text)}: choose from {', '.join(TASKS)}, or write what is made from what: 't1->t2', "
            f"'{FLAIR}_lr+t1ce->{FLAIR}' (only the target can be degraded), '{FLAIR}_lr->{FLAIR}@1x1x5'"
        )
    if target in names:
        raise ConfigError(f"task {quoted(text)} makes {target} from itself; is '{measurement}' meant")
    if at and measurement not in names:
        raise ConfigError(f"task {quoted(text)} has a degradation, but no {measurement} among its conditions")
    ordered = ([measurement] if measurement in names else []) + contrasts_in(names)
    how = (Degradation.parse(degradation) if at else BLOCKS) if measurement in names else None
    name = f"{'+'.join(ordered)}-to-{target}" + (f"@{how}" if how and how != BLOCKS else "")
    return Task(name, tuple(ordered), target, how)
