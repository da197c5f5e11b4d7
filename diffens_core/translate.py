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

from .data.grids import Grid, resample
from .data.measurement import FACTOR
from .data.prepared import coarse_affine, coarsen, measure, scaled
from .data.tasks import Task, task_named
from .data.volumes import (
    Scale,
    Volume,
    VolumeError,
    Window,
    bounding_box,
    foreground,
    load_volume,
    save_volume,
)
from .experiment.samples import different_samples, sample
from .support.progress import Progress
from .training.config import RunConfig

GRIDS = ("auto", "fine", "coarse")
LARGEST = 2**25  # voxels of an output that nobody asked for in so many words
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
) -> None:
    """Translate the files in `inputs` (`flair_lr`, `t1ce`, as the run's task needs) and write `out`.

    With several samples `out` is their mean and `std`, if given, their standard deviation, both in the unit of
    the input. mask: a volume that is not 0 where the brain is; without it, all that is not 0 in a condition is.
    grid: whether a degraded FLAIR is `fine`, with each block mean repeated, or `coarse`, its voxels themselves the
    measurement; `auto` looks for blocks. Raises `VolumeError` for input that cannot be used.
    """
    task = task_named(config.task)
    samples = different_samples(model, samples)
    if std is not None and samples < 2:
        raise VolumeError(f"run '{config.name}' always gives the same answer: there is no standard deviation to write")
    prepared = prepare(inputs, task, config, mask, grid)
    bar = Progress(f"translating to {out.name}", samples * steps)
    options = {"samples": samples, "steps": steps, "sampler": sampler, "seed": seed, "precision": precision}
    volumes = sample(model, prepared.y, task, subject="input", **options, show=bar.update)
    mean = prepared.scale.invert(volumes.mean(0)[0].numpy())
    save_volume(out, to_input_grid(np.where(prepared.brain, mean, 0.0), prepared), prepared.output)
    if std is not None:
        spread = prepared.scale.invert_spread(volumes.std(0)[0].numpy())
        save_volume(std, to_input_grid(np.where(prepared.brain, spread, 0.0), prepared), prepared.output)


def prepare(
    inputs: dict[str, Path], task: Task, config: RunConfig, mask: Path | None = None, grid: str = "auto"
) -> Prepared:
    """Load the conditions of `task` and bring them to the grid that the model of `config` works on."""
    missing = [name for name in task.inputs if name not in inputs]
    if missing:
        raise VolumeError(f"task '{task.name}' needs {' and '.join(task.inputs)}; missing: {', '.join(missing)}")
    volumes = {name: load_volume(inputs[name]) for name in task.inputs}
    reference, spacing = task.inputs[0], config.data.spacing
    offset = (0, 0, 0)
    if task.measured:
        volumes[reference], offset = measurement(volumes[reference], grid, inputs[reference], spacing)
    output = volumes[reference]
    working, factor = (output.grid, 1) if task.measured else model_grid(output, spacing)
    images = {name: onto(volume, output, working, factor) for name, volume in volumes.items()}
    if mask is not None:
        inside = inside_of(mask, working)
        inside = whole_blocks(inside, offset) if task.measured else inside
        images = {name: np.where(inside, image, np.float32(0)) for name, image in images.items()}
    brain = find_brain(images, inputs)
    reach = [n * spacing for n in config.data.shape]
    wanted = [-(-round(length / s) // FACTOR) * FACTOR for length, s in zip(reach, working.spacing)]
    window = brain_window(brain, wanted, offset)
    images = {name: crop_with_edge(window, image) for name, image in images.items()}
    y, scale = scaled_conditions(images, task)
    return Prepared(y, window.crop(brain), scale, window, working, output)


def scaled_conditions(images: dict[str, np.ndarray], task: Task) -> tuple[torch.Tensor, Scale]:
    """`y` [C, X, Y, Z] in [-1, 1] and the scale of the output, by the rules of training (`scaled_pair`)."""
    if task.measured:
        images = {**images, "flair_lr": measure(images["flair_lr"])}
    channels = {name: scaled(images[name]) for name in task.inputs}
    return task.stack({name: channel for name, (channel, _) in channels.items()}), channels[task.inputs[0]][1]


def crop_with_edge(window: Window, image: np.ndarray) -> np.ndarray:
    """The window of `image` [X, Y, Z]; a block that the image's border cuts is filled with its last voxel."""
    edge = FACTOR - 1
    return replace(window, start=tuple(s + edge for s in window.start)).crop(np.pad(image, edge, mode="edge"))


def measurement(volume: Volume, grid: str, path: Path, spacing: float) -> tuple[Volume, tuple[int, int, int]]:
    """A measurement on the grid of the output, and at which voxel, modulo 4, its blocks start.

    Where every voxel of a 4x4x4 block has the same value, the file is on that grid already. Where there are no such
    blocks, its voxels are the measurement themselves, whatever their size, and the output has 4x finer ones. Another
    voxel size than the model's is not resampled: that would smear the blocks, and what was measured is worth more than
    a familiar scale.

    Raises `VolumeError` where that would be more than `LARGEST` voxels: a sharp volume, most likely, by mistake.
    """
    if not foreground(volume.data).any():
        raise VolumeError(f"{path}: the brain is empty: every voxel is 0")
    if np.ptp(volume.data) == 0:
        raise VolumeError(f"{path}: the image is constant")
    starts = block_starts(volume.data, FACTOR)
    if grid == "coarse" or (grid == "auto" and None in starts):
        if grid == "auto" and volume.data.size * FACTOR**3 > LARGEST:
            fine = "x".join(str(n * FACTOR) for n in volume.data.shape)
            raise VolumeError(
                f"{path}: no 4x4x4 blocks in this file. Are its voxels themselves the measurement? Then give --grid "
                f"coarse, and get {fine} voxels; has it blocks that are not quite constant? Then give --grid fine"
            )
        volume, starts = refine(volume), (0, 0, 0)
    elif None in starts:
        starts = likeliest_starts(volume.data, FACTOR)
    if max(abs(s / spacing - 1) for s in volume.spacing) > 0.1:
        warnings.warn(
            f"voxels of {millimetres(volume.spacing)} mm, but the model was trained at {spacing:g} mm: "
            "the measurement is kept, expect less detail than at the trained size",
            stacklevel=2,
        )
    return volume, starts


def refine(volume: Volume) -> Volume:
    """The measurement on the grid of the output: each voxel is repeated 4x4x4 times over its own extent."""
    data = volume.data
    for axis in range(3):
        data = data.repeat(FACTOR, axis)
    affines = []
    for affine in (volume.affine, volume.source_affine):
        fine = affine.copy()
        fine[:3, :3] /= FACTOR
        fine[:3, 3] -= fine[:3, :3] @ np.full(3, (FACTOR - 1) / 2)
        affines.append(fine)
    shape = tuple(n * FACTOR for n in volume.source_shape)
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
    shape = tuple(max(FACTOR, round(n * s / spacing)) for n, s in zip(volume.data.shape, volume.spacing))
    step = volume.affine[:3, :3] / volume.spacing * spacing
    affine = volume.affine.copy()
    affine[:3, :3] = step
    affine[:3, 3] += (step - volume.affine[:3, :3]) @ np.full(3, 0.5)
    return Grid(affine, shape), None


def block_starts(data: np.ndarray, size: int) -> tuple[int | None, ...]:
    """Per axis of `data` [X, Y, Z] the voxel, modulo `size`, at which constant blocks start; None if there are none."""
    sure = [0 < 0.999 * change.sum() < change.max() for change in changes(data, size)]
    return tuple(start if found else None for start, found in zip(likeliest_starts(data, size), sure))


def likeliest_starts(data: np.ndarray, size: int) -> tuple[int, ...]:
    """Per axis the voxel, modulo `size`, before which values change most."""
    return tuple((int(change.argmax()) + 1) % size for change in changes(data, size))


def changes(data: np.ndarray, size: int) -> list[np.ndarray]:
    """Per axis of [X, Y, Z], by position modulo `size`: how much all values change from there to the next voxel."""
    by_axis = []
    for axis in range(3):
        steps = np.abs(np.diff(data, axis=axis)).sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64)
        by_axis.append(np.array([steps[start::size].sum() for start in range(size)]))
    return by_axis


def inside_of(mask: Path, grid: Grid) -> np.ndarray:
    """bool [X, Y, Z] on `grid`: where a mask, a file on any grid, is not 0; raises `VolumeError` if that is nowhere."""
    volume = load_volume(mask)
    inside = resample(foreground(volume.data).astype(np.uint8), volume.affine, grid, order=0) > 0
    if not inside.any():
        raise VolumeError(f"{mask}: the mask is empty, or lies outside the volume")
    return inside


def whole_blocks(mask: np.ndarray, offset: tuple[int, int, int]) -> np.ndarray:
    """`mask` [X, Y, Z] with the rest of every block that it has a part in; blocks start at `offset`, modulo 4.

    A block that is cut could not keep its mean.
    """
    before = [-o % FACTOR for o in offset]
    padded = np.pad(mask, [(b, -(b + n) % FACTOR) for b, n in zip(before, mask.shape)])
    blocks = padded.reshape([m for n in padded.shape for m in (n // FACTOR, FACTOR)]).any((1, 3, 5))
    for axis in range(3):
        blocks = blocks.repeat(FACTOR, axis)
    return blocks[tuple(slice(b, b + n) for b, n in zip(before, mask.shape))]


def onto(volume: Volume, reference: Volume, working: Grid, factor: int | None) -> np.ndarray:
    """`volume` on the working grid: by block means where it shares the reference's grid, else resampled."""
    if factor is not None and volume.grid.same_as(reference.grid):
        return coarsen(volume.data, factor)
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


def brain_window(brain: np.ndarray, shape, offset) -> Window:
    """A window around the brain that starts where a block starts, of the trained `shape`, or larger if need be."""
    start, size = [], []
    for (low, high), wanted, first in zip(bounding_box(brain), shape, offset):
        begin = _block_start(low - (wanted - (high - low)) // 2, first) if high - low <= wanted else None
        if begin is None or begin > low or begin + wanted < high:
            begin = _block_start(low, first)
            wanted = max(wanted, -(-(high - begin) // FACTOR) * FACTOR)
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


def _block_start(position: int, offset: int) -> int:
    """The last block start at or before `position`."""
    return (position - offset) // FACTOR * FACTOR + offset


def millimetres(spacing) -> str:
    """Voxel sizes as text: `1 x 1 x 2.5`."""
    return " x ".join(f"{s:.2f}".rstrip("0").rstrip(".") for s in spacing)
