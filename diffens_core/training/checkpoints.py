"""Checkpoints that are whole or absent: written atomically, checked when read, the one before it kept."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from pathlib import Path

import numpy as np
import torch

from .config import ConfigError

KEEP = 2
# A numpy number within a file, under the module names of numpy 1 and 2.
NUMPY_SCALARS = [
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    type(np.dtype(np.float64)),
    type(np.dtype(np.float32)),
]


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary name, flush to the disk, rename: a kill at any moment leaves the old file or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def save_checkpoint(folder: Path, step: int, state: dict) -> Path:
    """Save `state` as `<step>-<sha8>.pt`; keep the one before it and drop all others.

    One of a later step can only be corrupt, or this run would have gone on from it.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path = folder / f"{step:08d}-{_digest(content)}.pt"
    write_atomically(path, content)
    before = [p for p in _newest_first(folder) if int(p.stem.split("-")[0]) < step]
    for other in set(_newest_first(folder)) - {path, *before[: KEEP - 1]}:
        other.unlink()
    return path


def load_checkpoint(folder: Path) -> dict | None:
    """The newest whole checkpoint in `folder`, or None. A corrupt one is named in a warning and passed over."""
    for path in _newest_first(folder):
        content = path.read_bytes()
        if _digest(content) == path.stem.split("-")[1]:
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        warnings.warn(f"{path}: checkpoint is corrupt; going back to the one before it", stacklevel=2)
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*-*.pt"), reverse=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def digest(path: str | Path) -> str:
    """Eight hexadecimal digits over a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8]


def published_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Tensors by name from a file that others published: a state dict, or one under `state_dict`, of one or more GPUs.

    Nothing in the file is executed. Raises `ConfigError` for a file that is not there or no torch checkpoint.
    """
    try:
        with torch.serialization.safe_globals(NUMPY_SCALARS):  # such files also hold their best score
            content = torch.load(path, map_location="cpu", weights_only=True)
        weights = content.get("state_dict", content)
        return {n.removeprefix("module."): value for n, value in weights.items() if isinstance(value, torch.Tensor)}
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except Exception as error:  # torch raises many kinds for files that are none of its own
        raise ConfigError(f"{path}: not a torch checkpoint ({str(error).splitlines()[0]})") from None
