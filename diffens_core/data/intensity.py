"""Random changes of brightness, such as those between scanners."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .volumes import fit_scale

COARSE = 4  # values along each axis between which a bias field is interpolated


def varied(volume: torch.Tensor, strength: float, draw: torch.Generator) -> torch.Tensor:
    """`volume` [1, X, Y, Z], background -1, as another scanner might show it: by another curve, with a bias field.

    The curve raises brightness to a power. The logarithms of the power and of the field's values have the standard
    deviation `strength`. The result is scaled as any volume is (`fit_scale`).
    """
    power = torch.exp(strength * torch.randn((), generator=draw))
    field = strength * torch.randn((1, 1, *[COARSE] * 3), generator=draw)
    field = F.interpolate(field.to(volume.device), volume.shape[1:], mode="trilinear", align_corners=True)[0]
    bright = ((volume + 1.0) / 2.0).clamp(min=0.0).pow(power) * field.exp()
    inside = bright[bright != 0].cpu().numpy()
    return torch.where(bright != 0, fit_scale(inside, inside != 0).linear(bright), -1.0)
