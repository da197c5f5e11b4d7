"""Make-A-Volume: a 2D latent diffusion model becomes a volumetric one (Zhu et al. 2023).

Three trainings build on one another: a slice-wise autoencoder (`autoencoder.py`); a 2D diffusion model of its latents
(`LatentDiffusion`); and volumetric layers between the frozen layers of that model, trained on stacks of slices
(`VolumetricDiffusion`). Both models are denoisers of latent volumes [B, z, X / f, Y / f, Z].

The authors released no code. Details follow GEM-3D by the same first author, "a modified version of Make-A-Volume".
Unlike there, the step of a stack is drawn uniformly, and every channel of the latents is standardised.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
import torch.nn as nn

from ..data.planes import crop_like, from_slices, pad_to_multiple, to_slices
from ..diffusion.batch import Batch
from ..diffusion.loss import denoising_loss
from ..diffusion.model import Denoiser
from ..diffusion.sampler import Projection, Step, sampler_named
from ..diffusion.schedule import Schedule
from ..networks.lifting import SliceNet
from ..networks.unet import Attention, UNet
from ..support.errors import InputError
from .autoencoder import Autoencoder

WINDOW = 16  # slices that the volumetric layers see at once, in training and in sampling
OVERLAP = 4  # slices that neighbouring windows of a longer volume share, or more


class LatentDenoiser(Denoiser):
    """Training and sampling on the latents of `autoencoder`; subclasses have it, and predict the noise.

    builds_on: the model of the training before, frozen here and always in evaluation mode.
    """

    autoencoder: Autoencoder

    def __init__(self, builds_on: nn.Module, schedule: Schedule, prediction: str):
        super().__init__()
        self.experts = nn.ModuleList([builds_on]).requires_grad_(False)
        self.schedule, self.prediction = schedule, prediction
        self.train(self.training)

    def train(self, mode: bool = True) -> LatentDenoiser:
        """Set the training mode of the layers that this run trains, and of nothing else."""
        super().train(mode)
        self.experts.eval()
        return self

    def objectives(self) -> dict:
        """One objective: the denoising loss on latents."""
        return {"": lambda batch, train, box: denoising_loss(self, self.encoded(batch), train)}

    @torch.no_grad()
    def encoded(self, batch: Batch) -> Batch:
        """The batch with latents in place of target and conditions, and noise of their shape."""
        x0 = self.autoencoder.encode(batch.x0)
        return replace(batch, x0=x0, y=self.autoencoder.encode(batch.y), eps=self.latent_noise(batch.eps, x0))

    def latent_noise(self, noise: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Noise for latents, [B, z, ...] with the spatial size of `like`, from the noise [B, 1, X, Y, Z] of volumes.

        An image has more voxels than its latents have numbers; the first of its values are taken.
        """
        size = (self.autoencoder.latent_channels, *self.autoencoder.apart(like).shape[2:])
        first = self.autoencoder.apart(noise).flatten(1)[:, : torch.Size(size).numel()]
        return self.autoencoder.together(first.unflatten(1, size), len(noise))

    def trajectory(
        self, y, noise, steps: int, *, project: Projection | None = None, generator=None, sampler: str = "ddim"
    ) -> Iterator[Step]:
        """A sampler in latent space: `xt` of each step are latents, `x0_hat` is decoded, then projected."""
        latents = self.autoencoder.encode(y)
        start, options = self.latent_noise(noise, latents), {"clamp": False, "generator": generator}
        for step in sampler_named(sampler)(self, latents, start, steps, **options):
            volume = self.autoencoder.decode(step.x0_hat, y).clamp(-1.0, 1.0)
            yield replace(step, x0_hat=volume if project is None else project(volume, y))


class LatentDiffusion(LatentDenoiser):
    """The slice-wise model: a 2D U-Net on noisy latents, with the latents of all conditions concatenated.

    net: takes [N, z (1 + C), h, w]; prediction: `v`, `eps` or `x0`, the quantity that it predicts.
    """

    def __init__(self, autoencoder: Autoencoder, net: UNet, schedule: Schedule, prediction: str):
        super().__init__(autoencoder, schedule, prediction)
        self.body = SliceNet(net, autoencoder.plane)

    @property
    def autoencoder(self) -> Autoencoder:
        return self.experts[0]

    def forward(self, xt, y, t, coords=None) -> torch.Tensor:
        """`eps` [B, z, ...] for noisy latents `xt`, the conditions' latents `y` [B, C z, ...] and steps `t` [B]."""
        return self.schedule.eps_from(self.prediction, self.body.run(torch.cat([xt, y], dim=1), t), xt, t)


class SliceConv(nn.Conv1d):
    """A convolution over three neighbouring slices, initialised to return the middle one (Dirac weight, zero bias)."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, 3, padding=1)
        nn.init.dirac_(self.weight)
        nn.init.zeros_(self.bias)


class VolumetricDiffusion(LatentDenoiser):
    """The frozen slice-wise model with trained volumetric layers; before the training it equals that model.

    Every 2D convolution is followed by a `SliceConv`, and every 2D attention by an attention along the slices whose
    output is zero at first. A volume of more than `window` slices is processed in windows that overlap by at least
    `overlap` slices; there, predictions are averaged in every diffusion step, so that the windows make one sample.
    """

    def __init__(self, latent: LatentDiffusion, window: int = WINDOW, overlap: int = OVERLAP):
        super().__init__(latent, latent.schedule, latent.prediction)
        self.window, self.overlap = window, overlap
        self.layers = nn.ModuleList(volumetric_layer(module) for module in insertion_points(self.net))
        self.net.checkpointing = False  # blocks would be recomputed after the layers' hooks are gone

    @property
    def autoencoder(self) -> Autoencoder:
        return self.experts[0].autoencoder

    @property
    def net(self) -> UNet:
        """The frozen 2D network."""
        return self.experts[0].body.net

    def forward(self, xt, y, t, coords=None) -> torch.Tensor:
        """`eps` [B, z, ...] for noisy latents `xt`, the conditions' latents `y` [B, C z, ...] and steps `t` [B]."""
        inputs, dim = torch.cat([xt, y], dim=1), self.autoencoder.dim
        depth = xt.shape[dim]
        length = min(self.window, depth)
        total, windows = torch.zeros_like(xt), torch.zeros(depth, device=xt.device)
        for start in window_starts(depth, self.window, self.overlap):
            total.narrow(dim, start, length).add_(self._stack(inputs.narrow(dim, start, length), t))
            windows[start : start + length] += 1
        return self.schedule.eps_from(self.prediction, total / along(dim, windows), xt, t)

    def _stack(self, inputs: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Output of the network with its volumetric layers, float32 [B, z, ...], for stacks [B, z (1 + C), ...]."""
        plane, dim = self.autoencoder.plane, self.autoencoder.dim
        padded = pad_to_multiple(inputs, self.net.multiple, skip=dim)
        slices = inputs.shape[dim]
        with self._inserted(slices):
            out, _ = self.net(to_slices(padded, plane), t.repeat_interleave(slices))
        return crop_like(from_slices(out.float(), plane, len(inputs)), inputs)

    @contextmanager
    def _inserted(self, slices: int):
        """Within this context each 2D layer is followed by its volumetric layer, for stacks of `slices` slices."""
        hooks = [
            module.register_forward_hook(lambda _, __, out, layer=layer: across_slices(layer, out, slices))
            for module, layer in zip(insertion_points(self.net), self.layers, strict=True)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def insertion_points(net: nn.Module) -> Iterator[nn.Conv2d | Attention]:
    """The 2D convolutions and attentions of `net`, without the convolutions within attentions."""
    for module in net.children():
        if isinstance(module, (nn.Conv2d, Attention)):
            yield module
        else:
            yield from insertion_points(module)


def volumetric_layer(module: nn.Conv2d | Attention) -> nn.Module:
    """The layer behind `module`: it works on sequences [N, C, n] of n slices and changes nothing at first."""
    return SliceConv(module.out_channels) if isinstance(module, nn.Conv2d) else Attention(1, module.norm.num_channels)


def across_slices(layer: nn.Module, maps: torch.Tensor, slices: int) -> torch.Tensor:
    """Apply `layer` to feature maps [B * n, C, h, w] of stacks of n slices, at each pixel along the slices."""
    lines = maps.unflatten(0, (-1, slices)).permute(0, 3, 4, 2, 1)  # [B, h, w, C, n]
    out = layer(lines.flatten(0, 2)).unflatten(0, lines.shape[:3])
    maps = out.permute(0, 4, 3, 1, 2).flatten(0, 1)
    return maps.clone(memory_format=torch.channels_last)  # the network's layout: another one rounds sums differently


def window_starts(depth: int, window: int, overlap: int) -> list[int]:
    """First slices of the windows over `depth` slices; the last window ends with the last slice.

    Neighbouring windows share at least `overlap` slices. A volume that is no longer than a window has one. Raises
    `InputError` for an overlap that is not from 0 to below `window`.
    """
    if not 0 <= overlap < window:
        raise InputError(f"windows of {window} slices cannot overlap by {overlap}: it takes 0 to {window - 1}")
    last = max(0, depth - window)
    return [*range(0, last, window - overlap), last]


def along(dim: int, values: torch.Tensor) -> torch.Tensor:
    """`values` [n] with n in dimension `dim` of a volume [B, C, X, Y, Z], for broadcasting."""
    return values.reshape([-1 if d == dim else 1 for d in range(5)])
