"""Checkpoints that are whole or absent: written atomically, checked when read, the last two kept."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import warnings
from pathlib import Path

import torch

from ..support.files import write_atomically

KEEP = 2
UNREADABLE = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, EOFError, OSError, OverflowError)
UNREADABLE += (pickle.UnpicklingError, AssertionError, MemoryError)  # what torch.load raises, whatever the bytes are


def save_checkpoint(folder: Path, step: int, state: dict) -> Path:
    """Save `state` as `<step>-<sha8>.pt`; keep the checkpoint before it and delete all others.

    A checkpoint of a later step can only be corrupt, or this run would have gone on from it.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path = folder / f"{step:08d}-{_digest(content)}.pt"
    write_atomically(path, content)
    before = [p for p in _newest_first(folder) if int(p.stem.split("-")[0]) < step]
    for other in set(_newest_first(folder)) - {path, *before[: KEEP - 1]}:
        other.unlink(missing_ok=True)
    return path


def load_checkpoint(folder: Path) -> dict | None:
    """The newest whole checkpoint in `folder`, or None; a warning names each corrupt one that is skipped.

    What a process that was killed in `save_checkpoint` has not deleted yet is deleted.
    """
    for number, path in enumerate(found := _newest_first(folder)):
        state = _read(path)
        if isinstance(state, dict):
            for other in found[number + KEEP :]:
                other.unlink(missing_ok=True)
            return state
        warnings.warn(f"{path}: checkpoint is corrupt; going back to the one before it", stacklevel=2)
    return None


def _read(path: Path):
    """The content of a checkpoint; None where it is not what its name says, or no checkpoint."""
    content = path.read_bytes()
    if _digest(content) != path.stem.split("-")[1]:
        return None
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UNREADABLE:
        return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted((p for p in folder.glob("*.pt") if re.fullmatch("[0-9]+-[0-9a-f]{8}", p.stem)), reverse=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
