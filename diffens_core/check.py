"""What `diffens translate` would make of a file, in a few lines: what to look at before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np

from .data.measurement import BLOCKS
from .data.tasks import Task, task_named
from .data.volumes import Volume, load_volume, says_orientation
from .training.runs import trained_runs
from .translate import FULL, LARGEST, THICK, block_starts, millimetres

LONGEST = 8  # blocks that are looked for


def check_file(path: Path, runs: Path) -> Iterator[tuple[str, str]]:
    """Names and findings, one a line; raises `VolumeError` for a file that cannot be used.

    runs: the folder of all runs, among which and the shipped ones those are named that would serve.
    """
    volume = load_volume(path)
    blocks = block_size(volume)
    yield "grid", _grid(volume)
    yield "values", _values(volume)
    yield "as --lr", _measurement(volume, blocks)
    yield "runs for --lr", _nearest(runs, lambda task: _spacing_made(volume, blocks, task))
    yield "runs for --t1ce", _nearest(runs, lambda task: volume.spacing if "t1ce" in task.inputs else None)


def block_size(volume: Volume) -> tuple[int, int, int]:
    """The size of blocks of one value along R, A and S; 1 where there are none."""
    size = [1, 1, 1]
    for f in range(2, LONGEST + 1):
        starts = block_starts(volume.data, (f, f, f))
        size = [s if start is None else f for s, start in zip(size, starts)]
    return tuple(size)


def _grid(volume: Volume) -> str:
    size = " x ".join(map(str, volume.source_shape))
    header, axes = volume.header, "".join(nib.aff2axcodes(volume.source_affine))
    forms = [f"{form} {int(header[f'{form}_code'])}" for form in ("sform", "qform")] if "sform_code" in header else []
    said = f"codes: {', '.join(forms)}" if forms else "no codes"
    guess = "" if says_orientation(header) else ", a guess: the file does not say"
    return f"{size} voxels of {millimetres(volume.spacing)} mm (along R, A, S), axes {axes}{guess} ({said})"


def _values(volume: Volume) -> str:
    data, inside = volume.data, volume.data != 0
    brain = inside.sum() * np.prod(volume.spacing) / 1000
    text = f"{data.min():.4g} to {data.max():.4g}; {inside.mean():.0%} are not 0, a brain of {brain:.0f} ml"
    text += "; is the skull still there, or the background not 0? See --mask" if inside.mean() > FULL else ""
    return text + ("; some are negative" if data.min() < 0 else "")


def _measurement(volume: Volume, blocks: tuple[int, int, int]) -> str:
    size = "x".join(map(str, blocks))
    if max(blocks) > 1:
        starts = block_starts(volume.data, blocks)
        return f"fine: {size} blocks, the first begin at voxels {', '.join(map(str, starts))} along R, A, S"
    thin = min(volume.spacing)
    ratios = [round(s / thin) for s in volume.spacing]
    if max(ratios) > 1:
        task = f"t1_lr->t1@{'x'.join(map(str, ratios))}"
        return f"coarse: slices, each a measurement for a task such as {task} (or another contrast)"
    fine = tuple(n * f for n, f in zip(volume.data.shape, BLOCKS.factor))
    asked = ", if --grid coarse says so" if np.prod(fine) > LARGEST else ""
    made = " x ".join(map(str, fine))
    return f"coarse{asked}: no blocks, so each voxel is a measurement; of task sr the output has {made} voxels"


def _spacing_made(volume: Volume, blocks: tuple[int, int, int], task: Task) -> tuple[float, ...] | None:
    """The voxels, in mm, that a task would make of a measurement; None where it is for another kind."""
    if task.degradation is None or max(blocks) > 1:
        return volume.spacing if task.degradation and task.degradation.factor == blocks else None
    made = tuple(s / f for s, f in zip(volume.spacing, task.degradation.factor))
    return made if max(made) <= THICK * min(made) else None


def _nearest(runs: Path, spacing_for: Callable[[Task], tuple[float, ...] | None]) -> str:
    """Fusions for a file, whose voxels are nearest in size to those that they would work on, and how far they are."""
    fitting = []
    for folder, config in trained_runs(runs):
        spacing = spacing_for(task_named(config.task))
        if config.stage == "fusion" and spacing:
            distance = max(abs(np.log(s / config.data.spacing)) for s in spacing)
            name = f"{folder.name} (task {config.task}, {config.data.spacing:g} mm)"
            fitting.append((distance, name, millimetres(spacing)))
    if not fitting:
        return "none is trained"
    least = min(fitting)[0]
    names = ", ".join(name for distance, name, _ in fitting if distance == least)
    return names + (f"; these voxels are of {min(fitting)[2]} mm" if least > 0.1 else "")
