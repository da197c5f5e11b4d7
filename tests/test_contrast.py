"""Brightness and contrast that stay those of an average: against numpy, in the function and in the fusion."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import SHAPE, fusion_config, make_fusion, make_inputs, wake

from diffens_core.contrast import with_contrast_of
from diffens_core.data import PreparedData
from diffens_core.inputs import brain_channel
from diffens_core.states import Head, without_experts
from diffens_core.tasks import task_named


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
@pytest.mark.parametrize("t", [999, 500, 20])
def test_a_fusion_that_keeps_contrast_answers_for_whole_heads_with_that_of_its_average(t):
    def answer(keep):
        model = wake(make_fusion(prediction="x0", linear=True, keep_contrast=keep), size=0.3).eval()
        return model, model.fuse(xt, y, step)

    xt, y, step = make_inputs(SHAPE, batch=2, t=t)
    y[..., :6, :, :] = -1.0
    model, kept = answer(True)
    _, free = answer(False)
    averages = model.schedule.x0_from_eps(kept.eps_planes.mean(0), xt, step)
    clean = [model.schedule.x0_from_eps(fused.eps, xt, step) for fused in (kept, free)]
    scale = averages.std()
    for k, inside in enumerate(brain_channel(y) > 0):
        np.testing.assert_allclose(affine_fit(averages[k], clean[0][k], inside), [0, 1], atol=1e-3 * max(1, scale))
        assert abs(affine_fit(averages[k], clean[1][k], inside) - [0, 1]).max() > 0.01
        assert (clean[0][k] - averages[k])[inside].std() > 0.1 * (clean[1][k] - averages[k])[inside].std()


@torch.no_grad()
def test_it_learns_from_truths_of_that_contrast(prepared):
    data = PreparedData(fusion_config(prepared, task="mt").data, "train", task_named("mt"))
    model = make_fusion(prediction="x0", linear=True, keep_contrast=True).eval()
    head = Head.of(data[0], False, "cpu")
    visit = head.visit(model, torch.randn_like(head.x0), 500)
    inside = brain_channel(visit.y) > 0
    average = model.average(visit.lifted, visit.xt, visit.t)
    np.testing.assert_allclose(affine_fit(average[0], visit.x0[0], inside[0]), [0, 1], atol=1e-3)
    batch = data.batch(range(3), (16, 16, 16), 0, 3, 1000, move_every=1, align=model.align)
    alone = without_experts(model, batch, data.task.nearest)
    for k, inside in enumerate(brain_channel(batch.y) > 0):
        np.testing.assert_allclose(affine_fit(batch.y[k], alone.x0[k], inside), [0, 1], atol=1e-3)
