"""2D diffusion models applied to volumes, and the rules that average several of them: TPDM, TOSM, MADM.

All are denoisers: `eps = denoiser(xt, y, t)` on volumes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn as nn

from ..data.planes import Box
from ..diffusion.model import Denoiser, Translator
from ..diffusion.residual import of_residuals, residual
from ..diffusion.sampler import Step, average_of_samples, timesteps
from ..diffusion.schedule import Schedule
from ..networks.inputs import EXTRA_CHANNELS, network_inputs
from ..networks.lifting import SliceNet, VolumeNet
from ..support.errors import InputError

PRIOR_LEVEL = 0.2  # MADM starts at t = 200 of 1000


def channels_in(conditions: int, slab: int = 0) -> int:
    """Input channels of a diffusion network for that many condition volumes, of 2 slab + 1 slices each."""
    return 1 + conditions * (2 * slab + 1) + EXTRA_CHANNELS


class SliceExpert(SliceNet, Denoiser):
    """A 2D diffusion model that runs over all slices of its plane (Palette).

    net: takes [N, channels_in, h, w]; prediction: `v`, `eps` or `x0`, the quantity that it predicts.
    slab: neighbours on either side whose conditions it reads too (2.5D). reads: the channels of `y` that it was trained
    on, in its own order, where it works beside experts with other conditions (Sec. 3.4); None: all.
    """

    def __init__(
        self,
        net: nn.Module,
        plane: str,
        schedule: Schedule,
        prediction: str,
        slab: int = 0,
        reads: Sequence[int] | None = None,
    ):
        super().__init__(net, plane)
        self.schedule, self.prediction = schedule, prediction
        self.slab, self.neighbours = slab, (self.dim, slab)
        self.reads = None if reads is None else list(reads)

    def forward(self, xt, y, t, coords=None, box: Box | None = None) -> torch.Tensor:
        """Noise prediction `eps_p` [B, 1, X, Y, Z] (Eq. 4) for `xt` [B, 1, X, Y, Z], `y` [B, C, X, Y, Z], `t` [B]."""
        out = self.run(self._inputs(xt, y, coords), t, box)
        return self.schedule.eps_from(self.prediction, out, xt if box is None else xt[..., *box], t)

    def within(self, box: Box, xt, y, t, coords=None) -> torch.Tensor:
        """The noise prediction within `box`; only the slices through it are run."""
        return self(xt, y, t, coords, box)

    def lift(self, xt, y, t, coords=None, box: Box | None = None) -> Iterator[tuple[torch.Tensor, list[torch.Tensor]]]:
        """The raw output and the feature maps of the 2D network, chunk by chunk: see `SliceNet.chunks`."""
        return self.chunks(self._inputs(xt, y, coords), t, box)

    def _inputs(self, xt, y, coords) -> torch.Tensor:
        return network_inputs(xt, y if self.reads is None else y[:, self.reads], coords, (self.dim, self.slab))


class VolumeDenoiser(VolumeNet, Denoiser):
    """A 3D diffusion model on its own (Palette-3D, Med-DDPM)."""

    def __init__(self, net: nn.Module, schedule: Schedule, prediction: str):
        super().__init__(net)
        self.schedule, self.prediction = schedule, prediction

    def forward(self, xt, y, t, coords=None) -> torch.Tensor:
        """`eps` [B, 1, X, Y, Z] for `xt` [B, 1, X, Y, Z], `y` [B, C, X, Y, Z] and steps `t` [B]."""
        return self.schedule.eps_from(self.prediction, self.run(network_inputs(xt, y, coords), t), xt, t)


def combine(eps_planes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """`sum_p w_p eps_p` (Eq. 6). eps_planes: [P, B, 1, X, Y, Z]; weights: [B, P, X, Y, Z] or [1, P, 1, 1, 1]."""
    return (weights.movedim(1, 0)[:, :, None] * eps_planes).sum(0)


class Average(Denoiser):
    """Denoisers combined by a rule: TPDM for two planes, TOSM for three, MADM for three of 2.5D slabs.

    rule: gives the P weights at step `t`, with sum 1. An expert of weight 0 is not run. Raises `InputError` where the
    rule is for another number of experts.
    """

    def __init__(self, experts: Sequence[nn.Module], rule: Callable[[int], Sequence[float]] | None = None):
        super().__init__()
        self.experts = nn.ModuleList(experts)
        self.schedule, self.of_residual = same_schedule(experts), same_target(experts)
        self.rule = rule or average(len(experts))

    def forward(self, xt, y, t, coords=None) -> torch.Tensor:
        """`eps` [B, 1, X, Y, Z]; all of `t` [B] must be the same step, as in sampling, else it raises `InputError`."""
        if (t != t[0]).any():
            raise InputError("a rule weighs experts by the sampling step: all steps of a batch must be the same")
        weights = self.rule(int(t[0]))
        if len(weights) != len(self.experts):
            raise InputError(f"the rule weighs {len(weights)} experts, not {len(self.experts)}")
        used = [(expert, weight) for expert, weight in zip(self.experts, weights) if weight]
        weights = torch.tensor([weight for _, weight in used], device=xt.device).reshape(1, -1, 1, 1, 1)
        return combine(torch.stack([expert(xt, y, t, coords) for expert, _ in used]), weights)


class SampleAverage(nn.Module, Translator):
    """MADM's own mode: the experts' samples are averaged after each ancestral step, not their noise predictions.

    prior: a translator whose sample, with noise, the steps start from, at `PRIOR_LEVEL` of the schedule; None: noise.
    """

    def __init__(self, experts: Sequence[nn.Module], prior: Translator | None = None):
        super().__init__()
        self.experts, self.prior = nn.ModuleList(experts), prior
        self.schedule, self.of_residual = same_schedule(experts), same_target(experts)

    def trajectory(self, y, noise, steps, *, project=None, generator=None) -> Iterator[Step]:
        """The steps of `average_of_samples` in `diffusion/sampler.py`; from a prior no more than there are levels."""
        sampler = of_residuals(average_of_samples) if self.of_residual else average_of_samples
        if self.prior is not None:
            *_, last = self.prior.trajectory(y, noise, steps, project=project, generator=generator)
            x0 = residual(last.x0_hat, y) if self.of_residual else last.x0_hat
            level = max(1, round(PRIOR_LEVEL * self.schedule.steps))
            steps = timesteps(self.schedule, min(steps, level), below=level)
            noise = self.schedule.add_noise(x0, noise, torch.tensor([steps[0]] * len(y)))
        return sampler(self.experts, y, noise, steps, project=project, generator=generator)


class RandomPlane(nn.Module, Translator):
    """Two experts of which one is drawn in each step of each sample; p: the probability of the second one."""

    def __init__(self, experts: Sequence[nn.Module], p: float):
        super().__init__()
        if not 0 <= p <= 1:
            raise InputError(f"a probability lies between 0 and 1, not at {p}")
        self.experts, self.p = nn.ModuleList(experts), p
        self.schedule = same_schedule(experts)

    def trajectory(self, y, noise, steps, *, project=None, generator=None) -> Iterator[Step]:
        """Deterministic DDIM but for the choice of planes, which is drawn from `generator`."""
        rule = random(self.p, timesteps(self.schedule, steps), generator)
        return Average(self.experts, rule).trajectory(y, noise, steps, project=project)


def average(planes: int) -> Callable[[int], Sequence[float]]:
    """The rule that weighs all experts alike in every step."""
    return lambda t: [1.0 / planes] * planes


def alternate(every: int, times: Sequence[int]) -> Callable[[int], Sequence[float]]:
    """TPDM's rule for two experts: the second one in every `every`-th of the sampling `times`, else the first."""
    if every < 2:
        raise InputError(f"alternate(every) needs at least 2, not {every}: with 1 the first expert is never used")
    order = list(times)  # unlike a set, a list's `index` raises an error for a step that is not among them
    return lambda t: [0.0, 1.0] if order.index(t) % every == every - 1 else [1.0, 0.0]


def random(p: float, times: Sequence[int], generator: torch.Generator | None) -> Callable[[int], Sequence[float]]:
    """The released code's rule for two experts: the second with probability `p`, drawn for each of the `times`."""
    second = torch.rand(len(times), generator=generator) < p
    weights = {t: [0.0, 1.0] if drawn else [1.0, 0.0] for t, drawn in zip(times, second)}
    return weights.__getitem__


def same_schedule(models: Sequence[nn.Module]) -> Schedule:
    """The schedule that all `models` share; raises `InputError` for none, or one of another."""
    if not models:
        raise InputError("there are no models to combine")
    first = models[0].schedule
    if any(model.schedule != first for model in models):
        raise InputError("these models were trained with different noise schedules and cannot be combined")
    return first


def same_target(models: Sequence[nn.Module]) -> bool:
    """Whether all `models` denoise residuals; raises `InputError` where some do and others denoise targets."""
    found = {getattr(model, "of_residual", False) for model in models}
    if len(found) > 1:
        raise InputError("some of these models denoise residuals and others targets: they cannot be combined")
    return found.pop()
