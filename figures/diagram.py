"""Figure 1: one step of Diff-Ensembler as a diagram."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch, Rectangle

COLORS = {"data": "#E8EEF4", "2d": "#CFE6D9", "3d": "#F6DFC0", "step": "#E9DDF0"}
BOXES = {  # name: (text, column, row, kind)
    "x": (r"noisy volume $x_t$" + "\n" + r"conditions $y$, step $t$", 0.0, 1.0, "data"),
    "a": ("axial 2D model\non every axial slice", 1.45, 1.65, "2d"),
    "s": ("sagittal 2D model\non every sagittal slice", 1.45, 0.35, "2d"),
    "f": ("3D network reads\n$x_t$, $y$, predictions\nand feature maps", 2.9, 1.0, "3d"),
    "e": (r"$\hat\epsilon = \sum_p w_p\,\epsilon_p + \lambda r$", 4.35, 1.65, "3d"),
    "c": (
        r"clean estimate $\hat x_0$," + "\n" + r"projected: $A\hat x_0 = y$" + "\n($A$: block means)",
        4.35,
        0.35,
        "step",
    ),
    "n": (r"DDIM: next $x_s$", 5.65, 1.0, "step"),
}
ARROWS = [  # from, to, label
    ("x", "a", "slices"),
    ("x", "s", "slices"),
    ("x", "f", ""),
    ("a", "f", r"$\epsilon_a$, maps $F_a$"),
    ("s", "f", r"$\epsilon_s$, maps $F_s$"),
    ("f", "e", "gate $w$, residual $r$"),
    ("e", "c", ""),
    ("c", "n", ""),
]
LEGEND = {"2d": "trained first, on slices, then frozen", "3d": "trained second; starts as the exact average"}
WIDE, HIGH, LINE = 1.12, 0.5, "#444444"


def method_diagram() -> plt.Figure:
    """One step: 2D models on perpendicular slices, the 3D network that fuses them, projection, and DDIM."""
    figure, axis = plt.subplots(figsize=(11, 4), dpi=110)
    for text, column, row, kind in BOXES.values():
        corner = (column - WIDE / 2, row - HIGH / 2)
        style = {"boxstyle": "round,pad=0,rounding_size=0.07", "facecolor": COLORS[kind], "edgecolor": LINE}
        axis.add_patch(FancyBboxPatch(corner, WIDE, HIGH, **style))
        axis.text(column, row, text, ha="center", va="center", fontsize=8.5)
    for start, end, label in ARROWS:
        _arrow(axis, *_ends(start, end), label)
    (_, first, row, _), (_, last, _, _) = BOXES["x"], BOXES["n"]
    edge, top = row + HIGH / 2, 2.2
    axis.plot([last, last, first], [edge, top, top], color=LINE, linewidth=1)
    _arrow(axis, (first, top), (first, edge))
    axis.text((first + last) / 2, top + 0.05, "repeat for the next, smaller step", ha="center", fontsize=8.5)
    for place, (kind, text) in zip((0.75, 3.1), LEGEND.items()):
        axis.add_patch(Rectangle((place, -0.2), 0.1, 0.1, facecolor=COLORS[kind], edgecolor=LINE))
        axis.text(place + 0.17, -0.15, text, va="center", fontsize=8.5)
    axis.set(xlim=(-0.62, 6.27), ylim=(-0.3, 2.4))
    axis.axis("off")
    return figure


def _ends(start: str, end: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where an arrow leaves one box and reaches another: by the sides, or from above to below."""
    (_, x0, y0, _), (_, x1, y1, _) = BOXES[start], BOXES[end]
    if x0 == x1:
        return (x0, y0 - HIGH / 2), (x1, y1 + HIGH / 2)
    return (x0 + WIDE / 2, y0), (x1 - WIDE / 2, y1)


def _arrow(axis: plt.Axes, begin, finish, label: str = "") -> None:
    axis.annotate("", finish, begin, arrowprops={"arrowstyle": "-|>", "color": LINE, "shrinkA": 1, "shrinkB": 2})
    middle = [(a + b) / 2 for a, b in zip(begin, finish)]
    axis.text(
        *middle, label, ha="center", va="center", fontsize=7.5, bbox={"facecolor": "white", "linewidth": 0, "pad": 1}
    )
