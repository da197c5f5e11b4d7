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
from nibabel.affines import voxel_sizes
from scipy.ndimage import affine_transform, gaussian_filter

from .data.measurement import FACTOR
from .data.prepared import coarse_affine, coarsen, measure, scaled
from .data.tasks import Task, task_named
from .data.volumes import Scale, Volume, VolumeError, Window, bounding_box, load_volume, save_volume
from .experiment.samples import different_samples, sample
from .support.progress import Progress
from .training.config import RunConfig


@dataclass(frozen=True)
class Grid:
    """A box of voxels in space. affine: [4, 4], voxel to millimetres; shape: voxels."""

    affine: np.ndarray
    shape: tuple[int, ...]

    @property
    def spacing(self) -> np.ndarray:
        return voxel_sizes(self.affine)

    def same_as(self, other: Grid) -> bool:
        return self.shape == other.shape and np.allclose(self.affine, other.affine, atol=1e-2)


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
    samples: int = 1,
    steps: int = 50,
    seed: int = 0,
    precision: str = "auto",
) -> None:
    """Translate the files in `inputs` (`flair_lr`, `t1ce`, as the run's task needs) and write `out`.

    With several samples `out` is their mean and `std`, if given, their standard deviation, both in the unit of
    the input. Raises `VolumeError` for input that cannot be used.
    """
    task = task_named(config.task)
    samples = different_samples(model, samples)
    if std is not None and samples < 2:
        raise VolumeError(f"run '{config.name}' always gives the same answer: there is no standard deviation to write")
    prepared = prepare(inputs, task, config)
    bar = Progress(f"translating to {out.name}", samples * steps)
    options = {"samples": samples, "steps": steps, "seed": seed, "precision": precision}
    volumes = sample(model, prepared.y, task, subject="input", **options, show=bar.update)
    mean = prepared.scale.invert(volumes.mean(0)[0].numpy())
    save_volume(out, to_input_grid(np.where(prepared.brain, mean, 0.0), prepared), prepared.output)
    if std is not None:
        spread = prepared.scale.invert_spread(volumes.std(0)[0].numpy())
        save_volume(std, to_input_grid(np.where(prepared.brain, spread, 0.0), prepared), prepared.output)


def prepare(inputs: dict[str, Path], task: Task, config: RunConfig) -> Prepared:
    """Load the conditions of `task` and bring them to the grid that the model of `config` works on."""
    missing = [name for name in task.inputs if name not in inputs]
    if missing:
        raise VolumeError(f"task '{task.name}' needs {' and '.join(task.inputs)}; missing: {', '.join(missing)}")
    volumes = {name: load_volume(inputs[name]) for name in task.inputs}
    reference = task.inputs[0]
    output = volumes[reference]
    if task.measured and is_low_resolution(output, config.data.spacing):
        output = volumes[reference] = refine(output)
    if task.measured:
        working, factor, offset = measured_grid(output, config.data.spacing)
    else:
        working, factor = model_grid(output, config.data.spacing)
        offset = (0, 0, 0)
    images = {name: onto(volume, output, working, factor) for name, volume in volumes.items()}
    brain = find_brain(images, inputs)
    reach = [n * config.data.spacing for n in config.data.shape]
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


def is_low_resolution(volume: Volume, spacing: float) -> bool:
    """Whether each voxel is a block itself: nearer to 4 voxels of the model than to 1, and not repeated."""
    repeated = all(start is not None for start in block_starts(volume.data, FACTOR))
    return min(volume.spacing) >= 2 * spacing and not repeated


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


def measured_grid(volume: Volume, spacing: float) -> tuple[Grid, int, tuple[int, ...]]:
    """The grid of the measurement itself, the factor 1, and the voxel, modulo 4, at which its blocks start.

    Voxels of another size than the model's are not resampled, which would smear the blocks: an exact measurement is
    worth more than the trained scale.
    """
    if max(abs(s / spacing - 1) for s in volume.spacing) > 0.1:
        warnings.warn(
            f"voxels of {_mm(volume.spacing)} mm, but the model was trained at {spacing:g} mm: "
            "the measurement is kept, expect less detail than at the trained size",
            stacklevel=2,
        )
    offset = tuple(start or 0 for start in block_starts(volume.data, FACTOR))
    return Grid(volume.affine, volume.data.shape), 1, offset


def model_grid(volume: Volume, spacing: float) -> tuple[Grid, int | None]:
    """The model's grid over `volume`: its own, one coarser by a whole factor, or (factor None) a resampled one."""
    ratios = [spacing / s for s in volume.spacing]
    factor = max(1, round(ratios[0]))
    if max(abs(r - 1) for r in ratios) > 0.05:
        warnings.warn(
            f"voxels of {_mm(volume.spacing)} mm: resampled to the {spacing:g} mm of the model and back", stacklevel=2
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
    """The voxel, modulo `size`, at which constant blocks start along each axis of `data` [X, Y, Z]; None: no blocks."""
    starts = []
    for axis in range(3):
        jumps = np.abs(np.diff(data, axis=axis)).sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64)
        energy = np.array([jumps[start::size].sum() for start in range(size)])
        best = int(energy.argmax())
        starts.append((best + 1) % size if 0 < 0.999 * energy.sum() < energy[best] else None)
    return tuple(starts)


def onto(volume: Volume, reference: Volume, working: Grid, factor: int | None) -> np.ndarray:
    """`volume` on the working grid: its block means if it has the reference's grid, else resampled."""
    shares = Grid(volume.affine, volume.data.shape).same_as(Grid(reference.affine, reference.data.shape))
    if shares and factor is not None:
        return coarsen(volume.data, factor)
    return resample(volume.data, volume.affine, working)


def resample(data: np.ndarray, affine: np.ndarray, grid: Grid, order: int = 1) -> np.ndarray:
    """Resample `data` [X, Y, Z] with `affine` to another grid, smoothed first if that is coarser; 0 outside."""
    matrix = np.linalg.inv(affine) @ grid.affine
    ratio = np.sqrt((matrix[:3, :3] ** 2).sum(1))
    smooth = gaussian_filter(data, [max(0.0, 0.4 * (r - 1)) for r in ratio]) if ratio.max() > 1.05 else data
    out = affine_transform(smooth, matrix[:3, :3], matrix[:3, 3], grid.shape, order=order, mode="constant")
    return out.astype(np.float32)


def find_brain(images: dict[str, np.ndarray], inputs: dict[str, Path]) -> np.ndarray:
    """The voxels that are not background (0) in some condition; `VolumeError` where conditions do not overlap."""
    masks = {name: image != 0 for name, image in images.items()}
    for name, mask in masks.items():
        if not mask.any():
            raise VolumeError(f"{inputs[name]}: the brain is empty, or lies outside the other volume; register them")
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
    target = Grid(prepared.output.affine, prepared.output.data.shape)
    return full if prepared.working.same_as(target) else resample(full, prepared.working.affine, target)


def _block_start(position: int, offset: int) -> int:
    """The last block start at or before `position`."""
    return (position - offset) // FACTOR * FACTOR + offset


def _mm(spacing) -> str:
    return " x ".join(f"{s:.2f}".rstrip("0").rstrip(".") for s in spacing)
