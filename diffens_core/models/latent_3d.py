"""3D latent diffusion, as toolkits offer it: MONAI's 3D autoencoder, and its U-Net on latents of whole volumes.

Latent Diffusion Models (Rombach et al. 2022) in 3D, as in MONAI (Pinaya et al. 2023, https://arxiv.org/abs/2307.15208),
here with the latents of all conditions beside those of the target. What the latents cannot hold is lost.
"""

from __future__ import annotations

import torch

from ..diffusion.schedule import Schedule
from ..networks.lifting import VolumeNet
from ..networks.monai_unet import MonaiUNet
from .autoencoder import Autoencoder
from .make_a_volume import LatentDenoiser


class LatentDiffusion3D(LatentDenoiser):
    """A 3D U-Net on noisy latents, with the latents of all conditions concatenated.

    net: takes [B, z (1 + C), X / f, Y / f, Z / f]; prediction: `v`, `eps` or `x0`, the quantity that it predicts.
    """

    def __init__(self, autoencoder: Autoencoder, net: MonaiUNet, schedule: Schedule, prediction: str):
        super().__init__(autoencoder, schedule, prediction)
        self.body = VolumeNet(net)

    @property
    def autoencoder(self) -> Autoencoder:
        return self.experts[0]

    def forward(self, xt, y, t, coords=None) -> torch.Tensor:
        """`eps` [B, z, ...] for noisy latents `xt`, the conditions' latents `y` [B, C z, ...] and steps `t` [B]."""
        return self.schedule.eps_from(self.prediction, self.body.run(torch.cat([xt, y], dim=1), t), xt, t)
