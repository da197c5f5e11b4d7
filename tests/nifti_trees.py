"""Small trees of NIfTI files, as a user may have them, and readers of what becomes of them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from data_prep import brats
from data_prep.layout import listed_participants

GRID, WINDOW = (20, 22, 18), (16, 18, 14)
SHAPE = ["--shape", *map(str, WINDOW)]


def make_image(seed=0, low=50.0, high=900.0, box=(12, 14, 10)) -> np.ndarray:
    """A block of noise off the middle of the grid, background 0."""
    data = np.zeros(GRID, np.float32)
    data[tuple(slice(a, a + n) for a, n in zip((4, 2, 5), box))] = np.random.default_rng(seed).uniform(low, high, box)
    return data


def make_seg(*labels) -> np.ndarray:
    """Eight voxels of each label."""
    seg = np.zeros(GRID, np.uint8)
    for number, label in enumerate(labels):
        seg[4 + 2 * number : 6 + 2 * number, 6:8, 6:8] = label
    return seg


def save(path: Path, data: np.ndarray, affine=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.diag([-1.0, -1.0, 1.0, 1.0]) if affine is None else affine), path)
    return path


def make_subject(
    root: Path, participant: str, suffixes=("_flair", "_t1ce"), labels=(1, 2, 4), ending=".nii.gz"
) -> Path:
    """A BraTS subject; with labels None it has no segmentation."""
    folder = root / participant
    for number, suffix in enumerate(suffixes):
        save(folder / f"{participant}{suffix}{ending}", make_image(number, high=100.0 * (number + 2)))
    if labels is not None:
        save(folder / f"{participant}{suffixes[0][0]}seg{ending}", make_seg(*labels))
    return folder


def run_brats(source: Path, out: Path, *more) -> int:
    return brats.main(["--source", str(source), "--out", str(out), *SHAPE, *map(str, more)])


def read(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def table_of(out: Path) -> pd.DataFrame:
    return listed_participants(out).set_index("participant_id")


def assert_one_line(text: str, *parts: str) -> None:
    """Some line of the output has all of `parts`, and there is no traceback."""
    assert any(all(part in line for part in parts) for line in text.splitlines()), text
    assert "Traceback" not in text


def write_pairs(folder: Path, text: str) -> Path:
    for name in ("a", "b"):
        save(folder / "nifti" / f"{name}.nii.gz", make_image(ord(name)))
    (folder / "pairs.csv").write_text(text)
    return folder / "pairs.csv"
