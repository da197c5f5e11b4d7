"""The precision of networks, float32 or bf16: the faster one, measured where the hardware alone does not tell."""

from __future__ import annotations

import functools
import time

import torch

from ..support.device import has_fast_bf16
from ..support.errors import InputError
from .norm import LAYOUT
from .unet import ResBlock

PRECISIONS = ("auto", "float32", "bf16")


@functools.cache
def fastest_precision(device: torch.device) -> str:
    """`bf16` or `float32`: the one that trains our networks faster on this machine; measured once a process.

    Hardware without bf16 gets float32, a GPU with it bf16. A CPU with it may still lack fast kernels, so both are
    measured; it gets float32 only if that is clearly faster, so that noise does not decide.
    """
    if not has_fast_bf16(device):
        return "float32"
    if device.type != "cpu":
        return "bf16"
    times = block_times()
    return "float32" if times["float32"] < 0.9 * times["bf16"] else "bf16"


@torch.inference_mode(False)
@torch.enable_grad()
def block_times(rounds: int = 5) -> dict[str, float]:
    """Seconds that one core works for the forward and backward pass of small 2D and 3D residual blocks, by precision.

    One core's, as time on the clock, and that of threads that wait for one another, depend on what else the machine
    does: the same file must not be translated in another precision because the machine is busy.
    """
    shapes = (4, 32, 48, 40), (2, 16, 32, 24, 8)  # large enough for torch to take oneDNN in float32 too
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        steps, maps = torch.zeros(4, 8), [torch.randn(shape).to(memory_format=LAYOUT[len(shape)]) for shape in shapes]
        blocks = [ResBlock(x.ndim - 2, x.shape[1], x.shape[1], 8, 0.0).to(memory_format=LAYOUT[x.ndim]) for x in maps]
    for x in maps:
        x.requires_grad_()  # as within a network; without, torch's group norm crashes in its backward pass (2.13)

    def seconds(precision: str) -> float:
        dtype, start = torch.bfloat16 if precision == "bf16" else torch.float32, time.thread_time()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            out = [block(steps[: len(x)], x.to(dtype)) for block, x in zip(blocks, maps)]
        torch.autograd.backward(out, [torch.ones_like(y) for y in out])
        return time.thread_time() - start

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = [[seconds(precision) for precision in PRECISIONS[1:]] for _ in range(rounds)]
    finally:
        torch.set_num_threads(threads)
    return dict(zip(PRECISIONS[1:], map(min, zip(*times))))


def autocast(device: torch.device, precision: str = "auto") -> torch.autocast:
    """The context in which networks compute in `precision`; everything outside of them stays float32.

    `auto` is the faster one. Raises `InputError` for an unknown name.
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision '{precision}': choose from {', '.join(PRECISIONS)}")
    precision = fastest_precision(device) if precision == "auto" else precision
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
