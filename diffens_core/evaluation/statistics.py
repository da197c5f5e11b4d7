"""Statistics of differences between methods: intervals, paired tests, effect sizes, and how many subjects it takes.

The unit is the subject. Tests are paired: every method translated the same subjects. A test over six subjects cannot
reach p < 0.03, whatever their values; the tables print p and the number of subjects beside every claim.
"""

from __future__ import annotations

import bisect
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from ..models.segmentation import recovery
from ..support.errors import InputError

LEVEL, ALPHA, RESAMPLES = 0.95, 0.05, 9999
MOST = 100_000  # subjects


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval (bias-corrected and accelerated) of the mean over subjects [N].

    Few subjects tell little of their spread: for normal values the interval covers the true mean 73 % of the time with
    three subjects, 86 % with six, 94 % with 25. NaN for less than three subjects; the value itself where all are equal.
    Raises `InputError` for NaN or infinity.
    """
    values = np.asarray(values, float)
    if not np.isfinite(values).all():
        raise InputError("NaN or infinity among the values of subjects: leave these subjects out, and say so")
    if len(values) < 3:
        return float("nan"), float("nan")
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        bounds = stats.bootstrap(
            (values,), np.mean, n_resamples=RESAMPLES, confidence_level=LEVEL, rng=np.random.default_rng(seed)
        ).confidence_interval
    return float(bounds.low), float(bounds.high)


def recovery_interval(dice, degraded, true, seed: int = 0) -> tuple[float, float, float]:
    """`recovery` over subjects [N] and its 95 % bootstrap interval: subjects are drawn, each with its three scores.

    A draw in which degrading costs nothing has no Recovery. The interval is NaN where that happens in more than
    2.5 % of the draws, and for less than three subjects. Raises `InputError` for no subject.
    """
    scores = np.stack([np.asarray(values, float) for values in (dice, degraded, true)])
    if scores.shape[1] == 0:
        raise InputError("no subject has all three scores")
    if scores.shape[1] < 3:
        return recovery(*scores), float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    draws = [recovery(*scores[:, rng.integers(scores.shape[1], size=scores.shape[1])]) for _ in range(RESAMPLES // 5)]
    if np.isnan(draws).mean() > (1 - LEVEL) / 2:
        return recovery(*scores), float("nan"), float("nan")
    low, high = np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return recovery(*scores), float(low), float(high)


def recovery_lead(dice, rival, degraded, true, seed: int = 0) -> tuple[float, float, float]:
    """By how many points the `recovery` of `dice` exceeds that of `rival`, with the interval of this paired difference.

    This is the difference of the two as a share of the loss; how hard the subjects are to segment cancels.
    """
    return recovery_interval(np.asarray(degraded) + np.asarray(dice) - np.asarray(rival), degraded, true, seed)


def wilcoxon(a: Sequence[float], b: Sequence[float]) -> float:
    """The p value of the two-sided signed-rank test of pairs a, b [N]; 1 where all are equal, NaN for no pair.

    It is exact for up to 50 pairs without equal differences, or 13 with them; else it is a normal approximation.
    """
    difference = np.asarray(a, float) - np.asarray(b, float)
    if len(difference) == 0:
        return float("nan")
    return float(stats.wilcoxon(difference).pvalue) if np.any(difference) else 1.0


def holm(p: Sequence[float]) -> np.ndarray:
    """p values [N] adjusted for N comparisons (Holm 1979).

    If all below `ALPHA` are called different, the probability of any false alarm is at most `ALPHA`. NaN counts as no
    comparison and stays NaN.
    """
    p = np.asarray(p, float)
    count = int((~np.isnan(p)).sum())
    order = np.argsort(p)[:count]  # NaN is last
    adjusted = np.full_like(p, np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate((count - np.arange(count)) * p[order]))
    return adjusted


def rank_biserial(a: Sequence[float], b: Sequence[float]) -> float:
    """Effect size of the signed-rank test: 1 where a > b for every pair, 0 where ranks balance, -1 where a < b."""
    difference = np.asarray(a, float) - np.asarray(b, float)
    difference = difference[difference != 0]
    if len(difference) == 0:
        return 0.0
    ranks = stats.rankdata(np.abs(difference))
    return float((ranks[difference > 0].sum() - ranks[difference < 0].sum()) / ranks.sum())


def subjects_needed(a: Sequence[float], b: Sequence[float], power: float = 0.8) -> float:
    """How many subjects a paired t test would need to see the mean difference of the pairs a, b [N] at p < 0.05.

    The answer is as uncertain as the mean and the standard deviation of these pairs. A rank test of few subjects, or
    one test among many, needs more. Infinite for equal means, or for more than `MOST`; NaN for less than two pairs.
    Raises `InputError` for NaN or infinity.
    """
    difference = np.asarray(a, float) - np.asarray(b, float)
    if not np.isfinite(difference).all():
        raise InputError("NaN or infinity among the differences of subjects")
    if len(difference) < 2:
        return float("nan")
    spread, mean = difference.std(ddof=1), abs(difference.mean())
    if mean == 0:
        return float("inf")
    effect = mean / max(spread, 0.01 * mean)  # larger effects need two subjects as well

    def is_seen(n):
        return stats.nct.sf(stats.t.ppf(1 - ALPHA / 2, n - 1), n - 1, effect * np.sqrt(n)) >= power

    first = bisect.bisect_left(range(2, MOST + 1), True, key=is_seen)
    return float(first + 2) if first + 2 <= MOST else float("inf")


def comparisons(table: pd.DataFrame, rivals: Mapping[str, str]) -> pd.DataFrame:
    """Compare each method with its rival over the subjects that both have; p is adjusted for all of these tests.

    table: values of one metric, a row per subject, a column per method. Returns a row per method: rival, mean,
    rival_mean, subjects, difference, low, high (its 95 % interval), ahead (subjects with a larger value), p, effect
    (rank-biserial), needed (`subjects_needed`).
    """
    lines = {}
    for method, rival in rivals.items():
        both = table[[method, rival]].dropna()
        a, b = both[method].to_numpy(), both[rival].to_numpy()
        low, high = interval(a - b)
        mean, rival_mean = (float(both[name].mean()) for name in (method, rival))
        line = {"rival": rival, "mean": mean, "rival_mean": rival_mean, "subjects": len(both)}
        line |= {"difference": mean - rival_mean, "low": low, "high": high}
        line |= {"ahead": int((a > b).sum()), "p": wilcoxon(a, b), "effect": rank_biserial(a, b)}
        lines[method] = line | {"needed": subjects_needed(a, b)}
    compared = pd.DataFrame.from_dict(lines, orient="index")
    return compared.assign(p=holm(compared["p"])) if len(compared) else compared


def with_intervals(table: pd.DataFrame, digits: int = 3) -> pd.Series:
    """The text `mean [low, high]` for each column, over the subjects that have a value there."""
    cells = {}
    for name, values in table.items():
        values = values.dropna().to_numpy()
        cells[name] = interval_text(values.mean() if len(values) else float("nan"), *interval(values), digits)
    return pd.Series(cells)


def interval_text(value: float, low: float, high: float, digits: int) -> str:
    """`value [low, high]`; without brackets where there is no interval, empty where there is no value."""
    if np.isnan(value):
        return ""
    return f"{value:.{digits}f}" + ("" if np.isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]")
