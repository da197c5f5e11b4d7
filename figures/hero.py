"""The picture at the top of README: python -m figures.hero

Left, what the weights that come with the package make of one held-out phantom of preset `demo`. Right, how far each
fusion is ahead of the average of its own experts over the six phantoms, read from the committed Table S1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from diffens_core import by_subject, compare, open_experiment
from diffens_core.show.palette import METHODS
from diffens_core.show.panels import enlarge, position, show_cut
from diffens_core.show.plots import median_subject
from diffens_core.show.zooms import MARK, cortex

FIGURES = Path(__file__).parent
LEADS = FIGURES / "out" / "demo" / "pages" / "table_s1_significance" / "table_s1_psnr.csv"
TASK, AVERAGE, FUSION = "both", "multi-tpdm", "multi-ours"
ROWS = {  # (task, fusion): what it is made from, and by which 2D models
    ("both", "multi-ours"): "blurred FLAIR + T1ce, each model knows one",
    ("both", "ours-tpdm"): "blurred FLAIR + T1ce, each model knows both",
    ("sr", "ours-tpdm"): "blurred FLAIR alone",
    ("mt", "ours-tpdm"): "T1ce alone",
}
LEAST = 24.0  # dB, where the chart begins
PLANE = "coronal"
REACH = 11  # voxels from the middle of the enlarged part to its edge


def hero(volumes: Mapping[str, np.ndarray], place: tuple[int, int, int], leads: pd.DataFrame) -> plt.Figure:
    """Cuts of `volumes` [X, Y, Z] through `place`, whole and enlarged, beside the `leads` of Table S1."""
    figure = plt.figure(figsize=(10, 3.3), dpi=150)
    cuts = figure.add_gridspec(2, len(volumes), left=0.01, right=0.66, top=0.87, bottom=0.02, wspace=0.04, hspace=0.04)
    for column, (title, volume) in enumerate(volumes.items()):
        whole, part = (figure.add_subplot(cuts[row, column]) for row in (0, 1))
        _cut(whole, part, volume, place)
        whole.set_title(title, fontsize=9)
    _chart(figure.add_axes((0.7, 0.14, 0.28, 0.73)), leads)
    return figure


def _cut(whole: plt.Axes, part: plt.Axes, volume: np.ndarray, place: tuple[int, int, int]) -> None:
    """The plane through `place`, and the square around it, which is marked in the plane."""
    show_cut(whole, volume, PLANE, place)
    show_cut(part, volume, PLANE, place)
    enlarge(part, PLANE, place, REACH)
    corner = [middle - REACH for middle in position(PLANE, place)]
    whole.add_patch(plt.Rectangle(corner, 2 * REACH, 2 * REACH, fill=False, edgecolor=MARK, linewidth=1))


def _chart(axis: plt.Axes, leads: pd.DataFrame) -> None:
    """A line from the average to the fusion for each of `ROWS`, with the difference in decibels."""
    for row, (key, label) in enumerate(ROWS.items()):
        lead = leads.loc[key]
        ends = lead["rival_mean"], lead["mean"]
        axis.plot(ends, (row, row), color=METHODS[FUSION], linewidth=2.5, zorder=1)
        for end, method, name in zip(ends, (AVERAGE, FUSION), ("average of 2D models", "their fusion in 3D")):
            axis.scatter(end, row, color=METHODS[method], s=45, label=name if row == 0 else None)
        axis.text(ends[1] + 0.35, row, f"+{lead['difference']:.2f} dB", va="center", fontsize=9, color=METHODS[FUSION])
        axis.text(LEAST, row - 0.26, label, va="bottom", fontsize=8.5)
    axis.set(yticks=[], ylim=(len(ROWS) - 0.6, -0.85), xlim=(LEAST, LEAST + 12.5))
    axis.set_xlabel("PSNR in dB, mean of six held-out phantoms", fontsize=8.5)
    axis.tick_params(labelsize=8.5)
    axis.spines[["top", "right", "left"]].set_visible(False)
    placed = {"loc": "lower right", "bbox_to_anchor": (1.04, 1), "ncols": 2}
    axis.legend(fontsize=8, frameon=False, handletextpad=0, columnspacing=1, **placed)


def main() -> None:
    """Draw the subject whose lead is in the middle, at its cortex: rules, so that nobody chooses."""
    experiment = open_experiment("demo")
    pairs = list(experiment.subjects("test", TASK))
    metrics, volumes = compare(experiment, [AVERAGE, FUSION], TASK, pairs, samples=1)
    psnr = by_subject(metrics, "psnr", [AVERAGE, FUSION])
    subject = median_subject(psnr[FUSION] - psnr[AVERAGE])
    pair = next(pair for pair in pairs if pair.subject == subject)
    made = {name: volumes[name, subject][0, 0].numpy() for name in (AVERAGE, FUSION)}
    truth, conditions = pair.x0[0].numpy(), dict(zip(experiment.task(TASK).conditions, pair.y.numpy()))
    shown = {
        "given:\nblurred FLAIR": conditions["flair_lr"],
        "given:\nT1ce": conditions["t1ce"],
        "2D models,\naveraged": made[AVERAGE],
        "the same,\nfused in 3D": made[FUSION],
        "truth": truth,
    }
    place = cortex(truth, pair.brain.numpy())
    leads = pd.read_csv(LEADS).set_index(["task", "method"])
    hero(shown, place, leads).savefig(FIGURES / "hero.png")


if __name__ == "__main__":
    main()
