"""Memory computed without content: exact for what is known, and the same as for tensors that have content."""

import math

import pytest
import torch
from tiny import expert_config, fusion_config
from torch._subclasses.fake_tensor import FakeTensorMode

from diffens_core.training.memory import Live, Peak, blank_batch, peak_of
from diffens_core.training.runs import build
from diffens_core.training.states import StatesConfig


def test_what_is_made_counts_until_it_is_let_go():
    with FakeTensorMode(), Live() as live:
        a = torch.empty(1000, 1000)
        b = a * 2
        assert live.now == live.peak == 8_000_000
        del a
        assert live.now == 4_000_000
        c = b.view(-1)  # the same memory
        d = c[:1000] + 1
        assert (live.now, live.peak) == (4_004_000, 8_000_000) and d.shape == (1000,)


def test_a_step_counts_the_same_with_content_and_without(prepared):
    run = expert_config(prepared)
    model, phase = build(run).train(), run.train.phases[0]
    batch = blank_batch(run, phase.crop, phase.batch)
    batch = type(batch)(*(torch.zeros_like(getattr(batch, n)) for n in ("x0", "y", "coords", "eps", "t")))
    own = list(model.parameters())
    with Live() as live:
        loss = model.objectives()[""](batch, run.train, None)
        torch.autograd.grad(loss, own)
    weights = sum(p.numel() for p in own)
    computed = peak_of(run, "float32").training * 2**30 - 4 * 4 * weights
    assert computed == pytest.approx(live.peak, rel=0.02)


def test_memory_grows_with_the_batch_and_shrinks_with_precision(prepared):
    run = fusion_config(prepared, states=StatesConfig(steps=2, heads=1, patches=4, rounds=1, fit=1))
    single, half = peak_of(run, "float32"), peak_of(run, "bf16")
    assert half.training < single.training and half.sampling < single.sampling
    assert not math.isnan(single.sampling)


@pytest.mark.parametrize("gib, card", [(5.0, "16 GB"), (14.5, "24 GB"), (37.0, "80 GB"), (90.0, "more than 80 GB")])
def test_the_least_card_that_holds_it(gib, card):
    assert Peak(gib, 0.0).cards == card
