"""What all pictures are made of: grids of axes, and cuts through volumes [X, Y, Z] in RAS order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.image import AxesImage

from ..data.planes import PLANES

DPI = 110
WIDEST = 10.0  # inches: what a notebook shows without shrinking it
VIEWS = ("axial", "coronal", "sagittal")
GREY = {"cmap": "gray", "vmin": -1, "vmax": 0.8}  # of volumes in [-1, 1]: few voxels are brighter
WINDOW = "volumes span -1 to 1"  # the unit of a volume, a spread or an error, for a colour bar


def cut(volume: np.ndarray, plane: str, at: Sequence[int]) -> np.ndarray:
    """The slice of `plane` through voxel `at`, ready for `imshow(..., origin="lower")`."""
    axis = PLANES[plane] - 2
    return np.take(volume, at[axis], axis=axis).T


def show_cut(axis: plt.Axes, volume: np.ndarray, plane: str, at: Sequence[int], **style) -> AxesImage:
    """Draw a cut without ticks: in grey, of a volume in [-1, 1], or in another `style` of `imshow`."""
    axis.set(xticks=[], yticks=[])
    return axis.imshow(cut(volume, plane, at), origin="lower", **GREY | style)


def grid(rows: int, columns: int, size: tuple[float, float], **more) -> tuple[plt.Figure, np.ndarray]:
    """A figure of `size` in inches, and its axes [rows, columns]."""
    return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", dpi=DPI, **more)


def name_axes(axes: np.ndarray, columns: Iterable[str] = (), rows: Iterable[str] = (), sizes=(9, 8)) -> None:
    """Names above the columns and on the left of the rows of a grid; sizes: of both, in points."""
    for axis, name in zip(axes[0], columns):
        axis.set_title(name, fontsize=sizes[0])
    for axis, name in zip(axes[:, 0], rows):
        axis.set_ylabel(name, fontsize=sizes[1])


def centre(volume: np.ndarray) -> tuple[int, int, int]:
    """The voxel in the middle of a volume."""
    return tuple(n // 2 for n in volume.shape)


def height(volume: np.ndarray, plane: str, at: Sequence[int]) -> float:
    """Of a cut that is one wide."""
    high, wide = cut(volume, plane, at).shape
    return high / wide


def position(plane: str, at: Sequence[int]) -> tuple[int, int]:
    """Column and row of voxel `at` in a cut."""
    column, row = (at[axis] for axis in range(3) if axis != PLANES[plane] - 2)
    return column, row


def enlarge(axis: plt.Axes, plane: str, at: Sequence[int], reach: int) -> None:
    """Show of a cut the square around voxel `at`, black where the volume ends."""
    column, row = position(plane, at)
    axis.set(xlim=(column - reach, column + reach), ylim=(row - reach, row + reach), facecolor="black")


def reach_of(values: np.ndarray) -> float:
    """How far a symmetric scale must reach to show nearly all of `values`."""
    return max(1e-3, float(np.percentile(np.abs(values), 99.5)))
