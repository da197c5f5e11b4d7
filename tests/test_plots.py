"""Where a figure looks is decided by a rule."""

import numpy as np
import pandas as pd
import pytest

from diffens_core.show import plots
from diffens_core.show.plots import largest_gain, median_subject


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
