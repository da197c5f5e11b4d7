"""Processes that are forked from one that has imported what they run: for a short command importing takes longest.

There is one such process for all tests of a worker, so what it imports is listed here for all of them.
"""

import os
import sys
from multiprocessing import get_context
from tempfile import NamedTemporaryFile

FORKS = get_context("forkserver")
LIBRARY = ("cli", "batch", "training.runs", "evaluation.evaluate", "evaluation.judges", "experiment.experiment")
GRAPH = ("snakemake.cli", "figures.plan", "figures.contents", "figures.memory")
FORKS.set_forkserver_preload([*(f"diffens_core.{name}" for name in LIBRARY), *GRAPH, "data_prep.brats", "pytest"])


def snakemake(options: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """What `python -m snakemake` does with these options: its exit status, and what it and its steps said."""
    with NamedTemporaryFile("r") as said:
        process = FORKS.Process(target=_snakemake, args=(options, environment, said.name))
        process.start()
        process.join(900)
        return process.exitcode, said.read()


def _snakemake(options: list[str], environment: dict[str, str], said: str) -> None:
    from snakemake.cli import main

    os.environ.clear()
    os.environ.update(environment)
    file = os.open(said, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1), os.dup2(file, 2)
    sys.argv = ["snakemake", *options]  # the Snakefile reads it
    main()
