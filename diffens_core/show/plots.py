"""Figures: volumes in three planes with error maps, training curves, sampling trajectories, gates, what judges see.

Every function returns a matplotlib figure and takes numpy volumes [X, Y, Z] in RAS order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.artist import Artist
from matplotlib.colors import TwoSlopeNorm
from matplotlib.image import AxesImage
from matplotlib.ticker import LogLocator, MaxNLocator

from ..diffusion.mixture import MixtureDenoiser, on_points
from ..evaluation.uncertainty import Uncertainty
from ..models.segmentation import REGION_NAMES, REGIONS
from .palette import colors_of, method_of
from .panels import GREY, VIEWS, WIDEST, WINDOW, centre, cut, enlarge, grid, height, name_axes, reach_of, show_cut


def middle(mask: np.ndarray) -> tuple[int, int, int]:
    """The voxel at the median of `mask` [X, Y, Z]: where to cut to see it."""
    return tuple(int(np.median(line)) for line in np.nonzero(mask))


def median_subject(leads: pd.Series) -> str:
    """The subject, the index of `leads`, whose value is in the middle: neither the best nor the worst example."""
    return leads.sort_values(kind="stable").index[(len(leads) - 1) // 2]


def _labelled(figure: plt.Figure) -> dict[str, Artist]:
    """What the legend beside all panels of a figure names: each label once."""
    return {label: handle for axis in figure.axes for handle, label in zip(*axis.get_legend_handles_labels())}


def _finish_curves(axis: plt.Axes, **options) -> None:
    """Lines of a grid, and a legend with such `options` of its own."""
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8, **options)


def three_planes(
    volumes: Mapping[str, np.ndarray], truth: np.ndarray | None = None, at=None, title: str = ""
) -> plt.Figure:
    """Each of `volumes` in [-1, 1] as a column of axial, coronal and sagittal cuts; with `truth`, error maps below.

    Errors are absolute, on one scale for all columns, printed on the colour bar; the truth itself has none.
    """
    first = next(iter(volumes.values()))
    at, kinds = at or centre(first), ("image",) if truth is None else ("image", "error")
    rows = [(plane, kind) for plane in VIEWS for kind in kinds]
    heights = [height(first, plane, at) for plane, _ in rows]
    wide = min(1.75, WIDEST / len(volumes))
    size = (wide * len(volumes) + 0.6, wide * sum(heights) + 0.5)
    figure, axes = grid(len(rows), len(volumes), size, height_ratios=heights)
    errors = None
    for line, (plane, kind) in zip(axes, rows):
        for axis, volume in zip(line, volumes.values()):
            if kind == "image":
                show_cut(axis, volume, plane, at)
            elif np.array_equal(volume, truth):
                axis.set(xticks=[], yticks=[], frame_on=False)
            else:
                errors = show_cut(axis, np.abs(volume - truth), plane, at, cmap="magma", vmin=0, vmax=0.5)
    names = [plane if kind == "image" else "|error|" for plane, kind in rows]
    name_axes(axes, volumes, names, sizes=(9 if wide > 1.4 else 7.5, 8))
    if errors is not None:
        figure.colorbar(errors, ax=axes, shrink=0.35, pad=0.01, label=f"absolute error ({WINDOW})")
    figure.suptitle(title, fontsize=10)
    return figure


def label_overlay(volumes: Mapping[str, np.ndarray], labels: np.ndarray, at, title: str = "") -> plt.Figure:
    """Axial cuts of several contrasts, and the first one again with the tumour labels 1, 2, 4 in colour."""
    colors = {1: "#0072B2", 2: "#009E73", 4: "#E69F00"}
    names = {1: "necrotic core", 2: "oedema", 4: "enhancing"}
    shown = {**volumes, "labels": next(iter(volumes.values()))}
    figure, axes = grid(1, len(shown), (2.1 * len(shown), 2.9))
    for axis, volume in zip(axes[0], shown.values()):
        show_cut(axis, volume, "axial", at, vmin=0, vmax=0.9)
    name_axes(axes, shown)
    overlay = axes[0, -1]
    for label, color in colors.items():
        mask = cut(labels, "axial", at) == label
        if mask.any():
            overlay.contourf(mask, levels=[0.5, 1.5], colors=[color], alpha=0.7)
        overlay.plot([], [], "s", color=color, label=names[label])
    figure.legend(loc="outside lower right", ncols=3, frameon=False, fontsize=8, handletextpad=0, columnspacing=0.6)
    figure.suptitle(title, fontsize=10)
    return figure


def training_curves(logs: Mapping[str, pd.DataFrame]) -> plt.Figure:
    """Loss over steps of each log (columns step, loss, lr), thin, with its mean over the steps around, phase by phase.

    Dotted: where the learning rate rises again after it fell, a phase of the training begins.
    """
    return loss_panels({"mean squared error": logs})


def loss_panels(losses: Mapping[str, Mapping[str, pd.DataFrame]]) -> plt.Figure:
    """`training_curves` of several losses, each named one with its logs in a panel and a scale of its own."""
    count = len(losses)
    columns = min(count, 2)
    rows = -(-count // columns)
    size = (6 if columns == 1 else 4.4 * columns, 3 if columns == 1 else 2.6 * rows)
    figure, axes = grid(rows, columns, size)
    for axis in axes.flat[count:]:
        axis.remove()
    for axis, (label, logs) in zip(axes.flat, losses.items()):
        for (name, log), color in zip(logs.items(), colors_of(logs).values()):
            phase = log["step"].isin(later_phases(log)).cumsum()
            around = log["loss"].groupby(phase).rolling(max(3, len(log) // 10), center=True, min_periods=1)
            smooth = around.mean().droplevel(0)
            axis.plot(log["step"], log["loss"], color=color, alpha=0.25, linewidth=0.8)
            axis.plot(log["step"], smooth, color=color, label=name)
            for step in later_phases(log):
                axis.axvline(step, color=color, linestyle=":", linewidth=0.8)
        axis.set(xlabel="optimiser step", ylabel=label, yscale="log")
        axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("")
        _finish_curves(axis)
    return figure


def later_phases(log: pd.DataFrame) -> list[int]:
    """The steps of a log at which the learning rate rises after it fell: there a phase begins, but the first."""
    change = log["lr"].diff()
    fell = change.where(change != 0).ffill().shift() < 0
    return log["step"][(change > 0) & fell].tolist()


def image_rows(rows: Mapping[str, Mapping[str, np.ndarray]], plane: str = "sagittal", at=None) -> plt.Figure:
    """One cut of `plane` through voxel `at` of each volume in [-1, 1]; every row is a named line of named volumes."""
    first = next(iter(next(iter(rows.values())).values()))
    at, columns = at or centre(first), max(len(line) for line in rows.values())
    wide = min(1.6, (WIDEST - 0.4) / columns)
    size = (wide * columns + 0.4, (wide * height(first, plane, at) + 0.25) * len(rows))
    figure, axes = grid(len(rows), columns, size)
    for line, volumes in zip(axes, rows.values()):
        for axis, (name, volume) in zip(line, volumes.items()):
            show_cut(axis, volume, plane, at)
            axis.set_title(name, fontsize=8)
        for axis in line:
            axis.set(xticks=[], yticks=[], frame_on=False)
    name_axes(axes, rows=rows)
    return figure


def trajectory(states: Mapping[str, tuple[np.ndarray, np.ndarray]], plane: str = "sagittal") -> plt.Figure:
    """Columns of (`xt`, `x0_hat`), volumes in [-1, 1], one per named step of a sampling run."""
    figure, axes = grid(2, len(states), (1.7 * len(states), 3.4))
    for column, pair in zip(axes.T, states.values()):
        for axis, volume in zip(column, pair):
            show_cut(axis, volume, plane, centre(volume))
    name_axes(axes, states, ("$x_t$ (sample)", r"$\hat{x}_0$ (estimate)"), (9, 9))
    return figure


def latents(image: np.ndarray, channels: np.ndarray, plane: str, at: Sequence[int]) -> plt.Figure:
    """A slice of `image` [X, Y, Z] and, in the size that they have, of its latents [z, x, y, Z], from -3 to 3.

    plane: what was encoded, so latents have all its slices; at: a voxel of the image.
    """
    columns = 1 + len(channels)
    figure, axes = grid(1, columns, (2 * columns, 2.6))
    show_cut(axes[0, 0], image, plane, at)
    for axis, channel in zip(axes[0, 1:], channels):
        show_cut(axis, channel, plane, at, vmin=-3, vmax=3)
    name_axes(axes, ["slice", *(f"latent channel {number}" for number in range(len(channels)))])
    for axis in axes[0]:
        axis.set_xlabel(" x ".join(str(n) for n in axis.images[0].get_array().T.shape))
    return figure


def gate_maps(gates: Mapping[str, np.ndarray], first: str, at=None, brain: np.ndarray | None = None) -> plt.Figure:
    """Weight of the expert `first` of two, from 0 to 1, cut along three planes (rows), one column per named step.

    With `brain`, bool [X, Y, Z], only within it. White is 1/2, the plain average.
    """
    within = np.ones_like(next(iter(gates.values())), bool) if brain is None else brain
    at = at or centre(within)
    figure, axes = grid(3, len(gates), (1.7 * len(gates) + 0.6, 5))
    for row, plane in zip(axes, VIEWS):
        for axis, gate in zip(row, gates.values()):
            shown = show_cut(axis, np.where(within, gate, np.nan), plane, at, cmap=GATES, vmin=0, vmax=1)
            axis.set(frame_on=False)
    name_axes(axes, gates, [f"{plane} cut" for plane in VIEWS], (9, 9))
    _weight_bar(figure, shown, axes, f"weight of the {first} expert", 2)
    figure.supxlabel(_read_weights([gate[within] for gate in gates.values()]), fontsize=8)
    return figure


def expert_maps(
    gates: Mapping[str, np.ndarray], experts: Sequence[str], brain: np.ndarray, at=None, plane: str = "coronal"
) -> plt.Figure:
    """One cut of the gate of P experts (rows), from 0 to 1, at named noise levels (columns).

    gates: [P, X, Y, Z], summing to 1; cut to `brain` [X, Y, Z]. White is 1 / P, the plain average.
    """
    at = at or middle(brain)
    inside = cut(brain, plane, at)
    seen = np.ix_(inside.any(1), inside.any(0))
    high, wide = inside[seen].shape
    size = (max(4.0, 1.4 * len(gates) + 1.4), (1.4 * high / wide + 0.1) * len(experts) + 0.6)
    figure, axes = grid(len(experts), len(gates), size)
    for row, line in enumerate(axes):
        for axis, gate in zip(line, gates.values()):
            weights = np.where(inside, cut(gate[row], plane, at), np.nan)[seen]
            shown = axis.imshow(weights, origin="lower", cmap=GATES, norm=_weights(len(experts)))
            axis.set(xticks=[], yticks=[], frame_on=False)
    name_axes(axes, gates, [f"{name} expert" for name in experts])
    _weight_bar(figure, shown, axes, "weight of the expert", len(experts))
    figure.supxlabel(_read_weights([gate[:, brain] for gate in gates.values()]), fontsize=8)
    return figure


GATES = "PuOr_r"


def _weights(experts: int) -> TwoSlopeNorm:
    """The scale of a gate: 0 to 1, with the plain average in its middle."""
    return TwoSlopeNorm(1 / experts, 0, 1)


def _weight_bar(figure: plt.Figure, shown: AxesImage, axes: np.ndarray, label: str, experts: int) -> None:
    """A colour bar that marks the plain average."""
    even = f"{1 / experts:.2f}".rstrip("0")
    bar = figure.colorbar(shown, ax=axes, shrink=0.7, ticks=[0, 1 / experts, 1], label=label)
    bar.ax.set_yticklabels(["0", f"{even}, plain\naverage", "1"], fontsize=8)


def _read_weights(weights: Sequence[np.ndarray]) -> str:
    """What to read from a gate before its colours: where nearly all of its weights lie."""
    low, high = np.percentile(np.concatenate([one.ravel() for one in weights]), (1, 99))
    return f"98 % of all weights lie between {low:.2f} and {high:.2f}."


def signed_maps(
    maps: Mapping[str, np.ndarray],
    image: np.ndarray,
    brain: np.ndarray,
    at: Sequence[int],
    centres: Mapping[str, float] | None = None,
    title: str = "",
) -> plt.Figure:
    """The `image` in [-1, 1], and each of `maps` within the `brain`, in three planes through voxel `at`.

    All [X, Y, Z]. Each map has a scale of its own, symmetric around its value in `centres`, or 0: red above it, blue
    below. Those without a value in `centres` are in the unit of the image.
    """
    heights = [height(image, plane, at) for plane in VIEWS]
    size = (1.9 * (1 + len(maps)), 1.9 * sum(heights) + 1)
    figure, axes = grid(3, 1 + len(maps), size, height_ratios=heights)
    for axis, plane in zip(axes[:, 0], VIEWS):
        show_cut(axis, image, plane, at)
    for column, (name, values) in zip(axes[:, 1:].T, maps.items()):
        centre = (centres or {}).get(name, 0.0)
        reach = reach_of(values[brain] - centre)
        style = {"cmap": "RdBu_r", "vmin": centre - reach, "vmax": centre + reach}
        for axis, plane in zip(column, VIEWS):
            shown = show_cut(axis, np.where(brain, values, np.nan), plane, at, **style)
            axis.set(frame_on=False)
        bar = figure.colorbar(shown, ax=column, location="bottom", shrink=0.9, pad=0.02)
        bar.set_label("" if name in (centres or {}) else WINDOW, fontsize=7)
        bar.ax.tick_params(labelsize=7)
        bar.ax.xaxis.set_major_locator(MaxNLocator(3))
    name_axes(axes, ["truth", *maps], VIEWS)
    figure.suptitle(title, fontsize=10)
    return figure


def error_curves(errors: Mapping[str, Sequence[float]], steps: Sequence[int]) -> plt.Figure:
    """Root-mean-square distance between `A x0_hat` and the measurement over the steps of sampling."""
    figure, [[axis]] = grid(1, 1, (6, 3))
    for name, values in errors.items():
        axis.plot(steps, values, marker="o", markersize=3, label=name)
    axis.set(xlabel="step t", ylabel=r"rms of $A\hat{x}_0 - y$", yscale="symlog")
    axis.set_yscale("symlog", linthresh=1e-6)
    axis.invert_xaxis()
    _finish_curves(axis)
    return figure


def level_curves(
    panels: Mapping[str, pd.DataFrame],
    marks: Mapping[str, pd.DataFrame] | None = None,
    xlabel: str = "step t",
    ylabel: str = "",
    reference: str = "",
) -> plt.Figure:
    """One panel per named table: a line per column over the index; `marks` adds points. A name keeps its colour.

    Every other line is dashed and above the others: where two coincide, both show; so is what a method was changed in,
    which has its colour. reference: a column to hold the others against, dotted and grey.
    """
    marks = marks or {}
    names = list(dict.fromkeys(name for table in [*panels.values(), *marks.values()] for name in table))
    names = [name for name in names if name != reference]
    colors = colors_of(names) | {reference: "0.4"}
    dashed = {name: name != method_of(name) if method_of(name) else place % 2 for place, name in enumerate(names)}
    styles = {name: "--" if dash else "-" for name, dash in dashed.items()} | {reference: ":"}
    wide = min(4.4, (WIDEST - 1.6) / len(panels))
    figure, axes = grid(1, len(panels), (wide * len(panels) + 1.6, max(0.75 * wide, 2.1)))
    for axis, (title, table) in zip(axes[0], panels.items()):
        for name, values in table.items():
            options = {"color": colors[name], "label": name, "zorder": 3 if styles[name] == "--" else 2}
            axis.plot(table.index, values, styles[name], **options)
        for name, values in marks.get(title, pd.DataFrame()).items():
            label = "_nolegend_" if name in table else name  # the line says how it is dashed
            axis.plot(values.index, values, "o", color=colors[name], markersize=5, label=label)
        axis.set(xlabel=xlabel)
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel(ylabel)
    name_axes(axes, panels)
    named = _labelled(figure)
    figure.legend(named.values(), named.keys(), loc="outside right center", frameon=False, fontsize=8)
    return figure


def histograms(samples: Mapping[str, np.ndarray], truth: pd.Series, bins: int = 60) -> plt.Figure:
    """One panel per named samples [N] of a variable, four in a row, each with the true density over its index."""
    columns = min(4, len(samples))
    rows = -(-len(samples) // columns)
    figure, axes = grid(rows, columns, (2.4 * columns, 1.8 * rows + 0.2), sharex=True)
    edges = np.linspace(truth.index.min(), truth.index.max(), bins + 1)
    for axis, (name, values) in zip(axes.flat, samples.items()):
        axis.hist(values, edges, density=True, color="#56B4E9")
        axis.plot(truth.index, truth, color="0.2", linewidth=1)
        axis.set_ylim(0, 1.6 * truth.max())
        axis.set_title(name, fontsize=9)
        axis.set_yticks([])
    for axis in axes.flat[len(samples) :]:
        axis.remove()
    figure.supxlabel("$x_0$", fontsize=10)
    return figure


def noise_map(density: pd.DataFrame, paths: pd.DataFrame | None = None) -> plt.Figure:
    """A variable's density (rows: its values) at each noise level (columns), from noise on the left to data.

    Noise levels are standard deviations of the noise, 0 to 1. Each column is scaled to its own maximum. paths: a line
    per column, over the noise levels of its index.
    """
    figure, [[axis]] = grid(1, 1, (8, 3.4))
    shown = density / density.max()
    axis.pcolormesh(density.columns, density.index, shown, cmap="Blues", shading="nearest", rasterized=True)
    if paths is not None:
        axis.plot(paths.index, paths, color="#D55E00", linewidth=0.8)
    axis.set(xlabel=r"noise level $\sigma_t$", ylabel="$x_t$", xlim=(1, 0))
    axis.set_ylim(density.index.min(), density.index.max())
    return figure


def noise_level(denoiser: MixtureDenoiser, t: int, reach: float = 1.5) -> plt.Figure:
    """A mixture at step `t`: its density, and the best guesses of the noise and of `x0`, from -reach to reach."""
    x = torch.linspace(-reach, reach, 400, dtype=torch.float64)
    eps = on_points(denoiser, x, t)
    x0 = denoiser.schedule.x0_from_eps(eps, x, torch.tensor([t]))
    lines = {"density $p_t$": denoiser.at(t).density(x), "guess of the noise": eps, "guess of $x_0$": x0}
    panels = {f"{name}, t = {t}": pd.DataFrame({name: values}, index=x.numpy()) for name, values in lines.items()}
    return level_curves(panels, xlabel="$x_t$")


def cuts(
    volumes: Mapping[str, np.ndarray], plane: str, places: Mapping[str, Sequence[int]], span: float = 2.5
) -> plt.Figure:
    """Slices of `plane` through each of the named places (rows) of each volume (columns), values in [-span, span]."""
    figure, axes = grid(len(places), len(volumes), (1.35 * len(volumes) + 1.1, 1.35 * len(places) + 0.4))
    for line, at in zip(axes, places.values()):
        for axis, volume in zip(line, volumes.values()):
            shown = show_cut(axis, volume, plane, at, vmin=-span, vmax=span)
    name_axes(axes, volumes, places, (9, 9))
    figure.colorbar(shown, ax=axes, shrink=0.8, pad=0.01, label="value")
    return figure


def step_curves(
    curves: Mapping[str, Sequence[float]], steps: Sequence[int], label: str, dashed: Sequence[str] = ()
) -> plt.Figure:
    """Named lines over the steps `t`, from the noise on the left to the sample on the right; some of them `dashed`."""
    figure, [[axis]] = grid(1, 1, (7, 3))
    for (name, values), color in zip(curves.items(), colors_of(curves).values()):
        style = {"linestyle": "--"} if name in dashed else {"marker": "o", "markersize": 3}
        axis.plot(steps, values, label=name, color=color, **style)
    axis.set(xlabel="step t", ylabel=label)
    axis.invert_xaxis()
    _finish_curves(axis, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def uncertainty_planes(
    found: Mapping[str, Uncertainty], truth: np.ndarray, at: Sequence[int], title: str = ""
) -> plt.Figure:
    """The truth, and of each method the mean of its samples, their std and the error of the mean, in three planes.

    std and error have a scale each, the same for all methods: compare where they are bright, and read how much.
    """
    columns = [("truth", "", truth)]
    for name, f in found.items():
        volumes = {f"mean of {f.samples}": f.mean, "std": f.std, "|mean - truth|": f.error}
        columns += [(name, what, volume.numpy()) for what, volume in volumes.items()]
    scales, brain = {}, truth > truth.min()
    for kind in ("std", "|mean - truth|"):
        values = np.concatenate([volume[brain] for _, what, volume in columns if what == kind])
        scales[kind] = {"cmap": "magma", "vmin": 0, "vmax": float(np.percentile(values, 99))}
    heights = [height(truth, plane, at) for plane in VIEWS]
    wide = min(1.5, (WIDEST - 1.2) / len(columns))
    size = (wide * len(columns) + 1.2, wide * sum(heights) + 0.6)
    figure, axes = grid(3, len(columns), size, height_ratios=heights)
    shown = {}
    for line, plane in zip(axes, VIEWS):
        for axis, (_, what, volume) in zip(line, columns):
            shown[what] = show_cut(axis, volume, plane, at, **scales.get(what, GREY))
    name_axes(axes, [f"{name}\n{what}".strip() for name, what, _ in columns], VIEWS, (8, 8))
    for kind in scales:
        figure.colorbar(shown[kind], ax=axes, shrink=0.6, pad=0.01, label=f"{kind} ({WINDOW})")
    figure.suptitle(title, fontsize=10)
    return figure


REGION_COLORS = {"wt": "#009E73", "tc": "#E69F00", "et": "#56B4E9"}


def segmentation_planes(
    flairs: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], true: np.ndarray, at: Sequence[int], title=""
) -> plt.Figure:
    """Each FLAIR in three planes with the outlines of the regions that were found with it, and dotted the true ones.

    found, true: bool [3, X, Y, Z], channels as in `REGIONS`. Shown is a square around voxel `at`, half as wide as the
    first axis.
    """
    reach = true.shape[1] // 4
    figure, axes = grid(3, len(flairs), (2.0 * len(flairs), 6.8))
    for line, plane in zip(axes, VIEWS):
        for axis, (name, flair) in zip(line, flairs.items()):
            show_cut(axis, flair, plane, at)
            for region, mine, real in zip(REGIONS, found[name], true):
                for mask, style in ((mine, "solid"), (real, "dotted")):
                    outline = cut(mask, plane, at).astype(float)
                    if outline.any():
                        axis.contour(outline, [0.5], colors=REGION_COLORS[region], linewidths=1, linestyles=style)
            enlarge(axis, plane, at, reach)
    name_axes(axes, flairs, VIEWS)
    names = {region: f"{region.upper()}: {name}" for region, name in REGION_NAMES.items()}
    handles = [plt.Line2D([], [], color=REGION_COLORS[region], label=name) for region, name in names.items()]
    handles.append(plt.Line2D([], [], color="gray", linestyle="dotted", label="true"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def bars(table: pd.DataFrame, group: str, color: str, ylabel: str) -> plt.Figure:
    """Mean and 95 % interval over subjects of the column `value` of a long table, by columns `group` and `color`."""
    groups, colors = (table[column].nunique() for column in (group, color))
    size = (max(5.0, 0.28 * groups * colors + 2.5), 3.2)
    figure, [[axis]] = grid(1, 1, size)
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
    figure, axes = grid(1, len(panels), (2.9 * len(panels) + 0.6, 3.4))
    colors = colors_of(dict.fromkeys(method for table in panels.values() for method in table.index))
    for axis, (title, table) in zip(axes[0], panels.items()):
        for place, (method, line) in enumerate(table.iterrows()):
            color = colors[method]
            if not np.isnan(line["low"]):
                axis.plot([place, place], [line["low"], line["high"]], color=color, linewidth=1.5)
            axis.plot(place, line["value"], "o", color=color, markersize=6, label=method)
        for value in bounds.get(title, ()):
            axis.axhline(value, color="gray", linestyle="--", linewidth=1)
        axis.set_xticks(range(len(table)), table.index, rotation=90, fontsize=8)
        axis.grid(axis="y", alpha=0.3)
        axis.margins(x=0.12)
    axes[0, 0].set_ylabel(ylabel)
    name_axes(axes, panels)
    return figure


SHAPES = "osD^v"  # of points, for seeds


def leads(panels: Mapping[str, pd.DataFrame], xlabel: str) -> plt.Figure:
    """One panel per named table of paired comparisons: a point with its interval for each pair and seed; zero is level.

    A seed is a shape, in the colour of the method. tables: index (method, rival, seed), columns difference, low, high
    (NaN: no interval).
    """
    rows = max(len(table.groupby(level=["method", "rival"])) for table in panels.values())
    figure, axes = grid(1, len(panels), (3.6 * len(panels) + 1, 0.62 * rows + 1.5))
    for axis, table in zip(axes[0], panels.values()):
        seeds = sorted(set(table.index.get_level_values("seed")))
        pairs = list(dict.fromkeys(zip(table.index.get_level_values("method"), table.index.get_level_values("rival"))))
        for (method, rival, seed), line in table.iterrows():
            place = pairs.index((method, rival)) + 0.2 * (seeds.index(seed) - (len(seeds) - 1) / 2)
            color, shape = colors_of([method])[method], SHAPES[seed % 5]
            axis.plot([line["low"], line["high"]], [place, place], color=color, linewidth=1.5)
            axis.plot(line["difference"], place, shape, color=color, markersize=5)
        axis.axvline(0, color="gray", linestyle="--", linewidth=1)
        axis.set_yticks(range(len(pairs)), [f"{method}\nover {rival}" for method, rival in pairs], fontsize=8)
        axis.set(xlabel=xlabel, ylim=(len(pairs) - 0.5, -0.5))
        axis.tick_params(axis="x", labelsize=8)
        axis.xaxis.set_major_locator(MaxNLocator(6))
        axis.grid(axis="x", alpha=0.3)
    name_axes(axes, panels)
    seeds = sorted({seed for table in panels.values() for seed in table.index.get_level_values("seed")})
    grey = {"color": "gray", "linestyle": ""}
    handles = [plt.Line2D([], [], marker=SHAPES[seed % 5], label=f"seed {seed}", **grey) for seed in seeds]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8)
    return figure
