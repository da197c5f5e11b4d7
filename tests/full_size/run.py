"""Every stage of presets `gpu` and `paper` at full size, on a CPU: python tests/full_size/run.py [PRESET...] [--gib 17]

Not part of `make test`: it takes hours. Each training takes two optimiser steps in each of its phases, then its model
one sampling step on a whole head (a segmenter segments one; an autoencoder is sampled within what builds on it). One
phantom of 1 mm is trained on and another one translated. What a training builds on has random weights.

Each is done in a process of its own, which is ended where it grows beyond `--gib`; what is computed to need more is not
begun. A line each: stage, run, seconds of training and of sampling, GiB at most of both, and computed GiB of training.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

os.environ |= {"CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from diffens_core.data.prepared import PreparedData  # noqa: E402
from diffens_core.evaluation.evaluate import with_experts  # noqa: E402
from diffens_core.experiment.embedded import Phantoms  # noqa: E402
from diffens_core.experiment.methods import method_named  # noqa: E402
from diffens_core.experiment.presets import preset_named  # noqa: E402
from diffens_core.experiment.samples import sample  # noqa: E402
from diffens_core.experiment.setting import Setting  # noqa: E402
from diffens_core.networks.precision import autocast, fastest_precision  # noqa: E402
from diffens_core.support.cost import forget_peak, peak_memory  # noqa: E402
from diffens_core.training.config import RunConfig  # noqa: E402
from diffens_core.training.loop import TrainConfig, train  # noqa: E402
from diffens_core.training.memory import CPU, training_peak  # noqa: E402
from diffens_core.training.runs import build  # noqa: E402

PRESETS = ("gpu", "paper")
METHODS = ("ours-tpdm", "ours-tpdm+paper", "ours-small", "palette-3d", "wavelet-3d", "unet-2d", "unet-3d", "pix2pix-2d")
METHODS += ("pix2pix-3d", "i2sb", "make-a-volume", "latent-3d")
TASK, SEGMENTATION = "sr", "seg1"
HEADS = Phantoms("full-size", (1, 0, 1), 1.0)
STEPS = 2


def runs_of(preset: str) -> dict[str, RunConfig]:
    """The trainings of a preset by stage and name, each but `STEPS` steps a phase; of a fusion's states just a few."""
    chosen = preset_named(preset)
    data = HEADS.describe(chosen.shape)
    setting = Setting(chosen, TASK, data)
    runs = [run for method in METHODS for run in method_named(method, TASK).runs(setting)]
    runs = [*with_experts(runs), Setting(chosen, SEGMENTATION, data).segmenter()]
    return {f"{run.stage} {run.name}": replace(run, train=shortened(run.train)) for run in runs}


def shortened(config: TrainConfig) -> TrainConfig:
    """A training of `STEPS` steps a phase."""
    phases = tuple(replace(phase, steps=STEPS) for phase in config.phases)
    states = config.states and replace(config.states, steps=2, heads=1, patches=2, rounds=1, fit=1)
    return replace(config, phases=phases, states=states)


def rehearse(run: RunConfig, precision: str) -> dict[str, float]:
    """Seconds and GiB that the training and one sampling step of a run take here."""
    model, task = build(run), run.translation
    data = PreparedData(run.data, "train", task)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        options = {"noise_steps": run.diffusion.steps, "seed": run.seed, "precision": precision}
        for _ in train(model, data, run.train, Path(folder), **options):
            pass
    found = {"training": time.monotonic() - start, "training GiB": peak_memory(CPU)}
    forget_peak(CPU)
    start = time.monotonic()
    pair = PreparedData(run.data, "test", task)[0]
    if run.stage == "segmentation":
        with autocast(CPU, precision):
            model.segment(pair.y, pair.y[0] > -0.99)
    elif not run.stage.startswith("autoencoder"):
        sample(model, pair.y, task, subject=pair.subject, samples=1, steps=1, precision=precision)
    return found | {"sampling": time.monotonic() - start, "sampling GiB": peak_memory(CPU)}


def held(process: subprocess.Popen, gib: float) -> bool:
    """Wait for a process; end it, and say so, as soon as it holds more than that."""
    while process.poll() is None:
        with suppress(OSError, IndexError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            if int(status.partition("VmRSS:")[2].split()[0]) > gib * 2**20:
                process.kill()
                process.wait()
                return False
        time.sleep(0.2)
    return True


def lines(preset: str, wanted: str, gib: float, precision: str) -> Iterator[str]:
    """What became of each training of a preset whose stage and name contain `wanted`."""
    for name, run in runs_of(preset).items():
        if wanted not in name:
            continue
        computed = max(training_peak(run, phase, CPU, precision) for phase in run.train.phases) / 2**30
        start = f"{preset:6}{name:36}"
        if computed > gib:
            yield f"{start}not begun: {computed:.1f} GiB computed for a training step, {gib:g} allowed"
            continue
        options = [sys.executable, __file__, preset, "--only", name, "--precision", precision]
        process = subprocess.Popen([*options, "--here"], stdout=subprocess.PIPE, text=True)
        if not held(process, gib):
            yield f"{start}ended: it grew beyond {gib:g} GiB ({computed:.1f} computed for a training step)"
        elif process.returncode:
            yield f"{start}failed with {process.returncode}"
        else:
            s = json.loads(process.stdout.read().splitlines()[-1])
            yield (
                f"{start}{s['training']:7.0f} s {s['training GiB']:5.1f} GiB  "
                f"{s['sampling']:5.0f} s {s['sampling GiB']:5.1f} GiB  {computed:5.1f} GiB computed"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("presets", nargs="*", default=PRESETS, metavar="PRESET")
    parser.add_argument("--gib", type=float, default=17, help="what a process may hold (default: %(default)s)")
    parser.add_argument("--only", default="", help="trainings whose stage and name contain this")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bf16"))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # in this process, and only that
    options = parser.parse_intermixed_args()
    precision = fastest_precision(CPU) if options.precision == "auto" else options.precision
    if options.here:
        print(json.dumps(rehearse(runs_of(options.presets[0])[options.only], precision)))
        return
    HEADS.make(["train", "test"])
    print(f"two steps of each phase, and one of sampling, in {precision}", flush=True)
    for preset in options.presets:
        for line in lines(preset, options.only, options.gib, precision):
            print(line, flush=True)


if __name__ == "__main__":
    main()
