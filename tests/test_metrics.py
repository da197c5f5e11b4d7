"""PSNR and SSIM against scikit-image and a case worked out by hand."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diffens_core.metrics import image_metrics

SHAPE = (14, 15, 16)


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    target = rng.uniform(-1, 1, SHAPE).astype(np.float32)
    prediction = target + 0.2 * rng.normal(size=SHAPE).astype(np.float32)
    brain = np.zeros(SHAPE, bool)
    brain[3:11, 2:12, 4:13] = True
    return prediction, target, brain


def test_equal_scikit_image(case):
    prediction, target, brain = case
    span = float(target.max() - target.min())
    options = {"data_range": span, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    similarity, local = structural_similarity(target, prediction, full=True, **options)
    ours = image_metrics(prediction, target, brain)
    assert list(ours) == ["psnr", "ssim", "psnr_brain", "ssim_brain"]
    assert ours["psnr"] == pytest.approx(peak_signal_noise_ratio(target, prediction, data_range=span), abs=1e-4)
    within = peak_signal_noise_ratio(target[brain], prediction[brain], data_range=span)
    assert ours["psnr_brain"] == pytest.approx(within, abs=1e-4)
    assert ours["ssim"] == pytest.approx(similarity, abs=1e-6)
    assert ours["ssim_brain"] == pytest.approx(local[brain].mean(), abs=1e-6)


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


def test_a_perfect_prediction(case):
    _, target, brain = case
    metrics = image_metrics(target.copy(), target, brain)
    assert metrics["psnr"] == metrics["psnr_brain"] == np.inf
    assert metrics["ssim"] == pytest.approx(1) and metrics["ssim_brain"] == pytest.approx(1)


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
