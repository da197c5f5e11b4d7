"""A live viewer for notebooks: slide through volumes, plane by plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np

from ..data.planes import PLANES
from .plots import show_cut


def slide_levels(draw: Callable[[int], plt.Figure], levels: int, start: int) -> ipywidgets.Widget:
    """A slider over the steps `t` in 0..levels-1, from `start` on, above the figure that `draw(t)` makes."""

    def show(t: int) -> None:
        draw(t)
        plt.show()

    slider = ipywidgets.IntSlider(start, min=0, max=levels - 1, description="step t", continuous_update=False)
    return ipywidgets.VBox([slider, ipywidgets.interactive_output(show, {"t": slider})])


def browse(volumes: Mapping[str, np.ndarray]) -> ipywidgets.Widget:
    """Sliders over `volumes` [X, Y, Z] in [-1, 1], side by side; `plane` chooses the cut."""
    shape = next(iter(volumes.values())).shape

    def draw(plane: str, position: float) -> None:
        at = [min(n - 1, int(position * n)) for n in shape]
        columns = len(volumes)
        _, axes = plt.subplots(1, columns, figsize=(3 * columns, 3.4), squeeze=False, layout="constrained")
        for axis, (name, volume) in zip(axes[0], volumes.items()):
            show_cut(axis, volume, plane, at)
            axis.set_title(name)
        plt.show()

    plane = ipywidgets.Dropdown(options=[*PLANES], value="axial", description="plane")
    position = ipywidgets.FloatSlider(0.5, min=0, max=0.999, step=0.01, description="position")
    output = ipywidgets.interactive_output(draw, {"plane": plane, "position": position})
    return ipywidgets.VBox([ipywidgets.HBox([plane, position]), output])
