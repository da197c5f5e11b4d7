"""The 3D Haar wavelet: a volume as eight bands of half its size, which hold the same numbers in another order.

The transform is orthonormal: it keeps the sum of squares, and white noise stays white noise.
"""

from __future__ import annotations

import math

import torch

BANDS = 8


def haar(volume: torch.Tensor) -> torch.Tensor:
    """The bands [B, 8 C, X / 2, Y / 2, Z / 2] of `volume` [B, C, X, Y, Z] of even sizes, channel after channel.

    Band k of a channel holds differences of neighbours along X, Y and Z where bit 0, 1 and 2 of k is set, else sums:
    band 0 is the mean of each 2x2x2 block times sqrt(8).
    """
    bands = volume[:, :, None]
    for dim in (3, 4, 5):
        even, odd = bands.unflatten(dim, (-1, 2)).unbind(dim + 1)
        bands = torch.cat([even + odd, even - odd], dim=2) / math.sqrt(2)
    return bands.flatten(1, 2)


def inverse_haar(bands: torch.Tensor) -> torch.Tensor:
    """The volume [B, C, X, Y, Z] that has these `bands`: the inverse of `haar`."""
    volume = bands.unflatten(1, (-1, BANDS))
    for dim in (5, 4, 3):
        sums, differences = volume.chunk(2, dim=2)
        pairs = torch.stack([sums + differences, sums - differences], dim=dim + 1) / math.sqrt(2)
        volume = pairs.flatten(dim, dim + 1)
    return volume[:, :, 0]
