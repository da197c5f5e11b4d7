"""Presets: sizes of the same experiment, which differ in data, sizes and trainings, never in code paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..data.tasks import Task, task_named
from ..diffusion.sampler import timesteps
from ..diffusion.schedule import DiffusionConfig
from ..models.autoencoder import AutoencoderConfig
from ..models.fusion import FusionConfig
from ..models.segmentation import SegmenterConfig
from ..networks.unet import UNetConfig
from ..support.settings import ConfigError
from ..training.loop import Phase, TrainConfig
from ..training.states import StatesConfig
from .recipes import DEMO_RECIPES, GPU_RECIPES, OBJECTIVES, PAPER_RECIPES, PLAIN, SMOKE_RECIPES, Recipe


@dataclass(frozen=True)
class Preset:
    """Data, sizes and trainings of one preset; `figures/results.md` holds the measurements behind those of `demo`.

    spacing: millimetres; shape: voxels of the brain-centred window; phantoms: embedded subjects per split.

    expert, fusion, small, volume: the networks of 2D models, of the fusion, of its small variant, and of 3D models on
    their own; `..._train` are their trainings. states: the sampler's states that a fusion is trained on; None: the
    paper's own stage 2. paper_train: the phases of that, which take as long as `fusion_train`. recipes: baselines that
    have a network or a training of their own. autoencoder: of Make-A-Volume; segmenter: of tumours, for evaluation.
    interpolated: whether networks read the interpolation of a measurement besides it; cut: whether samples are set to
    background where the first condition is background; target: what diffusion models of images diffuse, the `image` or
    the `residual`; normalisation: of intensities, see `DataConfig`.
    steps: of sampling, by the `sampler` of that name; samples: how many are drawn of a subject, whose mean is evaluated
    too; mirrored: whether every second one is of the mirrored head.
    expert_restarts: by task, the phases with which its experts go on after `expert_train`, at a high rate again.
    all_time: how many times longer a training is that may take all the time of `ours-tpdm`, two experts and a fusion:
    that of an `expert` (two share it), of `unet-2d`, of `unet-3d`.
    """

    name: str
    spacing: float
    shape: tuple[int, int, int]
    phantoms: tuple[int, int, int]
    planes: tuple[str, ...]
    expert: UNetConfig
    expert_train: tuple[Phase, ...]
    fusion: UNetConfig
    fusion_train: tuple[Phase, ...]
    paper_train: tuple[Phase, ...]
    small: UNetConfig
    volume: UNetConfig
    volume_train: tuple[Phase, ...]
    train: dict
    steps: int
    samples: int
    sampler: str = "ddim"
    mirrored: bool = False
    prediction: str = "v"
    interpolated: bool = True
    cut: bool = True
    target: str = "image"
    normalisation: str = "condition"
    diffusion: DiffusionConfig = DiffusionConfig()
    fusion_config: FusionConfig = FusionConfig(prediction="x0", linear=True)
    states: StatesConfig | None = None
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    segmenter: SegmenterConfig = SegmenterConfig()
    recipes: dict[str, Recipe] = field(default_factory=dict)
    expert_restarts: dict[str, tuple[Phase, ...]] = field(default_factory=dict)
    all_time: dict[str, float] = field(default_factory=lambda: {"expert": 2.0, "unet-2d": 4.0, "unet-3d": 4.0})

    def task(self, name: str) -> Task:
        """A task by its name or line, with the conditions that networks read at this preset."""
        return replace(task_named(name), interpolated=self.interpolated)

    def training(self, phases: tuple[Phase, ...], **changes) -> TrainConfig:
        """The training of one stage: its phases with the preset's common settings."""
        return TrainConfig(phases, **self.train | changes)

    def fusion_training(self) -> TrainConfig:
        """The training of a fusion: on the states that its sampler visits or, without `states`, the paper's own."""
        if not self.states:
            return self.paper_training(self.paper_train)
        return self.training(self.fusion_train, states=self.states)

    def paper_training(self, phases: tuple[Phase, ...]) -> TrainConfig:
        """The paper's own stage 2 (Eq. 5): the error of the predicted noise on true images with noise."""
        return self.training(phases, loss="eps")

    def recipe(self, method: str, plane: str | None) -> Recipe:
        """The recipe of a baseline: its own, or that of the preset's 2D models (with a `plane`) or 3D models."""
        if method in self.recipes:
            return self.recipes[method]
        unet, phases = (self.volume, self.volume_train) if plane is None else (self.expert, self.expert_train)
        return Recipe(unet, self.training(phases, **OBJECTIVES.get(method, {})), self.diffusion, self.prediction)

    @property
    def times(self) -> list[int]:
        """The time steps `t` of its sampling."""
        return timesteps(self.diffusion.schedule, self.steps)


def shortened(phases: Sequence[Phase], share: float) -> tuple[Phase, ...]:
    """The phases with `share` times as many steps each; a share above 1 makes them longer."""
    return tuple(replace(phase, steps=round(share * phase.steps)) for phase in phases)


TWO_PLANES = ("axial", "sagittal")

PRESETS = {
    "smoke": Preset(
        name="smoke",
        spacing=4.0,
        shape=(40, 48, 38),
        phantoms=(4, 1, 2),
        planes=TWO_PLANES,
        expert=UNetConfig(base=8, mult=(1, 2), blocks=1),
        expert_train=(Phase(60, 8, 2e-3),),
        fusion=UNetConfig(base=8, mult=(1, 2), blocks=1),
        fusion_train=(
            Phase(20, 2, 2e-3, patch=(16, 16, 16), alone=True),
            Phase(20, 2, 2e-3, patch=(16, 16, 16)),
        ),
        states=StatesConfig(steps=4, heads=2, patches=24, rounds=2, fit=4),
        paper_train=(Phase(20, 2, 2e-3, patch=(16, 16, 16)), Phase(5, 1, 5e-4)),
        small=UNetConfig(base=4, mult=(1, 2), blocks=1),
        volume=UNetConfig(base=8, mult=(1, 2), blocks=1),
        volume_train=(Phase(30, 2, 2e-3, crop=(24, 24, 24)),),
        train={
            "loss": "x0",
            "ema": 0.99,
            "warmup": 5,
            "decay": "cosine",
            "save_every": 20,
            "move_every": 20,
            "optimizer": "muon",
        },
        steps=4,
        samples=2,
        autoencoder=AutoencoderConfig(channels=(16, 16), blocks=1, latent_channels=3),
        segmenter=SegmenterConfig(feature_size=12, attention=4, window=64),
        recipes=SMOKE_RECIPES,
    ),
    "demo": Preset(
        name="demo",
        spacing=2.0,
        shape=(80, 96, 76),
        phantoms=(32, 2, 6),
        planes=TWO_PLANES,
        expert=UNetConfig(base=16, mult=(1, 2, 4), blocks=1),
        expert_train=(Phase(500, 8, 3e-3),),
        fusion=UNetConfig(base=8, mult=(1, 2, 4), blocks=1),
        fusion_train=(
            Phase(2000, 2, 3e-3, patch=(32, 48, 32), alone=True),
            Phase(1500, 2, 1e-3, patch=(32, 48, 32)),
        ),
        states=StatesConfig(steps=3, heads=32, patches=384, rounds=2, fit=8),
        paper_train=(Phase(1700, 1, 3e-3, patch=(24, 96, 24)), Phase(120, 1, 2e-3)),
        small=UNetConfig(base=4, mult=(1, 2, 4), blocks=1),
        volume=UNetConfig(base=8, mult=(1, 2, 4), blocks=1),
        volume_train=(Phase(900, 2, 3e-3, crop=(40, 48, 40)),),
        train={
            "loss": "x0",
            "ema": 0.99,
            "warmup": 10,
            "decay": "cosine",
            "save_every": 50,
            "move_every": 100,
            "optimizer": "muon",
        },
        steps=3,
        samples=3,
        all_time={"expert": 6.0, "unet-2d": 12.0, "unet-3d": 6.0},  # 58 core seconds an expert, 590 the fusion
        autoencoder=AutoencoderConfig(channels=(16, 16), blocks=1, latent_channels=3),
        segmenter=SegmenterConfig(feature_size=12, attention=4, window=64),
        recipes=DEMO_RECIPES,
    ),
    "gpu": Preset(
        name="gpu",
        spacing=1.0,
        shape=(160, 192, 152),
        phantoms=(40, 2, 8),
        planes=TWO_PLANES,
        expert=UNetConfig(base=48, mult=(1, 2, 4, 6), blocks=2),
        expert_train=(Phase(8000, 16, 2e-4),),
        fusion=UNetConfig(base=32, mult=(1, 2, 3, 4), blocks=1, checkpointing=True),
        fusion_train=(
            Phase(2000, 2, 1e-3, patch=(64, 64, 64), alone=True),
            Phase(2000, 2, 1e-3, patch=(64, 64, 64)),
        ),
        states=StatesConfig(steps=8, heads=4, patches=192, rounds=20, fit=16),
        paper_train=(Phase(1000, 1, 5e-4, patch=(64, 192, 64)), Phase(500, 1, 2e-4)),
        small=UNetConfig(base=16, mult=(1, 2, 2, 4), blocks=1, checkpointing=True),
        volume=UNetConfig(base=32, mult=(1, 2, 3, 4), blocks=2, checkpointing=True),
        volume_train=(Phase(4000, 2, 5e-4, crop=(96, 96, 96)),),
        train={"loss": "x0", "ema": 0.999, "warmup": 100, "decay": "cosine", "save_every": 250, "move_every": 250},
        steps=25,
        samples=5,
        autoencoder=AutoencoderConfig(channels=(64, 128, 128), blocks=2, latent_channels=8),
        segmenter=SegmenterConfig(feature_size=24, window=96),
        recipes=GPU_RECIPES,
    ),
    "paper": Preset(
        name="paper",
        spacing=1.0,
        shape=(192, 192, 152),
        phantoms=(80, 0, 20),  # 0.8 and 0.2, as the paper
        planes=TWO_PLANES,
        expert=UNetConfig(base=64, mult=(1, 2, 4, 8), blocks=2, dropout=0.2),
        expert_train=(Phase(500_000, 4, 5e-5),),
        fusion=UNetConfig(base=64, mult=(1, 2, 3, 4), blocks=2, checkpointing=True),
        fusion_train=(Phase(100_000, 1, 1e-4, crop=(64, 64, 64)), Phase(20_000, 1, 1e-4)),
        fusion_config=FusionConfig(gate="plain", prediction="eps", residual_unit=1.0, everywhere=True),
        paper_train=(Phase(100_000, 1, 1e-4, crop=(64, 64, 64)), Phase(20_000, 1, 1e-4)),
        small=UNetConfig(base=32, mult=(1, 2, 2, 4), blocks=2, checkpointing=True),  # Table 11
        volume=UNetConfig(base=64, mult=(1, 2, 3, 4), blocks=2, checkpointing=True),
        volume_train=(Phase(100_000, 1, 1e-4, crop=(128, 128, 128)),),
        train={"loss": "eps", "ema": 0.9999, "save_every": 500, **PLAIN},
        prediction="eps",
        interpolated=False,
        cut=False,
        steps=50,
        samples=5,
        autoencoder=AutoencoderConfig(kl=1e-6),
        recipes=PAPER_RECIPES,
    ),
}


# Scans of 1 mm on two CPU cores, in 100 minutes of one a task, 200 for `mt`: the networks of `demo`.
PRESETS["scan"] = replace(
    PRESETS["demo"],
    name="scan",
    spacing=1.0,
    shape=(160, 192, 152),
    phantoms=(12, 2, 2),
    expert_train=(Phase(3200, 8, 3e-3),),
    expert_restarts={"mt": (Phase(6400, 8, 3e-3),)},
    fusion_train=(
        Phase(2000, 2, 3e-3, patch=(32, 40, 40), alone=True),
        Phase(1500, 2, 1e-3, patch=(32, 40, 40)),
    ),
    fusion_config=FusionConfig(prediction="x0", linear=True, ramp=1.2),
    states=StatesConfig(steps=3, heads=12, patches=384, rounds=2, fit=12, vary=0.2),
    samples=2,
    mirrored=True,
)


def preset_named(name: str) -> Preset:
    """The preset of that name; raises `ConfigError` for an unknown one."""
    if name not in PRESETS:
        raise ConfigError(f"unknown preset '{name}': choose from {', '.join(PRESETS)}")
    return PRESETS[name]


def mirrors(name: str) -> bool:
    """Whether a preset's samples are mirrored in turns; those of a run of a preset of somebody's own are not."""
    return name in PRESETS and PRESETS[name].mirrored
