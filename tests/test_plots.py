"""Where a figure looks is decided by a rule, and it shows what it is given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from diffens_core.diffusion.mixture import Mixture, MixtureDenoiser
from diffens_core.show import plots
from diffens_core.show.plots import histograms, largest_gain, median_subject, noise_level, noise_map
from diffens_core.show.widgets import slide_levels


@pytest.mark.parametrize("place", [(12, 20, 9), (5, 8, 6)])
def test_the_largest_gain_is_where_one_is_wrong_and_the_other_is_not(place):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(24, 30, 18))
    better, worse = (truth + 0.1 * rng.normal(size=truth.shape) for _ in range(2))
    box = tuple(slice(p - 2, p + 3) for p in place)
    worse[box] += 1.0
    found = largest_gain(worse, better, truth)
    assert max(abs(a - b) for a, b in zip(found, place)) <= 1
    assert all(3 <= p < n - 3 for p, n in zip(found, truth.shape)), "the square around it lies within the volume"
    better[box] += 2.0  # now it loses there
    assert largest_gain(worse, better, truth) != found


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
