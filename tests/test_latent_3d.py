"""3D latent diffusion: MONAI's own networks, any size, two trainings, and samples that keep what was measured."""

from dataclasses import replace

import pytest
import torch
from monai.networks.nets import AutoencoderKL, DiffusionModelUNet
from tiny import SHAPE, SPACING, make_inputs, wake, write_prepared

from diffens_core.data.layout import describe_data
from diffens_core.data.tasks import task_named
from diffens_core.diffusion.schedule import DiffusionConfig, Schedule
from diffens_core.models.autoencoder import Autoencoder, AutoencoderConfig
from diffens_core.models.latent_3d import LatentDiffusion3D
from diffens_core.networks.monai_unet import MonaiUNet, float32_if_thin
from diffens_core.networks.unet import UNetConfig
from diffens_core.support.settings import ConfigError
from diffens_core.training.config import RunConfig
from diffens_core.training.loop import Phase, TrainConfig
from diffens_core.training.runs import build, load_or_train

AUTOENCODER = AutoencoderConfig(channels=(4, 8), blocks=1, latent_channels=3)
NET = UNetConfig(base=8, mult=(1, 2), blocks=1, attention=(1,))


def make_autoencoder(config=AUTOENCODER) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(config, None, contrasts=0).eval()


def make_model(conditions=2) -> LatentDiffusion3D:
    autoencoder, z = make_autoencoder(), AUTOENCODER.latent_channels
    torch.manual_seed(1)
    net = MonaiUNet(z * (1 + conditions), z, NET)
    return wake(LatentDiffusion3D(autoencoder, net, Schedule(), "v")).eval()


@pytest.mark.parametrize("shape", [(8, 12, 10), (7, 5, 13), (2, 3, 1)])
@torch.no_grad()
def test_encode_and_decode_any_size(shape):
    model = make_autoencoder(replace(AUTOENCODER, channels=(4, 4, 8)))
    y = make_inputs(shape, 2, 3)[1]
    latents = model.encode(y)
    assert latents.shape == (2, 3 * 3, *(-(-n // 4) for n in shape))
    each = [model.encode(y[:, c : c + 1]) for c in range(3)]
    torch.testing.assert_close(latents, torch.cat(each, dim=1), atol=1e-5, rtol=1e-4)
    assert model.decode(each[0], y).shape == (2, 1, *shape)


@torch.no_grad()
def test_the_networks_are_monais_and_see_all_directions():
    model = make_model()
    assert isinstance(model.autoencoder.net, AutoencoderKL) and isinstance(model.body.net.net, DiffusionModelUNet)
    xt, y, t = torch.randn(1, 3, 8, 8, 8), torch.randn(1, 6, 8, 8, 8), torch.tensor([500])
    wanted = model.body.net.net(torch.cat([xt, y], dim=1), t)  # of MONAI alone, which predicts v
    torch.testing.assert_close(model(xt, y, t), model.schedule.eps_from("v", wanted, xt, t))
    changed = y.clone()
    changed[..., 4, 4, 4] += 1.0
    assert ((model(xt, changed, t) - model(xt, y, t)).abs().amax((0, 1)) > 0).all()


@torch.no_grad()
def test_latent_noise_is_standard_normal_without_repetition():
    model, noise = make_model(), torch.randn(2, 1, 24, 21, 11, generator=torch.Generator().manual_seed(0))
    latents = model.autoencoder.encode(noise)
    values = model.latent_noise(noise, latents)
    assert values.shape == latents.shape and torch.isin(values, noise).all()
    assert len(values.unique()) > 0.999 * values.numel() and abs(values.std() - 1) < 0.02


@pytest.mark.parametrize("sampler", ["ddim", "ancestral", "dpm++"])
@torch.no_grad()
def test_every_clean_estimate_keeps_the_measurement(sampler):
    model, task = make_model(), task_named("sr")
    noise, y, _ = make_inputs((9, 12, 11), conditions=2)
    generator = torch.Generator().manual_seed(0)
    steps = list(model.trajectory(y, noise, 3, project=task.project, generator=generator, sampler=sampler))
    for step in steps:
        assert step.x0_hat.shape == noise.shape
        torch.testing.assert_close(task.project(step.x0_hat, y), step.x0_hat, atol=1e-5, rtol=0)
    assert (steps[0].x0_hat - steps[-1].x0_hat).abs().max() > 1e-4


@pytest.mark.parametrize("size, dtype", [(6, torch.float32), (8, torch.bfloat16)])
def test_thin_maps_are_convolved_in_float32(size, dtype):
    conv, x = torch.nn.Conv3d(1, 1, 3, padding=1), torch.zeros(1, 1, 8, size, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with float32_if_thin(x, 2):
            assert conv(x).dtype == dtype
        assert conv(x).dtype == torch.bfloat16
    with float32_if_thin(x, 2):
        assert conv(x).dtype == torch.float32


def latent_run(root, task="both") -> RunConfig:
    """The run of a tiny latent diffusion, on a tiny autoencoder."""
    data, runs = describe_data(root, SPACING, SHAPE), ()
    for stage, options in {"autoencoder-3d": {"autoencoder": AUTOENCODER}, "latent-3d": {}}.items():
        train = TrainConfig((Phase(4, 2, 2e-3, (16, 16, 16)),), ema=0.9, save_every=2)
        unet = NET if stage == "latent-3d" else None
        options = options | {"experts": runs}
        runs = (
            RunConfig("smoke", stage, task, stage, 0, data, DiffusionConfig(kind="scaled"), unet, train, **options),
        )
    return runs[0]


def test_two_trainings_build_on_one_another(tmp_path):
    run = latent_run(write_prepared(tmp_path / "data"))
    trained, fresh = load_or_train(run, tmp_path / "runs"), build(run)
    assert (trained.autoencoder.latent_std != 1).all() and (fresh.autoencoder.latent_std == 1).all()
    autoencoder = load_or_train(run.experts[0], tmp_path / "runs").state_dict()
    assert all(torch.equal(trained.state_dict()[f"experts.0.{name}"], tensor) for name, tensor in autoencoder.items())
    assert any(not torch.equal(a, b) for a, b in zip(trained.body.parameters(), fresh.body.parameters()))


def test_a_slice_wise_autoencoder_under_3d_latents_is_refused(tmp_path):
    run = latent_run(write_prepared(tmp_path / "data"))
    slices = replace(run.experts[0], stage="autoencoder", plane="axial")
    with pytest.raises(ConfigError, match="stage 'latent-3d' has no plane, and as its experts runs of stage"):
        replace(run, experts=(slices,))
