"""The registry of stages, the kinds of model that a run can train: what each needs, and how its model is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch.nn as nn

from ..data.tasks import Task
from ..models.autoencoder import Autoencoder
from ..models.experts import SliceExpert, VolumeDenoiser, channels_in
from ..models.fusion import Fusion
from ..models.i2sb import Bridge, BridgeSchedule
from ..models.latent_3d import LatentDiffusion3D
from ..models.make_a_volume import LatentDiffusion, VolumetricDiffusion
from ..models.pix2pix import Pix2pix
from ..models.regression import Regression
from ..models.segmentation import Segmenter
from ..models.wavelet import WaveletDiffusion
from ..networks.haar import BANDS
from ..networks.lifting import SliceNet, VolumeNet
from ..networks.monai_unet import MonaiUNet
from ..networks.unet import UNet

if TYPE_CHECKING:
    from .config import RunConfig


@dataclass(frozen=True)
class Stage:
    """A kind of model that runs can train.

    build: makes a run's model with fresh weights from its configuration, its task and the models it builds on;
    sliced: whether it works on the slices of a plane, None: either; builds_on: the stages of the runs it builds on.
    """

    build: Callable[[RunConfig, Task, Sequence[nn.Module]], nn.Module]
    sliced: bool | None
    builds_on: frozenset[str] = frozenset()


def _body(config: RunConfig, channels: int) -> SliceNet | VolumeNet:
    net = UNet(3 if config.plane is None else 2, channels, 1, config.unet)
    return VolumeNet(net) if config.plane is None else SliceNet(net, config.plane)


def _expert(config: RunConfig, task: Task, experts) -> nn.Module:
    net = UNet(2, channels_in(len(task.conditions), config.slab), 1, config.unet)
    return SliceExpert(net, config.plane, config.diffusion.schedule, config.prediction, config.slab)


def _fusion(config: RunConfig, task: Task, experts) -> nn.Module:
    return Fusion(experts, len(task.conditions), config.unet, config.fusion, task.degradation)


def _volume(config: RunConfig, task: Task, experts) -> nn.Module:
    net = UNet(3, channels_in(len(task.conditions)), 1, config.unet)
    return VolumeDenoiser(net, config.diffusion.schedule, config.prediction)


def _regression(config: RunConfig, task: Task, experts) -> Regression:
    return Regression(_body(config, Regression.channels_in(len(task.conditions))))


def _pix2pix(config: RunConfig, task: Task, experts) -> nn.Module:
    return Pix2pix(_regression(config, task, experts), len(task.conditions), config.unet.base)


def _bridge(config: RunConfig, task: Task, experts) -> nn.Module:
    body = _body(config, channels_in(len(task.conditions)))
    return Bridge(body, task.nearest, BridgeSchedule(config.diffusion.steps), stochastic=not config.ode)


def _autoencoder(config: RunConfig, task: Task, experts) -> nn.Module:
    return Autoencoder(config.autoencoder, config.plane, len(task.contrasts))


def _latent(config: RunConfig, task: Task, experts) -> nn.Module:
    channels = experts[0].latent_channels
    net = UNet(2, channels * (1 + len(task.conditions)), channels, config.unet)
    return LatentDiffusion(experts[0], net, config.diffusion.schedule, config.prediction)


def _latent_3d(config: RunConfig, task: Task, experts) -> nn.Module:
    channels = experts[0].latent_channels
    net = MonaiUNet(channels * (1 + len(task.conditions)), channels, config.unet)
    return LatentDiffusion3D(experts[0], net, config.diffusion.schedule, config.prediction)


def _wavelet(config: RunConfig, task: Task, experts) -> nn.Module:
    net = UNet(3, BANDS * (1 + len(task.conditions)), BANDS, config.unet)
    return WaveletDiffusion(net, config.diffusion.schedule, config.prediction)


def _segmentation(config: RunConfig, task: Task, experts) -> nn.Module:
    return Segmenter(len(task.conditions), config.segmenter)


def _volumetric(config: RunConfig, task: Task, experts) -> nn.Module:
    return VolumetricDiffusion(experts[0])


STAGES = {
    "expert": Stage(_expert, sliced=True),  # a 2D diffusion model
    "fusion": Stage(_fusion, sliced=False, builds_on=frozenset({"expert"})),  # the 3D network that fuses experts
    "volume": Stage(_volume, sliced=False),  # a 3D diffusion model on its own
    "wavelet": Stage(_wavelet, sliced=False),  # a 3D diffusion model of wavelet bands
    "regression": Stage(_regression, sliced=None),
    "pix2pix": Stage(_pix2pix, sliced=None),
    "bridge": Stage(_bridge, sliced=None),
    "autoencoder": Stage(_autoencoder, sliced=True),
    "latent": Stage(_latent, sliced=True, builds_on=frozenset({"autoencoder"})),  # 2D diffusion of its latents
    "volumetric": Stage(_volumetric, sliced=True, builds_on=frozenset({"latent"})),  # volumetric layers within that
    "autoencoder-3d": Stage(_autoencoder, sliced=False),
    "latent-3d": Stage(_latent_3d, sliced=False, builds_on=frozenset({"autoencoder-3d"})),  # a 3D diffusion of these
    "segmentation": Stage(_segmentation, sliced=False),
}
