"""Translation of NIfTI files of any grid to a NIfTI file on the same grid, for a lab's own data.

The conditions are brought to RAS and into a window around the brain. A measurement keeps its own grid, and the window
starts where one of its blocks starts; without one, volumes are resampled to the model's voxels. The result is brought
back to the grid of the input.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from nibabel.orientations import io_orientation

from .data.conditions import conditions_of, evened_out
from .data.grids import Grid, resample
from .data.likeness import Likeness, numbers_of
from .data.prepared import coarse_affine, coarsen
from .data.tasks import Task, task_named
from .data.volumes import (
    Scale,
    Volume,
    VolumeError,
    Window,
    bounding_box,
    foreground,
    load_volume,
    save_volumes,
)
from .experiment.presets import mirrors
from .experiment.samples import different_samples, sample, sampler_option
from .support.progress import Progress
from .support.settings import ConfigError
from .training.config import RunConfig

GRIDS = ("auto", "fine", "coarse")
LARGEST = 2**25  # voxels of an output that nobody asked for in so many words
THICK = 3.0  # times as long as wide are voxels of a task for other slices
NEGATIVE = 0.01  # of the range of a measurement: what interpolation may leave below 0
FULL = 0.97  # of the voxels of a volume; heads leave more than the rest of it empty


@dataclass(frozen=True)
class Prepared:
    """Conditions `y` [C, X, Y, Z] in [-1, 1] in a window of the `working` grid; output: the volume to write like."""

    y: torch.Tensor
    brain: np.ndarray
    scale: Scale
    window: Window
    working: Grid
    output: Volume

    def numbers(self, task: Task) -> dict[str, float]:
        """The numbers that describe its conditions, see `data/likeness.py`."""
        return numbers_of(self.y, self.working.spacing, task.conditions)


def translate_files(
    model,
    config: RunConfig,
    inputs: dict[str, Path],
    out: Path,
    *,
    std: Path | None = None,
    mask: Path | None = None,
    grid: str = "auto",
    samples: int = 1,
    steps: int = 50,
    sampler: str = "ddim",
    seed: int = 0,
    precision: str = "auto",
    overwrite: bool = True,
    likeness: Likeness | None = None,
) -> None:
    """Translate the files in `inputs` (such as `flair_lr`, `t1ce`, as the run's task needs) and write `out`.

    With several samples `out` is their mean and `std`, if given, their standard deviation, both in the unit of
    the input; the run's preset says whether every second one is of the mirrored head. mask: a volume that is not 0
    where the brain is; without it, all that is not 0 in a condition is. grid: whether a measurement is `fine`, with
    each coarse voxel repeated, or `coarse`, its voxels themselves those; `auto` looks for blocks. overwrite: as of
    `save_volumes`. likeness: of the heads that the run was trained on; a warning says how a head differs from them.
    Raises `VolumeError` for input that cannot be used, `ConfigError` for a run that cannot.
    """
    if config.data.normalisation == "target":
        raise ConfigError(f"run '{config.name}' was trained on the scale of the target, which no file of yours has")
    sampler_option(model, sampler)  # before minutes are spent on a sampler that does not go with the model
    task = config.translation
    samples = different_samples(model, samples)
    if std is not None and samples < 2:
        raise VolumeError(f"run '{config.name}' always gives the same answer: there is no standard deviation to write")
    prepared = prepare(inputs, task, config, mask, grid)
    if likeness and (unlike := likeness.warning(prepared.numbers(task))):
        warnings.warn(f"{inputs[task.inputs[0]]}: {unlike}", stacklevel=2)
    options = {"samples": samples, "steps": steps, "sampler": sampler, "seed": seed, "precision": precision}
    options["mirrored"] = mirrors(config.preset)
    with Progress(f"translating to {out.name}", samples * steps) as bar:
        volumes = sample(model, prepared.y, task, subject="input", **options, show=bar.update)
    mean = prepared.scale.invert(volumes.mean(0)[0].numpy())
    results = {out: mean}
    if std is not None:
        results[std] = prepared.scale.invert_spread(volumes.std(0)[0].numpy())
    contents = {
        path: to_input_grid(np.where(prepared.brain, result, 0.0), prepared) for path, result in results.items()
    }
    save_volumes(contents, prepared.output, overwrite)


def prepare(
    inputs: dict[str, Path], task: Task, config: RunConfig, mask: Path | None = None, grid: str = "auto"
) -> Prepared:
    """Load the conditions of `task` and bring them to the grid that the model of `config` works on."""
    missing = [name for name in task.inputs if name not in inputs]
    if missing:
        raise VolumeError(f"task '{task.name}' needs {' and '.join(task.inputs)}; missing: {', '.join(missing)}")
    volumes = {name: load_volume(inputs[name]) for name in task.inputs}
    reference, spacing = task.inputs[0], config.data.spacing
    offset, factor = (0, 0, 0), task.degradation.factor if task.degradation else (1, 1, 1)
    if task.degradation:
        volumes[reference], offset = measurement(volumes[reference], grid, inputs[reference], task, spacing)
    output = volumes[reference]
    working, ratio = (output.grid, 1) if task.degradation else model_grid(output, spacing)
    images = {name: onto(volume, output, working, ratio) for name, volume in volumes.items()}
    if mask is not None:
        inside = whole_blocks(inside_of(mask, working), offset, factor)
        images = {name: np.where(inside, image, np.float32(0)) for name, image in images.items()}
    brain = find_brain(images, inputs)
    reach = [n * spacing for n in config.data.shape]
    wanted = [-(-round(length / s) // f) * f for length, s, f in zip(reach, working.spacing, factor)]
    window = brain_window(brain, wanted, offset, factor)
    images = {name: crop_with_edge(window, image, factor) for name, image in images.items()}
    if task.degradation:
        images[reference] = evened_out(images[reference], task.degradation)
    try:
        y, scale = conditions_of(images, task)
    except VolumeError as error:
        raise VolumeError(f"{' and '.join(str(inputs[name]) for name in task.inputs)}: {error}") from None
    return Prepared(y, window.crop(brain), scale, window, working, output)


def crop_with_edge(window: Window, image: np.ndarray, factor) -> np.ndarray:
    """The window of `image` [X, Y, Z]; a block that the image's border cuts is filled with its last voxel."""
    edges = [f - 1 for f in factor]
    moved = replace(window, start=tuple(s + edge for s, edge in zip(window.start, edges)))
    return moved.crop(np.pad(image, [(edge, edge) for edge in edges], mode="edge"))


def measurement(
    volume: Volume, grid: str, path: Path, task: Task, spacing: float
) -> tuple[Volume, tuple[int, int, int]]:
    """A measurement on the grid of the output, and at which voxel, modulo the task's factor, its blocks start.

    Where every voxel of a block has the same value, the file is on that grid already. Where there are no such blocks,
    its voxels are the measurement themselves, whatever their size, and the output has finer ones. Another voxel size
    than the model's is not resampled: that would smear the blocks, and what was measured is worth more than a familiar
    scale.

    Raises `VolumeError` where that would be more than `LARGEST` voxels: a sharp volume, most likely, by mistake; and
    for slices so thick, or so thin, that another task is meant.
    """
    if not foreground(volume.data).any():
        raise VolumeError(f"{path}: the brain is empty: every voxel is 0")
    if np.ptp(volume.data) == 0:
        raise VolumeError(f"{path}: the image is constant")
    factor, given = task.degradation.factor, volume.spacing
    size, starts = "x".join(map(str, factor)), block_starts(volume.data, factor)
    if grid == "coarse" or (grid == "auto" and None in starts):
        shape = tuple(n * f for n, f in zip(volume.data.shape, factor))
        sizes = [s / f for s, f in zip(given, factor)]
        if grid == "auto" and max(sizes) > THICK * min(sizes):
            raise VolumeError(thick_slices(path, given, task, spacing))
        if grid == "auto" and np.prod(shape) > LARGEST:
            raise VolumeError(
                f"{path}: no {size} blocks in this file. Are its voxels themselves the measurement? Then give --grid "
                f"coarse, and get {'x'.join(map(str, shape))} voxels; has it blocks that are not quite constant? Then "
                "give --grid fine"
            )
        volume, starts = refine(volume, factor), (0, 0, 0)
    elif None in starts:
        starts = likeliest_starts(volume.data, factor)
    inside = volume.data[foreground(volume.data)]
    if np.percentile(inside, 0.5) < -NEGATIVE * np.ptp(inside):
        warnings.warn(
            f"{path}: {(inside < 0).mean():.0%} of the head are negative, so 0, the background, is not the least: give "
            "the measurement before it was z-scored or shifted, or expect a poorer border of the head",
            stacklevel=2,
        )
    if max(abs(s / spacing - 1) for s in volume.spacing) > 0.1:
        warnings.warn(
            f"voxels of {millimetres(volume.spacing)} mm, but the model was trained at {spacing:g} mm: "
            "the measurement is kept, expect less detail than at the trained size",
            stacklevel=2,
        )
    return volume, starts


def thick_slices(path: Path, given, task: Task, spacing: float) -> str:
    """What to do with a file whose voxels are of other proportions than those that a task makes finer."""
    ratios = [max(1, round(s / spacing)) for s in given]
    wanted = task_named(f"{task.inputs[0]}->{task.target}@{'x'.join(map(str, ratios))}") if max(ratios) > 1 else None
    better = f"; a run of task '{wanted.name}' would fit (see diffens runs)" if wanted else ""
    return (
        f"{path}: voxels of {millimetres(given)} mm without blocks, where task '{task.name}' makes voxels of "
        f"{spacing:g} mm from {task.degradation} times as large ones{better}, or give --grid coarse"
    )


def refine(volume: Volume, factor) -> Volume:
    """The measurement on the grid of the output: each voxel is repeated `factor` times along each axis (R, A, S)."""
    data = volume.data
    for axis, times in enumerate(factor):
        data = data.repeat(times, axis)
    ornt = io_orientation(volume.source_affine)[:, 0].astype(int)  # the RAS axis of each axis of the file
    in_file = tuple(factor[axis] for axis in ornt)
    affines = []
    for affine, times in ((volume.affine, factor), (volume.source_affine, in_file)):
        fine = affine.copy()
        fine[:3, :3] /= times
        fine[:3, 3] -= fine[:3, :3] @ ((np.array(times) - 1) / 2)
        affines.append(fine)
    shape = tuple(n * times for n, times in zip(volume.source_shape, in_file))
    return replace(volume, data=data, affine=affines[0], source_affine=affines[1], source_shape=shape)


def model_grid(volume: Volume, spacing: float) -> tuple[Grid, int | None]:
    """The model's grid over `volume`: its own, one coarser by a whole factor, or (factor None) a resampled one."""
    ratios = [spacing / s for s in volume.spacing]
    factor = max(1, round(ratios[0]))
    if max(abs(r - 1) for r in ratios) > 0.05:
        warnings.warn(
            f"voxels of {millimetres(volume.spacing)} mm: resampled to the {spacing:g} mm of the model and back",
            stacklevel=2,
        )
    if max(abs(r - factor) for r in ratios) <= 0.05 * factor:
        shape = tuple(-(-n // factor) for n in volume.data.shape)
        return Grid(coarse_affine(volume.affine, factor), shape), factor
    shape = tuple(max(2, round(n * s / spacing)) for n, s in zip(volume.data.shape, volume.spacing))
    step = volume.affine[:3, :3] / volume.spacing * spacing
    affine = volume.affine.copy()
    affine[:3, :3] = step
    affine[:3, 3] += (step - volume.affine[:3, :3]) @ np.full(3, 0.5)
    return Grid(affine, shape), None


def block_starts(data: np.ndarray, factor) -> tuple[int | None, ...]:
    """Per axis of `data` [X, Y, Z] the voxel, modulo `factor`, at which constant blocks start; None without blocks."""
    sure = [0 < 0.999 * change.sum() < change.max() for change in changes(data, factor)]
    return tuple(start if found else None for start, found in zip(likeliest_starts(data, factor), sure))


def likeliest_starts(data: np.ndarray, factor) -> tuple[int, ...]:
    """Per axis the voxel, modulo `factor`, before which values change most."""
    return tuple((int(change.argmax()) + 1) % f for change, f in zip(changes(data, factor), factor))


def changes(data: np.ndarray, factor) -> list[np.ndarray]:
    """Per axis of [X, Y, Z], by position modulo `factor`: how much all values change from there to the next voxel."""
    by_axis = []
    for axis, f in enumerate(factor):
        steps = np.abs(np.diff(data, axis=axis)).sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64)
        by_axis.append(np.array([steps[start::f].sum() for start in range(f)]))
    return by_axis


def inside_of(mask: Path, grid: Grid) -> np.ndarray:
    """bool [X, Y, Z] on `grid`: where a mask, a file on any grid, is not 0; raises `VolumeError` if that is nowhere."""
    volume = load_volume(mask)
    inside = resample(foreground(volume.data).astype(np.uint8), volume.affine, grid, order=0) > 0
    if not inside.any():
        raise VolumeError(f"{mask}: the mask is empty, or lies outside the volume")
    return inside


def whole_blocks(mask: np.ndarray, offset, factor) -> np.ndarray:
    """`mask` [X, Y, Z] with the rest of every block that it has a part in; blocks start at `offset`, modulo `factor`.

    A block that is cut could not keep its mean.
    """
    before = [-o % f for o, f in zip(offset, factor)]
    padded = np.pad(mask, [(b, -(b + n) % f) for b, n, f in zip(before, mask.shape, factor)])
    blocks = padded.reshape([m for n, f in zip(padded.shape, factor) for m in (n // f, f)]).any((1, 3, 5))
    for axis, f in enumerate(factor):
        blocks = blocks.repeat(f, axis)
    return blocks[tuple(slice(b, b + n) for b, n in zip(before, mask.shape))]


def onto(volume: Volume, reference: Volume, working: Grid, ratio: int | None) -> np.ndarray:
    """`volume` on the working grid: by block means where it shares the reference's grid, else resampled."""
    if ratio is not None and volume.grid.same_as(reference.grid):
        return coarsen(volume.data, ratio)
    return resample(volume.data, volume.affine, working)


def find_brain(images: dict[str, np.ndarray], inputs: dict[str, Path]) -> np.ndarray:
    """Voxels that are not background (0) in any condition; a warning says so where that is nearly everything.

    Raises `VolumeError` where conditions do not overlap.
    """
    masks = {name: foreground(image) for name, image in images.items()}
    for name, mask in masks.items():
        if not mask.any():
            raise VolumeError(f"{inputs[name]}: the brain is empty, or lies outside the other volume; register them")
        if mask.mean() > FULL:
            warnings.warn(
                f"{inputs[name]}: {mask.mean():.0%} of the voxels are not 0; unless the brain fills the volume, strip "
                "the skull and set the background to 0, or say with --mask where the brain is",
                stacklevel=2,
            )
    first = next(iter(masks.values()))
    for name, mask in masks.items():
        if (first & mask).sum() < 0.5 * min(first.sum(), mask.sum()):
            raise VolumeError(f"{inputs[name]}: does not overlap with the other volume; register them first")
    return np.logical_or.reduce(list(masks.values()))


def brain_window(brain: np.ndarray, shape, offset, factor) -> Window:
    """A window around the brain that starts where a block starts, of the trained `shape`, or larger if need be."""
    start, size = [], []
    for (low, high), wanted, first, f in zip(bounding_box(brain), shape, offset, factor):
        begin = _block_start(low - (wanted - (high - low)) // 2, first, f) if high - low <= wanted else None
        if begin is None or begin > low or begin + wanted < high:
            begin = _block_start(low, first, f)
            wanted = max(wanted, -(-(high - begin) // f) * f)
        start.append(begin)
        size.append(wanted)
    if any(s > w for s, w in zip(size, shape)):
        warnings.warn(
            f"the head needs {tuple(size)} voxels, more than the {tuple(shape)} the model was trained on; "
            "is the skull still there?",
            stacklevel=2,
        )
    return Window(tuple(start), tuple(size))


def to_input_grid(data: np.ndarray, prepared: Prepared) -> np.ndarray:
    """Bring a result in the window back to the grid of the output file."""
    full = prepared.window.paste(data.astype(np.float32), np.zeros(prepared.working.shape, np.float32))
    target = prepared.output.grid
    return full if prepared.working.same_as(target) else resample(full, prepared.working.affine, target)


def _block_start(position: int, offset: int, factor: int) -> int:
    """The last block start at or before `position`."""
    return (position - offset) // factor * factor + offset


def millimetres(spacing) -> str:
    """Voxel sizes as text: `1 x 1 x 2.5`."""
    return " x ".join(f"{s:.2f}".rstrip("0").rstrip(".") for s in spacing)
