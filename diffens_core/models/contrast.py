"""Brightness and contrast of a head in a task without a measurement.

There, how bright a head's tissues are in the target is mostly chance: a network can only learn it by heart for training
heads. In each step a fusion keeps brightness and contrast of the average of its experts, and corrects structure alone.
"""

from __future__ import annotations

import torch


def with_contrast_of(average: torch.Tensor, x: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """`x` with brightness and contrast of `average`: minus the affine function of `average` that fits their difference.

    The fit is by least squares, volume by volume; the remaining difference has mean zero and no correlation with
    `average`. x, average: [B, 1, X, Y, Z]; inside: bool of the same shape, where the head is; elsewhere `x` stays.
    """
    count = inside.sum(dim=(1, 2, 3, 4), keepdim=True).clamp(min=1)

    def mean(v: torch.Tensor) -> torch.Tensor:
        return (v * inside).sum(dim=(1, 2, 3, 4), keepdim=True) / count

    offset = mean(x - average)
    centred, change = average - mean(average), x - average - offset
    gain = mean(centred * change) / (mean(centred.square()) + 1e-6)
    return x - (offset + gain * centred) * inside
