"""Files with wrong bytes: every reader gives a right answer, or refuses in one line of `DiffensError`.

    python -m benchmarks.fuzz [--kind header] [--count 10000] [--seed 0] [--first 0]

`KINDS` says of each kind of file how sound ones are made, how bytes of them become wrong, how the library reads them
and how its answer is judged. A fault is any other error, one whose message has several lines or does not name the file,
a numerical warning, an answer that cannot be right, more than `SECONDS` of processor time, more memory than `FACTOR`
times the size of the files and `ALLOWANCE`, and any file left behind but one that is whole. Of the answers, those are
`confirmed` that another reader gives, too: SimpleITK, Python's json, or the plain lines and bytes.

Memory is the most that the process has resident (Linux) while the library reads and writes, less what it had before; a
file packed by gzip counts with what comes out of it.

Mutant N of a kind depends on the seed and N alone: `--kind K --seed S --first N --count 1` makes it again.
"""

from __future__ import annotations

import argparse
import gzip
import io
import logging
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK
from numpy.random import Generator

from benchmarks import fuzz_nifti as nifti
from benchmarks import fuzz_runs as runs
from benchmarks import fuzz_sets as sets
from benchmarks.wrong_bytes import Files, Wrong, one_wrong
from diffens_core.networks.published import published_weights
from diffens_core.support.errors import DiffensError
from diffens_core.training.config import load_config
from diffens_core.training.runs import load_folder

ROOT = Path(__file__).parents[1]
SECONDS = 5.0  # of processor time for one file
FACTOR, ALLOWANCE = 8, 32 * 2**20  # of the files' size; bytes


class TooLong(BaseException):
    """A file took longer than `SECONDS`."""


class Kind(NamedTuple):
    """Files of one kind: sound ones, wrong ones, the library's answer, and whether it can be right.

    judge: raises `Wrong`, or returns whether another reader confirms the answer. writes: what may be there afterwards.
    """

    make: Callable[[Generator], Files]
    spoil: Callable[[Files, Generator], Files]
    read: Callable[[Path], object]
    judge: Callable[[Path, object], bool | None]
    writes: str = "nothing"


def fixed(make: Callable[[], Files]) -> Callable[[Generator], Files]:
    """Files that are the same for every mutant."""
    return lambda rng: make()


KINDS = {
    "header": Kind(nifti.image, nifti.wrong_header, nifti.read_and_write, nifti.judge_volume, "out.nii.gz"),
    "body": Kind(nifti.image, nifti.wrong_body, nifti.read_and_write, nifti.judge_volume, "out.nii.gz"),
    "set": Kind(fixed(sets.prepared_set), one_wrong, sets.read_set, sets.judge_set),
    "table": Kind(sets.table, one_wrong, sets.read_any_table, sets.judge_table),
    "records": Kind(sets.records, one_wrong, sets.read_records, sets.judge_records),
    "yaml": Kind(sets.plan, one_wrong, sets.read_plan, sets.judge_plan),
    "config": Kind(fixed(runs.config), one_wrong, lambda at: load_config(at / "config.json"), runs.judge_config),
    "checkpoint": Kind(
        fixed(runs.checkpoints), runs.wrong_checkpoint, runs.resume, runs.judge_checkpoint, "00000003-*.pt"
    ),
    "weights": Kind(fixed(runs.run), one_wrong, lambda at: load_folder(at / runs.RUN.folder), runs.judge_weights),
    "published": Kind(
        fixed(runs.published), one_wrong, lambda at: published_weights(at / "weights.pt"), runs.judge_published
    ),
}


def unpacked(content: bytes) -> int:
    """Bytes of a file; of one packed by gzip those that come out, up to its first fault."""
    size = 0
    if content[:2] == b"\x1f\x8b":
        with suppress(OSError, EOFError, zlib.error), gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            while chunk := file.read(2**20):
                size += len(chunk)
    return max(size, len(content))


def memory(name: str) -> int:
    """Bytes of this process: VmRSS now, or VmHWM, the most since the peak was forgotten."""
    return 1024 * int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


@contextmanager
def limits(size: int, allowance: int = ALLOWANCE) -> Iterator[None]:
    """Raise `TooLong` or `Wrong` where what runs within takes more time or memory than files of `size` bytes may."""

    def stop(*_):
        raise TooLong(f"more than {SECONDS:g} s")

    before = signal.signal(signal.SIGPROF, stop)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    began = memory("VmRSS")
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    if (taken := memory("VmHWM") - began) > FACTOR * size + allowance:
        raise Wrong(f"{taken / 2**20:.0f} MiB for files of {size / 2**20:.2f} MiB")


def check_message(error: DiffensError, folder: Path) -> None:
    """Raise `Wrong` for a message that is not one line, cannot be printed, or names no file in the folder."""
    text = str(error)
    if len(text.splitlines()) != 1 or len(text) > 2000 or not text.isprintable() or str(folder) not in text:
        raise Wrong(f"{type(error).__name__}: {text!r:.300}")


def listed(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def answer_of(kind: Kind, files: Files, folder: Path) -> str:
    """What becomes of one set of files in an empty folder: `confirmed`, `answered` or `refused`; raises for a fault."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    before, refused = listed(folder), False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)
        with limits(sum(map(unpacked, files.values()))):
            try:
                answer = kind.read(folder)
            except DiffensError as error:
                check_message(error, folder)
                refused = True
    left = [path for path in listed(folder) - before if refused or not path.match(kind.writes)]
    if left:
        raise Wrong(f"{left[0].name} is left")
    if refused:
        return "refused"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return "confirmed" if kind.judge(folder, answer) else "answered"


def place(error: BaseException) -> str:
    """The innermost line of this repository that an error came through."""
    own = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(ROOT)]
    own = [f for f in own if "site-packages" not in f.filename]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}"


def fuzz(name: str, count: int, seed: int, folder: Path, first: int = 0) -> tuple[Counter, dict[str, int]]:
    """Mutants `first` to `first + count` of a kind: how many had which fate, and the first one of each fault."""
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    kind, folder, counts, faults = KINDS[name], folder / name, Counter(), {}
    for number in range(first, first + count):
        rng = np.random.default_rng([seed, number])
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            fate = answer_of(kind, kind.spoil(kind.make(rng), rng), folder)
        except (Exception, TooLong) as error:
            fate = "faults"
            faults.setdefault(f"{type(error).__name__} in {place(error)}: {' '.join(str(error).split()):.200}", number)
        counts[fate] += 1
    return counts, faults


def main() -> int:
    """Command line of this module; returns 1 where there are faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, nargs="*", default=KINDS)
    options, wrong = parser.parse_args(), 0
    with tempfile.TemporaryDirectory() as folder:
        for name in options.kind:
            began = time.process_time()
            counts, faults = fuzz(name, options.count, options.seed, Path(folder), options.first)
            fates = ", ".join(f"{counts[fate]} {fate}" for fate in ("confirmed", "answered", "refused", "faults"))
            print(f"{name:10} {fates}; {time.process_time() - began:.0f} s", flush=True)
            for fault, number in list(faults.items())[:20]:
                print(f"    {fault}  (--kind {name} --seed {options.seed} --first {number} --count 1)", flush=True)
            wrong += counts["faults"]
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
