"""Smooth random fields on a grid: cubic B-splines over a lattice of random numbers, spaced in millimetres.

The lattice does not depend on the voxel size, and a voxel holds the mean of the field over its volume. So the same
generator state gives the same field on a fine and on a coarse grid, without aliasing on the coarse one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

UNIT_STD = 0.331  # standard deviation of a cubic B-spline field in 3D whose coefficients have standard deviation 1


@dataclass(frozen=True)
class Grid:
    """A window of `fov` millimetres centred on the origin, with cubic voxels of `spacing` millimetres, RAS order."""

    fov: tuple[float, float, float]
    spacing: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels per axis."""
        return tuple(max(2, round(length / self.spacing)) for length in self.fov)

    @property
    def affine(self) -> np.ndarray:
        """[4, 4] voxel-to-world, millimetres; the middle of the window is the world's origin."""
        affine = np.diag([self.spacing] * 3 + [1.0])
        affine[:3, 3] = [axis[0] for axis in self.axes()]
        return affine

    def axes(self) -> tuple[np.ndarray, ...]:
        """Voxel centres along X, Y and Z, millimetres."""
        return tuple((np.arange(n) - (n - 1) / 2) * self.spacing for n in self.shape)


def smooth_field(rng: np.random.Generator, grid: Grid, octaves: dict[float, float]) -> np.ndarray:
    """A random field [X, Y, Z], float32, of zero mean; `octaves` maps lattice spacing in mm to standard deviation."""
    total = np.zeros(grid.shape, np.float32)
    for knots, std in octaves.items():
        bases = [_basis(axis.tobytes(), length, grid.spacing, knots) for axis, length in zip(grid.axes(), grid.fov)]
        lattice = rng.standard_normal([basis.shape[1] for basis in bases], dtype=np.float32)
        total += np.float32(std / UNIT_STD) * _evaluate(lattice, bases)
    return total


def _evaluate(lattice: np.ndarray, bases: list[np.ndarray]) -> np.ndarray:
    """The separable product of the lattice with one basis [voxels, knots] for each axis."""
    values = np.matmul(bases[1], lattice @ bases[2].T)
    return (bases[0] @ values.reshape(len(values), -1)).reshape([len(basis) for basis in bases])


@lru_cache(maxsize=256)
def _basis(centres: bytes, length: float, spacing: float, knots: float) -> np.ndarray:
    """The weights [voxels, knots] of the cubic B-splines, averaged over each voxel."""
    count = int(np.ceil(length / knots)) + 4
    positions = (np.arange(count) - (count - 1) / 2) * knots
    samples = int(np.ceil(2 * spacing / knots)) + 1
    offsets = ((np.arange(samples) + 0.5) / samples - 0.5) * spacing
    distance = (np.frombuffer(centres)[:, None, None] + offsets[:, None] - positions) / knots
    return _cubic(np.abs(distance)).mean(1).astype(np.float32)


def _cubic(d: np.ndarray) -> np.ndarray:
    """The cubic B-spline at distances `d` >= 0, in units of the knot spacing."""
    near = 2 / 3 - d**2 + d**3 / 2
    return np.where(d < 1, near, np.clip(2 - d, 0, None) ** 3 / 6)
