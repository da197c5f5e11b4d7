"""The progress line: what a terminal, a log file and a saved notebook get."""

import io
import threading
import time

import pytest

from diffens_core.support import progress
from diffens_core.support.progress import Progress, _clock, follow
from diffens_core.training.loop import Stats


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_line_is_rewritten_and_never_wraps(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "60")
    bar = Progress("training segmentation segmenter (seg4)", 3)
    for done in (1, 2, 3):
        bar.shown = 0.0  # as if half a second had passed
        bar.update(done, "loss 0.1234 and a long note that would not fit")
    lines = terminal.getvalue().split("\r\x1b[K")
    assert len(lines) == 4 and all(len(line.rstrip("\n")) <= 59 for line in lines)
    assert terminal.getvalue().count("\n") == 1 and terminal.getvalue().endswith("\n")


def test_a_log_file_gets_the_first_the_last_and_a_line_every_half_minute(monkeypatch):
    log, now = io.StringIO(), [100.0]
    monkeypatch.setattr("sys.stderr", log)
    monkeypatch.setattr("diffens_core.support.progress.time.monotonic", lambda: now[0])
    bar = Progress("sampling", 100)
    for done in range(1, 101):
        now[0] += 1
        bar.update(done)
    counts = [line.split(" · ")[0].split()[-1] for line in log.getvalue().splitlines()]
    assert counts == ["1/100", "31/100", "61/100", "91/100", "100/100"]
    assert "left" in log.getvalue().splitlines()[1] and "left" not in log.getvalue().splitlines()[-1]


@pytest.mark.parametrize("seconds, text", [(59.9, "0:59"), (61, "1:01"), (3600, "1:00:00"), (7325, "2:02:05")])
def test_times_are_written_as_a_clock(seconds, text):
    assert _clock(seconds) == text


def test_a_notebook_has_one_output_that_is_rewritten_and_no_line_of_it_in_a_log(monkeypatch):
    shown, logged, now = [], [], [100.0]
    handle = type("Handle", (), {"update": lambda self, data, raw: shown.append(data["text/plain"])})()
    monkeypatch.setattr("diffens_core.support.progress._notebook_handle", lambda: handle)
    monkeypatch.setattr("diffens_core.support.progress._log", logged.append)
    monkeypatch.setattr("diffens_core.support.progress.time.monotonic", lambda: now[0])
    bar = Progress("sampling", 100)
    for done in range(1, 101):
        now[0] += 1
        bar.update(done)
    assert len(shown) == 100 and logged == []


@pytest.fixture
def impatient(monkeypatch):
    """Half a minute is a twentieth of a second, and nothing was said yet."""
    monkeypatch.setattr(progress, "RARELY", 0.05)
    monkeypatch.setattr(progress, "LOOK", 0.005)
    monkeypatch.setattr(Progress, "said", 0.0)


def wait_for(condition):
    """At most ten seconds, so that a busy machine fails no test."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


def test_a_step_that_takes_long_is_said_again_until_the_bar_is_closed(monkeypatch, impatient):
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    with Progress("gathering", 10) as bar:
        wait_for(lambda: log.getvalue().count(" 0/10 · ") >= 2)  # before the first update
        bar.update(3, "head 3")
        wait_for(lambda: log.getvalue().count(" 3/10 · ") >= 3)
    assert not bar.thread.is_alive() and Progress.open == []
    said = log.getvalue()
    time.sleep(0.2)
    assert log.getvalue() == said and said.splitlines()[-1].endswith("head 3")


def test_of_bars_within_one_another_the_innermost_is_said_again(monkeypatch, impatient):
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    with Progress("outer", 5) as outer:
        outer.update(1)
        with Progress("inner", 7):
            wait_for(lambda: log.getvalue().count("inner") >= 3)
        assert log.getvalue().count("outer") == 1
        wait_for(lambda: log.getvalue().count("outer") >= 2)


def test_in_a_kernel_it_is_said_to_the_kernels_own_standard_error(monkeypatch, impatient):
    logged = []
    monkeypatch.setattr(progress, "_log", logged.append)
    monkeypatch.setattr(progress, "ipython_shell", lambda: type("Shell", (), {"kernel": None})())
    with Progress("sampling", 9):
        wait_for(lambda: len(logged) >= 2)
    assert " 0/9 · " in logged[0]


def test_a_bar_is_closed_by_an_error_and_by_whoever_stops_early(monkeypatch, impatient):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), Progress("failing", 2):
        _ = 1 / 0
    for _ in follow(iter([Stats(1, 9, 0.5, 1e-3, begun=0)] * 9), "stopped", 9):
        break
    assert threading.active_count() == before and Progress.open == []


def test_a_training_that_was_resumed_says_so(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    list(follow(iter([Stats(60, 100, 0.5, 1e-3, begun=50), Stats(100, 100, 0.4, 1e-3, begun=50)]), "training", 100))
    assert all(line.endswith("resumed at 50") for line in log.getvalue().splitlines())
