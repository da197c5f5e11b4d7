"""How near a set of volumes is to a set of true ones: maximum mean discrepancies and Frechet distances.

The name of each number says what it is computed on. All are biased or noisy for few volumes: `small_sample_curve`
shows what the same data give for smaller sets, and `too_few` is the warning that stands beside such results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from ..support.errors import InputError

ENOUGH = 50  # volumes; with fewer, distances between covariances say more about their number than about the method


def too_few(count: int) -> str:
    """The warning that belongs to distances between sets of `count` volumes; empty where there are enough."""
    if count >= ENOUGH:
        return ""
    return f"distances between sets of {count} volumes are biased or noisy (below {ENOUGH}): compare equal numbers only"


class VoxelMeans:
    """`mmd_linear_voxels`, the authors' "MMD": `|| mean X - mean Y ||^2` over all voxels, with a linear kernel.

    Only one mean volume is kept in memory, however many subjects there are. The estimate is biased: it grows with the
    noise of both means. It cannot tell two methods with equal means apart. Values are those of volumes in [0, 1].
    """

    def __init__(self):
        self.count, self.difference = 0, 0.0

    def add(self, prediction: torch.Tensor, target: torch.Tensor) -> None:
        """Add one subject: both volumes are [1, X, Y, Z] in [-1, 1]."""
        self.count += 1
        self.difference = self.difference + (prediction.double() - target.double()) / 2

    @property
    def value(self) -> float:
        """The distance over all subjects so far. Raises `InputError` before the first one."""
        if not self.count:
            raise InputError("mmd_linear_voxels needs at least one subject")
        return float(((self.difference / self.count) ** 2).sum())


def mmd_rbf(x: torch.Tensor, y: torch.Tensor, paired: bool = False) -> tuple[float, float]:
    """Unbiased squared MMD with a Gaussian kernel (Gretton et al. 2012, Lemma 6), and the kernel's bandwidth.

    x: features [N, F]; y: those of the truth [M, F]. The bandwidth is the median distance between two true volumes, so
    all methods are measured with one kernel. As it is unbiased, it may be negative where the sets are alike.

    paired: x[i] and y[i] are of one subject, so they are not independent. Such pairs are left out (the lemma's second
    form); with them, perfect translations would be nearer to the truth than another set of true volumes.

    Raises `InputError` for less than two of either, pairs of unequal number, or true features that are mostly equal.
    """
    _check(x, y)
    n, m = len(x), len(y)
    if paired and n != m:
        raise InputError(f"{n} and {m} volumes are no pairs")
    bandwidth = float(torch.pdist(y.double()).median())
    if bandwidth == 0.0:
        raise InputError("most true features are equal: the kernel has no bandwidth")
    both = torch.cat([x, y]).double()
    kernel = torch.exp(-0.5 * (torch.cdist(both, both) / bandwidth) ** 2)
    within_x = (kernel[:n, :n].sum() - n) / (n * (n - 1))
    within_y = (kernel[n:, n:].sum() - m) / (m * (m - 1))
    across = kernel[:n, n:]
    between = (across.sum() - across.trace()) / (n * (n - 1)) if paired else across.mean()
    return float(within_x + within_y - 2 * between), bandwidth


def frechet_distance(x: torch.Tensor, y: torch.Tensor) -> float:
    """Frechet distance of two Gaussians fitted to the features x [N, F] and y [M, F] (Heusel et al. 2017, FID).

    `|| m_x - m_y ||^2 + tr(S_x) + tr(S_y) - 2 tr((S_x S_y)^(1/2))`. The last trace is the sum of the singular values of
    `A B'` for centred features `A`, `B` over sqrt(N - 1), sqrt(M - 1); this is exact even where N < F makes covariances
    singular. Both are made triangular first, which keeps the singular values, in a size that does not grow with N.
    Raises `InputError` for less than two of either.
    """
    _check(x, y)
    x, y = x.double(), y.double()
    a, b = (torch.linalg.qr((f - f.mean(0)) / np.sqrt(len(f) - 1), mode="r").R for f in (x, y))
    shift = ((x.mean(0) - y.mean(0)) ** 2).sum()
    return float(shift + (a**2).sum() + (b**2).sum() - 2 * torch.linalg.svdvals(a @ b.T).sum())


def small_sample_curve(
    metric: Callable[[torch.Tensor, torch.Tensor], float],
    features: torch.Tensor,
    sizes: Sequence[int],
    draws: int = 20,
    seed: int = 0,
) -> dict[int, np.ndarray]:
    """`metric` between two disjoint random subsets of `features` [N, F], by their size: `draws` values each.

    Both are of one distribution: a mean other than 0 is bias, and differences between draws are noise.
    Raises `InputError` for a size of more than half of N.
    """
    if max(sizes) > len(features) // 2:
        raise InputError(f"two sets of {max(sizes)} cannot be drawn from {len(features)} volumes")
    generator = torch.Generator().manual_seed(seed)

    def pair(size):
        order = torch.randperm(len(features), generator=generator)
        return features[order[:size]], features[order[size : 2 * size]]

    return {n: np.array([metric(*pair(n)) for _ in range(draws)]) for n in sizes}


def _check(x: torch.Tensor, y: torch.Tensor) -> None:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise InputError(f"features must be [N, F] and [M, F], not {tuple(x.shape)} and {tuple(y.shape)}")
    if min(len(x), len(y)) < 2:
        raise InputError(f"needs at least two volumes of each, not {len(x)} and {len(y)}")
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise InputError("features hold values that are not finite")
