"""A mixture of Gaussians in one dimension, whose density and score are known at every noise level: no training.

If `x0` is a mixture, so is `xt`, with other means and widths (Eq. 1). Its score gives the best guess of the noise, and
with it an exact denoiser. The variable is one voxel, and every voxel of a volume another sample of it: so the package's
samplers and averages run on it as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn as nn

from ..support.errors import InputError
from .model import Denoiser
from .schedule import Schedule


@dataclass(frozen=True)
class Mixture:
    """`sum_k weights[k] N(means[k], stds[k]^2)`, a density on the line. Points `x` are tensors of any shape.

    Raises `InputError` where the three are not of one length, a width is not positive, or the weights do not sum to 1.
    """

    means: tuple[float, ...]
    stds: tuple[float, ...]
    weights: tuple[float, ...]

    def __post_init__(self):
        if not len(self.means) == len(self.stds) == len(self.weights) > 0:
            raise InputError("a mixture has as many means as widths and weights, and at least one")
        if min(self.stds) <= 0 or min(self.weights) < 0 or abs(sum(self.weights) - 1) > 1e-9:
            raise InputError("a mixture has positive widths, and weights from 0 that sum to 1")

    def part(self, *which: int) -> Mixture:
        """Only the named components, with weights that sum to 1 again."""
        total = sum(self.weights[k] for k in which)
        means, stds, weights = ([values[k] for k in which] for values in (self.means, self.stds, self.weights))
        return Mixture(tuple(means), tuple(stds), tuple(weight / total for weight in weights))

    def noisy(self, alpha_bar: float) -> Mixture:
        """The mixture that `xt = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps` follows."""
        means = tuple(math.sqrt(alpha_bar) * mean for mean in self.means)
        stds = tuple(math.sqrt(alpha_bar * std**2 + 1 - alpha_bar) for std in self.stds)
        return Mixture(means, stds, self.weights)

    def _beside(self, x: torch.Tensor) -> torch.Tensor:
        """Means, widths and weights, [3, K, 1, ...], to be broadcast over the points `x`."""
        return torch.tensor([self.means, self.stds, self.weights]).to(x).reshape(3, -1, *[1] * x.ndim)

    def _parts(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each component, [K, ...]: the log of what it adds to the density, and the fall of this log with `x`."""
        mean, std, weight = self._beside(x)
        off = (x - mean) / std
        return (weight / std).log() - off.square() / 2 - math.log(2 * math.pi) / 2, off / std

    def density(self, x: torch.Tensor) -> torch.Tensor:
        """`p(x)`, of the shape of `x`."""
        return self._parts(x)[0].exp().sum(0)

    def shares(self, x: torch.Tensor) -> torch.Tensor:
        """The probability [K, ...] that a sample at `x` comes from each component (its "responsibility")."""
        return self._parts(x)[0].softmax(0)

    def score(self, x: torch.Tensor) -> torch.Tensor:
        """`d log p(x) / dx`: the components' own scores, each with its share."""
        logs, slopes = self._parts(x)
        return -(logs.softmax(0) * slopes).sum(0)

    def cdf(self, x: torch.Tensor) -> torch.Tensor:
        """The probability of a sample below `x`."""
        mean, std, weight = self._beside(x)
        return (weight * torch.special.ndtr((x - mean) / std)).sum(0)

    def quantiles(self, count: int) -> torch.Tensor:
        """`count` points of equal probability, [count] float64, rising: a mean over them is an expectation.

        They lie at the probabilities (i + 1/2) / count, found by bisection.
        """
        wanted = (torch.arange(count, dtype=torch.float64) + 0.5) / count
        reach = max(abs(mean) + 10 * std for mean, std in zip(self.means, self.stds))
        low, high = torch.full_like(wanted, -reach), torch.full_like(wanted, reach)
        for _ in range(60):
            middle = (low + high) / 2
            below = self.cdf(middle) < wanted
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Random samples [count] float64."""
        which = torch.multinomial(torch.tensor(self.weights), count, replacement=True, generator=generator)
        mean, std = (torch.tensor(values, dtype=torch.float64)[which] for values in (self.means, self.stds))
        return mean + std * torch.randn(count, generator=generator, dtype=torch.float64)

    def distance(self, samples: torch.Tensor) -> float:
        """Wasserstein's distance of `samples` [N] from the mixture: how far probability must be moved, on average."""
        return float((samples.double().sort().values - self.quantiles(len(samples))).abs().mean())


NORMAL = Mixture((0.0,), (1.0,), (1.0,))  # pure noise


class MixtureDenoiser(Denoiser):
    """The expected noise, given `xt`, where every voxel follows `mixture`: a denoiser without parameters."""

    def __init__(self, mixture: Mixture, schedule: Schedule | None = None):
        super().__init__()
        self.mixture, self.schedule = mixture, schedule or Schedule()

    def at(self, t: int) -> Mixture:
        """The density of `xt` at step `t`."""
        return self.mixture.noisy(float(self.schedule.alpha_bar[t]))

    def forward(self, xt, y, t, coords=None) -> torch.Tensor:
        """`eps = -sqrt(1 - alpha_bar) score(xt)`, of the shape of `xt`; `y` and `coords` are not read."""
        scores = torch.stack([self.at(int(step)).score(x) for x, step in zip(xt, t)])
        return -self.schedule.signal_and_noise(t, xt)[1] * scores


class BestGate(Denoiser):
    """Two experts with the best weights in [0, 1] at every `xt`: those of someone who knows the `truth`.

    No gate, whatever it reads, comes nearer to the true noise. level: use the weights of this step at all steps, so
    that they depend on `xt` alone; None: each step has its own.
    """

    def __init__(self, experts: Sequence[nn.Module], truth: nn.Module, level: int | None = None):
        super().__init__()
        self.experts, self.truth, self.level = nn.ModuleList(experts), truth, level
        self.schedule = truth.schedule

    def weight(self, xt, y, t) -> torch.Tensor:
        """The weight of the first expert, in [0, 1], of the shape of `xt`; 1/2 where both experts say the same."""
        t = t if self.level is None else torch.full_like(t, self.level)
        (first, second), wanted = (expert(xt, y, t) for expert in self.experts), self.truth(xt, y, t)
        return torch.where(first == second, 0.5, (wanted - second) / (first - second)).clamp(0, 1)

    def forward(self, xt, y, t, coords=None) -> torch.Tensor:
        """`eps = w eps_1 + (1 - w) eps_2` (Eq. 6 without a residual), of the shape of `xt`."""
        first, second = (expert(xt, y, t) for expert in self.experts)
        return second + self.weight(xt, y, t) * (first - second)


def on_points(function, x: torch.Tensor, t: int) -> torch.Tensor:
    """`function(xt, y, t)`, a denoiser or a gate's weight, at points `x` [N] and one step `t`: [N]."""
    xt = x.reshape(1, 1, -1, 1, 1)
    return function(xt, torch.zeros_like(xt), torch.tensor([t])).flatten()


def gram(denoisers: Sequence[nn.Module], truth: MixtureDenoiser, t: int, points: int = 2000) -> torch.Tensor:
    """`E[d_p d_q]` at step `t`, [P, P] float64; `d_p`: the `eps` of denoiser p minus the true one's.

    The diagonal is how much the squared error of each exceeds the least possible; `best_gate` (`gaussians.py`) finds
    the best constant weights. The expectation is the mean over `points` quantiles of `xt`.
    """
    x = truth.at(t).quantiles(points)
    offsets = torch.stack([on_points(denoiser, x, t) for denoiser in denoisers]) - on_points(truth, x, t)
    return offsets @ offsets.T / points
