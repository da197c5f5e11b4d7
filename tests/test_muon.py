"""Muon: against torch's own, against singular values, and as the optimiser of a training."""

from __future__ import annotations

import pytest
import torch
import torch.nn as nn
from hypothesis import given
from hypothesis import strategies as st

from diffens_core.support.settings import ConfigError
from diffens_core.training.loop import Phase, TrainConfig, optimizers_of
from diffens_core.training.muon import Muon, orthogonalised


@given(st.integers(1, 24), st.integers(1, 40), st.integers(0, 99))
def test_directions_stay_and_their_sizes_become_alike(outputs, inputs, seed):
    matrix = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed))
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    found = u.T @ orthogonalised(matrix) @ v.T
    strong = s > 0.1 * s.norm()
    assert torch.allclose(found, found.diagonal().diag(), atol=2e-2)
    assert ((found.diagonal()[strong] > 0.6) & (found.diagonal()[strong] < 1.3)).all()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has it from 2.9 on")
@pytest.mark.parametrize("shape", [(16, 40), (40, 16)])
def test_as_torch_has_it(shape):
    torch.manual_seed(0)
    start = torch.randn(shape)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    options = {"lr": 1e-2, "weight_decay": 0.0, "adjust_lr_fn": "match_rms_adamw"}
    optimizers = Muon([ours], lr=1e-2), torch.optim.Muon([theirs], **options)
    for _ in range(5):
        ours.grad = theirs.grad = torch.randn(shape)
        for optimizer in optimizers:
            optimizer.step()
    # Theirs iterates in bfloat16, which has three digits.
    assert (ours - theirs).norm() < 0.03 * (ours - start).norm()


def test_kernels_of_any_layout_are_the_same_kernels():
    torch.manual_seed(0)
    start, grad = torch.randn(4, 3, 3, 3), torch.randn(4, 3, 3, 3)
    last = start.clone(memory_format=torch.channels_last)
    plain, last = nn.Parameter(start.clone()), nn.Parameter(last)
    for kernel in (plain, last):
        kernel.grad = grad.clone()
        Muon([kernel], lr=0.1).step()
    assert torch.allclose(plain, last, atol=1e-6) and not torch.equal(plain, start)


def test_kernels_have_muon_and_all_else_adam():
    net = nn.Sequential(nn.Conv3d(2, 3, 3), nn.GroupNorm(1, 3), nn.Linear(3, 3))
    config = TrainConfig((Phase(1, 1, 1e-3),), optimizer="muon")
    muon, adam = optimizers_of(list(net.parameters()), config)
    assert isinstance(muon, Muon) and [p.ndim for p in muon.param_groups[0]["params"]] == [5]
    assert isinstance(adam, torch.optim.Adam) and len(adam.param_groups[0]["params"]) == 5
    assert [type(o) for o in optimizers_of(list(net[0].parameters())[:1], config)] == [Muon]
    assert [type(o) for o in optimizers_of(list(net[1].parameters()), config)] == [torch.optim.Adam]
    (alone,) = optimizers_of(list(net.parameters()), TrainConfig((Phase(1, 1, 1e-3),)))
    assert isinstance(alone, torch.optim.Adam)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ConfigError, match="optimizer must be one of adam, muon"):
        TrainConfig((Phase(1, 1, 1e-3),), optimizer="sgd")
