"""A random head: the template turned, scaled and deformed, with lesions, vessels and a glioma.

All random lengths are drawn in millimetres, so a head is the same on every grid, up to the resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from data_prep import glioma
from data_prep.fields import Grid, smooth_field
from data_prep.glioma import Glioma
from data_prep.template import Template, load_template

TISSUES = ("csf", "gm", "wm", "oedema", "enhancing", "necrotic", "lesion", "vessel")
MARGIN = 3.0  # mm between the brain and the border of the window
# Lattice spacing in mm and standard deviation of the random fields
BEND = {50.0: 1.8, 22.0: 1.6, 9.0: 0.8}  # mm: head, lobes, gyri
STRIP = {20.0: 0.8}  # mm: how much of the outermost CSF the skull stripping took
SULCI, PATCHES, VESSELS = {25.0: 0.3}, {9.0: 0.28, 5.0: 0.21}, {11.0: 1.0}


@dataclass(frozen=True)
class Head:
    """A random head. brain: bool [X, Y, Z]; tissues: float32 [8, N], shares of `TISSUES` in the N brain voxels;
    seg: uint8 [N], their labels."""

    brain: np.ndarray
    tissues: np.ndarray
    seg: np.ndarray


def make_head(key: tuple[int, ...], grid: Grid) -> Head:
    """The random head of the seeds `key`, on `grid`."""
    template = load_template(grid.spacing)
    rng = np.random.default_rng([*key, 0])
    affine, tumour = _pose(rng, grid, template)
    bend = np.stack([_field(key, 10 + axis, grid, BEND) for axis in range(3)])
    everywhere = np.stack(np.broadcast_arrays(*np.ix_(*grid.axes()))).astype(np.float32)
    depth = template.sample(0, affine @ (everywhere + bend).reshape(3, -1)).reshape(grid.shape)
    brain = depth > 1.4 + _field(key, 20, grid, STRIP)
    points = everywhere[:, brain]

    before = affine @ (tumour.push(points) + bend[:, brain])
    narrow, wide = (np.stack([template.sample(first + k, before) for k in range(3)]) for first in (1, 4))
    wideness = np.clip(rng.uniform(0.1, 0.9) + _field(key, 21, grid, SULCI)[brain], 0, 1)
    healthy = narrow + wideness * (wide - narrow)

    shapes = (glioma.OUTLINE, glioma.RIM, glioma.REACH)
    fields = [_field(key, 30 + k, grid, octaves)[brain] for k, octaves in enumerate(shapes)]
    tissues, seg = tumour.invade(healthy, points, fields, grid.spacing)
    lesions = _lesions(tissues, template.sample(7, before), _field(key, 40, grid, PATCHES)[brain])
    crossing = [_field(key, 50 + k, grid, VESSELS)[brain] for k in range(2)]
    tissues = np.stack([*tissues[:2], tissues[2] - lesions, *tissues[3:], lesions])
    return Head(brain, _add_vessels(tissues, crossing, grid), seg)


def _field(key: tuple[int, ...], number: int, grid: Grid, octaves: dict[float, float]) -> np.ndarray:
    """Random field `number` of the head of `key`, [X, Y, Z]."""
    return smooth_field(np.random.default_rng([*key, number]), grid, octaves)


def _pose(rng: np.random.Generator, grid: Grid, template: Template) -> tuple[np.ndarray, Glioma]:
    """The matrix [3, 3] from head to template, and the tumour, in the head."""
    rotation = Rotation.from_euler("xyz", rng.normal(0, [3, 2, 3]), degrees=True).as_matrix()
    size = rng.normal(0.94, 0.025) * np.exp(rng.normal(0, 0.02, 3))
    box = np.abs(rotation) @ (size * template.extent) + 2 * MARGIN
    size *= min(1.0, float((np.array(grid.fov) / box).min()))
    forward = rotation * size
    seeds = np.column_stack([template.seeds[:, :3] @ forward.T, template.seeds[:, 3] * size.min()])
    return np.linalg.inv(forward).astype(np.float32), Glioma.draw(rng, seeds)


def _lesions(tissues: np.ndarray, near: np.ndarray, patches: np.ndarray) -> np.ndarray:
    """The share [N] of FLAIR-bright white matter, in caps beside the ventricles and in patches."""
    return np.clip(1.2 * near + patches - 0.7, 0, 0.8) * tissues[2]


def _add_vessels(tissues: np.ndarray, crossing: list[np.ndarray], grid: Grid) -> np.ndarray:
    """Add thin tubes where two random fields are both zero, mostly in the sulci: tissues [7, N] become [8, N].

    On a coarse grid a tube is wider and fainter, so that its content stays the same.
    """
    width = 0.2**2
    wide = width + (0.03 * (grid.spacing - 1)) ** 2
    tube = width / wide * np.exp(-(crossing[0] ** 2 + crossing[1] ** 2) / wide)
    share = tube * np.clip(0.1 + 1.8 * tissues[0], 0, 0.9) * (1 - tissues[4] - tissues[5])
    return np.stack([*(tissues * (1 - share)), share])
