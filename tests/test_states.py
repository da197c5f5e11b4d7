"""The states that a fusion trains on: the sampler's own, cut into patches, bounded, gathered anew in each round."""

import itertools
from dataclasses import fields, is_dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import SHAPE, draw_batch, fusion_config, make_fusion, wake

from diffens_core.data.measurement import BLOCKS
from diffens_core.data.planes import fitting_box, whole_box
from diffens_core.data.prepared import PreparedData
from diffens_core.data.tasks import task_named
from diffens_core.diffusion.sampler import ddim, noise_for, timesteps
from diffens_core.diffusion.schedule import Schedule
from diffens_core.models.linear import LinearCorrection
from diffens_core.networks.inputs import brain_box
from diffens_core.support.seeds import mix_seed
from diffens_core.training import runs, states
from diffens_core.training.config import pool_gib
from diffens_core.training.states import (
    Head,
    Pool,
    StatesConfig,
    collate,
    fit_linear,
    follow_heads,
    own_states,
    shifted,
    true_states,
    without_experts,
)

CPU = torch.device("cpu")
STATES = StatesConfig(steps=3, heads=2, patches=12, rounds=2, fit=2)


@pytest.fixture
def data(prepared) -> PreparedData:
    return PreparedData(fusion_config(prepared).data, "train", task_named("sr"))


def fusion(planes=("axial", "sagittal"), **options):
    options = {"degradation": BLOCKS, "prediction": "x0", "linear": True} | options
    model = wake(make_fusion(planes, conditions=2, **options), size=0.05)
    return model.eval()


def follow(model, pair, noise, steps) -> list:
    """The states that the sampler meets from one noise."""
    times = timesteps(model.schedule, steps)
    return list(own_states(model, Head.of(pair, False, CPU), noise, times, lambda visit: visit.fused(model).eps))


@torch.no_grad()
def test_the_states_are_those_that_the_sampler_meets(data):
    model, pair = fusion(), data[0]
    y, noise = pair.y[None], noise_for(pair.subject, [0], 5, SHAPE)
    met, sampled = follow(model, pair, noise, 3), list(ddim(model, y, noise, 3, project=task_named("sr").project))
    assert [int(visit.t) for visit in met] == [step.t for step in sampled]
    assert torch.equal(met[0].xt, noise)
    for visit, before, step in zip(met[1:], sampled, sampled[1:]):
        torch.testing.assert_close(visit.xt, before.xt)
        torch.testing.assert_close(visit.estimate(model, visit.fused(model).eps), step.x0_hat, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_rounds_together_follow_every_head_in_an_order_that_is_drawn(prepared, monkeypatch):
    """In the order of names, heads of one site follow one another, and a few would be of that site alone."""
    data = PreparedData(fusion_config(prepared).data, "train", task_named("sr"))
    whole, count, orders = data[0], 12, []
    monkeypatch.setattr(PreparedData, "__len__", lambda data: count)
    monkeypatch.setattr(PreparedData, "moved", lambda data, index, draw, vary: orders[-1].append(index) or whole)
    monkeypatch.setattr("diffens_core.training.states.own_states", lambda *about: [])
    for seed in range(5):
        orders.append([])
        for number in range(3):
            list(follow_heads(fusion(), data, replace(STATES, heads=4), seed, CPU, number, "", None))
    assert all(sorted(order) == list(range(count)) for order in orders)
    assert sum(order[:4] == [0, 1, 2, 3] for order in orders) == 0 and len({*map(tuple, orders)}) == 5


@torch.no_grad()
def test_the_loss_is_the_error_of_what_the_sampler_uses(data):
    model, pair = fusion(), data[1]
    noise = noise_for(pair.subject, [0], 7, SHAPE)
    steps = ddim(model, pair.y[None], noise, 3, project=task_named("sr").project)
    for visit, step in zip(follow(model, pair, noise, 3), steps):
        seen = torch.from_numpy(pair.seen)
        wanted = ((step.x0_hat[0, 0] - pair.x0[0]) * seen).square().mean()
        torch.testing.assert_close(visit.loss(model), wanted, atol=1e-6, rtol=1e-3)


@torch.no_grad()
def test_what_the_projection_takes_back_costs_nothing(data):
    """A residual that is constant within each block is no error, as the sampler replaces it by what was measured."""
    model = fusion(features=False)
    visit = follow(model, data[0], noise_for("s", [0], 0, SHAPE), 1)[0]
    visit = replace(visit, t=torch.tensor([500]))
    guess, offset = (0.1 * torch.randn(visit.x0.shape, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    found = []
    for x0 in (guess, guess + BLOCKS.degrade(offset), guess + offset):
        eps = model.schedule.eps_from_x0(x0, visit.xt, visit.t)
        found.append(visit.estimate(model, eps))
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=0)
    assert (found[0] - found[2]).abs().mean() > 0.05


@torch.no_grad()
@pytest.mark.parametrize("task", ["sr", "mt"])
def test_alone_the_network_meets_what_the_sampler_would_make_of_the_nearest_condition(prepared, task):
    data = PreparedData(fusion_config(prepared, task=task).data, "train", task_named(task))
    project = data.task.project
    options = {
        "conditions": len(data.task.conditions),
        "prediction": "x0",
        "linear": True,
        "degradation": data.task.degradation,
    }
    model = make_fusion(**options).eval()
    batch = draw_batch(data, range(4), (8, 8, 8), 0, 3, move_every=1, align=model.align)
    visit = without_experts(model, batch, data.task.nearest)
    known = project(batch.y[:, [data.task.nearest]].clamp(-1, 1), batch.y)
    fused = model.refine(visit.lifted, visit.xt, visit.y, visit.t, visit.coords)
    torch.testing.assert_close(visit.estimate(model, fused.eps), known, atol=1e-3, rtol=0)
    torch.testing.assert_close(visit.xt, model.schedule.add_noise(known, batch.eps, batch.t))
    wanted = ((known - batch.x0) * (batch.y[:, :1] > -0.99)).square().mean()
    torch.testing.assert_close(visit.loss(model), wanted, atol=1e-4, rtol=1e-3)
    if data.task.degradation:  # windows are made of whole blocks, mirrored ones too
        assert torch.allclose(project(batch.x0, batch.y), batch.x0, atol=1e-5)


@given(st.lists(st.sampled_from(["axial", "coronal", "sagittal"]), min_size=1, max_size=3), st.integers(0, 10**6))
@settings(deadline=None, max_examples=15)
def test_a_patch_holds_what_the_whole_volume_has_there(planes, seed):
    model, draw = fusion(planes), torch.Generator().manual_seed(seed)
    shape = (12, 16, 10)
    x0, y = torch.randn(1, 1, *shape, generator=draw), torch.rand(1, 2, *shape, generator=draw)
    pair = type("Pair", (), {"x0": x0[0], "y": y[0]})
    with torch.no_grad():
        visit = follow(model, pair, noise_for("s", [0], seed, shape), 1)[0]
        box = fitting_box(shape, (8, 4, 8), (4, 4, 4), draw, whole_box(x0))
        patch = visit.cut(model, box)
        for name in ("x0", "xt", "y", "coords"):
            assert torch.equal(getattr(patch, name), getattr(visit, name)[..., *box])
        assert torch.equal(patch.lifted.start, visit.lifted.start[..., *box])
        for adapter, part, whole in zip(model.adapters, patch.lifted.feats, visit.lifted.feats):
            for level, (a, b) in enumerate(zip(adapter(part), adapter(whole))):
                inner = tuple(slice(s.start >> level, s.stop >> level) for s in box)
                torch.testing.assert_close(a, b[..., *inner], atol=1e-5, rtol=1e-4)


@given(st.tuples(*[st.integers(4, 30)] * 3), st.tuples(*[st.integers(4, 40)] * 3), st.integers(0, 10**6))
def test_boxes_fit_and_are_made_of_whole_blocks_in_or_around_the_head(shape, size, seed):
    draw = torch.Generator().manual_seed(seed)
    y = -torch.ones(1, 1, *shape)
    y[..., *(slice(a, b + 1) for a, b in (sorted(torch.randint(n, (2,), generator=draw).tolist()) for n in shape))] = 0
    inner = brain_box(y, (4, 4, 4))
    box = fitting_box(shape, size, (4, 4, 4), draw, inner)
    for n, s, b, i in zip(shape, size, box, inner):
        assert b.start % 4 == b.stop % 4 == 0 <= b.start < b.stop <= n and b.stop - b.start == min(s, n) // 4 * 4
        if i.stop % 4 == 0:
            assert i.start <= b.start < b.stop <= i.stop or b.start <= i.start < i.stop <= b.stop


@given(st.integers(1, 50), st.integers(0, 10**6))
def test_shifted_times_begin_at_noise_and_fall(steps, seed):
    times = timesteps(Schedule(), steps)
    moved = shifted(times, 1000, torch.Generator().manual_seed(seed))
    assert moved[0] == 999 and min(moved) >= 0 and moved == sorted(set(moved), reverse=True)
    assert max(a - b for a, b in zip(moved, [*moved[1:], 0])) <= 1000 / steps + 1


@torch.no_grad()
def test_a_pool_is_bounded_and_the_same_for_the_same_seed_and_round(data):
    model = fusion()
    first, again, other = (Pool.gather(model, data, STATES, 3, CPU, (8, 8, 8), number) for number in (0, 0, 1))
    assert 8 <= len(first.patches) <= STATES.patches
    assert all(torch.equal(a.x0, b.x0) and torch.equal(a.xt, b.xt) for a, b in zip(first.patches, again.patches))
    assert any(not torch.equal(a.xt, b.xt) for a, b in zip(first.patches, other.patches))
    assert len({int(visit.t) for visit in first.patches}) >= 3
    batches = [first.batch(range(4), 0, 7, CPU), collate([first.batch(range(k, k + 2), 0, 7, CPU) for k in (0, 2)])]
    assert torch.equal(batches[0].xt, batches[1].xt), "sample i depends on (seed, step, i) alone"
    assert batches[0].x0.shape == (4, 1, 8, 8, 8) and batches[0].lifted.eps_planes.shape[:2] == (2, 4)


@torch.no_grad()
@pytest.mark.parametrize(("task", "patch"), [("sr", (8, 8, 8)), ("both", (8, 16, 40))])
def test_the_declared_memory_of_the_states_is_what_they_take(prepared, task, patch):
    run = fusion_config(prepared, task=task, states=STATES)
    run = replace(run, train=replace(run.train, phases=(replace(run.train.phases[0], patch=patch),)))
    data = PreparedData(run.data, "train", task_named(task))
    pool = Pool.gather(runs.build(run).eval(), data, STATES, 3, CPU, patch, 0)
    found = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors_in(pool.patches)}
    each = sum(found.values()) / len(pool.patches)
    assert each * STATES.patches / 2**30 == pytest.approx(pool_gib(run), rel=0.01)


def tensors_in(value):
    """All tensors within lists and dataclasses."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list):
        yield from itertools.chain.from_iterable(map(tensors_in, value))
    elif is_dataclass(value):
        yield from tensors_in([getattr(value, field.name) for field in fields(value)])


@torch.no_grad()
def test_the_least_squares_start_is_better_than_the_average(data):
    model = make_fusion(conditions=2, degradation=BLOCKS, prediction="x0", linear=True).eval()
    losses = []
    for fitted in (False, True):
        if fitted:
            fit_linear(model, data, STATES, 0, CPU)
        noises = (noise_for("s", [0], i, SHAPE) for i in range(2))
        visits = [visit for pair, noise in zip((data[0], data[1]), noises) for visit in follow(model, pair, noise, 3)]
        losses.append(sum(float(visit.loss(model)) for visit in visits))
    assert losses[1] < 0.9 * losses[0]


@torch.no_grad()
def test_true_states_are_the_true_image_with_noise(data):
    model, noise = fusion(), noise_for("s", [0], 0, SHAPE)
    visits = true_states(model, Head.of(data[0], False, CPU), noise, [999, 500, 20], None)
    for visit, t in zip(visits, (999, 500, 20), strict=True):
        assert int(visit.t) == t
        torch.testing.assert_close(visit.xt, model.schedule.add_noise(data[0].x0[None], noise, torch.tensor([t])))


def test_a_training_on_states_is_that_of_its_own_rounds(prepared, tmp_path):
    """Each round is gathered with the averaged weights that it begins with, and the linear start is kept."""
    config = fusion_config(prepared, steps=6, states=STATES)
    model = runs.load_or_train(config, tmp_path, precision="float32")
    assert model.linear.weights.abs().max() > 0 and any(p.abs().max() > 0 for p in model.net.head.parameters())
    again = runs.load(config, tmp_path)
    assert torch.equal(again.linear.weights, model.linear.weights)
    assert [config.train.round(step) for step in range(6)] == [0, 0, 0, 1, 1, 1]
    assert runs.own_seed(config) == mix_seed(0, "ours-tpdm")


def test_the_least_squares_start_has_heads_of_its_own(monkeypatch):
    followed = []
    monkeypatch.setattr(states, "follow_heads", lambda f, data, config, *rest, **options: followed.append(config) or [])
    monkeypatch.setattr(states.NormalEquations, "solve", lambda self: None)
    states.fit_linear(SimpleNamespace(linear=LinearCorrection(1, 1, 10)), None, replace(STATES, fit=5), 0, CPU)
    assert [config.heads for config in followed] == [5]
