"""Two processes on one folder, a full disk, a folder that cannot be written: one line each, and nothing is lost.

A full disk is a small tmpfs, where mounting is allowed, and a limit on the size of files, which is everywhere. A folder
that cannot be written is one below a regular file, which binds root too, and a tmpfs that is mounted read-only.
"""

import io
import json
import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from filelock import FileLock
from forks import FORKS
from nifti_trees import SHAPE as WINDOW
from nifti_trees import make_subject
from test_batch import degraded
from test_resume import stop_after
from tiny import expert_config, fusion_config, write_prepared

from diffens_core.cli import main
from diffens_core.support.settings import to_dict
from diffens_core.training import runs
from diffens_core.training.states import StatesConfig

ROOT = Path(__file__).parents[1]
LARGEST = 3000  # bytes of a file: settings and tables fit in, volumes and weights do not


def child(arguments: list[str], limit: int, turn, said) -> None:
    """The command line in this process, where no file may be larger than `limit`, if that is not 0."""
    import torch

    torch.set_num_threads(1)
    text = io.StringIO()
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if turn:
        turn.wait(60)
    with redirect_stdout(text), redirect_stderr(text):
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code
    said.send((code, text.getvalue()))


def start(arguments, limit: int = 0, turn=None):
    receive, send = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=child, args=([str(a) for a in arguments], limit, turn, send))
    process.start()
    send.close()
    return process, receive


def end(process, receive) -> tuple[int, str]:
    """The exit status of a command, and what it said."""
    try:
        return receive.recv()
    finally:
        process.join(60)


def run(arguments, limit: int = 0) -> tuple[int, str]:
    return end(*start(arguments, limit))


def refused(answer: tuple[int, str], *parts: str) -> None:
    """Another status than 0, and one line that says what cannot be written, why, and what to do.

    Of many subjects each has a line in front of it.
    """
    code, said = answer
    lines = [line for line in said.splitlines() if "cannot be written" in line]
    lines = [line for line in lines if not line.startswith("[")] or lines
    assert code and "Traceback" not in said and len(lines) == 1, said
    assert all(part in lines[0] for part in (*parts, "run the same command again")), said


def contents(folder: Path) -> dict[str, bytes]:
    """All files, but for locks; of what holds seconds, that it is there; checkpoints by their step."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name != ".lock":
            timed = path.name in ("cost.json", "cost.csv", "summary.tsv") or path.suffix == ".pt"
            name = path.name[:8] if path.suffix == ".pt" else path.name
            found[str(path.relative_to(folder).with_name(name))] = b"" if timed else path.read_bytes()
    return found


class Prepare:
    """BraTS files into a set that has one subject of them already."""

    def __init__(self, top: Path):
        self.source, self.top = top / "brats", top
        make_subject(self.source, "a1")

    def begin(self, out: Path) -> None:
        assert run(self.command(out))[0] == 0
        for name in ("a2", "a3"):
            make_subject(self.source, name)

    def command(self, out: Path) -> list:
        return ["prepare", "brats", "--source", self.source, "--out", out, "--shape", *WINDOW[1:]]


class Train:
    """A fusion whose experts are trained, and which has a checkpoint."""

    def __init__(self, top: Path):
        states = StatesConfig(steps=2, heads=2, patches=8, rounds=1, fit=2)
        self.config = fusion_config(write_prepared(top / "data"), steps=12, states=states)
        self.top, self.file = top, top / "config.json"
        self.file.write_text(json.dumps(to_dict(self.config)))

    def begin(self, out: Path) -> None:
        for expert in self.config.experts:
            folder = out / expert.folder
            runs.save_weights(folder, runs.build(expert), expert)
        stop_after(self.config, out / self.config.folder, 10)

    def command(self, out: Path) -> list:
        return ["train", self.file, "--runs", out, "--precision", "float32", "--device", "cpu"]


class Translate:
    """One file, in place of a translation that is there."""

    def __init__(self, top: Path):
        config = expert_config(write_prepared(top / "data"))
        self.top, self.run = top, top / "runs" / config.folder
        runs.save_weights(self.run, runs.build(config), config)
        (self.run / "config.json").write_text(json.dumps(to_dict(config)))
        for name in "ab":
            degraded(top / "lr" / f"{name}.nii.gz", ord(name))

    def begin(self, out: Path) -> None:
        assert run([*self.command(out), "--seed", 1])[0] == 0

    def command(self, out: Path) -> list:
        options = ["--steps", 2, "--precision", "float32", "--samples", 2, "--std", out / "std.nii.gz", "--overwrite"]
        return [
            "translate",
            "--run",
            self.run,
            "--lr",
            self.top / "lr" / "a.nii.gz",
            "--out",
            out / "a.nii.gz",
            *options,
        ]


class Batch(Translate):
    """A folder of files, of which one is translated already."""

    def begin(self, out: Path) -> None:
        moved = (self.top / "lr" / "b.nii.gz").rename(self.top / "b.nii.gz")
        assert run(self.command(out))[0] == 0
        moved.rename(self.top / "lr" / "b.nii.gz")

    def command(self, out: Path) -> list:
        options = ["--steps", 2, "--precision", "float32"]
        return ["translate", "--run", self.run, "--lr", self.top / "lr", "--out", out, *options]


class Evaluate:
    """A method on two subjects, one of which is translated and measured already."""

    def __init__(self, top: Path):
        self.top, self.data = top, write_prepared(top / "data", ("train", "train", "test", "test"))

    def begin(self, out: Path) -> None:
        assert run([*self.command(out), "--subjects", 1])[0] == 0

    def command(self, out: Path) -> list:
        places = ["--data", self.data, "--runs", out / "runs", "--out", out / "out"]
        return ["evaluate", "cubic-projected", "--preset", "smoke", *places]


COMMANDS = (Prepare, Train, Translate, Batch, Evaluate)


@pytest.fixture(params=COMMANDS, ids=lambda kind: kind.__name__.lower())
def command(request, tmp_path):
    (tmp_path / "in").mkdir()
    return request.param(tmp_path / "in")


@contextmanager
def mounted(folder: Path, options: str):
    """A tmpfs on `folder`; the test is skipped where this process may not mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_two_at_once_end_as_one_alone(command, tmp_path):
    together, alone = tmp_path / "together" / "out", tmp_path / "alone" / "out"
    command.begin(together)
    shutil.copytree(together, alone)
    assert run(command.command(alone))[0] == 0
    turn = FORKS.Barrier(2)
    for answer in [end(*one) for one in [start(command.command(together), turn=turn) for _ in range(2)]]:
        assert answer[0] == 0 and "Traceback" not in answer[1], answer
    assert contents(together) == contents(alone)


def test_a_preparation_waits_for_another_into_the_same_folder(tmp_path):
    (tmp_path / "in").mkdir()
    command, out = Prepare(tmp_path / "in"), tmp_path / "out"
    out.mkdir()
    with FileLock(out / ".lock"):
        process, said = start(command.command(out))
        assert not said.poll(4) and not contents(out)
    code, text = end(process, said)
    assert code == 0 and f"waiting for another process that works in {out}" in text and contents(out)


def assert_kept_and_finished(command, out: Path, before: dict[str, bytes], undisturbed: Path) -> None:
    """What was there is there, nothing half-written is beside it, and the same command ends as it would have."""
    growing = ("participants.tsv", "dataset.json", "log.csv", "summary.tsv", "metrics.csv")
    kept = {name: content for name, content in contents(out).items() if not name.endswith(growing)}
    assert all(kept[name] == content for name, content in before.items() if not name.endswith(growing))
    assert not [name for name in kept if "partial" in name]
    assert run(command.command(out))[0] == 0
    assert contents(out) == contents(undisturbed)


@pytest.fixture
def undisturbed(command, tmp_path):
    """A function that finishes a copy of a folder in peace."""

    def finish(out: Path) -> Path:
        alone = shutil.copytree(out, tmp_path / "alone")
        assert run(command.command(alone))[0] == 0
        return alone

    return finish


def test_where_files_may_not_grow_one_line_says_so(command, tmp_path, undisturbed):
    out = tmp_path / "out"
    command.begin(out)
    finished, before = undisturbed(out), contents(out)
    refused(run(command.command(out), LARGEST), str(out), "File too large")
    assert_kept_and_finished(command, out, before, finished)


def test_on_a_full_disk_one_line_says_so(command, tmp_path, undisturbed):
    with mounted(tmp_path / "small", "size=8m") as small:
        out = small / "out"
        command.begin(out)
        finished, before = undisturbed(out), contents(out)
        filler = small / "filler"
        with pytest.raises(OSError), open(filler, "wb", buffering=0) as file:  # noqa: PT012
            while True:
                file.write(bytes(4096))
        refused(run(command.command(out)), str(out), "No space left on device")
        filler.unlink()
        assert_kept_and_finished(command, out, before, finished)


def test_a_folder_below_a_file_is_refused_in_one_line(command, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    refused(run(command.command(tmp_path / "file" / "out")), str(tmp_path / "file"))


def test_a_read_only_folder_is_refused_in_one_line_and_kept(command, tmp_path):
    with mounted(tmp_path / "locked", "size=8m") as locked:
        out = locked / "out"
        command.begin(out)
        before = contents(out)
        subprocess.run(["mount", "-o", "remount,ro", locked], check=True)
        refused(run(command.command(out)), str(out), "Read-only file system")
        assert contents(out) == before


def test_what_is_finished_is_read_from_a_read_only_folder(tmp_path):
    """A lab shares data, weights and samples that its members may not change."""
    (tmp_path / "in").mkdir()
    command = Evaluate(tmp_path / "in")
    with mounted(tmp_path / "shared", "size=8m") as shared:
        assert run(command.command(shared))[0] == 0
        subprocess.run(["mount", "-o", "remount,ro", shared], check=True)
        elsewhere = [*command.command(shared)[:-1], tmp_path / "own"]
        assert run(elsewhere)[0] == 0
        assert (tmp_path / "own" / "metrics.csv").read_bytes() == (shared / "out" / "metrics.csv").read_bytes()


@pytest.mark.parametrize("step", ["sample", "evaluate"])
def test_a_step_of_the_graph_says_what_it_could_not_write(step, tmp_path):
    """Its message has several lines, of which one is the error; its log and its notebook are written elsewhere."""
    data = write_prepared(tmp_path / "data", ("train", "train", "test", "test"))
    (tmp_path / "file").write_text("not a folder")
    more = ["segmenter", "none", "sets", "0"] if step == "evaluate" else []
    given = {"preset": "smoke", "method": "cubic", "data": data, "runs": tmp_path / "file" / "runs"}
    given |= {"out": tmp_path} | dict(zip(more[::2], more[1::2]))
    options = [word for name, value in given.items() for word in ("-p", name, str(value))]
    places = [tmp_path / "executed.ipynb", "--log", tmp_path / "step.log"]
    step = [sys.executable, "-m", "figures.execute", "--home", tmp_path, f"steps/{step}", *places, *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DIFFENS_HOME": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(list(map(str, step)), env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("  error ")]
    assert "WriteError" in line and str(tmp_path / "file" / "runs") in line and "run the same command again" in line
    unwritable = [tmp_path / "file" / "executed.ipynb", "--log", tmp_path / "file" / "step.log"]
    step[6:9] = unwritable
    done = subprocess.run(list(map(str, step)), env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr and "  error " in done.stderr, done.stderr
