"""The measurement `A` of 4x super-resolution, and the projection onto what was measured (paper, Sec. 13).

`A` averages blocks of 4x4x4 voxels and repeats each mean over its block: symmetric and idempotent, so that
`A x = y` is restored exactly by `x - A x + y`.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import map_coordinates

FACTOR = 4


def downsample(x: torch.Tensor, factor: int = FACTOR) -> torch.Tensor:
    """Block means [B, C, ceil(X/f), ceil(Y/f), ceil(Z/f)] of x [B, C, X, Y, Z].

    A block that the border cuts is averaged over the voxels that it has.
    """
    size = [min(factor, n) for n in x.shape[2:]]  # a volume thinner than a block is one block
    return F.avg_pool3d(x, size, ceil_mode=True, count_include_pad=False)


def repeat(low: torch.Tensor, shape, factor: int = FACTOR) -> torch.Tensor:
    """Repeat every voxel of `low` [B, C, x, y, z] over its block, and cut to the spatial `shape`."""
    for dim in (2, 3, 4):
        low = low.repeat_interleave(factor, dim)
    return low[..., : shape[0], : shape[1], : shape[2]]


def block_average(x: torch.Tensor, factor: int = FACTOR) -> torch.Tensor:
    """`A x` on the grid of `x` [B, C, X, Y, Z] of any shape (Eq. 8)."""
    return repeat(downsample(x, factor), x.shape[2:], factor)


def project(x0_hat: torch.Tensor, y_lr: torch.Tensor, factor: int = FACTOR) -> torch.Tensor:
    """The volume nearest to `x0_hat` whose measurement is `y_lr`: `x0_hat - A x0_hat + y_lr` (Sec. 13).

    x0_hat, y_lr: [B, 1, X, Y, Z]. For `y_lr` in the range of `A`, `A project(x0_hat, y_lr) == y_lr`.
    """
    return x0_hat - block_average(x0_hat, factor) + y_lr


def measurement_rms(x0_hat: torch.Tensor, y_lr: torch.Tensor) -> float:
    """Root-mean-square difference between `A x0_hat` and the measurement `y_lr`; both are [B, 1, X, Y, Z]."""
    return float((block_average(x0_hat) - y_lr).square().mean().sqrt())


def interpolate_cubic(y_lr: torch.Tensor, factor: int = FACTOR) -> torch.Tensor:
    """Cubic spline through the block means of `y_lr` [B, C, X, Y, Z], each placed at the centre of its block.

    The spline is linear in its knots and separable: it takes one matrix for each axis.
    """
    out = downsample(y_lr, factor)
    with torch.autocast(y_lr.device.type, enabled=False):  # interpolation needs float32
        for dim, size in zip((2, 3, 4), y_lr.shape[2:]):
            weights = _spline_matrix(size, out.shape[dim], factor).to(out)
            out = torch.movedim(torch.movedim(out, dim, -1) @ weights.T, -1, dim)
    return out


@functools.cache
def _spline_matrix(size: int, knots: int, factor: int) -> torch.Tensor:
    """The weight [size, knots] float64 of each knot at each voxel, from scipy's splines through unit vectors."""
    where = ((np.arange(size) + 0.5) / factor - 0.5)[None]
    columns = [map_coordinates(unit, where, order=3, mode="nearest") for unit in np.eye(knots)]
    return torch.from_numpy(np.stack(columns, axis=1))
