"""The measurement `A` of a degraded volume, and the projection onto what was measured (paper, Sec. 13).

A `Degradation` is linear and separable: one matrix for each axis makes fewer, coarser voxels. The paper's averages
blocks of 4x4x4 voxels; thick slices, slices with a gap between them and the loss of high frequencies are others.

On the grid of the target a measurement is shown with each of its voxels repeated over its own extent. So it enters as a
condition `y`, and what was measured can be read from it again. `x + A+ (y - A x)`, with the pseudo-inverse `A+`, is the
volume nearest to `x` that agrees with it; for block means that is `x - A x + y` on the target's grid.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from ..support.device import full_precision
from ..support.settings import ConfigError, quoted

BACKGROUND = -1.0  # of volumes in [-1, 1]
LARGEST = 64  # voxels in a row that become one
TEXT = re.compile(r"(fourier-)?(\d{1,2})x(\d{1,2})x(\d{1,2})(?:-(slice|gauss)(\d{1,2}))?", re.ASCII)


@dataclass(frozen=True)
class Degradation:
    """How a volume is measured. factor: how many voxels along X, Y and Z become one; kind:

    `mean`: means of blocks, or of touching slices; a block that the border cuts is averaged over the voxels it has.
    `slice`: slices of `thickness` voxels, one in every `factor`, so with a gap between them.
    `gauss`: slices with a Gaussian profile whose width at half its height is `thickness` voxels, cut at twice that.
    `fourier`: only the frequencies below the Nyquist frequency of the coarser grid (a periodic volume).

    Raises `ConfigError` for numbers that make no sense.
    """

    factor: tuple[int, int, int]
    kind: str = "mean"
    thickness: int = 0

    def __post_init__(self):
        coarser = [f for f in self.factor if f > 1]
        if not coarser or min(self.factor) < 1 or max(self.factor) > LARGEST:
            raise ConfigError(
                f"a degradation makes voxels 1 to {LARGEST} times as large, and not by 1x1x1: {self.factor}"
            )
        profiled = self.kind in ("slice", "gauss")
        if profiled and (len(coarser) != 1 or self.thickness < 1):
            raise ConfigError("slices of a profile lie along one axis, and are at least a voxel thick")
        if self.kind == "slice" and self.thickness >= coarser[0]:
            raise ConfigError(
                f"slices of {self.thickness} voxels, one in every {coarser[0]}, leave no gap between them"
            )

    @classmethod
    def parse(cls, text: str) -> Degradation:
        """From its name, such as `4x4x4`, `1x1x6-slice4` or `fourier-2x2x2`; raises `ConfigError` for what is none."""
        match = TEXT.fullmatch(text)
        if match is None or (match[1] and match[5]):
            raise ConfigError(
                f"{quoted(text)} is no degradation: write 4x4x4 or 1x1x5 (block means), 1x1x6-slice4 (slices of 4 "
                "voxels, one in every 6), 1x1x5-gauss5 (with a Gaussian profile), or fourier-2x2x2 (low frequencies)"
            )
        kind = "fourier" if match[1] else match[5] or "mean"
        return cls(tuple(int(match[k]) for k in (2, 3, 4)), kind, int(match[6] or 0))

    def __str__(self) -> str:
        size = "x".join(map(str, self.factor))
        if self.kind == "fourier":
            return f"fourier-{size}"
        return size + (f"-{self.kind}{self.thickness}" if self.thickness else "")

    @property
    def is_local(self) -> bool:
        """Whether a part of a volume, cut between coarse voxels, has its own part of the measurement and no other."""
        return self.kind in ("mean", "slice")

    def mirrors(self, width: int) -> bool:
        """Whether mirrored volumes of so many voxels along X are measured as the mirror image of their measurement."""
        return width % self.factor[0] == 0 and (self.kind != "slice" or self.factor[0] == 1)

    def measure(self, x: torch.Tensor, background: float = BACKGROUND) -> torch.Tensor:
        """`A x`, the coarse voxels [B, C, x, y, z] of x [B, C, X, Y, Z].

        background: the value outside of heads. It stays what it is, exactly, where a coarse voxel holds nothing else.
        """
        low = self._along(x - background, lambda axis: axis.measure)
        if self.kind == "fourier":  # ripples fill the background, which a skull-stripped volume does not have
            head = self._along((x != background).to(x.dtype), lambda axis: axis.holds)
            low = torch.where(head > 0, low, 0.0)
        return low + background

    def repeat(self, low: torch.Tensor, shape) -> torch.Tensor:
        """Coarse voxels [B, C, x, y, z], each repeated over its extent, on a grid of the spatial `shape`."""
        for dim, axis in self._axes(shape):
            low = low.index_select(dim, torch.from_numpy(axis.owner).to(low.device))
        return low

    def degrade(self, x: torch.Tensor, background: float = BACKGROUND) -> torch.Tensor:
        """The measurement of x [B, C, X, Y, Z] as a condition: on the same grid, `repeat(measure(x))` (Eq. 8)."""
        return self.repeat(self.measure(x, background), x.shape[2:])

    def even_out(self, y: torch.Tensor) -> torch.Tensor:
        """A measurement y [B, C, X, Y, Z] that is not quite constant within the extents of its voxels: their means."""
        means = self._along(y, lambda axis: axis.holds / axis.holds.sum(1, keepdims=True))
        return self.repeat(means, y.shape[2:])

    def measured(self, y: torch.Tensor) -> torch.Tensor:
        """The coarse voxels [B, C, x, y, z] that `repeat` made y [B, C, X, Y, Z] of."""
        for dim, axis in self._axes(y.shape[2:]):
            y = y.index_select(dim, torch.from_numpy(axis.first).to(y.device))
        return y

    def project(self, x0_hat: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The volume nearest to `x0_hat` that was measured as `y`: `x0_hat + A+ (y - A x0_hat)` (Sec. 13).

        x0_hat: [B, 1, X, Y, Z]; y: as `degrade` returns it. For `y` that a volume has, `degrade(project(x, y)) == y`;
        for others it comes as near as it can. Of the `fourier` kind, what is background in `y` is left as it is.
        """
        known = self.measured(y)
        missing = known - self._along(x0_hat, lambda axis: axis.measure)
        if self.kind == "fourier":
            missing = torch.where(known != BACKGROUND, missing, 0.0)
        if self.kind == "mean":  # whose inverse repeats, which is faster
            return x0_hat + self.repeat(missing, x0_hat.shape[2:])
        return x0_hat + self._along(missing, lambda axis: axis.inverse, x0_hat.shape[2:])

    def rms(self, x0_hat: torch.Tensor, y: torch.Tensor) -> float:
        """Root-mean-square difference of what `x0_hat` would be measured as, and `y`; both are [B, 1, X, Y, Z]."""
        return float((self.degrade(x0_hat) - y).square().mean().sqrt())

    def interpolate(self, y: torch.Tensor) -> torch.Tensor:
        """What a measurement y [B, C, X, Y, Z] says without learning: a cubic spline through its voxels' centres.

        Of the `fourier` kind: the volume of these low frequencies alone.
        """
        inverse = self.kind == "fourier"
        return self._along(self.measured(y), lambda axis: axis.inverse if inverse else axis.spline, y.shape[2:])

    def _axes(self, shape) -> list[tuple[int, _Axis]]:
        """The axes along which voxels become coarser: their dimension, and what happens along them."""
        steps = zip((2, 3, 4), shape, self.factor)
        return [(dim, _axis(replace(self, factor=(f, 1, 1)), int(n))) for dim, n, f in steps if f > 1]

    def _along(self, x: torch.Tensor, matrix, shape=None) -> torch.Tensor:
        """`x` multiplied by `matrix(axis)` along each axis; shape: of the target's grid, if it is not that of `x`."""
        with full_precision(x.device):  # what was measured is known to more than three digits
            for dim, axis in self._axes(shape or x.shape[2:]):
                x = torch.tensordot(torch.from_numpy(matrix(axis)).to(x), x, ([1], [dim])).movedim(0, dim)
        return x


@dataclass(frozen=True)
class _Axis:
    """One axis of n voxels that become m. measure, holds: [m, n]; inverse, spline: [n, m]; owner: [n]; first: [m].

    holds: 1 where a voxel lies in the extent of a coarse one; owner: of each voxel, the coarse one in whose extent it
    lies; first: the first voxel of each extent.
    """

    measure: np.ndarray
    inverse: np.ndarray
    spline: np.ndarray
    holds: np.ndarray
    owner: np.ndarray
    first: np.ndarray


@functools.cache
def _axis(degradation: Degradation, n: int) -> _Axis:
    """What a degradation does along an axis of `n` voxels, by `factor[0]`; float64."""
    step = degradation.factor[0]
    rows = {"mean": _means, "slice": _means, "gauss": _gaussians, "fourier": _low_frequencies}[degradation.kind]
    measure, centres, owner = rows(n, step, degradation.thickness)
    coarse = np.arange(len(measure))
    # Where each voxel lies between the centres, counted in coarse voxels, also beyond the first and the last.
    place = (np.arange(n) - centres[0]) / (n / len(coarse) if degradation.kind == "fourier" else step)
    units = np.eye(len(coarse))
    spline = np.stack([map_coordinates(unit, place[None], order=3, mode="nearest") for unit in units], axis=1)
    holds = owner == coarse[:, None]
    matrices = (measure, np.linalg.pinv(measure, rcond=1e-8), spline, holds.astype(float))
    return _Axis(*matrices, owner, holds.argmax(1))  # arrays: a tensor may be without content where memory is computed


def _means(n: int, step: int, thickness: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slices of `thickness` voxels (0: all of them) in the middle of every `step`: matrix [m, n], centres, owners."""
    thickness = thickness or step
    begin = np.arange(min((step - thickness) // 2, n - 1), n, step)  # a volume thinner than a gap is one slice
    voxel = np.arange(n)
    inside = (voxel >= begin[:, None]) & (voxel < begin[:, None] + thickness)
    return inside / inside.sum(1, keepdims=True), begin + (thickness - 1) / 2, np.minimum(voxel // step, len(begin) - 1)


def _gaussians(n: int, step: int, thickness: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slices with a Gaussian profile, one in every `step`."""
    centres, voxel = np.arange(0, n, step) + (step - 1) / 2, np.arange(n)
    away = np.abs(voxel - centres[:, None]) / thickness  # in widths at half the height
    weights = np.where(away <= 1, 0.5 ** (4 * away**2), 0.0)
    kept = weights.sum(1) > 0
    owner = np.minimum(voxel // step, kept.sum() - 1)
    return weights[kept] / weights[kept].sum(1, keepdims=True), centres[kept], owner


def _low_frequencies(n: int, step: int, thickness: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples of the low frequencies at the centres of n / step coarse voxels."""
    m = max(1, round(n / step))
    centres, voxel = (np.arange(m) + 0.5) * n / m - 0.5, np.arange(n)
    waves = np.arange(1, (m - 1) // 2 + 1)
    phase = 2 * np.pi / n * waves * (voxel - centres[:, None])[..., None]
    return (1 + 2 * np.cos(phase).sum(-1)) / n, centres, voxel * m // n


BLOCKS = Degradation((4, 4, 4))  # the paper's
