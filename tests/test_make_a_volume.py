"""Make-A-Volume: volumetric layers start as nothing, look along the slices, and windows make one sample."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import SHAPE, SPACING, make_inputs, wake, write_prepared

from diffens_core.data.layout import describe_data
from diffens_core.data.planes import PLANES, coordinates
from diffens_core.data.tasks import task_named
from diffens_core.diffusion.batch import Batch
from diffens_core.diffusion.schedule import DiffusionConfig, Schedule
from diffens_core.models.autoencoder import Autoencoder, AutoencoderConfig
from diffens_core.models.make_a_volume import (
    LatentDiffusion,
    SliceConv,
    VolumetricDiffusion,
    across_slices,
    window_starts,
)
from diffens_core.networks.unet import Attention, UNet, UNetConfig
from diffens_core.support.settings import ConfigError
from diffens_core.training.config import RunConfig
from diffens_core.training.loop import Phase, TrainConfig, own_tensors, trainable
from diffens_core.training.runs import build, load_or_train

AUTOENCODER = AutoencoderConfig(channels=(4, 8), blocks=1, latent_channels=3)
NET = UNetConfig(base=8, mult=(1, 2), blocks=1, attention=(1,))


def make_autoencoder(plane="axial", config=AUTOENCODER) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(config, plane, contrasts=0).eval()


def make_latent(plane="axial", net=NET, conditions=1) -> LatentDiffusion:
    """A slice-wise model with random weights, none of them zero."""
    autoencoder = make_autoencoder(plane)
    torch.manual_seed(1)
    z = autoencoder.latent_channels
    return wake(LatentDiffusion(autoencoder, UNet(2, z * (1 + conditions), z, net), Schedule(), "v")).eval()


def make_volumetric(awake=False, **options) -> VolumetricDiffusion:
    """A volumetric model: at its initialisation, or `awake`, with every parameter of its layers random."""
    model = VolumetricDiffusion(make_latent(), **options).eval()
    if awake:
        torch.manual_seed(2)
        for parameter in model.layers.parameters():
            parameter.data.normal_(std=0.2)
    return model


def make_latents(shape, batch=1, conditions=1, t=500):
    """Noisy latents [B, 3, ...], latents of the conditions, and steps."""
    torch.manual_seed(3)
    return torch.randn(batch, 3, *shape), torch.randn(batch, 3 * conditions, *shape), torch.full((batch,), t)


def make_batch(shape, conditions=1, batch=2) -> Batch:
    x0, y, t = make_inputs(shape, batch, conditions)
    return Batch(x0.clamp(-1, 1), y, coordinates(shape).expand(batch, -1, -1, -1, -1), torch.randn_like(x0), t)


@given(
    st.sampled_from(sorted(PLANES)),
    st.integers(1, 16),
    st.integers(1, 2),
    st.sampled_from([(), (1,), (0, 1)]),
)
@settings(deadline=None, max_examples=8)
def test_at_initialisation_it_is_exactly_the_slice_wise_model(plane, slices, batch, attention):
    latent = make_latent(plane, replace(NET, attention=attention))
    shape = [4, 6, 8]
    shape[PLANES[plane] - 2] = slices
    inputs = make_latents(shape, batch)
    latent.body.slices = 1000  # one pass, as one window is
    with torch.no_grad():
        wanted = latent(*inputs)
        assert torch.equal(VolumetricDiffusion(latent)(*inputs), wanted)
        assert torch.equal(latent(*inputs), wanted), "the slice-wise model itself is to stay as it is"
    assert wanted.std() > 0.1


@given(st.integers(1, 23), st.integers(2, 9), st.data())
@settings(deadline=None, max_examples=10)
def test_at_initialisation_windows_change_nothing(depth, window, data):
    overlap = data.draw(st.integers(0, window - 1))
    model, inputs = make_volumetric(window=window, overlap=overlap), make_latents((4, 6, depth))
    with torch.no_grad():
        torch.testing.assert_close(model(*inputs), model.experts[0](*inputs), atol=1e-5, rtol=1e-4)


@given(st.integers(1, 200), st.integers(2, 20), st.data())
@settings(deadline=None)
def test_windows_cover_every_slice_and_overlap(depth, window, data):
    overlap = data.draw(st.integers(0, window - 1))
    starts = window_starts(depth, window, overlap)
    ends = [min(depth, start + window) for start in starts]
    assert starts[0] == 0 and ends[-1] == depth and starts == sorted(set(starts))
    assert all(end - start == min(window, depth) for start, end in zip(starts, ends))
    assert all(end - start >= overlap for start, end in zip(starts[1:], ends))


@pytest.mark.parametrize("window, overlap", [(3, 4), (4, 4), (4, -1)])
def test_windows_that_leave_no_way_forward_are_refused(window, overlap):
    with pytest.raises(ValueError, match=f"windows of {window} slices cannot overlap by {overlap}"):
        window_starts(9, window, overlap)


@torch.no_grad()
def test_one_window_is_the_plain_pass_and_windows_are_averaged():
    """What overlapping windows answer is the mean over those that hold a slice, each computed alone."""
    inputs = make_latents((4, 6, 9))
    whole = make_volumetric(awake=True, window=9)(*inputs)
    torch.testing.assert_close(make_volumetric(awake=True, window=30, overlap=7)(*inputs), whole)
    model = make_volumetric(awake=True, window=6, overlap=2)
    first, second = (model(*(v[..., a : a + 6] for v in inputs[:2]), inputs[2]) for a in (0, 3))
    wanted = torch.cat([first[..., :3], (first[..., 3:] + second[..., :3]) / 2, second[..., 3:]], dim=-1)
    torch.testing.assert_close(model(*inputs), wanted)
    assert (wanted - whole).abs().max() > 1e-3, "where a window ends has to matter for this test to mean something"


@torch.no_grad()
def test_volumetric_layers_make_slices_see_each_other():
    model, (xt, y, t) = make_volumetric(awake=True), make_latents((4, 6, 8))
    changed = y.clone()
    changed[..., 5] += 1.0
    reaches = (model(xt, changed, t) - model(xt, y, t)).abs().amax((0, 1, 2, 3))
    assert (reaches > 1e-4).all()
    alone = (model.experts[0](xt, changed, t) - model.experts[0](xt, y, t)).abs().amax((0, 1, 2, 3))
    assert alone[5] > 1e-3 and not alone[:5].any() and not alone[6:].any()


@pytest.mark.parametrize("tap, moved", [(0, 1), (1, 0), (2, -1)])
@torch.no_grad()
def test_taps_of_a_slice_convolution_read_the_right_neighbour(tap, moved):
    """Tap 0 reads the slice before: what is in slice 3 of the first stack arrives in slice 4, at the same pixel."""
    layer = SliceConv(2)
    layer.weight.zero_()[0, 1, tap] = 1.0
    maps = torch.zeros(2, 7, 2, 3, 4)  # stacks, slices, channels
    maps[0, 3, 1, 2, 1] = 5.0
    out = across_slices(layer, maps.flatten(0, 1), 7).unflatten(0, (2, 7))
    assert out.nonzero().tolist() == [[0, 3 + moved, 0, 2, 1]] and out.max() == 5.0


@torch.no_grad()
def test_attention_across_slices_stays_within_a_stack_and_a_pixel():
    layer = wake(Attention(1, 4), size=1.0)
    maps = torch.randn(2, 5, 4, 3, 3)
    changed = maps.clone()
    changed[1, 2, :, 0, 2] += 1.0
    out, other = (across_slices(layer, m.flatten(0, 1), 5).unflatten(0, (2, 5)) for m in (maps, changed))
    differs = (out != other).any(2)
    assert differs[1, :, 0, 2].all() and differs.sum() == 5


def test_every_2d_layer_has_its_volumetric_one_and_only_these_train():
    model = make_volumetric().train()
    kinds = [type(layer) for layer in model.layers]
    # stem, head, 1 down, 1 up, 5 blocks of 2 convolutions, 3 of them with a skip that changes the width
    assert kinds.count(SliceConv) == 4 + 5 * 2 + 3 and kinds.count(Attention) == 3
    names = set(trainable(model))
    assert names and all(name.startswith("layers.") for name in names) and names == set(own_tensors(model))
    assert not any(module.training for module in model.experts.modules())
    wake(model.layers)
    train = TrainConfig((Phase(1, 1, 1e-3),))
    model.objectives()[""](make_batch((8, 12, 5), batch=2), train, None).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.layers.parameters())
    assert all(p.grad is None for p in model.experts.parameters())


def test_all_convolutions_learn_from_the_first_step_on():
    """Zero-initialised attention wakes with its output layer; Dirac weights let gradients through at once."""
    model = make_volumetric().train()
    model.objectives()[""](make_batch((8, 12, 5)), TrainConfig((Phase(1, 1, 1e-3),)), None).backward()
    convs = [layer for layer in model.layers if isinstance(layer, SliceConv)]
    outs = [layer.out for layer in model.layers if isinstance(layer, Attention)]
    assert all(layer.weight.grad.abs().max() > 0 for layer in [*convs, *outs])


@torch.no_grad()
def test_latent_noise_is_standard_normal_without_repetition():
    model, noise = make_latent(), torch.randn(2, 1, 24, 20, 11, generator=torch.Generator().manual_seed(0))
    latents = model.autoencoder.encode(noise)
    out = model.latent_noise(noise, latents)
    assert out.shape == latents.shape and torch.equal(out, model.latent_noise(noise.clone(), latents))
    values = out.flatten()
    assert len(values.unique()) > 0.999 * len(values) and torch.isin(values, noise.flatten()).all()
    assert abs(values.mean()) < 0.02 and abs(values.std() - 1) < 0.02
    for s in range(11):  # each slice's noise is that of this slice
        assert torch.isin(out[1, ..., s], noise[1, ..., s]).all()


@given(st.sampled_from(sorted(PLANES)), st.tuples(*[st.integers(7, 14)] * 3), st.integers(1, 2), st.integers(1, 3))
@settings(deadline=None, max_examples=10)
def test_encode_and_decode_any_size(plane, shape, batch, channels):
    model = make_autoencoder(plane, replace(AUTOENCODER, channels=(4, 4, 8)))
    y = make_inputs(shape, batch, channels)[1]
    with torch.no_grad():
        latents = model.encode(y)
        size = [n if dim == model.dim else -(-n // 4) for dim, n in zip((2, 3, 4), shape)]
        assert latents.shape == (batch, 3 * channels, *size)
        each = [model.encode(y[:, c : c + 1]) for c in range(channels)]
        torch.testing.assert_close(latents, torch.cat(each, dim=1), atol=1e-5, rtol=1e-4)
        assert model.decode(each[0], y).shape == (batch, 1, *shape)


def test_latents_are_standardised_by_what_training_measured():
    model, batch = make_autoencoder().train(), make_batch((8, 12, 4))
    for _ in range(150):
        model._measure(torch.randn(64, 3, 4, 4) * torch.tensor([1.0, 5.0, 0.2])[:, None, None] + 3.0)
    torch.testing.assert_close(model.latent_mean, torch.full((3,), 3.0), atol=0.2, rtol=0.1)
    torch.testing.assert_close(model.latent_std, torch.tensor([1.0, 5.0, 0.2]), atol=0.02, rtol=0.1)
    with torch.no_grad():
        again = model.decode(model.encode(batch.x0), batch.x0)
        plain = model.net.reconstruct(batch.x0[0, :, :, :, 1][None])[0, 0]
    torch.testing.assert_close(again[0, 0, :, :, 1], plain, atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def learned():
    """An autoencoder that has learnt one smooth batch by heart, and the batch."""
    torch.manual_seed(0)
    model = Autoencoder(replace(AUTOENCODER, channels=(8, 8)), "axial", contrasts=1).train()
    batch = make_batch((8, 12, 4), conditions=3)
    batch = replace(batch, x0=F.avg_pool3d(batch.x0, 3, 1, 1), y=F.avg_pool3d(batch.y, 3, 1, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        model.loss(batch, None, None).backward()
        optimizer.step()
    return model.eval(), batch


@torch.no_grad()
def test_an_autoencoder_learns_to_reconstruct(learned):
    model, batch = learned
    latents = model.encode(batch.x0)
    error = (model.decode(latents, batch.x0) - batch.x0).std() / batch.x0.std()
    assert error < 0.6 and 0.8 < latents.std() < 1.2


@torch.no_grad()
def test_an_autoencoder_is_trained_on_target_and_contrasts(learned):
    """Of three conditions the last one is a contrast: what the others show does not matter."""
    model, batch = learned
    losses = []
    for channel in (None, 0, 1, 2):
        y = batch.y.clone()
        if channel is not None:
            y[:, channel] = 1.0
        torch.manual_seed(1)
        losses.append(model.loss(replace(batch, y=y), None, None).item())
    assert losses[0] == losses[1] == losses[2] != losses[3]


@torch.no_grad()
def test_samples_are_projected_and_depend_on_the_noise_alone():
    model = make_volumetric(awake=True, window=6)
    noise, y, _ = make_inputs((9, 12, 10))
    task = task_named("sr")
    steps = list(model.trajectory(y, noise, 3, project=task.project))
    assert [s.index for s in steps] == [0, 1, 2] and steps[-1].x0_hat.shape == noise.shape
    again = list(model.trajectory(y, noise, 3, project=task.project))[-1].x0_hat
    assert torch.equal(again, steps[-1].x0_hat)
    assert (list(model.trajectory(y, -noise, 3, project=task.project))[-1].x0_hat - again).abs().max() > 1e-3
    free = list(model.trajectory(y, noise, 3))[-1].x0_hat
    torch.testing.assert_close(again, task.project(free, y))


@pytest.mark.parametrize("options", [{"latent_channels": 4}, {"channels": (4, 9)}, {"channels": ()}])
def test_impossible_autoencoders_are_refused(options):
    with pytest.raises(ConfigError):
        AutoencoderConfig(**{"channels": (4, 8), "latent_channels": 3} | options)


def make_a_volume_run(root, task="sr", steps=(6, 6, 5)) -> RunConfig:
    """The run of tiny volumetric layers, on a tiny latent model, on a tiny autoencoder."""
    data, runs = describe_data(root, SPACING, SHAPE), ()
    stages = {"autoencoder": {"autoencoder": AUTOENCODER}, "latent": {}, "volumetric": {}}
    for (stage, options), count, thick in zip(stages.items(), steps, (1, 1, 6)):
        train = TrainConfig((Phase(count, 2, 2e-3, (*SHAPE[:2], thick)),), ema=0.9, save_every=2)
        unet = NET if stage == "latent" else None
        options = options | {"plane": "axial", "experts": runs}
        runs = (RunConfig("smoke", stage, task, stage, 0, data, DiffusionConfig(), unet, train, **options),)
    return runs[0]


def test_three_trainings_build_on_one_another_and_resume(tmp_path):
    run = make_a_volume_run(write_prepared(tmp_path / "data"), "both")
    model = load_or_train(run, tmp_path / "runs")
    fresh = build(run)
    assert (model.autoencoder.latent_std != 1).all() and (fresh.autoencoder.latent_std == 1).all()
    untrained, trained = fresh.state_dict(), model.state_dict()
    moved = {name for name in trained if not torch.equal(trained[name], untrained[name])}
    assert {name.split(".")[0] for name in moved} == {"layers", "experts"}
    latent = load_or_train(run.experts[0], tmp_path / "runs").state_dict()
    assert all(torch.equal(trained[f"experts.0.{name}"], tensor) for name, tensor in latent.items())
    _interrupt(run.experts[0].experts[0], tmp_path)
    _interrupt(run, tmp_path)
    again = load_or_train(run, tmp_path / "runs").state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in trained.items())


def _interrupt(run: RunConfig, tmp_path) -> None:
    """Leave of a finished run what a kill in its middle would have left."""
    folder = tmp_path / "runs" / run.folder
    (folder / "model.safetensors").unlink()
    for path in sorted((folder / "last").iterdir())[-1:]:
        path.unlink()
