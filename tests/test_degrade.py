"""Measurements and their projections: identities that hold for every kind and shape, and other implementations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import zoom

from diffens_core.data.measurement import BLOCKS, Degradation
from diffens_core.data.tasks import task_named
from diffens_core.support.settings import ConfigError

shapes = st.tuples(*[st.integers(1, 13)] * 3)
close = {"atol": 2e-6, "rtol": 1e-5}
NAMES = ["4x4x4", "2x2x2", "1x1x5", "3x1x2", "1x1x6-slice4", "1x5x1-slice2", "1x1x4-gauss4", "3x1x1-gauss5"]
NAMES += ["fourier-2x2x2", "fourier-1x1x3", "fourier-4x1x2"]
kinds = st.sampled_from(NAMES).map(Degradation.parse)


def volume(shape, seed=0, channels=1):
    return torch.randn(2, channels, *shape, generator=torch.Generator().manual_seed(seed))


@given(kinds, shapes)
@settings(deadline=None, max_examples=60)
def test_the_pseudo_inverse_gives_back_every_measurement(degradation, shape):
    """`A A+ = I` on the range of `A`; and what is shown on the fine grid can be read from it again."""
    x = volume(shape, 1).double()
    low = degradation.measure(x)
    shown = degradation.repeat(low, shape)
    assert shown.shape == x.shape
    torch.testing.assert_close(degradation.measured(shown), low)
    torch.testing.assert_close(degradation.even_out(shown), shown)
    again = degradation.project(torch.zeros_like(x), shown)  # A+ of the measurement
    torch.testing.assert_close(degradation.measure(again), low)
    torch.testing.assert_close(degradation.degrade(x), shown)


@given(kinds, shapes)
@settings(deadline=None, max_examples=60)
def test_a_mirrored_volume_is_measured_as_the_mirror_image_where_it_says_so(degradation, shape):
    x = volume(shape, 1).double()
    if degradation.mirrors(shape[0]):
        torch.testing.assert_close(degradation.degrade(x.flip(2)), degradation.degrade(x).flip(2))


@pytest.mark.parametrize(
    "name, width, mirrors",
    [
        ("4x4x4", 12, True),
        ("4x4x4", 13, False),
        ("1x1x6-slice4", 13, True),
        ("5x1x1-slice2", 15, False),
        ("fourier-2x2x2", 13, False),
    ],
)
def test_blocks_that_fill_the_width_are_mirrored(name, width, mirrors):
    degradation = Degradation.parse(name)
    assert degradation.mirrors(width) == mirrors
    x = volume((width, 8, 12)).double()
    assert torch.allclose(degradation.degrade(x.flip(2)), degradation.degrade(x).flip(2)) == mirrors


@given(kinds, shapes)
@settings(deadline=None, max_examples=60)
def test_the_projection_is_orthogonal(degradation, shape):
    """`x -> x - A+ A x` is symmetric and idempotent: nothing is nearer to `x` than its projection."""
    x, y, nothing = volume(shape, 1).double(), volume(shape, 2).double(), torch.zeros(2, 1, *shape, dtype=torch.float64)
    left = [degradation.project(v, nothing) for v in (x, y)]
    torch.testing.assert_close((left[0] * y).sum(), (x * left[1]).sum())
    torch.testing.assert_close(degradation.project(left[0], nothing), left[0])


@given(kinds, shapes)
@settings(deadline=None, max_examples=60)
def test_projection_restores_the_measurement(degradation, shape):
    x, y = volume(shape, 1), degradation.degrade(volume(shape, 2))
    projected = degradation.project(x, y)
    torch.testing.assert_close(degradation.degrade(projected), y, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(degradation.project(projected, y), projected, atol=1e-5, rtol=1e-4)


@given(kinds, shapes, st.integers(0, 5))
@settings(deadline=None, max_examples=60)
def test_projection_never_moves_away_from_the_truth(degradation, shape, seed):
    truth, guess = volume(shape, seed), volume(shape, seed + 1)
    after = (degradation.project(guess, degradation.degrade(truth)) - truth).norm()
    assert after <= (guess - truth).norm() * (1 + 1e-5)


@given(kinds, st.tuples(*[st.integers(6, 16)] * 3))
@settings(deadline=None, max_examples=40)
def test_background_stays_exactly_what_it_is(degradation, shape):
    """A coarse voxel is background if, and where voxels are averaged only if, it holds no head."""
    x = torch.full((1, 1, *shape), -1.0)
    x[..., : shape[0] // 2, 1:4, : shape[2] // 2] = 0.3 + 0.1 * torch.rand(1)
    y = degradation.degrade(x)
    far = degradation.repeat(degradation.measure((x == -1).float(), 0.0), shape) if degradation.kind == "mean" else None
    if far is not None:
        assert torch.equal(y == -1, far == 1)
    assert (y == -1).any() and (y[..., shape[0] // 2 + 4 :, :, shape[2] // 2 + 6 :] == -1).all()


@given(st.sampled_from([n for n in NAMES if Degradation.parse(n).is_local]), st.integers(0, 9))
@settings(deadline=None, max_examples=30)
def test_a_part_of_a_volume_has_its_own_part_of_a_local_measurement(name, seed):
    degradation = Degradation.parse(name)
    x, y = volume((24, 20, 24), seed), degradation.degrade(volume((24, 20, 24), seed + 1))
    whole = degradation.project(x, y)
    box = tuple(slice(2 * f, 4 * f) for f in degradation.factor)
    torch.testing.assert_close(degradation.project(x[..., *box], y[..., *box]), whole[..., *box], **close)


def test_blocks_are_means_of_their_voxels():
    x = volume((8, 4, 6))
    low = BLOCKS.measure(x)
    assert low.shape == (2, 1, 2, 1, 2)
    torch.testing.assert_close(low[0, 0, 1, 0, 0], x[0, 0, 4:, :4, :4].mean())
    torch.testing.assert_close(low[0, 0, 1, 0, 1], x[0, 0, 4:, :4, 4:6].mean())
    shown = BLOCKS.repeat(low, x.shape[2:])
    assert torch.equal(shown[..., 3, 0, 0], low[..., 0, 0, 0])
    torch.testing.assert_close(BLOCKS.project(torch.zeros_like(x), shown), shown, **close)  # A is its own inverse there


def test_slices_are_means_with_gaps_between_them():
    x = volume((2, 3, 14))
    low = Degradation.parse("1x1x6-slice4").measure(x)
    assert low.shape[-1] == 3
    for slice_, (first, end) in enumerate([(1, 5), (7, 11), (13, 14)]):
        torch.testing.assert_close(low[..., slice_], x[..., first:end].mean(-1), **close)
    assert Degradation.parse("1x1x6-slice2").measure(volume((2, 3, 13)))[..., -1].shape == (2, 1, 2, 3)


def test_a_gaussian_profile_has_its_width():
    impulse = torch.eye(45)[:, None, None, :].reshape(45, 1, 1, 1, 45)
    profile = Degradation.parse("1x1x9-gauss6").measure(impulse, 0.0)[:, 0, 0, 0, 2].numpy()
    assert profile.argmax() == 22 and profile.sum() == pytest.approx(1)
    np.testing.assert_allclose(profile[[19, 25]], profile[22] / 2, rtol=1e-6)
    expected = np.exp(-0.5 * (np.arange(-6, 7) / (6 / np.sqrt(8 * np.log(2)))) ** 2)
    np.testing.assert_allclose(profile[16:29], expected / expected.sum(), rtol=1e-6)


@pytest.mark.parametrize("n", [8, 9, 12, 15])
def test_fourier_cropping_keeps_the_low_frequencies_of_numpy(n):
    degradation, x = Degradation.parse("fourier-1x1x2"), volume((3, 2, n))
    spectrum = np.fft.fft(x.numpy(), axis=-1)
    coarse = round(n / 2)
    spectrum[..., np.abs(np.fft.fftfreq(n, 1 / n)) >= coarse / 2] = 0
    expected = np.fft.ifft(spectrum, axis=-1).real
    found = degradation.interpolate(degradation.degrade(x))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_read_and_written(name):
    assert str(Degradation.parse(name)) == name


@pytest.mark.parametrize(
    "name", ["", "1x1x1", "4x4", "0x4x4", "4x4x4-slice2", "1x1x5-slice5", "1x1x99", "fourier-1x1x4-slice2"]
)
def test_what_makes_no_sense_is_refused(name):
    with pytest.raises(ConfigError):
        Degradation.parse(name)


@pytest.mark.parametrize("name", ["sr", "both", "mt", "t2_lr+t1->t2@1x1x5-gauss4"])
def test_task_projects_onto_its_own_measurement(name):
    task, truth, guess = task_named(name), volume((8, 8, 8), 1), volume((8, 8, 8), 3)
    channels = [volume((8, 8, 8), 10 + i) for i in range(len(task.conditions))]
    if task.degradation:
        channels[0] = task.degradation.degrade(truth)
        expected = task.degradation.project(guess, channels[0])
    torch.testing.assert_close(task.project(guess, torch.cat(channels, 1)), expected if task.degradation else guess)
    assert (task.degradation is None) == (name == "mt")


@pytest.mark.parametrize("name", ["4x4x4", "1x1x5", "1x1x6-slice4", "1x1x4-gauss4"])
@pytest.mark.parametrize("shape", [(8, 8, 8), (9, 10, 7)])
def test_cubic_keeps_a_constant(name, shape):
    constant = torch.full((1, 2, *shape), 0.37)
    torch.testing.assert_close(Degradation.parse(name).interpolate(constant), constant)


@pytest.mark.parametrize("name", ["4x4x4", "6x1x1-slice3", "4x1x1-gauss3"])
def test_cubic_keeps_a_ramp_away_from_the_border(name):
    """A spline of degree three reproduces a line; what the border does dies out by 0.27 a knot."""
    ramp, degradation = torch.arange(64.0)[None, None, :, None, None].expand(1, 1, 64, 8, 8), Degradation.parse(name)
    cubic = degradation.interpolate(degradation.degrade(ramp))
    torch.testing.assert_close(cubic[:, :, 24:40], ramp[:, :, 24:40], atol=0.01, rtol=0)


@pytest.mark.parametrize("name, shape", [("4x4x4", (16, 12, 8)), ("1x1x5", (3, 4, 20))])
def test_cubic_equals_scipys_zoom(name, shape):
    degradation = Degradation.parse(name)
    y = degradation.degrade(volume(shape))[:1]
    low = degradation.measure(y)[0, 0].double().numpy()
    expected = zoom(low, degradation.factor, order=3, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(degradation.interpolate(y)[0, 0].numpy(), expected, atol=1e-5)


def test_rms_is_what_the_projection_removes():
    x = volume((8, 8, 8))
    y = BLOCKS.degrade(volume((8, 8, 8), 1))
    assert BLOCKS.rms(BLOCKS.degrade(x) + 0.5, BLOCKS.degrade(x)) == pytest.approx(0.5, abs=1e-6)
    assert BLOCKS.rms(x, y) > 0.1 and BLOCKS.rms(BLOCKS.project(x, y), y) < 1e-6
