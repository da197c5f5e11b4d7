"""Group normalisation and SiLU in few passes over channels-last maps on a CPU, where torch's own is slow.

Convolutions are fastest in that layout, and torch's group normalisation slowest (2.13: half of a training step in bf16
was its backward pass). Torch's batch normalisation is fast there, and can replace it: within one sample, group
normalisation needs only sums over each channel, and `slope * x + offset` for each channel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import repeat

import torch
from torch.autograd.function import once_differentiable

LAYOUT = {4: torch.channels_last, 5: torch.channels_last_3d}  # by the number of dimensions of a map


def laid_out(x: torch.Tensor) -> torch.Tensor:
    """`x.contiguous(memory_format=LAYOUT[x.ndim])`; on a CPU, many channels are transposed as matrices, in blocks."""
    if x.device.type != "cpu" or x.shape[1] <= 16 or x.is_contiguous(memory_format=LAYOUT[x.ndim]):
        return x.contiguous(memory_format=LAYOUT[x.ndim])
    out = torch.empty_like(x, memory_format=LAYOUT[x.ndim])
    table = out.movedim(1, -1).flatten(1, -2)
    for b, sample in enumerate(x.flatten(2)):
        table[b].copy_(sample.t())
    return out


class NormSilu(torch.autograd.Function):
    """`apply(groups, eps, weight, bias, change, *maps)`: SiLU of the group norm of `maps` joined along the channels.

    maps: [B, C_k, *spatial_k]; a coarser one counts as if its voxels were repeated up to the grid of the finest, and
    is returned on its own. weight, bias: [C], C the sum of C_k, and float32 for maps in bf16. change: [B, 2 C], of the
    same type, scale and shift of what is normalised: `norm * (1 + scale) + shift`; or None.

    After the results it returns the maps unchanged: further use of these adds its gradients in the same pass.
    """

    @staticmethod
    def forward(ctx, groups, eps, weight, bias, change, *maps):
        samples = [_Samples(x, weight.dtype) for x in maps]
        mean, var = pooled(_cat([s.moments() for s in samples]).unflatten(2, (groups, -1)), 3)  # [B, groups, 1]
        rstd = var.add_(eps).rsqrt_()
        slope, offset = affine(weight, bias, change, mean.shape[0]).unflatten(2, (groups, -1)).unbind()
        slope = slope * rstd
        lines = torch.stack([slope, torch.addcmul(offset, slope, mean, value=-1)]).flatten(2)
        ctx.save_for_backward(weight, bias, change, mean, rstd, lines, *maps)
        ctx.set_materialize_grads(False)
        return *(s.silu_of(line) for s, line in zip(samples, _split(lines, maps))), *maps

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        weight, bias, change, mean, rstd, lines, *maps = ctx.saved_tensors
        grads, others = grads[: len(maps)], grads[len(maps) :]
        samples, by_map = [_Samples(x, weight.dtype) for x in maps], _split(lines, maps)
        grads, sums = zip(*(s.grad_of_line(line, grad) for s, line, grad in zip(samples, by_map, grads)))
        sums = _cat(sums)  # over voxels, of gradient * x and of gradient
        grouped = sums.unflatten(2, (mean.shape[1], -1))
        by_x, by_one = grouped.unbind()
        by_x.addcmul_(mean, by_one, value=-1).mul_(rstd)  # now of gradient * norm
        voxels = max(s.voxels for s in samples)
        slope, offset = (grouped * lines[0].view_as(by_x)).mean(3, keepdim=True).mul_(-1 / voxels).unbind()
        slope = slope * rstd
        back = torch.stack([slope, torch.addcmul(offset, slope, mean, value=-1)]).expand_as(grouped).flatten(2)
        grads = (
            s.grad_of_map(grad, line[0], b * (voxels // s.voxels) if len(maps) > 1 else b, other)
            for s, grad, line, b, other in zip(samples, grads, by_map, _split(back, maps), others)
        )
        return None, None, *_grad_of_affine(sums, weight, bias, change), *grads


def affine(weight, bias, change, samples: int) -> torch.Tensor:
    """Weight and bias for each sample, [2, B, C]."""
    both = torch.stack([weight, bias])[:, None]
    if change is None:
        return both.expand(-1, samples, -1)
    scale, shift = change.chunk(2, dim=1)
    both = torch.addcmul(both, both, scale)
    both[1].add_(shift)
    return both


def _grad_of_affine(grad: torch.Tensor, weight, bias, change) -> tuple:
    """Gradients of weight, bias and change, from those of weight and bias for each sample [2, B, C]."""
    if change is None:
        return *grad.sum(1).unbind(), None
    scale, _ = change.chunk(2, dim=1)
    by_weight, by_bias = grad.unbind()
    grad_change = torch.cat([torch.addcmul(by_weight * weight, by_bias, bias), by_bias], dim=1)
    return *torch.addcmul(grad, grad, scale).sum(1).unbind(), grad_change


class _Samples:
    """The samples of a map [B, C, *spatial], each as a table [1, k C, rows, 1] with k voxels beside each other.

    A few channels alone would not fill the registers of a CPU. Coefficients are [B, C].
    """

    def __init__(self, x: torch.Tensor, dtype: torch.dtype):
        self.x = x.contiguous(memory_format=LAYOUT[x.ndim])
        self.voxels = math.prod(x.shape[2:])
        self.fold = math.gcd(self.voxels, max(1, 64 // x.shape[1]))
        self.columns = self.fold * x.shape[1]
        self.tables = self.tables_of(self.x)
        self.zeros = torch.zeros(self.columns, dtype=dtype, device=x.device)
        self.ones = torch.ones_like(self.zeros)

    def tables_of(self, x: torch.Tensor) -> Sequence[torch.Tensor]:
        sample, row = self.voxels * x.shape[1], self.columns
        shape, strides = (x.shape[0], 1, row, sample // row, 1), (sample, sample, 1, row, row)
        return x.as_strided(shape, strides).unbind()

    def rows_of(self, coefficients: torch.Tensor) -> Sequence[torch.Tensor]:
        """The coefficients as one row of a table for each sample."""
        return (coefficients.repeat(1, self.fold) if self.fold > 1 else coefficients).unbind()

    def moments(self) -> torch.Tensor:
        """Mean and variance over each channel, [2, B, C]."""
        running = self.zeros.clone()  # torch needs it and overwrites it
        pairs = [m for table in self.tables for m in torch.batch_norm_update_stats(table, running, running, 0.0)]
        moments = torch.stack(pairs).view(-1, 2, self.columns).transpose(0, 1)
        if self.fold == 1:
            return moments
        return torch.stack(pooled(moments.unflatten(2, (self.fold, -1)), 2)).squeeze(2)

    def lines(self, line: torch.Tensor) -> Iterator[torch.Tensor]:
        """`slope * x + offset` of each sample."""
        slope, offset = line.unbind()
        return map(self.line, self.tables, self.rows_of(slope), self.rows_of(offset))

    def line(self, table, slope, offset) -> torch.Tensor:
        return torch.native_batch_norm(table, slope, offset, self.zeros, self.ones, False, 0.0, 0.0)[0]

    def silu_of(self, line: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(self.x)
        for target, z in zip(self.tables_of(out), self.lines(line)):
            torch._C._nn.silu(z, out=target)
        return out

    def grad_of_line(self, line: torch.Tensor, grad: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradient g of SiLU's input, from that of its output; and the sums of `g * x` and of `g`, [2, B, C]."""
        if grad is None:
            return torch.zeros_like(self.x), torch.zeros_like(line)
        grad = grad.contiguous(memory_format=LAYOUT[grad.ndim])
        out, sums = torch.empty_like(self.x), []
        for table, z, g, target in zip(self.tables, self.lines(line), self.tables_of(grad), self.tables_of(out)):
            torch.ops.aten.silu_backward.grad_input(g, z, grad_input=target)
            sums += torch.ops.aten.native_batch_norm_backward(
                target, table, None, self.zeros, self.ones, None, None, False, 0.0, (False, True, True)
            )[1:]
        sums = torch.stack(sums).view(-1, 2, self.columns).transpose(0, 1)
        return out, sums.unflatten(2, (self.fold, -1)).sum(2) if self.fold > 1 else sums.contiguous()

    def grad_of_map(self, grad: torch.Tensor, slope: torch.Tensor, line: torch.Tensor, other: torch.Tensor | None):
        """`slope * grad + line(x) + other`, in place of `grad`."""
        others = repeat(None) if other is None else self.tables_of(other.contiguous(memory_format=LAYOUT[grad.ndim]))
        for g, a, z, o in zip(self.tables_of(grad), self.rows_of(slope), self.lines(line), others):
            torch.add(self.line(g, a, self.zeros), z if o is None else z.add_(o), out=g)
        return grad


def pooled(moments: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Joint mean and variance over dimension `dim`, which is kept, of equally large parts with `moments` [2, ..]."""
    middle = moments.mean(dim, keepdim=True)[0]
    mean, var = moments.unbind()
    return middle, (mean - middle).square_().add_(var).mean(dim - 1, keepdim=True)


def _cat(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Join the coefficients [2, B, C_k] of several maps to [2, B, sum of C_k]."""
    return torch.cat(parts, dim=2) if len(parts) > 1 else parts[0]


def _split(coefficients: torch.Tensor, maps: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """Split joined coefficients into [2, B, C_k] for each map."""
    return coefficients.split([x.shape[1] for x in maps], dim=2) if len(maps) > 1 else [coefficients]
