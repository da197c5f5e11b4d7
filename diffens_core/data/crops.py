"""Random crops of volumes for training, which are mirrored and moved at random too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .planes import fitting_box, whole_box


@dataclass(frozen=True)
class Cropping:
    """How crops are taken. size: voxels, None for whole volumes; seed: of all random numbers.

    around: (dim, n) adds n slices on either side along `dim`; beyond the volume, its last slice is repeated.
    move_every: after so many steps every subject is moved anew (0: never). align: crops begin and end at its multiples.
    mirror: half of the crops are of mirrored heads; vary: how much the brightness of moved heads is changed.
    """

    size: Sequence[int] | None
    seed: int
    around: tuple[int, int] = (2, 0)
    move_every: int = 0
    align: Sequence[int] = (1, 1, 1)
    mirror: bool = True
    vary: float = 0.0

    def moves(self, step: int) -> int:
        """How often subjects have been moved before `step`; 0: they are not moved at all."""
        return step // self.move_every + 1 if self.move_every else 0


@dataclass(frozen=True)
class Crops:
    """A batch of crops. x0: [B, 1, X, Y, Z]; y: [B, C, X, Y, Z]; coords: [B, 3, X, Y, Z].

    draws: the generator that chose the crop of each sample, for its other random numbers.
    """

    x0: torch.Tensor
    y: torch.Tensor
    coords: torch.Tensor
    draws: Sequence[torch.Generator]


def crop_of(
    x0: torch.Tensor, y: torch.Tensor, coords: torch.Tensor, cropping: Cropping, draw: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A random crop of one subject: target [1, X, Y, Z], conditions [C, X, Y, Z] and coordinates [3, X, Y, Z]."""
    shape = x0.shape[1:]
    window = fitting_box(shape, cropping.size or shape, cropping.align, draw, whole_box(x0))
    box = where = (slice(None), *window)
    x0, y = (widened(v, box, *cropping.around) for v in (x0, y))
    # Heads are nearly symmetric: a mirrored one, with its true coordinates, is another head.
    if cropping.mirror and torch.rand(1, generator=draw) < 0.5:
        channels, across, *rest = box
        x0, y = x0.flip(1), y.flip(1)
        where = (channels, slice(shape[0] - across.stop, shape[0] - across.start), *rest)
    return x0, y, widened(coords, where, *cropping.around)


def translated(volume: torch.Tensor, by: Sequence[int], background: float = -1.0) -> torch.Tensor:
    """`volume` [C, X, Y, Z] with its content moved by `by` voxels along X, Y and Z."""
    pad = [side for n in reversed(by) for side in (max(n, 0), max(-n, 0))]
    kept = tuple(slice(max(-n, 0), max(-n, 0) + size) for n, size in zip(by, volume.shape[1:]))
    return F.pad(volume, pad, value=background)[(slice(None), *kept)]


def widened(volume: torch.Tensor, box, dim: int, extra: int) -> torch.Tensor:
    """`volume[box]` of [C, X, Y, Z], with `extra` more slices on either side; dim: their axis in a batch."""
    if extra == 0:
        return volume[box]
    axis = dim - 1
    positions = torch.arange(box[axis].start - extra, box[axis].stop + extra, device=volume.device)
    inside = positions.clamp(0, volume.shape[axis] - 1)
    return volume[(*box[:axis], slice(None), *box[axis + 1 :])].index_select(axis, inside)
