"""Convolutions that a CPU is slow at, computed as others that fill its registers: few outputs, or a single voxel.

All are exact: they sum the same products in another order. Kernels have 3 voxels a side, but for `pointwise`; edges are
padded with 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from .norm import LAYOUT

FEW = 8  # outputs
MANY = 100_000  # values of a map; with fewer, rearranging takes longer than it saves
_CONV = {2: F.conv2d, 3: F.conv3d}


def conv3d(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """`F.conv3d(x, weight, bias, padding=1)` for a CPU."""
    if len(weight) <= FEW and x.numel() >= MANY and bias is not None:
        if weight.shape[1] > 4 * FEW:
            return _ManyToFew.apply(x, weight, bias)
        if x.dtype == torch.bfloat16 and x.shape[-1] % 8 == 0:  # float32 gains nothing
            return _conv_of_pairs(x, weight, bias)
    return F.conv3d(x, weight, bias, padding=1)


def pointwise_pays(x: torch.Tensor) -> bool:
    """Whether `pointwise` is to be taken for a map on a CPU: in float32 because it is faster, 3 to 8 times in 3D.

    In bf16 because oneDNN's gradient of the weights writes outside of its memory for large maps (torch 2.13, 96
    channels of 192 x 152 voxels on 9 planes); for smaller ones that is right, and faster where channels are few.
    """
    return x.device.type == "cpu" and x.numel() >= (2**22 if x.dtype == torch.bfloat16 else MANY)


def pointwise(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """The convolution of `x` [B, C, *spatial] by `weight` [outputs, C, 1, ...], as a product of matrices."""
    return F.linear(x.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)


def _pairs() -> torch.Tensor:
    """The matrix [3, 2 * 2 * 3] from a kernel along an axis to the kernels between voxels of pairs, over 3 pairs."""
    kernels = torch.zeros(3, 2, 2, 3, device="cpu")
    for output in range(2):
        for step in (-1, 0, 1):
            pair, voxel = divmod(output + step, 2)
            kernels[step + 1, output, voxel, pair + 1] = 1
    return kernels.flatten(1)


_PAIRS = _pairs()


def _conv_of_pairs(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The convolution with voxel pairs of the last axis as voxels of twice as many channels, as they lie in memory."""
    (outputs, channels), size = weight.shape[:2], x.shape[2:-1]
    with torch.autocast("cpu", enabled=False):
        kernels = (weight @ _PAIRS.to(weight)).view(outputs, channels, 3, 3, 2, 2, 3).permute(4, 0, 5, 1, 2, 3, 6)
        kernels = kernels.reshape(2 * outputs, 2 * channels, 3, 3, 3).contiguous(memory_format=LAYOUT[5])
        bias = bias.repeat(2)
    pairs = x.movedim(1, -1).reshape(len(x), *size, -1, 2 * channels).movedim(-1, 1)
    out = F.conv3d(pairs, kernels, bias, padding=1)
    return out.movedim(1, -1).reshape(len(x), *size, -1, outputs).movedim(-1, 1)


def _positions(dims: int) -> torch.Tensor:
    """The matrix [3^dims, 2^dims 3^dims] from a kernel on the fine grid to one per position within a coarse voxel."""
    first = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]], device="cpu")  # fine to coarse, from the first position
    axis = torch.stack([first, first.flip(0, 1)], dim=1)  # fine, position, coarse
    if dims == 2:
        return torch.einsum("apx,bqy->abpqxy", axis, axis).reshape(9, -1)
    return torch.einsum("apx,bqy,crz->abcpqrxyz", axis, axis, axis).reshape(27, -1)


_POSITIONS = {dims: _positions(dims) for dims in (2, 3)}


def conv_of_repeated(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The convolution, 3 voxels a side, of `x` with every voxel repeated twice along each axis; no bias.

    Along an axis, two of the 3 fine voxels under a kernel are the same voxel of `x`. So each of the 2^dims positions
    within a coarse voxel has a kernel over `x` itself, and `x` is convolved with all of these at once.
    """
    dims, outputs = x.ndim - 2, len(weight)
    with torch.autocast("cpu", enabled=False):
        kernels = (weight.flatten(2) @ _POSITIONS[dims].to(weight)).unflatten(2, (2**dims, *[3] * dims))
    kernels = kernels.movedim(2, 0).flatten(0, 1).contiguous(memory_format=LAYOUT[x.ndim])
    out = _CONV[dims](x, kernels, padding=1).movedim(1, -1).unflatten(-1, (*[2] * dims, outputs))
    order = [axis for d in range(dims) for axis in (1 + d, 1 + dims + d)]  # beside each coarse axis its two positions
    return out.permute(0, *order, -1).reshape(len(x), *[2 * n for n in x.shape[2:]], outputs).movedim(-1, 1)


class _ManyToFew(torch.autograd.Function):
    """`F.conv3d` whose gradient of the weights takes half the time.

    It is computed as that of a 2D convolution over slices with three times as many outputs: those of the slice itself
    and of both its neighbours.
    """

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return F.conv3d(x, weight, bias, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad_x = _conv_backward(grad, x, weight, [True, False, False])[0] if ctx.needs_input_grad[0] else None
        rows, outputs = grad.movedim(1, -1), len(weight)
        beside = rows.new_empty(*rows.shape[:-1], 3, outputs)
        beside[:, :-1, ..., 0, :], beside[:, -1, ..., 0, :] = rows[:, 1:], 0
        beside[..., 1, :] = rows
        beside[:, 1:, ..., 2, :], beside[:, 0, ..., 2, :] = rows[:, :-1], 0
        beside, slices = beside.flatten(-2).flatten(0, 1).movedim(-1, 1), x.transpose(1, 2).flatten(0, 1)
        kernel = weight.new_empty(3 * outputs, *weight.shape[1:2], 3, 3)
        _, taps, sums = _conv_backward(beside, slices, kernel, [False, True, True])
        return grad_x, taps.unflatten(0, (3, outputs)).movedim(0, 2), sums[outputs : 2 * outputs]


def _conv_backward(grad, x, weight, wanted):
    """Gradients of input, weight and bias; wanted: for each, whether it is computed."""
    each = [1] * (x.ndim - 2)
    rest = each, each, each, False, [0] * len(each), 1  # stride, padding, dilation, transposed, output padding, groups
    return torch.ops.aten.convolution_backward(grad, x, weight, [len(weight)], *rest, wanted)
