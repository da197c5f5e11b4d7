"""The residual target of the paper's released code: half the difference between the target and the first condition.

A model of residuals diffuses `r = (x0 - y0) / 2`, in [-1, 1] as its sampler's clamp wants it; `y0` is the first channel
of its conditions. Its `xt` are noisy residuals, its samples targets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from .sampler import Projection, Step


def residual(x0: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The residual [B, 1, X, Y, Z] of a target `x0` for conditions `y` [B, C, X, Y, Z]."""
    return (x0 - y[:, :1]) / 2


def from_residual(r: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The target [B, 1, X, Y, Z] of a residual `r`: the inverse of `residual`."""
    return y[:, :1] + 2 * r


def of_residuals(sampler: Callable[..., Iterator[Step]]) -> Callable[..., Iterator[Step]]:
    """A sampler, with the arguments of `ddim`, for denoisers of residuals: the `x0_hat` of its steps are targets.

    Every clean estimate is projected as the target that it stands for.
    """

    def sample(denoiser, y, noise, steps, *, project: Projection | None = None, **options) -> Iterator[Step]:
        def projected(r: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return residual(project(from_residual(r, y), y), y)

        for step in sampler(denoiser, y, noise, steps, project=project and projected, **options):
            yield replace(step, x0_hat=from_residual(step.x0_hat, y))

    return sample
