"""Figure 1: one step of Diff-Ensembler as a diagram."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

COLORS = {"data": "#E8EEF4", "2d": "#CFE6D9", "3d": "#F6DFC0", "step": "#E9DDF0"}
BOXES = {  # name: (text, column, row, kind)
    "x": (r"noisy volume $x_t$" + "\n" + r"conditions $y$, step $t$", 0.0, 1.0, "data"),
    "a": ("axial 2D model\non every axial slice", 1.0, 1.6, "2d"),
    "s": ("sagittal 2D model\non every sagittal slice", 1.0, 0.4, "2d"),
    "f": ("3D network\nreads $x_t$, $y$, predictions,\nfeature maps", 2.05, 1.0, "3d"),
    "e": (r"$\hat\epsilon = \sum_p w_p\,\epsilon_p + \lambda r$", 3.1, 1.6, "3d"),
    "c": (r"clean estimate $\hat x_0$" + "\nprojected: $A\\hat x_0 = A x_0$", 3.1, 0.4, "step"),
    "n": (r"DDIM: next $x_s$", 4.1, 1.0, "step"),
}
ARROWS = [  # from, to, label, where the label stands along the arrow, above it by
    ("x", "a", "slices", 0.5, 0.09),
    ("x", "s", "slices", 0.5, -0.14),
    ("a", "f", r"$\epsilon_a, F_a$", 0.5, 0.09),
    ("s", "f", r"$\epsilon_s, F_s$", 0.5, -0.14),
    ("f", "e", "gate $w$, residual $r$", 0.42, 0.16),
    ("e", "c", "", 0.5, 0.0),
    ("c", "n", "", 0.5, 0.0),
]
WIDE, HIGH = 0.78, 0.46


def method_diagram() -> plt.Figure:
    """One step: 2D models on perpendicular slices, the 3D network that fuses them, projection, and DDIM."""
    figure, axis = plt.subplots(figsize=(10.5, 3.9), dpi=110)
    for text, column, row, kind in BOXES.values():
        corner = (column - WIDE / 2, row - HIGH / 2)
        style = {"boxstyle": "round,pad=0.02,rounding_size=0.06", "facecolor": COLORS[kind], "edgecolor": "#444444"}
        axis.add_patch(FancyBboxPatch(corner, WIDE, HIGH, **style))
        axis.text(column, row, text, ha="center", va="center", fontsize=8.5)
    for start, end, label, share, lift in ARROWS:
        (_, x0, y0, _), (_, x1, y1, _) = BOXES[start], BOXES[end]
        vertical = x0 == x1
        begin = (x0, y0 - HIGH / 2 - 0.02) if vertical else (x0 + WIDE / 2 + 0.02, y0)
        finish = (x1, y1 + HIGH / 2 + 0.02) if vertical else (x1 - WIDE / 2 - 0.02, y1)
        axis.annotate("", finish, begin, arrowprops={"arrowstyle": "-|>", "color": "#444444"})
        place = [b + share * (f - b) for b, f in zip(begin, finish)]
        axis.text(place[0], place[1] + lift, label, ha="center", fontsize=8)
    top = 2.12
    axis.plot([4.1, 4.1, 0.0], [1.0 + HIGH / 2 + 0.02, top, top], color="#444444", linewidth=1)
    axis.annotate("", (0.0, 1.0 + HIGH / 2 + 0.02), (0.0, top), arrowprops={"arrowstyle": "-|>", "color": "#444444"})
    axis.text(2.05, top + 0.05, "repeat for the next, smaller step", ha="center", fontsize=8.5)
    legend = {"2d": "trained first, then frozen", "3d": "trained second, starts as the exact average"}
    for place, (kind, text) in zip((0.62, 2.05), legend.items()):
        axis.add_patch(FancyBboxPatch((place, -0.17), 0.09, 0.09, facecolor=COLORS[kind], edgecolor="#444444"))
        axis.text(place + 0.15, -0.125, text, va="center", fontsize=8)
    axis.set(xlim=(-0.45, 4.55), ylim=(-0.25, 2.3), aspect="auto")
    axis.axis("off")
    return figure
