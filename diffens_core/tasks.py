"""The translation tasks: which volumes condition, which is the target, what can be projected.

`sr`: 4x-degraded FLAIR to FLAIR. `mt`: T1ce to FLAIR. `both`: degraded FLAIR and T1ce to FLAIR.

A degraded FLAIR enters twice: as measured, and interpolated. Within a block all slices of the measurement are the
same slice, so a 2D model that reads nothing else cannot know its neighbours; the interpolation tells it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .degrade import interpolate_cubic, project

TARGET = "flair"


@dataclass(frozen=True)
class Task:
    """inputs: what a user gives, the degraded target `flair_lr` first where there is one; the rest are contrasts."""

    name: str
    inputs: tuple[str, ...]

    @property
    def measured(self) -> bool:
        """Whether the conditions hold a measurement `A x0` of the target."""
        return "flair_lr" in self.inputs

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Contrasts to read besides the target."""
        return tuple(c for c in self.inputs if c != "flair_lr")

    @property
    def conditions(self) -> tuple[str, ...]:
        """The channels of `y`, in order: the measurement and its interpolation, then the contrasts."""
        return ("flair_lr", "flair_up", *self.contrasts) if self.measured else self.contrasts

    @property
    def nearest(self) -> int:
        """The channel of `y` that is nearest to the target: the interpolation, or the first contrast."""
        return self.conditions.index("flair_up") if self.measured else 0

    def channels_of(self, other: Task) -> list[int]:
        """Where the conditions of `other` are among the channels of this task's `y`, in the order of `other`.

        Raises `ValueError` where this task does not have them.
        """
        missing = [name for name in other.conditions if name not in self.conditions]
        if missing:
            raise ValueError(f"task '{self.name}' has no {', '.join(missing)}, which an expert of '{other.name}' reads")
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
    """The best that is known of the target [B, 1, X, Y, Z] without learning: cubic interpolation, then projection."""
    return project(interpolate_cubic(y_lr).clamp(-1.0, 1.0), y_lr)


TASKS = {
    "sr": Task("sr", ("flair_lr",)),
    "mt": Task("mt", ("t1ce",)),
    "both": Task("both", ("flair_lr", "t1ce")),
}


def task_named(name: str) -> Task:
    """The task of that name; raises `ValueError` for an unknown one."""
    if name not in TASKS:
        raise ValueError(f"unknown task '{name}': choose from {', '.join(TASKS)}")
    return TASKS[name]
