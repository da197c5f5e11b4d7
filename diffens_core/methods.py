"""Methods by name: which runs each one needs, and the denoiser that they make.

`palette-<plane>`: one 2D diffusion model. `tpdm`: the average of two. `ours-tpdm`: their fusion, Diff-Ensembler.
Runs are found by the hash of their configuration, so methods share the experts that they have in common.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch.nn as nn

from . import tasks
from .config import DataConfig, RunConfig
from .degrade import interpolate_cubic
from .experts import Average
from .planes import PLANES
from .presets import Preset
from .runs import load_or_train

INTERPOLATIONS = ("degraded", "cubic", "cubic-projected")
DIFFUSION = (*(f"palette-{plane}" for plane in PLANES), "tpdm", "ours-tpdm")


def expert_run(preset: Preset, task: str, plane: str, data: DataConfig, seed: int = 0) -> RunConfig:
    """The training of one 2D diffusion model on the slices of `plane`."""
    thick = tuple(1 if p == plane else n for p, n in zip(PLANES, preset.shape))
    phases = tuple(replace(phase, crop=phase.crop or thick) for phase in preset.expert_train)
    return RunConfig(
        preset.name,
        "expert",
        task,
        plane,
        seed,
        data,
        preset.diffusion,
        preset.expert,
        preset.training(phases),
        plane=plane,
        prediction=preset.prediction,
    )


def fusion_run(preset: Preset, task: str, data: DataConfig, seed: int = 0) -> RunConfig:
    """The training of the 3D network that fuses the experts of the preset's planes."""
    return RunConfig(
        preset.name,
        "fusion",
        task,
        "ours-tpdm",
        seed,
        data,
        preset.diffusion,
        preset.fusion,
        preset.training(preset.fusion_train),
        prediction=preset.fusion_config.prediction,
        fusion=preset.fusion_config,
        experts=tuple(expert_run(preset, task, plane, data, seed) for plane in preset.planes),
    )


def runs_of(method: str, preset: Preset, task: str, data: DataConfig, seed: int = 0) -> tuple[RunConfig, ...]:
    """The trainings that a method needs, experts within their fusion; raises `ValueError` for an unknown name."""
    if method == "ours-tpdm":
        return (fusion_run(preset, task, data, seed),)
    if method == "tpdm":
        return tuple(expert_run(preset, task, plane, data, seed) for plane in preset.planes)
    if method in DIFFUSION:
        return (expert_run(preset, task, method.removeprefix("palette-"), data, seed),)
    raise ValueError(f"unknown method '{method}': choose from {', '.join((*INTERPOLATIONS, *DIFFUSION))}")


def denoiser(method: str, runs: tuple[RunConfig, ...], folder: Path, **options) -> nn.Module:
    """The trained denoiser of a method from its `runs_of`; trains what is missing (`options` of `load_or_train`)."""
    models = [load_or_train(run, folder, **options) for run in runs]
    return Average(models) if method == "tpdm" else models[0]


def interpolate(method: str, y):
    """The untrained baselines for tasks with a degraded FLAIR; y: [B, C, X, Y, Z], returns [B, 1, X, Y, Z]."""
    if method == "degraded":
        return y[:, :1]
    return tasks.interpolate(y[:, :1]) if method == "cubic-projected" else interpolate_cubic(y[:, :1]).clamp(-1.0, 1.0)
