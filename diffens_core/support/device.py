"""Where to compute and how precisely: one choice for training and for sampling."""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
import time

import torch

PRECISIONS = ("auto", "float32", "bf16")


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is the GPU where there is one, else the CPU; raises `ValueError` for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device '{name}' is not there ({str(error).splitlines()[0]})") from None
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """What computed, for a record of results: the GPU's name, or `CPU, x86_64`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type.upper()}, {platform.machine()}"


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16 itself. Emulated bf16 is up to 300 times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()


@functools.cache
def fastest_precision(device: torch.device) -> str:
    """`bf16` or `float32`, what trains our networks faster on this machine; measured once a process.

    Bf16 in hardware is no promise: it also takes kernels that are good at it. Only where it is fast is it measured; a
    GPU that has it keeps it, and a CPU unless float32 is clearly faster, so that noise does not decide.
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
    """Seconds for forward and backward pass of a small residual block in 2D and one in 3D on the CPU, by precision."""
    from ..networks.norm import LAYOUT
    from ..networks.unet import ResBlock

    keep_freed_memory()
    shapes = (4, 32, 48, 40), (2, 16, 32, 24, 8)  # large enough for torch to take oneDNN in float32 too
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        steps, maps = torch.zeros(4, 8), [torch.randn(shape).to(memory_format=LAYOUT[len(shape)]) for shape in shapes]
        blocks = [ResBlock(x.ndim - 2, x.shape[1], x.shape[1], 8, 0.0).to(memory_format=LAYOUT[x.ndim]) for x in maps]
    for x in maps:
        x.requires_grad_()  # as within a network; without, torch's group norm crashes in its backward pass (2.13)

    def seconds(precision: str) -> float:
        dtype, start = torch.bfloat16 if precision == "bf16" else torch.float32, time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            out = [block(steps[: len(x)], x.to(dtype)) for block, x in zip(blocks, maps)]
        torch.autograd.backward(out, [torch.ones_like(y) for y in out])
        return time.perf_counter() - start

    times = [[seconds(precision) for precision in PRECISIONS[1:]] for _ in range(rounds)]
    return dict(zip(PRECISIONS[1:], map(min, zip(*times))))


def autocast(device: torch.device, precision: str = "auto") -> torch.autocast:
    """Context for convolutions in bf16; everything outside the networks stays float32 in either case.

    `auto` is what is faster. Raises `ValueError` for another name.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision '{precision}': choose from {', '.join(PRECISIONS)}")
    if device.type == "cpu":
        keep_freed_memory()
    precision = fastest_precision(device) if precision == "auto" else precision
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@functools.cache
def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed tensors instead of returning it: a tenth to a quarter faster on a CPU.

    Networks free and ask for the same large blocks in every step; each return costs the kernel a page fault a page.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**26)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            getattr(libc, "mallopt", lambda *_: 0)(option, value)
