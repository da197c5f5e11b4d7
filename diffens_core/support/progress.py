"""A progress line for long work: it is rewritten in a notebook and a terminal, and printed rarely to a log file.

A saved notebook keeps one line. The kernel writes one to its own standard error as well, every half minute: there it is
seen by who runs papermill, and in the log of a step of the graph.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

WIDTH = 12  # of the bar
RARELY = 30.0  # seconds between the lines of a log


class Progress:
    """A count up to `total`. A notebook has it as one output that is rewritten, so a saved notebook keeps one line."""

    def __init__(self, label: str, total: int):
        self.label, self.total, self.done = label, total, 0
        self.start, self.shown = time.monotonic(), 0.0
        self.logged = self.start
        self.first: tuple[int, float] | None = None
        self.handle = None

    def update(self, done: int, note: str = "") -> None:
        """Show that `done` of `total` steps are finished."""
        now = time.monotonic()
        self.handle = self.handle or _notebook_handle()
        self.first = self.first or (done, now)
        self.done = done
        every = 0.5 if self.handle or sys.stderr.isatty() else RARELY
        if now - self.shown >= every or done >= self.total:
            self.shown = now
            self._show(self._line(now, note), done >= self.total)
        if self.handle and now - self.logged >= RARELY:
            self.logged = now
            _log(self._line(now, note))

    def count(self, done: int, total: int, note: str = "") -> None:
        """Update done and `total` together, for work whose total is only known once it has begun."""
        self.total = total
        self.update(done, note)

    def _line(self, now: float, note: str) -> str:
        left = _clock(now - self.start)
        first, since = self.first  # before the first update lie one-off work, and the steps that a resume skips
        if first < self.done < self.total:
            left += f" spent, {_clock((now - since) / (self.done - first) * (self.total - self.done))} left"
        filled = round(WIDTH * self.done / max(1, self.total))
        bar = "█" * filled + "░" * (WIDTH - filled)
        return f"{self.label:<38} {bar} {self.done}/{self.total} · {left}{' · ' + note if note else ''}"

    def _show(self, line: str, last: bool) -> None:
        if self.handle:
            self.handle.update({"text/plain": line}, raw=True)
        elif sys.stderr.isatty():
            columns = shutil.get_terminal_size().columns  # a line that wraps is not rewritten but repeated
            sys.stderr.write("\r\x1b[K" + line[: columns - 1] + ("\n" if last else ""))
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()


def follow(training: Iterable, label: str, total: int) -> Iterator:
    """Yield the `Stats` of a training (`train` in `training/loop.py`), and show them as they come."""
    bar = Progress(label, total)
    for stats in training:
        bar.update(stats.step, f"loss {stats.loss:.4f}" + (f", resumed at {stats.begun}" if stats.begun else ""))
        yield stats


def _log(line: str) -> None:
    """Write a line where a kernel's standard error goes, beside the notebook; nothing where it goes nowhere."""
    with suppress(OSError):
        os.write(sys.stderr.fileno(), f"{line}\n".encode())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def ipython_shell():
    """The running shell of IPython, which a notebook's kernel has too; None elsewhere."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def _notebook_handle():
    """A display handle inside a Jupyter kernel, None elsewhere."""
    shell = ipython_shell()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return display({"text/plain": ""}, raw=True, display_id=True)
