"""Speed of our U-Nets, in one process with what they were before and with diffusers' and MONAI's of the same widths.

    python benchmarks/networks.py [--rounds 15] [--threads 1]

Two networks of the demo: the 2D one on 8 slices of 96 x 80, the 3D one on 2 patches of 32 x 48 x 32. `before` is
ours with torch's own group norm on concatenated maps, all channels last: what every device but the CPU computes; its
optimiser is not fused either. `ours, Muon` is ours with the optimiser of presets `smoke` and `demo`.
Variants take turns, so that a busy machine slows all of them; what counts are ratios of medians. A training step is
that of `train.py`: forward and backward pass, clipping, Adam (or Muon), moving average. The physical limit beside them
is the rate of a large matrix product in the same precision: no network runs faster than its operations.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from unittest import mock

import torch
import torch.nn as nn
import torch.nn.functional as F
from diffusers import UNet2DModel
from monai.networks.nets import DiffusionModelUNet
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from diffens_core.experiment.presets import PRESETS
from diffens_core.networks import narrow, unet
from diffens_core.networks.norm import LAYOUT
from diffens_core.networks.precision import autocast, fastest_precision
from diffens_core.networks.unet import UNetConfig
from diffens_core.support.device import has_fast_bf16, pick_device
from diffens_core.training.loop import MovingAverage, optimizers_of

MULT = (1, 2, 4)
CASES = {2: (16, 8, 1, (8, 96, 80)), 3: (8, 44, 4, (2, 32, 48, 32))}  # base, channels in and out, batch and size
PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}


@contextmanager
def before() -> Iterator[None]:
    """Within it, our U-Net takes torch's own operators on a CPU, as it does elsewhere."""
    own = {"pays": lambda x: False, "laid_out": lambda x: x.contiguous(memory_format=LAYOUT[x.ndim])}
    with mock.patch.multiple(unet, **own), mock.patch.object(narrow, "FEW", 0):
        yield


def muon() -> nullcontext:
    """Nothing else changes."""
    return nullcontext()


def networks(dims: int) -> dict[str, nn.Module]:
    """Ours and others' of the same widths, without attention; theirs have one more block in each decoder level."""
    base, channels, outputs, _ = CASES[dims]
    widths = tuple(base * m for m in MULT)
    made = {"ours": unet.UNet(dims, channels, outputs, UNetConfig(base, MULT, 1))}
    options = {"in_channels": channels, "out_channels": outputs, "norm_num_groups": 8}
    if dims == 2:
        blocks = {"down_block_types": ("DownBlock2D",) * len(MULT), "up_block_types": ("UpBlock2D",) * len(MULT)}
        sizes = {"block_out_channels": widths, "layers_per_block": 1, "add_attention": False}
        made["diffusers"] = UNet2DModel(**options, **blocks, **sizes)
    sizes = {"channels": widths, "num_res_blocks": 1, "attention_levels": (False,) * len(MULT)}
    made["MONAI"] = DiffusionModelUNet(dims, **options, **sizes)
    return made


class Variant:
    """A network in a precision, and how long its forward pass and its training step took in every round."""

    def __init__(self, net: nn.Module, dims: int, precision: str, device: torch.device, way: Callable = nullcontext):
        _, channels, outputs, (batch, *size) = CASES[dims]
        self.net, self.precision, self.device, self.way = net.to(device), precision, device, way
        self.x, self.y = (torch.randn(batch, n, *size, device=device) for n in (channels, outputs))
        self.t = torch.randint(1000, (batch,), device=device)
        self.optimizers = [torch.optim.Adam(net.parameters(), lr=1e-4, fused=way is not before)]
        if way is muon:
            self.optimizers = optimizers_of([*net.parameters()], PRESETS["demo"].fusion_training())
        self.average = MovingAverage(0.999, dict(net.named_parameters()))
        self.times = {self.forward: [], self.step: []}

    def answer(self) -> torch.Tensor:
        with self.way(), autocast(self.device, self.precision):
            out = self.net(self.x, self.t)
        out = out if isinstance(out, torch.Tensor) else out[0] if isinstance(out, tuple) else out.sample
        return out.float()

    @torch.inference_mode()
    def forward(self) -> None:
        self.answer()

    def step(self) -> None:
        self.net.zero_grad()
        F.mse_loss(self.answer(), self.y).backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.average.update(dict(self.net.named_parameters()), 1000)

    def round(self) -> None:
        """Each of them once."""
        for function, times in self.times.items():
            start = time.perf_counter()
            function()
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)

    def operations(self) -> int:
        """Of a training step."""
        with FlopCounterMode(display=False) as counter:
            self.step()
        return counter.get_total_flops()


def compare(dims: int, rounds: int, device: torch.device) -> dict[str, Variant]:
    """Run all variants by turns and print a row for each."""
    variants, operations = {}, {}
    for name, net in networks(dims).items():
        ways = {"ours": nullcontext, "ours, Muon": muon, "before": before} if name == "ours" else {name: nullcontext}
        count = Variant(net, dims, "float32", device, before).operations()  # before: ours counts what its ways add
        for label, way in ways.items():
            for precision in PRECISIONS if has_fast_bf16(device) else ("float32",):
                variants[f"{label} {precision}"] = Variant(net, dims, precision, device, way)
                operations[f"{label} {precision}"] = count
    for _ in range(rounds + 2):
        for variant in variants.values():
            variant.round()
    limit = {v.precision: matrix_rate(device, PRECISIONS[v.precision]) for v in variants.values()}
    medians = {name: [statistics.median(times[2:]) for times in v.times.values()] for name, v in variants.items()}
    reference = medians["before bf16" if has_fast_bf16(device) else "before float32"][1]
    rates = ", ".join(f"{precision} {rate / 1e9:.0f}" for precision, rate in limit.items())
    print(f"\n{dims}D; matrix product, GFLOP/s: {rates}")
    print("network             forward ms  step ms   GFLOP  GFLOP/s  of matrix rate  times as fast as before's auto")
    for name, (forward, step) in medians.items():
        rate = operations[name] / step
        print(
            f"{name:18} {forward * 1e3:11.1f} {step * 1e3:8.1f} {operations[name] / 1e9:7.2f} {rate / 1e9:8.1f} "
            f"{rate / limit[variants[name].precision]:15.1%} {reference / step:31.2f}"
        )
    return variants


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int = 2048) -> float:
    """Operations a second of a large matrix product: the physical limit."""
    a, times = torch.randn(size, size, device=device, dtype=dtype), []
    for _ in range(6):
        start = time.perf_counter()
        (a @ a)[0, 0].item()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def by_operation(variant: Variant, steps: int = 8, rows: int = 14) -> None:
    """Print what a training step is made of, by the time that each operator takes itself."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(steps):
            variant.step()
    events = sorted(found.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    print(f"{'operator':40} {'ms':>7} {'share':>6} {'calls':>6}")
    for event in events[:rows]:
        time_of = event.self_cpu_time_total
        print(f"{event.key[:40]:40} {time_of / steps / 1e3:7.2f} {time_of / total:6.1%} {event.count / steps:6.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = pick_device()
    auto = fastest_precision(device)
    print(f"auto precision: {auto}")
    for dims in CASES:
        variants = compare(dims, args.rounds, device)
        for name in ("before", "ours"):
            print(f"\n{dims}D {name} {auto}, a training step with the profiler's own time:")
            by_operation(variants[f"{name} {auto}"])


if __name__ == "__main__":
    main()
