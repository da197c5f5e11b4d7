"""Residual blocks slab by slab give what they give at once, forwards and backwards."""

import pytest
import torch
import torch.nn as nn
from torch.utils.checkpoint import checkpoint

from diffens_core.networks import slabs
from diffens_core.networks.unet import ResBlock, UNet, UNetConfig


def randomised(net: nn.Module) -> nn.Module:
    """With random weights everywhere, also where a network begins with zeros."""
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    return net


def answers(net, inputs, *more) -> list[torch.Tensor]:
    """The output for `inputs`, and the gradients of these and of all parameters."""
    inputs = [x.detach().requires_grad_() for x in inputs]
    out = net(*inputs, *more)
    out = out if isinstance(out, torch.Tensor) else out[0]
    return [out, *torch.autograd.grad(out.square().sum(), [*inputs, *net.parameters()])]


@pytest.mark.parametrize("slab", [1, 5000, 2**40])
@pytest.mark.parametrize("widths", [(8,), (6,), (8, 4)])
def test_a_block_is_the_same_in_slabs(monkeypatch, slab, widths):
    """One map as wide as the result, one of another width, a coarse map with a fine one."""
    monkeypatch.setattr(slabs, "SLAB", slab)
    monkeypatch.setattr(slabs, "THIN", 8)
    torch.manual_seed(0)
    block = randomised(ResBlock(3, sum(widths), 8, 16, 0.0)).double()
    maps = [torch.randn(2, width, 22, 8, 12, dtype=torch.float64) for width in widths]
    maps[0] = maps[0][:, :, ::2, ::2, ::2] if len(maps) > 1 else maps[0]
    inputs = [torch.randn(2, 16, dtype=torch.float64), *maps]
    assert (len(list(slabs.slabs_of(maps))) > 1) == (slab < 2**40)

    class Sliced(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = block

        def forward(self, *inputs):
            return checkpoint(slabs.res_block, self.block, *inputs, use_reentrant=False)

    for once, sliced in zip(answers(block, inputs), answers(Sliced(), inputs), strict=True):
        torch.testing.assert_close(sliced, once, rtol=1e-10, atol=1e-10 * once.abs().max().item())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_network_works_in_slabs_only_with_checkpointing(monkeypatch, checkpointing):
    torch.manual_seed(0)
    net = randomised(UNet(3, 3, 2, UNetConfig(8, (1, 2), 1, checkpointing=checkpointing)))
    inputs, t = [torch.randn(1, 3, 16, 12, 20)], torch.tensor([7])
    once = answers(net, inputs, t)
    monkeypatch.setattr(slabs, "LARGE", 0)
    monkeypatch.setattr(slabs, "SLAB", 2000)
    monkeypatch.setattr(slabs, "THIN", 4)
    sliced = answers(net, inputs, t)
    assert all(torch.equal(a, b) for a, b in zip(once, sliced)) == (not checkpointing)
    for a, b in zip(once, sliced):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5 * a.abs().max().item())
    with torch.no_grad():
        torch.testing.assert_close(net(*inputs, t)[0], sliced[0])


def test_dropout_is_not_drawn_in_slabs(monkeypatch):
    """Its draws would be others in the backward pass."""
    monkeypatch.setattr(slabs, "LARGE", 0)
    monkeypatch.setattr(slabs, "res_block", lambda *_: pytest.fail("in slabs"))
    net = UNet(3, 3, 2, UNetConfig(8, (1, 2), 1, dropout=0.1, checkpointing=True)).train()
    net(torch.randn(1, 3, 8, 8, 8), torch.tensor([7]))


def test_gradients_of_wide_maps_are_right_in_bf16():
    """oneDNN's own are wrong or NaN where slabs are thinner."""
    x = torch.ones(1, 192, slabs.THIN + 2 * slabs.HALO, 192, 152, dtype=torch.bfloat16)
    x = x.to(memory_format=torch.channels_last_3d)
    weight, lines = torch.zeros(64, 192, 3, 3, 3, requires_grad=True), torch.ones(2, 1, 192)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = slabs._silu_conv(x, lines, weight, torch.zeros(64))
    (found,) = torch.autograd.grad(out, [weight], torch.ones_like(out))
    expected = torch.nn.functional.silu(torch.tensor(2.0)) * x[0, 0].numel()
    torch.testing.assert_close(found[:, :, 1, 1, 1], expected.expand(64, 192), rtol=0.02, atol=0.0)
