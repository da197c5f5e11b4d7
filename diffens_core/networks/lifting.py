"""Networks applied to volumes: a 2D network runs over the slices of a plane (Eq. 4), a 3D network over all at once.

Both have `run(inputs, t)` on [B, K, X, Y, Z], which pads to sizes that the network can halve, and cuts its output back.
A batch of 2D slices is a batch of volumes one voxel thick, so the training of a 2D model calls the same function.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn as nn

from ..data.planes import Box, crop_like, from_slices, pad_to_multiple, plane_box, plane_dim, to_slices, whole_box
from .norm import LAYOUT

CPU_SLICES = 16  # on a CPU larger batches of slices are slower


class SliceNet(nn.Module):
    """A 2D network that runs over all slices of its plane.

    net: takes [N, K, h, w] and steps t [N], returns an output and feature maps; has `widths` and `multiple`, as
    `UNet` and `Borrowed` do. slices: how many go through it at once; 0: as many as fit the device.
    """

    def __init__(self, net: nn.Module, plane: str, slices: int = 0):
        super().__init__()
        self.dim = plane_dim(plane)
        self.net, self.plane, self.slices = net, plane, slices

    def run(self, inputs: torch.Tensor, t: torch.Tensor, box: Box | None = None) -> torch.Tensor:
        """The output, float32 [B, K_out, X, Y, Z], for `inputs` [B, K, X, Y, Z] and steps `t` [B]; box: only there."""
        return torch.cat([out for out, _ in self.chunks(inputs, t, box)], dim=self.dim)

    def chunks(
        self, inputs: torch.Tensor, t: torch.Tensor, box: Box | None = None
    ) -> Iterator[tuple[torch.Tensor, list[torch.Tensor]]]:
        """Run the 2D network chunk by chunk along the plane's axis, over whole slices.

        Yields for each chunk of n slices the output, float32 [B, K_out, ..n..], and its feature maps stacked as
        volumes: n along the plane's axis, 1 / 2^k of the in-plane size. At inference no full feature volume is ever
        in memory. With a `box`, only the slices through it are run, and both are cut to it.
        """
        box, padded = box or whole_box(inputs), pad_to_multiple(inputs, self.net.multiple, skip=self.dim)
        chunk = self._chunk(padded)
        inside = plane_box(box, self.dim)
        inside_feats = [plane_box(box, self.dim, k, self.net.multiple) for k in range(len(self.net.widths))]
        along = box[self.dim - 2]
        for start in range(along.start, along.stop, chunk):
            length = min(chunk, along.stop - start)
            part = to_slices(padded.narrow(self.dim, start, length), self.plane)
            out, feats = self.net(part, t.repeat_interleave(length))
            yield (
                from_slices(out.float(), self.plane, len(inputs))[..., *inside],
                [own_part(from_slices(f, self.plane, len(inputs)), cut) for f, cut in zip(feats, inside_feats)],
            )

    def _chunk(self, inputs: torch.Tensor) -> int:
        """Slices of each volume per pass, a multiple of `net.multiple`, so that chunks align at every level."""
        slices = self.slices or (CPU_SLICES if inputs.device.type == "cpu" else self._slices_that_fit(inputs))
        step = self.net.multiple
        return max(step, slices // len(inputs) // step * step)

    def _slices_that_fit(self, inputs: torch.Tensor) -> int:
        """Slices that fit the device's free memory: each needs about 30 maps of every level, 4 bytes a value."""
        pixels = inputs[0, 0].numel() / inputs.shape[self.dim]
        widths = self.net.widths or [256]  # a borrowed network without feature maps does not tell its size
        per_slice = 30 * 4 * pixels * sum(w / 4**k for k, w in enumerate(widths))
        free = torch.cuda.mem_get_info(inputs.device)[0] if inputs.device.type == "cuda" else 4 * 2**30
        return min(512, int(free / 3 / per_slice))


class VolumeNet(nn.Module):
    """A 3D network over whole volumes or crops; the 3D counterpart of `SliceNet`."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def run(self, inputs: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The output, float32 [B, K_out, X, Y, Z], for `inputs` [B, K, X, Y, Z] and steps `t` [B]."""
        out, _ = self.net(pad_to_multiple(inputs, self.net.multiple), t)
        return crop_like(out, inputs).float()


def own_part(volume: torch.Tensor, box: Box) -> torch.Tensor:
    """`volume[..., *box]`; a smaller part is copied, so that a backward pass does not keep the whole volume."""
    part = volume[..., *box]
    return part if part.shape == volume.shape else part.clone()


def joined_chunks(chunks: Iterable[Sequence[torch.Tensor]], dim: int, size: int) -> list[torch.Tensor]:
    """The volumes [B, C, X, Y, Z] of which `chunks` are the parts along `dim`, `size` voxels in all.

    Each part is put in its place as it comes: kept until the end, all would be in memory twice.
    """
    volumes, start = [], 0
    for parts in chunks:
        if not volumes:
            volumes = [_volume_for(part, dim, size) for part in parts]
        length = parts[0].shape[dim]
        for volume, part in zip(volumes, parts, strict=True):
            volume.narrow(dim, start, length).copy_(part)
        start += length
    return volumes


def _volume_for(part: torch.Tensor, dim: int, size: int) -> torch.Tensor:
    """An empty volume like `part`, but of `size` voxels along `dim`."""
    shape = [*part.shape[:dim], size, *part.shape[dim + 1 :]]
    return torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=LAYOUT[5])
