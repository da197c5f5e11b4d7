"""Uncertainty on voxels whose distribution is known, and on cases worked out by hand."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from diffens_core.evaluation.uncertainty import (
    LEVELS,
    ause,
    calibration_curve,
    rank_correlation,
    sparsification,
    uncertainty,
    uncertainty_metrics,
)

SHAPE = (30, 31, 32)
BRAIN = torch.ones(SHAPE, dtype=torch.bool)


def drawn(samples: int, spread: float = 1.0, seed: int = 0):
    """Samples and a target from one distribution: at each voxel a Gaussian of its own; `spread` widens the samples."""
    generator = torch.Generator().manual_seed(seed)
    scale = 0.1 + torch.rand(SHAPE, generator=generator)
    values = scale * torch.randn(samples + 1, *SHAPE, generator=generator)
    return spread * values[:-1], values[-1]


def test_mean_std_and_error_by_hand():
    samples = torch.tensor([0.0, 2.0, 4.0]).view(3, 1, 1, 1)
    found = uncertainty(samples, torch.tensor([[[5.0]]]))
    assert (float(found.mean), float(found.std), float(found.error), bool(found.inside)) == (2.0, 2.0, 3.0, False)
    metrics = uncertainty_metrics(found, torch.ones(1, 1, 1, dtype=torch.bool))
    assert metrics["mace"] == metrics["mace_brain"] == 0.5  # |2 - 3| in [-1, 1] is 0.5 in [0, 1]
    assert metrics["expected_range"] == 0.5 and metrics["coverage_range_brain"] == 0.0


def test_samples_of_the_truths_own_distribution_are_calibrated():
    """With many samples; the mean of K has a spread of its own, which is part of the error."""
    metrics = uncertainty_metrics(uncertainty(*drawn(100)), BRAIN)
    assert metrics["ece_brain"] < 0.01
    assert metrics["coverage_90_brain"] == pytest.approx(0.9, abs=0.01)
    assert metrics["correlation_brain"] > 0.3


@pytest.mark.parametrize("samples", [2, 3, 5])
def test_few_samples_are_calibrated_too(samples):
    metrics = uncertainty_metrics(uncertainty(*drawn(samples)), BRAIN)
    assert metrics["coverage_90_brain"] == pytest.approx(0.9, abs=0.01) and metrics["ece_brain"] < 0.01


@pytest.mark.parametrize("samples", [2, 5])
def test_few_samples_reach_as_far_as_theory_says(samples):
    """The truth is as likely as any sample to be the smallest or the largest of K + 1: (K - 1) / (K + 1) are inside."""
    metrics = uncertainty_metrics(uncertainty(*drawn(samples)), BRAIN)
    assert metrics["coverage_range_brain"] == pytest.approx(metrics["expected_range"], abs=0.01)


def test_too_sure_and_too_unsure_are_told_apart():
    sure, unsure = (uncertainty_metrics(uncertainty(*drawn(50, spread)), BRAIN) for spread in (0.3, 3.0))
    assert sure["coverage_90_brain"] < 0.5 and unsure["coverage_90_brain"] > 0.99
    assert min(sure["ece_brain"], unsure["ece_brain"]) > 0.1


def test_the_calibration_curve_of_a_known_error():
    """With very many samples Student's interval is the Gaussian's."""
    error = np.abs(np.random.default_rng(0).normal(size=200_000))
    np.testing.assert_allclose(calibration_curve(np.ones_like(error), error, 10_000), LEVELS, atol=5e-3)
    np.testing.assert_array_equal(calibration_curve(np.zeros(3), np.ones(3), 5), 0)


def test_sparsification_by_hand():
    error, std = np.array([4.0, 3.0, 2.0, 1.0]), np.array([1.0, 4.0, 3.0, 2.0])
    np.testing.assert_allclose(sparsification(std, error, np.array([0, 0.25, 0.5, 0.75])), [2.5, 7 / 3, 2.5, 4])
    np.testing.assert_allclose(sparsification(error, error, np.array([0, 0.25, 0.5, 0.75])), [2.5, 2, 1.5, 1])


def test_ause_is_zero_for_the_best_order_and_largest_for_the_worst():
    error = np.abs(np.random.default_rng(1).normal(size=5000))
    shuffled = np.random.default_rng(2).permutation(error)
    assert ause(error**2, error) == pytest.approx(0.0, abs=1e-12)
    assert 0 < ause(shuffled, error) < ause(-error, error)
    assert ause(7 * shuffled, 3 * error) == pytest.approx(ause(shuffled, error))  # units do not matter
    assert np.isnan(ause(shuffled, np.zeros(5000)))


def test_rank_correlation_equals_scipy():
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 20, 500), rng.normal(size=500)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(rank_correlation(np.ones(5), b[:5]))


def test_a_constant_model_says_nothing_about_its_error():
    target = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    metrics = uncertainty_metrics(uncertainty(torch.zeros(3, *SHAPE), target), BRAIN)
    assert metrics["std_brain"] == 0 and metrics["coverage_90_brain"] == 0 and np.isnan(metrics["correlation_brain"])
    assert metrics["mace"] == pytest.approx(float(target.abs().mean()) / 2, rel=1e-5)


def test_only_the_brain_counts_within_the_brain():
    samples, target = drawn(4)
    brain = BRAIN.clone()
    brain[:, :, 16:] = False
    other = target.clone()
    other[:, :, 16:] += 9
    before, after = (uncertainty_metrics(uncertainty(samples, t), brain) for t in (target, other))
    assert all(after[name] == before[name] for name in before if name != "mace") and after["mace"] > before["mace"]


def test_what_has_no_uncertainty_is_refused():
    with pytest.raises(ValueError, match="at least two"):
        uncertainty(torch.zeros(1, 2, 2, 2), torch.zeros(2, 2, 2))
    with pytest.raises(ValueError, match="not finite"):
        uncertainty(torch.full((2, 2, 2, 2), torch.nan), torch.zeros(2, 2, 2))
    with pytest.raises(ValueError, match="empty"):
        uncertainty_metrics(uncertainty(torch.rand(2, 2, 2, 2), torch.zeros(2, 2, 2)), torch.zeros(2, 2, 2) > 0)
