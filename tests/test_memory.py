"""Computed peak memory of training and sampling steps, against what can be counted by hand."""

from dataclasses import replace

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from diffens_core.data.measurement import BLOCKS
from diffens_core.experiment.experiment import open_experiment
from diffens_core.experiment.methods import method_named
from diffens_core.networks.precision import autocast
from diffens_core.training.memory import CPU, GPU, HalfPrecision, Ledger, sampling_peak, training_peak

FLOAT = 4  # bytes


def smoke(method: str):
    return method_named(method, "sr").runs(open_experiment("smoke").setting("sr"))[-1]


@pytest.mark.parametrize("device", [CPU, GPU])
def test_a_linear_layer_keeps_weights_input_and_gradient(device):
    weights, inputs = 1000 * 500 * FLOAT, 200 * 1000 * FLOAT
    with FakeTensorMode(), Ledger() as ledger:
        layer, x = nn.Linear(1000, 500, bias=False, device=device), torch.empty(200, 1000, device=device)
        before = ledger.now
        layer(x).mean().backward()
        after, peak = ledger.now, ledger.peak
        del layer, x
    assert (before, after, ledger.now) == (weights + inputs, 2 * weights + inputs, 0)
    assert 2 * weights + inputs <= peak <= 2 * weights + inputs + 2 * 200 * 500 * FLOAT + 100


@pytest.mark.parametrize("recomputed", [False, True])
def test_convolutions_keep_their_inputs_unless_they_are_recomputed(recomputed):
    voxels = 4 * 64**3 * FLOAT
    with FakeTensorMode(), Ledger() as ledger:
        convs = [nn.Conv3d(4, 4, 3, padding=1, bias=False, device=GPU) for _ in range(8)]
        x = torch.empty(1, 4, 64, 64, 64, device=GPU)
        weights = ledger.now - voxels
        for first, second in zip(convs[::2], convs[1::2]):
            both = nn.Sequential(first, second)
            x = checkpoint(both, x, use_reentrant=False) if recomputed else both(x)
    assert ledger.now == weights + voxels * (5 if recomputed else 9)  # inputs, and the last output


@pytest.mark.parametrize("enabled", [False, True])
def test_half_precision_is_that_of_cuda(enabled):
    with FakeTensorMode(), HalfPrecision(), autocast(CPU, "bf16" if enabled else "float32"):
        x = torch.empty(2, 4, 8, 8, device=GPU)
        out = F.conv2d(x, torch.empty(4, 4, 3, 3, device=GPU), torch.empty(4, device=GPU))
        assert out.dtype == (torch.bfloat16 if enabled else torch.float32)
        assert F.group_norm(out, 2).dtype == F.mse_loss(out, out).dtype == torch.float32


@pytest.mark.parametrize("method", ["palette-axial", "unet-3d", "pix2pix-2d", "i2sb", "make-a-volume", "ours-tpdm"])
def test_every_kind_of_run_has_a_peak(method):
    run = smoke(method)
    peaks = [training_peak(run, phase) for phase in run.train.phases] + [sampling_peak(run)]
    assert all(2**20 < peak < 2**30 for peak in peaks)


def test_a_larger_batch_takes_more_and_half_precision_less():
    run = smoke("palette-axial")
    phase = run.train.phases[0]
    peak = training_peak(run, phase)
    assert 1.7 * peak < training_peak(run, replace(phase, batch=2 * phase.batch)) < 2.1 * peak
    assert peak < training_peak(run, phase, precision="float32")


@pytest.mark.parametrize("method", ["palette-axial", "unet-3d", "ours-tpdm"])
def test_a_cpu_has_a_peak_too(method):
    run = smoke(method)
    peaks = [training_peak(run, phase, CPU, "float32") for phase in run.train.phases]
    assert all(2**20 < peak < 2**30 for peak in peaks)


def test_nothing_fake_stays_behind():
    sampling_peak(smoke("ours-tpdm"))
    measured = torch.full((1, 1, 40, 48, 38), 0.5)
    assert torch.equal(BLOCKS.project(torch.zeros_like(measured), measured), measured)


def test_a_fusion_holds_the_maps_of_its_experts_no_longer_than_it_must():
    """On a head of 1 mm it is what decides whether a laptop can translate it."""
    run = method_named("ours-tpdm", "sr").runs(open_experiment("scan").setting("sr"))[-1]
    run = replace(run, data=replace(run.data, shape=(64, 48, 64)))
    assert sampling_peak(run, CPU, "bf16") < 290 * 64 * 48 * 64
