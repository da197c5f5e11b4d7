"""A 2D diffusion model lifted to volumes, and the average of several (TPDM's weighting).

Both are denoisers: `eps = denoiser(xt, y, t)` on volumes. A batch of 2D slices is a batch of volumes one
voxel thick, so the training of a 2D model calls the same function.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn as nn

from .inputs import EXTRA_CHANNELS, network_inputs
from .planes import Box, from_slices, pad_to_multiple, plane_box, plane_dim, to_slices, whole_box
from .schedule import Schedule
from .unet import UNet

CPU_SLICES = 16  # larger batches of slices are slower on a CPU, not faster


class SliceExpert(nn.Module):
    """A 2D U-Net that runs over all slices of its plane.

    net: takes [N, 1 + C + 4, h, w]; plane: what it slices; prediction: `v`, `eps` or `x0`, what it puts out.
    slices: how many slices go through it at once; 0 chooses what fits the device.
    """

    def __init__(self, net: UNet, plane: str, schedule: Schedule, prediction: str, slices: int = 0):
        super().__init__()
        self.dim = plane_dim(plane)
        self.net, self.plane, self.schedule, self.prediction, self.slices = net, plane, schedule, prediction, slices

    @staticmethod
    def channels_in(conditions: int) -> int:
        """Input channels of the 2D network for that many condition volumes."""
        return 1 + conditions + EXTRA_CHANNELS

    def forward(self, xt, y, t, coords=None) -> torch.Tensor:
        """Noise prediction `eps_p` [B, 1, X, Y, Z] (Eq. 4) for `xt` [B, 1, X, Y, Z], `y` [B, C, X, Y, Z], `t` [B]."""
        out = torch.cat([out for out, _ in self.lift(xt, y, t, coords)], dim=self.dim)
        return self.schedule.eps_from(self.prediction, out, xt, t)

    def lift(self, xt, y, t, coords=None, box: Box | None = None) -> Iterator[tuple[torch.Tensor, list[torch.Tensor]]]:
        """Run the 2D network chunk by chunk along the plane's axis, over whole slices.

        Yields per chunk of n slices the raw output, float32 [B, 1, ..n..], and its feature maps stacked as
        volumes: n along the plane's axis, 1 / 2^k of the in-plane size. At inference no full feature volume ever
        exists. With a `box`, only the slices through it are run, and what is yielded is cut to it.
        """
        inputs = pad_to_multiple(network_inputs(xt, y, coords), self.net.multiple, skip=self.dim)
        box, chunk = box or whole_box(xt), self._chunk(inputs)
        inside = plane_box(box, self.dim)
        inside_feats = [plane_box(box, self.dim, k, self.net.multiple) for k in range(len(self.net.widths))]
        along = box[self.dim - 2]
        for start in range(along.start, along.stop, chunk):
            length = min(chunk, along.stop - start)
            part = to_slices(inputs.narrow(self.dim, start, length), self.plane)
            out, feats = self.net(part, t.repeat_interleave(length))
            yield (
                from_slices(out.float(), self.plane, len(xt))[..., *inside],
                [own_part(from_slices(f, self.plane, len(xt)), cut) for f, cut in zip(feats, inside_feats)],
            )

    def _chunk(self, inputs: torch.Tensor) -> int:
        """Slices of each volume per pass: a multiple of the coarsest level, so that chunks align at every level."""
        slices = self.slices or (CPU_SLICES if inputs.device.type == "cpu" else self._slices_that_fit(inputs))
        step = self.net.multiple
        return max(step, slices // len(inputs) // step * step)

    def _slices_that_fit(self, inputs: torch.Tensor) -> int:
        """From the free memory of the device: a slice needs about 30 maps of each level at once, 4 bytes a value."""
        pixels = inputs[0, 0].numel() / inputs.shape[self.dim]
        per_slice = 30 * 4 * pixels * sum(w / 4**k for k, w in enumerate(self.net.widths))
        free = torch.cuda.mem_get_info(inputs.device)[0] if inputs.device.type == "cuda" else 4 * 2**30
        return min(512, int(free / 3 / per_slice))


def own_part(volume: torch.Tensor, box: Box) -> torch.Tensor:
    """`volume[..., *box]`; a true part is copied, or whoever keeps it for a backward pass would keep all of it."""
    part = volume[..., *box]
    return part if part.shape == volume.shape else part.clone()


def combine(eps_planes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """`sum_p w_p eps_p` (Eq. 6). eps_planes: [P, B, 1, X, Y, Z]; weights: [B, P, X, Y, Z] or [1, P, 1, 1, 1]."""
    return (weights.movedim(1, 0)[:, :, None] * eps_planes).sum(0)


class Average(nn.Module):
    """The uniform average of denoisers: TPDM for two planes, TOSM for three."""

    def __init__(self, experts: Sequence[nn.Module]):
        super().__init__()
        self.experts = nn.ModuleList(experts)
        self.schedule = same_schedule(experts)

    def forward(self, xt, y, t, coords=None) -> torch.Tensor:
        """`eps` [B, 1, X, Y, Z]."""
        eps_planes = torch.stack([expert(xt, y, t, coords) for expert in self.experts])
        weights = torch.full((1, len(self.experts), 1, 1, 1), 1.0 / len(self.experts), device=xt.device)
        return combine(eps_planes, weights)


def same_schedule(models: Sequence[nn.Module]) -> Schedule:
    """The schedule that all `models` share; raises `ValueError` where one was trained with another."""
    first = models[0].schedule
    if any(model.schedule != first for model in models):
        raise ValueError("these models were trained with different noise schedules and cannot be combined")
    return first
