"""The progress line: what a terminal, a log file and a saved notebook get."""

import io

import pytest

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


def test_a_notebook_has_one_output_and_the_kernels_own_error_a_line_every_half_minute(monkeypatch):
    shown, logged, now = [], [], [100.0]
    handle = type("Handle", (), {"update": lambda self, data, raw: shown.append(data["text/plain"])})()
    monkeypatch.setattr("diffens_core.support.progress._notebook_handle", lambda: handle)
    monkeypatch.setattr("diffens_core.support.progress._log", logged.append)
    monkeypatch.setattr("diffens_core.support.progress.time.monotonic", lambda: now[0])
    bar = Progress("sampling", 100)
    for done in range(1, 101):
        now[0] += 1
        bar.update(done)
    assert len(shown) == 100 and [line.split(" · ")[0].split()[-1] for line in logged] == ["30/100", "60/100", "90/100"]


def test_a_training_that_was_resumed_says_so(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    list(follow(iter([Stats(60, 100, 0.5, 1e-3, begun=50), Stats(100, 100, 0.4, 1e-3, begun=50)]), "training", 100))
    assert all(line.endswith("resumed at 50") for line in log.getvalue().splitlines())
