"""Methods can be told apart by their colour, also by colour-blind eyes, and metrics by what they are headed with."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb

from diffens_core.evaluation.metrics import image_metrics
from diffens_core.evaluation.names import heading
from diffens_core.evaluation.scores import METRICS as SHOWN
from diffens_core.evaluation.uncertainty import uncertainty, uncertainty_metrics
from diffens_core.experiment.methods import ABLATIONS, METHODS
from diffens_core.models.segmentation import REGION_NAMES
from diffens_core.show import plots
from diffens_core.show.palette import COLORS, colors_of, method_of

EYES = {  # of Machado, Oliveira and Fernandes (2009), severity 1: what linear red, green and blue become
    "all three cones": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(color: str, eyes: str) -> np.ndarray:
    """CIELAB coordinates of a colour as these eyes see it."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(EYES[eyes] @ linear, 0, 1) / TO_XYZ.sum(1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eyes", EYES)
def test_any_two_methods_are_told_apart(eyes):
    """A difference of 2.3 in CIELAB is just noticed; white is the paper."""
    seen = {name: lab(color, eyes) for name, color in (COLORS | {"paper": "#FFFFFF"}).items()}
    pairs = {pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]]) for pair in itertools.combinations(seen, 2)}
    assert min(pairs.values()) > 10, min(pairs, key=pairs.get)


def test_every_method_has_its_colour_and_what_was_changed_in_it_has_that_too():
    assert set(COLORS) - {"truth"} == set(METHODS)
    assert {method_of(name) for name in ABLATIONS} <= set(METHODS)
    names = ["ours-tpdm, dpm++", "tpdm+all-time", "tpdm\n(sr)", "a line"]
    assert list(colors_of(names).values())[:3] == [COLORS[name] for name in ("ours-tpdm", "tpdm", "tpdm")]


def test_a_method_has_one_colour_in_all_figures():
    index = pd.MultiIndex.from_tuples([("tosm", "tpdm", 0)], names=["method", "rival", "seed"])
    paired = pd.DataFrame([[1.0, 0.5, 1.5]], index=index, columns=["difference", "low", "high"])
    table = pd.DataFrame({"value": [1.0], "low": [0.5], "high": [1.5]}, index=["tosm"])
    curves = pd.DataFrame({"tpdm": [1.0, 2.0], "tosm": [2.0, 3.0]})
    log = pd.DataFrame({"step": [1, 2, 3], "loss": [3.0, 2.0, 1.0], "lr": [1.0, 1.0, 1.0]})
    figures = [
        plots.level_curves({"": curves}),
        plots.bounded({"": table}, {}, "value"),
        plots.leads({"": paired}, "lead"),
        plots.training_curves({"tpdm": log, "tosm": log}),
        plots.step_curves({"tpdm": [1.0], "tosm": [2.0]}, [1], "value"),
    ]
    for figure in figures:
        assert COLORS["tosm"] in {line.get_color() for axis in figure.axes for line in axis.lines}
        plt.close(figure)


def test_a_heading_has_a_unit_and_says_which_way_is_better():
    assert heading("psnr") == "PSNR, dB ↑" and heading("hd95_wt") == "HD95 WT, mm ↓"
    assert heading("psnr_brain") == "PSNR in brain, dB ↑" and heading("ssim_axial") == "SSIM of axial slices ↑"
    assert heading("single sample") == "single sample" and heading(3) == 3, "what is no metric keeps its name"


def test_every_metric_that_is_measured_has_a_heading():
    volume = np.random.default_rng(0).random((16, 16, 16))
    brain = np.ones(volume.shape, bool)
    found = {*image_metrics(volume**2, volume, brain, brain)}
    spread = uncertainty(torch.rand(3, 16, 16, 16), torch.rand(16, 16, 16))
    found |= {*uncertainty_metrics(spread, torch.from_numpy(brain))}
    found |= {f"{score}_{region}" for score in ("dice", "hd95", "recovery") for region in REGION_NAMES}
    found |= {f"std_of_{metric}" for metric in (*SHOWN, "ssim_paper")} | {"measurement_error"}
    assert not {metric for metric in found if heading(metric) == metric}
    assert len({heading(metric) for metric in found}) == len(found), "no two are headed the same"
