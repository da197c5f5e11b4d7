"""The untrained baselines of 4x super-resolution: the degraded FLAIR as it is, and cubic interpolation."""

from __future__ import annotations

import torch.nn as nn

from ..data.measurement import interpolate_cubic
from ..diffusion.model import Translator
from ..diffusion.sampler import Step


class Interpolation(nn.Module, Translator):
    """Interpolation of the degraded FLAIR; kind: `nearest` leaves it as it is, `cubic` fits splines to block means."""

    deterministic = True

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def trajectory(self, y, noise, steps, *, project=None, generator=None):
        """The interpolation, as a single step; y: [B, C, X, Y, Z], the degraded FLAIR first."""
        measured = y[:, :1]
        x0 = measured if self.kind == "nearest" else interpolate_cubic(measured).clamp(-1.0, 1.0)
        x0 = x0 if project is None else project(x0, y)
        yield Step(0, 0, x0, x0)
