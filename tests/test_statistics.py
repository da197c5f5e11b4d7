"""Intervals and tests against scipy, textbook values and simulations."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from diffens_core.evaluation.statistics import (
    comparisons,
    holm,
    interval,
    rank_biserial,
    recovery_interval,
    subjects_needed,
    wilcoxon,
    with_intervals,
)


def test_an_interval_holds_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [interval(rng.normal(3.0, 1.0, 25), seed=k) for k in range(100)]
    assert 88 <= sum(low <= 3.0 <= high for low, high in found) <= 99
    assert np.mean([high - low for low, high in found]) == pytest.approx(2 * 1.96 / 5, rel=0.1)


@pytest.mark.parametrize("subjects, least, most", [(3, 68, 82), (6, 80, 92)])
def test_few_subjects_have_intervals_that_are_too_narrow_as_the_docstring_says(subjects, least, most):
    rng = np.random.default_rng(0)
    found = [interval(rng.normal(size=subjects)) for _ in range(400)]
    assert least <= sum(low <= 0.0 <= high for low, high in found) / 4 <= most


def test_intervals_of_hardly_any_subjects():
    assert all(np.isnan(interval([1.0, 2.0]))) and interval([2.0, 2.0, 2.0]) == (2.0, 2.0)
    with pytest.raises(ValueError, match="NaN"):
        interval([1.0, np.nan, 2.0])
    with pytest.raises(ValueError, match="infinity"):
        interval([1.0, np.inf, 2.0])
    low, high = interval([1.0, 2.0, 4.0, 3.0])
    assert 1.0 <= low < 2.5 < high <= 4.0


def test_six_subjects_that_agree_have_the_smallest_p_that_six_can_have():
    """Two of 2^6 signs are as extreme."""
    assert wilcoxon(np.arange(1, 7), np.zeros(6)) == pytest.approx(2 / 64)
    assert wilcoxon([1.0, 2.0], [1.0, 2.0]) == 1.0


def test_holm_by_hand():
    """Smallest times 3, next times 2, last times 1; never below the one before, never above 1."""
    np.testing.assert_allclose(holm([0.02, 0.01, 0.04]), [0.04, 0.03, 0.04])
    np.testing.assert_allclose(holm([0.03, 0.01, 0.02]), [0.04, 0.03, 0.04])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1.0, 1.0])


def test_holm_keeps_its_promise():
    """No real difference anywhere: at least one alarm among five tests in at most 5 % of the cases (and some)."""
    p = np.random.default_rng(1).uniform(size=(4000, 5))
    assert 0.03 < np.mean([(holm(row) < 0.05).any() for row in p]) < 0.06


def test_effect_size_by_hand():
    """Differences 1, -2, 3: ranks 1 and 3 for, 2 against: (4 - 2) / 6."""
    assert rank_biserial([1.0, 0.0, 3.0], [0.0, 2.0, 0.0]) == pytest.approx(1 / 3)
    assert rank_biserial([1.0, 2.0], [0.0, 0.0]) == 1.0 and rank_biserial([1.0], [1.0]) == 0.0


def test_subjects_needed_is_what_a_simulation_needs():
    """Differences of mean 0.5 and spread 1: 34 subjects for 80 % power, as in tables of the paired t test."""
    rng = np.random.default_rng(2)
    values = rng.normal(size=400)
    values = 0.5 + (values - values.mean()) / values.std(ddof=1)
    assert subjects_needed(values, np.zeros(400)) == 34
    draws = rng.normal(0.5, 1.0, (4000, 34))
    assert np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.03)
    assert subjects_needed([1.0, -1.0], [0.0, 0.0]) == np.inf and subjects_needed([1.0, 1.0], [0.0, 0.0]) == 2
    small = 0.1 + (values - values.mean())
    assert subjects_needed(small, np.zeros(400)) == 787  # (1.96 + 0.84)^2 / 0.1^2 and a little
    with pytest.raises(ValueError, match="NaN"):
        subjects_needed([1.0, np.nan], [0.0, 0.0])


def test_comparisons_are_paired_and_say_so():
    rng = np.random.default_rng(3)
    hard = rng.normal(20, 5, 12)  # subjects differ far more than methods
    table = pd.DataFrame({"tpdm": hard, "ours": hard + 0.1 + 0.02 * rng.normal(size=12), "other": hard[::-1]})
    table.loc[11, "other"] = np.nan
    found = comparisons(table, {"ours": "tpdm", "other": "tpdm"})
    ours, other = found.loc["ours"], found.loc["other"]
    assert ours["p"] == pytest.approx(2 * 2 / 2**12) and ours["ahead"] == ours["subjects"] == 12
    assert ours["low"] < ours["difference"] < ours["high"] and ours["low"] > 0 and ours["effect"] == 1.0
    assert other["subjects"] == 11 and other["p"] > 0.05 and other["low"] < 0 < other["high"]
    assert ours["needed"] < other["needed"]


def test_cells_have_intervals_where_there_are_enough_subjects():
    table = pd.DataFrame({"a": [1.0, 2.0, 3.0, 2.0], "b": [1.0, 2.0, np.nan, np.nan]})
    cells = with_intervals(table, digits=1)
    assert cells["b"] == "1.5" and cells["a"].startswith("2.0 [1.") and cells["a"].endswith("]")


def test_recovery_has_the_interval_of_a_ratio():
    rng = np.random.default_rng(4)
    degraded = rng.uniform(0.6, 0.8, 30)
    true = degraded + 0.1 + 0.01 * rng.normal(size=30)
    half = (degraded + true) / 2
    value, low, high = recovery_interval(half, degraded, true)
    assert value == pytest.approx(50) and low == pytest.approx(50) and high == pytest.approx(50)
    value, low, high = recovery_interval(half + 0.02 * rng.normal(size=30), degraded, true)
    assert low < value < high and high - low > 5
    assert all(np.isnan(recovery_interval(half, degraded, degraded)))


def test_recovery_of_hardly_any_subjects_has_no_interval():
    for count in (1, 2):
        value, low, high = recovery_interval([0.7] * count, [0.6] * count, [0.8] * count)
        assert value == pytest.approx(50) and np.isnan(low) and np.isnan(high)
    with pytest.raises(ValueError, match="no subject"):
        recovery_interval([], [], [])


def test_a_comparison_without_common_subjects_has_no_p_and_is_no_comparison():
    a = np.arange(8.0)
    table = pd.DataFrame({"tpdm": a, "ours-tpdm": a + 0.1 + a / 100, "tosm": np.full(8, np.nan)})
    found = comparisons(table, {"ours-tpdm": "tpdm", "tosm": "tpdm"})
    assert np.isnan(found.loc["tosm", ["p", "difference", "needed"]].astype(float)).all()
    assert found.loc["ours-tpdm", "p"] == wilcoxon(table["ours-tpdm"], a) == 2 / 2**8  # Holm counts one test
    assert np.isnan(subjects_needed([1.0], [2.0])) and np.isnan(wilcoxon([], []))
