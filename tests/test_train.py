"""The training loop: samples, rates, averaged weights, and errors that say what to do."""

import dataclasses
import math

import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny import SHAPE, draw_batch, expert_config, fusion_config, make_expert, make_fusion, wake

from diffens_core.data.prepared import PreparedData
from diffens_core.data.tasks import task_named
from diffens_core.diffusion.batch import spread_step
from diffens_core.diffusion.loss import denoising_loss
from diffens_core.diffusion.schedule import Schedule
from diffens_core.networks.unet import UNetConfig
from diffens_core.training import runs
from diffens_core.training.checkpoints import load_checkpoint
from diffens_core.training.loop import (
    MovingAverage,
    Phase,
    State,
    TrainConfig,
    TrainingError,
    learning_rate,
    loss_box,
    phase_at,
    train,
)


def test_training_writes_the_whole_run_folder(prepared, tmp_path):
    config = expert_config(prepared, steps=12)
    model = runs.load_or_train(config, tmp_path)
    folder = tmp_path / config.folder
    assert {"config.json", "log.csv", "last", "model.safetensors"} <= {p.name for p in folder.iterdir()}
    log = pd.read_csv(folder / "log.csv")
    assert list(log.columns) == ["step", "loss", "lr"] and list(log["step"]) == [10, 12]
    assert not model.training and all(p.isfinite().all() for p in model.parameters())
    assert len(list((folder / "last").glob("*.pt"))) == 2


def test_saved_weights_are_the_averaged_ones(prepared, tmp_path):
    config = expert_config(prepared, steps=6, save_every=3)
    runs.load_or_train(config, tmp_path)
    folder = tmp_path / config.folder
    newest = torch.load(max((folder / "last").glob("*.pt")), weights_only=True)
    saved = load_file(folder / "model.safetensors")
    assert set(saved) == set(newest["ema"])
    assert all(torch.equal(saved[name], newest["ema"][name]) for name in saved)
    assert any(not torch.equal(saved[name], newest["model"][name]) for name in saved)


def test_a_fusion_trains_its_experts_first_and_keeps_them(prepared, tmp_path):
    config = fusion_config(prepared)
    model = runs.load_or_train(config, tmp_path)
    for expert, its in zip(model.experts, config.experts):
        own = load_file(tmp_path / its.folder / "model.safetensors")
        assert all(torch.equal(p, own[name]) for name, p in expert.named_parameters())
    saved = load_file(tmp_path / config.folder / "model.safetensors")
    assert saved and not any(name.startswith("experts.") for name in saved)
    assert any(saved[name].any() for name in saved if name.startswith("adapters."))


@pytest.mark.parametrize("switch", ["mirror", "spread"])
def test_a_training_draws_its_batches_as_it_is_told(prepared, tmp_path, switch):
    """Off, the same seed gives other batches, so other weights; on is the default."""
    learnt = {}
    for on in (True, False):
        config = expert_config(prepared, steps=2, **{switch: on})
        model = runs.build(config)
        data = PreparedData(config.data, "train", config.translation)
        options = {"noise_steps": 1000, "seed": 0, "precision": "float32"}
        list(train(model, data, config.train, tmp_path / str(on), **options))
        learnt[on] = torch.cat([p.flatten() for p in model.parameters()])
        assert config.identity != expert_config(prepared, steps=2).identity or on
    assert not torch.equal(learnt[True], learnt[False])


def test_training_learns(prepared, tmp_path):
    config = expert_config(prepared, steps=60, save_every=100)
    runs.load_or_train(config, tmp_path)
    loss = pd.read_csv(tmp_path / config.folder / "log.csv")["loss"]
    assert loss.iloc[-1] < 0.8 * loss.iloc[0]


def test_accumulated_half_batches_equal_one_whole(prepared, tmp_path):
    """Two batches of two have the loss and the gradient of one of four, up to float32 rounding."""
    losses, gradients = [], []
    for batch, accumulate in ((4, 1), (2, 2)):
        config = TrainConfig((Phase(1, batch, 1e-3, (8, 8, 1)),), accumulate=accumulate)
        data = PreparedData(expert_config(prepared).data, "train", task_named("mt"))
        options = {"noise_steps": 1000, "seed": 0, "precision": "float32"}
        stats = train(make_expert(), data, config, tmp_path / str(batch), **options)
        losses += [s.loss for s in stats]
        state = load_checkpoint(tmp_path / str(batch) / "last")["optimizers"][0]["state"]
        gradients.append(torch.cat([moments["exp_avg"].flatten() for moments in state.values()]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert (gradients[0] - gradients[1]).norm() < 1e-3 * gradients[0].norm()


def test_sample_i_depends_on_seed_step_and_i_alone(prepared):
    """So two processes draw together what one would, and a resumed run what it would have drawn."""
    data = PreparedData(expert_config(prepared).data, "train", task_named("both"))
    whole = draw_batch(data, range(4), (8, 8, 1), 3, 7)
    torch.manual_seed(5)
    halves = [draw_batch(data, part, (8, 8, 1), 3, 7) for part in (range(2, 4), range(2))]
    for name in ("x0", "y", "coords", "eps", "t"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(h, name) for h in reversed(halves)]))
    assert not torch.equal(draw_batch(data, range(4), (8, 8, 1), 4, 7).eps, whole.eps)
    assert not torch.equal(draw_batch(data, range(4), (8, 8, 1), 3, 8).eps, whole.eps)


@given(st.integers(0, 10**6), st.integers(0, 10**5))
def test_eight_samples_of_a_step_cover_all_noise_levels(seed, step):
    """Three-gap theorem: eight terms of the golden-ratio sequence leave no gap above its fourth power, 0.146."""
    t = sorted(spread_step(1000, seed, step, i) for i in range(8))
    assert t[0] >= 0 and t[-1] < 1000
    assert max(b - a for a, b in zip(t, [*t[1:], t[0] + 1000])) <= 147


@given(st.integers(0, 10**6), st.integers(0, 10**5))
def test_noise_levels_of_neighbouring_steps_do_not_repeat(seed, step):
    here, next_step = ({spread_step(10**6, seed, s, i) for i in range(8)} for s in (step, step + 1))
    assert min(abs(a - b) for a in here for b in next_step) > 10**4


def train_for(loss: str) -> TrainConfig:
    return TrainConfig((Phase(1, 1, 1e-3),), loss=loss)


def test_the_loss_of_v_and_x0_is_that_of_eps_weighted(prepared):
    schedule, denoiser = Schedule(), make_expert()
    batch = draw_batch(PreparedData(expert_config(prepared).data, "train", task_named("mt")), range(1), (8, 8, 1), 0, 5)
    with torch.no_grad():
        eps, v, x0 = (float(denoising_loss(denoiser, batch, train_for(loss))) for loss in ("eps", "v", "x0"))
    alpha_bar = float(schedule.alpha_bar[batch.t[0]])
    assert v == pytest.approx(eps / alpha_bar, rel=1e-4) and x0 == pytest.approx(eps * (1 / alpha_bar - 1), rel=1e-4)


def test_a_patch_is_drawn_per_step_and_the_loss_is_that_within_it(prepared):
    """The same patch for every sample of a step, so that processes share it; another one in another step."""
    model, phase = wake(make_fusion()), Phase(1, 2, 1e-3, patch=(4, 4, 4))
    boxes = [loss_box(model, phase, SHAPE, 0, step) for step in (3, 3, 4, 5)]
    assert boxes[0] == boxes[1] and len({str(box) for box in boxes}) > 1
    assert loss_box(model, Phase(1, 1, 1e-3), SHAPE, 0, 0) is None
    batch = draw_batch(PreparedData(expert_config(prepared).data, "train", task_named("mt")), range(2), None, 0, 5)
    with torch.no_grad():
        loss = denoising_loss(model, batch, train_for("eps"), boxes[0])
        xt = model.schedule.add_noise(batch.x0, batch.eps, batch.t)
        answer = model(xt, batch.y, batch.t, batch.coords, boxes[0])
    torch.testing.assert_close(loss, (answer - batch.eps[..., *boxes[0]]).square().mean())


def test_windows_carry_their_place_and_lie_within_the_volume(prepared):
    data = PreparedData(expert_config(prepared).data, "train", task_named("sr"))
    batch = draw_batch(data, range(40), (8, 6, 1), 0, 0)
    assert batch.x0.shape == batch.eps.shape == (40, 1, 8, 6, 1) and batch.coords.shape == (40, 3, 8, 6, 1)
    assert batch.t.dtype == torch.int64 and batch.t.min() >= 0 and batch.t.max() > 500
    step = batch.coords.diff(dim=2)[:, 0]
    torch.testing.assert_close(step, torch.full_like(step, 2 / (SHAPE[0] - 1)))
    assert batch.coords.abs().max() <= 1 and batch.coords[:, 2].std() > 0.3
    whole = draw_batch(data, range(1), None, 0, 0)
    assert whole.x0.shape[2:] == SHAPE and whole.x0.abs().max() <= 1


def test_learning_rate_warms_up_and_decays_in_each_phase():
    config = TrainConfig((Phase(10, 1, 1.0), Phase(20, 1, 0.1)), warmup=4, decay="cosine")
    rates = [learning_rate(config, step) for step in range(config.steps)]
    assert rates[0] == 0.25 and rates[1] < 0.5 and max(rates[:10]) < 1.0
    assert rates[9] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.9)))
    assert rates[10] == pytest.approx(0.1 / 4) and max(rates[10:]) < 0.1
    constant = TrainConfig((Phase(10, 1, 1.0), Phase(20, 1, 0.1)))
    assert [learning_rate(constant, s) for s in (0, 9, 10, 29)] == [1.0, 1.0, 0.1, 0.1]
    assert phase_at(config, 10) == (config.phases[1], 0)
    tail = TrainConfig((Phase(10, 1, 1.0),), decay="tail")
    assert [learning_rate(tail, s) for s in (0, 4, 5, 6, 9)] == pytest.approx([1, 1, 1, 0.8, 0.2])
    steps = TrainConfig((Phase(3000, 1, 1.0),), decay="exponential")
    assert [learning_rate(steps, s) for s in (0, 999, 1000, 2999)] == pytest.approx([1, 1, 0.99, 0.99**2])


def test_the_norm_and_the_optimiser_are_those_of_the_configuration(prepared):
    denoiser = make_expert()
    batch = draw_batch(PreparedData(expert_config(prepared).data, "train", task_named("mt")), range(1), (8, 8, 1), 0, 5)
    with torch.no_grad():
        xt = denoiser.schedule.add_noise(batch.x0, batch.eps, batch.t)
        wrong = denoiser(xt, batch.y, batch.t, batch.coords) - batch.eps
        found = {
            norm: denoising_loss(denoiser, batch, dataclasses.replace(train_for("eps"), norm=norm))
            for norm in ("l1", "l2")
        }
    assert float(found["l1"]) == pytest.approx(float(wrong.abs().mean()), rel=1e-4)
    assert float(found["l2"]) == pytest.approx(float(wrong.square().mean()), rel=1e-4)
    ((optimizer,),) = State(denoiser, dataclasses.replace(train_for("eps"), beta1=0.5), "float32").optimizers
    assert optimizer.defaults["betas"] == (0.5, 0.999)


def test_moving_average_warms_up():
    average = MovingAverage(0.5, {"w": torch.zeros(1)})
    values = []
    for step in range(8):
        average.update({"w": torch.ones(1)}, step)
        values.append(1 - float(average.tensors["w"]))
    decays = [b / a for a, b in zip([1.0, *values], values)]
    assert decays == pytest.approx([min(0.5, (1 + s) / (10 + s)) for s in range(8)], rel=2e-3)


def test_a_loss_that_is_not_finite_stops_with_one_line(prepared, tmp_path):
    config = expert_config(prepared, steps=10)
    data = PreparedData(config.data, "train", task_named("sr"))
    for index in range(len(data)):
        data[index].x0[:] = float("nan")
    with pytest.raises(TrainingError, match="the loss is nan at step") as caught:
        list(train(runs.build(config), data, config.train, tmp_path, noise_steps=1000, seed=0))
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("other", [UNetConfig(8, (1, 2, 4), 1), UNetConfig(16, (1, 2), 1)])
def test_a_checkpoint_of_another_network_is_refused(prepared, tmp_path, other):
    config = expert_config(prepared, steps=4)
    data = PreparedData(config.data, "train", task_named("sr"))
    list(train(runs.build(config), data, config.train, tmp_path, noise_steps=1000, seed=0))
    model = runs.build(dataclasses.replace(config, unet=other))
    with pytest.raises(TrainingError, match="another network"):
        list(train(model, data, config.train, tmp_path, noise_steps=1000, seed=0))


def test_missing_subjects_and_splits_are_named(prepared):
    config = expert_config(prepared).data
    with pytest.raises(ValueError, match="no participant has the split 'nowhere'"):
        PreparedData(config, "nowhere", task_named("sr"))
    with pytest.raises(ValueError, match="resample them first"):
        PreparedData(dataclasses.replace(config, spacing=5.0), "train", task_named("sr"))[0]


def test_corrupt_weights_are_restored_from_the_checkpoint(prepared, tmp_path):
    config = expert_config(prepared, steps=4)
    before = runs.load_or_train(config, tmp_path, accelerator=Accelerator(cpu=True))
    path = tmp_path / config.folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="corrupt weights"):
        runs.load_or_train(config, tmp_path)
    path.unlink()
    after = runs.load_or_train(config, tmp_path)
    for a, b in zip(before.parameters(), after.parameters()):
        assert torch.equal(a, b)
