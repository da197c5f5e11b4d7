"""What a training took: `cost.json` in its run folder, with seconds, trained parameters and peak memory."""

from __future__ import annotations

import ctypes
import json
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

from .checkpoints import write_atomically


def forget_peak(device: torch.device) -> None:
    """Begin `peak_memory` anew, so that one process can measure several trainings; on a CPU only Linux can do it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)(0)  # what `keep_freed_memory` keeps would count
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> float:
    """Largest memory in GiB since `forget_peak`: of the GPU's tensors, or on a CPU of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def write_cost(folder: Path, *, seconds: float, parameters: int, memory: float) -> None:
    """Write `cost.json`: seconds of training (all attempts), trained parameters, peak memory in GiB."""
    content = {"seconds": round(seconds, 1), "parameters": parameters, "memory": round(memory, 2)}
    write_atomically(folder / "cost.json", json.dumps(content).encode())


def read_cost(folder: Path) -> dict[str, float]:
    """`cost.json` of a run folder; empty for a run that has none, such as a shipped one."""
    path = Path(folder) / "cost.json"
    return json.loads(path.read_text()) if path.is_file() else {}
