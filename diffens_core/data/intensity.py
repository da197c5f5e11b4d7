"""Random changes of brightness, such as those between scanners."""

from __future__ import annotations

import torch
import torch.nn.functional as F

BRIGHT = 0.8  # from 0 to 1: where `fit_scale` puts the 99.5th percentile
COARSE = 4  # values along each axis between which a bias field is interpolated


def varied(volume: torch.Tensor, strength: float, draw: torch.Generator) -> torch.Tensor:
    """`volume` [1, X, Y, Z], background -1, as another scanner might show it: by another curve, with a bias field.

    The curve raises brightness to a power. The logarithms of the power and of the field's values have the standard
    deviation `strength`. The 99.5th percentile of the head is where `fit_scale` puts it, before and after.
    """
    head = volume != -1.0
    power = torch.exp(strength * torch.randn((), generator=draw))
    field = strength * torch.randn((1, 1, *[COARSE] * 3), generator=draw)
    field = F.interpolate(field, volume.shape[1:], mode="trilinear", align_corners=True)[0]
    bright = ((volume + 1.0) / 2.0).clamp(min=0.0).pow(power) * field.exp()
    values = bright[head]
    highest, _ = values.kthvalue(max(1, round(0.995 * len(values))))
    return torch.where(head, bright * (2.0 * BRIGHT / highest) - 1.0, -1.0)
