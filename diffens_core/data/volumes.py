"""NIfTI files in and out: RAS order, cropping and padding, intensity scale, and the inverse of each.

Arrays are numpy, float32, `[X, Y, Z]` in RAS order unless said otherwise.
"""

from __future__ import annotations

import os
import warnings
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
from ..support.files import replacing
from .grids import Grid

UNREADABLE = (ImageFileError, HeaderDataError, EOFError, OSError, ValueError, zlib.error)  # what nibabel raises,
UNREADABLE += (TypeError, KeyError, AttributeError, MemoryError, OverflowError, IndexError)  # whatever the bytes are


class VolumeError(DiffensError, ValueError):
    """A volume that cannot be used; the message is one line that names the file and says what to do."""


@dataclass(frozen=True)
class Volume:
    """A 3D image in RAS order, with what it takes to write results on the grid of its file.

    data: float32 [X, Y, Z], RAS order.
    affine: [4, 4] voxel-to-world of `data`, millimetres.
    header: header of the file, whose geometry and unit go to what is written on its grid.
    source_affine, source_shape: the grid of the file itself, before reorientation; millimetres.
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

    @property
    def grid(self) -> Grid:
        """Where its voxels lie."""
        return Grid(self.affine, self.data.shape)


def load_volume(path: str | os.PathLike) -> Volume:
    """Read a NIfTI file (or another that nibabel knows) as a `Volume` in RAS order.

    A trailing axis of length one is dropped. Values that the file does not tell from 0 are 0, so that a background is
    exactly 0. Metres and microns become millimetres. Where the file does not say how its axes lie, a warning says what
    is assumed.

    Raises `VolumeError` for a file that is missing, truncated or no image, for colours and complex numbers, for what is
    not 3D or holds NaN or infinity, and for an affine that cannot be inverted.
    """
    path = Path(path)
    if not path.is_file():
        raise VolumeError(f"{path}: no such file")
    try:
        image = nib.load(path)
        if image.get_data_dtype().kind not in "buif":
            kind = image.get_data_dtype()
            raise VolumeError(f"{path}: cannot be read as intensities, holds colours or complex numbers ({kind})")
        data = _without_rounding(np.asarray(image.dataobj, dtype=np.float32), image)
        affine = np.asarray(image.affine, dtype=np.float64)
    except VolumeError:
        raise
    except UNREADABLE as error:
        reason = " ".join(str(error).split())  # nibabel's messages may have several lines
        raise VolumeError(f"{path}: cannot be read, truncated or not NIfTI ({reason})") from error
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != 3 or min(data.shape, default=0) < 2:
        raise VolumeError(f"{path}: expected a 3D volume, found shape {tuple(data.shape)}")
    if not np.isfinite(data).all():
        raise VolumeError(f"{path}: {int((~np.isfinite(data)).sum())} voxels are NaN or infinite")
    affine = np.diag([*3 * [_millimetres(image.header)], 1.0]) @ affine
    if not is_sane(affine):
        raise VolumeError(f"{path}: the affine is singular, so orientation and spacing are unknown")
    if not says_orientation(image.header):
        axes = "".join(nib.aff2axcodes(affine))
        warnings.warn(f"{path}: the file does not say how its axes lie; {axes} is assumed", stacklevel=2)
    ornt = io_orientation(affine)
    return Volume(
        data=np.ascontiguousarray(apply_orientation(data, ornt)),
        affine=affine @ inv_ornt_aff(ornt, data.shape),
        header=image.header.copy(),
        source_affine=affine,
        source_shape=tuple(data.shape),
    )


def spacing_of(path: str | os.PathLike) -> tuple[float, float, float]:
    """Voxel size in millimetres along R, A, S from the header alone; raises `VolumeError` where it says none."""
    try:
        image = nib.load(path)
        affine = np.diag([*3 * [_millimetres(image.header)], 1.0]) @ np.asarray(image.affine, dtype=np.float64)
    except UNREADABLE as error:
        raise VolumeError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    if not is_sane(affine):
        raise VolumeError(f"{path}: the affine is singular, so orientation and spacing are unknown")
    return tuple(map(float, voxel_sizes(affine)[np.argsort(io_orientation(affine)[:, 0])]))


def is_sane(affine: np.ndarray) -> bool:
    """Whether an affine is finite, and its voxels have a volume: between (1 micron)^3 and (1 m)^3."""
    size = abs(np.linalg.det(affine[:3, :3])) if np.isfinite(affine).all() else 0.0
    return 1e-9 < size < 1e9


def says_orientation(header) -> bool:
    """Whether a file says how its axes lie: Analyze never does, NIfTI by its qform or sform."""
    if isinstance(header, nib.Nifti1Header):
        return bool(header["qform_code"] > 0 or header["sform_code"] > 0)
    return not isinstance(header, nib.AnalyzeHeader)


def _millimetres(header) -> float:
    """Length of the header's unit; one that it does not name is a millimetre."""
    unit = header.get_xyzt_units()[0] if isinstance(header, nib.Nifti1Header) else "mm"
    return {"meter": 1e3, "micron": 1e-3}.get(unit, 1.0)


def _without_rounding(data: np.ndarray, image) -> np.ndarray:
    """`data` with 0 for what the file cannot tell from 0: half a step of its integers, a millionth of its range.

    A background of 0 that was stored as integers with a slope reads as the rest of a rounding.
    """
    stored = image.get_data_dtype().kind in "iu"
    step = abs(float(getattr(image.dataobj, "slope", 1.0))) if stored else 0.0
    least = max(0.5001 * step, 1e-6 * float(np.abs(data).max(initial=0.0)))
    return np.where(np.abs(data) <= least, np.float32(0), data)


def to_source_grid(data: np.ndarray, like: Volume) -> np.ndarray:
    """Undo the reorientation of `load_volume`: RAS `[X, Y, Z]` to the axis order of the file."""
    back = ornt_transform(axcodes2ornt("RAS"), io_orientation(like.source_affine))
    return apply_orientation(data, back)


def save_volume(path: str | os.PathLike, data: np.ndarray, like: Volume) -> None:
    """Write RAS `data` in the orientation and with the geometry of the file that `like` was read from.

    The shape of `data` must be that of `like.data`; the file appears whole or not at all.
    """
    if data.shape != like.data.shape:
        raise VolumeError(f"{path}: shape {data.shape} does not fit the grid {like.data.shape} of the input")
    image = nib.Nifti1Image(to_source_grid(np.asarray(data), like), like.source_affine)
    _copy_geometry(like, image)
    save_image(path, image)


def save_image(path: str | os.PathLike, image: nib.Nifti1Image) -> None:
    """Write `image`; the file appears whole or not at all."""
    with replacing(path) as temporary:
        nib.save(image, temporary)


def _copy_geometry(like: Volume, image: nib.Nifti1Image) -> None:
    """Give an image qform, sform, their codes and the unit of the file of `like`, so that viewers treat both alike.

    The two forms of a file may differ, and some viewers prefer the one, some the other. What `refined` has made of the
    grid is done to both. A geometry that was guessed keeps code 0.
    """
    header = like.header
    if not isinstance(header, nib.Nifti1Header):
        code = 1 if says_orientation(header) else 0
        image.set_sform(like.source_affine if code else None, code=code)
        image.set_qform(like.source_affine if code else None, code=code)
        image.header.set_xyzt_units("mm")
        return
    unit = _millimetres(header)
    own = np.diag([unit, unit, unit, 1.0]) @ header.get_best_affine()
    change = np.linalg.inv(own) @ like.source_affine  # from voxels of the image to those of the file
    image.header.set_xyzt_units(*header.get_xyzt_units())
    image.header.set_zooms(voxel_sizes(like.source_affine) / unit)
    forms = (header.get_sform(coded=True), image.set_sform), (header.get_qform(coded=True), image.set_qform)
    for (affine, code), set_form in forms:
        set_form(None if affine is None else affine @ change, code=code)


def foreground(data: np.ndarray) -> np.ndarray:
    """bool: what is not background, 0 but for rounding, in an image [X, Y, Z] of any unit."""
    return np.abs(data) > 1e-6 * np.abs(data).max(initial=0.0)


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
