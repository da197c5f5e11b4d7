"""SIGKILL at random moments, and then the same bytes as without: python tests/kill/run.py [SUBJECT...] [--kills 100]

Not part of `make test`: it takes half an hour for all but the last of its subjects and as long for that.

    preparation   BraTS files, some of them bad
    phantoms      of the embedded kind
    training      two experts and their fusion at preset smoke
    sampling      samples, their list and their evaluation
    graph         Snakemake on a small list of preset smoke, up to the report

Each is done once undisturbed. Then it is done again in another folder, killed with its whole process group at seeded
random moments and started anew, until it is finished; then in the next folder, until there were enough kills. What
comes out must be the same, file by file, with nothing beside it. On a CPU, in float32, by one thread.

Half of the kills come by the clock, after the imports, the other half at a file operation: just before the k-th opening
for writing, flush, renaming, deletion. So they also hit what takes a millisecond, such as the writing of a checkpoint.
Steps of the graph are killed alone, too, while Snakemake goes on and tries them again.

Not compared, as they rightly differ: seconds and memory (in cost.json, cost.csv, checkpoints, and the tables and
figures of cost), logs of the graph's steps, times in the metadata of executed notebooks and their bars of progress.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"  # no bf16, so that `auto` is float32

import pandas as pd
import torch
import yaml

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from nifti_trees import make_subject, run_brats  # noqa: E402

from data_prep.phantom import prepare_phantoms  # noqa: E402
from diffens_core.evaluation.evaluate import evaluate  # noqa: E402
from diffens_core.experiment.experiment import Experiment, open_experiment  # noqa: E402
from diffens_core.experiment.samples import Samples, draw  # noqa: E402
from diffens_core.training.runs import load_or_train  # noqa: E402

METHOD, TASK = "ours-tpdm", "sr"
PLAN = {
    "subjects": 1,
    "samples": 2,
    "segmenter": "none",
    "second_phantoms": 1,
    "jobs": dict.fromkeys(["prepare", "expert", "fusion", "sample", "evaluate", "page"], [1, 1]),
    "evaluations": [
        {"tasks": ["sr"], "methods": ["degraded", "tpdm", "ours-tpdm"]},
        {"tasks": ["sr"], "methods": ["degraded", "tpdm"], "samples": 1, "second": True},
    ],
}
TIMED = ("seconds", "core_seconds", "memory", "sampling", "core_sampling")  # of cost.json
OF_COST = re.compile(r"table_8_cost|s2_overview|/logs/|\.log$|\.html$|\.lock$")  # differ, or show what does
IDLE = 3  # kills of the graph without a new file between them
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
OPERATIONS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}


# What is done. Each takes a folder that is empty or that a killed process left.


def prepare(folder: Path) -> None:
    shared = folder.parents[1]
    run_brats(shared / "brats", folder / "brats")


def phantoms(folder: Path) -> None:
    prepare_phantoms(folder / "phantom", subjects=(3, 1, 2), spacing=8.0)


def train(folder: Path) -> None:
    (run,) = experiment(folder).runs_of(METHOD, TASK)
    load_or_train(run, folder / "runs", precision="float32")


def sample(folder: Path) -> None:
    opened, out = experiment(folder), folder / "out"
    drawn = draw(Samples(opened, METHOD, TASK), "test", 0, 3)
    evaluate(opened, METHOD, TASK, split="test", subjects=0, samples=3, out=out)
    assert len(drawn) == 6


def experiment(folder: Path) -> Experiment:
    return open_experiment("smoke", runs=str(folder / "runs"))


# Killing.


def forked(work: Callable[[Path], None], folder: Path, last: int = 0, count: Path | None = None) -> int:
    """Start `work` in a process group of its own; it kills itself before file operation number `last`, unless 0."""
    sys.stdout.flush(), sys.stderr.flush()
    process = os.fork()
    if process:
        with suppress(OSError):
            os.setpgid(process, process)
        return process
    status = 1
    try:
        os.setpgid(0, 0)
        said = os.open(folder.with_suffix(".said"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1), os.dup2(said, 2)
        done = _watch(folder, last)
        work(folder)
        if count:
            count.write_text(str(done[0]))
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)


def _watch(folder: Path, last: int) -> list[int]:
    """Count file operations below `folder`, and kill the process group just before number `last`."""
    done, below = [0], str(folder)

    def step() -> None:
        done[0] += 1
        if done[0] == last:
            os.killpg(0, signal.SIGKILL)

    def hook(event: str, args: tuple) -> None:
        written = event == "open" and isinstance(args[2], int) and args[2] & WRITING
        if (written or event in OPERATIONS) and str(args[0]).startswith(below):
            step()

    flush, replace = os.fsync, os.replace
    os.fsync = lambda file: (step(), flush(file))[1]
    os.replace = lambda *args, **more: (replace(*args, **more), step())[0]  # and just after it
    sys.addaudithook(hook)
    return done


def ended(process: int, seconds: float | None = None) -> int | None:
    """How a process ended; None if it has not after so many seconds."""
    until = None if seconds is None else time.monotonic() + seconds
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if until and time.monotonic() > until:
            return None
        time.sleep(0.002)


def kill_group(process: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)


def kill_forked(name: str, work, home: Path, begun: Callable[[Path], None], reach: float, kills: int, seed: int):
    """Kill `work` in one folder after another, until there were enough kills; compares each and prints the row."""
    rng, first = random.Random(f"{name} {seed}"), home / "undisturbed"
    begun(first)
    began = time.monotonic()
    process = forked(work, first, count=home / "operations")
    assert ended(process) == 0, first.with_suffix(".said").read_text()[-3000:]
    total, operations = time.monotonic() - began, int((home / "operations").read_text())
    wanted, moments, shares, differing, folders = contents(first), [], [], [], 0
    print(f"{name}: undisturbed in {total:.1f} s, {operations} file operations, {len(wanted)} files", flush=True)
    while len(moments) < kills:
        folders += 1
        folder = home / f"killed-{folders}"
        begun(folder)
        while True:
            enough = len(moments) >= kills
            by_clock = rng.random() < 0.5
            last = 0 if enough or by_clock else rng.randint(1, max(2, int(reach * operations)))
            began = time.monotonic()
            process = forked(work, folder, last)
            status = ended(process, rng.uniform(0, reach * total) if by_clock and not enough else None)
            if status is None:
                kill_group(process)
                status = ended(process)
            kill_group(process)  # those that it started
            if status == -signal.SIGKILL:
                moments.append(time.monotonic() - began)
                shares.append(len(set(names(folder)) & set(wanted)) / len(wanted))
                continue
            assert status == 0, folder.with_suffix(".said").read_text()[-3000:]
            break
        differing += [f"{folder.name}: {line}" for line in differences(wanted, contents(folder))]
        if not differing:
            shutil.rmtree(folder)
    report(name, moments, shares, len(wanted), folders, differing)
    return not differing


# The graph.


def graph(home: Path, retries: int = 0) -> subprocess.Popen:
    """Snakemake on the list in `home`, in a process group of its own; it talks to graph.log."""
    file = home / "experiments.yaml"
    file.write_text(yaml.safe_dump({"smoke": PLAN}))
    command = [sys.executable, "-m", "snakemake", "-s", ROOT / "figures" / "Snakefile", "--cores", "2"]
    command += ["--directory", home, "--retries", retries, "--config", "preset=smoke", f"experiments={file}"]
    environment = os.environ | {"DIFFENS_HOME": str(home), "PYTHONPATH": str(ROOT)}
    environment.pop("DIFFENS_RUNS", None)
    with open(home / "graph.log", "a") as log:
        return subprocess.Popen(
            list(map(str, command)), env=environment, stdout=log, stderr=log, start_new_session=True
        )


def processes() -> Iterator[tuple[int, int, str]]:
    """Of every process its number, its parent's, and its command line."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            yield int(folder.name), parent, (folder / "cmdline").read_text().replace("\0", " ")


def below(process: int) -> list[tuple[int, str]]:
    """All that a process has started, itself in front, with their command lines."""
    every = list(processes())
    found = [(number, line) for number, _, line in every if number == process]
    for number, _ in found:
        found += [(child, line) for child, parent, line in every if parent == number]
    return found


def kill_step(rng: random.Random, process: int) -> str:
    """Kill one step that runs, or only its kernel: its name, or nothing where none runs."""
    steps = [(number, line) for number, line in below(process) if re.search(r"python\S* -m figures.execute", line)]
    steps = [(number, line) for number, line in steps if not line.startswith(("/bin/", "bash", "sh "))]
    if not steps:
        return ""
    number, line = rng.choice(steps)
    family = below(number)
    if rng.random() < 0.3:
        family = [(n, text) for n, text in family if "ipykernel" in text] or family
    for one, _ in reversed(family):
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    return re.search(r"figures.execute --home \S+ (\S+)", line)[1]


def kill_graph(home: Path, kills: int, seed: int, seconds: float) -> bool:
    """As `kill_forked`, by commands; no kill comes after so many seconds."""
    rng, first, took = random.Random(f"graph {seed}"), home / "undisturbed" / "home", home / "seconds"
    if not took.exists():
        first.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        assert graph(first).wait() == 0, (first / "graph.log").read_text()[-3000:]
        took.write_text(str(time.monotonic() - began))
    total, wanted = float(took.read_text()), contents(first)
    print(f"graph: undisturbed in {total:.0f} s, {len(wanted)} files", flush=True)
    until, moments, shares, differing, folders, kinds = time.monotonic() + seconds, [], [], [], 0, {}
    while len(moments) < kills and time.monotonic() < until:
        folders += 1
        folder = home / f"killed-{folders}" / "home"  # of the same depth and name: notebooks show paths
        folder.mkdir(parents=True)
        idle, most = 0, 0
        while True:
            began, process = time.monotonic(), graph(folder, retries=1000)
            while process.poll() is None and len(moments) < kills and time.monotonic() < until:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(rng.uniform(0, total / 25))
                there = len(set(names(folder)) & set(wanted))
                idle, most = (0, there) if there > most else (idle, most)
                if process.poll() is None and idle < IDLE:
                    whole = rng.random() < 0.2
                    kind = "snakemake" if whole else kill_step(rng, process.pid)
                    if whole:
                        kill_group(process.pid)
                        process.wait()
                    if kind:
                        kinds[kind.split("/")[-1]] = kinds.get(kind.split("/")[-1], 0) + 1
                        moments.append(time.monotonic() - began)
                        shares.append(there / len(wanted))
                        idle += 1
            if process.wait() == 0:
                break
            if process.returncode != -signal.SIGKILL:
                differing.append(f"{folder}: status {process.returncode}, see graph.log")
                break
        said = subprocess.run(["grep", "-c", "Traceback", folder / "graph.log"], capture_output=True, text=True)
        print(f"graph: {folder.parent.name} finished, {said.stdout.strip()} tracebacks in graph.log", flush=True)
        differing += [f"{folder.parent.name}: {line}" for line in differences(wanted, contents(folder))]
    print(f"graph: killed were {kinds}")
    report("graph", moments, shares, len(wanted), folders, differing)
    return not differing


# What comes out.


def names(folder: Path) -> list[str]:
    """The files below a folder, but for those of Snakemake; checkpoints by their step alone."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [re.sub(r"/(\d{8})-\w{8}\.pt$", r"/\1.pt", name) for name in found if ".snakemake/" not in name]


def contents(folder: Path) -> dict[str, str]:
    """A digest of every file, without what rightly differs; of some, that they are there."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and ".snakemake/" not in name and not name.endswith(("graph.log", "experiments.yaml")):
            found[re.sub(r"/(\d{8})-\w{8}\.pt$", r"/\1.pt", name)] = hashlib.sha256(_kept(path, folder)).hexdigest()
    return found


def _kept(path: Path, folder: Path) -> bytes:
    """What must be the same in a file."""
    content = path.read_bytes()
    if OF_COST.search(str(path)):
        return b""
    if path.name == "cost.json":
        return repr({k: v for k, v in json.loads(content).items() if k not in TIMED}).encode()
    if path.name == "cost.csv":
        return pd.read_csv(path)[["subject", "sample"]].sort_values(["subject", "sample"]).to_csv().encode()
    if path.suffix == ".pt":
        saved = torch.load(io.BytesIO(content), weights_only=True)
        return repr(list(_flat({k: v for k, v in saved.items() if k != "spent"}))).encode()
    if path.suffix == ".ipynb":
        cells = json.loads(content)["cells"]
        text = json.dumps([[cell["source"], _shown(cell.get("outputs", []))] for cell in cells])
        return text.replace(str(folder), "HOME").encode()
    if path.suffix == ".json" and path.name == "config.json":
        return content.replace(str(folder).encode(), b"HOME")
    return content


def _shown(outputs: list[dict]) -> list:
    """Outputs of a notebook's cell, without bars of progress, which show times and what was left to do, and costs."""
    kept = [output for output in outputs if output["output_type"] not in ("stream",)]
    texts = [{k: v for k, v in output.get("data", {}).items() if k != "text/html"} for output in kept]
    return [
        text for text in texts if not any(word in json.dumps(text) for word in ("seconds", "object at 0x", r"\u2588"))
    ]


def _flat(value) -> Iterator:
    """The parts of nested containers, tensors as digests."""
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            yield key
            yield from _flat(value[key])
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _flat(part)
    elif isinstance(value, torch.Tensor):
        yield hashlib.sha256(value.contiguous().flatten().view(torch.uint8).numpy().tobytes()).hexdigest()
    else:
        yield value


def differences(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    lines = [f"{name} is missing" for name in sorted(set(wanted) - set(found))]
    lines += [f"{name} is left over" for name in sorted(set(found) - set(wanted))]
    return lines + [f"{name} differs" for name in sorted(wanted) if name in found and found[name] != wanted[name]]


def report(name: str, moments: list[float], shares: list[float], files: int, folders: int, differing: list[str]):
    seconds = pd.Series(moments)
    bars = [sum(min(int(10 * share), 9) == tenth for share in shares) for tenth in range(10)]
    print(f"{name}: {len(moments)} kills in {folders} folders, {files} files compared in each, {len(differing)} differ")
    print(f"  seconds after a start: {seconds.min():.2f} / {seconds.median():.2f} / {seconds.max():.2f}", end="; ")
    print(f"kills by tenths of the files that were there: {' '.join(map(str, bars))}")
    for line in differing[:20]:
        print(f"  {line}")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("subjects", nargs="*", default=["preparation", "phantoms", "training", "sampling", "graph"])
    parser.add_argument("--kills", type=int, default=100, help="of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=25, help="in which the graph is killed")
    parser.add_argument("--folder", type=Path, help="of an earlier call, whose undisturbed graph is compared with")
    options = parser.parse_args()
    top = options.folder or Path(tempfile.mkdtemp(prefix="kill-"))
    os.environ["DIFFENS_HOME"] = str(top / "home")
    os.environ.pop("DIFFENS_RUNS", None)
    torch.set_num_threads(1)
    fine = []
    for name in options.subjects:
        home = top / name
        home.mkdir(exist_ok=True)
        if name == "graph":
            fine.append(kill_graph(home, options.kills, options.seed, 60 * options.minutes))
            continue
        work, begun, reach = _subject(name, top)
        fine.append(kill_forked(name, work, home, begun, reach, options.kills, options.seed))
    if not all(fine):
        sys.exit(f"not the same; see {top}")
    shutil.rmtree(top)


def _subject(name: str, top: Path) -> tuple:
    """What is done, what its folder has before it is begun, and how much of it is done between two kills, at most."""
    if name == "preparation":
        for number in range(20):
            labels = None if number % 7 == 3 else (1, 2, 9) if number % 9 == 5 else (1, 2, 4)
            make_subject(top / "brats", f"BraTS2021_{number:05d}", labels=labels)
        (top / "brats" / "BraTS2021_00011" / "BraTS2021_00011_flair.nii.gz").write_bytes(b"no image")
        return prepare, Path.mkdir, 0.5
    if name == "phantoms":
        return phantoms, Path.mkdir, 0.8
    trained = top / "trained"
    if not trained.exists():
        trained.mkdir()
        assert ended(forked(lambda _: _make_data(top), top / "data")) == 0, (top / "data.said").read_text()
    if name == "training":
        return train, Path.mkdir, 0.3
    assert ended(forked(train, trained)) == 0, (top / "trained.said").read_text()
    return sample, lambda folder: shutil.copytree(trained, folder), 0.5


def _make_data(top: Path) -> None:
    opened = experiment(top)
    opened.subjects("train", TASK), opened.subjects("test", TASK)


if __name__ == "__main__":
    main()
