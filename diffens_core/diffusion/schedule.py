"""The noise schedule of all networks, from beta to alpha_bar, and the quantities that a network may predict.

`alpha_bar` is computed once, in float64, and every model of a run reads this one table, so that a 2D and a
3D network always agree on the noise levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..support.errors import InputError
from ..support.settings import ConfigError, at_least, one_of, option

PREDICTIONS = ("v", "eps", "x0")


class Schedule:
    """A noise schedule. kind: `linear` (paper, Eq. 1, Table 7) or `cosine` (Nichol and Dhariwal 2021, s = 0.008).

    `scaled`: linear in the root of beta (latent diffusion, Rombach et al. 2022).

    alpha_bar: [T] float64, cumulative product of `1 - beta`. Steps `t` are int64 [B] in 0..T-1.
    """

    def __init__(self, steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 2e-2, kind: str = "linear"):
        beta = torch.linspace(beta_start, beta_end, steps, dtype=torch.float64)
        if kind == "cosine":
            angle = (torch.arange(steps + 1, dtype=torch.float64) / steps + 0.008) / 1.008 * torch.pi / 2
            beta = (1 - (angle[1:].cos() / angle[:-1].cos()) ** 2).clamp(max=0.999)
        if kind == "scaled":
            beta = torch.linspace(beta_start**0.5, beta_end**0.5, steps, dtype=torch.float64) ** 2
        self.steps = steps
        self.alpha_bar = torch.cumprod(1.0 - beta, 0)

    def __eq__(self, other) -> bool:
        return isinstance(other, Schedule) and torch.equal(self.alpha_bar, other.alpha_bar)

    __hash__ = None

    def signal_and_noise(self, t: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`sqrt(alpha_bar[t])` and `sqrt(1 - alpha_bar[t])`, each float32 [B, 1, ...] with the rank of `like`."""
        alpha_bar = self.alpha_bar[t.cpu()].reshape(-1, *[1] * (like.ndim - 1))
        signal, noise = alpha_bar.sqrt().float(), (1.0 - alpha_bar).sqrt().float()
        return signal.to(like.device), noise.to(like.device)

    def add_noise(self, x0: torch.Tensor, eps: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """`xt` of Eq. 1: the target `x0` [B, ...] in [-1, 1] with the noise of step `t`."""
        signal, noise = self.signal_and_noise(t, x0)
        return signal * x0 + noise * eps

    def x0_from_eps(self, eps: torch.Tensor, xt: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The clean estimate that a noise prediction implies."""
        signal, noise = self.signal_and_noise(t, xt)
        return (xt - noise * eps) / signal

    def eps_from_x0(self, x0: torch.Tensor, xt: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The noise that a clean estimate implies."""
        signal, noise = self.signal_and_noise(t, xt)
        return (xt - signal * x0) / noise

    def eps_from(self, prediction: str, out: torch.Tensor, xt: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The noise from a network's output; `v = signal eps - noise x0` (Salimans and Ho 2022).

        Raises `InputError` for a prediction that is not one of `PREDICTIONS`.
        """
        signal, noise = self.signal_and_noise(t, xt)
        match prediction:
            case "eps":
                return out
            case "v":
                return signal * out + noise * xt
            case "x0":
                return (xt - signal * out) / noise
        raise unknown(prediction)

    def prediction_from(self, prediction: str, eps: torch.Tensor, xt: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The inverse of `eps_from`: the output of a network that predicts `eps`; raises the same error."""
        signal, noise = self.signal_and_noise(t, xt)
        match prediction:
            case "eps":
                return eps
            case "v":
                return (eps - noise * xt) / signal
            case "x0":
                return (xt - noise * eps) / signal
        raise unknown(prediction)

    def eps_per_output(self, prediction: str, xt: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """d eps / d output, [B, 1, ...]: the change of `eps` by a unit of residual in the predicted quantity."""
        signal, noise = self.signal_and_noise(t, xt)
        return {"eps": torch.ones_like(signal), "v": signal, "x0": -signal / noise}[prediction]


def unknown(prediction: str) -> InputError:
    """The error for a prediction that is not one of `PREDICTIONS`."""
    return InputError(f"prediction must be one of {', '.join(PREDICTIONS)}, not '{prediction}'")


@dataclass(frozen=True)
class DiffusionConfig:
    """The noise schedule of all networks of a run.

    kind: `linear` in beta, `scaled` (linear in its root), or `cosine`, which ignores beta.
    """

    steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 2e-2
    kind: str = option("linear")

    def __post_init__(self):
        one_of("kind", self.kind, ("linear", "scaled", "cosine"))
        at_least("steps", self.steps, 1)
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise ConfigError(f"0 < beta_start <= beta_end < 1 must hold, not {self.beta_start}, {self.beta_end}")

    @property
    def schedule(self) -> Schedule:
        """The table of noise levels with these settings."""
        return Schedule(self.steps, self.beta_start, self.beta_end, self.kind)
