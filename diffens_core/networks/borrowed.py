"""Someone else's 2D diffusion model as an expert: diffusers' `UNet2DModel`, MONAI's `DiffusionModelUNet`, or yours.

    net = Borrowed(their_model, channels=3, multiple=4, taps=[their_model.up_blocks[2], ...])
    expert = SliceExpert(net, "axial", Schedule(), "eps")

`Borrowed` gives it the interface of our `UNet`: `net(x, t)` returns an output and feature maps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn

from ..support.errors import InputError


class Borrowed(nn.Module):
    """A 2D network of other origin, `out = model(x, t)`; its output may be a tensor or have it as `sample`.

    channels: how many of ours it reads, from the first on: noisy target, then the conditions (then brain mask and
    coordinates). multiple: the sides of its images must be multiples of it.
    taps: modules within it whose outputs are the feature maps, `taps[k]` at 1 / 2^k of the image; with none, only its
    prediction is fused, and the fusion needs `features=False`.

    Raises `InputError` where the output of `taps[k]` has another size than 1 / 2^k, or the model puts out more than one
    channel (such as a learned variance).
    """

    def __init__(self, model: nn.Module, channels: int, multiple: int, taps: Sequence[nn.Module] = ()):
        super().__init__()
        self.model, self.channels, self.multiple = model, channels, multiple
        self.taps = tuple(taps)
        self.widths = self._measure()

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Output [N, 1, h, w] and feature maps `feats[k]` at 1 / 2^k, for x [N, >= channels, h, w] and t [N] int64."""
        feats = [torch.empty(0)] * len(self.taps)
        hooks = [
            module.register_forward_hook(lambda _, __, out, level=level: feats.__setitem__(level, out))
            for level, module in enumerate(self.taps)
        ]
        try:
            out = self.model(x[:, : self.channels], t)
        finally:
            for hook in hooks:
                hook.remove()
        out = out if torch.is_tensor(out) else out.sample
        if out.shape[1] != 1:
            raise InputError(f"an expert predicts one channel, this model puts out {out.shape[1]}")
        return out, feats

    @torch.no_grad()
    def _measure(self) -> list[int]:
        """The widths of the feature maps, from one small image."""
        size, mode = 8 * self.multiple, self.model.training
        example = next(self.model.parameters())
        _, feats = self.eval()(
            example.new_zeros(1, self.channels, size, size), torch.zeros(1, dtype=torch.int64, device=example.device)
        )
        self.train(mode)
        sizes = [tuple(f.shape[2:]) for f in feats]
        if sizes != [(size >> level,) * 2 for level in range(len(self.taps))]:
            raise InputError(f"taps must go from the finest feature map to the coarsest, halving; these have {sizes}")
        return [f.shape[1] for f in feats]
