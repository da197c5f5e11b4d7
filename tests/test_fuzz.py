"""Any byte of a file may be wrong: a right answer, or one line that says what is; `benchmarks/fuzz.py` tries more."""

from mmap import mmap

import numpy as np
import pytest

from benchmarks import fuzz


@pytest.mark.parametrize("name", fuzz.KINDS)
def test_wrong_bytes_give_a_right_answer_or_one_line(name, tmp_path):
    counts, faults = fuzz.fuzz(name, 150, 1, tmp_path)
    assert not faults, f"repeat with --kind {name} --seed 1 --first NUMBER --count 1: {faults}"
    assert counts["confirmed"] + counts["answered"] and (counts["refused"] or name == "checkpoint")


@pytest.mark.parametrize("name", fuzz.KINDS)
def test_sound_files_are_answered(name, tmp_path, monkeypatch):
    monkeypatch.setitem(fuzz.KINDS, name, fuzz.KINDS[name]._replace(spoil=lambda files, rng: files))
    counts, faults = fuzz.fuzz(name, 20, 0, tmp_path)
    assert not faults and not counts["refused"]
    assert counts["confirmed"] or name in ("set", "yaml", "checkpoint", "published")


def loop(folder):
    while True:
        pass


def refuse(text):
    def read(folder):
        raise fuzz.DiffensError(text.format(folder))

    return read


def fill(folder):
    """Memory of its own: a heap may have kept enough of what earlier tests freed."""
    with mmap(-1, 10**8) as block:
        block.write(bytes(10**8))


@pytest.mark.parametrize(
    "word, read",
    [
        ("KeyError", lambda folder: {}["a"]),
        ("more than", loop),
        ("two", refuse("{0}: two\nlines")),
        ("nameless", refuse("nameless")),
        ("MiB", fill),
        ("overflow", lambda folder: np.float32(1e38) * np.float32(1e38)),
        ("half.nii is left", lambda folder: (folder / "half.nii").write_bytes(b"")),
        ("not right", lambda folder: folder),
    ],
)
def test_the_harness_sees_faults_of_each_sort(word, read, tmp_path, monkeypatch):
    def judge(folder, answer):
        raise fuzz.Wrong("not right")

    broken = fuzz.Kind(lambda rng: {"a": b"a"}, lambda files, rng: files, read, judge)
    monkeypatch.setattr(fuzz, "SECONDS", 0.5)
    monkeypatch.setitem(fuzz.KINDS, "broken", broken)
    counts, faults = fuzz.fuzz("broken", 1, 0, tmp_path)
    assert counts["faults"] == 1 and word in next(iter(faults))
