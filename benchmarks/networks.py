"""Speed of our 2D U-Net against diffusers' of the same widths, and of bf16 against float32, in one process.

    python benchmarks/networks.py [--base 16] [--size 80 96] [--rounds 15]

Variants take turns, so that a busy machine slows all of them; ratios of medians are what counts. The physical limit
beside them is the rate of a large matrix product in the same precision: no network runs faster than its operations.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from diffusers import UNet2DModel
from torch.utils.flop_counter import FlopCounterMode

from diffens_core.config import UNetConfig
from diffens_core.device import autocast, pick_device
from diffens_core.unet import UNet


def peer(base: int, mult: tuple[int, ...], channels: int) -> UNet2DModel:
    """diffusers' U-Net without attention, one residual block a level (it adds one more in each decoder level)."""
    widths = tuple(base * m for m in mult)
    blocks = {"down_block_types": ("DownBlock2D",) * len(mult), "up_block_types": ("UpBlock2D",) * len(mult)}
    return UNet2DModel(
        in_channels=channels,
        out_channels=1,
        block_out_channels=widths,
        layers_per_block=1,
        norm_num_groups=8,
        add_attention=False,
        **blocks,
    )


def variants(base: int, size: tuple[int, int], device: torch.device) -> dict[str, tuple[Callable, float]]:
    """Named functions that run a forward pass on 16 slices, and the operations each of them does."""
    channels, mult = 7, (1, 2, 4)
    x, t = torch.randn(16, channels, *size, device=device), torch.randint(1000, (16,), device=device)
    ours = UNet(2, channels, 1, UNetConfig(base, mult, 1)).to(device)
    theirs = peer(base, mult, channels).to(device)
    functions = {}
    for name, net in (("ours", ours), ("diffusers", theirs)):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            net(x, t)
        for precision in ("float32", "bf16"):
            functions[f"{name} {precision}"] = (_run(net, x, t, device, precision), counter.get_total_flops())
    return functions


def _run(net, x, t, device, precision) -> Callable:
    def run():
        with torch.inference_mode(), autocast(device, precision):
            net(x, t)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int = 2048) -> float:
    """Operations a second of a large matrix product: the physical limit."""
    a = torch.randn(size, size, device=device, dtype=dtype)
    times = [_timed(lambda: (a @ a)[0, 0].item()) for _ in range(6)]
    return 2 * size**3 / min(times)


def _timed(function: Callable) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=int, default=16)
    parser.add_argument("--size", type=int, nargs=2, default=(80, 96))
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    device = pick_device()
    functions = variants(args.base, tuple(args.size), device)
    for function, _ in functions.values():
        function()
    times = {name: [] for name in functions}
    for _ in range(args.rounds):
        for name, (function, _) in functions.items():
            times[name].append(_timed(function))
    limit = {"float32": matrix_rate(device, torch.float32), "bf16": matrix_rate(device, torch.bfloat16)}
    reference = statistics.median(times["ours float32"])
    print(f"{'variant':18} {'median ms':>10} {'ratio':>6} {'GFLOP':>7} {'of matrix rate':>15}")
    for name, values in times.items():
        median, operations = statistics.median(values), functions[name][1]
        share = operations / median / limit[name.split()[1]]
        print(f"{name:18} {median * 1e3:10.1f} {median / reference:6.2f} {operations / 1e9:7.2f} {share:15.1%}")


if __name__ == "__main__":
    main()
