"""Methods by name: the trainings that each one needs, and the model that is assembled from them.

A new method is one more entry of `METHODS`. Runs are found by the hash of their configuration, so methods share the
experts that they have in common, and nothing is trained twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn as nn

from ..data.planes import PLANES
from ..data.tasks import TASKS, Task, task_named, translation_named
from ..models.experts import Average, RandomPlane, SampleAverage, alternate
from ..models.interpolation import Interpolation
from ..support.settings import ConfigError
from ..training.config import RunConfig
from ..training.loop import Phase
from ..training.runs import build, load_or_train, read_own_conditions
from .presets import shortened
from .setting import Setting

THREE_PLANES = ("axial", "sagittal", "coronal")
SLAB = 2  # neighbours on either side of a 2.5D slice

Experts = Callable[[Setting], Sequence[RunConfig]]


def latent(s: Setting) -> RunConfig:
    """Make-A-Volume's slice-wise model, on the latents of its autoencoder."""
    autoencoder = s.baseline("autoencoder", "autoencoder", "axial", autoencoder=s.preset.autoencoder)
    return s.baseline("latent", "latent", "axial", experts=(autoencoder,))


def volumetric(s: Setting) -> RunConfig:
    """Make-A-Volume: volumetric layers within the slice-wise model."""
    return s.baseline("make-a-volume", "volumetric", "axial", experts=(latent(s),))


def latent_3d(s: Setting) -> RunConfig:
    """A 3D latent diffusion by MONAI's networks, on its autoencoder."""
    settings = s.preset.recipe("autoencoder-3d", None).autoencoder
    autoencoder = s.baseline("autoencoder-3d", "autoencoder-3d", autoencoder=settings)
    return s.baseline("latent-3d", "latent-3d", experts=(autoencoder,))


@dataclass(frozen=True)
class Method:
    """A method: the trainings that it needs, and how its model is assembled from them.

    summary: what it is, in one sentence; runs: its trainings, experts within their fusion; assemble: makes the model
    to sample from the trained ones; project: whether samples are corrected to what was measured; does: whether it can
    do a task; wants: which tasks these are, in words.
    """

    summary: str
    runs: Experts
    assemble: Callable[[list[nn.Module], Setting], nn.Module] = lambda models, setting: models[0]
    project: bool = True
    does: Callable[[Task], bool] = lambda task: True
    wants: str = "any task"

    @property
    def tasks(self) -> tuple[str, ...]:
        """Those of `sr`, `mt` and `both` that it does."""
        return tuple(name for name, task in TASKS.items() if self.does(task))


def of_measurement(method: Method) -> Method:
    """A method for those of its tasks that have a measurement of the target."""
    does = method.does  # what it does already
    return replace(
        method, does=lambda task: bool(task.degradation and does(task)), wants="tasks with a measurement, as sr"
    )


def of_two_modalities(method: Method) -> Method:
    """A method for tasks whose conditions are a measurement of the target and other contrasts."""
    return replace(method, does=lambda task: bool(task.parts), wants="tasks with a measurement and a contrast, as both")


def untrained(summary: str, kind: str, project: bool = False) -> Method:
    """Interpolation of a measurement."""
    return of_measurement(
        Method(
            summary,
            lambda s: (),
            lambda models, s: Interpolation(kind, task_named(s.task).degradation),
            project,
        )
    )


def unprojected(name: str, method: Method) -> Method:
    """A method whose samples are not corrected; for tasks with a measurement, as for others nothing ever is."""
    return replace(
        method,
        summary=f"`{name}`, never corrected to the measurement.",
        project=False,
        does=lambda task: task.degradation is not None and method.does(task),
        wants="tasks with a measurement, as sr" if method.wants == "any task" else method.wants,
    )


def palette(plane: str, slab: int = 0) -> Method:
    """One 2D (or 2.5D) diffusion model."""
    what = f"slabs of {2 * slab + 1} {plane}" if slab else plane
    return Method(f"One 2D diffusion model, on {what} slices (Palette).", lambda s: (s.expert(plane, slab),))


def baseline(summary: str, name: str, stage: str, plane: str | None = None, **options) -> Method:
    """One network of another kind than a 2D diffusion model; options: of `Setting.baseline`."""
    return Method(summary, lambda s: (s.baseline(name, stage, plane, **options),))


def averaged(
    summary: str, experts: Experts, combine: Callable[[list[nn.Module], Setting], nn.Module] | None = None
) -> Method:
    """Experts combined by a rule, by default their average."""

    def assemble(models, setting):
        read_own_conditions(models, experts(setting), setting.preset.task(setting.task))
        return combine(models, setting) if combine else Average(models)

    return Method(summary, experts, assemble)


def fused(summary: str, name: str, experts: Experts, changes: Callable[[Setting], dict] = lambda s: {}) -> Method:
    """Diff-Ensembler on these experts, with `changes` to `Setting.fusion`'s settings."""
    return Method(summary, lambda s: (s.fusion(name, experts(s), **changes(s)),))


def two_planes(s: Setting) -> list[RunConfig]:
    """TPDM's experts: one for each of the preset's planes."""
    return [s.expert(plane) for plane in s.preset.planes]


def three_planes(s: Setting) -> list[RunConfig]:
    """TOSM's experts: one for each of three planes."""
    return [s.expert(plane) for plane in THREE_PLANES]


def three_slabs(s: Setting) -> list[RunConfig]:
    """MADM's experts: 2.5D models of three planes."""
    return [s.expert(plane, SLAB) for plane in THREE_PLANES]


def two_planes_all_time(s: Setting) -> list[RunConfig]:
    """TPDM's experts, trained also for the time that the fusion takes."""
    return [s.expert(plane, all_time=True) for plane in s.preset.planes]


def two_modalities(s: Setting) -> list[RunConfig]:
    """Experts that each read one modality (Sec. 3.4): two of super-resolution, two of translation."""
    return [s.expert(plane, task=part) for part in task_named(s.task).parts for plane in s.preset.planes]


def small(s: Setting) -> dict:
    """The small variant of the 3D network (Table 11): narrower, without feature maps."""
    return {"unet": s.preset.small, "features": False}


def paper(s: Setting, phases: Sequence[Phase] = ()) -> dict:
    """The paper's own stage 2: Eqs. 5 and 6 on true images with noise, first on patches, then on whole volumes.

    It takes the time that ours takes.
    """
    train = s.preset.paper_training(tuple(phases or s.preset.paper_train))
    return {"linear": False, "keep_contrast": False, "ramp": 0.0, "prediction": "eps", "train": train}


def patches_only(s: Setting) -> dict:
    """The paper's training without its last phase, the fine-tuning on whole volumes."""
    return paper(s, [phase for phase in s.preset.paper_train if phase.patch or phase.crop])


def volumes_only(s: Setting) -> dict:
    """The paper's training on whole volumes from the start, at the learning rate of its first phase.

    The 3D network sees as many voxels as in all of the paper's phases together.
    """
    whole = [phase for phase in s.preset.paper_train if not (phase.patch or phase.crop)][-1]
    sizes = [(phase, phase.patch or phase.crop) for phase in s.preset.paper_train]
    parts = [p.steps * p.batch * math.prod(map(min, size, s.preset.shape)) for p, size in sizes if size]
    steps = whole.steps + round(sum(parts) / (whole.batch * math.prod(s.preset.shape)))
    return paper(s, [replace(whole, steps=steps, lr=s.preset.paper_train[0].lr)])


def patches_only_without_features(s: Setting) -> dict:
    """Patches only, and no feature maps: two changes at once, as in the paper's Table 4."""
    return patches_only(s) | {"features": False}


def true_states(s: Setting) -> dict:
    """Ours, trained on the true image with noise at the same levels, never on its own estimates."""
    train = s.preset.fusion_training()
    return {"train": replace(train, states=train.states and replace(train.states, true=True))}


def never_alone(s: Setting) -> dict:
    """Ours, with the experts' predictions from the first training step on, for as many steps."""
    train = s.preset.fusion_training()
    times = train.steps / (train.steps - train.steps_alone)
    phases = shortened([phase for phase in train.phases if not phase.alone], times)
    states = train.states and replace(train.states, rounds=round(times * train.states.rounds))
    return {"train": replace(train, phases=phases, states=states)}


def no_context(s: Setting) -> dict:
    """A voxel-wise correction from the average of the planes' finest feature maps: the control for 3D context."""
    return {"context": False, "unet": replace(s.preset.fusion, mult=(1,), blocks=2, kernel=1)}


def ablation(summary: str, name: str, changes: Callable[[Setting], dict], experts: Experts = two_planes) -> Method:
    """`ours-tpdm` with `changes` to the settings or the training of its fusion."""
    return fused(summary, f"ours-tpdm+{name}", experts, changes)


INTERPOLATIONS = {
    "degraded": untrained("The measurement itself: every block has its mean.", "nearest"),
    "cubic": untrained("Cubic interpolation of what was measured.", "cubic"),
    "cubic-projected": untrained("Cubic interpolation, corrected to what was measured.", "cubic", project=True),
}

METHODS: dict[str, Method] = {
    **INTERPOLATIONS,
    **{f"palette-{plane}": palette(plane) for plane in PLANES},
    **{f"palette-2.5d-{plane}": palette(plane, SLAB) for plane in PLANES},
    "palette-3d": baseline("One 3D diffusion model on crops (Med-DDPM).", "palette-3d", "volume"),
    "wavelet-3d": baseline("A 3D diffusion model of whole volumes, as wavelet bands (cWDM).", "wavelet-3d", "wavelet"),
    "unet-2d": baseline("A 2D U-Net that minimises the squared error.", "unet-2d", "regression", "axial"),
    "unet-3d": baseline("A 3D U-Net that minimises the squared error.", "unet-3d", "regression"),
    "pix2pix-2d": baseline("A 2D U-Net with an adversary, slice by slice.", "pix2pix-2d", "pix2pix", "axial"),
    "pix2pix-3d": baseline("A 3D U-Net with an adversary.", "pix2pix-3d", "pix2pix"),
    "i2sb": baseline("A 2D Schroedinger bridge from condition to target (I2SB).", "i2sb", "bridge", "axial"),
    "i2sb-ode": baseline("I2SB without noise, from its ODE.", "i2sb-ode", "bridge", "axial", ode=True),
    "make-a-volume": Method("Latent slices, diffused with volumetric layers between them.", lambda s: (volumetric(s),)),
    "latent-3d": Method("A 3D diffusion model of latents (LDM, by MONAI's networks).", lambda s: (latent_3d(s),)),
    "tpdm": averaged("The average of two planes' diffusion models in every step (TPDM).", two_planes),
    "tpdm-alternate": averaged(
        "Two planes in turns, step by step.",
        two_planes,
        lambda models, s: Average(models, alternate(2, s.preset.times)),
    ),
    "tpdm-random": averaged("One of two planes at random in every step.", two_planes, lambda m, s: RandomPlane(m, 0.5)),
    "tosm": averaged("The average of three planes' diffusion models in every step (TOSM).", three_planes),
    "madm": averaged("The average of three planes of 2.5D diffusion models in every step (MADM).", three_slabs),
    "madm-samples": averaged(
        "The average of three finished samples, one of each plane of slabs.",
        three_slabs,
        lambda models, s: SampleAverage(models),
    ),
    "ours-tpdm": fused("Diff-Ensembler: a 3D network fuses the two models of `tpdm`.", "ours-tpdm", two_planes),
    "ours-tosm": fused("Diff-Ensembler on the three models of `tosm`.", "ours-tosm", three_planes),
    "ours-madm": fused("Diff-Ensembler on the three models of `madm`.", "ours-madm", three_slabs),
    "ours-small": fused("`ours-tpdm` with half the width and no feature maps.", "ours-small", two_planes, small),
    "multi-tpdm": of_two_modalities(averaged("The average of models that each read one modality.", two_modalities)),
    "multi-ours": of_two_modalities(fused("The models of `multi-tpdm`, fused.", "multi-ours", two_modalities)),
    "multi-small": of_two_modalities(
        fused("`multi-ours` with the small network.", "multi-small", two_modalities, small)
    ),
}

# The baselines as they stand in the released comparison, which switches the projection off for all methods but its
# own fusions; of those with several planes, one.
UNPROJECTED = {
    f"{name}+no-projection": unprojected(name, METHODS[name])
    for name in (
        *("palette-axial", "palette-2.5d-axial", "palette-3d", "wavelet-3d", "latent-3d", "unet-2d", "unet-3d"),
        *("pix2pix-2d", "pix2pix-3d", "i2sb", "make-a-volume", "tpdm", "tosm", "madm", "multi-tpdm"),
    )
}

# Other methods with the training time of `ours-tpdm`; the paper's Table 4; and further ablations. `ours-small` and
# `ours-tosm` (a third plane), above, are ablations too.
ABLATIONS: dict[str, Method] = {
    "tpdm+all-time": averaged("`tpdm` of models that were given all the time of `ours-tpdm`.", two_planes_all_time),
    "unet-2d+all-time": baseline(
        "`unet-2d` with all the time of `ours-tpdm`.", "unet-2d", "regression", "axial", all_time=True
    ),
    "unet-3d+all-time": baseline("`unet-3d` with all the time of `ours-tpdm`.", "unet-3d", "regression", all_time=True),
    "ours-tpdm+all-time": fused("`tpdm+all-time`, fused.", "ours-tpdm+all-time", two_planes_all_time),
    "make-a-volume+slice-wise": Method("Make-A-Volume before its volumetric layers.", lambda s: (latent(s),)),
    **UNPROJECTED,
    "ours-tpdm+no-projection": unprojected("ours-tpdm", METHODS["ours-tpdm"]),
    "madm-samples+prior": averaged(
        "`madm-samples` from the noised translation of `pix2pix-3d`, as MADM has a prior.",
        lambda s: [*three_slabs(s), *METHODS["pix2pix-3d"].runs(s)],
        lambda models, s: SampleAverage(models[:-1], prior=models[-1]),
    ),
    "ours-tpdm+paper": ablation("Trained by the paper's own stage 2, for as long.", "paper", paper),
    "ours-tpdm+paper+patches-only": ablation(
        "The paper's, without its last phase on whole volumes.", "paper+patches-only", patches_only
    ),
    "ours-tpdm+paper+volumes-only": ablation(
        "The paper's, on whole volumes from the start.", "paper+volumes-only", volumes_only
    ),
    "ours-tpdm+paper+patches-only+no-features": ablation(
        "The paper's, on patches and without feature maps.",
        "paper+patches-only+no-features",
        patches_only_without_features,
    ),
    "ours-tpdm+true-states": ablation("Learns from true images with noise.", "true-states", true_states),
    "ours-tpdm+no-linear": ablation("Without the linear correction.", "no-linear", lambda s: {"linear": False}),
    "ours-tpdm+never-alone": ablation("Hears its experts from the first step on.", "never-alone", never_alone),
    "ours-tpdm+no-features": ablation("Without feature maps.", "no-features", lambda s: {"features": False}),
    "ours-tpdm+no-context": ablation("Voxel by voxel, without 3D context.", "no-context", no_context),
    "ours-tpdm+gate-only": ablation("A weighted average alone.", "gate-only", lambda s: {"lam": 0.0}),
    "ours-tpdm+residual-only": ablation(
        "The plain average and a residual.", "residual-only", lambda s: {"gate": "uniform"}
    ),
    "ours-tpdm+affine-gate": ablation("Weights that may be negative.", "affine-gate", lambda s: {"gate": "affine"}),
    "ours-tpdm+no-coordinates": ablation("Without coordinates.", "no-coordinates", lambda s: {"coordinates": False}),
    "ours-tpdm+free-contrast": replace(
        ablation("Free to change a head's contrast.", "free-contrast", lambda s: {"keep_contrast": False}),
        does=lambda task: task.degradation is None,
        wants="tasks without a measurement, as mt",
    ),
    "ours-tpdm+one-plane": ablation(
        "The same correction of one plane alone.", "one-plane", lambda s: {}, lambda s: two_planes(s)[:1]
    ),
}
ABLATIONS["ours-tpdm+paper+patches-only+no-features+no-projection"] = replace(
    ABLATIONS["ours-tpdm+paper+patches-only+no-features"],
    summary="The paper's, on patches, without feature maps and never corrected to the measurement.",
    project=False,
)


def method_named(name: str, task: str) -> Method:
    """The method of that name; raises `ConfigError` for an unknown one, or for a task that it cannot do."""
    known = METHODS | ABLATIONS
    if name not in known:
        raise ConfigError(f"unknown method '{name}': choose from {', '.join(known)}")
    if not known[name].does(translation_named(task)):
        raise ConfigError(f"method '{name}' does {known[name].wants}, not '{task}'")
    return known[name]


def takes_sampler(name: str, setting: Setting) -> bool:
    """Whether a method can be sampled in another way than its own; nothing is trained to find out."""
    method = method_named(name, setting.task)
    with torch.device("meta"):  # shapes alone
        return method.assemble([build(run) for run in method.runs(setting)], setting).any_sampler


def model_of(name: str, setting: Setting, folder: Path, **options) -> nn.Module:
    """The trained model of a method; missing runs are trained below `folder`; options: of `load_or_train`."""
    method = method_named(name, setting.task)
    models = [load_or_train(run, folder, **options) for run in method.runs(setting)]
    return method.assemble(models, setting)
