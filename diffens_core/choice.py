"""Which trained run fits a lab's files: one of the task that reads them, trained with voxels nearest to theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .data.tasks import Task, task_named
from .data.volumes import Volume, load_volume
from .support.errors import MissingError
from .training.config import RunConfig
from .training.runs import shipped_runs
from .translate import THICK, block_starts, millimetres

LONGEST = 8  # blocks that are looked for


@dataclass(frozen=True)
class Fitting:
    """A fusion for files. spacing: mm along R, A, S of the voxels that it would work on; distance: of their
    logarithm from the trained ones."""

    folder: Path
    config: RunConfig
    spacing: tuple[float, ...]
    distance: float


def fitting_runs(
    runs: Iterable[tuple[Path, RunConfig]], spacing_for: Callable[[Task], tuple[float, ...] | None]
) -> list[Fitting]:
    """The fusions among `runs` whose task suits, those first whose voxels are nearest in size to those of the files; of
    equally near ones those of fewer experts, which take less time.

    spacing_for: the voxels, in mm, that a task would work on; None where it cannot.
    """
    found = []
    for folder, config in runs:
        spacing = spacing_for(task_named(config.task))
        if config.stage == "fusion" and spacing:
            distance = max(abs(np.log(s / config.data.spacing)) for s in spacing)
            found.append(Fitting(folder, config, spacing, distance))
    return sorted(found, key=lambda one: (one.distance, len(one.config.experts)))


def run_for(inputs: Mapping[str, Path], grid: str = "auto") -> Path:
    """The shipped run for files by name: `lr`, a measurement, and contrasts, see `fitting_runs`.

    grid: of the measurement, as of `translate_files`. Raises `MissingError` where none does it.
    """
    if not inputs:
        raise MissingError("no file to translate: give --lr, --t1ce or --input")
    measured, contrasts = "lr" in inputs, {*inputs} - {"lr"}
    volume = load_volume(inputs["lr"] if measured else next(iter(inputs.values())))
    blocks = (1, 1, 1) if grid == "coarse" else block_size(volume)

    def spacing_for(task: Task) -> tuple[float, ...] | None:
        if bool(task.degradation) != measured or {*task.contrasts} != contrasts:
            return None
        as_it_is = not measured or grid == "fine"
        return volume.spacing if as_it_is else spacing_made(volume, blocks, task)

    if fitting := fitting_runs(shipped_runs(), spacing_for):
        return fitting[0].folder
    raise MissingError(
        f"no run that comes with the package makes anything of {' and '.join(inputs)} with voxels of "
        f"{millimetres(volume.spacing)} mm: train one, and give its name as --run; see diffens runs"
    )


def block_size(volume: Volume) -> tuple[int, int, int]:
    """The size of blocks of one value along R, A and S; 1 where there are none."""
    size = [1, 1, 1]
    for f in range(2, LONGEST + 1):
        starts = block_starts(volume.data, (f, f, f))
        size = [s if start is None else f for s, start in zip(size, starts)]
    return tuple(size)


def spacing_made(volume: Volume, blocks: tuple[int, int, int], task: Task) -> tuple[float, ...] | None:
    """The voxels, in mm, that a task would make of a measurement; None where it is for another kind."""
    if task.degradation is None or max(blocks) > 1:
        return volume.spacing if task.degradation and task.degradation.factor == blocks else None
    made = tuple(s / f for s, f in zip(volume.spacing, task.degradation.factor))
    return made if max(made) <= THICK * min(made) else None
