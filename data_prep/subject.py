"""Preparation of one subject: its files are read, checked, cropped to the window, scaled and written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np

from data_prep.layout import write_subject
from diffens_core.data.layout import contrasts_in, is_contrast
from diffens_core.data.registration import onto, register
from diffens_core.data.volumes import Scale, Volume, VolumeError, Window, center_of, fit_scale, load_volume

TOLERANCE = 0.05  # of the spacing


def in_order(files: Iterable[str]) -> list[str]:
    """The names of a subject's files; the first is the contrast that gives the grid."""
    return [*contrasts_in(files), *(name for name in ("seg", "mask") if name in files)]


@dataclass(frozen=True)
class Source:
    """The files of one subject.

    participant_id: folder name in the prepared set. patient: unit of the split. files: by contrast, "seg", and "mask",
    which is not 0 where the brain is.
    seg_labels: label in the file to label in the layout (1 necrotic, 2 oedema, 4 enhancing, 0 none of them); or several
    such meanings, of which `settle_labels` takes the one that the file fits. source: data set it is of.
    """

    participant_id: str
    patient: str
    files: dict[str, Path]
    seg_labels: dict[int, int] | tuple[dict[int, int], ...]
    source: str


def prepare_subject(subject: Source, out: Path, shape, spacing, move: str = "refuse") -> dict:
    """Read, check, crop, scale and write one subject, in a window of `shape` voxels of `spacing` mm.

    move: what becomes of a file off the grid of the first contrast: "refuse"; "resample" it from where its header has
    it; "register" all contrasts to the first, then resample.
    Returns what the summary shows: grid, spacing and orientation of the files; brain_ml, and tumour_ml where there is
    a segmentation. Raises `VolumeError` for files that cannot be used, before anything is written.
    """
    volumes = {name: load_volume(subject.files[name]) for name in in_order(subject.files)}
    if move == "register":
        volumes = registered(subject.files, volumes)
    if move != "refuse":
        volumes = on_one_grid(volumes)
    check_grids(subject.files, volumes, spacing)
    seg, mask = volumes.pop("seg", None), volumes.pop("mask", None)
    if mask is not None:
        volumes = {n: replace(v, data=np.where(mask.data != 0, v.data, np.float32(0))) for n, v in volumes.items()}
    labels = None if seg is None else harmonise(seg.data, subject.seg_labels, subject.files["seg"])
    first = next(iter(volumes.values()))
    scales = {name: _fit(volume.data, subject.files[name]) for name, volume in volumes.items()}
    brain = np.logical_or.reduce([volume.data != 0 for volume in volumes.values()])
    window = fit_window(brain, shape)
    images = {name: window.crop(volume.data) for name, volume in volumes.items()}
    labels = None if labels is None else window.crop(labels)
    brain, affine = window.crop(brain), window.affine(first.affine)
    write_subject(out, subject.participant_id, images, brain, labels, affine, scales)
    voxel_ml = float(np.prod(first.spacing)) / 1000
    measured = {"grid": "x".join(map(str, first.source_shape)), "spacing": "x".join(f"{s:.3g}" for s in first.spacing)}
    measured |= {"orientation": "".join(nib.aff2axcodes(first.source_affine)), "brain_ml": brain.sum() * voxel_ml}
    measured |= {} if labels is None else {"tumour_ml": (labels > 0).sum() * voxel_ml}
    return measured


def registered(files: dict[str, Path], volumes: dict[str, Volume]) -> dict[str, Volume]:
    """Contrasts where their heads lie on that of the first; seg and mask go with the contrast whose grid they have.

    Raises `VolumeError` for two that cannot be registered.
    """
    (name, first), *_ = volumes.items()
    moved = {name: first}
    for other in list(volumes)[1:]:
        volume = volumes[other]
        if is_contrast(other):
            try:
                moved[other] = register(first, volume)
            except VolumeError as error:
                raise VolumeError(f"{files[other]} onto {files[name]}: {error}") from error
        else:
            host = next((n for n in moved if is_contrast(n) and volumes[n].grid.same_as(volume.grid)), name)
            motion = moved[host].affine @ np.linalg.inv(volumes[host].affine)
            moved[other] = replace(volume, affine=motion @ volume.affine)
    return moved


def on_one_grid(volumes: dict[str, Volume]) -> dict[str, Volume]:
    """All volumes on the grid of the first: images interpolated, labels and masks of the nearest voxel."""
    first = next(iter(volumes.values()))
    return {
        name: volume if volume.grid.same_as(first.grid) else onto(first, volume, 0 if name in ("seg", "mask") else 1)
        for name, volume in volumes.items()
    }


def check_grids(files: dict[str, Path], volumes: dict[str, Volume], spacing) -> None:
    """Raise `VolumeError` unless all volumes share one grid, of voxels of `spacing` mm."""
    (name, first), *others = volumes.items()
    for other, volume in others:
        if not volume.grid.same_as(first.grid):
            raise VolumeError(
                f"{files[other]}: is not on the grid of {files[name]}; give --resample, or --register if the head moved"
            )
    if not np.allclose(first.spacing, spacing, rtol=TOLERANCE, atol=0):
        own, wanted = (" x ".join(f"{s:.3g}" for s in sizes) for sizes in (first.spacing, spacing))
        raise VolumeError(f"{files[name]}: has voxels of {own} mm, the set has {wanted} mm; resample it first")


def harmonise(seg: np.ndarray, labels: dict[int, int], path: Path) -> np.ndarray:
    """The uint8 labels of the layout from those of a file, [X, Y, Z]; `VolumeError` for one that is not in `labels`."""
    out, known = np.zeros(seg.shape, np.uint8), seg == 0
    for label, target in labels.items():
        here = seg == label
        out[here] = target
        known |= here
    if not known.all():
        unknown = ", ".join(f"{value:g}" for value in np.unique(seg[~known])[:5])
        expected = ", ".join(map(str, labels))
        raise VolumeError(f"{path}: unknown label {unknown}; expected 0, {expected}: recode or remove the file")
    return out


def fit_window(brain: np.ndarray, shape) -> Window:
    """The window of `shape` around the brain [X, Y, Z]; raises `VolumeError` where the brain does not fit into it."""
    window = Window.centered(center_of(brain), shape)
    if window.crop(brain).sum() < brain.sum():
        extents = [int(np.ptp(line)) + 1 for line in np.nonzero(brain)]
        wanted = " ".join(str(max(s, -(-n // 8) * 8)) for n, s in zip(extents, shape))
        spanned, asked = ("x".join(map(str, sizes)) for sizes in (extents, shape))
        raise VolumeError(
            f"the brain (all that is not 0) spans {spanned} voxels, the window {asked}: use --shape {wanted}, "
            "or strip the skull and set the background to 0"
        )
    return window


def _fit(data: np.ndarray, path: Path) -> Scale:
    """`fit_scale` of a volume without its background; an error names the file."""
    try:
        return fit_scale(data, data != 0)
    except VolumeError as error:
        raise VolumeError(f"{path}: {error}") from error
