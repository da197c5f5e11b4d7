"""Baselines: the bridge's end points and posterior, the signs of the GAN, regression in 2D and 3D."""

import numpy as np
import pytest
import torch
from tiny import NET, SHAPE, make_inputs, wake, write_prepared

from diffens_core.data.layout import describe_data
from diffens_core.data.planes import coordinates
from diffens_core.data.prepared import PreparedData
from diffens_core.data.tasks import task_named
from diffens_core.diffusion.batch import Batch
from diffens_core.experiment.presets import PRESETS
from diffens_core.experiment.samples import sample
from diffens_core.experiment.setting import Setting
from diffens_core.models.i2sb import Bridge, BridgeSchedule
from diffens_core.models.pix2pix import L1_WEIGHT, Pix2pix
from diffens_core.models.regression import Regression
from diffens_core.networks.lifting import SliceNet, VolumeNet
from diffens_core.networks.unet import UNet
from diffens_core.support.settings import ConfigError
from diffens_core.training import runs
from diffens_core.training.loop import Phase, TrainConfig, objectives_of, train

TRAIN = TrainConfig((Phase(1, 1, 1e-3),), loss="eps")


def make_batch(shape=(8, 8, 8), conditions=1, t=400) -> Batch:
    xt, y, steps = make_inputs(shape, 2, conditions, t=t)
    x0 = torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(7)) * 2 - 1
    return Batch(x0, y, coordinates(shape).expand(2, -1, -1, -1, -1), xt, steps)


def make_body(channels: int, plane: str | None = None):
    torch.manual_seed(0)
    net = wake(UNet(2 if plane else 3, channels, 1, NET))
    return SliceNet(net, plane) if plane else VolumeNet(net)


# I2SB


def brownian(schedule: BridgeSchedule) -> tuple[np.ndarray, np.ndarray]:
    """Variance gathered up to each step, and in all, of the process between the two ends."""
    gathered = schedule.sigma.numpy() ** 2
    return gathered, gathered[-1]


def test_the_bridge_begins_at_the_target_and_ends_at_the_start():
    schedule, (a, b, _) = BridgeSchedule(), make_inputs((4, 4, 4))
    first, last = torch.tensor([0]), torch.tensor([schedule.steps - 1])
    torch.testing.assert_close(schedule.between(a, b, first, None), a, atol=5e-3, rtol=0)
    torch.testing.assert_close(schedule.between(a, b, last, None), b, atol=5e-3, rtol=0)
    middle = schedule.between(a, b, torch.tensor([schedule.steps // 2]), None)
    torch.testing.assert_close(middle, (a + b) / 2, atol=5e-3, rtol=0)


def test_the_bridges_mean_and_variance_are_those_of_a_brownian_bridge():
    """Pinned at both ends, x(s) has mean x0 + s (x1 - x0) and variance S s (1 - s); s is time in units of noise, S.

    (Up to one step: the state counts the noise of its own step on both sides.)
    """
    schedule = BridgeSchedule()
    gathered, total = brownian(schedule)
    zero, one = torch.zeros(1, 1, 1, 1, 1), torch.ones(1, 1, 1, 1, 1)
    for t in (100, 300, 500, 900):
        s, step = gathered[t] / total, torch.tensor([t])
        mean = float(schedule.between(zero, one, step, None))
        deviation = float(schedule.between(zero, one, step, one)) - mean
        assert mean == pytest.approx(s, abs=2e-3)
        assert deviation**2 == pytest.approx(total * s * (1 - s), rel=0.02, abs=1e-5)


@pytest.mark.parametrize("t, before", [(999, 500), (500, 499), (300, 10), (5, 0)])
def test_the_bridges_posterior_is_that_of_bayes(t, before):
    """x(before) given x0 and x(t): Gaussian conditioning of a Brownian motion that starts at x0."""
    schedule = BridgeSchedule()
    gathered, _ = brownian(schedule)
    x0, xt = 0.3, -0.8
    covariance = np.array([[gathered[before], gathered[before]], [gathered[before], gathered[t]]])
    mean = x0 + covariance[0, 1] / covariance[1, 1] * (xt - x0)
    variance = covariance[0, 0] - covariance[0, 1] ** 2 / covariance[1, 1]
    tensors = [torch.full((1, 1, 1, 1, 1), v, dtype=torch.float64) for v in (xt, x0, 1.0)]
    found = float(schedule.back(*tensors[:2], t, before, None))
    assert found == pytest.approx(mean, rel=1e-6)
    assert (float(schedule.back(*tensors[:2], t, before, tensors[2])) - found) ** 2 == pytest.approx(variance, rel=1e-6)


def test_the_bridges_noise_is_that_of_the_authors():
    """The root of beta rises evenly over 1000 steps from 1e-4 to 3e-4, but turns half-way."""
    schedule = BridgeSchedule()
    beta = np.diff(schedule.sigma.numpy() ** 2, prepend=0.0)
    roots = np.sqrt(1e-4) + np.arange(500) / 999 * (np.sqrt(3e-4) - np.sqrt(1e-4))
    np.testing.assert_allclose(beta, [*roots**2, *roots[::-1] ** 2], rtol=1e-9)
    assert beta.max() == pytest.approx(1.865e-4, rel=1e-3) and schedule.sigma[-1] == pytest.approx(0.376, abs=1e-3)


class Oracle(Bridge):
    """Knows the target, notes what it is asked, and starts at the second condition."""

    def __init__(self, x0, stochastic):
        super().__init__(None, 1, BridgeSchedule(), stochastic)
        self.x0, self.asked = x0, []

    def forward(self, xt, y, t, coords=None):
        self.asked.append((int(t[0]), xt))
        return self.x0


@pytest.mark.parametrize("stochastic", [True, False])
def test_with_a_perfect_network_the_bridge_arrives_at_the_target_from_the_condition(stochastic):
    x0, y, _ = make_inputs((4, 4, 4), conditions=2)
    x0, oracle = x0.clamp(-1, 1), Oracle(x0.clamp(-1, 1), stochastic)
    steps = list(oracle.trajectory(y, None, 5, generator=torch.Generator().manual_seed(0)))
    assert [t for t, _ in oracle.asked] == [step.t for step in steps] == [999, 799, 599, 400, 200]
    states = [y[:, 1:], *(step.xt for step in steps[:-1])]
    assert all(torch.equal(xt, state) for (_, xt), state in zip(oracle.asked, states, strict=True))
    torch.testing.assert_close(steps[-1].x0_hat, x0)
    torch.testing.assert_close(steps[-1].xt, x0, atol=0.02, rtol=0)
    first = BridgeSchedule().between(x0, y[:, 1:], torch.tensor([799]), None)
    spread = (steps[0].xt - first).abs().mean()
    assert (spread > 0.05) == stochastic, "noise where there should be none, or none where there should be"
    with pytest.raises(ValueError, match="steps must lie between 1 and 999"):
        next(Oracle(x0, stochastic).trajectory(y, None, 1000))


def test_the_bridges_loss_is_that_of_the_noise_in_units_of_sigma():
    body, batch = make_body(1 + 2 + 4), make_batch(conditions=2)
    bridge = Bridge(body, 1, BridgeSchedule(), stochastic=True)
    schedule = bridge.schedule
    xt = schedule.between(batch.x0, batch.y[:, 1:2], batch.t, batch.eps)
    sigma = float(schedule.sigma[400])
    with torch.no_grad():
        out = (xt - bridge(xt, batch.y, batch.t, batch.coords)) / sigma
        loss = objectives_of(bridge, TRAIN)[""](batch, TRAIN, None)
    torch.testing.assert_close(loss, (out - (xt - batch.x0) / sigma).square().mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stochastic", [True, False])
def test_a_bridge_is_trained_with_noise_and_ot_ode_without(stochastic):
    batch = make_batch(conditions=2)
    oracle = Oracle(batch.x0, stochastic)
    assert float(oracle.loss(batch, TRAIN, None)) == 0.0
    ((_, xt),) = oracle.asked
    noise = batch.eps if stochastic else None
    torch.testing.assert_close(xt, oracle.schedule.between(batch.x0, batch.y[:, 1:], batch.t, noise))


# pix2pix


def test_each_player_minimises_its_own_loss():
    model = Pix2pix(Regression(make_body(1 + 4, "axial")), 1, 4)
    assert model.objectives() == {"generator.": model.generator_loss, "discriminator.": model.discriminator_loss}
    assert L1_WEIGHT == 100.0


@torch.no_grad()
def test_the_discriminator_judges_a_target_by_its_condition():
    model, batch = Pix2pix(Regression(make_body(1 + 4, "axial")), 1, 4), make_batch((24, 24, 2))
    assert not torch.allclose(model.judge(batch.y, batch.x0), model.judge(batch.y.flip(0), batch.x0), atol=1e-4)


class Constant(torch.nn.Module):
    """A discriminator that answers with one number, which it can learn."""

    def __init__(self, value: float):
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(value))

    def forward(self, pair):
        return [self.value.expand(len(pair), 1)]


@pytest.mark.parametrize("plane", [None, "axial"])
def test_the_players_of_pix2pix_pull_in_opposite_directions(plane):
    """At logit l, -log D is log(1 + exp(-l)): the generator's. The discriminator's is that and -log(1 - D), halved."""
    model = Pix2pix(Regression(make_body(1 + 4, plane)), 1, 4)
    batch = make_batch((16, 16, 16) if plane is None else (24, 24, 2))
    with torch.no_grad():
        l1 = L1_WEIGHT * (model(batch.y, batch.coords) - batch.x0).abs().mean()
        model.discriminator = Constant(3.0)
        assert float(model.generator_loss(batch, TRAIN, None) - l1) == pytest.approx(np.log1p(np.exp(-3.0)), abs=1e-4)
    half = 0.5 * (np.log1p(np.exp(-3.0)) + np.log1p(np.exp(3.0)))
    assert float(model.discriminator_loss(batch, TRAIN, None).detach()) == pytest.approx(half, abs=1e-5)


def test_the_discriminator_learns_to_tell_true_from_generated():
    model, batch = Pix2pix(Regression(make_body(1 + 4, "axial")), 1, 4), make_batch((32, 32, 2))
    optimizer = torch.optim.Adam(model.discriminator.parameters(), 1e-2)
    for _ in range(15):
        optimizer.zero_grad()
        model.discriminator_loss(batch, TRAIN, None).backward()
        optimizer.step()
    with torch.no_grad():
        assert model.judge(batch.y, batch.x0).mean() > 0 > model.judge(batch.y, model(batch.y, batch.coords)).mean()


def test_neither_player_changes_the_other():
    model, batch = Pix2pix(Regression(make_body(1 + 4, "axial")), 1, 4), make_batch((32, 32, 2))
    model.discriminator_loss(batch, TRAIN, None).backward()
    assert all(p.grad is None for p in model.generator.parameters())
    objectives = objectives_of(model, TRAIN)
    assert list(objectives) == ["generator.", "discriminator."]
    names = [n for n, _ in model.named_parameters()]
    assert all(sum(n.startswith(prefix) for prefix in objectives) == 1 for n in names)


# Regression and interpolation


@pytest.mark.parametrize("plane", [None, "sagittal"])
def test_a_regression_answers_once_and_its_answer_is_projected(plane):
    task = task_named("sr")
    model, y = Regression(make_body(2 + 4, plane)), make_inputs((9, 8, 10), conditions=2)[1]
    options = {"subject": "s", "samples": 3, "steps": 5, "precision": "float32"}
    found = sample(model.eval(), y[0], task, **options)
    assert found.shape == (1, 1, 9, 8, 10)
    with torch.no_grad():
        plain = model(y).clamp(-1, 1)
    torch.testing.assert_close(found, task.project(plain, y))
    torch.testing.assert_close(sample(model, y[0], task, **options, project=False), plain)


@pytest.fixture
def one_subject(tmp_path):
    """A data set of one head, and its training pair of task `mt`."""
    root = write_prepared(tmp_path / "one", ("train",))
    return PreparedData(describe_data(root, 4.0, SHAPE), "train", task_named("mt"))


@pytest.mark.parametrize("plane, crop", [(None, (16, 16, 16)), ("coronal", (24, 1, 20))])
def test_a_regression_learns_one_subject_by_heart(one_subject, tmp_path, plane, crop):
    model, pair = Regression(make_body(1 + 4, plane)), one_subject[0]
    config = TrainConfig((Phase(60, 2, 5e-3, crop=crop),), ema=0.0, decay="tail")
    with torch.no_grad():
        before = (model(pair.y[None]) - pair.x0).square().mean()
    list(train(model, one_subject, config, tmp_path / "run", noise_steps=1000, seed=0))
    with torch.no_grad():
        after = (model(pair.y[None]) - pair.x0).square().mean()
    assert after < 0.3 * before


def test_a_bridge_of_a_task_starts_at_its_nearest_image():
    assert task_named("sr").nearest == task_named("both").nearest == 1 and task_named("mt").nearest == 0


def test_weights_of_another_baseline_are_refused(one_subject, tmp_path):
    setting = Setting(PRESETS["smoke"], "mt", one_subject.config)
    config, other = (
        setting.baseline(name, "regression", plane) for name, plane in (("unet-3d", None), ("unet-2d", "axial"))
    )
    runs.save_weights(tmp_path / config.folder, runs.build(other), other)
    with pytest.raises(ConfigError, match="not of the network"):
        runs.load(config, tmp_path)


@pytest.mark.parametrize("plane, least", [(None, 12), ("axial", 24)])
def test_pix2pix_says_what_is_too_small_for_it(plane, least):
    model = Pix2pix(Regression(make_body(1 + 4, plane)), 1, 4)
    for size in (least, least - 1):
        batch = make_batch((size, size, size if plane is None else 1))
        if size == least:
            assert model.judge(batch.y, batch.x0).isfinite().all()
        else:
            with pytest.raises(ValueError, match=f"nothing smaller than {least} voxels"):
                model.judge(batch.y, batch.x0)
