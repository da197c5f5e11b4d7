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
    """Block means. x: [B, C, X, Y, Z]; returns [B, C, ceil(X/f), ceil(Y/f), ceil(Z/f)].

    A block cut by the border is averaged over the voxels that it has.
    """
    size = [min(factor, n) for n in x.shape[2:]]  # a volume thinner than a block is one block
    return F.avg_pool3d(x, size, ceil_mode=True, count_include_pad=False)


def repeat(low: torch.Tensor, shape, factor: int = FACTOR) -> torch.Tensor:
    """Every voxel of `low` [B, C, x, y, z] repeated over its block, cut to the spatial `shape`."""
    for dim in (2, 3, 4):
        low = low.repeat_interleave(factor, dim)
    return low[..., : shape[0], : shape[1], : shape[2]]


def block_average(x: torch.Tensor, factor: int = FACTOR) -> torch.Tensor:
    """`A x` on the grid of `x` [B, C, X, Y, Z] (Eq. 8), any shape."""
    return repeat(downsample(x, factor), x.shape[2:], factor)


def project(x0_hat: torch.Tensor, y_lr: torch.Tensor, factor: int = FACTOR) -> torch.Tensor:
    """The nearest volume to `x0_hat` that was measured as `y_lr`: `x0_hat - A x0_hat + y_lr` (Sec. 13).

    Both [B, 1, X, Y, Z]. For `y_lr` in the range of `A`, `A project(x0_hat, y_lr) == y_lr`.
    """
    return x0_hat - block_average(x0_hat, factor) + y_lr


def measurement_rms(x0_hat: torch.Tensor, y_lr: torch.Tensor) -> float:
    """Root-mean-square difference between `A x0_hat` and what was measured; both [B, 1, X, Y, Z]."""
    return float((block_average(x0_hat) - y_lr).square().mean().sqrt())


def interpolate_cubic(y_lr: torch.Tensor, factor: int = FACTOR) -> torch.Tensor:
    """Cubic spline through the block means of `y_lr` [B, C, X, Y, Z], each taken at the centre of its block.

    The spline is linear in its knots and separable: one matrix an axis.
    """
    out = downsample(y_lr, factor)
    with torch.autocast(y_lr.device.type, enabled=False):  # a matrix product is geometry here, not a network
        for dim, size in zip((2, 3, 4), y_lr.shape[2:]):
            weights = _spline_matrix(size, out.shape[dim], factor).to(out)
            out = torch.movedim(torch.movedim(out, dim, -1) @ weights.T, -1, dim)
    return out


@functools.cache
def _spline_matrix(size: int, knots: int, factor: int) -> torch.Tensor:
    """[size, knots] float64: what each knot adds to each voxel, from scipy's spline through unit vectors."""
    where = ((np.arange(size) + 0.5) / factor - 0.5)[None]
    columns = [map_coordinates(unit, where, order=3, mode="nearest") for unit in np.eye(knots)]
    return torch.from_numpy(np.stack(columns, axis=1))
