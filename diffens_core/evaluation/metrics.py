"""How near a volume is to the truth: PSNR, SSIM and absolute error, by region and by plane, and jitter between slices.

All of them take the target's own range (maximum minus minimum) as their unit, as the paper does. Targets of prepared
data are scaled to [-1, 1] and clipped there (`scaled_pair` in `data/prepared.py`): brighter voxels count as 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ..data.planes import PLANES
from ..support.errors import InputError
from .ssim import RADIUS, smooth, ssim_map, ssim_uniform

JITTER_SIGMA = 3.0  # voxels within a slice
LEAST_SECTION = 0.1  # of the brain's largest section: smaller ones at its ends say little


def image_metrics(prediction, target, brain, tumour=None) -> dict[str, float]:
    """Every metric of one volume, by name; computed on the device of `prediction`.

    prediction, target: [X, Y, Z], arrays or tensors, same unit; brain, tumour: bool [X, Y, Z].

    `psnr` (decibels), `ssim`, `mae` (a fraction of the target's range): of the whole volume. With `_brain`, `_tumour`:
    within these; a tumour without voxels has no metrics. `psnr_brain_fitted`: within the brain, after the best change
    of brightness and contrast (`fitted`), as if the head's scale were known. With `_sagittal`, `_coronal`, `_axial`:
    the mean over the slices of this plane, each within the brain, SSIM in 2D; slices that hold less than
    `LEAST_SECTION` of the brain's largest section are left out. `jitter_<plane>`: `jitter` in per cent of the range.

    SSIM has a Gaussian window of 11 voxels, sigma 1.5; that of the whole volume leaves out a border of 5 voxels, as
    usual. `ssim_paper`, of the whole volume, has the paper's window (`ssim_uniform`). Raises `InputError` for shapes
    that differ, values that are not finite, an empty brain, a constant target, or less than 11 voxels along an axis.
    """
    x, y, regions = _checked(prediction, target, {"brain": brain, "tumour": tumour})
    error, local = x - y, ssim_map(x, y)
    inner = (slice(RADIUS, -RADIUS),) * 3
    metrics = {"psnr": _psnr(error), "ssim": _mean(local[inner]), "mae": _mean(error.abs())}
    metrics["ssim_paper"] = ssim_uniform(x, y)
    for name, mask in regions.items():
        metrics |= {
            f"psnr_{name}": _psnr(error[mask]),
            f"ssim_{name}": _mean(local[mask]),
            f"mae_{name}": _mean(error[mask].abs()),
        }
    metrics["psnr_brain_fitted"] = _psnr(fitted(x[regions["brain"]], y[regions["brain"]]) - y[regions["brain"]])
    for axis, plane in enumerate(PLANES):
        similarity = ssim_map(x, y, [a for a in range(3) if a != axis])
        slices = list(_sections(error, similarity, regions["brain"], axis))
        metrics |= {f"{name}_{plane}": float(np.mean([s[name] for s in slices])) for name in slices[0]}
        metrics[f"jitter_{plane}"] = 100 * jitter(error, regions["brain"], axis)
    return metrics


def fitted(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """`a x + b` with the `a` and `b` that bring it nearest to `y` by least squares; x, y: [N]."""
    x, y = x.double(), y.double()
    centred = x - x.mean()
    spread = centred.square().sum()
    slope = (centred * y).sum() / spread if spread > 0 else 0.0
    return y.mean() + slope * centred


def jitter(error: torch.Tensor, brain: torch.Tensor, axis: int) -> float:
    """How much the error [X, Y, Z] jumps between neighbouring slices, in its own unit; 0 for the truth.

    The error is averaged within each slice over a Gaussian neighbourhood in the brain, which leaves what the slice has
    in common. Jitter is the root mean square of its second differences from slice to slice along `axis`, over sqrt(6).
    Slices that are each off by an independent constant of standard deviation s have jitter s; an error that is the same
    in all slices, or changes steadily along the axis, has none. NaN where no three slices of brain are neighbours.
    """
    inplane = [a for a in range(3) if a != axis]
    inside = brain.to(error)
    common = smooth(error * inside, JITTER_SIGMA, inplane) / smooth(inside, JITTER_SIGMA, inplane).clamp_min(1e-6)
    first, second, third = (brain.narrow(axis, k, brain.shape[axis] - 2) for k in range(3))
    bends = common.diff(n=2, dim=axis)[first & second & third]
    return float((bends.double() ** 2).mean().sqrt()) / 6**0.5 if len(bends) else float("nan")


def roughness(volume: np.ndarray, brain: np.ndarray) -> list[float]:
    """Mean absolute difference of neighbouring voxels within `brain`, along X, Y and Z; both are [X, Y, Z]."""
    return [float(np.abs(volume - np.roll(volume, 1, axis))[brain].mean()) for axis in range(3)]


def _checked(prediction, target, masks) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Both volumes in units of the target's range, the target from 0 to 1; and the masks that are not empty."""
    # Double precision before anything is subtracted: integers overflow, and half precision is too coarse.
    x, y = (_tensor(volume).double() for volume in (prediction, target))
    masks = {name: _tensor(mask) for name, mask in masks.items() if mask is not None}
    if not all(torch.isfinite(mask).all() for mask in masks.values()):
        raise InputError("a mask holds values that are not finite")
    regions = {name: mask.to(x.device, torch.bool) for name, mask in masks.items()}
    for name, volume in {"prediction": x, **regions}.items():
        if volume.shape != y.shape:
            raise InputError(f"shapes differ: {name} {tuple(volume.shape)}, target {tuple(y.shape)}")
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise InputError("prediction or target holds values that are not finite")
    low, span = float(y.min()), float(y.max() - y.min())
    if span == 0.0 or not regions["brain"].any():
        raise InputError("the target is constant or the brain is empty: PSNR and SSIM are undefined")
    x, y = (((volume - low) / span).float() for volume in (x, y.to(x.device)))
    return x, y, {name: mask for name, mask in regions.items() if mask.any()}


def _tensor(volume) -> torch.Tensor:
    """An array of any byte order or stride, as a tensor."""
    if isinstance(volume, torch.Tensor):
        return volume
    array = np.asarray(volume)
    wide = array.dtype.kind in "uif" and array.dtype.itemsize > 1  # torch lacks some of these types
    return torch.from_numpy(np.ascontiguousarray(array, np.float64 if wide else None))


def _sections(error, similarity, brain, axis: int) -> Iterator[dict[str, float]]:
    """The metrics, within the brain, of each slice along `axis` that holds enough of it."""
    area = brain.sum([a for a in range(3) if a != axis])
    for index in torch.nonzero(area >= LEAST_SECTION * area.max()).flatten().tolist():
        mask = brain.select(axis, index)
        inside = error.select(axis, index)[mask]
        yield {"psnr": _psnr(inside), "ssim": _mean(similarity.select(axis, index)[mask]), "mae": _mean(inside.abs())}


def _psnr(error: torch.Tensor) -> float:
    """PSNR in decibels, for an error in units of the range; infinite where there is no error."""
    squared = _mean(error * error)
    return float(-10 * np.log10(squared)) if squared > 0 else float("inf")


def _mean(values: torch.Tensor) -> float:
    return float(values.double().mean())
