"""An autoencoder: volumes to small latent volumes and back, one slice of a plane at a time, or whole.

The network is MONAI's `AutoencoderKL` (Rombach et al. 2022, Latent Diffusion Models): convolutional, with a normal
distribution over latents as its bottleneck. One network serves all contrasts, each as one grey channel. It is trained
on the squared error plus a small Kullback-Leibler term. The attention in the middle of the original is left out, and so
are its perceptual and adversarial terms; without these, details that the latents cannot hold become smooth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..data.planes import crop_like, from_slices, pad_to_multiple, plane_dim, to_slices
from ..diffusion.model import Trainable
from ..networks.lifting import CPU_SLICES
from ..networks.monai_unet import float32_if_thin
from ..support.settings import ConfigError, at_least

STATISTICS_RATE = 0.02  # the running mean and deviation of the latents remember about 50 training steps


@dataclass(frozen=True)
class AutoencoderConfig:
    """An autoencoder. channels: widths of its levels, each half as fine as the last; kl: weight of the divergence."""

    channels: tuple[int, ...] = (128, 256, 512, 512)
    blocks: int = 2
    latent_channels: int = 4
    kl: float = 1e-4

    def __post_init__(self):
        at_least("blocks", self.blocks, 1)
        at_least("latent_channels", self.latent_channels, 1)
        if not self.channels or min(self.channels) < 1 or any(width % self.groups for width in self.channels):
            raise ConfigError(f"channels must be multiples of half of the first one, not {self.channels}")
        if self.latent_channels >= self.factor**2:
            raise ConfigError(f"latent_channels must be below {self.factor**2}: more would compress nothing")

    @property
    def factor(self) -> int:
        """How many times smaller latents are, along every axis of an image."""
        return 2 ** (len(self.channels) - 1)

    @property
    def groups(self) -> int:
        """Groups of the normalisation layers."""
        return max(1, min(32, self.channels[0] // 2))


class Autoencoder(nn.Module, Trainable):
    """Encodes and decodes the slices of `plane`, or whole volumes by a 3D network: these are its images.

    plane: None for whole volumes. contrasts: how many of the conditions, the last ones, are images as sharp as the
    target. It is trained on these and the target only: it can then encode degraded images too, and training on those
    would only take time.

    Latents have `latent_channels` channels and 1 / `factor` of the size of images; slices remain as many. They are
    standardised: `latent_mean` and `latent_std` [z] are running estimates over the training, so that every channel
    enters the diffusion with mean 0 and deviation 1, as the noise schedule assumes.
    """

    def __init__(self, config: AutoencoderConfig, plane: str | None, contrasts: int):
        super().__init__()
        from monai.networks.nets import AutoencoderKL  # here, because importing it takes many seconds

        self.dim = plane_dim(plane) if plane else None
        self.config, self.plane, self.contrasts = config, plane, contrasts
        self.factor, self.latent_channels = config.factor, config.latent_channels
        self.at_once = CPU_SLICES if plane else 1
        self.net = AutoencoderKL(
            spatial_dims=2 if plane else 3,
            in_channels=1,
            out_channels=1,
            channels=config.channels,
            num_res_blocks=config.blocks,
            attention_levels=[False] * len(config.channels),
            latent_channels=config.latent_channels,
            norm_num_groups=config.groups,
            norm_eps=1e-6,
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
            use_convtranspose=True,  # interpolation cannot tell the voxels of a block apart
        )
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_std", torch.ones(config.latent_channels))

    def apart(self, volume: torch.Tensor) -> torch.Tensor:
        """`volume` [B, C, X, Y, Z] as images of C channels: its slices, [B * S, C, h, w], or itself."""
        return to_slices(volume, self.plane) if self.plane else volume

    def together(self, images: torch.Tensor, batch: int) -> torch.Tensor:
        """The inverse of `apart`, for `batch` volumes."""
        return from_slices(images, self.plane, batch) if self.plane else images

    def encode(self, volume: torch.Tensor) -> torch.Tensor:
        """Standardised latents [B, C * z, X / f, Y / f, Z / f] of `volume` [B, C, X, Y, Z]; slices remain as many.

        They are the means of the posterior, channel after channel. Sizes are first padded to multiples of f.
        """
        parts = self.apart(pad_to_multiple(volume, self.factor, skip=self.dim))
        images = parts.flatten(0, 1)[:, None]
        with float32_if_thin(images, self.factor):
            means = torch.cat([self.net.encode(part)[0].float() for part in images.split(self.at_once)])
        latents = (means - self._per_channel(self.latent_mean)) / self._per_channel(self.latent_std)
        return self.together(latents.unflatten(0, parts.shape[:2]).flatten(1, 2), len(volume))

    def decode(self, latents: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """The volume [B, 1, X, Y, Z] of one channel's latents [B, z, ...], cut to the spatial size of `like`."""
        parts = self.apart(latents) * self._per_channel(self.latent_std) + self._per_channel(self.latent_mean)
        with float32_if_thin(parts, 1):
            images = torch.cat([self.net.decode(part).float() for part in parts.split(self.at_once)])
        return crop_like(self.together(images, len(latents)), like)

    def objectives(self) -> dict:
        """One objective: the reconstruction error with a little regularisation."""
        return {"": self.loss}

    def loss(self, batch, train, box) -> torch.Tensor:
        """Mean squared error of the images of target and contrasts, plus the weighted mean KL divergence."""
        volumes = torch.cat([batch.x0, batch.y[:, batch.y.shape[1] - self.contrasts :]], dim=1)
        images = self.apart(pad_to_multiple(volumes, self.factor, skip=self.dim)).flatten(0, 1)[:, None]
        with float32_if_thin(images, self.factor):
            decoded, mean, std = self.net(images)
        mean, std = mean.float(), std.float()
        if self.training:
            self._measure(mean.detach())
        divergence = 0.5 * (mean.square() + std.square() - 1.0) - std.log()
        return F.mse_loss(decoded.float(), images) + self.config.kl * divergence.mean()

    @torch.no_grad()
    def _measure(self, means: torch.Tensor) -> None:
        """Move the running statistics towards those of `means` [N, z, ...]."""
        all_but_channels = (0, *range(2, means.ndim))
        self.latent_mean.lerp_(means.mean(all_but_channels), STATISTICS_RATE)
        self.latent_std.lerp_(means.std(all_but_channels), STATISTICS_RATE)

    def _per_channel(self, values: torch.Tensor) -> torch.Tensor:
        """`values` [z], to be broadcast over latents [N, z, ...]."""
        return values.reshape(-1, *[1] * (2 if self.plane else 3))
