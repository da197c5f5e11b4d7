"""Toy images of bars, one voxel thick: a 2D world in which the "planes" of a volume are rows and columns.

In a row a lying bar is long and a standing bar is short; in a column it is the other way round. So whoever sees
single rows, or single columns, knows another half of every image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..support.seeds import mix_seed
from .crops import Cropping, Crops
from .planes import coordinates

LEVEL = 0.8  # bars have this value, the background minus it: both lie within [-1, 1]
EDGE = 0.3  # pixels: how soft an edge is


@dataclass(frozen=True)
class Bars:
    """Images [size, size, 1] of `count` lying bars, along X, and as many standing ones, along Y.

    Each bar has a random place, a thickness of 2 to 4 pixels and a length of 40 to 80 % of the image's edge.
    """

    size: int = 32
    count: int = 2

    def parts(self, images: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """The lying and the standing bars of random images: how much of each pixel they cover, [images, 1, X, Y, 1]."""
        lying, standing = (self._lying(images, generator) for _ in range(2))
        return lying, standing.transpose(2, 3)

    def _lying(self, images: int, generator: torch.Generator) -> torch.Tensor:
        """Bars along X of random images, [images, 1, X, Y, 1]: 1 within them, 0 outside, the union where they cross."""
        x, y, long, thick = torch.rand(4, images, self.count, 1, 1, generator=generator)
        place = torch.arange(self.size, dtype=torch.float32)
        half = self.size * (0.2 + 0.2 * long)
        along = torch.sigmoid((half - (place[:, None] - self.size * x).abs()) / EDGE)
        across = torch.sigmoid((1 + thick - (place - self.size * (0.1 + 0.8 * y)).abs()) / EDGE)
        return (along * across).amax(1)[:, None, :, :, None]

    def draw(self, images: int, generator: torch.Generator) -> torch.Tensor:
        """Random images `x0` [images, 1, X, Y, 1] in [-0.8, 0.8]."""
        return LEVEL * (2 * torch.maximum(*self.parts(images, generator)) - 1)

    def crops(self, numbers: range, step: int, cropping: Cropping) -> Crops:
        """New whole images, with condition 0, for one training step: the interface of `PreparedData.crops`."""
        draw = torch.Generator().manual_seed(mix_seed(cropping.seed, step, "bars"))
        x0 = self.draw(len(numbers), draw)
        coords = coordinates(x0.shape[2:]).expand(len(x0), -1, -1, -1, -1)
        return Crops(x0, torch.zeros_like(x0), coords, [draw] * len(x0))


def texture(images: torch.Tensor) -> dict[str, float]:
    """What tells coherent bars from streaks, of `images` [B, 1, X, Y, 1] in [-1, 1].

    between rows, between columns: mean absolute difference of neighbouring pixels; variance; undecided: the share of
    pixels that are neither bar nor background, between -0.5 and 0.5.
    """
    return {
        "between rows": float(images.diff(dim=3).abs().mean()),
        "between columns": float(images.diff(dim=2).abs().mean()),
        "variance": float(images.var(correction=0)),
        "undecided": float((images.abs() < 0.5).float().mean()),
    }
