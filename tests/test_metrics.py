"""Image metrics against scikit-image, MONAI and torchmetrics' own definitions, and cases worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diffens_core.data.planes import PLANES
from diffens_core.evaluation.metrics import JITTER_SIGMA, image_metrics, jitter
from diffens_core.evaluation.ssim import smooth, ssim_map

SHAPE = (14, 15, 16)
WINDOW = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    target = rng.uniform(-1, 1, SHAPE).astype(np.float32)
    prediction = target + 0.2 * rng.normal(size=SHAPE).astype(np.float32)
    brain = np.zeros(SHAPE, bool)
    brain[3:11, 2:12, 4:13] = True
    return prediction, target, brain


def to_unit(volume, target):
    """In units of the target's range, from 0."""
    return (volume - target.min()) / (target.max() - target.min())


def test_equal_scikit_image(case):
    prediction, target, brain = case
    span = float(target.max() - target.min())
    x, y = to_unit(prediction, target), to_unit(target, target)
    similarity, local = structural_similarity(y, x, data_range=1.0, full=True, **WINDOW)
    ours = image_metrics(prediction, target, brain)
    assert ours["psnr"] == pytest.approx(peak_signal_noise_ratio(target, prediction, data_range=span), abs=1e-4)
    within = peak_signal_noise_ratio(target[brain], prediction[brain], data_range=span)
    assert ours["psnr_brain"] == pytest.approx(within, abs=1e-4)
    assert ours["ssim"] == pytest.approx(similarity, abs=1e-5)
    assert ours["ssim_brain"] == pytest.approx(local[brain].mean(), abs=1e-5)
    assert ours["mae"] == pytest.approx(np.abs(x - y).mean(), abs=1e-6)
    assert ours["mae_brain"] == pytest.approx(np.abs(x - y)[brain].mean(), abs=1e-6)


def test_ssim_equals_monai(case):
    from monai.metrics import SSIMMetric

    x, y = (torch.from_numpy(to_unit(v, case[1])) for v in case[:2])
    theirs = SSIMMetric(spatial_dims=3, data_range=1.0, win_size=11, kernel_sigma=1.5)(x[None, None], y[None, None])
    assert float(ssim_map(x, y)[5:-5, 5:-5, 5:-5].mean()) == pytest.approx(float(theirs), abs=1e-5)


def test_ssim_equals_torchmetrics(case):
    from torchmetrics.functional.image import structural_similarity_index_measure as theirs

    x, y = (torch.from_numpy(to_unit(v, case[1])) for v in case[:2])
    _, found = theirs(x[None, None], y[None, None], sigma=1.5, data_range=1.0, return_full_image=True)
    inner = (slice(5, -5),) * 3  # it mirrors without repeating the last voxel, so borders differ
    torch.testing.assert_close(ssim_map(x, y)[inner], found[0, 0][inner], atol=2e-5, rtol=0)


def test_slices_of_a_plane_equal_scikit_image_in_2d(case):
    prediction, target, brain = case
    x, y = to_unit(prediction, target), to_unit(target, target)
    ours = image_metrics(prediction, target, brain)
    for axis, plane in enumerate(PLANES):
        cuts = [[np.take(v, k, axis) for v in (x, y, brain)] for k in range(SHAPE[axis])]
        cuts = [cut for cut in cuts if cut[2].any()]  # every section of this brain is large enough to count
        local = [structural_similarity(b, a, data_range=1.0, full=True, **WINDOW)[1][m].mean() for a, b, m in cuts]
        assert ours[f"ssim_{plane}"] == pytest.approx(np.mean(local), abs=1e-5)
        levels = [peak_signal_noise_ratio(b[m], a[m], data_range=1.0) for a, b, m in cuts]
        assert ours[f"psnr_{plane}"] == pytest.approx(np.mean(levels), abs=1e-4)


def test_smoothing_equals_scipy(case):
    for sigma, axes in ((1.5, (0, 1, 2)), (1.0, (2,)), (2.0, (0, 1))):
        wanted = gaussian_filter(case[1].astype(np.float64), [sigma if a in axes else 0 for a in range(3)])
        found = smooth(torch.from_numpy(case[1]).double(), sigma, axes)
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-12)


@given(st.floats(0.01, 1000), st.floats(-1000, 1000))
def test_unit_and_zero_of_the_intensities_do_not_matter(scale, shift):
    rng = np.random.default_rng(3)
    target = rng.uniform(size=SHAPE)
    prediction, brain = target + 0.1 * rng.normal(size=SHAPE), rng.uniform(size=SHAPE) < 0.7
    plain = image_metrics(prediction, target, brain)
    other = image_metrics(scale * prediction + shift, scale * target + shift, brain)
    assert list(plain) == list(other)
    np.testing.assert_allclose(list(other.values()), list(plain.values()), rtol=1e-3, atol=1e-4)


def test_arrays_and_tensors_of_any_type_give_the_same(case):
    prediction, target, brain = case
    plain = image_metrics(*case)
    double = image_metrics(*(torch.from_numpy(v.astype(np.float64)) for v in case[:2]), torch.from_numpy(brain))
    np.testing.assert_allclose(list(double.values()), list(plain.values()), rtol=1e-5)
    assert image_metrics(prediction, target, brain.astype(np.uint8)) == plain
    assert image_metrics(prediction, target, brain.astype(np.int64)) == plain


def test_whole_numbers_and_half_precision_are_not_computed_with(case):
    """A range above the type's own would overflow: int8 and int16 wrap around, float16 is infinite."""
    prediction, target, brain = case
    for kind, scale, shift in ((np.int8, 250, -125), (np.int16, 60000, -30000), (np.uint16, 60000, 0)):
        volumes = [np.clip(v - target.min(), 0, np.ptp(target)) / np.ptp(target) * scale + shift for v in case[:2]]
        volumes = [v.round().astype(kind) for v in volumes]
        assert image_metrics(*volumes, brain) == image_metrics(*(v.astype(np.float64) for v in volumes), brain)
    halves = [np.clip(v / np.abs(v).max() * 60000, -60000, 60000).astype(np.float16) for v in (prediction, target)]
    halves[1].flat[0], halves[1].flat[1] = -60000, 60000
    assert image_metrics(*halves, brain) == image_metrics(*(v.astype(np.float64) for v in halves), brain)
    turned = [v[::-1].astype(">f4") for v in case[:2]]
    assert image_metrics(*turned, brain[::-1])["psnr"] == pytest.approx(image_metrics(*case)["psnr"], rel=1e-6)


def test_a_mask_of_nan_is_refused(case):
    prediction, target, brain = case
    with pytest.raises(ValueError, match="mask"):
        image_metrics(prediction, target, np.where(brain, np.nan, 0.0))


def test_a_tumour_is_a_region_and_an_empty_one_is_none(case):
    prediction, target, brain = case
    tumour = np.zeros(SHAPE, bool)
    assert "psnr_tumour" not in image_metrics(prediction, target, brain, tumour)
    tumour[4:8, 5:9, 5:9] = True
    ours, as_brain = image_metrics(prediction, target, brain, tumour), image_metrics(prediction, target, tumour)
    for name in ("psnr", "ssim", "mae"):
        assert ours[f"{name}_tumour"] == as_brain[f"{name}_brain"]


class TestJitter:
    brain = torch.ones(40, 40, 2000, dtype=torch.bool)

    def test_of_slices_with_offsets_of_their_own_is_their_standard_deviation(self):
        offsets = 0.3 * torch.randn(2000, generator=torch.Generator().manual_seed(0))
        assert jitter(offsets.expand(40, 40, 2000), self.brain, 2) == pytest.approx(0.3, rel=0.05)

    def test_of_noise_is_that_of_its_average_over_a_slice(self):
        """Gaussian weights of width sigma along both axes keep 1 / (4 pi sigma^2) of the variance of white noise."""
        noise = torch.randn(200, 200, 60, generator=torch.Generator().manual_seed(1))
        found = jitter(noise, torch.ones_like(noise, dtype=torch.bool), 2)
        assert found == pytest.approx(1 / (2 * JITTER_SIGMA * np.pi**0.5), rel=0.1)  # a little more at the borders

    @pytest.mark.parametrize("axis", range(3))
    def test_is_none_where_slices_agree(self, axis):
        """No error, the same error in every slice, one that grows steadily; nearly none where it changes slowly."""
        error = torch.randn(30, 31, 32, generator=torch.Generator().manual_seed(2))
        brain = torch.ones_like(error, dtype=torch.bool)
        assert jitter(torch.zeros_like(error), brain, axis) == 0.0
        same = error.select(axis, 3).unsqueeze(axis).expand_as(error)
        assert jitter(same, brain, axis) == pytest.approx(0.0, abs=1e-6)
        ramp = torch.linspace(0, 1, error.shape[axis]).view([-1 if a == axis else 1 for a in range(3)])
        assert jitter(ramp.expand_as(error), brain, axis) == pytest.approx(0.0, abs=1e-6)
        assert jitter(torch.sin(np.pi * ramp).expand_as(error), brain, axis) < 0.01

    def test_is_found_along_the_axis_that_has_it(self):
        offsets = torch.randn(30, generator=torch.Generator().manual_seed(4))
        error, brain = offsets[:, None, None].expand(30, 30, 30), torch.ones(30, 30, 30, dtype=torch.bool)
        along, *across = (jitter(error, brain, axis) for axis in range(3))
        assert along > 0.5 and max(across) < 0.1 * along

    def test_what_is_outside_the_brain_does_not_count(self):
        error = torch.randn(20, 20, 20, generator=torch.Generator().manual_seed(5))
        brain = torch.zeros(20, 20, 20, dtype=torch.bool)
        brain[5:15, 5:15, 5:15] = True
        louder = torch.where(brain, error, 100 * error)
        assert jitter(louder, brain, 1) == pytest.approx(jitter(error, brain, 1), rel=1e-5)

    def test_of_one_slice_is_undefined(self):
        brain = torch.zeros(12, 12, 12, dtype=torch.bool)
        brain[:, :, 4] = True
        assert np.isnan(jitter(torch.ones(12, 12, 12), brain, 2))


def test_a_case_by_hand():
    """Range 2, error 0.2 everywhere: 10 log10(4 / 0.04) = 20 dB. A quarter of that error squared on average: 26 dB."""
    target = np.zeros(SHAPE)
    target[7:] = 2.0
    brain = np.ones(SHAPE, bool)
    assert image_metrics(target + 0.2, target, brain)["psnr"] == pytest.approx(20.0)
    half = target.copy()
    half[:7] += 0.2
    brain[:7] = False
    metrics = image_metrics(half, target, brain)
    assert metrics["psnr"] == pytest.approx(20 + 10 * np.log10(2)) and metrics["psnr_brain"] == np.inf


def test_a_fit_of_brightness_and_contrast_is_that_of_numpy(case):
    prediction, target, brain = (np.asarray(v) for v in case)
    x, y = prediction[brain].astype(float), target[brain].astype(float)
    slope, offset = np.polyfit(x, y, 1)
    error = (slope * x + offset - y) / np.ptp(np.asarray(target))
    found = image_metrics(prediction, target, brain)["psnr_brain_fitted"]
    assert found == pytest.approx(-10 * np.log10((error**2).mean()), abs=1e-3)
    other = image_metrics(0.3 * prediction - 2.0, target, brain)["psnr_brain_fitted"]
    assert other == pytest.approx(found, abs=1e-3)
    assert np.isfinite(image_metrics(np.zeros_like(target), target, brain)["psnr_brain_fitted"])


def test_a_perfect_prediction(case):
    _, target, brain = case
    metrics = image_metrics(target.copy(), target, brain)
    assert metrics["psnr"] == metrics["psnr_brain"] == np.inf
    assert metrics["ssim"] == pytest.approx(1) and metrics["ssim_brain"] == pytest.approx(1)
    assert all(metrics[f"jitter_{plane}"] == 0 and metrics[f"mae_{plane}"] == 0 for plane in PLANES)


def test_errors_outside_the_brain_do_not_count_within(case):
    prediction, target, brain = case
    worse = prediction.copy()
    worse[0, 0, 0] += 5
    before, after = image_metrics(prediction, target, brain), image_metrics(worse, target, brain)
    assert after["psnr_brain"] == before["psnr_brain"] and after["psnr"] < before["psnr"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_values_that_are_not_finite_are_refused(case, bad, which):
    case[which][0, 0, 0] = bad
    with pytest.raises(ValueError, match="not finite"):
        image_metrics(*case)


def test_shapes_constants_and_empty_brains_are_refused(case):
    prediction, target, brain = case
    for wrong in ((prediction[1:], target, brain), (prediction, target, brain[1:])):
        with pytest.raises(ValueError, match="shapes differ"):
            image_metrics(*wrong)
    with pytest.raises(ValueError, match="constant"):
        image_metrics(prediction, np.ones_like(target), brain)
    with pytest.raises(ValueError, match="empty"):
        image_metrics(prediction, target, np.zeros_like(brain))
    with pytest.raises(ValueError, match="at least 11 voxels"):
        image_metrics(prediction[:, :, :10], target[:, :, :10], brain[:, :, :10])
