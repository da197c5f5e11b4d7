"""The cost of a training: `cost.json` in its run folder has seconds, device, trained parameters and peak memory."""

from __future__ import annotations

import ctypes
import json
import math
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch

from .device import device_name
from .files import write_atomically
from .records import REMEDY, read_record
from .settings import ConfigError

KEYS = ("seconds", "core_seconds", "parameters", "memory")  # of numbers in cost.json


def forget_peak(device: torch.device) -> None:
    """Reset `peak_memory`, so that one process can measure several trainings; on a CPU only Linux can do this."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)(0)  # memory that `keep_freed_memory` keeps would count
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> float:
    """The largest memory in GiB since `forget_peak`: of the GPU's tensors, or on a CPU of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    with suppress(OSError):  # `ru_maxrss` begins with the size of the process that started this one
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


class Spent(NamedTuple):
    """Time in seconds: on the clock, and of all CPU cores together, which depends less on other processes."""

    clock: float = 0.0
    cores: float = 0.0

    @classmethod
    def now(cls) -> Spent:
        """The time at this moment; it is to be subtracted from a later one."""
        return cls(time.monotonic(), time.process_time())

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.clock + other.clock, self.cores + other.cores)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.clock - other.clock, self.cores - other.cores)


def write_cost(folder: Path, spent: Spent, device: torch.device, parameters: int, memory: float) -> None:
    """Write `cost.json`: seconds of training on the clock and of cores, device, parameters, peak memory in GiB."""
    content = {"seconds": round(spent.clock, 1), "core_seconds": round(spent.cores, 1), "device": device_name(device)}
    content |= {"parameters": parameters, "memory": round(memory, 2)}
    write_atomically(folder / "cost.json", json.dumps(content).encode())


def read_cost(folder: Path) -> dict[str, float | str]:
    """The content of `cost.json` in a run folder; empty where there is none, as in an unfinished run.

    Raises `ConfigError` for one that is damaged.
    """
    path = Path(folder) / "cost.json"
    cost = read_record(path) if path.is_file() else {}
    wrong = [key for key in KEYS if type(cost.get(key, 0)) not in (int, float) or not 0 <= cost.get(key, 0) < math.inf]
    if wrong or not isinstance(cost.get("device", ""), str):
        raise ConfigError(f"{path}: wrong {', '.join(wrong) or 'device'}; {REMEDY}")
    return cost
