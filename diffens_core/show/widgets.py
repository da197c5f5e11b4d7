"""Live viewers for notebooks: slide through volumes, plane by plane, and through the steps of a sampling run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np

from ..data.planes import PLANES
from .panels import show_cut


def slide_levels(draw: Callable[[int], plt.Figure], levels: int, start: int) -> ipywidgets.Widget:
    """A slider over the steps `t` in 0..levels-1, from `start` on, above the figure that `draw(t)` makes."""

    def show(t: int) -> None:
        draw(t)
        plt.show()

    slider = ipywidgets.IntSlider(start, min=0, max=levels - 1, description="step t", continuous_update=False)
    return ipywidgets.VBox([slider, ipywidgets.interactive_output(show, {"t": slider})])


def browse(volumes: Mapping[str, np.ndarray]) -> ipywidgets.Widget:
    """Sliders over `volumes` [X, Y, Z] in [-1, 1], side by side; `plane` chooses the cut."""
    return _viewer({"": volumes}, {})


def browse_steps(states: Mapping[str, Mapping[str, np.ndarray]]) -> ipywidgets.Widget:
    """`browse` with one more slider, over the named steps of `states`; each has the same names of volumes."""
    return _viewer(states, {"step": ipywidgets.SelectionSlider(options=[*states], description="step")})


def _viewer(states: Mapping[str, Mapping[str, np.ndarray]], more: Mapping[str, ipywidgets.Widget]) -> ipywidgets.Widget:
    """The volumes of one of `states`, the first or what a widget `step` among `more` chooses."""
    first = next(iter(states))
    shape = next(iter(states[first].values())).shape

    def draw(plane: str, position: float, step: str = first) -> None:
        at, volumes = [min(n - 1, int(position * n)) for n in shape], states[step]
        columns = len(volumes)
        _, axes = plt.subplots(1, columns, figsize=(3 * columns, 3.4), squeeze=False, layout="constrained")
        for axis, (name, volume) in zip(axes[0], volumes.items()):
            show_cut(axis, volume, plane, at)
            axis.set_title(name)
        plt.show()

    plane = ipywidgets.Dropdown(options=[*PLANES], value="axial", description="plane")
    position = ipywidgets.FloatSlider(0.5, min=0, max=0.999, step=0.01, description="position")
    controls = {**more, "plane": plane, "position": position}
    return ipywidgets.VBox([ipywidgets.HBox([*controls.values()]), ipywidgets.interactive_output(draw, controls)])
