"""Figures: volumes in three planes with error maps, training curves, sampling trajectories, gates, what judges see.

Every function returns a matplotlib figure and takes numpy volumes [X, Y, Z] in RAS order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import LogLocator, MaxNLocator
from scipy.ndimage import uniform_filter

from ..data.planes import PLANES
from ..evaluation.uncertainty import Uncertainty

DPI = 110
WIDEST = 10.0  # inches: what a notebook shows without shrinking it


def middle(mask: np.ndarray) -> tuple[int, int, int]:
    """The voxel at the median of `mask` [X, Y, Z]: where to cut to see it."""
    return tuple(int(np.median(line)) for line in np.nonzero(mask))


def largest_gain(worse: np.ndarray, better: np.ndarray, truth: np.ndarray, reach: int = 0) -> tuple[int, int, int]:
    """The voxel around which, in a cube, squared error falls most from `worse` to `better`: a rule for where to look.

    All [X, Y, Z]. reach: half the edge of the cube, which lies within the volume; 0: an eighth of the first axis.
    """
    reach = reach or truth.shape[0] // 8
    gain = uniform_filter((worse - truth) ** 2 - (better - truth) ** 2, 2 * reach + 1, mode="constant")
    inner = tuple(slice(min(reach, n // 2), max(n - reach, n // 2 + 1)) for n in truth.shape)
    place = np.unravel_index(gain[inner].argmax(), gain[inner].shape)
    return tuple(int(p) + s.start for p, s in zip(place, inner))


def median_subject(leads: pd.Series) -> str:
    """The subject, the index of `leads`, whose value is in the middle: neither the best nor the worst example."""
    return leads.sort_values(kind="stable").index[(len(leads) - 1) // 2]


def cut(volume: np.ndarray, plane: str, at: Sequence[int]) -> np.ndarray:
    """The slice of `plane` through voxel `at`, ready for `imshow(..., origin="lower")`."""
    axis = PLANES[plane] - 2
    return np.take(volume, at[axis], axis=axis).T


def three_planes(
    volumes: Mapping[str, np.ndarray], truth: np.ndarray | None = None, at=None, title: str = ""
) -> plt.Figure:
    """Each of `volumes` in [-1, 1] as a column of axial, coronal and sagittal cuts; with `truth`, error maps below.

    Errors are absolute, on one scale for all columns, printed on the colour bar; the truth itself has none.
    """
    at = at or tuple(n // 2 for n in next(iter(volumes.values())).shape)
    rows = [(plane, kind) for plane in ("axial", "coronal", "sagittal") for kind in ("image", "error")]
    rows = [row for row in rows if truth is not None or row[1] == "image"]
    shapes = [cut(next(iter(volumes.values())), plane, at).shape for plane, _ in rows]
    ratios = [h / w for h, w in shapes]
    wide = min(1.75, WIDEST / len(volumes))
    figure, axes = plt.subplots(
        len(rows),
        len(volumes),
        figsize=(wide * len(volumes) + 0.6, wide * sum(ratios) + 0.5),
        height_ratios=ratios,
        squeeze=False,
        layout="constrained",
        dpi=DPI,
    )
    for line, (plane, kind) in zip(axes, rows):
        for axis, volume in zip(line, volumes.values()):
            shown = cut(volume, plane, at)
            axis.set(xticks=[], yticks=[])
            if kind == "error" and np.array_equal(volume, truth):
                axis.set(frame_on=False)
            elif kind == "error":
                shown = np.abs(shown - cut(truth, plane, at))
                errors = axis.imshow(shown, origin="lower", cmap="magma", vmin=0, vmax=0.5)
            else:
                axis.imshow(shown, origin="lower", cmap="gray", vmin=-1, vmax=0.8)
        line[0].set_ylabel(plane if kind == "image" else "|error|", fontsize=8)
    for axis, name in zip(axes[0], volumes):
        axis.set_title(name, fontsize=9 if wide > 1.4 else 7.5)
    if truth is not None:
        figure.colorbar(errors, ax=axes, shrink=0.35, pad=0.01, label="absolute error (volumes span -1 to 1)")
    figure.suptitle(title, fontsize=10)
    return figure


def zoomed(volumes: Mapping[str, np.ndarray], at: Sequence[int], title: str = "", reach: int = 0) -> plt.Figure:
    """Each of `volumes` in [-1, 1] as a column of three planes through voxel `at`, each with an enlarged square below.

    reach: half the side of the square in voxels; 0: an eighth of the first axis. The first column marks the square.
    """
    first = next(iter(volumes.values()))
    reach, planes = reach or first.shape[0] // 8, ("axial", "coronal", "sagittal")
    ratios = [r for plane in planes for r in (cut(first, plane, at).shape[0] / cut(first, plane, at).shape[1], 1)]
    size = (1.6 * len(volumes) + 0.3, 1.6 * sum(ratios) + 0.5)
    figure, axes = plt.subplots(
        6, len(volumes), figsize=size, height_ratios=ratios, squeeze=False, layout="constrained", dpi=DPI
    )
    for pair, plane in zip(axes.reshape(3, 2, -1), planes):
        column, row = (at[a] for a in range(3) if a != PLANES[plane] - 2)
        for place, volume in enumerate(volumes.values()):
            for axis in pair[:, place]:
                axis.imshow(cut(volume, plane, at), origin="lower", cmap="gray", vmin=-1, vmax=0.8)
                axis.set(xticks=[], yticks=[])
            pair[1, place].set(
                xlim=(column - reach, column + reach), ylim=(row - reach, row + reach), facecolor="black"
            )
        corner = (column - reach, row - reach)
        pair[0, 0].add_patch(plt.Rectangle(corner, 2 * reach, 2 * reach, fill=False, color="#E69F00", linewidth=1))
        pair[0, 0].set_ylabel(plane, fontsize=8)
    for axis, name in zip(axes[0], volumes):
        axis.set_title(name, fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure


def label_overlay(volumes: Mapping[str, np.ndarray], labels: np.ndarray, at, title: str = "") -> plt.Figure:
    """Axial cuts of several contrasts, and the last one again with the tumour labels 1, 2, 4 in colour."""
    colors = {1: "#0072B2", 2: "#009E73", 4: "#E69F00"}
    names = {1: "necrotic core", 2: "oedema", 4: "enhancing"}
    columns = len(volumes) + 1
    figure, axes = plt.subplots(1, columns, figsize=(2.1 * columns, 2.9), layout="constrained", dpi=DPI)
    shown = list(volumes.items())
    for axis, (name, volume) in zip(axes, [*shown, ("labels", shown[0][1])]):
        axis.imshow(cut(volume, "axial", at), origin="lower", cmap="gray", vmin=0, vmax=0.9)
        axis.set_title(name, fontsize=9)
        axis.set(xticks=[], yticks=[])
    for label, color in colors.items():
        mask = cut(labels, "axial", at) == label
        if mask.any():
            axes[-1].contourf(mask, levels=[0.5, 1.5], colors=[color], alpha=0.7)
        axes[-1].plot([], [], "s", color=color, label=names[label])
    axes[-1].legend(
        fontsize=6,
        loc="lower center",
        ncols=3,
        handletextpad=0,
        columnspacing=0.6,
        frameon=False,
        bbox_to_anchor=(0.5, -0.16),
    )
    figure.suptitle(title, fontsize=10)
    return figure


def training_curves(logs: Mapping[str, pd.DataFrame]) -> plt.Figure:
    """Loss over steps of each log (columns step, loss), thin, with its running mean."""
    return loss_panels({"mean squared error": logs})


def loss_panels(losses: Mapping[str, Mapping[str, pd.DataFrame]]) -> plt.Figure:
    """`training_curves` of several losses, each named one with its logs in a panel and a scale of its own."""
    count = len(losses)
    columns = min(count, 2)
    rows = -(-count // columns)
    size = (6 if columns == 1 else 4.4 * columns, 3 if columns == 1 else 2.6 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", dpi=DPI)
    for axis in axes.flat[count:]:
        axis.remove()
    for axis, (label, logs) in zip(axes.flat, losses.items()):
        for (name, log), color in zip(logs.items(), sns.color_palette("colorblind", len(logs))):
            smooth = log["loss"].ewm(span=max(2, len(log) // 10)).mean()
            axis.plot(log["step"], log["loss"], color=color, alpha=0.25, linewidth=0.8)
            axis.plot(log["step"], smooth, color=color, label=name)
        axis.set(xlabel="optimiser step", ylabel=label, yscale="log")
        axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("")
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, fontsize=8)
    return figure


def image_rows(rows: Mapping[str, Mapping[str, np.ndarray]], plane: str = "sagittal", at=None) -> plt.Figure:
    """One cut of `plane` through voxel `at` of each volume in [-1, 1]; every row is a named line of named volumes."""
    first = next(iter(next(iter(rows.values())).values()))
    at = at or tuple(n // 2 for n in first.shape)
    columns = max(len(line) for line in rows.values())
    high, wide = cut(first, plane, at).shape
    size = (1.6 * columns + 0.4, (1.6 * high / wide + 0.25) * len(rows))
    figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False, layout="constrained", dpi=DPI)
    for line, (label, volumes) in zip(axes, rows.items()):
        for axis, (name, volume) in zip(line, volumes.items()):
            axis.imshow(cut(volume, plane, at), origin="lower", cmap="gray", vmin=-1, vmax=0.8)
            axis.set_title(name, fontsize=8)
        for axis in line:
            axis.set(xticks=[], yticks=[], frame_on=False)
        line[0].set_ylabel(label, fontsize=8)
    return figure


def trajectory(states: Mapping[str, tuple[np.ndarray, np.ndarray]], plane: str = "sagittal") -> plt.Figure:
    """Columns of (`xt`, `x0_hat`), volumes in [-1, 1], one per named step of a sampling run."""
    figure, axes = plt.subplots(2, len(states), figsize=(1.7 * len(states), 3.4), layout="constrained", dpi=DPI)
    for column, (name, pair) in zip(axes.T, states.items()):
        for axis, volume in zip(column, pair):
            at = tuple(n // 2 for n in volume.shape)
            axis.imshow(cut(volume, plane, at), origin="lower", cmap="gray", vmin=-1, vmax=0.8)
            axis.set(xticks=[], yticks=[])
        column[0].set_title(name, fontsize=9)
    axes[0, 0].set_ylabel("$x_t$ (sample)", fontsize=9)
    axes[1, 0].set_ylabel(r"$\hat{x}_0$ (estimate)", fontsize=9)
    return figure


def latents(image: np.ndarray, channels: np.ndarray, plane: str, at: Sequence[int]) -> plt.Figure:
    """A slice of `image` [X, Y, Z] and, in the size that they have, of its latents [z, x, y, Z], from -3 to 3.

    plane: what was encoded, so latents have all its slices; at: a voxel of the image.
    """
    columns = 1 + len(channels)
    figure, axes = plt.subplots(1, columns, figsize=(2 * columns, 2.6), layout="constrained", dpi=DPI)
    axes[0].imshow(cut(image, plane, at), origin="lower", cmap="gray", vmin=-1, vmax=0.8)
    for number, (axis, channel) in enumerate(zip(axes[1:], channels)):
        axis.imshow(cut(channel, plane, at), origin="lower", cmap="gray", vmin=-3, vmax=3)
        axis.set_title(f"latent channel {number}", fontsize=9)
    axes[0].set_title("slice", fontsize=9)
    for axis in axes:
        axis.set(xticks=[], yticks=[], xlabel=" x ".join(str(n) for n in axis.images[0].get_array().T.shape))
    return figure


def gate_maps(gates: Mapping[str, np.ndarray], first: str, at=None, brain: np.ndarray | None = None) -> plt.Figure:
    """Weight of the expert `first` in [0, 1] in three planes (rows), one column per named step.

    With `brain`, bool [X, Y, Z], only within it.
    """
    at = at or tuple(n // 2 for n in next(iter(gates.values())).shape)
    figure, axes = plt.subplots(3, len(gates), figsize=(1.7 * len(gates) + 0.6, 5), layout="constrained", dpi=DPI)
    for row, plane in zip(axes.reshape(3, -1), ("axial", "coronal", "sagittal")):
        for axis, (name, gate) in zip(row, gates.items()):
            seen = gate if brain is None else np.where(brain, gate, np.nan)
            shown = axis.imshow(cut(seen, plane, at), origin="lower", cmap="PuOr_r", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[], frame_on=False)
            if plane == "axial":
                axis.set_title(name, fontsize=9)
        row[0].set_ylabel(plane, fontsize=9)
    figure.colorbar(shown, ax=axes, shrink=0.6, label=f"weight of the {first} expert (0.5: plain average)")
    return figure


def error_curves(errors: Mapping[str, Sequence[float]], steps: Sequence[int]) -> plt.Figure:
    """Root-mean-square distance between `A x0_hat` and the measurement over the steps of sampling."""
    figure, axis = plt.subplots(figsize=(6, 3), layout="constrained", dpi=DPI)
    for name, values in errors.items():
        axis.plot(steps, values, marker="o", markersize=3, label=name)
    axis.set(xlabel="step t", ylabel=r"rms of $A\hat{x}_0 - y$", yscale="symlog")
    axis.set_yscale("symlog", linthresh=1e-6)
    axis.invert_xaxis()
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
    return figure


def level_curves(
    panels: Mapping[str, pd.DataFrame],
    marks: Mapping[str, pd.DataFrame] | None = None,
    xlabel: str = "step t",
    ylabel: str = "",
    reference: str = "",
) -> plt.Figure:
    """One panel per named table: a line per column over the index; `marks` adds points. A name keeps its colour.

    Every other line is dashed and above the others: where two coincide, both show. reference: a column to hold the
    others against, dotted and grey.
    """
    marks = marks or {}
    names = list(dict.fromkeys(name for table in [*panels.values(), *marks.values()] for name in table))
    names = [name for name in names if name != reference]
    colors = dict(zip(names, sns.color_palette("colorblind", len(names)))) | {reference: "0.4"}
    styles = {name: "--" if place % 2 else "-" for place, name in enumerate(names)} | {reference: ":"}
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.4 * len(panels) + 1.6, 3.3), squeeze=False, layout="constrained", dpi=DPI
    )
    for axis, (title, table) in zip(axes[0], panels.items()):
        for name, values in table.items():
            options = {"color": colors[name], "label": name, "zorder": 3 if styles[name] == "--" else 2}
            axis.plot(table.index, values, styles[name], **options)
        for name, values in marks.get(title, pd.DataFrame()).items():
            axis.plot(values.index, values, "o", color=colors[name], markersize=5, label=name)
        axis.set(xlabel=xlabel, title=title)
        axis.title.set_fontsize(9)
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel(ylabel)
    handles = {label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), loc="outside right center", frameon=False, fontsize=8)
    return figure


def cuts(
    volumes: Mapping[str, np.ndarray], plane: str, places: Mapping[str, Sequence[int]], span: float = 2.5
) -> plt.Figure:
    """Slices of `plane` through each of the named places (rows) of each volume (columns), values in [-span, span]."""
    size = (1.35 * len(volumes) + 1.1, 1.35 * len(places) + 0.4)
    figure, axes = plt.subplots(len(places), len(volumes), figsize=size, squeeze=False, layout="constrained", dpi=DPI)
    for line, (name, at) in zip(axes, places.items()):
        for axis, volume in zip(line, volumes.values()):
            shown = axis.imshow(cut(volume, plane, at), origin="lower", cmap="gray", vmin=-span, vmax=span)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, fontsize=9)
    for axis, name in zip(axes[0], volumes):
        axis.set_title(name, fontsize=9)
    figure.colorbar(shown, ax=axes, shrink=0.8, pad=0.01)
    return figure


def step_curves(
    curves: Mapping[str, Sequence[float]], steps: Sequence[int], label: str, dashed: Sequence[str] = ()
) -> plt.Figure:
    """Named lines over the steps `t`, from the noise on the left to the sample on the right; some of them `dashed`."""
    figure, axis = plt.subplots(figsize=(7, 3), layout="constrained", dpi=DPI)
    for name, values in curves.items():
        style = {"linestyle": "--"} if name in dashed else {"marker": "o", "markersize": 3}
        axis.plot(steps, values, label=name, **style)
    axis.set(xlabel="step t", ylabel=label)
    axis.invert_xaxis()
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def expert_maps(
    gates: Mapping[str, np.ndarray], experts: Sequence[str], brain: np.ndarray, at=None, plane: str = "coronal"
) -> plt.Figure:
    """One cut of the gate of P experts (rows) at named noise levels (columns); gates: [P, X, Y, Z], summing to 1.

    Cut to `brain` [X, Y, Z]. The colours are centred on 1 / P, the plain average, and reach as far as the gates do.
    """
    at = at or middle(brain)
    even = 1 / len(experts)
    reach = max(1e-3, *(float(np.percentile(np.abs(gate - even)[:, brain], 99.5)) for gate in gates.values()))
    inside = cut(brain, plane, at)
    seen = np.ix_(inside.any(1), inside.any(0))
    high, wide = inside[seen].shape
    size = (1.4 * len(gates) + 1.2, (1.4 * high / wide + 0.1) * len(experts) + 0.3)
    figure, axes = plt.subplots(len(experts), len(gates), figsize=size, squeeze=False, layout="constrained", dpi=DPI)
    for row, (line, expert) in enumerate(zip(axes, experts)):
        for axis, (name, gate) in zip(line, gates.items()):
            weights = np.where(inside, cut(gate[row], plane, at), np.nan)[seen]
            shown = axis.imshow(weights, origin="lower", cmap="PuOr_r", vmin=even - reach, vmax=even + reach)
            axis.set(xticks=[], yticks=[], frame_on=False)
            if row == 0:
                axis.set_title(name, fontsize=9)
        line[0].set_ylabel(expert, fontsize=8)
    figure.colorbar(shown, ax=axes, shrink=0.6, label=f"weight ({even:.2f}: plain average)")
    return figure


def uncertainty_planes(
    found: Mapping[str, Uncertainty], truth: np.ndarray, at: Sequence[int], title: str = ""
) -> plt.Figure:
    """The truth, and of each method the mean of its samples, their std and the error of the mean, in three planes.

    std and error are on one scale for all: where a model knows its error, they look alike.
    """
    reach = max(float(np.percentile(f.error.numpy(), 99.8)) for f in found.values())
    columns = {"truth": (truth, False)}
    for name, f in found.items():
        columns |= {f"{name}\nmean of {f.samples}": (f.mean.numpy(), False)}
        columns |= {f"{name}\nstd": (f.std.numpy(), True), f"{name}\n|mean - truth|": (f.error.numpy(), True)}
    planes = ("axial", "coronal", "sagittal")
    ratios = [h / w for h, w in (cut(truth, plane, at).shape for plane in planes)]
    size = (1.6 * len(columns) + 0.6, 1.6 * sum(ratios) + 0.6)
    figure, axes = plt.subplots(
        3, len(columns), figsize=size, height_ratios=ratios, squeeze=False, layout="constrained", dpi=DPI
    )
    for line, plane in zip(axes, planes):
        for axis, (volume, is_map) in zip(line, columns.values()):
            style = {"cmap": "magma", "vmin": 0, "vmax": reach} if is_map else {"cmap": "gray", "vmin": -1, "vmax": 0.8}
            image = axis.imshow(cut(volume, plane, at), origin="lower", **style)
            shown = image if is_map else None
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(plane, fontsize=8)
    for axis, name in zip(axes[0], columns):
        axis.set_title(name, fontsize=8)
    figure.colorbar(shown, ax=axes, shrink=0.5, pad=0.01, label="std and error (volumes span -1 to 1)")
    figure.suptitle(title, fontsize=10)
    return figure


REGION_COLORS = {"wt": "#009E73", "tc": "#E69F00", "et": "#56B4E9"}


def segmentation_planes(
    flairs: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], true: np.ndarray, at: Sequence[int], title=""
) -> plt.Figure:
    """Each FLAIR in three planes with the outlines of WT, TC and ET that were found with it, and dotted the true ones.

    found, true: bool [3, X, Y, Z] in the order TC, WT, ET. Shown is a square around voxel `at`, half as wide as the
    first axis.
    """
    planes = ("axial", "coronal", "sagittal")
    reach = true.shape[1] // 4
    size = (2.0 * len(flairs), 2.0 * len(planes) + 0.8)
    figure, axes = plt.subplots(3, len(flairs), figsize=size, squeeze=False, layout="constrained", dpi=DPI)
    for line, plane in zip(axes, planes):
        for axis, (name, flair) in zip(line, flairs.items()):
            axis.imshow(cut(flair, plane, at), origin="lower", cmap="gray", vmin=-1, vmax=0.8)
            for region, mine, real in zip(("tc", "wt", "et"), found[name], true):
                for mask, style in ((mine, "solid"), (real, "dotted")):
                    outline = cut(mask, plane, at).astype(float)
                    if outline.any():
                        axis.contour(outline, [0.5], colors=REGION_COLORS[region], linewidths=1, linestyles=style)
            column, row = (at[a] for a in range(3) if a != PLANES[plane] - 2)
            axis.set(xlim=(column - reach, column + reach), ylim=(row - reach, row + reach), xticks=[], yticks=[])
            axis.set_facecolor("black")
        line[0].set_ylabel(plane, fontsize=8)
    for axis, name in zip(axes[0], flairs):
        axis.set_title(name, fontsize=9)
    handles = [plt.Line2D([], [], color=color, label=region.upper()) for region, color in REGION_COLORS.items()]
    handles.append(plt.Line2D([], [], color="gray", linestyle="dotted", label="true"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def bars(table: pd.DataFrame, group: str, color: str, ylabel: str) -> plt.Figure:
    """Mean and 95 % interval over subjects of the column `value` of a long table, by columns `group` and `color`."""
    groups, colors = (table[column].nunique() for column in (group, color))
    size = (max(5.0, 0.28 * groups * colors + 2.5), 3.2)
    figure, axis = plt.subplots(figsize=size, layout="constrained", dpi=DPI)
    options = {"palette": "colorblind", "errorbar": ("ci", 95), "seed": 0, "err_kws": {"linewidth": 1}}
    sns.barplot(table, x=group, y="value", hue=color, ax=axis, **options)
    axis.set(xlabel="", ylabel=ylabel)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="y", alpha=0.3)
    sns.move_legend(axis, "upper left", bbox_to_anchor=(1, 1), frameon=False, title=color, fontsize=8)
    return figure


def bounded(panels: Mapping[str, pd.DataFrame], bounds: Mapping[str, Sequence[float]], ylabel: str) -> plt.Figure:
    """One panel per named table: a point per method with its interval, between dashed lower and upper bounds.

    tables: a row per method, columns value, low, high (NaN: no interval); bounds: values by panel.
    """
    figure, axes = plt.subplots(
        1, len(panels), figsize=(2.9 * len(panels) + 0.6, 3.4), squeeze=False, layout="constrained", dpi=DPI
    )
    for axis, (title, table) in zip(axes[0], panels.items()):
        for place, (method, line) in enumerate(table.iterrows()):
            color = sns.color_palette("colorblind")[place % 10]
            if not np.isnan(line["low"]):
                axis.plot([place, place], [line["low"], line["high"]], color=color, linewidth=1.5)
            axis.plot(place, line["value"], "o", color=color, markersize=6, label=method)
        for value in bounds.get(title, ()):
            axis.axhline(value, color="gray", linestyle="--", linewidth=1)
        axis.set(xticks=range(len(table)), title=title, ylabel=ylabel if axis is axes[0, 0] else "")
        axis.set_xticklabels(table.index, rotation=90, fontsize=8)
        axis.title.set_fontsize(9)
        axis.grid(axis="y", alpha=0.3)
        axis.margins(x=0.12)
    return figure


def leads(panels: Mapping[str, pd.DataFrame], xlabel: str) -> plt.Figure:
    """One panel per named table of paired comparisons: a point with its interval for each pair and seed; zero is level.

    tables: index (method, rival, seed), columns difference, low, high (NaN: no interval).
    """
    rows = max(len(table.groupby(level=["method", "rival"])) for table in panels.values())
    size = (3.6 * len(panels) + 1, 0.62 * rows + 1.5)
    figure, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False, layout="constrained", dpi=DPI)
    for axis, (title, table) in zip(axes[0], panels.items()):
        seeds = sorted(set(table.index.get_level_values("seed")))
        pairs = list(dict.fromkeys(zip(table.index.get_level_values("method"), table.index.get_level_values("rival"))))
        for (method, rival, seed), line in table.iterrows():
            place = pairs.index((method, rival)) + 0.2 * (seeds.index(seed) - (len(seeds) - 1) / 2)
            color = sns.color_palette("colorblind")[seed % 10]
            axis.plot([line["low"], line["high"]], [place, place], color=color, linewidth=1.5)
            axis.plot(line["difference"], place, "o", color=color, markersize=5, label=f"seed {seed}")
        axis.axvline(0, color="gray", linestyle="--", linewidth=1)
        axis.set(yticks=range(len(pairs)), title=title, xlabel=xlabel)
        axis.set_yticklabels([f"{method}\nover {rival}" for method, rival in pairs], fontsize=8)
        axis.set_ylim(len(pairs) - 0.5, -0.5)
        axis.tick_params(axis="x", labelsize=8)
        axis.xaxis.set_major_locator(MaxNLocator(6))
        axis.title.set_fontsize(9)
        axis.grid(axis="x", alpha=0.3)
    handles = {label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), fontsize=8)
    return figure
