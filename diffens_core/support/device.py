"""The device to compute on: one choice for training and for sampling."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys

import torch

from .settings import ConfigError

CHOSEN = "ACCELERATE_TORCH_DEVICE"  # accelerate, which training uses, reads it too


def pick_device() -> torch.device:
    """The device that `use_device` has chosen, else the GPU where there is one, else the CPU."""
    return torch.device(os.environ.get(CHOSEN) or ("cuda" if torch.cuda.is_available() else "cpu"))


def use_device(name: str) -> None:
    """Compute on `name` in this process and those that it starts; `auto` chooses nothing.

    Raises `ConfigError` for a device that this machine lacks.
    """
    if name == "auto":
        return
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device '{name}' is not there ({str(error).splitlines()[0]})") from None
    os.environ[CHOSEN] = name
    if torch.device(name).type == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"  # or several processes would not find each other


def device_name(device: torch.device) -> str:
    """The name of a device for records of results: the GPU's name, or `CPU, x86_64`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type.upper()}, {platform.machine()}"


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the hardware can multiply in bf16; emulated bf16 is up to 300 times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def autocast_kind(device: torch.device) -> str:
    """The kind of device whose autocast rules on `device`: for one without autocast that of a CPU."""
    return device.type if torch.amp.is_autocast_available(device.type) else "cpu"


def full_precision(device: torch.device) -> torch.autocast:
    """The context in which products on `device` stay in float32, whatever autocast is around it."""
    return torch.autocast(autocast_kind(device), enabled=False)


@functools.cache
def keep_freed_memory() -> None:
    """Let glibc keep freed blocks below 32 MiB instead of returning them: a tenth to a quarter faster on a CPU.

    Networks free and allocate the same blocks in every step; each block returned costs page faults later. Larger blocks
    go back: kept, they leave gaps, for which whole heads of 1 mm took up to three times their memory.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        threshold, trim, pad = -3, -1, -2  # M_MMAP_THRESHOLD (32 MiB is glibc's most), M_TRIM_THRESHOLD, M_TOP_PAD
        for option, value in ((threshold, 2**25), (trim, 2**31 - 1), (pad, 2**26)):
            getattr(libc, "mallopt", lambda *_: 0)(option, value)
