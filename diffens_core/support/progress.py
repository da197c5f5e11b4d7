"""A progress line for long work: it is rewritten in a notebook and a terminal, and printed rarely to a log file.

A saved notebook keeps one line. The kernel writes one to its own standard error as well, every half minute: there it is
seen by who runs papermill, and in the log of a step of the graph. A single step may take longer than that; then a
thread repeats the line, with the time spent, until the step is done.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import ClassVar

WIDTH = 12  # of the bar
RARELY = 30.0  # seconds between the lines of a log
LOOK = 1.0  # seconds between looks whether a line is due though no step was finished


class Progress:
    """A count up to `total`. A notebook has it as one output that is rewritten, so a saved notebook keeps one line.

    It is used in a `with` block: within, a line comes at least every half minute, however long a step takes. Where bars
    are open within one another, that is the line of the innermost.
    """

    open: ClassVar[list[Progress]] = []  # from the outermost to the innermost
    said: ClassVar[float] = 0.0  # when the last line of any of them went to a terminal or a log

    def __init__(self, label: str, total: int):
        self.label, self.total, self.done, self.note = label, total, 0, ""
        self.start, self.shown = time.monotonic(), 0.0
        self.first: tuple[int, float] | None = None
        self.handle = None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._repeat, daemon=True)

    def __enter__(self) -> Progress:
        self.open.append(self)
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        self.thread.join()
        self.open.remove(self)

    def update(self, done: int, note: str = "") -> None:
        """Show that `done` of `total` steps are finished."""
        now = time.monotonic()
        self.handle = self.handle or _notebook_handle()
        self.first = self.first or (done, now)
        self.done, self.note = done, note
        every = 0.5 if self.handle or sys.stderr.isatty() else RARELY
        if now - self.shown >= every or done >= self.total:
            self.shown = now
            if self.handle:
                self.handle.update({"text/plain": self._line(now)}, raw=True)
            else:
                self._say(self._line(now), done >= self.total)

    def count(self, done: int, total: int, note: str = "") -> None:
        """Update done and `total` together, for work whose total is only known once it has begun."""
        self.total = total
        self.update(done, note)

    def _repeat(self) -> None:
        """Until the bar is closed: its line wherever nothing was said for half a minute.

        A notebook's output is left alone, as it belongs to the thread of its cell.
        """
        while not self.over.wait(LOOK):
            now = time.monotonic()
            if self.open[-1] is self and now - max(Progress.said, self.open[0].start) >= RARELY:
                self._say(self._line(now))

    def _line(self, now: float) -> str:
        left = _clock(now - self.start)
        # Before the first update lie one-off work, and the steps that a resume skips.
        first, since = self.first or (0, now)
        if first < self.done < self.total:
            left += f" spent, {_clock((now - since) / (self.done - first) * (self.total - self.done))} left"
        filled = round(WIDTH * self.done / max(1, self.total))
        bar = "█" * filled + "░" * (WIDTH - filled)
        return f"{self.label:<38} {bar} {self.done}/{self.total} · {left}{' · ' + self.note if self.note else ''}"

    def _say(self, line: str, last: bool = False) -> None:
        """Write a line to standard error; of a kernel to its own, beside the notebook."""
        Progress.said = time.monotonic()
        if _in_kernel():
            _log(line)
            return
        if sys.stderr.isatty():
            columns = shutil.get_terminal_size().columns  # a line that wraps is not rewritten but repeated
            sys.stderr.write("\r\x1b[K" + line[: columns - 1] + ("\n" if last else ""))
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()


def follow(training: Iterable, label: str, total: int) -> Iterator:
    """Yield the `Stats` of a training (`train` in `training/loop.py`), and show them as they come."""
    with Progress(label, total) as bar:
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


def _in_kernel() -> bool:
    """Whether this is a Jupyter kernel."""
    return hasattr(ipython_shell(), "kernel")


def _notebook_handle():
    """A display handle inside a Jupyter kernel, None elsewhere."""
    if not _in_kernel():
        return None
    from IPython.display import display

    return display({"text/plain": ""}, raw=True, display_id=True)
