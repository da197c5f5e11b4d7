"""Seconds and GiB of translating one head of 1 mm, beside others in one process: python -m benchmarks.translating

The floor of effort is cubic interpolation with the projection. Ours are the shipped weights of preset `scan`. Beside
them: MONAI's 2D networks of the same widths in place of ours, averaged alike (random weights, on which time does not
depend), and the networks and steps of the paper. Of these a few slices and a crop are run, and multiplied: on a CPU a
head takes hours. Variants take turns, so that a busy machine slows all of them. Below stands the physical limit: the
time that the operations of ours take at the rate of a large matrix product. The head is random and has no background.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from time import monotonic

import torch
import torch.nn as nn
from monai.networks.nets import DiffusionModelUNet
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.networks import PRECISIONS, before, matrix_rate
from benchmarks.steps import one_sample
from diffens_core.batch import loaded
from diffens_core.experiment.experiment import open_experiment
from diffens_core.models.experts import Average, SliceExpert
from diffens_core.models.interpolation import Interpolation
from diffens_core.networks.borrowed import Borrowed
from diffens_core.networks.precision import autocast, fastest_precision
from diffens_core.support.device import pick_device, use_device
from diffens_core.training.runs import build, resolve

RUN = "scan/fusion-sr-ours-tpdm"
SLICES, CROP = 2, 64  # of the paper's networks: slices of each plane, and voxels of a side


def monai_average(ours: Average) -> Average:
    """The average of MONAI's networks in place of our experts', with as many channels at each level."""
    experts = []
    for expert in ours.experts:
        channels, widths = expert.net.stem.in_channels, expert.net.widths
        sizes = {"channels": widths, "num_res_blocks": 1, "attention_levels": [False] * len(widths)}
        net = DiffusionModelUNet(2, in_channels=channels, out_channels=1, norm_num_groups=8, **sizes)
        borrowed = Borrowed(net, channels, multiple=expert.net.multiple)
        experts.append(SliceExpert(borrowed, expert.plane, expert.schedule, expert.prediction))
    return Average(experts)


@torch.inference_mode()
def of_the_paper(y: torch.Tensor) -> float:
    """Seconds of one sample with the paper's networks and steps, from some of its slices and a crop."""
    experiment, device = open_experiment("paper"), pick_device()
    fusion = build(experiment.runs_of("ours-tpdm", "sr")[-1]).to(device).eval()
    y, t, seconds = y[None].to(device), torch.tensor([500], device=device), 0.0
    y = y[:, : fusion.experts[0].net.stem.in_channels - 5]  # it reads no interpolation; noise, mask and coordinates
    with autocast(device):
        for expert in fusion.experts:
            depth = y.shape[expert.dim]
            box = tuple(slice(0, SLICES if dim == expert.dim else y.shape[dim]) for dim in (2, 3, 4))
            seconds += depth / SLICES * timed(expert.within, box, torch.randn_like(y[:, :1]), y, t)
        crop = torch.randn(1, fusion.net.stem.in_channels, CROP, CROP, CROP, device=device)
        seconds += y[0, 0].numel() / CROP**3 * timed(fusion.net, crop, t)
    return experiment.preset.steps * seconds


def timed(function: Callable, *arguments) -> float:
    """Seconds of a call, after one that warms up."""
    function(*arguments)
    start = monotonic()
    function(*arguments)
    if pick_device().type == "cuda":
        torch.cuda.synchronize()
    return monotonic() - start


@torch.inference_mode()
def operations(model: nn.Module, y: torch.Tensor) -> float:
    """Of one step on a voxel, as torch counts them; without those that our own operators add."""
    part = y[None, :, :64, :64, :64].to(pick_device())
    with before(), FlopCounterMode(display=False) as counter:
        model(torch.randn_like(part[:, :1]), part, torch.tensor([500], device=part.device))
    return counter.get_total_flops() / part[0, 0].numel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=(144, 176, 144), help="voxels of the head")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="default: all cores")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    use_device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)

    fusion, config = loaded(resolve(RUN), 0)
    task, average = config.translation, Average(list(fusion.experts))
    low = torch.rand(1, 1, *(n // 4 for n in options.shape)) * 1.8 - 0.9
    y = task.degradation.repeat(low, options.shape)[0].repeat(2, 1, 1, 1)
    variants = {
        "cubic, projected": (Interpolation("cubic", task.degradation), 1),
        "ours-tpdm": (fusion, options.steps),
        "tpdm": (average, options.steps),
        "tpdm, MONAI": (monai_average(average).to(pick_device()), options.steps),
    }
    found = {name: [] for name in variants}
    for _ in range(options.rounds):
        for name, (model, steps) in variants.items():
            found[name].append(one_sample(model, y, task, steps))
    seconds = {name: statistics.median(s for s, _ in values) for name, values in found.items()}
    print("                       seconds  of ours-tpdm   GiB")
    for name, values in found.items():
        gib = max(g for _, g in values)
        print(f"{name:20} {seconds[name]:9.1f} {seconds[name] / seconds['ours-tpdm']:13.2f} {gib:5.1f}")
    paper = of_the_paper(y)
    print(f"{'the paper, estimated':20} {paper:9.0f} {paper / seconds['ours-tpdm']:13.0f}")
    precision = fastest_precision(pick_device())
    limit = options.steps * operations(fusion, y) * y[0].numel() / matrix_rate(pick_device(), PRECISIONS[precision])
    print(f"{'limit of ours-tpdm':20} {limit:9.1f} {limit / seconds['ours-tpdm']:13.2f}   ({precision})")


if __name__ == "__main__":
    main()
