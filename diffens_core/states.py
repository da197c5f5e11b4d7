"""The states that a fusion's own sampler meets, gathered to train on (stage 2).

A fusion that learns from true images with noise meets something else when it samples: its own estimates with noise
(exposure bias). And most of such a training runs frozen experts again and again. Here a training head is followed along
the sampler's own trajectory. In each step the experts run once over the whole head, and some patches of what they say
are kept, with the truth; the 3D network then takes many steps on these patches. From time to time the patches are
gathered anew, along trajectories that the fusion itself has corrected by then.

What is minimised is the error of the estimate as the sampler uses it: clamped, and projected onto what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch

from .config import StatesConfig
from .data import Pair, PreparedData
from .degrade import FACTOR
from .fusion import Fused, Fusion, Lifted
from .inputs import brain_channel, coordinates
from .linear import NormalEquations
from .planes import Box
from .progress import Progress
from .sampler import ddim, mix_seed, noise_for, timesteps

VOXELS = 20_000  # of each state that the least-squares fit looks at


@dataclass(frozen=True)
class Visit:
    """A state that was met, or a patch of one, or a batch of these: what it is, what the experts say of it, the truth.

    x0, xt: [B, 1, X, Y, Z]; y: [B, C, X, Y, Z]; coords: [B, 3, X, Y, Z]; t: [B] int64.
    """

    x0: torch.Tensor
    xt: torch.Tensor
    y: torch.Tensor
    coords: torch.Tensor
    t: torch.Tensor
    lifted: Lifted

    def loss(self, fusion: Fusion) -> torch.Tensor:
        """Mean squared error, within the head, of the clean estimate that the sampler makes of the fusion's answer."""
        fused = fusion.refine(self.lifted, self.xt, self.y, self.t, self.coords)
        error = (self.estimate(fusion, fused) - self.x0) * (brain_channel(self.y) > 0)
        return error.square().mean()

    def estimate(self, fusion: Fusion, fused: Fused) -> torch.Tensor:
        """`x0_hat` [B, 1, X, Y, Z], clamped and projected."""
        return fusion.estimate(fusion.schedule.x0_from_eps(fused.eps, self.xt, self.t), self.y)

    def cut(self, fusion: Fusion, box: Box) -> Visit:
        """The part within a box that begins at multiples of the coarsest grids."""
        lifted = self.lifted
        feats = [
            [f[..., *slices_in(box, expert.dim, k)].clone() for k, f in enumerate(maps)]
            for expert, maps in zip(fusion.experts, lifted.feats)
        ]
        own = {name: getattr(self, name)[..., *box].clone() for name in ("x0", "xt", "y", "coords")}
        start = None if lifted.start is None else lifted.start[..., *box].clone()
        return Visit(**own, t=self.t, lifted=Lifted(lifted.eps_planes[..., *box].clone(), feats, start))


class Watched:
    """A fusion as the sampler runs it, whose last state can be looked at."""

    def __init__(self, fusion: Fusion, pair: Pair, mirror: bool, device):
        flip = (lambda v: v.flip(2)) if mirror else (lambda v: v)
        self.fusion, self.schedule = fusion, fusion.schedule
        self.x0, self.y = (flip(v[None].to(device)) for v in (pair.x0, pair.y))
        self.coords = flip(coordinates(self.x0.shape[2:], device))

    def __call__(self, xt, y, t) -> torch.Tensor:
        lifted = self.fusion.lift(xt, y, t, self.coords)
        self.state = Visit(self.x0, xt, y, self.coords, t, lifted)
        return self.fusion.refine(lifted, xt, y, t, self.coords).eps

    def trajectory(self, subject: str, seed: int, steps) -> Iterator[Visit]:
        """Every state of the sampler on its way from noise to an answer."""
        noise = noise_for(subject, [0], seed, self.x0.shape[2:], self.x0.device)
        for _ in ddim(self, self.y, noise, steps, project=self.fusion.project):
            yield self.state


@torch.no_grad()
def follow_heads(
    fusion: Fusion, data: PreparedData, config: StatesConfig, seed: int, device, round: int, note: str
) -> Iterator[tuple[Visit, int, torch.Generator]]:
    """Every state of trajectories of `config.heads` heads, each with a generator of its own; heads take turns by round.

    Every other trajectory has times of its own, so that all noise levels are visited.
    """
    bar = Progress(note, config.heads)
    for k in range(config.heads):
        number = round * config.heads + k
        draw = torch.Generator().manual_seed(mix_seed(seed, number, "trajectory"))
        pair = data[number % len(data)]
        watched = Watched(fusion, pair, bool(torch.rand(1, generator=draw) < 0.5), device)
        times = timesteps(fusion.schedule, config.steps)
        if (number // len(data) + number) % 2:
            times = shifted(times, fusion.schedule.steps, draw)
        for state in watched.trajectory(pair.subject, mix_seed(seed, number), times):
            yield state, len(times), draw
        bar.update(k + 1, pair.subject)


def shifted(times: list[int], steps: int, draw: torch.Generator) -> list[int]:
    """The first of the `times`, then all of them moved down together by a random part of their distance."""
    shift = float(torch.rand(1, generator=draw)) * steps / len(times)
    later = [int(t - shift) for t in times]
    return sorted({times[0], *(t for t in later if t >= 0)}, reverse=True)


def fit_linear(fusion: Fusion, data: PreparedData, config: StatesConfig, seed: int, device) -> None:
    """Fit the linear correction to what the average of the experts leaves, on the states that the average meets."""
    equations = NormalEquations(fusion.linear)
    for state, _, draw in follow_heads(fusion, data, config, mix_seed(seed, "fit"), device, 0, "least squares"):
        head = torch.nonzero((brain_channel(state.y) > 0).flatten()).flatten().cpu()
        where = head[torch.randperm(len(head), generator=draw)[:VOXELS]].to(device)
        points, around = fusion.linear_inputs(state.lifted, state.xt, state.y, state.t)
        left = (state.x0 - points[0].mean(1, keepdim=True)).flatten()[where]
        equations.add(fusion.linear.rows(points, around, where), left, state.t)
    equations.solve()


class Pool:
    """Patches of the states of one round, `config.patches` of them at most."""

    def __init__(self, patches: list[Visit], round: int):
        self.patches, self.round = patches, round

    @classmethod
    def gather(
        cls, fusion: Fusion, data: PreparedData, config: StatesConfig, seed: int, device, size, round: int
    ) -> Pool:
        """Follow trajectories of the fusion as it is, and keep patches of `size` from all of their states alike."""
        patches, align = [], math.lcm(fusion.net.multiple, FACTOR)
        each = config.patches / config.heads
        label = f"states, round {round + 1} of {config.rounds}"
        for state, count, draw in follow_heads(fusion, data, config, seed, device, round, label):
            wanted = each / count
            for _ in range(int(wanted) + int(torch.rand(1, generator=draw) < wanted % 1)):
                box = fitting_box(state.x0.shape[2:], size, align, draw)
                patches.append(_to(state.cut(fusion, box), "cpu"))
        return cls(patches, round)

    def batch(self, numbers: range, seed: int, step: int, device) -> Visit:
        """Random patches for the given sample numbers of one training step."""
        generators = (torch.Generator().manual_seed(mix_seed(seed, step, i)) for i in numbers)
        chosen = [int(torch.randint(len(self.patches), (1,), generator=g)) for g in generators]
        return _to(collate([self.patches[i] for i in chosen]), device)


def fitting_box(shape, size, align: int, draw: torch.Generator) -> Box:
    """A random box of `size` within `shape`, or of what there is, that begins and ends at multiples of `align`."""
    size = [min(s, n) // align * align for s, n in zip(size, shape)]
    starts = [align * int(torch.randint((n - s) // align + 1, (1,), generator=draw)) for s, n in zip(size, shape)]
    return tuple(slice(a, a + s) for a, s in zip(starts, size))


def slices_in(box: Box, dim: int, level: int) -> Box:
    """`box` on the grid of feature maps of `level`: finer along `dim`, where slices are, than in plane."""
    return tuple(b if d == dim else slice(b.start >> level, b.stop >> level) for d, b in zip((2, 3, 4), box))


def collate(states: list[Visit]) -> Visit:
    """One batch of several."""
    own = {name: torch.cat([getattr(s, name) for s in states]) for name in ("x0", "xt", "y", "coords", "t")}
    lifted = [s.lifted for s in states]
    feats = [[torch.cat(maps) for maps in zip(*levels)] for levels in zip(*(one.feats for one in lifted))]
    start = None if lifted[0].start is None else torch.cat([one.start for one in lifted])
    return Visit(**own, lifted=Lifted(torch.cat([one.eps_planes for one in lifted], dim=1), feats, start))


def _to(state: Visit, device) -> Visit:
    own = {f.name: getattr(state, f.name).to(device) for f in fields(state) if f.name != "lifted"}
    lifted = state.lifted
    feats = [[f.to(device) for f in maps] for maps in lifted.feats]
    start = None if lifted.start is None else lifted.start.to(device)
    return Visit(**own, lifted=Lifted(lifted.eps_planes.to(device), feats, start))
