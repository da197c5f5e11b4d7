"""Where a zoom looks, by a rule that knows no method, and what it shows there: detail, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import distance_transform_edt, uniform_filter

from .panels import VIEWS, WINDOW, cut, enlarge, grid, name_axes, position, reach_of, show_cut

RULE = (
    "Squares: in the upper cortex, where the truth has most edges.\nGrey: 98 % of the truth there, without background."
)
SURFACE = 2  # voxels: edges nearer to the background are those of the head itself
MARK = "#E69F00"


def reach_in(volume: np.ndarray) -> int:
    """Half the side of a zoom's square, in voxels: an eighth of the first axis."""
    return volume.shape[0] // 8


def cortex(truth: np.ndarray, brain: np.ndarray) -> tuple[int, int, int]:
    """Where to zoom: the voxel of the cortex around which the three squares of a zoom hold most of its edges.

    truth, brain: [X, Y, Z]. Cortex is here what lies at most half of a square's half side below the brain's surface, in
    its upper half: below, the surface is that of brain stem and cerebellum. Edges are gradients of the truth, but for
    those of the surface itself and those deeper than half a square. No method has a say in it.
    """
    reach, depth = reach_in(truth), distance_transform_edt(brain)
    edges = np.linalg.norm(np.gradient(truth), axis=0) * ((depth > SURFACE) & (depth <= reach))
    squares = [[1 if axis == across else 2 * reach + 1 for axis in range(3)] for across in range(3)]
    found = sum(uniform_filter(edges, square, mode="constant") for square in squares)
    upper = np.arange(brain.shape[2]) >= np.median(np.nonzero(brain)[2])
    shell = (depth > SURFACE) & (depth <= max(reach / 2, SURFACE + 1)) & upper
    place = np.where(shell if shell.any() else brain, found, -1.0).argmax()
    return tuple(int(p) for p in np.unravel_index(place, truth.shape))


def zoomed(volumes: Mapping[str, np.ndarray], truth: np.ndarray, at: Sequence[int], title: str = "") -> plt.Figure:
    """The square around voxel `at` of the truth and of each of `volumes` in three planes, and below what is wrong.

    All [X, Y, Z], in [-1, 1]. Below the truth: where the square lies. Below a volume: its difference from the truth,
    red where it is too bright and blue where it is too dark, on one scale for all.
    """
    reach, columns = reach_in(truth), 1 + len(volumes)
    figure, axes = grid(6, columns, (1.6 * columns + 1.0, 6 * 1.6 + 0.8))
    differences = {name: volume - truth for name, volume in volumes.items()}
    far = reach_of(np.concatenate([_squares(one, at, reach) for one in differences.values()]))
    inside = _squares(truth, at, reach)
    low, high = np.percentile(inside[inside > truth.min()], (1, 99))
    for above, below, plane in zip(axes[::2], axes[1::2], VIEWS):
        for axis, volume in zip(above, (truth, *volumes.values())):
            grey = show_cut(axis, volume, plane, at, vmin=low, vmax=high)
        for axis, difference in zip(below[1:], differences.values()):
            signed = show_cut(axis, difference, plane, at, cmap="RdBu_r", vmin=-far, vmax=far)
        for axis in (*above, *below[1:]):
            enlarge(axis, plane, at, reach)
        show_cut(below[0], truth, plane, at)
        corner = [place - reach for place in position(plane, at)]
        below[0].add_patch(plt.Rectangle(corner, 2 * reach, 2 * reach, fill=False, color=MARK, linewidth=1))
        below[0].set(facecolor="black", adjustable="datalim")
        if columns > 1:
            below[1].set_ylabel("minus truth", fontsize=8)
    name_axes(axes, ("truth", *volumes), [name for plane in VIEWS for name in (plane, "where")])
    figure.colorbar(grey, ax=axes[:3], shrink=0.7, pad=0.01, label=f"signal ({WINDOW})")
    figure.colorbar(signed, ax=axes[3:], shrink=0.7, pad=0.01, label=f"difference from the truth ({WINDOW})")
    figure.suptitle(title, fontsize=10)
    figure.supxlabel(RULE, fontsize=7)
    return figure


def _squares(volume: np.ndarray, at: Sequence[int], reach: int) -> np.ndarray:
    """The values of `volume` in the three squares around voxel `at`, [N]."""
    values = []
    for plane in VIEWS:
        column, row = position(plane, at)
        lines = slice(max(row - reach, 0), row + reach + 1), slice(max(column - reach, 0), column + reach + 1)
        values.append(cut(volume, plane, at)[lines].ravel())
    return np.concatenate(values)
