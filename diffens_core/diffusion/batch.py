"""Training batches: crops of volumes, each with noise and a noise level of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..data.crops import Crops
from ..support.seeds import mix_seed

GOLDEN_RATIO = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Batch:
    """A training batch. x0, eps: [B, 1, X, Y, Z]; y: [B, C, X, Y, Z]; coords: [B, 3, X, Y, Z]; t: [B] int64."""

    x0: torch.Tensor
    y: torch.Tensor
    coords: torch.Tensor
    eps: torch.Tensor
    t: torch.Tensor

    def to(self, device) -> Batch:
        return Batch(*(getattr(self, name).to(device) for name in ("x0", "y", "coords", "eps", "t")))


def with_noise(crops: Crops, levels: int, seed: int, step: int, numbers: range, spread: bool = True) -> Batch:
    """A batch of `crops` with noise, and steps `t` below `levels`, for the sample `numbers` of one training step.

    Sample i of step s depends on (seed, s, i) and nothing else: a resumed run draws what it would have drawn, and
    several processes draw together what one would. spread: the steps as `spread_step` has them, or else uniform draws.
    """
    eps = torch.stack([torch.randn(x0.shape, generator=draw) for x0, draw in zip(crops.x0, crops.draws)])
    if spread:
        t = torch.tensor([spread_step(levels, seed, step, number) for number in numbers])
    else:
        t = torch.cat([torch.randint(levels, (1,), generator=draw) for draw in crops.draws])
    return Batch(crops.x0, crops.y, crops.coords, eps, t)


def spread_step(levels: int, seed: int, step: int, number: int) -> int:
    """The noise level of sample `number` of a training step: evenly spread over 0..levels-1, from a random start.

    The loss depends on `t` more than on anything else, and independent draws would leave gaps. The samples of a step
    follow a golden-ratio sequence, so that even a few cover the levels evenly (a low-discrepancy sampler, as in Kingma
    et al. 2021, Variational Diffusion Models). Each step shifts all of them by the root of two, so none repeats.
    """
    start = mix_seed(seed, "t") / 2**63
    return int((start + number * GOLDEN_RATIO + step * 2**0.5) % 1.0 * levels)
