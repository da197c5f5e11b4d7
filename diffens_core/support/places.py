"""Folders: the home folder, and `data/` and `runs/` below it."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The home folder: DIFFENS_HOME, else the checkout around the current folder, else the current folder."""
    if "DIFFENS_HOME" in os.environ:
        return Path(os.environ["DIFFENS_HOME"]).resolve()
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / "diffens_core").is_dir()), here)


def default_runs() -> Path:
    """The folder of all runs: DIFFENS_RUNS, or `runs` in the home folder."""
    return Path(os.environ.get("DIFFENS_RUNS", home() / "runs"))


def shorten(path: Path) -> str:
    """`path` relative to the home folder if it lies below it, so that a saved configuration fits other machines."""
    path = Path(path).resolve()
    return path.relative_to(home()).as_posix() if path.is_relative_to(home()) else str(path)


def lengthen(path: str) -> Path:
    """The folder that `shorten` made `path` from: its inverse."""
    return home() / path
