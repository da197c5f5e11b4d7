"""PSNR and SSIM, over the whole volume and within the brain.

Both take the target's own range (maximum minus minimum) as the data range, as the paper does.
"""

from __future__ import annotations

import numpy as np
from skimage.metrics import structural_similarity


def image_metrics(prediction: np.ndarray, target: np.ndarray, brain: np.ndarray) -> dict[str, float]:
    """`psnr`, `ssim`, `psnr_brain`, `ssim_brain` of one volume.

    prediction, target: [X, Y, Z], same unit; brain: bool [X, Y, Z]. PSNR in decibels. SSIM: 3D, Gaussian window
    with sigma 1.5, population covariances (Wang et al. 2004). Raises `ValueError` for shapes that differ, values
    that are not finite, an empty brain or a constant target.
    """
    if prediction.shape != target.shape or brain.shape != target.shape:
        raise ValueError(f"shapes differ: prediction {prediction.shape}, target {target.shape}, brain {brain.shape}")
    if not (np.isfinite(prediction).all() and np.isfinite(target).all()):
        raise ValueError("prediction or target holds values that are not finite")
    span = float(target.max() - target.min())
    if span == 0.0 or not brain.any():
        raise ValueError("the target is constant or the brain is empty: PSNR and SSIM are undefined")
    error = (prediction.astype(np.float64) - target) ** 2
    similarity, local = structural_similarity(
        target,
        prediction.astype(target.dtype),
        data_range=span,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return {
        "psnr": _psnr(error.mean(), span),
        "ssim": float(similarity),
        "psnr_brain": _psnr(error[brain].mean(), span),
        "ssim_brain": float(local[brain].mean()),
    }


def roughness(volume: np.ndarray, brain: np.ndarray) -> list[float]:
    """Mean absolute difference of neighbours within `brain`, along X, Y and Z; both [X, Y, Z]."""
    return [float(np.abs(volume - np.roll(volume, 1, axis))[brain].mean()) for axis in range(3)]


def _psnr(mean_squared_error: float, span: float) -> float:
    return float(10 * np.log10(span**2 / mean_squared_error)) if mean_squared_error > 0 else float("inf")
