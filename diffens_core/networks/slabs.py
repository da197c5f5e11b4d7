"""Norm, SiLU and convolution of large volumes, slab by slab: what lies in between is never there as a whole.

At 1 mm one map of 64 channels takes 1.4 GB in float32, and a residual block makes a dozen of them. Group normalisation
needs two sums over each channel, and all else only neighbours: so slabs of the volume, one voxel wider than what they
give, are worked on one after the other, in the backward pass once more. Results differ from those at once by rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from ..support.device import autocast_kind
from .narrow import pointwise
from .norm import LAYOUT, affine, pooled

LARGE = 2**27  # values of the maps that go into a block: fewer are worked on at once
SLAB = 2**26  # values of a slab, about
# Planes of a slab at least. Thin ones are mostly halo, and oneDNN's gradients of weights in bf16 are wrong there: with
# 192 channels to 64 and 192 x 152 voxels for 12 planes and fewer (torch 2.13).
THIN = 16
HALO = 1  # voxels that a convolution sees on either side


def pays(maps: Sequence[torch.Tensor]) -> bool:
    """Whether maps [B, C_k, X, Y, Z], joined on the grid of the last, are so large that slabs are worth their time."""
    return maps[-1].ndim == 5 and joined_values(maps) > LARGE


def joined_values(maps: Sequence[torch.Tensor]) -> int:
    """How many values `maps` have, joined on the grid of the last."""
    return maps[-1][:, 0].numel() * sum(x.shape[1] for x in maps)


def res_block(block: nn.Module, embedding: torch.Tensor, *maps: torch.Tensor) -> torch.Tensor:
    """`block(embedding, *maps)` for a 3D `ResBlock` without dropout."""
    with torch.autocast("cpu", enabled=False):
        change = block.time(embedding)
    h = norm_silu_conv(block.norm_in, block.conv_in, maps)
    lines = _lines(block.norm_out, [h], change)
    skip = () if isinstance(block.skip, nn.Identity) else (block.skip.weight, block.skip.bias)
    return in_slabs(_second_half, [*maps, h], [lines, block.conv_out.weight, block.conv_out.bias, *skip])


def norm_silu_conv(norm: nn.GroupNorm, conv: nn.Module, maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """`conv(silu(norm(maps)))` for maps that count as joined."""
    return in_slabs(_silu_conv, maps, [_lines(norm, maps), conv.weight, conv.bias])


def _silu_conv(x: torch.Tensor, lines: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    slope, offset = lines[..., None, None, None].unbind()
    return F.conv3d(
        F.silu(torch.addcmul(offset, x.to(lines.dtype), slope)),
        weight,
        bias,
        padding=[n // 2 for n in weight.shape[2:]],
    )


def _second_half(x: torch.Tensor, lines, weight, bias, *skip) -> torch.Tensor:
    """From the maps that went into a block, joined, and those between its halves, to those that come out."""
    x, h = x.split([x.shape[1] - lines.shape[2], lines.shape[2]], dim=1)
    return (pointwise(x, *skip) if skip else x) + _silu_conv(h, lines, weight, bias)


def _lines(norm: nn.GroupNorm, maps: Sequence[torch.Tensor], change: torch.Tensor | None = None) -> torch.Tensor:
    """Slope and offset for each channel of the joined maps, [2, B, C], that make `norm` of them, and then `change`."""
    dtype = norm.weight.dtype  # float32, also for maps in bf16
    moments = torch.cat([Moments.apply(x, dtype) for x in maps], dim=2)
    mean, var = pooled(moments.unflatten(2, (norm.num_groups, -1)), 3)
    change = None if change is None else change.to(dtype)
    slope, offset = affine(norm.weight, norm.bias, change, mean.shape[0]).unflatten(2, (norm.num_groups, -1)).unbind()
    slope = slope * (var + norm.eps).rsqrt()
    return torch.stack([slope, offset - slope * mean]).flatten(2)


class Moments(torch.autograd.Function):
    """`apply(x, dtype)`: mean and variance over each channel, [2, B, C] of `dtype`, of `x` [B, C, X, Y, Z]."""

    @staticmethod
    def forward(ctx, x, dtype):
        slabs = x.split(_thickness(x), dim=2)
        var, mean = torch.stack([torch.stack(torch.var_mean(s.to(dtype), (2, 3, 4), correction=0)) for s in slabs], 3)
        share = mean.new_tensor([s.shape[2] / x.shape[2] for s in slabs])
        middle = mean @ share
        ctx.save_for_backward(x, middle)
        return torch.stack([middle, (var + (mean - middle[..., None]).square()) @ share])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, mean = ctx.saved_tensors
        by_mean, by_var = grad / x[0, 0].numel()
        slope, offset = (c[..., None, None, None] for c in (2 * by_var, by_mean - 2 * by_var * mean))
        out, each = torch.empty_like(x), _thickness(x)
        for target, slab in zip(out.split(each, dim=2), x.split(each, dim=2)):
            target.copy_(torch.addcmul(offset, slab.to(grad.dtype), slope))
        return out, None


def _thickness(x: torch.Tensor) -> int:
    return max(1, SLAB // x[:, :, 0].numel())


def in_slabs(part: Callable, maps: Sequence[torch.Tensor], shared: Sequence[torch.Tensor]) -> torch.Tensor:
    """`part(joined maps, *shared)`, slab by slab along X; `part` is computed again for the backward pass.

    maps: [B, C_k, X, Y, Z], a coarser one counts as if its voxels were repeated; part: gives each voxel of
    [B, C, X, Y, Z] from those within `HALO`, and zeros beyond the edge of what it is given.
    """
    return _InSlabs.apply(part, len(maps), *maps, *shared)


class _InSlabs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, part, count, *tensors):
        ctx.part, ctx.count = part, count
        ctx.kind = autocast_kind(tensors[0].device)
        ctx.half = torch.is_autocast_enabled(ctx.kind)
        ctx.save_for_backward(*tensors)
        maps, shared, out = tensors[:count], tensors[count:], None
        for slab in slabs_of(maps):
            piece = slab.own(part(slab.joined(slab.cut(maps)), *shared))
            if out is None:
                shape = (len(piece), piece.shape[1], *maps[-1].shape[2:])
                out = torch.empty(shape, dtype=piece.dtype, device=piece.device, memory_format=LAYOUT[5])
            out[:, :, slab.start : slab.stop] = piece
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        tensors, count = ctx.saved_tensors, ctx.count
        maps, shared = tensors[:count], tensors[count:]
        wanted = ctx.needs_input_grad[2:]
        totals = [torch.zeros_like(x) if w else None for x, w in zip(tensors, wanted)]
        for slab in slabs_of(maps):
            with torch.enable_grad(), torch.autocast(ctx.kind, torch.bfloat16, ctx.half):
                leaves = [x.detach().requires_grad_(w) for x, w in zip((*slab.cut(maps), *shared), wanted)]
                piece = slab.own(ctx.part(slab.joined(leaves[:count]), *leaves[count:]))
            own = grad[:, :, slab.start : slab.stop]
            grads = iter(torch.autograd.grad(piece, [x for x in leaves if x.requires_grad], own))
            targets = (*slab.cut(totals[:count]), *totals[count:])
            for target in targets:
                if target is not None:
                    target += next(grads)
        return None, None, *totals


@dataclass(frozen=True)
class _Slab:
    """Voxels `start` to `stop` along X of the finest map, and those seen for them: `first` to `last`."""

    start: int
    stop: int
    first: int
    last: int
    size: int

    def cut(self, maps: Sequence[torch.Tensor | None]) -> list[torch.Tensor | None]:
        """The part of each map that is seen; coarse voxels as a whole."""
        return [None if x is None else self._cut(x, self.size // x.shape[2]) for x in maps]

    def _cut(self, x: torch.Tensor, ratio: int) -> torch.Tensor:
        return x[:, :, self.first // ratio : -(-self.last // ratio)]

    def joined(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """The parts that `cut` gives, side by side on the grid of the finest."""
        return torch.cat([self._fine(x, parts[-1]) for x in parts], dim=1) if len(parts) > 1 else parts[0]

    def _fine(self, x: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        if x.shape[3:] == fine.shape[3:]:
            return x
        ratio = fine.shape[3] // x.shape[3]
        x = F.interpolate(x, scale_factor=ratio, mode="nearest")
        return x.narrow(2, self.first % ratio, fine.shape[2])

    def own(self, out: torch.Tensor) -> torch.Tensor:
        """What `out`, given for all that is seen, has for the slab."""
        return out.narrow(2, self.start - self.first, self.stop - self.start)


def slabs_of(maps: Sequence[torch.Tensor]) -> Iterator[_Slab]:
    """Slabs of about equal thickness, of whole voxels of the coarsest map."""
    size = maps[-1].shape[2]
    ratio = size // min(x.shape[2] for x in maps)
    count = max(1, min(-(-joined_values(maps) // SLAB), size // THIN))
    edges = [i * size // ratio // count * ratio for i in range(count)] + [size]
    for start, stop in zip(edges, edges[1:]):
        yield _Slab(start, stop, max(0, start - HALO), min(size, stop + HALO), size)
