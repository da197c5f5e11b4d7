"""The least-squares correction: rows and volumes agree, weights are found again, levels never visited have some."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffens_core.models.linear import KNOTS, LinearCorrection, NormalEquations


def channels(shape, points=(2, 1), around=2, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randn(batch, n, *shape, generator=generator) for n in (*points, around)]
    return parts[:-1], parts[-1]


def awake(points=3, around=2, steps=1000, seed=0) -> LinearCorrection:
    linear = LinearCorrection(points, around, steps)
    linear.weights.copy_(torch.randn(linear.weights.shape, generator=torch.Generator().manual_seed(seed)))
    return linear


@given(st.tuples(*[st.integers(2, 6)] * 3), st.integers(0, 999), st.integers(1, 3))
@settings(deadline=None, max_examples=25)
def test_a_row_times_the_weights_is_the_correction_at_its_voxel(shape, t, around):
    linear, (points, near) = awake(around=around), channels(shape, around=around)
    where = torch.arange(near[0, 0].numel())
    rows = linear.rows(points, near, where)
    wanted = linear(points, near, torch.tensor([t])).flatten()
    weights = (linear.hats(torch.tensor([t])) @ linear.weights)[0]
    torch.testing.assert_close((rows @ weights.double()).float(), wanted, atol=1e-4, rtol=1e-4)


def test_samples_of_a_batch_have_the_weights_of_their_own_level():
    linear, (points, near) = awake(), channels((4, 5, 6), batch=3)
    t = torch.tensor([0, 400, 999])
    together = linear(points, near, t)
    for b in range(3):
        alone = linear([p[b : b + 1] for p in points], near[b : b + 1], t[b : b + 1])
        torch.testing.assert_close(together[b : b + 1], alone)


@given(st.integers(0, 999))
def test_weights_change_linearly_from_knot_to_knot(t):
    hats = LinearCorrection(1, 1, 1000).hats(torch.tensor([t]))[0]
    assert hats.sum().item() == pytest.approx(1, abs=1e-5) and (hats > 0).sum() <= 2
    assert float(hats @ torch.arange(KNOTS).float()) == pytest.approx(t / 999 * (KNOTS - 1), abs=1e-4)


def test_it_finds_weights_again_that_change_linearly_with_the_level():
    true, found = awake(), LinearCorrection(3, 2, 1000)
    slope = torch.linspace(-1, 1, KNOTS)[:, None]
    true.weights.copy_(true.weights[:1] + slope * true.weights[-1:])
    equations = NormalEquations(found)
    for number, t in enumerate(torch.linspace(0, 999, 13).long()):
        points, near = channels((8, 8, 8), seed=number)
        where, t = torch.arange(512), t[None]
        equations.add(found.rows(points, near, where), true(points, near, t).flatten(), t)
    equations.solve()
    assert (found.weights - true.weights).abs().max() < 0.02 * true.weights.abs().max()


def test_at_one_level_it_is_ordinary_least_squares():
    """Against numpy, with noise that no weights explain; knots without data follow their neighbours."""
    linear, (points, near) = LinearCorrection(3, 1, 1000), channels((9, 9, 9), around=1)
    rows = linear.rows(points, near, torch.arange(729))
    left = rows @ torch.randn(rows.shape[1], dtype=torch.float64) + 0.5 * torch.randn(729, dtype=torch.float64)
    equations = NormalEquations(linear)
    equations.add(rows, left, torch.tensor([999]))
    equations.solve()
    wanted, *_ = np.linalg.lstsq(rows.numpy(), left.numpy(), rcond=None)
    np.testing.assert_allclose(linear.weights[-1].numpy(), wanted, atol=0.02)
    torch.testing.assert_close(linear.weights[0], linear.weights[-1], atol=0.05, rtol=0.2)


def test_without_a_fit_it_corrects_nothing():
    points, near = channels((3, 4, 5))
    assert not LinearCorrection(3, 2, 1000)(points, near, torch.tensor([7])).any()
