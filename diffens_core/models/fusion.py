"""Diff-Ensembler: a 3D network that fuses the noise predictions of frozen 2D experts (paper, Sec. 3.3).

It reads the noisy target, the conditions and every expert's prediction, takes the experts' feature maps into
its encoder, and puts out a gate `w` and a residual `r`: `eps_hat = sum_p w_p eps_p + lam r` (Eq. 6). The residual is
in the unit of what the network predicts (`v`: `r` enters `eps` times `sqrt(alpha_bar)`), and is 0 where the first
condition shows background, unless the fusion works `everywhere`.

With a linear start (`FusionConfig.linear`) the residual is the sum of a least-squares correction and the network's, and
the network reads the experts' estimate as the sampler will use it: clamped, and projected onto what was measured. In a
task without a measurement, the prediction for a whole head can keep brightness and contrast of the experts' average
(`FusionConfig.keep_contrast`). `training/states.py` trains the fusion on the states that the sampler visits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn as nn

from ..data.measurement import Degradation
from ..data.planes import Box, coordinates, crop_like, overlapping, pad_to_multiple, whole_box
from ..diffusion.model import Denoiser
from ..diffusion.schedule import PREDICTIONS
from ..networks.inputs import brain_box, brain_channel, network_inputs
from ..networks.lifting import joined_chunks, own_part
from ..networks.unet import UNet, UNetConfig, zero_init
from ..support.errors import InputError
from ..support.settings import ConfigError, one_of, option
from .contrast import with_contrast_of
from .experts import SliceExpert, channels_in, combine, same_schedule, same_target
from .linear import LinearCorrection

# Corrections of the average are small. In this unit so are the first steps of the zero-initialised last layer; in units
# of 1 they overshoot by far, and the training is spent on the way back.
RESIDUAL_UNIT = 0.03
# A larger head is worked on in windows: voxels of one, with the planes that it sees on either side of its own.
WINDOW, HALO = 2**24, 16


@dataclass(frozen=True)
class FusionConfig:
    """Settings of a fusion.

    gate: `softmax` (convex), `affine` (unbounded), `plain` (the authors': unbounded, and the last weight is what the
    others, which are learnt, leave of 1), or `uniform` (the average, so that only the residual is learnt);
    lam: weight of the residual, 0 leaves the gate alone; features: read the experts' feature maps; coordinates: give
    the 3D network the position in the head; linear: start from a least-squares correction of the average, and read the
    estimate that the sampler makes of it; context: off is a control that sees no neighbours, and the finest feature
    maps averaged over planes (with a voxel-wise network, `UNetConfig.kernel`); keep_contrast: in each step brightness
    and contrast of a head stay those of the experts' average (`contrast.py`); ramp: if not 0, a head gets the share
    `ramp (1 - t / T)` of the correction, at most all of it: a fusion of few training heads errs most where there is
    much noise (it learns the whole); residual_unit: of the network's residual, 1 in the paper; everywhere: the network
    works on the background as it does on the head, as the paper's does.
    """

    gate: str = "softmax"
    lam: float = 1.0
    features: bool = True
    prediction: str = "v"
    coordinates: bool = option(True)
    linear: bool = option(False)
    context: bool = option(True)
    keep_contrast: bool = option(False)
    ramp: float = option(0.0)
    residual_unit: float = option(RESIDUAL_UNIT)
    everywhere: bool = option(False)

    def __post_init__(self):
        one_of("gate", self.gate, ("softmax", "affine", "plain", "uniform"))
        one_of("prediction", self.prediction, PREDICTIONS)
        if not math.isfinite(self.lam):
            raise ConfigError(f"lam must be a number, not {self.lam}")
        if not (math.isfinite(self.ramp) and self.ramp >= 0):
            raise ConfigError(f"ramp must be a number from 0 on, not {self.ramp}")
        if not self.residual_unit > 0:
            raise ConfigError(f"residual_unit must be positive, not {self.residual_unit}")
        if self.linear and self.prediction != "x0":
            raise ConfigError("a linear start corrects clean estimates: it needs prediction 'x0'")


@dataclass(frozen=True)
class Fused:
    """One fused prediction. eps, resid: [B, 1, X, Y, Z]; gate: [B, P, X, Y, Z]; eps_planes: [P, B, 1, X, Y, Z].

    `eps` is Eq. 6 of the other three; for a whole head, a fusion that keeps contrast changes it to the average's.
    """

    eps: torch.Tensor
    gate: torch.Tensor
    resid: torch.Tensor
    eps_planes: torch.Tensor


@dataclass(frozen=True)
class Lifted:
    """The frozen experts' outputs for a state. eps_planes: [P, B, 1, X, Y, Z]; feats[p][k]: level k of expert p.

    start: the linear correction [B, 1, X, Y, Z], in the unit of what the fusion predicts; None without one.
    adapted: `feats[0]` is what the 3D network takes on each of its levels, from all experts.
    """

    eps_planes: torch.Tensor
    feats: list[list[torch.Tensor]]
    start: torch.Tensor | None = None
    adapted: bool = False

    def map(self, change: Callable, of_features: Callable | None = None) -> Lifted:
        """Replace every volume v by `change(v)`, every feature map f by `of_features(f, p, k)`, or else `change(f)`."""
        of_features = of_features or (lambda f, p, k: change(f))
        feats = [[of_features(f, p, k) for k, f in enumerate(maps)] for p, maps in enumerate(self.feats)]
        start = None if self.start is None else change(self.start)
        return replace(self, eps_planes=change(self.eps_planes), feats=feats, start=start)

    def cut(self, fusion: Fusion, box: Box) -> Lifted:
        """The part within a box that begins at multiples of the coarsest grid, and ends at one or with the volume."""

        def part(f: torch.Tensor, p: int, k: int) -> torch.Tensor:
            return f[..., *slices_in(box, None if self.adapted else fusion.experts[p].dim, k, fusion.net.multiple)]

        return self.map(lambda v: v[..., *box], part)


def slices_in(box: Box, dim: int | None, level: int, multiple: int) -> Box:
    """`box` on the grid of feature maps of `level`, which is full along `dim`, the slices' axis, and coarser in plane.

    In plane, or with `dim` None everywhere, the maps cover multiples of `multiple` voxels.
    """
    coarse = (slice(b.start >> level, -(-b.stop // multiple) * multiple >> level) for b in box)
    return tuple(b if d == dim else c for d, b, c in zip((2, 3, 4), box, coarse))


class FeatureAdapters(nn.Module):
    """Brings one expert's feature maps onto the grid of the 3D encoder, level by level.

    Each level has a zero-initialised Conv3d; kernel and stride are 2^k along the slice axis and 1 in plane.
    """

    def __init__(self, dim: int, widths_2d: Sequence[int], widths_3d: Sequence[int]):
        super().__init__()
        self.dim = dim
        self.convs = nn.ModuleList()
        for level, (wide_2d, wide_3d) in enumerate(zip(widths_2d, widths_3d, strict=True)):
            size = [1, 1, 1]
            size[dim - 2] = 2**level
            self.convs.append(zero_init(nn.Conv3d(wide_2d, wide_3d, tuple(size), stride=tuple(size))))

    def forward(self, feats: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Maps on every level k of the padded 3D grid, from feats[k] [B, F, ..n..] with n slices along their axis."""
        multiple = 2 ** (len(self.convs) - 1)
        return [conv(pad_slices(f, self.dim, multiple)) for conv, f in zip(self.convs, feats)]


def pad_slices(feats: torch.Tensor, dim: int, multiple: int) -> torch.Tensor:
    """Repeat the last slice along `dim` until their number is a multiple of `multiple`."""
    missing = -feats.shape[dim] % multiple
    if not missing:
        return feats
    last = feats.narrow(dim, feats.shape[dim] - 1, 1)
    return torch.cat([feats, last.repeat_interleave(missing, dim)], dim=dim)


def check_levels(expert: nn.Module, net: UNet) -> None:
    """Raise `InputError` where feature maps of an expert would not lie on the grids of the 3D network."""
    levels = len(expert.net.widths) if isinstance(expert, SliceExpert) else 0
    if levels != len(net.widths):
        raise InputError(
            f"an expert has feature maps of {levels} levels, the 3D network has {len(net.widths)}: "
            "give both as many, or set features=False"
        )
    if expert.net.multiple != net.multiple:
        raise InputError(
            f"an expert takes images of multiples of {expert.net.multiple}, the 3D network volumes of multiples of "
            f"{net.multiple}: their feature maps would not lie on each other; set features=False"
        )


class Fusion(Denoiser):
    """The fusion of frozen experts, which is a denoiser itself.

    experts: P denoisers, frozen here and always in evaluation mode: `SliceExpert`s, or, without feature maps, anything
    with `eps = expert(xt, y, t, coords)` and a `schedule`. degradation: of the measurement in `y`, if there is one; a
    linear start projects onto it as the sampler does. Trainable parameters are those of `net` and `adapters`.
    At initialisation the output is exactly the uniform average of the experts.

    Raises `InputError` where the experts' feature maps do not fit the levels of the 3D network.
    """

    def __init__(
        self,
        experts: Sequence[nn.Module],
        conditions: int,
        unet: UNetConfig,
        config: FusionConfig,
        degradation: Degradation | None = None,
    ):
        super().__init__()
        self.schedule, self.of_residual = same_schedule(experts), same_target(experts)
        self.experts = nn.ModuleList(experts).requires_grad_(False)
        self.config, self.prediction = config, config.prediction
        # Of another degradation a patch would not have its own part of the measurement.
        self.degradation = degradation if degradation and degradation.is_local else None
        channels = channels_in(conditions) + len(experts) + config.linear
        self.net = UNet(3, channels, len(experts) + (config.gate != "plain"), unet)  # the gate's, and the residual
        # Volumes may be cut at multiples of `align`: coarse grids and blocks of the measurement stay whole.
        factor = self.degradation.factor if self.degradation else (1, 1, 1)
        self.align = tuple(math.lcm(self.net.multiple, f) for f in factor)
        self.adapters = nn.ModuleList()
        read = (experts if config.context else experts[:1]) if config.features else []
        for expert in read:
            if config.context:
                check_levels(expert, self.net)
            self.adapters.append(
                FeatureAdapters(expert.dim, expert.net.widths[: len(self.net.widths)], self.net.widths)
            )
        self.linear = None
        if config.linear:
            points = len(experts) + conditions + 1 + sum(expert.net.widths[0] for expert in read)
            self.linear = LinearCorrection(points, len(experts) if config.context else 0, self.schedule.steps)
        self.train(self.training)

    def train(self, mode: bool = True) -> Fusion:
        """Set the training mode of the 3D part only: active dropout would change the experts."""
        super().train(mode)
        self.experts.eval()
        return self

    def forward(self, xt, y, t, coords=None, box: Box | None = None) -> torch.Tensor:
        """`eps_hat` [B, 1, X, Y, Z] for `xt` [B, 1, X, Y, Z], conditions `y` [B, C, X, Y, Z] and step `t` [B].

        With a `box`, which must begin at multiples of `net.multiple`, the answer is the part within it. The experts
        still see whole slices, as their normalisation layers would answer otherwise for patches.
        """
        return self.fuse(xt, y, t, coords, box).eps

    def within(self, box: Box, xt, y, t, coords=None) -> torch.Tensor:
        """The fused noise prediction within `box`."""
        return self(xt, y, t, coords, box)

    def fuse(self, xt, y, t, coords=None, box: Box | None = None) -> Fused:
        """Eq. 6 with all of its parts, for gate maps and ablations; a head of more than `WINDOW` voxels in windows."""
        if coords is None:
            coords = coordinates(xt.shape[2:], xt.device)
        if box is not None:
            lifted = self.adapted(self.lift(xt, y, t, coords, box))
            return self.refine(lifted, xt[..., *box], y[..., *box], t, coords[..., *box])
        planes = WINDOW // xt[:, :, 0].numel()
        windows = list(overlapping(xt.shape[2], planes, HALO, self.align[0]))
        parts = (self._fuse_window(seen, own, xt, y, t, coords) for seen, own in windows)
        *volumes, eps_planes = next(parts) if len(windows) == 1 else joined_chunks(parts, 2, xt.shape[2])
        fused = self._ramped(Fused(*volumes, eps_planes[:, :, None]), t)
        return self._with_average_contrast(fused, xt, y, t)

    def _ramped(self, fused: Fused, t: torch.Tensor) -> Fused:
        """With the share of the correction that belongs to step `t`; Eq. 6 holds as before."""
        if not self.config.ramp:
            return fused
        share = (self.config.ramp * (1 - t.float() / self.schedule.steps)).clamp(0, 1)[:, None, None, None, None]
        average, equal = fused.eps_planes.mean(0), torch.full_like(fused.gate, 1 / len(self.experts))
        eps, gate = average.lerp(fused.eps, share), equal.lerp(fused.gate, share)
        return replace(fused, eps=eps, gate=gate, resid=share * fused.resid)

    def _fuse_window(self, seen: slice, own: slice, xt, y, t, coords) -> list[torch.Tensor]:
        """`eps`, `gate`, `resid` and `eps_planes` [P, B, ...] of planes `own` along X, given planes `seen`.

        The experts see whole slices all the same; those that are not sagittal run once more for each window.
        """
        box = (seen, *whole_box(xt)[1:])
        lifted = self.adapted(self.lift(xt, y, t, coords, box))
        fused = self._refine_in_head(lifted, xt[..., *box], y[..., *box], t, coords[..., *box])
        volumes = (fused.eps, fused.gate, fused.resid, fused.eps_planes[:, :, 0])
        return [own_part(v, (slice(own.start - seen.start, own.stop - seen.start), *box[1:])) for v in volumes]

    def lift(self, xt, y, t, coords=None, box: Box | None = None) -> Lifted:
        """Run the frozen experts, each once, and the linear correction: all that training the 3D part leaves fixed."""
        box = box or whole_box(xt)
        if not self.config.features:
            eps_planes = torch.stack([expert.within(box, xt, y, t, coords) for expert in self.experts])
            feats = []
        else:
            answers = [self._features(expert, xt, y, t, coords, box) for expert in self.experts]
            eps_planes, feats = torch.stack([eps for eps, _ in answers]), [feats for _, feats in answers]
            if not self.config.context:
                feats = [[torch.stack([maps[0] for maps in feats]).mean(0)]]
        lifted = Lifted(eps_planes, feats)
        if self.linear is None:
            return lifted
        xt, y = xt[..., *box], y[..., *box]
        start = self.linear(*self.linear_inputs(lifted, xt, y, t), t)
        return replace(lifted, start=start * (brain_channel(y) > 0))

    def adapted(self, lifted: Lifted) -> Lifted:
        """`lifted` with feature maps as the 3D network takes them: a fifth of the memory."""
        if lifted.adapted:
            return lifted
        levels = zip(*(adapt(f) for adapt, f in zip(self.adapters, lifted.feats)))
        maps = [sum(others, first) for first, *others in levels]
        return replace(lifted, feats=[maps] if maps else [], adapted=True)

    def linear_inputs(self, lifted: Lifted, xt, y, t) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The channels that a `LinearCorrection` reads at a voxel alone, and those that it reads around it too."""
        planes = self._outputs(lifted.eps_planes, xt, t)
        average = planes.mean(1, keepdim=True)
        points = [planes, y, xt, *(crop_like(feats[0], xt) for feats in lifted.feats)]
        around = torch.cat([self.estimate(average, y), (planes - average)[:, 1:]], dim=1)
        return points, around if self.config.context else around[:, :0]

    def estimate(self, x0: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """A clean estimate `x0` [B, 1, X, Y, Z] as the sampler uses it: clamped, and projected if the fusion can."""
        x0 = x0.clamp(-1.0, 1.0)
        return x0 if self.degradation is None else self.degradation.project(x0, y[:, :1])

    def with_kept_contrast(self, x0: torch.Tensor, average: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The truth `x0` to train on, with brightness and contrast of the `average` if the fusion keeps them."""
        return with_contrast_of(average, x0, brain_channel(y) > 0) if self.config.keep_contrast else x0

    def average_x0(self, eps_planes: torch.Tensor, xt, t) -> torch.Tensor:
        """The clean volume [B, 1, X, Y, Z], clamped, that the average of the experts' `eps_planes` predicts."""
        return self.schedule.x0_from_eps(eps_planes.mean(0), xt, t).clamp(-1.0, 1.0)

    def refine_head(self, lifted: Lifted, xt, y, t, coords) -> Fused:
        """Run the 3D network on whole volumes: in the box around the heads; outside it, the average stays.

        Background outside the box would take a third of the time; a fusion that works everywhere takes it. The
        average's contrast is only kept here, where the whole head is seen; for patches `refine` returns the network's
        own, which was trained on such truths.
        """
        return self._with_average_contrast(self._refine_in_head(lifted, xt, y, t, coords), xt, y, t)

    def _refine_in_head(self, lifted: Lifted, xt, y, t, coords) -> Fused:
        box = whole_box(y) if self.config.everywhere else brain_box(y, self.align)
        inner = self.refine(lifted.cut(self, box), xt[..., *box], y[..., *box], t, coords[..., *box])
        gate = torch.full_like(xt, 1 / len(self.experts)).repeat(1, len(self.experts), 1, 1, 1)
        eps, resid = combine(lifted.eps_planes, gate), torch.zeros_like(xt)
        for whole, part in zip((eps, gate, resid), (inner.eps, inner.gate, inner.resid)):
            whole[..., *box] = part.to(whole.dtype)
        return Fused(eps, gate, resid, lifted.eps_planes)

    def _with_average_contrast(self, fused: Fused, xt, y, t) -> Fused:
        if not self.config.keep_contrast:
            return fused
        x0 = self.schedule.x0_from_eps(fused.eps, xt, t).clamp(-1.0, 1.0)
        kept = with_contrast_of(self.average_x0(fused.eps_planes, xt, t), x0, brain_channel(y) > 0)
        return replace(fused, eps=self.schedule.eps_from_x0(kept, xt, t))

    def refine(self, lifted: Lifted, xt, y, t, coords) -> Fused:
        """Run the 3D network on volumes or on patches of them; all arguments are cut alike."""
        inject = next(iter(self.adapted(lifted).feats), None)
        out, _ = self.net(self._inputs(lifted, xt, y, t, coords), t, inject)
        out = crop_like(out, xt).float()
        gate, resid = self._gate(out[:, :-1]), self.config.residual_unit * out[:, -1:]
        resid = resid if self.config.everywhere else resid * (brain_channel(y) > 0)
        resid = resid if self.linear is None else resid + lifted.start
        unit = self.schedule.eps_per_output(self.prediction, xt, t)
        eps = combine(lifted.eps_planes, gate) + self.config.lam * unit * resid
        return Fused(eps, gate, resid, lifted.eps_planes)

    def _inputs(self, lifted: Lifted, xt, y, t, coords) -> torch.Tensor:
        """What the 3D network reads besides feature maps, on a grid that it can halve."""
        planes = self._outputs(lifted.eps_planes, xt, t)
        inputs = [network_inputs(xt, y, coords if self.config.coordinates else torch.zeros_like(coords)), planes]
        if self.linear is not None:
            average = planes.mean(1, keepdim=True)
            inputs[1:] = [self.estimate(average + lifted.start, y), (planes - average) / self.config.residual_unit]
        return pad_to_multiple(torch.cat(inputs, dim=1), self.net.multiple)

    def _outputs(self, eps_planes, xt, t) -> torch.Tensor:
        """The experts' predictions [B, P, X, Y, Z], in the quantity that the fusion predicts."""
        return torch.cat([self.schedule.prediction_from(self.prediction, eps, xt, t) for eps in eps_planes], dim=1)

    def _gate(self, logits: torch.Tensor) -> torch.Tensor:
        """The weights [B, P, X, Y, Z], with sum 1 over P; `affine` and `plain` are unbounded."""
        if self.config.gate == "plain":
            logits = torch.cat([logits, -logits.sum(dim=1, keepdim=True)], dim=1)
            return 1.0 / logits.shape[1] + logits
        if self.config.gate == "uniform":
            logits = torch.zeros_like(logits)
        if self.config.gate != "affine":
            return logits.softmax(dim=1)
        return 1.0 / logits.shape[1] + logits - logits.mean(dim=1, keepdim=True)

    def _features(self, expert: SliceExpert, xt, y, t, coords, box: Box):
        """An expert's `eps` [B, 1, ...] within `box`, and its feature maps of every level, joined from chunks."""
        answers = ([out, *feats] for out, feats in expert.lift(xt, y, t, coords, box))
        out, *feats = joined_chunks(answers, expert.dim, xt[..., *box].shape[expert.dim])
        return self.schedule.eps_from(expert.prediction, out, xt[..., *box], t), feats
