"""Where one volume is nearer to the truth than another: by kind of tissue, and by distance from an edge.

Squared errors add up over voxels, and so over heads: `squared_errors` gives sums, `gain_table` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.ndimage import distance_transform_edt

EDGES = 0.1  # of the brain's voxels, those where the truth is steepest, are edges
BY_TISSUE, BY_DISTANCE = "tissue", "distance from an edge"


def tissue_classes(truth: np.ndarray, brain: np.ndarray, labels: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Masks that share out the `brain`: the tumour, and the darkest, middle and brightest voxels of the rest.

    truth: [X, Y, Z], any unit; brain: bool [X, Y, Z]; labels: of the tumour, 0 outside of it; None: no tumour. The
    classes of intensity hold a fifth, three fifths and a fifth of the rest: in a FLAIR, the darkest are mostly fluid.
    """
    tumour = np.zeros_like(brain) if labels is None else brain & (labels > 0)
    rest = brain & ~tumour
    low, high = np.quantile(truth[rest], [0.2, 0.8])
    dark, bright = rest & (truth <= low), rest & (truth > high)
    return {
        "darkest fifth": dark,
        "middle": rest & ~dark & ~bright,
        "brightest fifth": bright,
        "tumour": tumour,
    }


def edge_classes(truth: np.ndarray, brain: np.ndarray) -> dict[str, np.ndarray]:
    """Masks that share out the `brain` by the distance, in voxels, from the nearest edge of the truth [X, Y, Z].

    Edges are the tenth of the brain's voxels where the truth's gradient, by central differences, is longest.
    """
    slope = np.sqrt(sum(np.square(along) for along in np.gradient(truth)))
    edge = brain & (slope >= np.quantile(slope[brain], 1 - EDGES))
    distance = distance_transform_edt(~edge)
    bounds = {"on it": 0.0, "up to 1 voxel": 1.0, "1 to 2": 2.0, "2 to 3": 3.0, "beyond 3": np.inf}
    above = [-np.inf, *bounds.values()]
    return {name: brain & (distance > low) & (distance <= high) for (name, high), low in zip(bounds.items(), above)}


def squared_errors(
    volumes: Mapping[str, np.ndarray], truth: np.ndarray, brain: np.ndarray, labels: np.ndarray | None = None
) -> pd.DataFrame:
    """For each class (rows) its number of voxels and the sum of squared errors of each named volume (columns).

    All [X, Y, Z]; the index has two levels, how the brain is shared out and the class. Tables of several heads can be
    added.
    """
    shared = {BY_TISSUE: tissue_classes(truth, brain, labels), BY_DISTANCE: edge_classes(truth, brain)}
    lines = {}
    for kind, classes in shared.items():
        for name, mask in classes.items():
            sums = {method: float(np.square(v - truth, dtype=float)[mask].sum()) for method, v in volumes.items()}
            lines[kind, name] = {"voxels": float(mask.sum())} | sums
    return pd.DataFrame.from_dict(lines, orient="index")


def gain_table(errors: pd.DataFrame, worse: str, better: str) -> pd.DataFrame:
    """How far `better` is ahead of `worse` in each class that has voxels, from sums of `squared_errors`.

    Columns: the share of the brain's voxels in per cent; the root-mean-square error of both, in the unit of the
    volumes; the gain in decibels, negative where `better` is behind; and the share, in per cent, of all squared error
    that was removed, which says little where that is near 0.
    """
    errors = errors[errors["voxels"] > 0]
    removed = errors[worse] - errors[better]
    whole = removed.groupby(level=0, sort=False).transform("sum")
    voxels = errors["voxels"] / errors["voxels"].groupby(level=0, sort=False).transform("sum")
    rms = {name: np.sqrt(errors[name] / errors["voxels"]) for name in (worse, better)}
    return pd.DataFrame(
        {
            "voxels, %": 100 * voxels,
            **rms,
            "gain, dB": 10 * np.log10(errors[worse] / errors[better]),
            "of the gain, %": 100 * removed / whole,
        }
    )
