"""What every network reads besides noise level and noisy target: conditions, brain mask, place in the head."""

from __future__ import annotations

import torch

EXTRA_CHANNELS = 4  # brain mask and three coordinates


def coordinates(shape, device=None) -> torch.Tensor:
    """[1, 3, X, Y, Z], each axis from -1 to 1 over the whole volume, so that a crop knows where it lies."""
    axes = [torch.linspace(-1.0, 1.0, n, device=device) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def brain_channel(y: torch.Tensor) -> torch.Tensor:
    """[B, 1, X, Y, Z]: 1 where the first condition of `y` [B, C, X, Y, Z] is above the background (-1), else -1."""
    return (y[:, :1] > -0.99).to(y.dtype) * 2.0 - 1.0


def network_inputs(xt: torch.Tensor, y: torch.Tensor, coords: torch.Tensor | None = None) -> torch.Tensor:
    """[B, 1 + C + 4, X, Y, Z]: `xt`, conditions, brain mask, coordinates.

    xt: [B, 1, X, Y, Z]; y: [B, C, X, Y, Z]; coords: [B, 3, X, Y, Z], or None for a whole volume.
    """
    if coords is None:
        coords = coordinates(xt.shape[2:], xt.device)
    return torch.cat([xt, y, brain_channel(y), coords.to(xt).expand(len(xt), -1, -1, -1, -1)], dim=1)
