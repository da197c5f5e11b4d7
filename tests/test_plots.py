"""Where a figure looks is decided by a rule, and it shows what it is given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import same_color

from diffens_core.diffusion.mixture import Mixture, MixtureDenoiser
from diffens_core.evaluation.uncertainty import uncertainty
from diffens_core.models.segmentation import REGIONS
from diffens_core.show import plots
from diffens_core.show.panels import WIDEST
from diffens_core.show.plots import histograms, median_subject, noise_level, noise_map
from diffens_core.show.widgets import slide_levels
from diffens_core.show.zooms import cortex, reach_in, zoomed


def ball(shape=(40, 44, 36), radius=15):
    """A round brain, bool, as deep as its distance from the surface."""
    distance = np.linalg.norm(np.indices(shape) - np.array(shape).reshape(3, 1, 1, 1) / 2, axis=0)
    return distance < radius, radius - distance


@pytest.mark.parametrize("place", [(20, 10, 18), (31, 22, 18), (12, 22, 26)])
def test_a_zoom_looks_at_edges_of_the_cortex_and_at_no_method(place):
    brain, depth = ball()
    truth = np.where(brain, 0.0, -1.0)
    folded = np.linalg.norm(np.indices(brain.shape) - np.array(place).reshape(3, 1, 1, 1), axis=0) < 4
    truth[folded & brain] += 0.5 * (np.indices(brain.shape).sum(0) % 4 < 2)[folded & brain]
    truth[brain & (depth > 10)] += (np.indices(brain.shape).sum(0) % 4 < 2)[brain & (depth > 10)]  # stronger, but deep
    found = cortex(truth, brain)
    assert max(abs(a - b) for a, b in zip(found, place)) <= reach_in(truth)
    assert brain[found] and depth[found] <= reach_in(truth) / 2 + 1, "near the surface, not where most edges are"


def test_a_zoom_shows_what_is_wrong_on_a_scale_of_its_own():
    truth = np.random.default_rng(0).uniform(-0.5, 0.5, (24, 24, 24))
    figure = zoomed({"a": truth + 0.1, "b": truth - 0.3}, truth, (12, 12, 12))
    panels = [axis for axis in figure.axes if axis.images]
    signed = [axis.images[0] for axis in panels if axis.images[0].get_cmap().name == "RdBu_r"]
    assert [round(float(image.get_array().mean()), 6) for image in signed] == [0.1, -0.3] * 3
    assert all(image.get_clim() == pytest.approx((-0.3, 0.3)) for image in signed)
    grey = {axis.images[0].get_clim() for axis in panels if axis.get_xlim() == (9, 15) and axis.images[0] not in signed}
    assert len(grey) == 1 and max(map(abs, *grey)) < 0.5, "one window for all squares, that of the truth within them"
    assert all("-1 to 1" in axis.get_ylabel() for axis in figure.axes if axis.get_label() == "<colorbar>")


def test_gates_reach_from_0_to_1_and_name_their_expert():
    gate = np.full((2, 8, 8, 8), 0.5) + np.array([0.1, -0.1]).reshape(2, 1, 1, 1)
    maps = plots.expert_maps({"t = 1": gate}, ["axial", "sagittal"], np.ones((8, 8, 8), bool))
    cuts = plots.gate_maps({"t = 1": gate[0]}, "axial")
    for figure in (maps, cuts):
        assert {axis.images[0].get_clim() for axis in figure.axes if axis.images} == {(0, 1)}
    assert [axis.get_ylabel() for axis in maps.axes if axis.images] == ["axial expert", "sagittal expert"]
    assert [axis.get_ylabel() for axis in cuts.axes if axis.images] == ["axial cut", "coronal cut", "sagittal cut"]
    assert "weight of the axial expert" in [axis.get_ylabel() for axis in cuts.axes]
    assert "between 0.40 and 0.60" in maps.get_supxlabel() and "between 0.60 and 0.60" in cuts.get_supxlabel()


def test_spread_and_error_have_a_scale_each():
    target = torch.rand(12, 12, 12) * 2 - 1
    samples = target + 0.5 + 0.01 * torch.randn(3, 12, 12, 12)
    figure = plots.uncertainty_planes({"tpdm": uncertainty(samples, target)}, target.numpy(), (6, 6, 6))
    bars = {axis.get_ylabel(): axis.get_ylim() for axis in figure.axes if axis.get_label() == "<colorbar>"}
    assert list(bars) == ["std (volumes span -1 to 1)", "|mean - truth| (volumes span -1 to 1)"]
    (_, spread), (_, error) = bars.values()
    assert 0.01 < spread < 0.05 and 0.4 < error < 0.6


def test_many_panels_are_no_wider_than_a_notebook_shows():
    truth, lines = torch.rand(8, 8, 8), pd.DataFrame({"a": [0.0, 1.0]})
    several = {str(k): uncertainty(torch.rand(2, 8, 8, 8), truth) for k in range(3)}
    figures = [
        plots.level_curves(dict.fromkeys("abcde", lines)),
        plots.image_rows({"row": dict.fromkeys("abcdefghi", truth.numpy())}),
        plots.uncertainty_planes(several, truth.numpy(), (4, 4, 4)),
    ]
    assert all(figure.get_size_inches()[0] <= WIDEST + 1e-6 for figure in figures)


def test_regions_are_outlined_in_the_colour_of_their_name():
    true = torch.zeros(3, 16, 16, 16, dtype=torch.bool)
    true[list(REGIONS).index("et"), 6:10, 6:10, 6:10] = True
    figure = plots.segmentation_planes(
        {"truth": np.zeros((16, 16, 16))}, {"truth": true.numpy()}, true.numpy(), (8, 8, 8)
    )
    drawn = [line.get_edgecolor() for line in figure.axes[0].collections]
    assert drawn and all(same_color(color[0], plots.REGION_COLORS["et"]) for color in drawn)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["WT: whole tumour", "TC: tumour core", "ET: enhancing tumour", "true"]


def test_the_median_subject_is_neither_the_best_nor_the_worst():
    leads = pd.Series({"a": 0.5, "b": -1.0, "c": 0.2, "d": 3.0})
    assert median_subject(leads) == "c" and median_subject(leads[["a", "b", "c"]]) == "c"
    assert median_subject(leads[["d"]]) == "d"


def test_curves_mark_later_phases_and_smooth_without_lag():
    step = np.arange(1, 101)
    rate = np.concatenate(
        [np.linspace(0.1, 1, 10), np.linspace(1, 0, 40), np.linspace(0.05, 0.5, 10), np.full(40, 0.5)]
    )
    log = pd.DataFrame({"step": step, "loss": np.where(step <= 50, 1.0, 0.1), "lr": rate})
    assert plots.later_phases(log) == [51] and plots.later_phases(log[:50]) == []
    (axis,) = plots.training_curves({"run": log}).axes
    _, smooth, mark = axis.lines
    assert list(mark.get_xdata()) == [51, 51]
    assert smooth.get_ydata() == pytest.approx(log["loss"])  # no lag, and no phase shows in another


def test_pictures_of_a_variable_show_what_they_are_given():
    truth = pd.Series([0.1, 1.0, 0.1], index=[-1.0, 0.0, 1.0])
    figure = histograms({f"{k} steps": np.zeros(10) for k in range(5)}, truth)
    assert [axis.get_title() for axis in figure.axes] == [f"{k} steps" for k in range(5)], "no empty panel is left"
    levels = pd.DataFrame({1.0: [1.0, 2.0, 1.0], 0.5: [0.0, 4.0, 0.0]}, index=truth.index)
    (axis,) = noise_map(levels, pd.DataFrame({"path": [0.1, 0.2]}, index=[1.0, 0.5])).axes
    assert axis.collections[0].get_array().max() == 1.0 and axis.get_xlim() == (1.0, 0.0), "noise is on the left"
    denoiser = MixtureDenoiser(Mixture((0.5,), (0.1,), (1.0,)))
    panels = noise_level(denoiser, 0).axes
    x, density = panels[0].lines[0].get_data()
    assert x[density.argmax()] == pytest.approx(0.5, abs=0.01)


def test_a_slider_draws_the_figure_of_its_level(monkeypatch):
    drawn = []
    monkeypatch.setattr(plt, "show", lambda: None)
    slider, _ = slide_levels(drawn.append, 1000, 100).children
    slider.value = 300
    assert drawn == [100, 300] and slider.max == 999
