"""Structural similarity of volumes or of their slices (Wang et al. 2004), on any device.

Smoothing along an axis is a product with a banded matrix, which is fast and exact at the borders.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..support.errors import InputError

WINDOW = 7  # of `ssim_uniform`
SIGMA, RADIUS = 1.5, 5  # a window of 11 voxels, as in the paper's reference and in scikit-image


def ssim_map(prediction: torch.Tensor, target: torch.Tensor, axes: Sequence[int] = (0, 1, 2)) -> torch.Tensor:
    """Local similarity, at every voxel, of two volumes [X, Y, Z]; the target's range must be 1.

    axes: those along which the window reaches: all three (3D), or the two of a plane (2D, slice by slice). Covariances
    are those of a population; K1 = 0.01, K2 = 0.03. Raises `InputError` where the window is larger than the volume.
    """
    if min(target.shape[axis] for axis in axes) < 2 * RADIUS + 1:
        raise InputError(f"SSIM needs at least {2 * RADIUS + 1} voxels along each axis, not {tuple(target.shape)}")

    def mean(volume):
        return smooth(volume, SIGMA, axes, RADIUS)

    x, y = prediction, target
    mx, my = mean(x), mean(y)
    return _similarity(mx, my, mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my)


def ssim_uniform(prediction: torch.Tensor, target: torch.Tensor) -> float:
    """Mean similarity of two volumes [X, Y, Z] with a window of 7x7x7 equal weights; the target's range must be 1.

    The defaults of scikit-image, which the paper's number has: covariances are those of a sample, and a border of 3
    voxels is left out. Raises `InputError` where the window is larger than the volume.
    """
    if min(target.shape) < WINDOW:
        raise InputError(f"this SSIM needs at least {WINDOW} voxels along each axis, not {tuple(target.shape)}")
    x, y = prediction.double()[None], target.double()[None]

    def mean(volume: torch.Tensor) -> torch.Tensor:
        for axis in range(3):
            size = [WINDOW if a == axis else 1 for a in range(3)]
            volume = F.avg_pool3d(volume, size, stride=1)
        return volume

    mx, my, unbiased = mean(x), mean(y), WINDOW**3 / (WINDOW**3 - 1)
    products = ((x * x, mx * mx), (y * y, my * my), (x * y, mx * my))
    return float(_similarity(mx, my, *(unbiased * (mean(ab) - means) for ab, means in products)).mean())


def _similarity(mx, my, vx, vy, vxy) -> torch.Tensor:
    """Wang's formula, of local means, variances and covariance, for a range of 1; K1 = 0.01, K2 = 0.03."""
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))


def smooth(volume: torch.Tensor, sigma: float, axes: Sequence[int], radius: int | None = None) -> torch.Tensor:
    """Gaussian means of a volume [X, Y, Z] along `axes`, mirrored at its borders; sigma: in voxels."""
    radius = radius or int(4 * sigma + 0.5)
    for axis in axes:
        matrix, shape = _band(volume.shape[axis], sigma, radius).to(volume), volume.shape
        products = (lambda v, m: m @ v.flatten(1), lambda v, m: m @ v, lambda v, m: v @ m.T)  # none copies the volume
        volume = products[axis](volume, matrix).view(shape)
    return volume


def _band(length: int, sigma: float, radius: int) -> torch.Tensor:
    """[length, length]: row k holds the weights of the Gaussian mean at k; positions outside are mirrored."""
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    positions = (torch.arange(length)[:, None] + offsets) % (2 * length)
    positions = torch.where(positions < length, positions, 2 * length - 1 - positions)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    rows = torch.arange(length)[:, None].expand_as(positions)
    return matrix.index_put((rows, positions), (weights / weights.sum()).expand_as(positions), accumulate=True)
