"""Diff-Ensembler: a 3D network that fuses the noise predictions of frozen 2D experts (paper, Sec. 3.3).

It reads the noisy target, the conditions and every expert's prediction, takes the experts' feature maps into
its encoder, and puts out a gate `w` and a residual `r`: `eps_hat = sum_p w_p eps_p + lam r` (Eq. 6). The residual is
in the unit of what the network predicts (`v`: `r` enters `eps` times `sqrt(alpha_bar)`), has a linear part that reads
the experts' finest feature maps directly, and is 0 where the first condition shows background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn as nn

from .config import FusionConfig, UNetConfig
from .experts import SliceExpert, channels_in, combine, same_schedule
from .inputs import brain_channel, coordinates, network_inputs
from .planes import Box, crop_like, pad_to_multiple, whole_box
from .unet import UNet, zero_init

# What the average leaves to correct is small. In this unit the first steps of the zero-initialised last layer are too;
# in units of 1 they overshoot by far, and the training is spent on the way back.
RESIDUAL_UNIT = 0.03


@dataclass(frozen=True)
class Fused:
    """One fused prediction. eps, resid: [B, 1, X, Y, Z]; gate: [B, P, X, Y, Z]; eps_planes: [P, B, 1, X, Y, Z]."""

    eps: torch.Tensor
    gate: torch.Tensor
    resid: torch.Tensor
    eps_planes: torch.Tensor


class FeatureAdapters(nn.Module):
    """Bring one expert's feature maps onto the grid of the 3D encoder, level by level.

    One zero-initialised Conv3d a level; kernel and stride are 2^k along the slice axis only and 1 in plane.
    The finest maps also go straight to the residual by a linear `readout`, which is learnt much faster.
    """

    def __init__(self, expert: SliceExpert, widths: Sequence[int]):
        super().__init__()
        self.dim = expert.dim
        self.convs = nn.ModuleList()
        for level, (wide_2d, wide_3d) in enumerate(zip(expert.net.widths, widths, strict=True)):
            size = [1, 1, 1]
            size[expert.dim - 2] = 2**level
            self.convs.append(zero_init(nn.Conv3d(wide_2d, wide_3d, tuple(size), stride=tuple(size))))
        self.readout = zero_init(nn.Conv3d(expert.net.widths[0], 1, 1))

    def forward(self, feats: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """feats[k]: [B, F, ..n..] with n slices along the plane's axis.

        Returns level k of the padded 3D grid for every k, and last the readout [B, 1, ...] at level 0.
        """
        multiple = 2 ** (len(self.convs) - 1)
        padded = [pad_slices(f, self.dim, multiple) for f in feats]
        return [*(conv(f) for conv, f in zip(self.convs, padded)), self.readout(padded[0])]


def pad_slices(feats: torch.Tensor, dim: int, multiple: int) -> torch.Tensor:
    """Repeat the last slice along `dim` up to a multiple."""
    missing = -feats.shape[dim] % multiple
    if not missing:
        return feats
    last = feats.narrow(dim, feats.shape[dim] - 1, 1)
    return torch.cat([feats, last.repeat_interleave(missing, dim)], dim=dim)


def check_levels(expert: nn.Module, net: UNet) -> None:
    """Raise `ValueError` where feature maps of an expert would not lie on the grids of the 3D network."""
    levels = len(expert.net.widths) if isinstance(expert, SliceExpert) else 0
    if levels != len(net.widths):
        raise ValueError(
            f"an expert has feature maps of {levels} levels, the 3D network has {len(net.widths)}: "
            "give both as many, or set features=False"
        )
    if expert.net.multiple != net.multiple:
        raise ValueError(
            f"an expert takes images of multiples of {expert.net.multiple}, the 3D network volumes of multiples of "
            f"{net.multiple}: their feature maps would not lie on each other; set features=False"
        )


class Fusion(nn.Module):
    """The fusion of frozen experts; itself a denoiser.

    experts: P denoisers, frozen here and always in evaluation mode: `SliceExpert`s, or, without feature maps, anything
    with `eps = expert(xt, y, t, coords)` and a `schedule`. Trainable parameters are those of `net` and `adapters`.
    At initialisation the output is exactly the uniform average of the experts.

    Raises `ValueError` where the experts' feature maps do not fit the levels of the 3D network.
    """

    def __init__(self, experts: Sequence[nn.Module], conditions: int, unet: UNetConfig, config: FusionConfig):
        super().__init__()
        self.schedule = same_schedule(experts)
        self.experts = nn.ModuleList(experts).requires_grad_(False)
        self.config, self.prediction = config, config.prediction
        self.net = UNet(3, channels_in(conditions) + len(experts), len(experts) + 1, unet)
        self.adapters = nn.ModuleList()
        if config.features:
            for expert in experts:
                check_levels(expert, self.net)
                self.adapters.append(FeatureAdapters(expert, self.net.widths))
        self.train(self.training)

    def train(self, mode: bool = True) -> Fusion:
        """Training mode for the 3D part only: an expert with active dropout would be another expert."""
        super().train(mode)
        self.experts.eval()
        return self

    def forward(self, xt, y, t, coords=None, box: Box | None = None) -> torch.Tensor:
        """`eps_hat` [B, 1, X, Y, Z] for `xt` [B, 1, X, Y, Z], conditions `y` [B, C, X, Y, Z] and step `t` [B].

        With a `box`, begun at multiples of `net.multiple`, only what lies in it is fused and answered. The experts
        see whole slices all the same: in a patch their normalisation layers would make them other experts.
        """
        return self.fuse(xt, y, t, coords, box).eps

    def fuse(self, xt, y, t, coords=None, box: Box | None = None) -> Fused:
        """Eq. 6 with its parts: for gate maps and ablations."""
        box = box or whole_box(xt)
        if coords is None:
            coords = coordinates(xt.shape[2:], xt.device)
        eps_planes, adapted = self._run_experts(xt, y, t, coords, box)
        xt, y, coords = (volume[..., *box] for volume in (xt, y, coords))
        if not self.config.coordinates:
            coords = torch.zeros_like(coords)
        outputs = [self.schedule.prediction_from(self.prediction, eps, xt, t) for eps in eps_planes]
        inputs = torch.cat([network_inputs(xt, y, coords), *outputs], dim=1)
        out, _ = self.net(pad_to_multiple(inputs, self.net.multiple), t, adapted[:-1] or None)
        out = crop_like(out, xt).float()
        gate, resid = self._gate(out[:, :-1]), RESIDUAL_UNIT * out[:, -1:]
        if adapted:
            resid = resid + crop_like(adapted[-1], xt).float()
        resid = resid * (brain_channel(y) > 0)  # background of the first condition
        unit = self.schedule.eps_per_output(self.prediction, xt, t)
        return Fused(combine(eps_planes, gate) + self.config.lam * unit * resid, gate, resid, eps_planes)

    def _gate(self, logits: torch.Tensor) -> torch.Tensor:
        """[B, P, X, Y, Z], summing to 1 over P; `affine` is the authors' unbounded form."""
        if self.config.gate == "uniform":
            logits = torch.zeros_like(logits)
        if self.config.gate != "affine":
            return logits.softmax(dim=1)
        return 1.0 / logits.shape[1] + logits - logits.mean(dim=1, keepdim=True)

    def _run_experts(self, xt, y, t, coords, box: Box):
        """Within `box` every expert's `eps` [P, B, 1, ...], and the sum of what their adapters make of its features."""
        if not self.config.features:
            return torch.stack([predict_in(box, expert, xt, y, t, coords) for expert in self.experts]), []
        eps_planes, total = [], []
        for expert, adapters in zip(self.experts, self.adapters):
            outs, chunks = [], []
            for out, feats in expert.lift(xt, y, t, coords, box):
                outs.append(out)
                chunks.append(adapters(feats))
            eps_planes.append(
                self.schedule.eps_from(expert.prediction, torch.cat(outs, dim=expert.dim), xt[..., *box], t)
            )
            adapted = [torch.cat(parts, dim=expert.dim) for parts in zip(*chunks)]
            total = [a + b for a, b in zip(total, adapted)] if total else adapted
        return torch.stack(eps_planes), total


def predict_in(box: Box, expert: nn.Module, xt, y, t, coords) -> torch.Tensor:
    """What an expert answers within `box`, from whole volumes; a `SliceExpert` runs only the slices through it."""
    if isinstance(expert, SliceExpert):
        return expert(xt, y, t, coords, box)
    return expert(xt, y, t, coords)[..., *box]
