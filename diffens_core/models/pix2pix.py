"""pix2pix, 2D and 3D: a generator that must convince a discriminator of patches (Isola et al. 2017)."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..data.planes import to_slices
from ..diffusion.model import Trainable, Translator
from ..networks.lifting import SliceNet
from ..support.errors import InputError
from .regression import Regression

L1_WEIGHT = 100.0


class Pix2pix(nn.Module, Translator, Trainable):
    """`x0 = generator(y)`, and a discriminator that sees `y` with a true or a generated `x0`.

    The generator is the U-Net of the other methods. Its dropout is off when it translates, so it is deterministic.
    """

    deterministic = True

    def __init__(self, generator: Regression, conditions: int, width: int):
        super().__init__()
        from monai.networks.nets import PatchDiscriminator  # a slow import, needed here alone

        self.generator = generator
        self.plane = generator.body.plane if isinstance(generator.body, SliceNet) else None
        # Its patches are of 70 x 70 pixels or 34^3 voxels. Instance normalisation: batches in 3D are of one volume.
        self.discriminator = PatchDiscriminator(
            spatial_dims=3 if self.plane is None else 2,
            in_channels=conditions + 1,
            channels=width,
            num_layers_d=2 if self.plane is None else 3,
            norm="INSTANCE",
        )

    def forward(self, y, coords=None) -> torch.Tensor:
        """`x0` [B, 1, X, Y, Z] for conditions `y` [B, C, X, Y, Z]."""
        return self.generator(y, coords)

    def judge(self, y: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
        """The discriminator's logits, one for each patch: above 0, it takes `x0` for a true target of `y`.

        Raises `InputError` for slices or crops that are too small for the discriminator.
        """
        pair = torch.cat([y, x0], dim=1)
        seen, least = (pair, 12) if self.plane is None else (to_slices(pair, self.plane), 24)
        if min(seen.shape[2:]) < least:
            raise InputError(f"pix2pix judges nothing smaller than {least} voxels a side, not {tuple(seen.shape[2:])}")
        # On a CPU the bf16 weight gradient of a 3D convolution whose kernel is larger than its input is partly
        # uninitialised memory (torch 2.13), and the last maps of a small crop are that small.
        with torch.autocast("cpu", enabled=False):
            return self.discriminator(seen)[-1].float()

    def objectives(self) -> dict:
        """Two objectives, each with its own optimiser: first the generator's, then the discriminator's."""
        return {"generator.": self.generator_loss, "discriminator.": self.discriminator_loss}

    def generator_loss(self, batch, train, box) -> torch.Tensor:
        """`-log D(G(y))` plus 100 times the L1 error."""
        fake = self(batch.y, batch.coords)
        logits = self.judge(batch.y, fake)
        return F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits)) + L1_WEIGHT * F.l1_loss(
            fake, batch.x0
        )

    def discriminator_loss(self, batch, train, box) -> torch.Tensor:
        """Half the sum of `-log D(x0)` and `-log(1 - D(G(y)))`; the generator learns nothing from it."""
        with torch.no_grad():
            fake = self(batch.y, batch.coords)
        true, false = self.judge(batch.y, batch.x0), self.judge(batch.y, fake)
        return 0.5 * (
            F.binary_cross_entropy_with_logits(true, torch.ones_like(true))
            + F.binary_cross_entropy_with_logits(false, torch.zeros_like(false))
        )

    def trajectory(self, y, noise, steps, *, project=None, generator=None):
        """The generator's translation, as a single step."""
        return self.generator.trajectory(y, noise, steps, project=project)
