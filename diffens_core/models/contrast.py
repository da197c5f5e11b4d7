"""Brightness and contrast of a head, where nothing that was measured tells them.

How a head's tissues look in the target is then mostly chance: a network can only learn it by heart, for training heads.
A fusion of such a task leaves it, in each step, as the average of its experts has it, and corrects what lies where.
"""

from __future__ import annotations

import torch


def with_contrast_of(average: torch.Tensor, x: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """`x`, without what an affine change of `average`, fitted volume by volume, explains of the difference of the two.

    What is left of the difference has mean zero and no correlation with `average`: least squares finds nothing to
    change in the latter's brightness and contrast. Both are [B, 1, X, Y, Z]; inside: where the head is, the same shape,
    bool; elsewhere `x` stays.
    """
    count = inside.sum(dim=(1, 2, 3, 4), keepdim=True).clamp(min=1)

    def mean(v: torch.Tensor) -> torch.Tensor:
        return (v * inside).sum(dim=(1, 2, 3, 4), keepdim=True) / count

    offset = mean(x - average)
    centred, change = average - mean(average), x - average - offset
    gain = mean(centred * change) / (mean(centred.square()) + 1e-6)
    return x - (offset + gain * centred) * inside
