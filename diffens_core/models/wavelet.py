"""Diffusion of wavelet bands: a 3D diffusion model of whole volumes at an eighth of the memory.

It is the idea of cWDM (Friedrich et al. 2024, https://arxiv.org/abs/2411.17203): the target becomes its eight Haar
bands at half the resolution, a 3D U-Net reads them noisy beside the bands of all conditions, and predicts them clean.
Nothing is lost in the bands, so that, unlike in a latent space, every clean estimate can be clamped and projected onto
the measurement as an image, and the next step goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..data.planes import crop_like, pad_to_multiple
from ..diffusion.batch import Batch
from ..diffusion.loss import denoising_loss
from ..diffusion.model import Denoiser
from ..diffusion.sampler import Projection, Step, sampler_named
from ..diffusion.schedule import Schedule
from ..networks.haar import BANDS, haar, inverse_haar
from ..networks.lifting import VolumeNet

LOWEST = 3.0  # the band of means is divided by it, as in cWDM: that of an image in [-1, 1] reaches sqrt(8)


class WaveletDiffusion(VolumeNet, Denoiser):
    """A 3D diffusion model of wavelet bands.

    net: takes [B, 8 (1 + C), X / 2, Y / 2, Z / 2]; prediction: `v`, `eps` or `x0`, the quantity that it predicts.
    """

    def __init__(self, net: nn.Module, schedule: Schedule, prediction: str):
        super().__init__(net)
        self.schedule, self.prediction = schedule, prediction

    def forward(self, xt, y, t, coords=None) -> torch.Tensor:
        """`eps` [B, 8, ...] for noisy bands `xt`, the conditions' bands `y` [B, 8 C, ...] and steps `t` [B]."""
        return self.schedule.eps_from(self.prediction, self.run(torch.cat([xt, y], dim=1), t), xt, t)

    def objectives(self) -> dict:
        """One objective: the denoising loss on bands."""
        return {"": lambda batch, train, box: denoising_loss(self, in_bands(batch), train)}

    def trajectory(
        self, y, noise, steps: int, *, project: Projection | None = None, generator=None, sampler: str = "ddim"
    ) -> Iterator[Step]:
        """A sampler of bands, which clamps and projects images: `xt` of each step are bands, `x0_hat` is an image."""

        def corrected(bands, _):
            volume = to_volume(bands, y).clamp(-1.0, 1.0)
            return to_bands(volume if project is None else project(volume, y))

        options = {"project": corrected, "clamp": False, "generator": generator}
        for step in sampler_named(sampler)(self, to_bands(y), noise_in_bands(noise), steps, **options):
            yield replace(step, x0_hat=to_volume(step.x0_hat, y))


def to_bands(volume: torch.Tensor) -> torch.Tensor:
    """The bands [B, 8 C, ...] of `volume` [B, C, X, Y, Z], the lowest scaled; odd sizes are padded first."""
    return haar(pad_to_multiple(volume, 2)) / _scale(volume)


def to_volume(bands: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The volume [B, 1, X, Y, Z] of one channel's `bands` [B, 8, ...], cut to the spatial size of `like`."""
    return crop_like(inverse_haar(bands * _scale(like[:, :1])), like)


def noise_in_bands(noise: torch.Tensor) -> torch.Tensor:
    """White noise of bands, [B, 8, ...], from that of volumes, [B, 1, X, Y, Z]: the same numbers, transformed.

    Odd sizes are padded with numbers of the other end: an edge repeated would not be white.
    """
    pad = [side for n in reversed(noise.shape[2:]) for side in (0, n % 2)]
    return haar(F.pad(noise, pad, mode="circular"))


def in_bands(batch: Batch) -> Batch:
    """The batch with bands in place of target, conditions and noise."""
    return replace(batch, x0=to_bands(batch.x0), y=to_bands(batch.y), eps=noise_in_bands(batch.eps))


def _scale(volume: torch.Tensor) -> torch.Tensor:
    """What the bands of the channels of `volume` [B, C, X, Y, Z] are divided by, [1, 8 C, 1, 1, 1]."""
    scale = volume.new_tensor([LOWEST] + [1.0] * (BANDS - 1))
    return scale.repeat(volume.shape[1]).reshape(1, -1, 1, 1, 1)
