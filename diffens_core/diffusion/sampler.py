"""Samplers as generators of steps with any denoiser, and an optional projection of every clean estimate.

`ddim`, which has ancestral sampling at the one end of its `eta`, and `dpm_solver`, by name in `sampler_named`.

A denoiser is anything with `eps = denoiser(xt, y, t)` on volumes and a `schedule` (`model.py` has the full contract).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from ..support.errors import InputError
from ..support.seeds import mix_seed
from ..support.settings import ConfigError, shown
from .schedule import Schedule

Projection = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
SAMPLERS = ("ddim", "ancestral", "dpm++")  # and ddim:ETA


@dataclass(frozen=True)
class Step:
    """The state after one step. t: the step taken; x0_hat: the clean estimate at t; xt: at the next noise level."""

    index: int
    t: int
    xt: torch.Tensor
    x0_hat: torch.Tensor


def timesteps(schedule: Schedule, steps: int, below: int | None = None) -> list[int]:
    """`steps` evenly spaced times from T-1 down ("trailing": they start at pure noise, 999 of 1000).

    below: they begin at `below - 1` instead, for a start that is no pure noise. Raises `InputError` for `steps` that
    are not from 1 to T, or to `below`.
    """
    total = schedule.steps if below is None else below
    if not 1 <= steps <= total:
        raise InputError(f"steps must lie between 1 and {total}, not {steps}")
    return [round(total - i * total / steps) - 1 for i in range(steps)]


def ddim(
    denoiser,
    y: torch.Tensor,
    noise: torch.Tensor,
    steps: int,
    *,
    eta: float = 0.0,
    project: Projection | None = None,
    clamp: bool = True,
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """Sample the target from `noise` [B, 1, X, Y, Z] given conditions `y` [B, C, X, Y, Z] (Song et al. 2021).

    Each step predicts `eps`, estimates `x0_hat`, clamps it to [-1, 1], projects it onto the measured data with
    `project(x0_hat, y)`, recomputes `eps` from it, and moves to the next noise level. The last `x0_hat`, which
    is not clamped after its projection, is the sample. eta: scale of the fresh noise (0: none, 1: DDPM's), which
    is drawn from `generator`.
    """
    xt = noise
    for index, (t, after) in enumerate(noise_levels(denoiser.schedule, steps)):
        x0_hat = clean_estimate(denoiser, xt, y, t, project, clamp)
        xt = ddim_step(denoiser.schedule, xt, x0_hat, t, after, eta, generator)
        yield Step(index, t, xt, x0_hat)


def dpm_solver(
    denoiser,
    y: torch.Tensor,
    noise: torch.Tensor,
    steps: int,
    *,
    project: Projection | None = None,
    clamp: bool = True,
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """DPM-Solver++(2M), deterministic: second order in the log signal-to-noise ratio (Lu et al. 2022, Alg. 2).

    Arguments as of `ddim`; `generator` draws nothing. Each step moves along an extrapolation of the last two clean
    estimates, as they are after clamp and projection. The first and the last step have one estimate: they are DDIM's.
    """
    levels = noise_levels(denoiser.schedule, steps)
    xt, before, h_before = noise, None, None
    for index, (t, after) in enumerate(levels):
        x0_hat = clean_estimate(denoiser, xt, y, t, project, clamp)
        now, towards = denoiser.schedule.alpha_bar[t].item(), x0_hat
        h = _half_log_snr(after) - _half_log_snr(now)
        if before is not None and after < 1:
            towards = x0_hat + (x0_hat - before) * (h / (2 * h_before))
        xt = np.sqrt((1 - after) / (1 - now)) * xt - np.sqrt(after) * np.expm1(-h) * towards
        before, h_before = x0_hat, h
        yield Step(index, t, xt, x0_hat)


def _half_log_snr(alpha_bar: float) -> float:
    """lambda = log(signal / noise); infinite at the end, where there is no noise."""
    return np.log(alpha_bar / (1 - alpha_bar)) / 2 if alpha_bar < 1 else np.inf


def sampler_named(name: str) -> Callable[..., Iterator[Step]]:
    """A sampler with the arguments of `ddim`; raises `ConfigError` for a name that is none.

    `ddim`: deterministic; `ddim:0.5`: with that `eta`; `ancestral`: `eta` 1, DDPM's own step between the times that are
    taken; `dpm++`: DPM-Solver++(2M).
    """
    if name == "dpm++":
        return dpm_solver
    text = {"ddim": "0", "ancestral": "1"}.get(name) or name.partition("ddim:")[2]
    if not re.fullmatch(r"0(\.\d+)?|1(\.0+)?", text):
        raise ConfigError(
            f"unknown sampler '{shown(name)}': choose from {', '.join(SAMPLERS)}, or ddim:ETA, from 0 to 1"
        )
    return partial(ddim, eta=float(text))


def average_of_samples(
    denoisers: Sequence,
    y: torch.Tensor,
    noise: torch.Tensor,
    steps: int | Sequence[int],
    *,
    project: Projection | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """MADM's own sampling: every denoiser takes its own ancestral step, with its own noise; the samples are averaged.

    steps: their number, or the times to take, from a `noise` that is as noisy as the first of them. Averaging P samples
    leaves 1 / P of the fresh noise's variance, less than the next noise level has. MADM does the same, and it is one
    reason why its results are smooth.
    """
    schedule, xt = denoisers[0].schedule, noise
    for index, (t, after) in enumerate(noise_levels(schedule, steps)):
        estimates = [clean_estimate(denoiser, xt, y, t, project) for denoiser in denoisers]
        xt = torch.stack([ddim_step(schedule, xt, x0, t, after, 1.0, generator) for x0 in estimates]).mean(0)
        yield Step(index, t, xt, torch.stack(estimates).mean(0))


def noise_levels(schedule: Schedule, steps: int | Sequence[int]) -> list[tuple[int, float]]:
    """For every sampling step its `t` and the `alpha_bar` after it, 1 at the end; steps: their number, or times."""
    times = timesteps(schedule, steps) if isinstance(steps, int) else list(steps)
    return list(zip(times, [*(schedule.alpha_bar[t].item() for t in times[1:]), 1.0]))


def clean_estimate(denoiser, xt, y, t: int, project: Projection | None, clamp: bool = True) -> torch.Tensor:
    """The clean estimate `x0_hat` [B, 1, X, Y, Z] at step `t`: clamped to [-1, 1], then projected."""
    step = torch.full((len(xt),), t, dtype=torch.int64, device=xt.device)
    x0_hat = denoiser.schedule.x0_from_eps(denoiser(xt, y, step), xt, step)
    if clamp:
        x0_hat = x0_hat.clamp(-1.0, 1.0)
    return x0_hat if project is None else project(x0_hat, y)


def ddim_step(
    schedule: Schedule, xt, x0_hat, t: int, after: float, eta: float, generator: torch.Generator | None
) -> torch.Tensor:
    """Move `xt` from step `t` to the noise level `alpha_bar = after`, with the noise that `x0_hat` implies."""
    eps = schedule.eps_from_x0(x0_hat, xt, torch.full((len(xt),), t, dtype=torch.int64, device=xt.device))
    before = schedule.alpha_bar[t].item()
    sigma = eta * np.sqrt((1 - after) / (1 - before) * (1 - before / after))
    xt = np.sqrt(after) * x0_hat + np.sqrt(max(0.0, 1 - after - sigma**2)) * eps
    return xt + sigma * torch.randn(xt.shape, generator=generator).to(xt) if sigma > 0 else xt


def noise_for(subject: str, samples: Sequence[int], seed: int, shape, device="cpu") -> torch.Tensor:
    """Starting noise [K, 1, X, Y, Z]: sample k of a subject depends on (seed, subject, k) and nothing else."""
    draws = [
        torch.randn(1, *shape, generator=torch.Generator().manual_seed(mix_seed(seed, subject, k))) for k in samples
    ]
    return torch.stack(draws).to(device)
