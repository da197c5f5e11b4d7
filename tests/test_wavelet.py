"""Wavelet diffusion: the transform is exact and keeps energy, and samples keep what was measured."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard
from tiny import NET, make_inputs, wake

from diffens_core.data.planes import coordinates
from diffens_core.data.tasks import task_named
from diffens_core.diffusion.batch import Batch
from diffens_core.diffusion.schedule import Schedule
from diffens_core.models.wavelet import WaveletDiffusion, in_bands, noise_in_bands, to_bands, to_volume
from diffens_core.networks.haar import BANDS, haar, inverse_haar
from diffens_core.networks.unet import UNet
from diffens_core.training.loop import Phase, TrainConfig

SIZES = st.tuples(*[st.integers(1, 9)] * 3)


def make_model(conditions=2, prediction="x0") -> WaveletDiffusion:
    torch.manual_seed(1)
    return wake(WaveletDiffusion(UNet(3, BANDS * (1 + conditions), BANDS, NET), Schedule(), prediction)).eval()


@given(SIZES, st.integers(1, 2), st.integers(1, 3))
@settings(deadline=None, max_examples=20)
def test_the_wavelet_is_inverted_exactly_and_keeps_energy(half, batch, channels):
    volume = torch.randn(batch, channels, *(2 * n for n in half), dtype=torch.float64)
    bands = haar(volume)
    assert bands.shape == (batch, 8 * channels, *half)
    torch.testing.assert_close(inverse_haar(bands), volume, atol=1e-14, rtol=0)
    torch.testing.assert_close(bands.square().sum(), volume.square().sum())
    torch.testing.assert_close(haar(inverse_haar(bands)), bands, atol=1e-14, rtol=0)


def test_the_wavelet_is_that_of_hadamards_matrix():
    """Each 2x2x2 block as a vector, X fastest, times scipy's matrix of signs."""
    volume = torch.randn(2, 3, 4, 6, 8, dtype=torch.float64)
    signs = torch.tensor(hadamard(8), dtype=torch.float64) / 8**0.5
    blocks = volume.unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2).permute(0, 1, 7, 6, 5, 2, 3, 4).flatten(2, 4)
    wanted = torch.einsum("kv,bcvxyz->bckxyz", signs, blocks).flatten(1, 2)
    torch.testing.assert_close(haar(volume), wanted)


def test_bands_of_an_image_are_of_its_size():
    """A constant has the lowest band alone, sqrt(8) / 3 of it; a step along Y has the third."""
    flat = to_bands(torch.full((1, 2, 4, 4, 4), 0.9))
    assert torch.allclose(flat[:, [0, 8]], torch.tensor(0.9 * 8**0.5 / 3)) and flat.count_nonzero() == 2 * 8
    step = torch.zeros(1, 1, 2, 2, 2)
    step[..., 0, :] = 1.0
    assert to_bands(step)[0, :, 0, 0, 0].nonzero().flatten().tolist() == [0, 2]


@given(SIZES, st.integers(1, 2))
@settings(deadline=None, max_examples=20)
def test_volumes_of_any_size_come_back(shape, batch):
    volume = torch.randn(batch, 1, *shape)
    bands = to_bands(volume)
    assert bands.shape == (batch, 8, *(-(-n // 2) for n in shape))
    torch.testing.assert_close(to_volume(bands, volume), volume, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(24, 20, 16), (23, 19, 15)])
def test_noise_of_bands_is_white(shape):
    """Unit variance in every band and at every border, where a voxel may have been padded; no two bands agree."""
    noise = torch.randn(400, 1, *shape, generator=torch.Generator().manual_seed(0))
    bands = noise_in_bands(noise)
    assert (bands.var((0, 2, 3, 4)) - 1).abs().max() < 0.02 and (bands[..., -1].var() - 1).abs() < 0.02
    together = torch.corrcoef(bands.movedim(1, 0).flatten(1)) - torch.eye(8)
    assert together.abs().max() < 0.02
    if shape[0] % 2 == 0:
        assert torch.equal(bands, haar(noise))


@pytest.mark.parametrize("prediction", ["x0", "v", "eps"])
def test_the_loss_is_the_error_of_bands(prediction):
    """For a network that predicts x0: the mean squared error of its output, whatever the loss is called."""
    x0, y, t = make_inputs((8, 12, 10), batch=2, conditions=2)
    batch = Batch(x0.clamp(-1, 1), y, coordinates((8, 12, 10)).expand(2, -1, -1, -1, -1), torch.randn_like(x0), t)
    model, train = make_model(prediction=prediction), TrainConfig((Phase(1, 1, 1e-3),), loss=prediction)
    found, bands = model.objectives()[""](batch, train, None), in_bands(batch)
    xt = model.schedule.add_noise(bands.x0, bands.eps, t)
    out = model.run(torch.cat([xt, bands.y], dim=1), t)
    signal, noise = model.schedule.signal_and_noise(t, xt)
    wanted = {"x0": bands.x0, "eps": bands.eps, "v": signal * bands.eps - noise * bands.x0}[prediction]
    torch.testing.assert_close(found, (out - wanted).square().mean(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(12, 16, 8), (9, 12, 11)])
@pytest.mark.parametrize("sampler", ["ddim", "ancestral", "dpm++"])
@torch.no_grad()
def test_every_clean_estimate_keeps_the_measurement_and_the_next_step_knows(shape, sampler):
    model, task = make_model(), task_named("sr")
    noise, y, _ = make_inputs(shape, conditions=2)

    def sample(project):
        generator = torch.Generator().manual_seed(0)
        return list(model.trajectory(y, noise, 4, project=project, generator=generator, sampler=sampler))

    steps, free = sample(task.project), sample(None)
    assert [step.index for step in steps] == [0, 1, 2, 3]
    for step in steps:
        assert step.x0_hat.shape == noise.shape
        torch.testing.assert_close(task.project(step.x0_hat, y), step.x0_hat, atol=1e-5, rtol=0)
    assert (steps[0].xt - free[0].xt).abs().max() > 1e-3
    assert all(step.x0_hat.abs().max() <= 1 + 1e-5 for step in free)


@torch.no_grad()
def test_a_perfect_network_gives_the_target_back():
    """With the clean bands as its answer, the sampler ends at the volume that has them."""
    x0, y, _ = make_inputs((9, 12, 10), conditions=1)
    x0 = x0.clamp(-1, 1)

    class Perfect(torch.nn.Module):
        multiple = 1

        def forward(self, x, t):
            return to_bands(x0), []

    model = WaveletDiffusion(Perfect(), Schedule(), "x0")
    last = list(model.trajectory(y, torch.randn_like(x0), 3))[-1]
    torch.testing.assert_close(last.x0_hat, x0, atol=1e-5, rtol=0)
