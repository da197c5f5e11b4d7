"""U-Net baselines, 2D and 3D: one network that predicts the target directly, trained by its squared error.

The prediction is near the mean of all plausible targets: high in PSNR, smooth to the eye.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..diffusion.model import Trainable, Translator
from ..diffusion.sampler import Projection, Step
from ..networks.inputs import EXTRA_CHANNELS, network_inputs
from ..networks.lifting import SliceNet, VolumeNet


class Regression(nn.Module, Translator, Trainable):
    """`x0 = model(y)` by a U-Net over slices or volumes; its time embedding always gets step 0."""

    deterministic = True

    def __init__(self, body: SliceNet | VolumeNet):
        super().__init__()
        self.body = body

    @staticmethod
    def channels_in(conditions: int) -> int:
        """Input channels of the network for that many condition volumes."""
        return conditions + EXTRA_CHANNELS

    def forward(self, y, coords=None) -> torch.Tensor:
        """`x0` [B, 1, X, Y, Z] for conditions `y` [B, C, X, Y, Z]."""
        t = torch.zeros(len(y), dtype=torch.int64, device=y.device)
        return self.body.run(network_inputs(None, y, coords), t)

    def objectives(self) -> dict:
        """One objective for all parameters: the squared error."""
        return {"": lambda batch, train, box: F.mse_loss(self(batch.y, batch.coords), batch.x0)}

    def trajectory(self, y, noise, steps, *, project: Projection | None = None, generator=None) -> Iterator[Step]:
        """The prediction, clamped and projected, as a single step; nothing is random."""
        x0 = self(y).clamp(-1.0, 1.0)
        x0 = x0 if project is None else project(x0, y)
        yield Step(0, 0, x0, x0)
