"""The inputs of every network besides the noise level: noisy target, conditions, brain mask, position in the head."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..data.planes import Box, coordinates, whole_box
from ..support.errors import InputError

EXTRA_CHANNELS = 4  # brain mask and three coordinates


def brain_channel(y: torch.Tensor) -> torch.Tensor:
    """The brain [B, 1, X, Y, Z]: 1 where the first condition of `y` [B, C, X, Y, Z] is above background, else -1."""
    return (y[:, :1] > -0.99).to(y.dtype) * 2.0 - 1.0


def brain_box(y: torch.Tensor, align: Sequence[int]) -> Box:
    """The box around all brains of a batch, between multiples of `align` or the edge; without brains, all of `y`."""
    inside = (brain_channel(y) > 0).any(0)[0]
    if not inside.any():
        return whole_box(y)
    box = []
    for axis, (size, multiple) in enumerate(zip(inside.shape, align)):
        where = torch.nonzero(inside.movedim(axis, 0).flatten(1).any(1)).flatten()
        first, last = int(where[0]), int(where[-1])
        box.append(slice(first // multiple * multiple, min(-(-(last + 1) // multiple) * multiple, size)))
    return tuple(box)


def network_inputs(
    xt: torch.Tensor | None, y: torch.Tensor, coords: torch.Tensor | None = None, around: tuple[int, int] = (0, 0)
) -> torch.Tensor:
    """The inputs [B, 1 + C + 4, X, Y, Z]: `xt`, conditions, brain mask, coordinates.

    xt: [B, 1, X, Y, Z], or None for a network that reads conditions alone; y: [B, C, X, Y, Z]; coords:
    [B, 3, X, Y, Z], or None for a whole volume; around: (dim, n) adds the conditions of n slices on either side.
    """
    if coords is None:
        coords = coordinates(y.shape[2:], y.device)
    parts = [with_neighbours(y, *around), brain_channel(y), coords.to(y).expand(len(y), -1, -1, -1, -1)]
    return torch.cat(parts if xt is None else [xt, *parts], dim=1)


def with_neighbours(y: torch.Tensor, dim: int, slab: int) -> torch.Tensor:
    """`y` [B, C, X, Y, Z] with its `slab` slices on either side along `dim` as channels: [B, (2 slab + 1) C, X, Y, Z].

    Slices are in their order along `dim`, each with its C channels. At the border the last slice is repeated. Raises
    `InputError` for a negative `slab`.
    """
    if slab < 0:
        raise InputError(f"a slab has 0 neighbours on either side or more, not {slab}")
    if slab == 0:
        return y
    positions = torch.arange(y.shape[dim], device=y.device)
    shifted = [(positions + k).clamp(0, y.shape[dim] - 1) for k in range(-slab, slab + 1)]
    return torch.cat([y.index_select(dim, index) for index in shifted], dim=1)
