"""The training loop of all models and stages; an interrupted training resumes bit for bit.

A denoiser is trained by `denoising_loss`. Any other model brings its `objectives`: a loss for each group of its
parameters, with an optimiser of its own (a GAN has two). The models that it builds on, its `experts`, stay fixed.

Windows, noise and dropout of step s are drawn from seeds that depend on (seed, s), so there is no random state to
lose: after a kill the run goes on exactly as it would have.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import pandas as pd
import torch
import torch.nn as nn
from accelerate import Accelerator

from ..data.crops import Cropping
from ..data.planes import Box, random_box
from ..data.prepared import PreparedData
from ..diffusion.batch import Batch, with_noise
from ..diffusion.model import Trainable
from ..diffusion.schedule import PREDICTIONS
from ..networks.precision import autocast, fastest_precision
from ..support.cost import Spent, forget_peak, peak_memory, write_cost
from ..support.device import keep_freed_memory
from ..support.errors import DiffensError
from ..support.files import explained, write_atomically
from ..support.records import read_records
from ..support.seeds import mix_seed
from ..support.settings import ConfigError, at_least, one_of, option
from .checkpoints import load_checkpoint, save_checkpoint
from .muon import Muon
from .states import Pool, StatesConfig, Visit, fit_linear, without_experts

LOG_EVERY = 10
LOG = ("step", "loss", "lr")  # columns of log.csv
LOGGED = re.compile(r"\d{1,9}(,[-+.\w]+){2}", re.ASCII)  # a row of it


@dataclass(frozen=True)
class Phase:
    """A phase of a training: `steps` optimiser steps on whole volumes, or on parts of them.

    crop: the model sees only random windows of so many voxels; 1 along an axis makes slices, for 2D models.
    patch: a fusion works in random boxes of so many voxels, while its experts see the whole slices through them.
    alone: the 3D network of a fusion learns without its experts (`without_experts` in `training/states.py`).
    """

    steps: int
    batch: int
    lr: float
    crop: tuple[int, ...] | None = None
    patch: tuple[int, ...] | None = None
    alone: bool = option(False)

    def __post_init__(self):
        at_least("steps", self.steps, 1)
        at_least("batch", self.batch, 1)
        for key, size in (("crop", self.crop), ("patch", self.patch)):
            if size is not None and (len(size) != 3 or min(size) < 1):
                raise ConfigError(f"{key} must be three positive numbers, not {size}")


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training, whose `phases` follow one another.

    ema: decay of the averaged weights; warmup, decay: shape of the learning rate in each phase.
    loss: the quantity whose squared error is minimised. `eps` is the paper's (Eqs. 2, 5); whatever the network
    predicts, `v` and `x0` differ from it by a weight that depends on the noise level alone: 1 / alpha_bar, and
    1 / alpha_bar - 1. norm: `l2`, or `l1` for the absolute error (Med-DDPM); beta1: Adam's. move_every: after how many
    steps training heads are moved, see `PreparedData.moved` (0: never). optimizer: `adam`, or `muon` (see `muon.py`).
    decay: `constant`, `cosine` to zero, `tail` (constant, then linear to zero over the second half: pix2pix), or
    `exponential` (0.99 per 1000 steps: I2SB). clip: the largest norm of a gradient (0: any); mirror: whether half of
    the heads are mirrored; spread: whether noise levels are spread evenly over the steps, or drawn one by one.
    """

    phases: tuple[Phase, ...]
    loss: str = "v"
    ema: float = 0.9999
    accumulate: int = 1
    warmup: int = 0
    decay: str = "constant"
    save_every: int = 500
    norm: str = option("l2")
    beta1: float = option(0.9)
    states: StatesConfig | None = option(None)
    move_every: int = option(0)
    optimizer: str = option("adam")
    clip: float = option(1.0)
    mirror: bool = option(True)
    spread: bool = option(True)

    def __post_init__(self):
        one_of("optimizer", self.optimizer, ("adam", "muon"))
        at_least("move_every", self.move_every, 0)
        at_least("clip", self.clip, 0)
        one_of("loss", self.loss, PREDICTIONS)
        one_of("decay", self.decay, ("constant", "cosine", "tail", "exponential"))
        one_of("norm", self.norm, ("l2", "l1"))
        at_least("accumulate", self.accumulate, 1)
        at_least("save_every", self.save_every, 1)
        if not self.phases:
            raise ConfigError("phases must not be empty")
        alone = [phase.alone for phase in self.phases]
        if any(alone) and (self.states is None or alone != sorted(alone, reverse=True) or all(alone)):
            raise ConfigError("only a fusion on the states of its sampler begins alone, and it ends with its experts")

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    @property
    def steps_alone(self) -> int:
        """The number of first steps in which a fusion learns without its experts."""
        return sum(phase.steps for phase in self.phases if phase.alone)

    def round(self, step: int) -> int:
        """The round of gathering states that `step` (from 0) belongs to; -1 while a fusion learns without experts."""
        step -= self.steps_alone
        return step * self.states.rounds // (self.steps - self.steps_alone) if step >= 0 else -1


class TrainingError(DiffensError, RuntimeError):
    """Training cannot go on; the message says in one line where it stands and what to do."""


@dataclass(frozen=True)
class Stats:
    """Progress after optimiser step `step` of `total`: mean `loss` since the last log, learning rate `lr`.

    The losses of several objectives are added up. begun: the step of the checkpoint that the training goes on from.
    """

    step: int
    total: int
    loss: float
    lr: float
    begun: int = 0


def loss_box(model: nn.Module, phase: Phase, shape, seed: int, step: int) -> Box | None:
    """The box in which the loss of this step is taken, the same for all samples; None: everywhere.

    A fusion has a random box of `phase.patch`, a 2.5D expert the slices that have all their neighbours.
    """
    if phase.patch is not None:
        generator = torch.Generator().manual_seed(mix_seed(seed, step, "patch"))
        return random_box(shape, phase.patch, model.net.multiple, generator)
    dim, slab = model.neighbours
    if slab:
        return tuple(slice(slab, n - slab) if d == dim else slice(0, n) for d, n in zip((2, 3, 4), shape))
    return None


def objectives_of(model: Trainable, config: TrainConfig) -> Mapping[str, Callable[..., torch.Tensor]]:
    """The model's own objectives, or, for a fusion that learns on its sampler's states, the loss of such a `Visit`."""
    return {"": lambda visit, config, box: visit.loss(model)} if config.states else model.objectives()


def own_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters and buffers of a run's model, by name, without those of the runs that it builds on."""
    return {n: v for n, v in model.state_dict(keep_vars=True).items() if not n.startswith("experts.")}


def trainable(model: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters that a run trains, by name."""
    return {name: tensor for name, tensor in own_tensors(model).items() if tensor.requires_grad}


def phase_at(config: TrainConfig, step: int) -> tuple[Phase, int]:
    """The phase that `step` (from 0) belongs to, and its number within it."""
    for phase in config.phases:
        if step < phase.steps:
            return phase, step
        step -= phase.steps
    raise IndexError(step)


def learning_rate(config: TrainConfig, step: int) -> float:
    """The learning rate of `step` (from 0): in each phase a linear warm-up, then `config.decay`."""
    phase, index = phase_at(config, step)
    done = index / phase.steps
    shape = {
        "constant": 1.0,
        "cosine": 0.5 * (1 + math.cos(math.pi * done)),
        "tail": min(1.0, 2 * (1 - done)),
        "exponential": 0.99 ** (index // 1000),
    }
    return phase.lr * min(1.0, (index + 1) / max(1, config.warmup)) * shape[config.decay]


def optimizers_of(parameters: Sequence[nn.Parameter], config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Adam, or Muon for the kernels of convolutions with Adam for all else; one without parameters is left out."""
    kernels = [p for p in parameters if p.ndim > 2 and config.optimizer == "muon"]
    others = [p for p in parameters if p.ndim <= 2 or config.optimizer == "adam"]
    muon = [Muon(kernels)] if kernels else []
    adam = [torch.optim.Adam(others, lr=0.0, betas=(config.beta1, 0.999), fused=True)] if others else []
    return muon + adam


class MovingAverage:
    """Exponential moving average of named tensors; its decay warms up, so that early weights are forgotten."""

    def __init__(self, decay: float, tensors: dict[str, torch.Tensor]):
        self.decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def update(self, tensors: dict[str, torch.Tensor], step: int) -> None:
        """Move towards `tensors` after optimiser step `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.tensors.values()), [tensors[n] for n in self.tensors], 1 - decay)


class State:
    """The state of a training, as a checkpoint holds it.

    step, tensors, average, optimizers; spent: time; pending: losses not yet logged. round, began: the round of
    gathering states, and the averaged weights at its start, with which they are gathered. precision: kept to the end,
    on whatever machine the training goes on.
    """

    def __init__(self, model: nn.Module, config: TrainConfig, precision: str):
        self.objectives = objectives_of(model, config)
        self.parameters, self.tensors = trainable(model), own_tensors(model)
        self.average = MovingAverage(config.ema, self.parameters)
        named = self.parameters.items()
        groups = ([p for n, p in named if n.startswith(prefix)] for prefix in self.objectives)
        self.optimizers = [optimizers_of(group, config) for group in groups]
        self.step, self.spent, self.pending = 0, Spent(), []
        self.round, self.began = -1, {}
        self.precision = precision

    def begin_round(self, number: int) -> None:
        """Keep the averaged weights as they are now: the states of round `number` are gathered with them."""
        if number != self.round:
            self.round, self.began = number, {n: tensor.clone() for n, tensor in self.average.tensors.items()}

    def save(self, folder: Path) -> None:
        """Write a checkpoint below `folder/last`."""
        content = {
            "step": self.step,
            "spent": list(self.spent),
            "model": {name: tensor.detach() for name, tensor in self.tensors.items()},
            "ema": self.average.tensors,
            "optimizers": [optimizer.state_dict() for optimizer in chain(*self.optimizers)],
            "pending": self.pending,
            "round": self.round,
            "began": self.began,
            "precision": self.precision,
        }
        save_checkpoint(folder / "last", self.step, content)

    def restore(self, folder: Path) -> None:
        """Take the newest whole checkpoint of `folder`, if there is one, and cut the log back to its step."""
        content = load_checkpoint(folder / "last")
        if content is not None:
            shapes = ({n: p.shape for n, p in tensors.items()} for tensors in (content["model"], self.tensors))
            if next(shapes) != next(shapes) or not {"optimizers", "spent"} <= set(content):
                raise TrainingError(f"{folder}: the checkpoint is of another network; delete the folder to train anew")
            _copy(content["model"], self.tensors)
            _copy(content["ema"], self.average.tensors)
            for optimizer, state in zip(chain(*self.optimizers), content["optimizers"]):
                optimizer.load_state_dict(state)
            self.step, self.spent, self.pending = content["step"], Spent(*content["spent"]), list(content["pending"])
            self.round, self.began = content.get("round", -1), content.get("began", {})
            self.precision = content.get("precision", self.precision)
        _cut_log(folder, self.step)


@contextmanager
def holding(tensors: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> Iterator[None]:
    """Within this context `tensors` have the values of `others`."""
    own = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    _copy(others, tensors)
    try:
        yield
    finally:
        _copy(own, tensors)


@torch.no_grad()
def _copy(source: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])


def train(
    model: nn.Module,
    data: PreparedData,
    config: TrainConfig,
    folder: Path,
    *,
    noise_steps: int,
    seed: int,
    precision: str = "auto",
    accelerator: Accelerator | None = None,
) -> Iterator[Stats]:
    """Train `model` on `data` and yield `Stats` every `LOG_EVERY` steps; the caller shows them or stops early.

    The training goes on from the last checkpoint in `folder/last`. At the end `model` holds the EMA weights, and
    `folder/cost.json` the cost. noise_steps: of the schedule; times `t` are drawn below it. precision: `auto` is the
    faster one on this machine; a resumed training keeps the one that it began with. Raises `TrainingError` where the
    loss is not finite.
    """
    accelerator = accelerator or Accelerator()
    keep_freed_memory()
    forget_peak(accelerator.device)
    model.to(accelerator.device).train()
    state = State(model, config, fastest_precision(accelerator.device) if precision == "auto" else precision)
    state.restore(folder)
    begun = state.step
    before = state.spent - Spent.now()

    pool = None

    def gathered(step: int) -> Pool:
        """The states to train on in this step, gathered anew where a round begins or is resumed."""
        nonlocal pool
        state.begin_round(config.round(step))
        if pool is None or pool.round != state.round:
            pool = None  # free the old states first: two pools would take twice the memory
            size = phase_at(config, step)[0].patch or data.config.shape
            options = (model, data, config.states, seed, accelerator.device)
            with holding(state.parameters, state.began), autocast(accelerator.device, state.precision):
                model.eval()
                if step == config.steps_alone and model.linear is not None:
                    fit_linear(*options)
                pool = Pool.gather(*options, size, state.round)
                model.train()
        return pool

    def batch_of(step: int, part: int) -> tuple[Batch | Visit, Box | None]:
        phase, _ = phase_at(config, step)
        first = (part * accelerator.num_processes + accelerator.process_index) * phase.batch
        numbers = range(first, first + phase.batch)
        if config.states and not phase.alone:
            return gathered(step).batch(numbers, seed, step, accelerator.device), None
        size, align = (phase.patch, model.align) if phase.alone else (phase.crop, (1, 1, 1))
        vary = config.states.vary if config.states else 0.0
        cropping = Cropping(size, seed, model.neighbours, config.move_every, align, config.mirror, vary)
        batch = with_noise(data.crops(numbers, step, cropping), noise_steps, seed, step, numbers, config.spread)
        batch = batch.to(accelerator.device)
        if phase.alone:
            return without_experts(model, batch, data.task.nearest), None
        return batch, loss_box(model, phase, batch.x0.shape[2:], seed, step)

    for step in range(state.step, config.steps):
        torch.manual_seed(mix_seed(seed, step, accelerator.process_index, "dropout"))
        rate = learning_rate(config, step)
        batches = [batch_of(step, part) for part in range(config.accumulate)]
        losses = []
        for loss, optimizers in zip(state.objectives.values(), state.optimizers):
            loss = autocast(accelerator.device, state.precision)(loss)
            parts = [partial(loss, batch, config, box) for batch, box in batches]
            losses.append(_optimise(optimizers, accelerator, rate, config.clip, parts))
        state.pending.append(torch.stack(losses).sum())
        state.average.update(state.parameters, step)
        state.step, state.spent = step + 1, before + Spent.now()
        last = state.step == config.steps
        due = {"log": last or state.step % LOG_EVERY == 0, "save": last or state.step % config.save_every == 0}
        mean = float(torch.stack(state.pending).mean()) if any(due.values()) else 0.0
        if not math.isfinite(mean):
            raise TrainingError(f"{folder}: the loss is {mean} at step {state.step}; lower the learning rate")
        if due["log"]:
            state.pending.clear()
            if accelerator.is_main_process:
                _log(folder, state.step, mean, rate)
            yield Stats(state.step, config.steps, mean, rate, begun)
        if due["save"] and accelerator.is_main_process:
            state.save(folder)
    if accelerator.is_main_process:
        parameters = sum(p.numel() for p in state.parameters.values())
        write_cost(folder, state.spent, accelerator.device, parameters, peak_memory(accelerator.device))
    _copy(state.average.tensors, state.parameters)
    model.eval()


def _optimise(
    optimizers, accelerator: Accelerator, rate: float, clip: float, losses: list[Callable[[], torch.Tensor]]
) -> torch.Tensor:
    """Take one optimiser step on the mean of `losses`, one for each batch; returns this mean, detached.

    Several processes average their gradients here, as no wrapper that does so takes a model with several objectives.
    """
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    parameters = [p for group in groups for p in group["params"]]
    for optimizer in optimizers:
        optimizer.zero_grad()
    total = torch.zeros((), device=accelerator.device)
    for compute in losses:
        loss = compute() / len(losses)
        loss.backward(inputs=parameters)  # a generator's loss leaves no gradient in the discriminator
        total += loss.detach()
    if accelerator.num_processes > 1:
        gradients = [p.grad for p in parameters if p.grad is not None]
        mean = accelerator.reduce(torch.cat([g.flatten() for g in gradients]), "mean")
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients])):
            gradient.copy_(part.view_as(gradient))
    if clip:
        nn.utils.clip_grad_norm_(parameters, clip)
    for group in groups:
        group["lr"] = rate
    for optimizer in optimizers:
        optimizer.step()
    return total


def _log(folder: Path, step: int, loss: float, rate: float) -> None:
    path = folder / "log.csv"
    with explained(path):
        folder.mkdir(parents=True, exist_ok=True)
        with open(path, "a", newline="") as file:
            rows = [] if file.tell() else [LOG]
            csv.writer(file, lineterminator="\n").writerows([*rows, (step, f"{loss:.6g}", f"{rate:.4g}")])


def _cut_log(folder: Path, step: int) -> None:
    """Drop the rows after the checkpoint's step, which are written again, and those that are damaged."""
    path = folder / "log.csv"
    if path.exists():
        rows = [row for row in path.read_text(errors="replace").split("\n") if LOGGED.fullmatch(row)]
        kept = [",".join(LOG), *(row for row in rows if int(row.partition(",")[0]) <= step)]
        write_atomically(path, "".join(f"{row}\n" for row in kept).encode())


def read_log(folder: Path) -> pd.DataFrame:
    """The training log in a run folder: columns step, loss, lr; raises `ConfigError` for one that is damaged."""
    return read_records(folder / "log.csv", LOG)
