"""Files that are written whole or not at all, and digests of files."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary name, flush to the disk, rename: a kill at any moment leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)  # where the disk is full


def check_writable(folder: Path) -> None:
    """Raise `OSError`, before hours of work, where nothing could be written into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def is_name(text: str) -> bool:
    """Whether a file or a folder can be called so: printed, not hidden, in one place, and with room for an ending."""
    return text.isprintable() and 0 < len(text.encode()) <= 200 and "/" not in text and not text.startswith(".")


def digest(path: str | Path) -> str:
    """Eight hexadecimal digits of a hash over a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8]
