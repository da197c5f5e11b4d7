"""Volumes to slices and back, for values and for feature maps (Eq. 4), and boxes in volumes.

Anatomical names follow RAS order: a sagittal slice is cut at one X, a coronal at one Y, an axial at one Z.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F

from ..support.errors import InputError

PLANES = {"sagittal": 2, "coronal": 3, "axial": 4}

Box = tuple[slice, slice, slice]  # part of a volume: `volume[..., *box]`


def plane_dim(plane: str) -> int:
    """The tensor dimension that `plane` slices along; raises `InputError` for an unknown name."""
    if plane not in PLANES:
        raise InputError(f"unknown plane '{plane}': choose from {', '.join(PLANES)}")
    return PLANES[plane]


def to_slices(volume: torch.Tensor, plane: str) -> torch.Tensor:
    """[B, C, X, Y, Z] to [B*S, C, h, w]: all S slices of each volume, volume after volume."""
    return volume.movedim(plane_dim(plane), 1).flatten(0, 1)


def from_slices(slices: torch.Tensor, plane: str, batch: int) -> torch.Tensor:
    """[B*S, C, h, w] back to [B, C, X, Y, Z]; feature maps may have any width and resolution."""
    return slices.unflatten(0, (batch, -1)).movedim(1, plane_dim(plane))


def pad_to_multiple(volume: torch.Tensor, multiple: int, skip: int | None = None) -> torch.Tensor:
    """Pad the spatial axes of [B, C, X, Y, Z] to a multiple, by their last voxel; not along dimension `skip`."""
    pad = [0 if dim == skip else -volume.shape[dim] % multiple for dim in (4, 3, 2)]
    if not any(pad):
        return volume
    return F.pad(volume, [side for n in pad for side in (0, n)], mode="replicate")


def crop_like(volume: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Undo `pad_to_multiple`: cut [..., X, Y, Z] to the spatial shape of `like`."""
    return volume[..., : like.shape[-3], : like.shape[-2], : like.shape[-1]]


def whole_box(volume: torch.Tensor) -> Box:
    """The box of a whole volume [..., X, Y, Z]."""
    return tuple(slice(0, n) for n in volume.shape[-3:])


def coordinates(shape, device=None) -> torch.Tensor:
    """Coordinates [1, 3, X, Y, Z], from -1 to 1 over the whole volume: a crop of them tells where it lies."""
    axes = [torch.linspace(-1.0, 1.0, n, device=device) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def random_box(shape, size, multiple: int, generator: torch.Generator) -> Box:
    """A random box of `size` in `shape` that begins at multiples, so that coarse grids align; the border may cut it."""
    choices = [min(-(-max(0, n - s) // multiple), (n - 1) // multiple) + 1 for s, n in zip(size, shape)]
    starts = [multiple * int(torch.randint(count, (1,), generator=generator)) for count in choices]
    return tuple(slice(a, min(a + s, n)) for a, s, n in zip(starts, size, shape))


def fitting_box(shape, size, align: Sequence[int], draw: torch.Generator, inner: Box) -> Box:
    """A random box of `size` within `shape` that begins and ends at multiples of `align`, axis by axis.

    It lies within `inner`, or around it along an axis where `inner` is shorter. A short axis has a shorter box; one
    that is shorter than a multiple has all of it.
    """
    box = []
    for n, s, b, a in zip(shape, size, inner, align):
        s = min(max(min(s, n) // a, 1) * a, n)
        low, high = sorted((b.start, b.stop - s))
        low, high = max(low, 0) // a, min(high, n - s) // a
        start = a * (low + int(torch.randint(max(high - low, 0) + 1, (1,), generator=draw)))
        box.append(slice(start, start + s))
    return tuple(box)


def overlapping(size: int, most: int, halo: int, align: int) -> Iterator[tuple[slice, slice]]:
    """Parts of an axis of `size` planes: what each sees, at most about `most` planes, and its own planes within.

    It sees `halo` planes on either side of its own, or a few more: parts begin at multiples of `align`. All of the axis
    is one part if it has no more than `most` planes.
    """
    halo = -(-halo // align) * align
    count = 1 if size <= most else -(-size // max(most - 2 * halo, align))
    step = -(-size // (count * align)) * align
    for start in range(0, size, step):
        stop = min(start + step, size)
        yield slice(max(0, start - halo), min(size, stop + halo)), slice(start, stop)


def plane_box(box: Box, dim: int, level: int = 0, multiple: int = 1) -> Box:
    """`box` within the slices along `dim`, on the grid of 1 / 2^level; its end is padded to `multiple` first."""
    ends = [-(-s.stop // multiple) * multiple for s in box]
    cut = [slice(s.start >> level, end >> level) for s, end in zip(box, ends)]
    cut[dim - 2] = slice(None)
    return tuple(cut)
