"""The untrained baselines of a task with a measurement: the measurement as it is, and its interpolation."""

from __future__ import annotations

import torch.nn as nn

from ..data.measurement import Degradation
from ..diffusion.model import Translator
from ..diffusion.sampler import Step


class Interpolation(nn.Module, Translator):
    """Interpolation of a measurement; kind: `nearest` leaves it as it is, `cubic` is `Degradation.interpolate`."""

    deterministic = True

    def __init__(self, kind: str, degradation: Degradation):
        super().__init__()
        self.kind, self.degradation = kind, degradation

    def trajectory(self, y, noise, steps, *, project=None, generator=None):
        """The interpolation, as a single step; y: [B, C, X, Y, Z], the measurement first."""
        measured = y[:, :1]
        x0 = measured if self.kind == "nearest" else self.degradation.interpolate(measured).clamp(-1.0, 1.0)
        x0 = x0 if project is None else project(x0, y)
        yield Step(0, 0, x0, x0)
