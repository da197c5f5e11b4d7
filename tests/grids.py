"""Volumes on grids of every kind, their blocks, and the command that translates them."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from diffens_core.cli import main

TILTED = Rotation.from_euler("xyz", [10, -15, 5], degrees=True).as_matrix()


def grid(codes: str, spacing: float = 4.0) -> np.ndarray:
    """An affine of these axis codes, or an oblique one, off the origin."""
    tilted = codes == "oblique"
    matrix = np.zeros((3, 3))
    for axis, (world, sign) in enumerate(nib.orientations.axcodes2ornt("LPS" if tilted else codes)):
        matrix[int(world), axis] = sign * spacing
    return from_matvec(TILTED @ matrix if tilted else matrix, [40.0, 35.0, -30.0])


def blocks(shape, offset=(0, 0, 0)) -> np.ndarray:
    """The number of the 4x4x4 block that each voxel lies in, where blocks start at `offset`."""
    index = np.stack(np.meshgrid(*[(np.arange(n) - o) // 4 + 1 for n, o in zip(shape, offset)], indexing="ij"))
    return np.ravel_multi_index(index, [n // 4 + 3 for n in shape])


def average(data: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Every voxel replaced by the mean of its block."""
    sums, counts = np.bincount(labels.ravel(), data.ravel().astype(float)), np.bincount(labels.ravel())
    return (sums / np.maximum(counts, 1))[labels].astype(np.float32)


def save(path, data, affine):
    nib.save(nib.Nifti1Image(data.astype(np.float32), affine), path)
    return path


def translate(folder, lr, out, *more) -> int:
    paths = ["--run", folder, "--lr", lr, "--out", out]
    return main(["translate", *map(str, [*paths, "--steps", 2, "--precision", "float32", *more])])
