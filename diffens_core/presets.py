"""Four sizes of the same experiment. A preset changes data and sizes, never code paths."""

from __future__ import annotations

from dataclasses import dataclass, field

from .config import AutoencoderConfig, ConfigError, DiffusionConfig, FusionConfig, Phase, TrainConfig, UNetConfig
from .sampler import timesteps


@dataclass(frozen=True)
class Recipe:
    """Network and training of one baseline, or of one of the three stages of Make-A-Volume.

    unet: None for the autoencoder, which is described by the preset, and for the volumetric layers.
    """

    unet: UNetConfig | None
    train: TrainConfig
    diffusion: DiffusionConfig = DiffusionConfig()
    prediction: str = "v"


@dataclass(frozen=True)
class Preset:
    """Data, sizes and trainings; README.md says what the choices of `demo` were measured to be worth.

    spacing: millimetres; shape: voxels of the brain-centred window; phantoms: embedded subjects per split.

    expert, fusion, small, volume: the networks of 2D models, of the fusion, of its small variant, and of 3D models on
    their own, with their trainings. three_train: the fusion's with experts of all three planes, whose slices fill a
    cube better than a long patch. recipes: baselines that have a network or a training of their own.
    autoencoder: what Make-A-Volume's latents are made by.
    steps: DDIM steps; samples: repeated inferences whose mean is reported too.
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
    three_train: tuple[Phase, ...]
    small: UNetConfig
    volume: UNetConfig
    volume_train: tuple[Phase, ...]
    train: dict
    steps: int
    samples: int
    prediction: str = "v"
    diffusion: DiffusionConfig = DiffusionConfig()
    fusion_config: FusionConfig = FusionConfig()
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    recipes: dict[str, Recipe] = field(default_factory=dict)

    def training(self, phases: tuple[Phase, ...], **changes) -> TrainConfig:
        """The training of one stage: its phases with the preset's common settings."""
        return TrainConfig(phases, **self.train | changes)

    def recipe(self, method: str, plane: str | None) -> Recipe:
        """How a baseline is trained: as the preset's 2D models (with a `plane`) or 3D models, or by its own recipe."""
        if method in self.recipes:
            return self.recipes[method]
        unet, phases = (self.volume, self.volume_train) if plane is None else (self.expert, self.expert_train)
        return Recipe(unet, self.training(phases, **OBJECTIVES.get(method, {})), self.diffusion, self.prediction)

    @property
    def times(self) -> list[int]:
        """The steps `t` of its sampling."""
        return timesteps(self.diffusion.schedule, self.steps)


# What belongs to a method's objective and not to its size: pix2pix has no moving average and a nimble Adam.
PIX2PIX = {"ema": 0.0, "beta1": 0.5, "decay": "tail"}
OBJECTIVES = {"pix2pix-2d": PIX2PIX, "pix2pix-3d": PIX2PIX}

SHORT = {"ema": 0.99, "decay": "cosine"}

SMOKE_RECIPES = {
    "autoencoder": Recipe(None, TrainConfig((Phase(100, 2, 5e-3),), warmup=5, save_every=20, **SHORT)),
    "latent": Recipe(
        UNetConfig(base=8, mult=(1, 2), blocks=1, attention=(1,)),
        TrainConfig((Phase(60, 8, 2e-3),), loss="x0", warmup=5, save_every=20, **SHORT),
    ),
    "make-a-volume": Recipe(
        None, TrainConfig((Phase(30, 1, 1e-3, crop=(40, 48, 16)),), loss="x0", warmup=5, save_every=20, **SHORT)
    ),
}

# Generator and discriminator take turns: as many steps as the others' time allows.
DEMO_RECIPES = {
    "autoencoder": Recipe(None, TrainConfig((Phase(4000, 2, 5e-3),), warmup=10, save_every=100, **SHORT)),
    "latent": Recipe(
        UNetConfig(base=24, mult=(1, 2, 4), blocks=1, attention=(2,)),
        TrainConfig((Phase(1250, 8, 3e-3),), loss="x0", warmup=10, save_every=50, **SHORT),
    ),
    "make-a-volume": Recipe(
        None, TrainConfig((Phase(600, 1, 1e-3, crop=(80, 96, 16)),), loss="x0", warmup=10, save_every=50, **SHORT)
    ),
    "pix2pix-2d": Recipe(
        UNetConfig(base=16, mult=(1, 2, 4), blocks=1),
        TrainConfig((Phase(700, 8, 1e-3),), warmup=10, save_every=50, **PIX2PIX),
    ),
    "pix2pix-3d": Recipe(
        UNetConfig(base=8, mult=(1, 2, 4), blocks=1),
        TrainConfig((Phase(600, 2, 1e-3, crop=(40, 48, 40)),), warmup=10, save_every=50, **PIX2PIX),
    ),
}

GPU_RECIPES = {
    "autoencoder": Recipe(None, TrainConfig((Phase(6000, 8, 5e-4),), ema=0.999, warmup=100, decay="cosine")),
    "latent": Recipe(
        UNetConfig(base=96, mult=(1, 2, 3), blocks=2, attention=(2,)),
        TrainConfig((Phase(8000, 32, 3e-4),), loss="x0", ema=0.999, warmup=100, decay="cosine"),
    ),
    "make-a-volume": Recipe(
        None,
        TrainConfig((Phase(3000, 2, 2e-4, crop=(160, 192, 16)),), loss="x0", ema=0.999, warmup=100, decay="cosine"),
    ),
}

# The papers' own: Med-DDPM (palette-3d), Isola et al. (pix2pix), Liu et al. (i2sb). See README.md, "Baselines".
# Make-A-Volume has no released code: network, rates and steps of GEM-3D, whose autoencoder is a published one.
LATENT_NOISE = DiffusionConfig(beta_start=8.5e-4, beta_end=1.2e-2)
PAPER_RECIPES = {
    "autoencoder": Recipe(None, TrainConfig((Phase(200_000, 4, 4.5e-6),))),
    "latent": Recipe(
        UNetConfig(base=224, mult=(1, 2, 3, 4), blocks=2, attention=(1, 2, 3)),
        TrainConfig((Phase(150_000, 16, 5e-6),), loss="eps"),
        LATENT_NOISE,
        prediction="eps",
    ),
    "make-a-volume": Recipe(
        None, TrainConfig((Phase(50_000, 1, 5e-6, crop=(192, 192, 16)),), loss="eps", ema=0.0), LATENT_NOISE, "eps"
    ),
    "palette-3d": Recipe(
        UNetConfig(base=64, mult=(1, 1, 2, 3, 4), blocks=2, checkpointing=True, attention=(3,)),
        TrainConfig((Phase(200_000, 1, 1e-5, crop=(128, 128, 128)),), loss="eps", ema=0.995, accumulate=2, norm="l1"),
        DiffusionConfig(steps=250, kind="cosine"),
        prediction="eps",
    ),
    "pix2pix-2d": Recipe(
        UNetConfig(base=64, mult=(1, 2, 4, 8), blocks=2, dropout=0.5),
        TrainConfig((Phase(500_000, 1, 2e-4),), **PIX2PIX),
    ),
    "pix2pix-3d": Recipe(
        UNetConfig(base=64, mult=(1, 2, 3, 4), blocks=2, dropout=0.5, checkpointing=True),
        TrainConfig((Phase(100_000, 1, 2e-4, crop=(128, 128, 128)),), **PIX2PIX),
    ),
    **{
        name: Recipe(
            UNetConfig(base=64, mult=(1, 2, 4, 8), blocks=2),
            TrainConfig((Phase(20_000, 4, 5e-5),), loss="eps", ema=0.99, accumulate=64, decay="exponential"),
        )
        for name in ("i2sb", "i2sb-ode")
    },
}

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
        fusion_train=(Phase(20, 2, 2e-3, patch=(16, 16, 16)), Phase(5, 1, 5e-4)),
        three_train=(Phase(20, 2, 2e-3, patch=(16, 16, 16)), Phase(5, 1, 5e-4)),
        small=UNetConfig(base=4, mult=(1, 2), blocks=1),
        volume=UNetConfig(base=8, mult=(1, 2), blocks=1),
        volume_train=(Phase(30, 2, 2e-3, crop=(24, 24, 24)),),
        train={"loss": "x0", "ema": 0.99, "warmup": 5, "decay": "cosine", "save_every": 20},
        steps=4,
        samples=2,
        autoencoder=AutoencoderConfig(channels=(16, 16), blocks=1, latent_channels=3),
        recipes=SMOKE_RECIPES,
    ),
    "demo": Preset(
        name="demo",
        spacing=2.0,
        shape=(80, 96, 76),
        phantoms=(32, 2, 6),
        planes=TWO_PLANES,
        expert=UNetConfig(base=16, mult=(1, 2, 4), blocks=1),
        expert_train=(Phase(1000, 8, 3e-3),),
        fusion=UNetConfig(base=8, mult=(1, 2, 4), blocks=1),
        fusion_train=(Phase(700, 1, 3e-3, patch=(24, 96, 24)), Phase(50, 1, 2e-3)),
        three_train=(Phase(400, 1, 3e-3, patch=(32, 32, 32)), Phase(30, 1, 2e-3)),
        small=UNetConfig(base=4, mult=(1, 2, 4), blocks=1),
        volume=UNetConfig(base=8, mult=(1, 2, 4), blocks=1),
        volume_train=(Phase(900, 2, 3e-3, crop=(40, 48, 40)),),
        train={"loss": "x0", "ema": 0.99, "warmup": 10, "decay": "cosine", "save_every": 50},
        steps=3,
        samples=3,
        autoencoder=AutoencoderConfig(channels=(16, 16), blocks=1, latent_channels=3),
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
        fusion_train=(Phase(1000, 1, 5e-4, patch=(64, 192, 64)), Phase(500, 1, 2e-4)),
        three_train=(Phase(1000, 1, 5e-4, patch=(64, 64, 64)), Phase(500, 1, 2e-4)),
        small=UNetConfig(base=16, mult=(1, 2, 2, 4), blocks=1, checkpointing=True),
        volume=UNetConfig(base=32, mult=(1, 2, 3, 4), blocks=2, checkpointing=True),
        volume_train=(Phase(4000, 2, 5e-4, crop=(96, 96, 96)),),
        train={"loss": "x0", "ema": 0.999, "warmup": 100, "decay": "cosine", "save_every": 250},
        steps=25,
        samples=5,
        autoencoder=AutoencoderConfig(channels=(64, 128, 128), blocks=2, latent_channels=8),
        recipes=GPU_RECIPES,
    ),
    "paper": Preset(
        name="paper",
        spacing=1.0,
        shape=(192, 192, 152),
        phantoms=(80, 4, 16),
        planes=TWO_PLANES,
        expert=UNetConfig(base=64, mult=(1, 2, 4, 8), blocks=2, dropout=0.2),
        expert_train=(Phase(500_000, 4, 5e-5),),
        fusion=UNetConfig(base=64, mult=(1, 2, 3, 4), blocks=2, checkpointing=True),
        fusion_train=(Phase(100_000, 1, 1e-4, patch=(64, 64, 64)), Phase(20_000, 1, 1e-5)),
        three_train=(Phase(100_000, 1, 1e-4, patch=(64, 64, 64)), Phase(20_000, 1, 1e-5)),
        small=UNetConfig(base=32, mult=(1, 2, 2, 4), blocks=2, checkpointing=True),  # Table 11
        volume=UNetConfig(base=64, mult=(1, 2, 3, 4), blocks=2, checkpointing=True),
        volume_train=(Phase(100_000, 1, 1e-4, crop=(128, 128, 128)),),
        train={"ema": 0.9999, "accumulate": 1, "save_every": 500},
        steps=50,
        samples=5,
        autoencoder=AutoencoderConfig(kl=1e-6),
        recipes=PAPER_RECIPES,
    ),
}


def preset_named(name: str) -> Preset:
    """The preset of that name; raises `ConfigError` for an unknown one."""
    if name not in PRESETS:
        raise ConfigError(f"unknown preset '{name}': choose from {', '.join(PRESETS)}")
    return PRESETS[name]
