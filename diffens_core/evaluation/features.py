"""Feature vectors of volumes, for distances between sets of them: MedicalNet's, or those of a segmenter trained here.

Distances between features of different networks cannot be compared, so every extractor has a `name` and the `digest`
of its weights, and both are kept with every result.
"""

from __future__ import annotations

from pathlib import Path

import torch
from huggingface_hub import hf_hub_download

from ..models.segmentation import Segmenter
from ..networks.published import published_weights
from ..support.device import pick_device
from ..support.files import digest
from ..support.settings import ConfigError

DOWNLOAD = "download"
REPOSITORY, FILE = "TencentMedicalNet/MedicalNet-Resnet50", "resnet_50_23dataset.pth"


class MedicalNet:
    """MedicalNet's 3D ResNet-50 (Chen et al. 2019; a ResNet-10 too), its last maps averaged over space, for FID.

    path: a file of huggingface.co/TencentMedicalNet, or `download` to fetch `resnet_50_23dataset.pth` once. The network
    is MONAI's, which lacks the dilation of the original. Raises `ConfigError` for another file.
    """

    def __init__(self, path: str | Path):
        from monai.networks.nets import resnet

        if str(path) == DOWNLOAD:
            path = _download()
        weights = published_weights(path)
        depth = 50 if "layer1.0.conv3.weight" in weights else 10
        kind = {"shortcut_type": "B", "bias_downsample": False, "conv1_t_stride": 2}
        net = getattr(resnet, f"resnet{depth}")(spatial_dims=3, n_input_channels=1, feed_forward=False, **kind)
        try:
            net.load_state_dict(weights)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ConfigError(f"{path}: not MedicalNet's ResNet-{depth} ({reason})") from None
        self.net, self.name = net.eval().to(pick_device()), f"medicalnet{depth}"
        self.digest = digest(path)

    @torch.inference_mode()
    def __call__(self, volume: torch.Tensor) -> torch.Tensor:
        """The features [F] of one volume [1, X, Y, Z] in [-1, 1]."""
        device = next(self.net.parameters()).device
        return self.net(volume[None].to(device))[0].float().cpu()


class SegmenterFeatures:
    """The deepest features of a segmenter, trained here, that reads the FLAIR alone; digest: its run's identity."""

    name = "segmenter"

    def __init__(self, segmenter: Segmenter, digest: str):
        self.segmenter, self.digest = segmenter, digest

    def __call__(self, volume: torch.Tensor) -> torch.Tensor:
        """The features [F] of one volume [1, X, Y, Z] in [-1, 1]."""
        return self.segmenter.features(volume)


def _download() -> str:
    try:
        return hf_hub_download(REPOSITORY, FILE)
    except Exception as error:  # no network, a proxy, a full disk: each is another kind of error
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{REPOSITORY}: cannot be downloaded ({reason}); give the path of {FILE}") from None
