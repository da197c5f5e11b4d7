"""DDIM as one generator around any denoiser, with an optional projection of every clean estimate.

A denoiser is anything with `eps = denoiser(xt, y, t)` on volumes and a `schedule`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .schedule import Schedule


@dataclass(frozen=True)
class Step:
    """State after one step: `t` just left, `x0_hat` estimated there, `xt` the sample at the next noise level."""

    index: int
    t: int
    xt: torch.Tensor
    x0_hat: torch.Tensor


def timesteps(schedule: Schedule, steps: int) -> list[int]:
    """`steps` times from T-1 down, evenly spaced ("trailing": it starts at pure noise, 999 of 1000)."""
    if not 1 <= steps <= schedule.steps:
        raise ValueError(f"steps must lie between 1 and {schedule.steps}, not {steps}")
    return [round(schedule.steps - i * schedule.steps / steps) - 1 for i in range(steps)]


def ddim(
    denoiser,
    y: torch.Tensor,
    noise: torch.Tensor,
    steps: int,
    *,
    eta: float = 0.0,
    project: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    clamp: bool = True,
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """Sample the target from `noise` [B, 1, X, Y, Z] given conditions `y` [B, C, X, Y, Z] (Song et al. 2021).

    Each step predicts `eps`, estimates `x0_hat`, clamps it to [-1, 1], projects it onto the measured data with
    `project(x0_hat, y)`, recomputes `eps` from it, and moves to the next noise level. The last `x0_hat`, which
    is never clamped after its projection, is the sample. `eta` scales the fresh noise (0 none, 1 DDPM's), which
    is drawn from `generator`.
    """
    schedule = denoiser.schedule
    times = timesteps(schedule, steps)
    xt = noise
    for index, t in enumerate(times):
        step = torch.full((len(xt),), t, dtype=torch.int64, device=xt.device)
        eps = denoiser(xt, y, step)
        x0_hat = schedule.x0_from_eps(eps, xt, step)
        if clamp:
            x0_hat = x0_hat.clamp(-1.0, 1.0)
        if project is not None:
            x0_hat = project(x0_hat, y)
        eps = schedule.eps_from_x0(x0_hat, xt, step)
        before = schedule.alpha_bar[t].item()
        after = schedule.alpha_bar[times[index + 1]].item() if index + 1 < steps else 1.0
        sigma = eta * np.sqrt((1 - after) / (1 - before) * (1 - before / after))
        xt = np.sqrt(after) * x0_hat + np.sqrt(max(0.0, 1 - after - sigma**2)) * eps
        if sigma > 0:
            xt = xt + sigma * torch.randn(xt.shape, generator=generator).to(xt)
        yield Step(index, t, xt, x0_hat)


def mix_seed(*parts: int | str) -> int:
    """One 63-bit seed from several numbers and names: the same on every machine."""
    words = [part if isinstance(part, int) else int.from_bytes(part.encode(), "little") for part in parts]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)


def noise_for(subject: str, samples: Sequence[int], seed: int, shape, device="cpu") -> torch.Tensor:
    """Starting noise [K, 1, X, Y, Z]: sample k of a subject depends on (seed, subject, k) and nothing else."""
    draws = [
        torch.randn(1, *shape, generator=torch.Generator().manual_seed(mix_seed(seed, subject, k))) for k in samples
    ]
    return torch.stack(draws).to(device)
