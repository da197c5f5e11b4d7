"""A linear correction of the experts' average, fitted by least squares.

Its weights depend on the noise level, and it takes no optimiser steps: its normal equations are gathered along the
sampler's own trajectories and solved at once. The 3D network then starts from it, and learns what is not linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..support.device import full_precision

KNOTS = 7  # noise levels with weights of their own, evenly spaced; between two of them weights are interpolated
REACH = list(product(range(3), repeat=3))  # a voxel and its 26 neighbours
THICKNESS = 16  # planes that are worked on at once: copies of whole maps in float32 would take more than all else
RIDGE, SMOOTH = 1e-5, 1e-3  # towards zero, and towards the next knot: shares of the diagonal of the normal equations


class LinearCorrection(nn.Module):
    """`sum_d weights[t, d] row[d]` at every voxel, `weights` linear in `t` between knots; zero until it is fitted.

    A row holds 1, the channels of `points` at the voxel itself, and the 3x3x3 neighbourhood in those of `around`.
    points, around: how many channels of each; steps: of the noise schedule.
    """

    def __init__(self, points: int, around: int, steps: int):
        super().__init__()
        self.steps, self.around = steps, around
        self.register_buffer("weights", torch.zeros(KNOTS, 1 + points + len(REACH) * around))

    def forward(self, points: Sequence[torch.Tensor], around: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The correction [B, 1, X, Y, Z] float32. points: [B, *, X, Y, Z]; around: [B, A, X, Y, Z]; t: [B] int64."""
        with full_precision(around.device):  # sums of many small terms
            bias, *own, kernels = (self.hats(t) @ self.weights).split(
                [1, *(part.shape[1] for part in points), len(REACH) * self.around], dim=1
            )
            padded = F.pad(around, [1] * 6, mode="replicate") if self.around else around
            kernels = kernels.unflatten(1, (self.around, 3, 3, 3))
            slabs = []
            for start in range(0, around.shape[2], THICKNESS):
                stop = start + THICKNESS
                total = bias[:, :, None, None]
                for part, weight in zip(points, own):
                    total = total + torch.einsum("bcxyz,bc->bxyz", part[:, :, start:stop].float(), weight)
                if self.around:
                    seen = padded[:, :, start : stop + 2]
                    total = total + torch.cat([F.conv3d(p[None], k[None])[0] for p, k in zip(seen, kernels)])
                slabs.append(total)
            return torch.cat(slabs, dim=1)[:, None]

    def rows(self, points: Sequence[torch.Tensor], around: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """The rows [N, D] float64 of the voxels `where`, indices [N] into one flattened volume (B = 1)."""
        shape = around.shape[2:]
        padded = F.pad(around, [1] * 6, mode="replicate")[0] if self.around else []
        columns = [torch.ones(1, len(where), device=around.device)]
        columns += [part[0].flatten(1)[:, where] for part in points]
        for volume in padded:
            views = (volume[tuple(slice(a, a + n) for a, n in zip(start, shape))] for start in REACH)
            columns.append(torch.stack([view.flatten()[where] for view in views]))
        return torch.cat([part.double() for part in columns]).T

    def hats(self, t: torch.Tensor) -> torch.Tensor:
        """The shares [B, KNOTS] of the knots' weights at steps `t` [B]; the two nearest knots count."""
        position = t.float() / (self.steps - 1) * (KNOTS - 1)
        return (1 - (position[:, None] - torch.arange(KNOTS, device=t.device)).abs()).clamp(min=0)


class NormalEquations:
    """The normal equations of a `LinearCorrection`: they are gathered state by state and then solved."""

    def __init__(self, linear: LinearCorrection):
        self.linear = linear
        size = linear.weights.shape[1]
        self.gram = torch.zeros(KNOTS, KNOTS, size, size, dtype=torch.float64)
        self.right = torch.zeros(KNOTS, size, dtype=torch.float64)

    def add(self, rows: torch.Tensor, left: torch.Tensor, t: torch.Tensor) -> None:
        """Add a state. rows: [N, D] at step `t` [1]; left: [N], the values that the correction should have."""
        hats = self.linear.hats(t)[0].double().cpu()
        gram, right = (rows.T @ rows).cpu(), (rows.T @ left.double()).cpu()
        self.gram += torch.einsum("j,k,ab->jkab", hats, hats, gram)
        self.right += torch.einsum("k,a->ka", hats, right)

    def solve(self) -> None:
        """Set the weights. Neighbouring knots are pulled together, so that noise levels never visited have weights."""
        knots, size = self.right.shape
        scale = self.gram.diagonal(dim1=2, dim2=3).diagonal(dim1=0, dim2=1).sum(1) / knots
        bend = torch.zeros(knots, knots, dtype=torch.float64)
        for k in range(knots - 1):
            bend[k : k + 2, k : k + 2] += torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
        hold = RIDGE * torch.eye(knots, dtype=torch.float64) + SMOOTH * bend
        total = self.gram + torch.einsum("jk,a,ab->jkab", hold, scale + 1e-9, torch.eye(size, dtype=torch.float64))
        matrix = total.permute(0, 2, 1, 3).reshape(knots * size, knots * size)
        weights = torch.linalg.solve(matrix, self.right.flatten()).reshape(knots, size)
        self.linear.weights.copy_(weights)
