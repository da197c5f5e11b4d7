"""One U-Net for 2D slices and 3D volumes: residual blocks, time embedding, concatenated skips.

It is the network of the paper's Tables 9 (2D), 10 (3D) and 11 (3D, small): two residual blocks a level, no
attention, strided convolutions down, a convolution and an interpolation up. The tables print the width of the main
path, without the concatenated skip of each encoder block. Networks of other papers can have self-attention: after the
last block of a level, and between the blocks of the middle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from ..support.errors import InputError
from ..support.settings import ConfigError, at_least, one_of, option
from . import slabs
from .narrow import conv3d, conv_of_repeated, pointwise, pointwise_pays
from .norm import LAYOUT, NormSilu, laid_out


@dataclass(frozen=True)
class UNetConfig:
    """Widths are `base * mult[k]` at level k; `blocks` residual blocks a level.

    attention: levels whose blocks are followed by self-attention; where there are any, the middle has it too.
    middle_attention: the middle has it even if no level does. kernel: of the convolutions within a level, 1 or 3; with
    1 and a single level no voxel sees another.
    """

    base: int = 64
    mult: tuple[int, ...] = (1, 2, 4, 8)
    blocks: int = 2
    dropout: float = 0.0
    checkpointing: bool = False
    attention: tuple[int, ...] = option(())
    kernel: int = option(3)
    middle_attention: bool = option(False)

    def __post_init__(self):
        one_of("kernel", self.kernel, (1, 3))
        at_least("base", self.base, 2)
        at_least("blocks", self.blocks, 1)
        if not self.mult or min(self.mult) < 1:
            raise ConfigError(f"mult must be positive numbers, not {self.mult}")
        if not set(self.attention) <= set(range(len(self.mult))):
            raise ConfigError(f"attention must name levels 0 to {len(self.mult) - 1}, not {self.attention}")


def zero_init(module: nn.Module) -> nn.Module:
    """Zero all parameters of `module`, so that it contributes nothing at the start; returns it."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def timestep_embedding(t: torch.Tensor, width: int) -> torch.Tensor:
    """Sinusoidal embedding of steps `t` [B] as [B, width], float32."""
    frequency = torch.exp(-math.log(10_000.0) * torch.arange(width // 2, device=t.device) / (width // 2))
    angle = t[:, None].float() * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def pays(x: torch.Tensor) -> bool:
    """Whether a map on a CPU is large enough for our own operators to be faster than torch's.

    Ours take longer to start; torch's are slow above all in bf16.
    """
    return x.device.type == "cpu" and x.numel() >= (40_000 if x.dtype == torch.bfloat16 else 400_000)


class Norm(nn.GroupNorm):
    """GroupNorm with 32 groups where the width allows it, as in the paper; narrower networks have fewer."""

    def __init__(self, channels: int):
        super().__init__(math.gcd(32, max(1, channels // 2)), channels)

    def silu(self, maps: Sequence[torch.Tensor], change: torch.Tensor | None = None) -> tuple[Sequence, Sequence]:
        """SiLU of the norm of `maps` taken as one (see `joined`); change [B, 2 C]: scale and shift in between.

        Returns the result and the maps for further use; each is a list of one joined map, or of all.
        """
        return (self._apart if pays(maps[-1]) else self._joined)(maps, change)

    def _apart(self, maps, change):
        both = NormSilu.apply(self.num_groups, self.eps, self.weight, self.bias, change, *maps)
        return both[: len(maps)], both[len(maps) :]

    def _joined(self, maps, change):
        x = joined(maps)
        h = self(x)
        if change is not None:
            scale, shift = change.to(h.dtype).reshape(len(h), -1, *[1] * (h.ndim - 2)).chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return [F.silu(h)], [x]


def joined(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Maps [B, C_k, *spatial_k] concatenated on the grid of the last, the finest."""
    return torch.cat([repeated(x, maps[-1]) for x in maps], dim=1) if len(maps) > 1 else maps[0]


def repeated(x: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
    """`x` with its voxels repeated up to the grid of `fine`."""
    return x if x.shape[2:] == fine.shape[2:] else F.interpolate(x, size=fine.shape[2:], mode="nearest")


class _MapsConv:
    """A convolution of several maps as if they were `joined`, without the memory and the time that this takes."""

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        if len(maps) == 1:
            return self._conv_forward(maps[0], self.weight, self.bias)
        *coarse, weight = self.weight.split([x.shape[1] for x in maps], dim=1)
        out = self._conv_forward(maps[-1], weight, self.bias)
        for x, weight in zip(maps, coarse):
            out = out + self._on_finest(x, weight, out)  # in place takes twice as long
        return out

    def _on_finest(self, x: torch.Tensor, weight: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        if max(self.kernel_size) == 1:  # repeating voxels commutes with it
            return repeated(self._conv_forward(x, weight, None), fine)
        if self.narrow and x.shape[2:] != fine.shape[2:]:
            return conv_of_repeated(x, weight)
        return self._conv_forward(repeated(x, fine), weight, None)

    def _conv_forward(self, x, weight, bias):
        if max(self.kernel_size) == 1 and pointwise_pays(x):
            return pointwise(x, weight, bias)
        return super()._conv_forward(x, weight, bias)

    @property
    def narrow(self) -> bool:
        """Whether `conv_of_repeated` pays."""
        return self.out_channels * 2 ** len(self.kernel_size) <= 64


class Conv2d(_MapsConv, nn.Conv2d):
    """A 2D convolution of one map, or of several that count as joined."""


class Conv3d(_MapsConv, nn.Conv3d):
    """A 3D convolution of one map, or of several that count as joined."""

    def _conv_forward(self, x, weight, bias):
        if x.device.type == "cpu" and self.kernel_size == (3, 3, 3):
            return conv3d(x, weight, bias)
        return super()._conv_forward(x, weight, bias)


_CONV = {1: nn.Conv1d, 2: Conv2d, 3: Conv3d}  # of stride 1
_DOWN = {2: nn.Conv2d, 3: nn.Conv3d}


class ResBlock(nn.Module):
    """A residual block: norm, SiLU, convolution, twice; the time embedding scales and shifts the second norm.

    It takes a map, or several that count as joined.
    """

    def __init__(self, dims: int, channels_in: int, channels_out: int, embedding: int, dropout: float, kernel: int = 3):
        super().__init__()
        conv = _CONV[dims]
        self.norm_in, self.norm_out = Norm(channels_in), Norm(channels_out)
        self.conv_in = conv(channels_in, channels_out, kernel, padding=kernel // 2)
        self.conv_out = zero_init(conv(channels_out, channels_out, kernel, padding=kernel // 2))
        self.time = nn.Linear(embedding, 2 * channels_out)
        self.dropout = nn.Dropout(dropout)
        self.skip = conv(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, embedding: torch.Tensor, *maps: torch.Tensor) -> torch.Tensor:
        if not self.conv_in.narrow and maps[-1].dtype != torch.bfloat16:
            maps = [joined(maps)]  # torch has slow convolutions in float32 for maps of few channels
        h, maps = self.norm_in.silu(maps)
        h = self.conv_in(*h)
        with torch.autocast("cpu", enabled=False):  # a cast takes longer than so small a product
            change = self.time(embedding)
        h = self.conv_out(self.dropout(*self.norm_out.silu([h], change)[0]))
        return self.skip(*maps) + h


class Attention(nn.Module):
    """Self-attention over all positions of a feature map, added to it; it is zero at initialisation.

    Memory is linear in the positions, time quadratic: meant for coarse levels.
    """

    HEAD = 32  # channels a head, where the width allows it

    def __init__(self, dims: int, channels: int):
        super().__init__()
        conv = _CONV[dims]
        self.heads = max(1, channels // self.HEAD)
        self.norm = Norm(channels)
        self.qkv = conv(channels, 3 * channels, 1)
        self.out = zero_init(conv(channels, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` [B, C, *spatial] plus the attention between its positions."""
        parts = self.qkv(self.norm(x)).flatten(2).chunk(3, dim=1)
        q, k, v = (part.unflatten(1, (self.heads, -1)).transpose(2, 3) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).flatten(1, 2)
        return x + self.out(mixed.reshape_as(x))


class UNet(nn.Module):
    """Time-conditioned U-Net.

    dims: 2 or 3. Spatial sizes of the input must be multiples of `self.multiple` (2 ** (levels - 1)).
    With `self.checkpointing` set, blocks are recomputed in the backward pass instead of stored, and those of large
    volumes are computed slab by slab (`slabs.py`).
    """

    def __init__(self, dims: int, channels_in: int, channels_out: int, config: UNetConfig):
        super().__init__()
        conv = _CONV[dims]
        self.dims, self.base, self.blocks = dims, config.base, config.blocks
        self.widths = [config.base * m for m in config.mult]
        self.multiple = 2 ** (len(self.widths) - 1)
        self.checkpointing = config.checkpointing
        embedding, kernel, edge = 4 * config.base, config.kernel, config.kernel // 2

        def block(wide_in: int, wide_out: int) -> ResBlock:
            return ResBlock(dims, wide_in, wide_out, embedding, config.dropout, kernel)

        def attention(wide: int, wanted: bool) -> nn.Module:
            return Attention(dims, wide) if wanted else nn.Identity()

        self.time = nn.Sequential(
            nn.Linear(config.base, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.stem = conv(channels_in, config.base, kernel, padding=edge)
        self.encoder, self.down = nn.ModuleList(), nn.ModuleList()
        self.encoder_attention, self.decoder_attention = nn.ModuleList(), nn.ModuleList()
        width = config.base
        for level, wide in enumerate(self.widths):
            self.encoder.append(nn.ModuleList(block(width if b == 0 else wide, wide) for b in range(config.blocks)))
            self.encoder_attention.append(attention(wide, level in config.attention))
            width = wide
            if level + 1 < len(self.widths):
                self.down.append(_DOWN[dims](wide, wide, 3, stride=2, padding=1))
        self.middle = nn.ModuleList(block(width, width) for _ in range(config.blocks))
        self.middle_attention = attention(width, config.middle_attention or bool(config.attention))
        self.decoder, self.up = nn.ModuleList(), nn.ModuleList()
        for level, wide in reversed(list(enumerate(self.widths))):
            self.decoder.append(
                nn.ModuleList(block((width if b == 0 else wide) + wide, wide) for b in range(config.blocks))
            )
            self.decoder_attention.append(attention(wide, level in config.attention))
            width = wide
            if level > 0:
                self.up.append(conv(wide, wide, 3, padding=1))
        self.norm = Norm(config.base)
        self.head = zero_init(conv(config.base, channels_out, kernel, padding=edge))
        self.to(memory_format=LAYOUT[dims + 2])  # 1.1 to 2 times faster on a CPU, and tensor cores read it

    def forward(
        self, x: torch.Tensor, t: torch.Tensor, inject: Sequence[torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The output [B, channels_out, *spatial], and the decoder's feature maps, feats[k] at 1 / 2^k.

        x: [B, channels_in, *spatial]; t: [B] int64; inject[k]: added to the encoder's level k.
        """
        if x.shape[1] != self.stem.in_channels:
            raise InputError(
                f"the network reads {self.stem.in_channels} channels, not {x.shape[1]}: are these the conditions that "
                "it was trained on?"
            )
        if any(size % self.multiple for size in x.shape[2:]):
            raise InputError(f"spatial sizes {tuple(x.shape[2:])} are not multiples of {self.multiple}")
        with torch.autocast("cpu", enabled=False):
            embedding = self.time(timestep_embedding(t, self.base))
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            x = x.to(torch.get_autocast_dtype("cpu"))  # before the change of layout: half as much to move
        h = self.stem(laid_out(x))
        skips = []
        for level, blocks in enumerate(self.encoder):
            for block in blocks:
                h = self._run(block, embedding, h)
                skips.append(h)
            h = skips[-1] = self.encoder_attention[level](h)
            if inject is not None:
                h = skips[-1] = h + inject[level]
            if level < len(self.down):
                h = self._run(self.down[level], h)
        for index, block in enumerate(self.middle):
            h = self._run(block, embedding, h)
            if index == 0:
                h = self.middle_attention(h)
        feats = []
        for level, blocks in enumerate(self.decoder):
            for block in blocks:
                h = self._run(block, embedding, h, skips.pop())
            h = self.decoder_attention[level](h)
            feats.insert(0, h)
            if level < len(self.up):
                h = self._run(self.up[level], h)  # the next block takes it to the finer grid
        if self.checkpointing and slabs.pays([h]):
            return slabs.norm_silu_conv(self.norm, self.head, [h]), feats
        return self.head(*self.norm.silu([h])[0]), feats

    def _run(self, part: nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
        """Run a residual block on embedding and maps, or a convolution between levels on a map."""
        thin = min(min(x.shape[2:], default=4) for x in inputs) < 4
        if thin and inputs[0].device.type == "cpu":
            # oneDNN's bf16 convolutions write outside of maps that are 2 voxels thick (torch 2.13).
            with torch.autocast("cpu", enabled=False):
                return part(*(x.float() for x in inputs))
        if self.checkpointing and isinstance(part, ResBlock):
            if slabs.pays(inputs[1:]) and not (part.training and part.dropout.p):
                part = partial(slabs.res_block, part)
            if torch.is_grad_enabled():
                return checkpoint(part, *inputs, use_reentrant=False)
        return part(*inputs)
