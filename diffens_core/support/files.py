"""Files that are written whole or not at all, folders that one process at a time works in, and digests of files."""

from __future__ import annotations

import functools
import hashlib
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from .errors import DiffensError, WriteError

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # Windows
    flock = None


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path`, as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary name for this block to write to; then it is flushed to the disk and renamed to `path`.

    A kill at any moment leaves the old file or the new one. What killed processes left in this folder is removed.
    Raises `WriteError` where the file cannot be written; the old one stays.
    """
    path = Path(path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        temporary, held = _open_temporary(path)
        try:
            yield temporary
            os.fsync(held.fileno())
            if flock is None:
                held.close()  # Windows renames no open file
            os.replace(temporary, path)
        finally:
            held.close()
            temporary.unlink(missing_ok=True)


def _open_temporary(path: Path) -> tuple[Path, BinaryIO]:
    """A new file beside `path`, whose lock says that its process lives."""
    while True:
        temporary = path.with_name(f".partial-{secrets.token_hex(4)}-{path.name}")
        held = open(temporary, "xb")  # noqa: SIM115
        if flock is None:
            return temporary, held
        with suppress(OSError):  # a file system without locks
            flock(held, LOCK_EX)
        if temporary.exists():  # else it was taken for abandoned before it had its lock
            return temporary, held
        held.close()


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of killed processes: those that nobody holds."""
    for temporary in folder.glob(".partial-????????-*") if flock else ():
        with suppress(OSError), open(temporary, "rb+") as file:
            flock(file, LOCK_EX | LOCK_NB)
            temporary.unlink()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """An error of the system in this block, which writes to `path`, is raised as a `WriteError` that names it."""
    try:
        yield
    except DiffensError:
        raise
    except OSError as error:
        advice = "make room there or choose another place, then run the same command again"
        raise WriteError(f"{path}: cannot be written ({error.strerror or error}); {advice}") from error


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """For this block, which writes into `folder`, other processes that ask for the same wait; a killed one holds none.

    Raises `WriteError` where nothing could be written.
    """
    check_writable(folder)
    lock = FileLock(folder / ".lock")
    with explained(folder):
        try:
            lock.acquire(timeout=2)
        except Timeout:
            _say_once(f"waiting for another process that works in {folder}")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@functools.cache
def _say_once(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def check_writable(folder: Path) -> None:
    """Raise `WriteError`, before hours of work, where nothing could be written into `folder`, which is made."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def is_name(text: str) -> bool:
    """Whether a file or a folder can be called so: printed, not hidden, in one place, and with room for an ending."""
    return text.isprintable() and 0 < len(text.encode()) <= 200 and "/" not in text and not text.startswith(".")


def digest(path: str | Path) -> str:
    """Eight hexadecimal digits of a hash over a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8]
