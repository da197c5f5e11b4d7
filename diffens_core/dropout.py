"""Dropout whose random bits cost little: torch draws a 64-bit number for each value on a CPU, and takes longer over it
than over a convolution."""

from __future__ import annotations

import torch
import torch.nn as nn


class Dropout(nn.Dropout):
    """`nn.Dropout`; on a CPU one random byte decides on each value, so `p` is rounded to a multiple of 1 / 256."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lost = round(256 * self.p)
        if not self.training or x.device.type != "cpu" or not 0 < lost < 256:
            return super().forward(x)
        drawn = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None).view(torch.uint8)
        drawn = drawn[: x.numel()].as_strided(x.shape, torch.empty_like(x).stride())
        return x * (drawn >= lost).to(x.dtype).mul_(256 / (256 - lost))
