"""The measurement and its projection: identities that hold for every shape."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import zoom

from diffens_core.data.measurement import block_average, downsample, interpolate_cubic, measurement_rms, project, repeat
from diffens_core.data.tasks import task_named

shapes = st.tuples(*[st.integers(1, 13)] * 3)
close = {"atol": 2e-6, "rtol": 1e-5}


def volume(shape, seed=0, channels=1):
    return torch.randn(2, channels, *shape, generator=torch.Generator().manual_seed(seed))


@given(shapes)
@settings(deadline=None, max_examples=25)
def test_average_is_symmetric_and_idempotent(shape):
    """Also where the last block is cut by the border: a block is averaged over the voxels that it has."""
    x, y = volume(shape, 1).double(), volume(shape, 2).double()
    torch.testing.assert_close((block_average(x) * y).sum(), (x * block_average(y)).sum())
    torch.testing.assert_close(block_average(block_average(x)), block_average(x))


def test_blocks_are_means_of_four_voxels_cubed():
    x = volume((8, 4, 6))
    low = downsample(x)
    assert low.shape == (2, 1, 2, 1, 2)
    torch.testing.assert_close(low[0, 0, 1, 0, 0], x[0, 0, 4:, :4, :4].mean())
    torch.testing.assert_close(low[0, 0, 1, 0, 1], x[0, 0, 4:, :4, 4:6].mean())
    assert torch.equal(repeat(low, x.shape[2:])[..., 3, 0, 0], low[..., 0, 0, 0])


@given(shapes)
@settings(deadline=None, max_examples=25)
def test_projection_restores_the_measurement(shape):
    x, y = volume(shape, 1), block_average(volume(shape, 2))
    projected = project(x, y)
    torch.testing.assert_close(block_average(projected), y, **close)
    torch.testing.assert_close(project(projected, y), projected, **close)
    torch.testing.assert_close(projected - block_average(projected), x - block_average(x), **close)


@given(shapes, st.integers(0, 5))
@settings(deadline=None, max_examples=25)
def test_projection_never_moves_away_from_the_truth(shape, seed):
    truth, guess = volume(shape, seed), volume(shape, seed + 1)
    after = (project(guess, block_average(truth)) - truth).norm()
    assert after <= (guess - truth).norm() * (1 + 1e-5)


@pytest.mark.parametrize("name", ["sr", "both", "mt"])
def test_task_projects_onto_its_own_measurement(name):
    task, truth, guess = task_named(name), volume((8, 8, 8), 1), volume((8, 8, 8), 3)
    channels = [
        block_average(truth) if c == "flair_lr" else volume((8, 8, 8), 10 + i) for i, c in enumerate(task.conditions)
    ]
    expected = project(guess, block_average(truth)) if task.measured else guess
    torch.testing.assert_close(task.project(guess, torch.cat(channels, 1)), expected)
    assert task.measured == (name != "mt")


@pytest.mark.parametrize("shape", [(8, 8, 8), (9, 10, 7)])
def test_cubic_keeps_a_constant(shape):
    constant = torch.full((1, 2, *shape), 0.37)
    torch.testing.assert_close(interpolate_cubic(constant), constant)


def test_cubic_keeps_a_ramp_away_from_the_border():
    """A spline of degree three reproduces a line; what the border does dies out by 0.27 a block."""
    ramp = torch.arange(64.0)[None, None, :, None, None].expand(1, 1, 64, 8, 8)
    cubic = interpolate_cubic(block_average(ramp))
    torch.testing.assert_close(cubic[:, :, 24:40], ramp[:, :, 24:40], atol=0.01, rtol=0)


def test_cubic_equals_scipys_zoom():
    y = block_average(volume((16, 12, 8)))[:1]
    expected = zoom(downsample(y)[0, 0].double().numpy(), 4, order=3, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(interpolate_cubic(y)[0, 0].numpy(), expected, atol=1e-5)


def test_measurement_rms_is_what_the_projection_removes():
    x = volume((8, 8, 8))
    y = block_average(volume((8, 8, 8), 1))
    assert measurement_rms(block_average(x) + 0.5, block_average(x)) == pytest.approx(0.5, abs=1e-6)
    assert measurement_rms(x, y) > 0.1 and measurement_rms(project(x, y), y) < 1e-6
