"""What `diffens translate` would make of a file, in a few lines: what to look at before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np

from .choice import block_size, fitting_runs, spacing_made
from .data.measurement import BLOCKS
from .data.tasks import Task
from .data.volumes import Volume, load_volume, says_orientation
from .training.config import RunConfig
from .training.runs import trained_runs
from .translate import FULL, LARGEST, block_starts, millimetres


def check_file(path: Path, runs: Path) -> Iterator[tuple[str, str]]:
    """Names and findings, one a line; raises `VolumeError` for a file that cannot be used.

    runs: the folder of all runs, among which and the shipped ones those are named that would serve.
    """
    volume = load_volume(path)
    blocks, trained = block_size(volume), list(trained_runs(runs))
    yield "grid", _grid(volume)
    yield "values", _values(volume)
    yield "as --lr", _measurement(volume, blocks)
    yield "runs for --lr", _nearest(trained, lambda task: spacing_made(volume, blocks, task))
    yield "runs for --t1ce", _nearest(trained, lambda task: volume.spacing if "t1ce" in task.inputs else None)


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


def _nearest(runs: Iterable[tuple[Path, RunConfig]], spacing_for: Callable[[Task], tuple[float, ...] | None]) -> str:
    """Fusions for a file, whose voxels are nearest in size to those that they would work on, and how far they are."""
    fitting = fitting_runs(runs, spacing_for)
    if not fitting:
        return "none is trained"
    least, spacing = fitting[0].distance, millimetres(fitting[0].spacing)
    names = sorted(
        f"{one.folder.name} (task {one.config.task}, {one.config.data.spacing:g} mm)"
        for one in fitting
        if one.distance == least
    )
    return ", ".join(names) + (f"; these voxels are of {spacing} mm" if least > 0.1 else "")
