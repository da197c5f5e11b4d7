"""What `diffens translate` would make of a file, in a few lines: what to look at before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np

from .data.measurement import FACTOR
from .data.tasks import TASKS
from .data.volumes import Volume, load_volume, says_orientation
from .training.config import RunConfig
from .training.runs import trained_runs
from .translate import FULL, LARGEST, block_starts, millimetres


def check_file(path: Path, runs: Path) -> Iterator[tuple[str, str]]:
    """Names and findings, one a line; raises `VolumeError` for a file that cannot be used.

    runs: the folder of all runs, among which and the shipped ones those are named that would serve.
    """
    volume = load_volume(path)
    starts = block_starts(volume.data, FACTOR)
    yield "grid", _grid(volume)
    yield "values", _values(volume)
    yield "as --lr", _measurement(volume, starts)
    fine = volume.spacing if None not in starts else tuple(s / FACTOR for s in volume.spacing)
    for role, measured, spacing in (("--lr", True, fine), ("--t1ce", False, volume.spacing)):
        yield f"runs for {role}", _nearest(runs, measured, spacing)


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


def _measurement(volume: Volume, starts: tuple[int | None, ...]) -> str:
    if None not in starts:
        return f"fine: 4x4x4 blocks, the first begin at voxels {', '.join(map(str, starts))} along R, A, S"
    size = " x ".join(str(n * FACTOR) for n in volume.data.shape)
    asked = ", if --grid coarse says so" if volume.data.size * FACTOR**3 > LARGEST else ""
    return f"coarse{asked}: no 4x4x4 blocks, so each voxel is a measurement; the output has {size} voxels"


def _nearest(runs: Path, measured: bool, spacing: tuple[float, ...]) -> str:
    """Fusions for such a file whose voxels are nearest in size, and how far they are from it."""

    def distance(config: RunConfig) -> float:
        return max(abs(np.log(s / config.data.spacing)) for s in spacing)

    fitting = [(folder, c) for folder, c in trained_runs(runs) if c.stage == "fusion" and _reads(c, measured)]
    if not fitting:
        return "none is trained"
    least = min(distance(config) for _, config in fitting)
    names = [f"{folder.name} (task {c.task}, {c.data.spacing:g} mm)" for folder, c in fitting if distance(c) == least]
    return ", ".join(names) + (f"; these voxels are of {millimetres(spacing)} mm" if least > 0.1 else "")


def _reads(config: RunConfig, measured: bool) -> bool:
    return ("flair_lr" if measured else "t1ce") in TASKS[config.task].inputs
