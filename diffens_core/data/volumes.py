"""NIfTI files in and out: RAS order, cropping and padding, intensity scale, and the inverse of each.

Arrays are numpy, float32, `[X, Y, Z]` in RAS order unless said otherwise.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from nibabel.spatialimages import HeaderDataError

from ..support.errors import DiffensError


class VolumeError(DiffensError, ValueError):
    """A volume that cannot be used; the message is one line that names the file and says what to do."""


@dataclass(frozen=True)
class Volume:
    """A 3D image in RAS order, with what it takes to write results on the grid of its file.

    data: float32 [X, Y, Z], RAS order.
    affine: [4, 4] voxel-to-world of `data`, millimetres.
    header: header of the file, kept for its codes and units.
    source_affine, source_shape: the grid of the file itself, before reorientation.
    """

    data: np.ndarray
    affine: np.ndarray
    header: nib.Nifti1Header
    source_affine: np.ndarray
    source_shape: tuple[int, ...]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in millimetres along R, A, S."""
        return tuple(map(float, voxel_sizes(self.affine)))


def load_volume(path: str | os.PathLike) -> Volume:
    """Read a NIfTI file as a `Volume` in RAS order.

    A trailing axis of length one is dropped. Raises `VolumeError` for a missing or truncated file, one that
    is not NIfTI, is not 3D, holds NaN or infinity, or has an affine that cannot be inverted.
    """
    path = Path(path)
    if not path.is_file():
        raise VolumeError(f"{path}: no such file")
    try:
        image = nib.load(path)
        data = np.asarray(image.dataobj, dtype=np.float32)
    except (ImageFileError, HeaderDataError, EOFError, OSError, TypeError, ValueError, zlib.error) as error:
        reason = " ".join(str(error).split())  # messages of nibabel may have several lines
        raise VolumeError(f"{path}: cannot be read, truncated or not NIfTI ({reason})") from error
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != 3 or min(data.shape, default=0) < 2:
        raise VolumeError(f"{path}: expected a 3D volume, found shape {tuple(data.shape)}")
    if not np.isfinite(data).all():
        raise VolumeError(f"{path}: {int((~np.isfinite(data)).sum())} voxels are NaN or infinite")
    affine = np.asarray(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise VolumeError(f"{path}: the affine is singular, so orientation and spacing are unknown")
    ornt = io_orientation(affine)
    return Volume(
        data=np.ascontiguousarray(apply_orientation(data, ornt)),
        affine=affine @ inv_ornt_aff(ornt, data.shape),
        header=image.header.copy(),
        source_affine=affine,
        source_shape=tuple(data.shape),
    )


def to_source_grid(data: np.ndarray, like: Volume) -> np.ndarray:
    """Undo the reorientation of `load_volume`: RAS `[X, Y, Z]` to the axis order of the file."""
    back = ornt_transform(axcodes2ornt("RAS"), io_orientation(like.source_affine))
    return apply_orientation(data, back)


def save_volume(path: str | os.PathLike, data: np.ndarray, like: Volume) -> None:
    """Write RAS `data` in the orientation and with the affine of the file that `like` was read from.

    The shape of `data` must be that of `like.data`; the file appears whole or not at all.
    """
    if data.shape != like.data.shape:
        raise VolumeError(f"{path}: shape {data.shape} does not fit the grid {like.data.shape} of the input")
    image = nib.Nifti1Image(to_source_grid(np.asarray(data), like), like.source_affine)
    _copy_codes(like.header, image)
    save_image(path, image)


def save_image(path: str | os.PathLike, image: nib.Nifti1Image) -> None:
    """Write `image` atomically: to a temporary name in the same folder, then renamed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        nib.save(image, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _copy_codes(header: nib.Nifti1Header, image: nib.Nifti1Image) -> None:
    """Copy the qform and sform codes and the units, so that viewers treat the output as the input."""
    if isinstance(header, nib.Nifti1Header):
        sform, qform = int(header["sform_code"]), int(header["qform_code"])
        image.set_sform(image.affine, code=sform or 1)
        image.set_qform(image.affine, code=qform or 1)
        image.header.set_xyzt_units(*header.get_xyzt_units())


def bounding_box(mask: np.ndarray) -> list[tuple[int, int]]:
    """The first voxel and the one after the last, for each axis of `mask` [X, Y, Z]; `VolumeError` if it is empty."""
    if not mask.any():
        raise VolumeError("the brain is empty: every voxel is background")
    lines = (np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3))
    return [(int(line[0]), int(line[-1]) + 1) for line in lines]


def center_of(mask: np.ndarray) -> tuple[int, int, int]:
    """The middle voxel of the bounding box of `mask` [X, Y, Z]; raises `VolumeError` if it is empty."""
    return tuple((low + high) // 2 for low, high in bounding_box(mask))


@dataclass(frozen=True)
class Window:
    """A box of `shape` voxels that starts at `start` of a larger or smaller grid, to crop and to paste back."""

    start: tuple[int, int, int]
    shape: tuple[int, int, int]

    @classmethod
    def centered(cls, center, shape) -> Window:
        return cls(tuple(int(c) - s // 2 for c, s in zip(center, shape)), tuple(int(s) for s in shape))

    def crop(self, data: np.ndarray, fill: float = 0.0) -> np.ndarray:
        """The box cropped from `data` [X, Y, Z]; outside of `data` it is `fill`."""
        out = np.full(self.shape, fill, dtype=data.dtype)
        inside, outside = self._overlap(data.shape)
        out[inside] = data[outside]
        return out

    def paste(self, box: np.ndarray, into: np.ndarray) -> np.ndarray:
        """A copy of `into` with the content of `box` where `crop` would take it from."""
        out = into.copy()
        inside, outside = self._overlap(into.shape)
        out[outside] = box[inside]
        return out

    def affine(self, affine: np.ndarray) -> np.ndarray:
        """The affine of the cropped box, from that of the whole: the origin moves, the orientation stays."""
        moved = affine.copy()
        moved[:3, 3] = affine[:3, :3] @ np.asarray(self.start) + affine[:3, 3]
        return moved

    def _overlap(self, shape) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        low = [max(0, s) for s in self.start]
        high = [min(n, s + w) for n, s, w in zip(shape, self.start, self.shape)]
        high = [max(a, b) for a, b in zip(low, high)]
        inside = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, self.start))
        return inside, tuple(slice(a, b) for a, b in zip(low, high))


@dataclass(frozen=True)
class Scale:
    """A linear scale: intensities from `low` to `high` become [-1, 1]; the background becomes exactly -1.

    `fit_scale` fits it on what is known at inference time (the condition), never on the target.
    """

    low: float
    high: float

    def apply(self, data: np.ndarray, brain: np.ndarray, clip: bool = True) -> np.ndarray:
        """`data` in its own unit to [-1, 1], clipped unless told otherwise; -1 where `brain` is False."""
        scaled = (data - self.low) / (self.high - self.low)
        scaled = (np.clip(scaled, 0.0, 1.0) if clip else scaled) * 2.0 - 1.0
        return np.where(brain, scaled, -1.0).astype(np.float32)

    def invert(self, scaled: np.ndarray) -> np.ndarray:
        """[-1, 1] back to the unit of the data."""
        return ((scaled + 1.0) / 2.0 * (self.high - self.low) + self.low).astype(np.float32)

    def invert_spread(self, std: np.ndarray) -> np.ndarray:
        """A standard deviation of values in [-1, 1], in the unit of the data."""
        return (std / 2.0 * (self.high - self.low)).astype(np.float32)


def fit_scale(data: np.ndarray, brain: np.ndarray) -> Scale:
    """Robust scale of `data` within `brain`: zero (or a lower 0.5th percentile) to -1, 99.5th percentile to 0.6.

    The background of a skull-stripped volume is zero, so its edge stays continuous. The headroom above the 99.5th
    percentile is for a target that is sharper, and so locally brighter, than the condition that gives the scale.
    Percentiles ignore single hot voxels. Raises `VolumeError` for an empty brain or a constant image.
    """
    if not brain.any():
        raise VolumeError("the brain is empty: every voxel is background")
    low, high = np.percentile(data[brain], [0.5, 99.5])
    if high - low < 1e-6 * max(1.0, abs(high)):
        raise VolumeError("the image is constant within the brain")
    low = min(0.0, low)
    return Scale(float(low), float(low + 1.25 * (high - low)))
