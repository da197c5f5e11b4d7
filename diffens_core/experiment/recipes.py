"""Networks and trainings of the segmenter and of baselines that have their own, by preset and name."""

from __future__ import annotations

from dataclasses import dataclass

from ..diffusion.schedule import DiffusionConfig
from ..models.autoencoder import AutoencoderConfig
from ..networks.unet import UNetConfig
from ..training.loop import Phase, TrainConfig


@dataclass(frozen=True)
class Recipe:
    """Network and training of one baseline, of one stage of a latent diffusion, or of the segmenter.

    unet: None for autoencoders, for a segmenter, which the preset describes, and for the volumetric layers.
    autoencoder: of the 3D latent diffusion; that of Make-A-Volume is the preset's.
    """

    unet: UNetConfig | None
    train: TrainConfig
    diffusion: DiffusionConfig = DiffusionConfig()
    prediction: str = "v"
    autoencoder: AutoencoderConfig | None = None


# Settings of a method's objective, not of its size: pix2pix has no moving average, and an Adam with less momentum.
PIX2PIX = {"ema": 0.0, "beta1": 0.5, "decay": "tail", "optimizer": "adam"}
OBJECTIVES = {"pix2pix-2d": PIX2PIX, "pix2pix-3d": PIX2PIX}

SHORT = {"ema": 0.99, "decay": "cosine"}
OWN = {"loss": "x0", "optimizer": "muon", **SHORT}  # as of our own 3D models

SMOKE_RECIPES = {
    "segmenter": Recipe(None, TrainConfig((Phase(12, 1, 2e-3, crop=(40, 32, 32)),), warmup=2, save_every=6, **SHORT)),
    "autoencoder": Recipe(None, TrainConfig((Phase(100, 2, 5e-3),), warmup=5, save_every=20, **SHORT)),
    "latent": Recipe(
        UNetConfig(base=8, mult=(1, 2), blocks=1, attention=(1,)),
        TrainConfig((Phase(60, 8, 2e-3),), loss="x0", warmup=5, save_every=20, **SHORT),
    ),
    "make-a-volume": Recipe(
        None, TrainConfig((Phase(30, 1, 1e-3, crop=(40, 48, 16)),), loss="x0", warmup=5, save_every=20, **SHORT)
    ),
    "autoencoder-3d": Recipe(
        None,
        TrainConfig((Phase(30, 2, 5e-3, crop=(24, 24, 24)),), warmup=5, save_every=20, **SHORT),
        autoencoder=AutoencoderConfig(channels=(8, 8), blocks=1, latent_channels=3),
    ),
    "latent-3d": Recipe(
        UNetConfig(base=8, mult=(1, 2), blocks=1, attention=(1,)),
        TrainConfig((Phase(30, 1, 2e-3),), warmup=5, save_every=20, **OWN),
    ),
    "wavelet-3d": Recipe(
        UNetConfig(base=8, mult=(1, 2), blocks=1),
        TrainConfig((Phase(30, 1, 2e-3),), warmup=5, save_every=20, move_every=20, **OWN),
        prediction="x0",
    ),
}

# A step of pix2pix trains generator and discriminator: it has as many steps as fit into the others' time.
DEMO_RECIPES = {
    "segmenter": Recipe(
        None, TrainConfig((Phase(1600, 1, 2e-3, crop=(64, 64, 64)),), warmup=20, save_every=20, **SHORT)
    ),
    "autoencoder": Recipe(None, TrainConfig((Phase(4000, 2, 5e-3),), warmup=10, save_every=100, **SHORT)),
    "latent": Recipe(
        UNetConfig(base=24, mult=(1, 2, 4), blocks=1, attention=(2,)),
        TrainConfig((Phase(1250, 8, 3e-3),), loss="x0", warmup=10, save_every=50, **SHORT),
    ),
    "make-a-volume": Recipe(
        None, TrainConfig((Phase(600, 1, 1e-3, crop=(80, 96, 16)),), loss="x0", warmup=10, save_every=50, **SHORT)
    ),
    "autoencoder-3d": Recipe(
        None,
        TrainConfig((Phase(1200, 2, 3e-3, crop=(32, 32, 32)),), warmup=10, save_every=50, optimizer="muon", **SHORT),
        autoencoder=AutoencoderConfig(channels=(16, 16), blocks=1, latent_channels=3),
    ),
    "latent-3d": Recipe(
        UNetConfig(base=24, mult=(1, 2, 4), blocks=1, attention=(2,)),
        TrainConfig((Phase(600, 2, 3e-3, crop=(40, 48, 40)),), warmup=10, save_every=50, move_every=100, **OWN),
    ),
    "wavelet-3d": Recipe(
        UNetConfig(base=24, mult=(1, 2, 4), blocks=1),
        TrainConfig((Phase(1100, 1, 3e-3),), warmup=10, save_every=50, move_every=100, **OWN),
        prediction="x0",
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
    "segmenter": Recipe(
        None, TrainConfig((Phase(6000, 2, 4e-4, crop=(96, 96, 96)),), ema=0.999, warmup=100, decay="cosine")
    ),
    "autoencoder": Recipe(None, TrainConfig((Phase(6000, 8, 5e-4),), ema=0.999, warmup=100, decay="cosine")),
    "latent": Recipe(
        UNetConfig(base=96, mult=(1, 2, 3), blocks=2, attention=(2,)),
        TrainConfig((Phase(8000, 32, 3e-4),), loss="x0", ema=0.999, warmup=100, decay="cosine"),
    ),
    "make-a-volume": Recipe(
        None,
        TrainConfig((Phase(3000, 2, 2e-4, crop=(160, 192, 16)),), loss="x0", ema=0.999, warmup=100, decay="cosine"),
    ),
    "autoencoder-3d": Recipe(
        None,
        TrainConfig((Phase(4000, 2, 5e-4, crop=(80, 80, 80)),), ema=0.999, warmup=100, decay="cosine"),
        autoencoder=AutoencoderConfig(channels=(32, 64, 64), blocks=1, latent_channels=8),
    ),
    "latent-3d": Recipe(
        UNetConfig(base=96, mult=(1, 2, 3), blocks=2, attention=(2,)),
        TrainConfig((Phase(6000, 2, 3e-4),), loss="x0", ema=0.999, warmup=100, decay="cosine", move_every=250),
    ),
    "wavelet-3d": Recipe(
        UNetConfig(base=64, mult=(1, 2, 2, 4), blocks=2, checkpointing=True),
        TrainConfig((Phase(4000, 1, 5e-4),), loss="x0", ema=0.999, warmup=100, decay="cosine", move_every=250),
        prediction="x0",
    ),
}

# The settings of the papers: Med-DDPM (palette-3d), Isola et al. (pix2pix), Liu et al. (i2sb), cWDM (wavelet-3d).
# The segmenter has the network, rate and crop of SwinUNETR on BraTS 2021 (Hatamizadeh et al.), with our loop around
# them: Adam, mirrored heads, moving average.
# Make-A-Volume has no released code: network, rates and steps of GEM-3D, whose autoencoder is a published one. Its
# configurations name a rate for a batch of one; times the batch, as its trainer scales them, it is what is here.
# latent-3d: networks, rates, crops and noise of MONAI's tutorial 3d_ldm (config_train_32g.json), its epochs as steps on
# BraTS. Its divergence is a sum over the latents of a crop, 1e-7 times, ours a mean; its absolute error, and perceptual
# and adversarial terms, are left out here, as in `autoencoder.py`.
# Nobody clips gradients, mirrors heads or spreads noise levels (`TrainConfig`), but for the segmenter.
PLAIN = {"clip": 0.0, "mirror": False, "spread": False}
LATENT_NOISE = DiffusionConfig(beta_start=8.5e-4, beta_end=1.2e-2)
PAPER_RECIPES = {
    "segmenter": Recipe(
        None, TrainConfig((Phase(300_000, 1, 1e-4, crop=(128, 128, 128)),), warmup=1000, decay="cosine")
    ),
    "autoencoder": Recipe(None, TrainConfig((Phase(200_000, 4, 4 * 4.5e-6),), **PLAIN)),
    "latent": Recipe(
        UNetConfig(base=224, mult=(1, 2, 3, 4), blocks=2, attention=(1, 2, 3)),
        TrainConfig((Phase(150_000, 16, 16 * 5e-6),), loss="eps", **PLAIN),
        LATENT_NOISE,
        prediction="eps",
    ),
    "make-a-volume": Recipe(
        None,
        TrainConfig((Phase(50_000, 1, 5e-6, crop=(192, 192, 16)),), loss="eps", ema=0.0, **PLAIN),
        LATENT_NOISE,
        "eps",
    ),
    "autoencoder-3d": Recipe(
        None,
        TrainConfig((Phase(200_000, 2, 1e-5, crop=(112, 128, 80)),), ema=0.0, **PLAIN),
        autoencoder=AutoencoderConfig(channels=(64, 128, 256), latent_channels=8, kl=1.4e-2),
    ),
    "latent-3d": Recipe(
        UNetConfig(base=256, mult=(1, 1, 2), blocks=2, attention=(1, 2)),
        TrainConfig((Phase(1_300_000, 3, 1e-5, crop=(144, 176, 112)),), loss="eps", ema=0.0, **PLAIN),
        DiffusionConfig(beta_start=1.5e-3, beta_end=1.95e-2, kind="scaled"),
        prediction="eps",
    ),
    "wavelet-3d": Recipe(
        UNetConfig(base=64, mult=(1, 2, 2, 4, 4), blocks=2, checkpointing=True),
        TrainConfig((Phase(1_200_000, 1, 1e-5),), loss="x0", ema=0.0, **PLAIN),
        prediction="x0",
    ),
    "palette-3d": Recipe(
        # Its network for BraTS works on whole volumes; at their 192 voxels its attention is in the middle alone.
        UNetConfig(base=64, mult=(1, 1, 2, 3, 4), blocks=2, checkpointing=True, middle_attention=True),
        TrainConfig((Phase(200_000, 1, 1e-5),), loss="eps", ema=0.995, accumulate=2, norm="l1", **PLAIN),
        DiffusionConfig(steps=250, kind="cosine"),
        prediction="eps",
    ),
    "pix2pix-2d": Recipe(
        UNetConfig(base=64, mult=(1, 2, 4, 8), blocks=2, dropout=0.5),
        TrainConfig((Phase(500_000, 1, 2e-4),), **PIX2PIX | PLAIN),
    ),
    "pix2pix-3d": Recipe(
        UNetConfig(base=64, mult=(1, 2, 3, 4), blocks=2, dropout=0.5, checkpointing=True),
        TrainConfig((Phase(100_000, 1, 2e-4, crop=(128, 128, 128)),), **PIX2PIX | PLAIN),
    ),
    **{
        name: Recipe(
            UNetConfig(base=64, mult=(1, 2, 4, 8), blocks=2),
            TrainConfig((Phase(20_000, 4, 5e-5),), loss="eps", ema=0.99, accumulate=64, decay="exponential", **PLAIN),
        )
        for name in ("i2sb", "i2sb-ode")
    },
}
