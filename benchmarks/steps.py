"""Seconds a training step and GiB of a preset, on this machine's GPU or CPU: python -m benchmarks.steps gpu --data DIR

Each training of the methods takes some steps in each of its phases, then its model translates a head in as many steps
as the preset has. What a training builds on has random weights. A line each: milliseconds a step by phase (the second
half of each), seconds of a translation (the second of two), and GiB at most: of the GPU's tensors, or on a CPU of the
whole process. Of a fusion's states one head is followed; the progress lines say how long that takes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

import torch
import torch.nn as nn

from diffens_core.data.prepared import PreparedData
from diffens_core.data.tasks import Task
from diffens_core.evaluation.evaluate import with_experts
from diffens_core.experiment.experiment import open_experiment
from diffens_core.experiment.samples import sample
from diffens_core.support.cost import forget_peak, peak_memory
from diffens_core.support.device import device_name, pick_device, use_device
from diffens_core.training.config import RunConfig
from diffens_core.training.loop import LOG_EVERY, Stats, train
from diffens_core.training.runs import build

METHODS = ("ours-tpdm", "unet-3d", "palette-3d", "ours-tpdm+paper")


def training(run: RunConfig, steps: int) -> tuple[nn.Module, str]:
    """The model of a run after `steps` of each phase; what they took."""
    states = run.train.states and replace(run.train.states, rounds=1, heads=1, fit=1, patches=24)
    phases = tuple(replace(phase, steps=steps) for phase in run.train.phases)
    config = replace(run.train, phases=phases, states=states, save_every=10**6)
    model, data = build(run), PreparedData(run.data, "train", run.translation).to(pick_device())
    for index in range(len(data)):
        data[index]  # read before the clock runs
    forget_peak(pick_device())
    seen, marks = monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        for stats in train(model, data, config, Path(folder), noise_steps=run.diffusion.steps, seed=run.seed):
            marks.append((stats, monotonic() - seen))
    found = [seconds_a_step(marks, k * steps, steps) for k in range(len(phases))]
    listed = ", ".join(f"{1000 * seconds:.0f}" for seconds in found)
    return model, f"{listed} ms a step, {peak_memory(pick_device()):.1f} GiB"


def seconds_a_step(marks: Sequence[tuple[Stats, float]], begin: int, steps: int) -> float:
    """Of the second half of a phase that begins after step `begin`."""
    times = [time for stats, time in marks if begin + steps // 2 <= stats.step <= begin + steps]
    return (times[-1] - times[0]) / (LOG_EVERY * (len(times) - 1))


def translation(model: nn.Module, run: RunConfig, split: str, steps: int) -> str:
    """Seconds and GiB of translating one head of a split."""
    pair = PreparedData(run.data, split, run.translation)[0]
    model.to(pick_device()).eval()
    for _ in range(2):
        seconds, gib = one_sample(model, pair.y, run.translation, steps)
    return f"a head {seconds:.1f} s, {gib:.1f} GiB"


def one_sample(model: nn.Module, y: torch.Tensor, task: Task, steps: int) -> tuple[float, float]:
    """Seconds, and GiB at most, of drawing one sample from conditions `y`."""
    forget_peak(pick_device())
    start = monotonic()
    sample(model, y, task, subject="one", samples=1, steps=steps)
    return monotonic() - start, peak_memory(pick_device())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset")
    parser.add_argument("--data", default="", help="a prepared data set (default: phantoms)")
    parser.add_argument("--split", default="val", help="whose head is translated")
    parser.add_argument("--task", default="both")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--steps", type=int, default=4 * LOG_EVERY, help="of each phase, a multiple of 20")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    use_device(options.device)
    experiment = open_experiment(options.preset, data=options.data)
    print(f"{options.preset}, {options.task}, on {device_name(pick_device())}", flush=True)
    for split in ("train", options.split):
        experiment.subjects(split, options.task)  # phantoms are made now
    runs = [run for method in options.methods for run in experiment.runs_of(method, options.task)]
    for run in {run.identity: run for run in with_experts(runs)}.values():
        model, text = training(run, options.steps)
        if not run.stage.startswith("autoencoder"):  # what builds on one samples within it
            text += f"; {translation(model, run, options.split, experiment.preset.steps)}"
        print(f"{run.stage} {run.name:18} {text}", flush=True)


if __name__ == "__main__":
    main()
