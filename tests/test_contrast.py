"""Brightness and contrast that stay those of an average: against numpy, in the function and in the fusion."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import NET, SHAPE, draw_batch, fusion_config, make_expert, make_fusion, make_inputs, wake

from diffens_core.data.prepared import PreparedData
from diffens_core.data.tasks import task_named
from diffens_core.models.contrast import with_contrast_of
from diffens_core.models.fusion import Fusion, FusionConfig
from diffens_core.networks.inputs import brain_channel
from diffens_core.support.settings import ConfigError
from diffens_core.training.states import Head, StatesConfig, without_experts


def affine_fit(average: torch.Tensor, x: torch.Tensor, inside: torch.Tensor) -> np.ndarray:
    """Offset and gain of the best affine change of `average` [X, Y, Z] to `x`, by numpy."""
    a, b = average[inside].double().numpy(), x[inside].double().numpy()
    return np.linalg.lstsq(np.stack([np.ones_like(a), a], 1), b, rcond=None)[0]


@given(st.integers(0, 1000), st.integers(1, 3), st.floats(-0.5, 0.5), st.floats(0.3, 2))
@settings(deadline=None, max_examples=25)
def test_what_is_left_is_nothing_that_an_affine_change_explains(seed, batch, offset, gain):
    draw = torch.Generator().manual_seed(seed)
    average, other = (torch.randn(batch, 1, 6, 5, 4, generator=draw) for _ in range(2))
    inside = torch.rand(batch, 1, 6, 5, 4, generator=draw) < 0.7
    x = offset + gain * average + 0.3 * other
    kept = with_contrast_of(average, x, inside)
    assert torch.equal(kept[~inside], x[~inside])
    for k in range(batch):
        np.testing.assert_allclose(affine_fit(average[k], kept[k], inside[k]), [0, 1], atol=1e-4)
        found, wanted = (kept - average)[k][inside[k]], x[k][inside[k]].numpy()
        a = average[k][inside[k]].numpy()
        left = wanted - np.polyval(np.polyfit(a, wanted, 1), a)
        np.testing.assert_allclose(found.numpy(), left, atol=1e-4)


def test_a_change_of_contrast_alone_is_taken_back_and_an_empty_head_is_left_alone():
    average = torch.randn(1, 1, 4, 4, 4)
    everywhere = torch.ones_like(average, dtype=torch.bool)
    torch.testing.assert_close(with_contrast_of(average, 0.2 + 1.7 * average, everywhere), average, atol=1e-4, rtol=0)
    assert torch.equal(with_contrast_of(average, 2 * average, ~everywhere), 2 * average)


@torch.no_grad()
@pytest.mark.parametrize("prediction", ["x0", "v", "eps"])
@pytest.mark.parametrize("t", [600, 300, 20])
def test_a_fusion_that_keeps_contrast_answers_for_whole_heads_with_that_of_its_average(t, prediction):
    def answer(keep):
        options = {"prediction": prediction, "linear": prediction == "x0", "keep_contrast": keep}
        model = wake(make_fusion(**options)).eval()
        list(model.net.head.parameters())[-1][-1] += 5.0  # a residual that is anything but 0 on average
        return model, model.fuse(xt, y, step)

    xt, y, step = make_inputs(SHAPE, batch=2, t=t)
    xt, y[..., :6, :, :] = 0.3 * xt, -1.0
    model, kept = answer(True)
    _, free = answer(False)
    averages = model.schedule.x0_from_eps(kept.eps_planes.mean(0), xt, step).clamp(-1, 1)
    clean = [model.schedule.x0_from_eps(fused.eps, xt, step) for fused in (kept, free)]
    for k, inside in enumerate(brain_channel(y) > 0):
        off = [abs(affine_fit(averages[k], x, inside) - [0, 1]).max() for x in (clean[0][k], clean[1][k])]
        assert off[0] < 0.002 and off[0] < 0.1 * off[1]
        assert (clean[0][k] - averages[k])[inside].std() > 0.1 * (clean[1][k] - averages[k])[inside].std()


@torch.no_grad()
def test_it_learns_from_truths_of_that_contrast(prepared):
    data = PreparedData(fusion_config(prepared, task="mt").data, "train", task_named("mt"))
    model = make_fusion(prediction="x0", linear=True, keep_contrast=True).eval()
    head = Head.of(data[0], False, "cpu")
    visit = head.visit(model, torch.randn_like(head.x0), 500)
    inside = brain_channel(visit.y) > 0
    average = model.average_x0(visit.lifted.eps_planes, visit.xt, visit.t)
    np.testing.assert_allclose(affine_fit(average[0], visit.x0[0], inside[0]), [0, 1], atol=1e-3)
    batch = draw_batch(data, range(3), (16, 16, 16), 0, 3, move_every=1, align=model.align)
    alone = without_experts(model, batch, data.task.nearest)
    for k, inside in enumerate(brain_channel(batch.y) > 0):
        np.testing.assert_allclose(affine_fit(batch.y[k], alone.x0[k], inside), [0, 1], atol=1e-3)


@torch.no_grad()
def test_experts_that_predict_noise_leave_a_finite_truth_at_the_highest_level(prepared):
    """There a clean estimate divides by nearly nothing; what it is kept to is what the sampler makes of it."""
    experts = [make_expert(plane, 1, prediction="eps") for plane in ("axial", "sagittal")]
    model = Fusion(experts, 1, NET, FusionConfig(prediction="x0", linear=True, keep_contrast=True)).eval()
    data = PreparedData(fusion_config(prepared, task="mt").data, "train", task_named("mt"))
    head = Head.of(data[0], False, "cpu")
    visit = head.visit(model, torch.randn_like(head.x0), 999)
    assert visit.x0.abs().max() < 3


def test_a_run_keeps_contrast_only_where_nothing_is_measured_and_states_are_its_own(prepared):
    states = StatesConfig(steps=2, heads=2, patches=4, rounds=1, fit=1)
    for task, own, fits in (("mt", states, True), ("mt", None, False), ("sr", states, False), ("both", states, False)):
        run = fusion_config(prepared, task=task, states=own)
        keeping = replace(run.fusion, keep_contrast=True)
        if fits:
            assert replace(run, fusion=keeping).identity != run.identity
        else:
            with pytest.raises(ConfigError, match="keep_contrast is for a task without a measurement"):
                replace(run, fusion=keeping)


def test_a_run_has_a_ramp_only_where_it_learns_the_whole_correction_on_states(prepared):
    states = StatesConfig(steps=2, heads=2, patches=4, rounds=1, fit=1)
    run = fusion_config(prepared, task="mt", states=states)
    assert replace(run, fusion=replace(run.fusion, ramp=1.2)).identity != run.identity
    run = fusion_config(prepared, task="mt")
    with pytest.raises(ConfigError, match="a ramp is for a fusion that learns the whole correction"):
        replace(run, fusion=replace(run.fusion, ramp=1.2))
