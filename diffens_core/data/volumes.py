"""NIfTI files in and out: RAS order, cropping and padding, intensity scale, and the inverse of each.

Arrays are numpy, float32, `[X, Y, Z]` in RAS order unless said otherwise.
"""

from __future__ import annotations

import gzip
import math
import os
import warnings
import zlib
from collections.abc import Mapping
from contextlib import suppress
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
UNITS = {1: 1e3, 2: 1.0, 3: 1e-3}  # millimetres, by NIfTI's code: metre, millimetre, micron
DEFLATE = 1032  # bytes that a byte of gzip can at most become
SLOPE = 1e-15  # of intensities; a smaller one is a wrong byte, and none to some readers
LARGEST = 1e30  # of intensities: what is beyond is a wrong byte, and overflows in what is calculated with it


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
    not 3D or holds NaN, infinity or what is nearly so, for an affine that cannot be inverted, and for a header that
    readers understand differently. A header that promises more than the file can hold takes no memory.
    """
    path = Path(path)
    if not os.path.isfile(path):  # unlike Path's, false for a name that no file can have
        raise VolumeError(f"{path}: no such file")
    try:
        with np.errstate(all="ignore"):  # what overflows is found below
            image, affine, data = _read(path)
    except VolumeError:
        raise
    except UNREADABLE as error:
        reason = " ".join(str(error).split())  # nibabel's messages may have several lines
        raise VolumeError(f"{path}: cannot be read, truncated or not NIfTI ({reason})") from error
    if not np.isfinite(data).all():
        raise VolumeError(f"{path}: {int((~np.isfinite(data)).sum())} voxels are NaN or infinite")
    if max(data.max(), -data.min()) > LARGEST:
        raise VolumeError(f"{path}: intensities beyond {LARGEST:g} are no measurement; repair the file")
    _drop_rounding(data, image)
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


def _read(path: Path) -> tuple:
    """The image of a file as nibabel has it, its affine in millimetres and its voxels, float32 [X, Y, Z]."""
    image = nib.load(path, mmap=False)  # a mapped file would stay in memory beside its voxels
    if (kind := image.get_data_dtype()).kind not in "buif":
        raise VolumeError(f"{path}: cannot be read as intensities, holds colours or complex numbers ({kind})")
    shape, affine = _shape(path, image), _affine(path, image)
    data = np.require(np.asarray(image.dataobj, dtype=np.float32).reshape(shape), requirements="W")
    for holder in image.file_map.values():
        if str(holder.filename).lower().endswith(".gz"):
            _check_sum(holder.filename)
    return image, affine, data


def _check_sum(path: str) -> None:
    """Read a file to its end, where gzip has its checksum and raises an error if it is wrong; nibabel stops before."""
    with gzip.open(path) as file:
        while file.read(2**20):
            pass


def spacing_of(path: str | os.PathLike) -> tuple[float, float, float]:
    """Voxel size in millimetres along R, A, S from the header alone; raises `VolumeError` where it says none."""
    try:
        with np.errstate(all="ignore"):
            affine = _affine(path, nib.load(path))
    except VolumeError:
        raise
    except UNREADABLE as error:
        raise VolumeError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    return tuple(map(float, voxel_sizes(affine)[np.argsort(io_orientation(affine)[:, 0])]))


def _shape(path: Path, image) -> tuple[int, ...]:
    """The 3D shape of an image, before its voxels are read; raises `VolumeError` where it has another or too few."""
    shape = tuple(map(int, image.shape))
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape, default=0) < 2:
        raise VolumeError(f"{path}: expected a 3D volume, found shape {shape}")
    needed = math.prod(shape) * image.get_data_dtype().itemsize
    if isinstance(image.header, nib.AnalyzeHeader) and needed > _room(Path(image.file_map["image"].filename)):
        raise VolumeError(f"{path}: truncated, its header promises {needed} bytes of voxels of shape {shape}")
    return shape


def _room(file: Path) -> float:
    """Bytes that the voxels in a file can at most have, once it is unpacked."""
    return file.stat().st_size * {".gz": DEFLATE, ".bz2": math.inf, ".zst": math.inf}.get(file.suffix.lower(), 1)


def _affine(path: str | os.PathLike, image) -> np.ndarray:
    """Voxel to millimetres; raises `VolumeError` where it is not sane, or where readers differ on what it is."""
    unit = _millimetres(image.header)
    if isinstance(image.header, nib.Nifti1Header):
        _check_header(path, image, unit)
    affine = np.asarray(image.affine, dtype=np.float64)
    if not is_sane(affine, unit):
        raise VolumeError(f"{path}: the affine is singular, so orientation and spacing are unknown")
    return np.diag([unit, unit, unit, 1.0]) @ affine


def _check_header(path: str | os.PathLike, image: nib.Nifti1Pair, unit: float) -> None:
    """Raise `VolumeError` for a header that other readers would understand differently.

    nibabel mends an unknown code of a form and a negative pixdim, takes the sform where the qform is of no use, and
    voxels from where the header is; others do not. Some add scl_inter where scl_slope says that nothing is scaled.
    """
    with image.file_map.get("header", image.file_map["image"]).get_prepare_fileobj("rb") as file:
        raw = type(image.header).from_fileobj(file, check=False)
    if raw.is_single and raw["vox_offset"] < raw.single_vox_offset:
        raise VolumeError(f"{path}: vox_offset {raw['vox_offset']:g} is within the header itself; repair the header")
    slope, inter = np.nan_to_num([raw["scl_slope"], raw["scl_inter"]], posinf=0.0, neginf=0.0)
    if abs(slope) < SLOPE and (slope or inter):
        raise VolumeError(f"{path}: scl_slope {slope:g} with scl_inter {inter:g} is no scale; repair the header")
    qform, sform, (factor, *sizes) = int(raw["qform_code"]), int(raw["sform_code"]), raw["pixdim"][:4].tolist()
    used = qform > 0 or sform <= 0
    if max(qform, sform) > 5 or min(sizes) < 0 or (used and not (factor >= 0 or factor == -1)):
        said = f"qform_code {qform}, sform_code {sform}, pixdim {factor:g}, {', '.join(f'{s:g}' for s in sizes)}"
        raise VolumeError(f"{path}: its geometry is not as NIfTI has it ({said}); repair the header")
    sane = qform <= 0
    with suppress(ValueError):  # quaternions that are no rotation
        sane = sane or is_sane(image.header.get_qform(), unit)
    if not sane:
        raise VolumeError(f"{path}: the qform is singular, so readers differ on where it lies; repair the header")


def is_sane(affine: np.ndarray, unit: float = 1.0) -> bool:
    """Whether an affine in `unit` millimetres is finite, within a kilometre, and its voxels have a volume.

    That is between (1 micron)^3 and (1 m)^3, and their axes are not nearly in one plane.
    """
    if not np.isfinite(affine).all() or np.abs(affine[:3]).max() * unit >= 1e6:
        return False
    volume = abs(np.linalg.det(affine[:3, :3] * unit))
    return 1e-9 < volume < 1e9 and volume > 1e-6 * np.prod(voxel_sizes(affine) * unit)


def says_orientation(header) -> bool:
    """Whether a file says how its axes lie: Analyze never does, NIfTI by its qform or sform."""
    if isinstance(header, nib.Nifti1Header):
        return bool(header["qform_code"] > 0 or header["sform_code"] > 0)
    return not isinstance(header, nib.AnalyzeHeader)


def _millimetres(header) -> float:
    """Length of the header's unit; one that it does not name is a millimetre."""
    return UNITS.get(int(header["xyzt_units"]) & 7, 1.0) if isinstance(header, nib.Nifti1Header) else 1.0


def _drop_rounding(data: np.ndarray, image) -> None:
    """Set `data` to 0 where the file cannot tell it from 0: half a step of its integers, a millionth of its range.

    A background of 0 that was stored as integers with a slope reads as the rest of a rounding.
    """
    stored = image.get_data_dtype().kind in "iu"
    step = abs(float(getattr(image.dataobj, "slope", 1.0))) if stored else 0.0
    least = max(0.5001 * step, 1e-6 * float(max(data.max(), -data.min())))
    data[(data <= least) & (data >= -least)] = 0


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
    two = isinstance(like.header, nib.Nifti2Header)  # whose shape or affine may not fit into NIfTI-1
    kind = nib.Nifti2Image if two else nib.Nifti1Image
    image = kind(to_source_grid(np.asarray(data), like), like.source_affine)
    _copy_geometry(like, image)
    save_image(path, image)


def save_volumes(contents: Mapping[Path, np.ndarray], like: Volume, overwrite: bool = True) -> None:
    """`save_volume` for the results of one call, each by the name of its file.

    overwrite: replace files that are there. Else they stay, so that a call that was killed between two files can be
    repeated; `VolumeError` is raised, and nothing written, where one holds something else than its result.
    """
    kept = [path for path in contents if not overwrite and Path(path).exists()]
    for path in kept:
        there, wanted = load_volume(path).data, contents[path]
        if there.shape != wanted.shape or not np.allclose(there, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max()):
            raise VolumeError(f"{path} exists and is not what this call would write; give --overwrite to replace it")
    for path in contents:
        if path not in kept:
            save_volume(path, contents[path], like)


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
        image.header.set_zooms(voxel_sizes(like.source_affine))
        guessed = not says_orientation(header) and np.allclose(image.header.get_base_affine(), like.source_affine)
        code = 0 if guessed else 1  # SPM's Analyze says an origin, which code 0 would lose
        image.set_sform(like.source_affine if code else None, code=code)
        image.set_qform(like.source_affine if code else None, code=code)
        image.header.set_xyzt_units("mm")
        return
    unit = _millimetres(header)
    own = np.diag([unit, unit, unit, 1.0]) @ header.get_best_affine()
    change = np.linalg.inv(own) @ like.source_affine  # from voxels of the image to those of the file
    image.header["xyzt_units"] = int(header["xyzt_units"]) & 63
    sizes = np.array(header.get_zooms()[:3]) * voxel_sizes(change)  # where the sform has others, as they are
    sizes = sizes if np.isfinite(sizes).all() else voxel_sizes(like.source_affine) / unit
    image.header.set_zooms(sizes)
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
        scaled = self.linear(data)
        return np.where(brain, np.clip(scaled, -1.0, 1.0) if clip else scaled, -1.0).astype(np.float32)

    def linear(self, data):
        """An array or a tensor on this scale, not clipped, its background as any other value."""
        return (data - self.low) / (self.high - self.low) * 2.0 - 1.0

    def invert(self, scaled: np.ndarray) -> np.ndarray:
        """[-1, 1] back to the unit of the data."""
        return ((scaled + 1.0) / 2.0 * (self.high - self.low) + self.low).astype(np.float32)

    def invert_spread(self, std: np.ndarray) -> np.ndarray:
        """A standard deviation of values in [-1, 1], in the unit of the data."""
        return (std / 2.0 * (self.high - self.low)).astype(np.float32)


def full_scale(data: np.ndarray) -> Scale:
    """The scale of the paper's released code: zero, or less if `data` has that, to -1, its maximum to 1.

    Raises `VolumeError` for a constant image.
    """
    low, high = min(0.0, float(data.min())), float(data.max())
    if high <= low:
        raise VolumeError("the image is constant")
    return Scale(low, high)


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
