"""Tiny networks, data and files that the tests share."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from diffens_core.data.crops import Cropping
from diffens_core.data.layout import describe_data
from diffens_core.diffusion.batch import Batch, with_noise
from diffens_core.diffusion.schedule import DiffusionConfig, Schedule
from diffens_core.models.experts import SliceExpert, channels_in
from diffens_core.models.fusion import Fusion, FusionConfig
from diffens_core.networks.unet import UNet, UNetConfig
from diffens_core.training.config import RunConfig
from diffens_core.training.loop import Phase, TrainConfig

NET = UNetConfig(base=8, mult=(1, 2), blocks=1)
SHAPE = (24, 24, 20)
SPACING = 4.0


def wake(model, seed: int = 0, size: float = 0.2):
    """Give the zero-initialised parameters random values, so that an untrained network answers something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
    return model


def make_expert(plane="axial", conditions=1, seed=0, prediction="v", schedule=None, config=NET) -> SliceExpert:
    """A 2D expert with random weights, head included."""
    torch.manual_seed(seed)
    net = UNet(2, channels_in(conditions), 1, config)
    return wake(SliceExpert(net, plane, schedule or Schedule(), prediction), seed)


def make_fusion(planes=("axial", "sagittal"), conditions=1, unet=NET, degradation=None, **options) -> Fusion:
    """A fusion at initialisation of experts that answer something."""
    experts = [make_expert(plane, conditions, seed) for seed, plane in enumerate(planes)]
    torch.manual_seed(99)
    return Fusion(experts, conditions, unet, FusionConfig(**options), degradation)


def make_inputs(shape, batch=1, conditions=1, seed=0, t=500):
    """xt [B, 1, X, Y, Z], y [B, C, X, Y, Z] and t [B]."""
    generator = torch.Generator().manual_seed(seed)
    xt = torch.randn(batch, 1, *shape, generator=generator)
    y = torch.rand(batch, conditions, *shape, generator=generator) * 2 - 1
    return xt, y, torch.full((batch,), t)


def draw_batch(data, numbers: range, size, seed: int, step: int, **more) -> Batch:
    """What a training step draws of `data`; more: of `Cropping`."""
    return with_noise(data.crops(numbers, step, Cropping(size, seed, **more)), 1000, seed, step, numbers)


def make_head(seed: int, shape=SHAPE) -> np.ndarray:
    """A textured ellipsoid between 0.2 and 0.8, background exactly 0; float32 [X, Y, Z]."""
    axes = [np.linspace(-1.2, 1.2, n) for n in shape]
    brain = sum(a**2 for a in np.meshgrid(*axes, indexing="ij")) < 1
    texture = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.0)
    texture = (texture - texture.min()) / np.ptp(texture)
    return np.where(brain, 0.2 + 0.6 * texture, 0).astype(np.float32)


def write_prepared(root: Path, splits=("train", "train", "val", "test")) -> Path:
    """A prepared data set with one subject per entry of `splits`."""
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    rows = ["participant_id\tsplit\tpatient\tsource"]
    for number, split in enumerate(splits):
        name = f"sub-{number:02d}"
        rows.append(f"{name}\t{split}\t{name}\ttest")
        (root / name).mkdir(parents=True)
        images = {c: make_head(10 * number + k) for k, c in enumerate(("flair", "t1ce", "t1", "t2"))}
        for contrast, data in images.items():
            nib.save(nib.Nifti1Image(data, affine), root / name / f"{contrast}.nii.gz")
        brain = (images["flair"] != 0).astype(np.uint8)
        nib.save(nib.Nifti1Image(brain, affine), root / name / "brain.nii.gz")
        (root / name / "intensity.json").write_text(json.dumps({c: {"low": 0.0, "high": 1.0} for c in images}))
    about = {"name": "tiny", "contrasts": ["flair", "t1ce", "t1", "t2"], "spacing": [SPACING] * 3}
    about |= {"shape": list(SHAPE), "source": ["test"], "licence": ["none"]}
    (root / "dataset.json").write_text(json.dumps(about))
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    return root


def expert_config(root: Path, *, task="sr", plane="axial", steps=12, unet=NET, **train) -> RunConfig:
    """The run of one tiny expert; `train` overrides the training settings."""
    settings = {"ema": 0.9, "warmup": 2, "decay": "cosine", "save_every": 5} | train
    thick = tuple(1 if p == plane else n for p, n in zip(("sagittal", "coronal", "axial"), SHAPE))
    phases = (Phase(steps, 2, 2e-3, thick),)
    data = describe_data(root, SPACING, SHAPE)
    training = TrainConfig(phases, **settings)
    return RunConfig("smoke", "expert", task, plane, 0, data, DiffusionConfig(), unet, training, plane=plane)


def fusion_config(root: Path, *, task="sr", steps=6, planes=("axial", "sagittal"), states=None, alone=0) -> RunConfig:
    """The run of a tiny fusion of tiny experts: the paper's own stage 2, or on `states` (`alone` before)."""
    experts = tuple(expert_config(root, task=task, plane=plane) for plane in planes)
    training = TrainConfig((Phase(steps - 2, 1, 2e-3, patch=(8, 8, 8)), Phase(2, 1, 1e-3)), ema=0.9, save_every=2)
    options = {"fusion": FusionConfig(), "experts": experts}
    if states:
        phases = [Phase(steps, 2, 2e-3, patch=(8, 8, 8))]
        phases = [replace(phases[0], steps=alone, alone=True), *phases] if alone else phases
        training = TrainConfig(tuple(phases), ema=0.9, save_every=2, states=states)
        options |= {"fusion": FusionConfig(prediction="x0", linear=True), "prediction": "x0"}
    data = describe_data(root, SPACING, SHAPE)
    return RunConfig("smoke", "fusion", task, "ours-tpdm", 0, data, DiffusionConfig(), NET, training, **options)
