"""The graph on a cluster of one node, which is brought up here and taken down: python tests/slurm/run.py

Not part of `make test`: it needs SLURM (Debian: slurmctld slurmd slurm-client munge, as root) and `diffens[cluster]`,
and takes a quarter of an hour at most. What it asks of figures/profiles/slurm, where there is no accounting:

1. the smallest plan becomes jobs, up to the report;
2. a training beyond its time limit is ended, submitted again, and goes on from its checkpoint;
3. a cancelled job is an error, and not waited for.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
TOOLS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel")
PLAN = {
    "subjects": 1,
    "segmenter": "none",
    "second_phantoms": 1,
    "jobs": dict.fromkeys(["prepare", "expert", "sample", "evaluate", "page"], [1, 1]),
    "evaluations": [{"tasks": ["sr"], "methods": ["palette-axial"], "second": True}],  # of few pages
}
CONF = """ClusterName=scratch
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
KillWait=2
{node} NodeAddr=127.0.0.1 State=UNKNOWN
PartitionName=scratch Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def wait(what: str, found: Callable, seconds: float = 300, every: float = 1):
    """What `found` returns, as soon as it is something."""
    until = time.monotonic() + seconds
    while not (result := found()):
        if time.monotonic() > until:
            raise TimeoutError(f"no {what} after {seconds:.0f} s")
        time.sleep(every)
    return result


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """A controller and a node in `folder`, for as long as the block lasts; SLURM_CONF names them."""
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    node, host = output("slurmd", "-C").splitlines()[0], socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(CONF.format(host=host, ports=free_ports(2), folder=folder, node=node))
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    srun = folder / "bin" / "srun"  # the plugin hides SLURM_CONF from it, which elsewhere lies in /etc
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    os.environ["PATH"] = f"{srun.parent}{os.pathsep}{os.environ['PATH']}"
    munge = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{option}={folder}/munge.{suffix}" for option, suffix in munge.items()]
    started = []
    try:
        for command in (["munged", "--foreground", "--force", *options], ["slurmctld", "-D"], ["slurmd", "-D"]):
            with open(folder / f"{command[0]}.log", "w") as log:
                started.append(subprocess.Popen(command, stdout=log, stderr=log))
            time.sleep(1)
        wait("idle node", lambda: "idle" in output("sinfo", "--noheader", "--format=%T"), 60)
        yield
    finally:
        subprocess.run(["scancel", "--user=root"], capture_output=True)
        for process in reversed(started):
            process.terminate()
            process.wait(30)


@contextmanager
def graph(home: Path, *options: str) -> Iterator[subprocess.Popen]:
    """Snakemake on the plan by the profile; it looks more often, as the jobs are short. It talks to graph.log."""
    (home / "experiments.yaml").write_text(yaml.safe_dump({"smoke": PLAN}))
    command = [sys.executable, "-m", "snakemake", "-s", ROOT / "figures/Snakefile", "--directory", home]
    command += ["--profile", ROOT / "figures/profiles/slurm", "--slurm-init-seconds-before-status-checks", 5, *options]
    command += ["--config", "preset=smoke", f"experiments={home}/experiments.yaml"]
    with open(home / "graph.log", "w") as log:
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(120)


def kernel_of(step: str, home: Path) -> int:
    """The process id of the kernel in which a step of the graph runs its notebook."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            around = Path(f"/proc/{parent}/cmdline").read_text()
            if "ipykernel" in (folder / "cmdline").read_text() and step in around and str(home) in around:
                return int(folder.name)
        except OSError:  # it is gone
            continue
    raise AssertionError(f"no kernel runs {step}")


def check_time_limit_and_report(home: Path) -> None:
    """The training is held at its first checkpoint until its time is over; a mark in its log shows that it goes on."""
    runs = home / "runs" / "smoke"
    with graph(home, "--set-resources", "train:runtime=2") as process:
        (saved,) = wait("checkpoint", lambda: list(runs.glob("expert-*/last/00000020-*.pt")), 900, every=0.01)
        held = kernel_of("steps/train", home)
        os.kill(held, signal.SIGSTOP)
        run = saved.parents[1]
        assert not (run / "model.safetensors").exists(), "the training was over before it could be held: try again"
        head, first, *others = (run / "log.csv").read_text().splitlines()
        marked = f"{first.split(',')[0]},0.4321,0.001"
        (run / "log.csv").write_text("\n".join([head, marked, *others]) + "\n")
        wait("time limit", lambda: "TIMEOUT" in output("squeue", "--noheader", "--states=all", "--format=%T"))
        with suppress(ProcessLookupError):  # held, it does not see its parent end, and keeps the lock of the run
            os.kill(held, signal.SIGKILL)
        assert process.wait(2400) == 0, "the graph failed"
    said = (home / "graph.log").read_text()
    assert "TIMEOUT" in said and "Trying to restart job" in said, "no time limit, or not submitted again"
    assert marked in (run / "log.csv").read_text(), "the training did not go on from its checkpoint"
    assert (home / "figures/out/smoke-experiments/index.html").is_file(), "no report"


def check_cancelled(home: Path) -> None:
    """A page again, whose job is cancelled as soon as it runs."""
    (home / "figures/out/smoke-experiments/pages/figure_1_method.ipynb").unlink()
    with graph(home, "--retries", "0") as process:
        job = wait("job", lambda: output("squeue", "--noheader", "--format=%i", "--states=RUNNING"))
        subprocess.run(["scancel", job], check=True)
        assert process.wait(300) != 0, "a cancelled job was taken for done"
    assert "CANCELLED" in (home / "graph.log").read_text(), "not named as cancelled"


def main() -> None:
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    missing += [] if find_spec("snakemake_executor_plugin_slurm") else ["snakemake-executor-plugin-slurm"]
    missing += [] if os.geteuid() == 0 else ["root's rights"]
    if missing:
        sys.exit(f"not run, for want of {', '.join(missing)}")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    os.environ["DIFFENS_HOME"] = str(folder)
    os.environ.pop("DIFFENS_RUNS", None)
    with cluster(folder):
        for check in (check_time_limit_and_report, check_cancelled):
            began = time.monotonic()
            try:
                check(folder)
            except (AssertionError, TimeoutError, subprocess.TimeoutExpired) as error:
                sys.exit(f"{check.__name__}: {error}; see {folder}/graph.log")
            print(f"{check.__name__}: ok, {(time.monotonic() - began) / 60:.0f} min", flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
