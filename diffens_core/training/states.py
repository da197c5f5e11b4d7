"""Training of a fusion (stage 2) on the states that its own sampler visits.

A fusion that learns from true images with noise meets other inputs when it samples: its own estimates with noise
(exposure bias). And such a training spends most of its time on running frozen experts. Here the sampler's own
trajectories through training heads are followed instead. In each of their steps the experts run once over the whole
head, and some patches of their predictions are kept, with the truth; the 3D network then takes many steps on these
patches. Each round gathers new patches, along trajectories that the fusion itself has corrected by then.

Such states are few, as experts are slow, and a network that sees few patches again and again learns them by heart:
with any optimiser and width, more steps on the same states gain little. What it can learn without experts it learns
first, from new patches in every step (`without_experts`).

The loss is the error of the estimate as the sampler uses it: clamped, and projected onto what was measured; in a task
without a measurement, its distance from the truth with the average's contrast (`models/contrast.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch

from ..data.planes import Box, coordinates, fitting_box
from ..data.prepared import Pair, PreparedData
from ..diffusion.batch import Batch
from ..diffusion.sampler import ddim_step, noise_for, noise_levels, timesteps
from ..models.fusion import Fused, Fusion, Lifted
from ..models.linear import NormalEquations
from ..networks.inputs import brain_box, brain_channel
from ..support.progress import Progress
from ..support.seeds import mix_seed
from ..support.settings import at_least, option

VOXELS = 20_000  # of each state that the least-squares fit looks at


@dataclass(frozen=True)
class StatesConfig:
    """Settings of a fusion's training on the states that its sampler visits.

    steps: of the trajectories; heads: how many are followed in a round; patches: about how many are kept in memory;
    rounds: how often states are gathered. fit: how many heads the least-squares start is fitted on.
    true: an ablation, states that are the true image with noise. vary: how much the brightness of heads is changed, see
    `varied`; also while the 3D network learns without experts.
    """

    steps: int
    heads: int
    patches: int
    rounds: int
    fit: int
    true: bool = option(False)
    vary: float = option(0.0)

    def __post_init__(self):
        at_least("vary", self.vary, 0)
        for key in ("steps", "heads", "patches", "rounds", "fit"):
            at_least(key, getattr(self, key), 1)


@dataclass(frozen=True)
class Visit:
    """A state of the sampler, a patch of one, or a batch of these, with the experts' predictions and the truth.

    x0, xt: [B, 1, X, Y, Z]; y: [B, C, X, Y, Z]; coords: [B, 3, X, Y, Z]; t: [B] int64; lifted: from the experts. If the
    fusion keeps contrast, `x0` is the truth with the contrast of the experts' average in this state.
    """

    x0: torch.Tensor
    xt: torch.Tensor
    y: torch.Tensor
    coords: torch.Tensor
    t: torch.Tensor
    lifted: Lifted

    def loss(self, fusion: Fusion) -> torch.Tensor:
        """Mean squared error, within the head, of the sampler's clean estimate from the fusion's prediction."""
        fused = fusion.refine(self.lifted, self.xt, self.y, self.t, self.coords)
        error = (self.estimate(fusion, fused.eps) - self.x0) * (brain_channel(self.y) > 0)
        return error.square().mean()

    def fused(self, fusion: Fusion) -> Fused:
        """The fusion's prediction for a whole head."""
        return fusion.refine_head(self.lifted, self.xt, self.y, self.t, self.coords)

    def estimate(self, fusion: Fusion, eps: torch.Tensor) -> torch.Tensor:
        """The clean estimate [B, 1, X, Y, Z] that the sampler makes of `eps`: clamped and projected."""
        return fusion.estimate(fusion.schedule.x0_from_eps(eps, self.xt, self.t), self.y)

    def cut(self, fusion: Fusion, box: Box) -> Visit:
        """The part within a box that suits `Lifted.cut`; a view of the same memory."""
        own = {name: getattr(self, name)[..., *box] for name in ("x0", "xt", "y", "coords")}
        return Visit(**own, t=self.t, lifted=self.lifted.cut(fusion, box))

    def to(self, device) -> Visit:
        """This visit on another device."""
        own = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "lifted"}
        return Visit(**own, lifted=self.lifted.map(lambda v: v.to(device)))


@dataclass(frozen=True)
class Head:
    """A training head, or its mirror image. x0: [1, 1, X, Y, Z]; y: [1, C, X, Y, Z]; coords: [1, 3, X, Y, Z]."""

    x0: torch.Tensor
    y: torch.Tensor
    coords: torch.Tensor

    @classmethod
    def of(cls, pair: Pair, mirror: bool, device) -> Head:
        parts = (pair.x0[None], pair.y[None], coordinates(pair.x0.shape[1:]))
        return cls(*((v.flip(2) if mirror else v).to(device) for v in parts))

    def visit(self, fusion: Fusion, xt: torch.Tensor, t: int) -> Visit:
        """Run the experts on the state `xt` [1, 1, X, Y, Z] at step `t`."""
        step = torch.tensor([t], device=xt.device)
        lifted = fusion.lift(xt, self.y, step, self.coords)
        x0 = fusion.with_kept_contrast(self.x0, fusion.average_x0(lifted.eps_planes, xt, step), self.y)
        return Visit(x0, xt, self.y, self.coords, step, lifted)


def without_experts(fusion: Fusion, batch: Batch, nearest: int) -> Visit:
    """The states that the sampler would visit if every expert predicted channel `nearest` of `y`.

    They cost no expert's run, so every step can have new windows: the 3D network learns from them what it can without
    experts, before it sees the few states that these were run on. If the fusion keeps contrast, it is that of this
    channel, window by window.
    """
    known = batch.y[:, [nearest]]
    xt = fusion.schedule.add_noise(fusion.estimate(known, batch.y), batch.eps, batch.t)
    eps = fusion.schedule.eps_from_x0(known, xt, batch.t)
    start = None if fusion.linear is None else torch.zeros_like(known)
    lifted = Lifted(torch.stack([eps] * len(fusion.experts)), [], start)
    x0 = fusion.with_kept_contrast(batch.x0, known, batch.y)
    return Visit(x0, xt, batch.y, batch.coords, batch.t, lifted)


def own_states(fusion: Fusion, head: Head, noise: torch.Tensor, times: Sequence[int], answer) -> Iterator[Visit]:
    """Every state that the sampler visits on its way from `noise` [1, 1, X, Y, Z], as `ddim` in `diffusion/sampler.py`.

    answer: gives `eps` for a visit; it is not called at the last state, where the trajectory ends.
    """
    xt = noise
    for t, after in noise_levels(fusion.schedule, times):
        visit = head.visit(fusion, xt, t)
        yield visit
        if after < 1.0:
            x0_hat = visit.estimate(fusion, answer(visit))
            xt = ddim_step(fusion.schedule, xt, x0_hat, t, after, 0.0, None)


def true_states(fusion: Fusion, head: Head, noise: torch.Tensor, times: Sequence[int], answer) -> Iterator[Visit]:
    """The true image with noise of the same levels: states that no sampler visits, on which the paper trains."""
    for t in times:
        yield head.visit(fusion, fusion.schedule.add_noise(head.x0, noise, torch.tensor([t])), t)


@torch.no_grad()
def follow_heads(
    fusion: Fusion, data: PreparedData, config: StatesConfig, seed: int, device, round: int, note: str, answer
) -> Iterator[tuple[Visit, int, torch.Generator]]:
    """Follow trajectories through `config.heads` heads, moved and mirrored at random; each round takes the next heads.

    Their order is drawn: by name, heads of one site follow one another, and a few would be of that site alone.
    Yields every state, the number of states of its trajectory, and a generator for further draws. Every other
    trajectory has shifted times, so that all noise levels are visited.
    """
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(mix_seed(seed, "heads")))
    with Progress(note, config.heads) as bar:
        for k in range(config.heads):
            number = round * config.heads + k
            draw = torch.Generator().manual_seed(mix_seed(seed, number, "trajectory"))
            pair = data.moved(int(order[number % len(data)]), draw, config.vary)
            head = Head.of(pair, bool(torch.rand(1, generator=draw) < 0.5), device)
            noise = noise_for(pair.subject, [0], mix_seed(seed, number), head.x0.shape[2:], device)
            times = timesteps(fusion.schedule, config.steps)
            if (number // len(data) + number) % 2:
                times = shifted(times, fusion.schedule.steps, draw)
            for visit in (true_states if config.true else own_states)(fusion, head, noise, times, answer):
                yield visit, len(times), draw
            bar.update(k + 1, pair.subject)


def shifted(times: list[int], steps: int, draw: torch.Generator) -> list[int]:
    """The first of the `times`, then all of them shifted down together by a random part of their spacing."""
    shift = float(torch.rand(1, generator=draw)) * steps / len(times)
    later = [int(t - shift) for t in times]
    return sorted({times[0], *(t for t in later if t >= 0)}, reverse=True)


def fit_linear(fusion: Fusion, data: PreparedData, config: StatesConfig, seed: int, device) -> None:
    """Fit the linear correction to the error of the experts' average, on the states that the average visits."""
    equations = NormalEquations(fusion.linear)
    config = replace(config, heads=config.fit)
    follow = (fusion, data, config, mix_seed(seed, "fit"), device, 0, "least squares")
    for visit, _, draw in follow_heads(*follow, answer=lambda visit: visit.lifted.eps_planes.mean(0)):
        head = torch.nonzero((brain_channel(visit.y) > 0).flatten()).flatten().cpu()
        where = head[torch.randperm(len(head), generator=draw)[:VOXELS]].to(device)
        points, around = fusion.linear_inputs(visit.lifted, visit.xt, visit.y, visit.t)
        left = (visit.x0 - points[0].mean(1, keepdim=True)).flatten()[where]
        equations.add(fusion.linear.rows(points, around, where), left, visit.t)
    equations.solve()


class Pool:
    """The patches, about `config.patches` of them, that were gathered in one round."""

    def __init__(self, patches: list[Visit], round: int):
        self.patches, self.round = patches, round

    @classmethod
    def gather(
        cls, fusion: Fusion, data: PreparedData, config: StatesConfig, seed: int, device, size, round: int
    ) -> Pool:
        """Follow trajectories of the fusion as it is now; of each state keep equally many patches of `size`.

        They lie anywhere in the box around the head, so that normalisation layers see as much background as in the
        whole box.
        """
        patches = []
        each = config.patches / config.heads
        follow = (fusion, data, config, seed, device, round, f"states, round {round + 1} of {config.rounds}")
        for visit, count, draw in follow_heads(*follow, answer=lambda visit: visit.fused(fusion).eps):
            wanted = each / count
            inner = brain_box(visit.y, fusion.align)
            for _ in range(int(wanted) + int(torch.rand(1, generator=draw) < wanted % 1)):
                box = fitting_box(visit.x0.shape[2:], size, fusion.align, draw, inner)
                patches.append(collate([visit.cut(fusion, box)]).to("cpu"))  # a copy, not a view of the whole state
        return cls(patches, round)

    def batch(self, numbers: range, seed: int, step: int, device) -> Visit:
        """Random patches, one for each of the sample `numbers` of a training step."""
        generators = (torch.Generator().manual_seed(mix_seed(seed, step, i)) for i in numbers)
        chosen = [int(torch.randint(len(self.patches), (1,), generator=g)) for g in generators]
        return collate([self.patches[i] for i in chosen]).to(device)


def collate(visits: Sequence[Visit]) -> Visit:
    """Join several visits into one batch."""
    own = {name: torch.cat([getattr(v, name) for v in visits]) for name in ("x0", "xt", "y", "coords", "t")}
    lifted = [v.lifted for v in visits]
    feats = [[torch.cat(maps) for maps in zip(*levels)] for levels in zip(*(one.feats for one in lifted))]
    start = None if lifted[0].start is None else torch.cat([one.start for one in lifted])
    return Visit(**own, lifted=Lifted(torch.cat([one.eps_planes for one in lifted], dim=1), feats, start))
