"""The tasks: their conditions, their target, and the projection onto what was measured.

`sr`: 4x-degraded FLAIR to FLAIR. `mt`: T1ce to FLAIR. `both`: degraded FLAIR and T1ce to FLAIR. To judge these,
`seg4`, `seg2`, `seg1`: tumour labels from four contrasts, from FLAIR and T1ce, from FLAIR alone.

A degraded FLAIR enters twice: as measured, and interpolated. Within a block all slices of the measurement are equal, so
they tell a 2D model nothing about neighbouring slices; the interpolation does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..support.errors import InputError
from .measurement import interpolate_cubic, project

TARGET, LABELS = "flair", "seg"


@dataclass(frozen=True)
class Task:
    """A task. inputs: what a user gives, first the degraded target `flair_lr` if there is one, then contrasts.

    target: `flair`, or `seg`: the labels of a tumour.
    """

    name: str
    inputs: tuple[str, ...]
    target: str = TARGET

    @property
    def measured(self) -> bool:
        """Whether the conditions hold a measurement `A x0` of the target."""
        return "flair_lr" in self.inputs

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Contrasts to read besides the FLAIR, which is always read, as its degraded version gives the scale."""
        return tuple(c for c in self.inputs if c not in ("flair_lr", TARGET))

    @property
    def conditions(self) -> tuple[str, ...]:
        """The channels of `y`, in order: the measurement and its interpolation, then the contrasts."""
        return ("flair_lr", "flair_up", *self.contrasts) if self.measured else self.inputs

    @property
    def nearest(self) -> int:
        """The channel of `y` that is nearest to the target: the interpolation, or the first contrast."""
        return self.conditions.index("flair_up") if self.measured else 0

    def channels_of(self, other: Task) -> list[int]:
        """The channels of this task's `y` that hold the conditions of `other`, in the order of `other`.

        Raises `InputError` where this task lacks one.
        """
        missing = [name for name in other.conditions if name not in self.conditions]
        if missing:
            raise InputError(f"task '{self.name}' has no {', '.join(missing)}, which an expert of '{other.name}' reads")
        return [self.conditions.index(name) for name in other.conditions]

    def stack(self, channels: dict[str, torch.Tensor]) -> torch.Tensor:
        """`y` [C, X, Y, Z] from the inputs by name, each [1, X, Y, Z] in [-1, 1]."""
        if self.measured:
            channels = {**channels, "flair_up": interpolate(channels["flair_lr"][None])[0]}
        return torch.cat([channels[name] for name in self.conditions])

    def project(self, x0_hat: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """`x0_hat` [B, 1, X, Y, Z] projected onto the measurement within `y`; unchanged where there is none."""
        return project(x0_hat, y[:, :1]) if self.measured else x0_hat


def interpolate(y_lr: torch.Tensor) -> torch.Tensor:
    """The best estimate of the target [B, 1, X, Y, Z] without learning: cubic interpolation, then projection."""
    return project(interpolate_cubic(y_lr).clamp(-1.0, 1.0), y_lr)


# Translations.
TASKS = {
    "sr": Task("sr", ("flair_lr",)),
    "mt": Task("mt", ("t1ce",)),
    "both": Task("both", ("flair_lr", "t1ce")),
}


SEGMENTATIONS = {
    "seg4": Task("seg4", (TARGET, "t1ce", "t1", "t2"), LABELS),
    "seg2": Task("seg2", (TARGET, "t1ce"), LABELS),
    "seg1": Task("seg1", (TARGET,), LABELS),
}


def task_named(name: str) -> Task:
    """The task of that name; raises `InputError` for an unknown one."""
    known = TASKS | SEGMENTATIONS
    if name not in known:
        raise InputError(f"unknown task '{name}': choose from {', '.join(TASKS)}")
    return known[name]
