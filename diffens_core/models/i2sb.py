"""I2SB: a diffusion bridge that starts at the degraded image instead of noise (Liu et al. 2023).

Between the target `x0` and the start `x1` the state at step t is Gaussian. Its mean and variance follow from the noise
gathered since `x0` (`sigma`) and the noise left until `x1` (`sigma_bar`), their Eq. 11. The network learns
`(xt - x0) / sigma`. `ot-ode` leaves all noise out, in training and in sampling.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..diffusion.model import Trainable, Translator
from ..diffusion.sampler import Projection, Step
from ..networks.inputs import network_inputs
from ..networks.lifting import SliceNet, VolumeNet
from ..support.errors import InputError

BETA_FIRST, BETA_MAX = 1e-4, 0.3  # of 1000 steps: the root of beta would rise evenly from 1e-4 to 0.3 / 1000, but
# turns half-way, at 1.87e-4, and falls again as it rose


class BridgeSchedule:
    """A noise schedule that is symmetric in time. sigma, sigma_bar: [T] float64, since `x0` and until `x1`."""

    def __init__(self, steps: int = 1000):
        rising = torch.linspace(BETA_FIRST**0.5, (BETA_MAX / 1000) ** 0.5, steps, dtype=torch.float64) ** 2
        half = rising[: steps // 2]
        beta = torch.cat([half, half.flip(0)]) * 1000 / steps
        self.steps = len(beta)
        self.sigma = beta.cumsum(0).sqrt()
        self.sigma_bar = beta.flip(0).cumsum(0).flip(0).sqrt()

    def between(self, x0, x1, t: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
        """A draw `xt ~ q(xt | x0, x1)`, or its mean without `noise`; all are [B, 1, X, Y, Z], `t` is [B] int64."""
        return gaussian_product(x0, x1, self.of(self.sigma, t, x0), self.of(self.sigma_bar, t, x0), noise)

    def back(self, xt, x0, t: int, before: int, noise: torch.Tensor | None) -> torch.Tensor:
        """A draw of the state at step `before` < `t` from its posterior for `xt` and an estimate of `x0` (Eq. 4)."""
        near = self.sigma[before].to(xt)
        far = (self.sigma[t] ** 2 - self.sigma[before] ** 2).sqrt().to(xt)
        return gaussian_product(x0, xt, near, far, noise)

    @staticmethod
    def of(table: torch.Tensor, t: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Entries `t` of a table as [B, 1, ...] with the rank, type and device of `like`."""
        return table[t.cpu()].reshape(-1, *[1] * (like.ndim - 1)).to(like)


def gaussian_product(a, b, sigma_a, sigma_b, noise: torch.Tensor | None) -> torch.Tensor:
    """A draw from N(a, sigma_a^2) N(b, sigma_b^2), normalised; its mean without `noise`."""
    total = sigma_a**2 + sigma_b**2
    mean = (sigma_b**2 * a + sigma_a**2 * b) / total
    return mean if noise is None else mean + sigma_a * sigma_b / total.sqrt() * noise


class Bridge(nn.Module, Translator, Trainable):
    """A bridge from channel `start` of the conditions to the target, by a network over slices or volumes.

    body: takes the inputs of a diffusion network; stochastic: with noise, or `ot-ode` without.
    """

    def __init__(self, body: SliceNet | VolumeNet, start: int, schedule: BridgeSchedule, stochastic: bool):
        super().__init__()
        self.body, self.start, self.schedule, self.stochastic = body, start, schedule, stochastic
        self.deterministic = not stochastic

    def forward(self, xt, y, t, coords=None) -> torch.Tensor:
        """`x0_hat = xt - sigma out` [B, 1, X, Y, Z] for a state `xt` at steps `t` [B]."""
        out = self.body.run(network_inputs(xt, y, coords), t)
        return xt - self.schedule.of(self.schedule.sigma, t, xt) * out

    def objectives(self) -> dict:
        """One objective: the squared error of `x0_hat`, in units of `sigma` for the paper's `loss = "eps"`."""
        return {"": self.loss}

    def loss(self, batch, train, box) -> torch.Tensor:
        """The error at a random step `batch.t` between the two ends of each pair."""
        x1 = batch.y[:, self.start : self.start + 1]
        xt = self.schedule.between(batch.x0, x1, batch.t, batch.eps if self.stochastic else None)
        unit = self.schedule.of(self.schedule.sigma, batch.t, xt) if train.loss == "eps" else 1.0
        return F.mse_loss(self(xt, batch.y, batch.t, batch.coords) / unit, batch.x0 / unit)

    def trajectory(
        self, y, noise, steps: int, *, project: Projection | None = None, generator: torch.Generator | None = None
    ) -> Iterator[Step]:
        """Steps from `x1` to the target, `steps` of them; the starting `noise` of other methods is not used."""
        if not 1 <= steps < self.schedule.steps:
            raise InputError(f"steps must lie between 1 and {self.schedule.steps - 1}, not {steps}")
        last = self.schedule.steps - 1
        times = [round(last * (1 - i / steps)) for i in range(steps + 1)]
        xt = y[:, self.start : self.start + 1]
        for index, (t, before) in enumerate(zip(times, times[1:])):
            x0_hat = self(xt, y, torch.full((len(y),), t, dtype=torch.int64, device=y.device)).clamp(-1.0, 1.0)
            x0_hat = x0_hat if project is None else project(x0_hat, y)
            fresh = torch.randn(xt.shape, generator=generator).to(xt) if self.stochastic and before > 0 else None
            xt = self.schedule.back(xt, x0_hat, t, before, fresh)
            yield Step(index, t, xt, x0_hat)
