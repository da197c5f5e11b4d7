"""Tumour segmentation, to judge a generated FLAIR: MONAI's SwinUNETR, Dice, Hausdorff distance, Recovery.

Regions as in BraTS: WT (whole tumour), TC (tumour core: necrotic and enhancing), ET (enhancing tumour); labels 1
necrotic, 2 oedema, 4 enhancing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from ..data.planes import crop_like, pad_to_multiple
from ..diffusion.model import Trainable
from ..networks.published import published_weights
from ..support.errors import InputError
from ..support.settings import ConfigError, at_least

REGIONS = {"tc": (1, 4), "wt": (1, 2, 4), "et": (4,)}  # labels of each, in the order of published weights' outputs
REGION_NAMES = {"wt": "whole tumour", "tc": "tumour core", "et": "enhancing tumour"}  # from large to small, as shown
STRIDE = 32  # the network halves its input five times, and must normalise more than one voxel then
SMALL_PARTS = ("encoder4", "encoder10", "decoder5")  # work on maps 16 and 32 times smaller than the input
WINDOWS = {"overlap": 0.5, "mode": "gaussian", "padding_mode": "replicate"}
WORST_HD95 = 373.13  # mm, BraTS' penalty for a region that only one side has: the diagonal of its volumes
LEAST_GAP = 1e-3  # of Dice between true and degraded FLAIR, for Recovery to mean anything


class Float32(nn.Module):
    """A part of a network, in float32 on a CPU: oneDNN's bf16 convolution fails on its small maps (torch 2.13)."""

    def __init__(self, part: nn.Module):
        super().__init__()
        self.part = part

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            return self.part(*(m.float() if m.device.type == "cpu" else m for m in maps))


@dataclass(frozen=True)
class SegmenterConfig:
    """A SwinUNETR. feature_size: its first width, a multiple of 12; attention: edge of its attention windows, in
    tokens; window: edge of the boxes that a volume is segmented in, in voxels."""

    feature_size: int = 48
    attention: int = 7
    window: int = 128

    def __post_init__(self):
        if self.feature_size < 12 or self.feature_size % 12:
            raise ConfigError(f"feature_size must be a multiple of 12, not {self.feature_size}")
        at_least("attention", self.attention, 1)
        if self.window < 64 or self.window % 32:
            raise ConfigError(f"window must be a multiple of 32 from 64 on, not {self.window}")


class Segmenter(nn.Module, Trainable):
    """A network from contrasts [B, C, X, Y, Z] in [-1, 1] to logits [B, 3, X, Y, Z] of the nested TC, WT and ET."""

    def __init__(self, channels: int, config: SegmenterConfig, z_score: bool = False):
        """z_score: whether contrasts are normalised as published weights expect it."""
        from monai.networks.nets import SwinUNETR

        super().__init__()
        sizes = {"feature_size": config.feature_size, "window_size": config.attention}
        self.net = SwinUNETR(in_channels=channels, out_channels=len(REGIONS), **sizes)
        for name in SMALL_PARTS:
            setattr(self.net, name, Float32(getattr(self.net, name)))
        self.window, self.z_score = config.window, z_score

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return crop_like(self.net(_padded(y)), y).float()

    def objectives(self) -> dict[str, Callable]:
        """One objective: soft Dice loss plus cross-entropy of the regions."""
        from monai.losses import DiceLoss

        dice = DiceLoss(sigmoid=True, batch=True)

        def loss(batch, train, box):
            logits, wanted = self(batch.y), regions_of(batch.x0[:, 0]).to(batch.y)
            return dice(logits, wanted) + F.binary_cross_entropy_with_logits(logits, wanted)

        return {"": loss}

    @torch.inference_mode()
    def segment(self, y: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
        """Regions bool [3, X, Y, Z] of one subject's contrasts [C, X, Y, Z], by windows; brain: bool [X, Y, Z]."""
        from monai.inferers import sliding_window_inference

        device = next(self.parameters()).device
        y = (z_score(y, brain) if self.z_score else y)[None].to(device)
        roi = (self.window,) * 3
        return (sliding_window_inference(y, roi, 1, self, **WINDOWS)[0] > 0).cpu()

    @torch.inference_mode()
    def features(self, y: torch.Tensor) -> torch.Tensor:
        """The deepest feature maps for [C, X, Y, Z], averaged over space: [F]."""
        device = next(self.parameters()).device
        deepest = self.net.swinViT(_padded(y[None].to(device)), self.net.normalize)[-1]
        return deepest.float().mean((2, 3, 4))[0].cpu()


def _padded(y: torch.Tensor) -> torch.Tensor:
    y = pad_to_multiple(y, STRIDE)
    return y if max(y.shape[2:]) > STRIDE else F.pad(y, [0, 0, 0, 0, 0, STRIDE], mode="replicate")


def published_segmenter(path: str | Path) -> Segmenter:
    """A SwinUNETR of BraTS 2021 from a checkpoint file, as in MONAI's research contributions (4 contrasts, 1 mm).

    It reads FLAIR, T1ce, T1, T2. Use it only on cases outside the fold that it was trained on. Raises `ConfigError`
    for a file that is not such a checkpoint.
    """
    weights = published_weights(path)
    first, last = weights.get("swinViT.patch_embed.proj.weight"), weights.get("out.conv.conv.weight")
    if first is None or last is None or first.ndim != 5 or first.shape[1] != 4 or last.shape[0] != len(REGIONS):
        raise ConfigError(f"{path}: not a SwinUNETR of four contrasts with the three outputs TC, WT and ET")
    model = Segmenter(first.shape[1], SegmenterConfig(first.shape[0]), z_score=True)
    try:
        model.net.load_state_dict({_renamed(name): value for name, value in weights.items()})
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ConfigError(f"{path}: not of this MONAI's SwinUNETR ({reason:.200})") from None
    return model.eval()


def z_score(y: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
    """[C, X, Y, Z] to mean 0 and standard deviation 1 of each channel within `brain` [X, Y, Z], and 0 outside.

    All channels share the brain: in a generated FLAIR, voxels above the background value are not exactly the brain.
    """
    inside = y[:, brain]
    out = torch.zeros_like(y)
    out[:, brain] = (inside - inside.mean(1, keepdim=True)) / inside.std(1, keepdim=True).clamp_min(1e-6)
    return out


def _renamed(name: str) -> str:
    part, _, rest = name.partition(".")
    return f"{part}.part.{rest}" if part in SMALL_PARTS else name


def regions_of(labels: torch.Tensor) -> torch.Tensor:
    """Regions bool [..., 3, X, Y, Z] from labels [..., X, Y, Z]."""
    masks = [torch.isin(labels, torch.tensor(values).to(labels)) for values in REGIONS.values()]
    return torch.stack(masks, dim=-4)


def segmentation_metrics(regions: torch.Tensor, truth: torch.Tensor, spacing) -> dict[str, float]:
    """`dice_<region>` and `hd95_<region>` (mm) for bool [3, X, Y, Z] both; spacing: mm along X, Y, Z.

    By BraTS' rule, a region that both lack has Dice 1 and distance 0, one that only one has Dice 0 and `WORST_HD95`.
    The distance is MONAI's: the larger of the 95th percentiles of both directions, not that of all distances pooled.
    """
    from monai.metrics import compute_hausdorff_distance

    if regions.shape != truth.shape:
        raise InputError(f"shapes differ: {tuple(regions.shape)} and {tuple(truth.shape)}")
    metrics, channels = {}, dict(zip(REGIONS, zip(regions, truth)))
    for name in REGION_NAMES:
        a, b = channels[name]
        size, common = int(a.sum() + b.sum()), int((a & b).sum())
        metrics[f"dice_{name}"] = 2 * common / size if size else 1.0
        if a.any() and b.any():
            pair = (v[None, None].float() for v in (a, b))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # MONAI warns of a call within MONAI
                distance = compute_hausdorff_distance(
                    *pair, include_background=True, percentile=95, spacing=list(spacing)
                )
            metrics[f"hd95_{name}"] = float(distance)
        else:
            metrics[f"hd95_{name}"] = WORST_HD95 if size else 0.0
    return metrics


def recovery(dice: np.ndarray, degraded: np.ndarray, true: np.ndarray) -> float:
    """The share, in per cent, of the Dice lost by degrading that a method recovers; scores of the same subjects [N].

    `100 (dice - degraded) / (true - degraded)` of the means, as in the paper; NaN where the loss is below `LEAST_GAP`,
    or where there is a gain instead.
    """
    lost = float(np.mean(true) - np.mean(degraded))
    return 100 * float(np.mean(dice) - np.mean(degraded)) / lost if lost >= LEAST_GAP else float("nan")
