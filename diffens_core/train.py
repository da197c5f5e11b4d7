"""The one training loop: any denoiser, any stage, resumed bit for bit.

The state of a run is its step. Windows, noise and dropout of step s are drawn from seeds that depend on
(seed, s), so there is no random state to lose: after a kill the run goes on exactly as it would have.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from accelerate import Accelerator

from .checkpoints import load_checkpoint, save_checkpoint, write_atomically
from .config import Phase, TrainConfig
from .data import Batch, PreparedData
from .device import autocast
from .planes import Box, random_box
from .sampler import mix_seed

LOG_EVERY = 10


class TrainingError(RuntimeError):
    """Training cannot go on; one line that says where it stands and what to do."""


@dataclass(frozen=True)
class Stats:
    """After optimiser step `step` of `total`: mean `loss` of the last logged steps, learning rate `lr`."""

    step: int
    total: int
    loss: float
    lr: float


def denoising_loss(denoiser: nn.Module, batch: Batch, schedule, loss: str, box: Box | None = None) -> torch.Tensor:
    """Mean squared error at random steps (Eqs. 2, 3 and 5) of the quantity `loss`: `eps`, `v` or `x0`; float32.

    A denoiser answers with noise, for the sampler's sake; the noise is turned into the quantity that is compared.
    With a `box`, the denoiser is a fusion that works within it.
    """
    xt, eps = schedule.add_noise(batch.x0, batch.eps, batch.t), batch.eps
    if box is None:
        eps_hat = denoiser(xt, batch.y, batch.t, batch.coords)
    else:
        eps_hat = denoiser(xt, batch.y, batch.t, batch.coords, box)
        xt, eps = xt[..., *box], eps[..., *box]
    wanted = schedule.prediction_from(loss, eps, xt, batch.t)
    return F.mse_loss(schedule.prediction_from(loss, eps_hat, xt, batch.t), wanted)


def patch_box(model: nn.Module, phase: Phase, shape, seed: int, step: int) -> Box | None:
    """Where the fusion works in this step: a random box of `phase.patch`, the same for all samples; None: all."""
    if phase.patch is None:
        return None
    generator = torch.Generator().manual_seed(mix_seed(seed, step, "patch"))
    return random_box(shape, phase.patch, model.net.multiple, generator)


def trainable(model: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters that a run trains, by name: a fusion's experts belong to their own runs."""
    return {name: p for name, p in model.named_parameters() if not name.startswith("experts.")}


def phase_at(config: TrainConfig, step: int) -> tuple[Phase, int]:
    """The phase that `step` (from 0) belongs to, and its number within it."""
    for phase in config.phases:
        if step < phase.steps:
            return phase, step
        step -= phase.steps
    raise IndexError(step)


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then constant or cosine to zero, in each phase anew."""
    phase, index = phase_at(config, step)
    rate = phase.lr * min(1.0, (index + 1) / max(1, config.warmup))
    return rate * 0.5 * (1 + math.cos(math.pi * index / phase.steps)) if config.decay == "cosine" else rate


class MovingAverage:
    """Exponential moving average of named tensors; the decay warms up, so that early weights are forgotten."""

    def __init__(self, decay: float, tensors: dict[str, torch.Tensor]):
        self.decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def update(self, tensors: dict[str, torch.Tensor], step: int) -> None:
        """Move towards `tensors` after optimiser step `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.tensors.values()), [tensors[n] for n in self.tensors], 1 - decay)


class State:
    """What a checkpoint holds: step, weights, their moving average, the optimiser, and losses not yet logged."""

    def __init__(self, model: nn.Module, config: TrainConfig):
        self.parameters = trainable(model)
        self.average = MovingAverage(config.ema, self.parameters)
        self.optimizer = torch.optim.Adam(self.parameters.values(), lr=0.0)
        self.step, self.pending = 0, []

    def save(self, folder: Path) -> None:
        """Write a checkpoint below `folder/last`."""
        content = {
            "step": self.step,
            "model": {name: p.detach() for name, p in self.parameters.items()},
            "ema": self.average.tensors,
            "optimizer": self.optimizer.state_dict(),
            "pending": self.pending,
        }
        save_checkpoint(folder / "last", self.step, content)

    def restore(self, folder: Path) -> None:
        """Take the newest whole checkpoint of `folder`, if there is one, and cut the log back to its step."""
        content = load_checkpoint(folder / "last")
        if content is not None:
            shapes = ({n: p.shape for n, p in tensors.items()} for tensors in (content["model"], self.parameters))
            if next(shapes) != next(shapes):
                raise TrainingError(f"{folder}: the checkpoint is of another network; delete the folder to train anew")
            _copy(content["model"], self.parameters)
            _copy(content["ema"], self.average.tensors)
            self.optimizer.load_state_dict(content["optimizer"])
            self.step, self.pending = content["step"], list(content["pending"])
        _cut_log(folder, self.step)


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
    seed: int,
    precision: str = "auto",
    accelerator: Accelerator | None = None,
) -> Iterator[Stats]:
    """Train `model` on `data` and yield `Stats` every `LOG_EVERY` steps; the caller shows them or stops early.

    Goes on from the last checkpoint in `folder/last`. At the end `model` holds the EMA weights. Raises
    `TrainingError` where the loss is not finite.
    """
    accelerator = accelerator or Accelerator()
    schedule = model.schedule
    model.to(accelerator.device).train()
    state = State(model, config)
    state.restore(folder)
    wrapped, optimizer = accelerator.prepare(model, state.optimizer)

    def loss_of(step: int, part: int) -> torch.Tensor:
        phase, _ = phase_at(config, step)
        first = (part * accelerator.num_processes + accelerator.process_index) * phase.batch
        batch = data.batch(range(first, first + phase.batch), phase.crop, seed, step, schedule.steps)
        box = patch_box(model, phase, batch.x0.shape[2:], seed, step)
        with autocast(accelerator.device, precision):
            return denoising_loss(wrapped, batch.to(accelerator.device), schedule, config.loss, box)

    for step in range(state.step, config.steps):
        torch.manual_seed(mix_seed(seed, step, accelerator.process_index, "dropout"))
        rate = learning_rate(config, step)
        state.pending.append(
            _optimise(wrapped, optimizer, accelerator, rate, config.accumulate, partial(loss_of, step))
        )
        state.average.update(state.parameters, step)
        state.step = step + 1
        last = state.step == config.steps
        due = {"log": last or state.step % LOG_EVERY == 0, "save": last or state.step % config.save_every == 0}
        mean = float(torch.stack(state.pending).mean()) if any(due.values()) else 0.0
        if not math.isfinite(mean):
            raise TrainingError(f"{folder}: the loss is {mean} at step {state.step}; lower the learning rate")
        if due["log"]:
            state.pending.clear()
            if accelerator.is_main_process:
                _log(folder, state.step, mean, rate)
            yield Stats(state.step, config.steps, mean, rate)
        if due["save"] and accelerator.is_main_process:
            state.save(folder)
    _copy(state.average.tensors, state.parameters)
    model.eval()


def _optimise(model, optimizer, accelerator: Accelerator, rate: float, parts: int, loss_of) -> torch.Tensor:
    """One optimiser step on the mean of `loss_of(part)` over `parts` batches; returns it, detached."""
    total = torch.zeros((), device=accelerator.device)
    for part in range(parts):
        last = part + 1 == parts
        with nullcontext() if last else accelerator.no_sync(model):
            loss = loss_of(part) / parts
            accelerator.backward(loss)
        total += loss.detach()
    accelerator.clip_grad_norm_(model.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad()
    return total


def _log(folder: Path, step: int, loss: float, rate: float) -> None:
    path = folder / "log.csv"
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", newline="") as file:
        rows = [("step", "loss", "lr")] if new else []
        csv.writer(file, lineterminator="\n").writerows([*rows, (step, f"{loss:.6g}", f"{rate:.4g}")])


def _cut_log(folder: Path, step: int) -> None:
    """Drop the rows after the checkpoint: they are written again."""
    path = folder / "log.csv"
    if path.exists():
        rows = list(csv.reader(io.StringIO(path.read_text())))
        kept = rows[:1] + [row for row in rows[1:] if row and row[0].isdigit() and int(row[0]) <= step]
        out = io.StringIO(newline="")
        csv.writer(out, lineterminator="\n").writerows(kept)
        write_atomically(path, out.getvalue().encode())
