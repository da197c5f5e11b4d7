"""Grids of voxels in space: whether two are the same, and how a volume gets from one to another."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from scipy.ndimage import affine_transform, gaussian_filter

SAME = 0.1  # voxels that two grids may be apart and still be one


@dataclass(frozen=True)
class Grid:
    """A box of voxels in space. affine: [4, 4] voxel to world, millimetres; shape: voxels along each axis."""

    affine: np.ndarray
    shape: tuple[int, ...]

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size in millimetres along each axis."""
        return voxel_sizes(self.affine)

    def distance(self, other: Grid) -> float:
        """How far the eight corners of the box lie from where `other` has them, at most, in voxels of this grid."""
        corners = np.array(list(product(*((0, n - 1) for n in self.shape))), dtype=float)
        there = apply_affine(np.linalg.inv(self.affine) @ other.affine, corners)
        return float(np.linalg.norm(there - corners, axis=1).max())

    def same_as(self, other: Grid) -> bool:
        """Whether both have the same voxels in the same places, to a tenth of a voxel anywhere."""
        return self.shape == other.shape and self.distance(other) <= SAME


def resample(data: np.ndarray, affine: np.ndarray, grid: Grid, order: int = 1) -> np.ndarray:
    """`data` [X, Y, Z] with `affine` on another grid; smoothed first where the grid is coarser. 0 outside.

    order: of the interpolation; 0 takes the nearest voxel as it is, for labels and masks.
    """
    matrix = np.linalg.inv(affine) @ grid.affine
    ratio = np.sqrt((matrix[:3, :3] ** 2).sum(1))
    coarser = order > 0 and ratio.max() > 1.05
    smooth = gaussian_filter(data, [max(0.0, 0.4 * (r - 1)) for r in ratio]) if coarser else data
    out = affine_transform(smooth, matrix[:3, :3], matrix[:3, 3], grid.shape, order=order, mode="constant")
    return out.astype(data.dtype if order == 0 else np.float32)
