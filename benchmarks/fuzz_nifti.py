"""NIfTI files for `fuzz.py`: sound ones, wrong ones, and whether what was made of them can be right.

A volume that is accepted is written again as translations are, and both files are read by SimpleITK: their geometry and
their voxels must be the same. It reads neither NIfTI-2 nor sheared axes, so qform, sform and unit are compared by the
standard's bytes, too.
"""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK
from numpy.random import Generator
from scipy.spatial.transform import Rotation

from benchmarks.wrong_bytes import Files, Wrong, fields, flip, overwritten, packed, pick
from diffens_core.data.volumes import load_volume, save_volume, to_source_grid

# All that nibabel knows everywhere: floats of 16 bytes depend on the processor.
DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
UNITS = {1: 1e3, 3: 1e-3}  # millimetres


def image(rng: Generator) -> Files:
    """A small image of any type, byte order and version of NIfTI, in one file or in two, whose axes lie anyhow."""
    two, pair, unit = rng.random() < 0.3, rng.random() < 0.3, int(rng.integers(4))
    kind = ((nib.Nifti1Image, nib.Nifti1Pair), (nib.Nifti2Image, nib.Nifti2Pair))[two][pair]
    affine = np.diag([*rng.uniform(0.5, 5, 3), 1.0])
    affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] @ affine[:3, :3]
    affine[:3, 3] = rng.normal(size=3) * 100
    affine[:3] /= UNITS.get(unit, 1.0)
    shape = tuple(int(n) for n in rng.integers(2, 9, 3)) + (1,) * int(rng.integers(3))
    header = kind.header_class(endianness=pick("<>", rng))
    header.set_data_dtype(np.dtype(pick(DTYPES, rng)))
    made = kind(rng.uniform(0, 100, shape).astype(header.get_data_dtype()), affine, header)
    made.set_sform(affine, int(rng.integers(5)))
    made.set_qform(affine, int(rng.integers(5)))
    made.header.set_xyzt_units(unit)
    if rng.random() < 0.3:
        made.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a comment"))
    made.file_map = kind.make_file_map({key: io.BytesIO() for key, _ in kind.files_types})
    made.to_file_map(made.file_map)
    parts = {key: bytearray(holder.fileobj.getvalue()) for key, holder in made.file_map.items()}
    if rng.random() < 0.3:
        view = fields(parts["header" if pair else "image"])
        view["scl_slope"], view["scl_inter"] = pick((0.01, 1, 3), rng), pick((0, 0, -7.5), rng)
    files = {"in.hdr": parts["header"], "in.img": parts["image"]} if pair else {"in.nii": parts["image"]}
    return {name: bytes(content) for name, content in files.items()}


def wrong_header(files: Files, rng: Generator) -> Files:
    """One to four fields of the header, or any bytes of a file with it, wrong."""
    name = next(iter(files))
    mutate = overwritten if rng.random() < 0.6 else flip
    return maybe_packed(files | {name: mutate(files[name], rng)}, rng)


def wrong_body(files: Files, rng: Generator) -> Files:
    """Bytes of the voxels wrong."""
    *_, name = files
    start = 0 if name == "in.img" else int(fields(bytearray(files[name]))["vox_offset"][0])
    return maybe_packed(files | {name: files[name][:start] + flip(files[name][start:], rng)}, rng)


def maybe_packed(files: Files, rng: Generator) -> Files:
    if rng.random() < 0.6:
        return files
    return {f"{name}.gz": packed(content, rng) for name, content in files.items()}


def read_and_write(folder: Path):
    """The volume in the folder, written again, as a translation is."""
    (path,) = (p for p in folder.iterdir() if ".hdr" not in p.name)
    volume = load_volume(path)
    save_volume(folder / "out.nii.gz", volume.data, volume)
    return path, volume


def judge_volume(folder: Path, answer) -> bool:
    """Whether SimpleITK could read the file; raises `Wrong` where what is written has other voxels or another place."""
    path, volume = answer
    if not np.isfinite(volume.data).all() or not np.isfinite(volume.affine).all():
        raise Wrong("the volume is not finite")
    again = load_volume(folder / "out.nii.gz")
    if not np.array_equal(again.data, volume.data) or not close(again.affine, volume.affine):
        raise Wrong("what is written is not what was read")
    if not isinstance(volume.header, nib.Nifti1Header):
        return False  # Analyze, where the magic is wrong, which says nothing of geometry
    if before := geometry(path.with_name(path.name.replace(".img", ".hdr"))):
        compare(before, geometry(folder / "out.nii.gz"))
    if (seen := by_simpleitk(path)) is None:
        return False
    if (seen_again := by_simpleitk(folder / "out.nii.gz")) is None:
        raise Wrong("SimpleITK reads the file, but not what is written")
    if seen[1].shape != seen_again[1].shape or not close(seen[0], seen_again[0]):
        raise Wrong("SimpleITK finds what is written in another place")
    values, written, step = seen[1], to_source_grid(volume.data, volume), seen[2]
    same = np.abs(values - written) <= 1e-5 * np.abs(values).max()
    if not (same | ((written == 0) & (np.abs(values) <= 0.51 * step))).all():
        raise Wrong("SimpleITK reads other values")
    return True


def by_simpleitk(path: Path) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Affine [4, 4] in ITK's axes, voxels [X, Y, Z] and the slope of a file; None where SimpleITK cannot read it."""
    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError:
        return None
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return affine, SimpleITK.GetArrayFromImage(image).T.astype(float), abs(float(image.GetMetaData("scl_slope")))


# Where a header has what the standard says of its geometry: NIfTI-1 and 2.
NAMES = ["unit", "pixdim", "codes", "quatern", "offset", "rows"]
PLACES = {
    348: ([123, 76, 252, 256, 268, 280], ["u1", "8f4", "2i2", "3f4", "3f4", "(3,4)f4"]),
    540: ([500, 104, 344, 352, 376, 400], ["i4", "8f8", "2i4", "3f8", "3f8", "(3,4)f8"]),
}


def geometry(path: Path) -> dict | None:
    """Unit, qform and sform of a NIfTI file, by the standard's bytes; None: its header has another size."""
    content = path.read_bytes()
    content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(600) if content[:2] == b"\x1f\x8b" else content
    sizes = {order: int.from_bytes(content[:4], order) for order in ("little", "big")}
    order = next((order for order, size in sizes.items() if size in PLACES), None)
    if order is None:
        return None  # nibabel goes by other fields, and the standard by none
    offsets, formats = PLACES[sizes[order]]
    header = np.dtype({"names": NAMES, "formats": formats, "offsets": offsets}).newbyteorder(order[0].upper())
    found = {name: np.asarray(np.frombuffer(content, header, 1)[name][0], float) for name in NAMES}
    forms, (qform, sform) = {}, found["codes"]
    rest = 1 - np.sum(found["quatern"] ** 2)
    if qform > 0 and rest > -3e-7:  # else it is no rotation
        turn = Rotation.from_quat([*found["quatern"], np.sqrt(max(0.0, rest))]).as_matrix()
        sizes = np.where(found["pixdim"][1:4] == 0, 1, found["pixdim"][1:4])  # as nifti_clib, which all others follow
        sizes[2] *= -1 if found["pixdim"][0] < 0 else 1
        forms["qform"] = np.column_stack([turn * sizes, found["offset"]])
    if sform > 0:
        forms["sform"] = found["rows"]
    return {"unit": int(found["unit"]) & 7, "forms": forms}


def compare(before: dict, after: dict) -> None:
    """Raise `Wrong` where a form or the unit did not survive."""
    unit = before["unit"]
    if unit != after["unit"] and unit in (1, 2, 3):
        raise Wrong(f"the unit {unit} became {after['unit']}")
    for name, form in before["forms"].items():
        if name not in after["forms"]:
            raise Wrong(f"the {name} is lost")
        if not close(after["forms"][name], form):
            raise Wrong(f"the {name} moved by {np.abs(after['forms'][name] - form).max():.3g}")


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two affines [.., 4] are the same, but for the float32 and the quaternions of a header."""
    return np.abs(a - b).max() <= 2e-3 * np.abs(b[:3, :3]).max() + 1e-6 * np.abs(b).max()
