"""The MNI152 average brain that nilearn ships, sharpened to look like one person's brain."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from diffens_core.data.volumes import VolumeError

PAD = 10  # mm of background kept around the brain
SULCI = (3.0, 14.0)  # weights of CSF, for narrow and for wide sulci


@dataclass(frozen=True)
class Template:
    """Maps in template space, 1 mm, RAS order, low-passed for the voxel size in use.

    maps: float32 [8, X, Y, Z]: depth below the surface, -8 to 8 mm; CSF, GM, WM with narrow and then with wide
        sulci, and the closeness to the ventricles, all in [0, 1].
    center: middle of the brain, voxels. extent: size of the brain, mm.
    seeds: [N, 4], points where a glioma may start: mm from `center`, and their depth below the surface, mm.
    """

    maps: np.ndarray
    center: np.ndarray
    extent: np.ndarray
    seeds: np.ndarray

    def sample(self, number: int, points: np.ndarray) -> np.ndarray:
        """Map `number` at `points` [3, N], mm from the template's middle, linearly interpolated: float32 [N]."""
        where = points + self.center.astype(np.float32)[:, None]
        return map_coordinates(self.maps[number], where, order=1, mode="nearest", output=np.float32)


@lru_cache(maxsize=4)
def load_template(spacing: float) -> Template:
    """The template for voxels of `spacing` mm. Raises `VolumeError` where nilearn is not installed."""
    full = _full_template()
    if spacing <= 1:
        return full
    sigma = np.sqrt((spacing**2 - 1) / 12)  # blurs as much as averaging over a voxel
    maps = np.stack([gaussian_filter(one, sigma, truncate=3) for one in full.maps])
    return Template(maps, full.center, full.extent, full.seeds)


@lru_cache(maxsize=1)
def _full_template() -> Template:
    """The sharpened template at 1 mm, cropped to the brain and a margin."""
    t1, gm, wm = _crop(_read("t1"), _read("gm") / 255, _read("wm") / 255)
    mask = t1 > 0
    depth = distance_transform_edt(mask).astype(np.float32)
    surface = np.clip(depth - distance_transform_edt(~mask), -8, 8).astype(np.float32)
    tissues = np.stack([np.clip(mask - gm - wm, 0, 1), gm, wm])
    narrow, wide = _sharpen(tissues, mask, depth)
    ventricles = narrow[0] * (depth > 22)
    near = np.clip(3 * gaussian_filter(ventricles, 5.0, truncate=3), 0, 1)
    center = (np.array(mask.shape) - 1) / 2
    maps = np.stack([surface, *narrow, *wide, near])
    return Template(maps, center, np.array(mask.shape) - 2.0 * PAD, _seeds(depth, narrow[0], center))


def template_file(name: str) -> Path:
    """The file of nilearn's map `name` (t1, gm, wm). Raises `VolumeError` where nilearn or the file is missing."""
    spec = importlib.util.find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise VolumeError("phantoms are made from the MNI152 template that nilearn ships: pip install nilearn")
    folder = Path(spec.origin).parent / "datasets" / "data"
    path = folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
    if not path.is_file():
        raise VolumeError(f"{path}: no such file; install a nilearn that ships it: pip install -U nilearn")
    return path


def _read(name: str) -> np.ndarray:
    return np.asarray(nib.load(template_file(name)).dataobj, np.float32)


def _crop(t1: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """All volumes cropped to the box of the brain with `PAD` voxels of background on every side."""
    lines = [np.flatnonzero((t1 > 0).any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
    box = tuple(slice(line[0], line[-1] + 1) for line in lines)
    return [np.pad(volume[box], PAD) for volume in (t1, *others)]


def _sharpen(tissues: np.ndarray, mask: np.ndarray, depth: np.ndarray) -> list[np.ndarray]:
    """Sharpen the average of many heads to look like one: fractions [3, X, Y, Z] that sum to 1, for each of `SULCI`.

    Detail that averaging blurred is raised, then the likeliest tissue dominates. The deep nuclei stay between grey and
    white, as they are. Outside the brain all is CSF, so that its surface has no false edge.
    """
    raised = np.stack([4 * one - 3 * gaussian_filter(one, 2.0, truncate=3) for one in tissues])
    odds = np.clip(raised, 1e-4, 1) ** 2
    deep = 0.6 * np.clip((depth - 20) / 8, 0, 1) * (tissues[0] < 0.3)
    average = deep * tissues / np.maximum(tissues.sum(0), 1e-3)
    sharp = []
    for csf in SULCI:
        weights = odds * np.array([csf, 1, 1], np.float32)[:, None, None, None]
        fractions = (1 - deep) * weights / weights.sum(0) + average
        sharp.append(np.where(mask, fractions, np.array([1, 0, 0])[:, None, None, None]).astype(np.float32))
    return sharp


def _seeds(depth: np.ndarray, csf: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Points in grey or white matter every 4 mm, off the midline and above the cerebellum, with their depth."""
    voxels = np.argwhere((depth[::4, ::4, ::4] > 11) & (csf[::4, ::4, ::4] < 0.2)) * 4
    seeds = np.column_stack([voxels - center, depth[tuple(voxels.T)]])
    return seeds[(np.abs(seeds[:, 0]) > 14) & (seeds[:, 2] > -8)]
