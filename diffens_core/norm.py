"""Group normalisation and SiLU in few passes over channels-last maps on a CPU, where torch's own is slow.

Convolutions are fastest in that layout, and torch's group normalisation slowest (2.13: half of a training step in bf16
was its backward pass). Its batch normalisation is fast there, and enough: within one sample, all that it takes is sums
over each channel and `slope * x + offset` with a slope and an offset for each channel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import repeat

import torch
from torch.autograd.function import once_differentiable

LAYOUT = {4: torch.channels_last, 5: torch.channels_last_3d}  # by the number of dimensions of a map


class NormSilu(torch.autograd.Function):
    """`apply(groups, eps, weight, bias, *maps)`: SiLU of the group normalisation of `maps` joined along the channels.

    maps: [B, C_k, *spatial_k]; a coarser one counts as if its voxels were repeated up to the grid of the finest, and
    is returned on its own. weight, bias: [B, sum of C_k], float32 for maps in bf16. Behind the results, the maps are
    returned as they are: who reads them there has the gradients added in the same pass.
    """

    @staticmethod
    def forward(ctx, groups, eps, weight, bias, *maps):
        samples = [_Samples(x, weight.dtype) for x in maps]
        mean, var = torch.cat([s.moments() for s in samples], dim=2).unflatten(2, (groups, -1))
        mean, var = _pooled(mean, var, 2)  # [B, groups, 1]
        rstd = (var + eps).rsqrt_()
        slope = weight.unflatten(1, (groups, -1)) * rstd
        offset = torch.addcmul(bias.view_as(slope), slope, mean, value=-1)
        lines = torch.stack([slope, offset]).flatten(2)
        ctx.save_for_backward(weight, mean, rstd, lines, *maps)
        ctx.set_materialize_grads(False)
        return *(s.silu_of(line) for s, line in zip(samples, _split(lines, maps))), *maps

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        weight, mean, rstd, lines, *maps = ctx.saved_tensors
        samples, lines = [_Samples(x, weight.dtype) for x in maps], _split(lines, maps)
        others = grads[len(maps) :]
        grads = [torch.zeros_like(x) if grad is None else grad for x, grad in zip(maps, grads)]
        grads, sums = zip(*(s.grad_of_line(line, grad) for s, line, grad in zip(samples, lines, grads)))
        by_x, by_one = torch.cat(sums, dim=2).unflatten(2, (mean.shape[1], -1))  # sums of grad * x and of grad
        grad_weight = (by_x - mean * by_one).mul_(rstd)
        voxels = max(s.voxels for s in samples)
        part = (weight.view_as(by_one) * torch.stack([grad_weight, by_one])).mean(3, keepdim=True).div_(-voxels)
        slope, offset = part.mul_(rstd)
        back = torch.stack([slope := slope * rstd, torch.addcmul(offset, slope, mean, value=-1)])
        back = _split(back.expand(-1, *by_one.shape).flatten(2), maps)
        grads = (
            s.grad_of_map(grad, line[0], b * (voxels // s.voxels), other)
            for s, grad, line, b, other in zip(samples, grads, lines, back, others)
        )
        return None, None, grad_weight.flatten(1), by_one.flatten(1), *grads


class _Samples:
    """The samples of a map [B, C, *spatial] one by one, as tables [1, k C, rows, 1] with k voxels beside each other.

    Few channels alone would not fill the registers of a CPU. Coefficients are [.., B, C].
    """

    def __init__(self, x: torch.Tensor, dtype: torch.dtype):
        self.x = x.contiguous(memory_format=LAYOUT[x.ndim])
        self.voxels = x[0, 0].numel()
        self.fold = math.gcd(self.voxels, max(1, 64 // x.shape[1]))
        self.tables = self.tables_of(self.x)
        self.zeros = torch.zeros(self.fold * x.shape[1], dtype=dtype)
        self.ones = torch.ones_like(self.zeros)

    def tables_of(self, x: torch.Tensor) -> Sequence[torch.Tensor]:
        rows = x.movedim(1, -1).reshape(len(x), 1, -1, 1, self.fold * x.shape[1])
        return rows.movedim(-1, 2).unbind()

    def rows_of(self, coefficients: torch.Tensor) -> Sequence[torch.Tensor]:
        """One row of a table for each sample."""
        return (coefficients.repeat(1, self.fold) if self.fold > 1 else coefficients).unbind()

    def moments(self) -> torch.Tensor:
        """Mean and variance over each channel, [2, B, C]."""
        running = self.zeros.clone(), self.ones.clone()  # overwritten, and of no use
        found = [m for table in self.tables for m in torch.batch_norm_update_stats(table, *running, 0.0)]
        mean, var = torch.cat(found).view(len(self.tables), 2, self.fold, -1).unbind(1)
        return torch.stack(_pooled(mean, var, 1)).squeeze(2) if self.fold > 1 else torch.stack([mean, var]).squeeze(2)

    def lines(self, slope: torch.Tensor, offset: torch.Tensor) -> Iterator[torch.Tensor]:
        """`slope * x + offset` of each sample."""
        for table, a, b in zip(self.tables, self.rows_of(slope), self.rows_of(offset)):
            yield self.line(table, a, b)

    def line(self, table, slope, offset) -> torch.Tensor:
        return torch.native_batch_norm(table, slope, offset, self.zeros, self.ones, False, 0.0, 0.0)[0]

    def silu_of(self, line: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(self.x)
        for target, z in zip(self.tables_of(out), self.lines(*line)):
            torch._C._nn.silu(z, out=target)
        return out

    def grad_of_line(self, line: torch.Tensor, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """From the gradient of SiLU's output that of its input; and the sums of that times x and of that, [2, B, C]."""
        grad = grad.contiguous(memory_format=LAYOUT[grad.ndim])
        out, sums = torch.empty_like(self.x), []
        for table, z, g, target in zip(self.tables, self.lines(*line), self.tables_of(grad), self.tables_of(out)):
            torch.ops.aten.silu_backward.grad_input(g, z, grad_input=target)
            sums += torch.ops.aten.native_batch_norm_backward(
                target, table, None, self.zeros, self.ones, None, None, False, 0.0, (False, True, True)
            )[1:]
        return out, torch.cat(sums).view(len(out), 2, self.fold, -1).sum(2).transpose(0, 1)

    def grad_of_map(self, grad: torch.Tensor, slope: torch.Tensor, line: torch.Tensor, other: torch.Tensor | None):
        """`slope * grad + line(x) + other`, in place of `grad`."""
        others = repeat(None) if other is None else self.tables_of(other.contiguous(memory_format=LAYOUT[grad.ndim]))
        for g, a, z, o in zip(self.tables_of(grad), self.rows_of(slope), self.lines(*line), others):
            torch.add(self.line(g, a, self.zeros), z if o is None else z.add_(o), out=g)
        return grad


def _pooled(mean: torch.Tensor, var: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of equally large parts put together, over dimension `dim`, which is kept."""
    middle = mean.mean(dim, keepdim=True)
    return middle, (mean - middle).square_().add_(var).mean(dim, keepdim=True)


def _split(coefficients: torch.Tensor, maps: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """Coefficients [..., sum of C_k] by map."""
    return coefficients.split([x.shape[1] for x in maps], dim=-1) if len(maps) > 1 else [coefficients]
