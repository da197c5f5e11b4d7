"""MONAI's 3D networks in our house: its `DiffusionModelUNet`, and what they need on a CPU."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn as nn

from .unet import UNetConfig

HEAD = 64  # channels of an attention head, where the width allows it


class MonaiUNet(nn.Module):
    """A time-conditioned 3D U-Net (Pinaya et al. 2023, Generative AI for Medical Imaging), for `VolumeNet`.

    Of `config` it reads base, mult, blocks and attention; its middle always has attention.
    """

    def __init__(self, channels_in: int, channels_out: int, config: UNetConfig):
        super().__init__()
        from monai.networks.nets import DiffusionModelUNet  # here, because importing it takes many seconds

        widths = [config.base * m for m in config.mult]
        self.multiple = 2 ** (len(widths) - 1)
        self.net = DiffusionModelUNet(
            spatial_dims=3,
            in_channels=channels_in,
            out_channels=channels_out,
            num_res_blocks=config.blocks,
            channels=widths,
            attention_levels=[level in config.attention for level in range(len(widths))],
            norm_num_groups=math.gcd(32, config.base // 2),
            num_head_channels=[math.gcd(HEAD, width) for width in widths],
        )

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Output [B, channels_out, *spatial] for x [B, channels_in, *spatial], t [B] int64; no feature maps."""
        with float32_if_thin(x, self.multiple):
            return self.net(x, t), []


@contextmanager
def float32_if_thin(x: torch.Tensor, factor: int) -> Iterator[None]:
    """Within it a 3D network on a CPU works in float32 if `x` is thinner than 4 voxels where it is `factor` coarser.

    oneDNN's bf16 convolutions write outside of maps that are 2 voxels thick (torch 2.13).
    """
    thin = x.ndim == 5 and min(x.shape[2:]) // factor < 4
    with torch.autocast("cpu", enabled=torch.is_autocast_enabled("cpu") and not thin):
        yield
