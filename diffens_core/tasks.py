"""The translation tasks: which volumes condition, which is the target, what can be projected.

`sr`: 4x-degraded FLAIR to FLAIR. `mt`: T1ce to FLAIR. `both`: degraded FLAIR and T1ce to FLAIR.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .degrade import project

TARGET = "flair"


@dataclass(frozen=True)
class Task:
    """conditions: the channels of `y`, in order; `flair_lr` is the degraded target, the rest are contrasts."""

    name: str
    conditions: tuple[str, ...]

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Contrasts to read besides the target."""
        return tuple(c for c in self.conditions if c != "flair_lr")

    @property
    def measured(self) -> bool:
        """Whether the conditions hold a measurement `A x0` of the target."""
        return "flair_lr" in self.conditions

    def project(self, x0_hat: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """`x0_hat` [B, 1, X, Y, Z] projected onto the measurement within `y`; unchanged where there is none."""
        if not self.measured:
            return x0_hat
        index = self.conditions.index("flair_lr")
        return project(x0_hat, y[:, index : index + 1])


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
