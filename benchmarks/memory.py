"""Computed against measured peak memory of training steps on a CPU, in float32: python -m benchmarks.memory [--large]

Each case takes two steps in a process of its own, after those of a small run, as libraries need memory too; measured is
by how much its largest resident memory grew then.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterator
from functools import partial

import torch

from diffens_core.experiment.experiment import open_experiment
from diffens_core.experiment.methods import method_named
from diffens_core.support.cost import forget_peak, peak_memory
from diffens_core.training.config import RunConfig
from diffens_core.training.loop import Phase
from diffens_core.training.memory import CPU, Training, training_peak
from diffens_core.training.runs import build

SMALL = ("palette-axial", "unet-3d", "pix2pix-2d", "ours-tpdm", "ours-tpdm+paper")


def cases(large: bool) -> Iterator[tuple[str, RunConfig, Phase]]:
    """Name, run and phase of each: of preset demo; `large`: of gpu too, the expert and the fusion's patches."""
    for preset, methods in {"demo": SMALL, **({"gpu": ("palette-axial", "ours-tpdm")} if large else {})}.items():
        setting = open_experiment(preset).setting("sr")
        for method in methods:
            run = method_named(method, "sr").runs(setting)[-1]
            for phase in run.train.phases:
                part = "alone" if phase.alone else "patches" if phase.patch else "crops" if phase.crop else "volumes"
                yield f"{preset} {method}, {part}", run, phase


def smallest(stage: str) -> RunConfig:
    """A run of this stage of preset smoke."""
    setting = open_experiment("smoke").setting("sr")
    return next(run for method in SMALL for run in method_named(method, "sr").runs(setting) if run.stage == stage)


def grown(run: RunConfig, phase: Phase, pipe) -> None:
    """Send by how many GiB this process grows while it builds a model and takes two training steps."""
    torch.set_num_threads(1)
    small = smallest(run.stage)
    train(small, small.train.phases[0])
    forget_peak(CPU)
    before = peak_memory(CPU)
    train(run, phase)
    pipe.send(peak_memory(CPU) - before)


def train(run: RunConfig, phase: Phase) -> None:
    """Build a model and take two training steps."""
    training = Training(build(run), run, phase, CPU, "float32")
    for _ in range(2):
        training.step()


def measured(run: RunConfig, phase: Phase) -> float:
    """`grown`, in a new process; 0 where it was killed."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=partial(grown, run, phase, sending))
    process.start()
    sending.close()
    try:
        return receiving.recv()
    except EOFError:
        return 0.0
    finally:
        process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true", help="cases of preset gpu too, up to 12 GiB")
    print("case                              computed GiB  measured GiB  ratio")
    for name, run, phase in cases(parser.parse_args().large):
        computed, found = training_peak(run, phase, CPU, "float32") / 2**30, measured(run, phase)
        print(f"{name:34}{computed:12.2f}{found:14.2f}{computed / found if found else float('nan'):7.2f}", flush=True)


if __name__ == "__main__":
    main()
