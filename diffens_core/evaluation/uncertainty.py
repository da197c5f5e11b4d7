"""How well the spread of repeated samples tells their error: calibration, coverage, sparsification.

K samples at a voxel stand for a Gaussian around their mean, or for an interval between their extremes. As mean and
spread are estimated from K samples only, intervals of the Gaussian are Student's, and wider by sqrt(1 + 1/K).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata, t

from ..support.errors import InputError

LEVELS = np.linspace(0.05, 0.95, 19)  # of confidence, for the calibration curve
FRACTIONS = np.linspace(0.0, 0.95, 20)  # of voxels removed, for sparsification


@dataclass(frozen=True)
class Uncertainty:
    """The samples of one subject. mean, std, error: [X, Y, Z], in the unit of the samples; error: |mean - target|.

    std has K - 1 in its denominator. inside: whether the target is between the smallest and the largest sample.
    """

    mean: torch.Tensor
    std: torch.Tensor
    error: torch.Tensor
    inside: torch.Tensor
    samples: int


def uncertainty(samples: torch.Tensor, target: torch.Tensor) -> Uncertainty:
    """Mean, spread and error of samples [K, X, Y, Z] for a target [X, Y, Z].

    Raises `InputError` for less than two samples, NaN or infinity.
    """
    if len(samples) < 2:
        raise InputError("uncertainty needs at least two different samples")
    if not (torch.isfinite(samples).all() and torch.isfinite(target).all()):
        raise InputError("samples or target hold values that are not finite")
    mean, std = samples.mean(0), samples.std(0)
    inside = (samples.amin(0) <= target) & (target <= samples.amax(0))
    return Uncertainty(mean, std, (mean - target).abs(), inside, len(samples))


def uncertainty_metrics(spread: Uncertainty, brain: torch.Tensor) -> dict[str, float]:
    """Uncertainty metrics by name, within the brain where the name says so. Raises `InputError` for an empty brain.

    `mace`: the paper's (Eq. 7), mean | std - error |, in the unit of volumes in [0, 1]. It is no calibration error: a
    model that is always sure and right has 0, and so has one that is as unsure as it is wrong.
    `ece_brain`: mean absolute difference between the share of voxels within a central interval and its confidence
    (Kuleshov et al. 2018); 0 is expected of samples of the truth's own distribution, where that is Gaussian, for any K.
    `coverage_90_brain`: that share at 90 %. `coverage_range_brain`: the share of voxels whose target lies between the
    extremes of K samples; `expected_range`: that share for K samples of the truth's own distribution.
    `ause_brain`: area between the sparsification curve and the best possible one, in units of the mean error.
    `correlation_brain`: Spearman's, of std and error.
    """
    if not brain.any():
        raise InputError("the brain is empty")
    std, error = (v[brain].double().cpu().numpy() for v in (spread.std, spread.error))
    curve = calibration_curve(std, error, spread.samples)
    return {
        "mace": float((spread.std - spread.error).abs().double().mean()) / 2,
        "mace_brain": float(np.abs(std - error).mean()) / 2,
        "std_brain": float(std.mean()) / 2,
        "ece_brain": float(np.abs(curve - LEVELS).mean()),
        "coverage_90_brain": float(calibration_curve(std, error, spread.samples, [0.9])[0]),
        "coverage_range_brain": float(spread.inside[brain].double().mean()),
        "expected_range": (spread.samples - 1) / (spread.samples + 1),
        "ause_brain": ause(std, error),
        "correlation_brain": rank_correlation(std, error),
    }


def calibration_curve(std: np.ndarray, error: np.ndarray, samples: int, levels=LEVELS) -> np.ndarray:
    """Share of voxels [N] whose error lies within the central interval of each confidence level.

    It is the interval for one more draw from the Gaussian that gave K `samples`: t quantile * std * sqrt(1 + 1/K).
    """
    reach = t.ppf(0.5 + np.asarray(levels) / 2, samples - 1) * np.sqrt(1 + 1 / samples)
    return np.array([(error <= factor * std).mean() for factor in reach])


def sparsification(order: np.ndarray, error: np.ndarray, fractions: np.ndarray = FRACTIONS) -> np.ndarray:
    """Mean error of the voxels left when each of `fractions`, those largest in `order` [N], is removed."""
    ranked = error[np.argsort(-order, kind="stable")]
    left = np.cumsum(ranked[::-1])[::-1]
    starts = np.minimum((fractions * len(error)).astype(int), len(error) - 1)
    return left[starts] / (len(error) - starts)


def ause(std: np.ndarray, error: np.ndarray) -> float:
    """Area under the sparsification error (Ilg et al. 2018): 0 where std sorts voxels as their error does.

    Its unit is the mean error of all voxels; NaN where there is no error, or a constant std, which sorts nothing.
    """
    if np.ptp(std) == 0:
        return float("nan")
    whole = error.mean()
    gap = sparsification(std, error) - sparsification(error, error)
    return float(np.trapezoid(gap, FRACTIONS) / whole) if whole > 0 else float("nan")


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation of a [N] and b [N]; NaN where one of them is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
