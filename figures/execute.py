"""Run a notebook as a step of the graph: python -m figures.execute --home FOLDER NOTEBOOK EXECUTED --log FILE [-p ...]

The executed copy appears under its name only when the notebook has run to its end. If it fails, the copy is named
`<executed>.failed.ipynb`, and one message says which step, with which parameters, where to look, and what to do.

The library is imported by the notebook's kernel alone: that takes seconds, and a step that did it too would take twice.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

import papermill
from traitlets.config import Config

NOTEBOOKS = Path(__file__).parent


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns 1 and prints what went wrong where the notebook fails."""
    parser = argparse.ArgumentParser(prog="python -m figures.execute", description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, required=True, help="the home folder, in which the notebook runs")
    parser.add_argument("notebook", help="below figures/, without suffix: steps/train, pages/table_1_methods")
    parser.add_argument("executed", type=Path, help="where the executed copy goes")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters")
    args = parser.parse_args(argv)
    parameters = {name: int(value) if value.lstrip("-").isdigit() else value for name, value in args.parameters}
    failed = args.executed.with_suffix(".failed.ipynb")
    try:
        for folder in (args.home, args.executed.parent, args.log.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with open(args.log, "w") as log, _all_output_to(log), TemporaryDirectory() as sockets:
            options = {"kernel_name": "python3", "cwd": args.home, "stdout_file": log, "stderr_file": log}
            options |= {"config": _own_sockets(Path(sockets)), "progress_bar": False}
            papermill.execute_notebook(NOTEBOOKS / f"{args.notebook}.ipynb", failed, parameters, **options)
        os.replace(failed, args.executed)
    except Exception as error:
        print(_message(args.notebook, parameters, error, failed, args.log), file=sys.stderr)
        return 1
    return 0


def _own_sockets(folder: Path) -> Config:
    """Lets a kernel talk over socket files: of two that start together and choose the same TCP port one dies."""
    if os.name == "nt":
        return Config()
    return Config({"KernelManager": {"transport": "ipc", "connection_file": str(folder / "kernel.json")}})


@contextmanager
def _all_output_to(log: TextIO) -> Iterator[None]:
    """Everything that this process and those that it starts write goes to a file."""
    sys.stdout.flush(), sys.stderr.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    try:
        for number in kept:
            os.dup2(log.fileno(), number)
        yield
    finally:
        for number, saved in kept.items():
            os.dup2(saved, number)
            os.close(saved)


def _message(notebook: str, parameters: dict, error: Exception, failed: Path, log: Path) -> str:
    """What a reader needs to go on."""
    reason = [line for line in str(error).splitlines() if line.strip()]
    kind = getattr(error, "ename", type(error).__name__)
    lines = {
        "step": notebook,
        "error": f"{kind}: {getattr(error, 'evalue', '') or reason[-1] if reason else ''}",
        "parameters": ", ".join(f"{name}={value}" for name, value in parameters.items()),
        "executed": failed,
        "log": log,
        "then": "run the same command again: what is finished is kept, a training goes on where it stopped",
    }
    return "FAILED\n" + "\n".join(f"  {name:10} {value}" for name, value in lines.items())


if __name__ == "__main__":
    sys.exit(main())
