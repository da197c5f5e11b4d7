"""The noise schedule, its conversions, and that every network of a fusion is told the same noise level."""

import pytest
import torch
from tiny import NET, make_expert, make_fusion, make_inputs

from diffens_core.diffusion.sampler import ddim
from diffens_core.diffusion.schedule import PREDICTIONS, Schedule
from diffens_core.models.experts import Average
from diffens_core.models.fusion import Fusion, FusionConfig

TIMES = torch.arange(1000)


def test_alpha_bar_falls_from_one_to_noise():
    table = Schedule().alpha_bar
    assert table.shape == (1000,) and table.dtype == torch.float64
    assert (table.diff() < 0).all() and table[0] == 1 - 1e-4 and 0 < table[-1] < 5e-5


def test_alpha_bar_is_the_product_of_one_minus_beta():
    product = 1.0
    for step in range(1000):
        product *= 1 - (1e-4 + step * (2e-2 - 1e-4) / 999)
    assert Schedule().alpha_bar[-1].item() == pytest.approx(product, rel=1e-9)


@pytest.mark.parametrize("steps", [250, 1000])
def test_the_cosine_schedule_is_that_of_diffusers(steps):
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(num_train_timesteps=steps, beta_schedule="squaredcos_cap_v2").alphas_cumprod.double()
    torch.testing.assert_close(Schedule(steps, kind="cosine").alpha_bar, theirs, rtol=1e-3, atol=1e-7)
    assert Schedule(steps, kind="cosine") != Schedule(steps)


def test_the_scaled_schedule_is_that_of_diffusers():
    from diffusers import DDPMScheduler

    ends = {"beta_start": 1.5e-3, "beta_end": 1.95e-2}
    theirs = DDPMScheduler(beta_schedule="scaled_linear", **ends).alphas_cumprod.double()
    torch.testing.assert_close(Schedule(**ends, kind="scaled").alpha_bar, theirs, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("t", [0, 300, 999])
def test_noised_volumes_keep_unit_variance(t):
    """Signal of variance one plus noise; mean and variance within five standard errors of 200 000 draws."""
    generator, n = torch.Generator().manual_seed(0), 200_000
    x0, eps = torch.randn(2, 1, n, generator=generator)
    schedule = Schedule()
    xt = schedule.add_noise(x0, eps, torch.tensor([t]))
    assert abs(xt.var() - 1) < 5 * (2 / n) ** 0.5
    share = (xt * x0).mean()  # the part of the target that is left
    assert abs(share - schedule.alpha_bar[t].sqrt()) < 5 * 1.5 / n**0.5


def test_each_volume_of_a_batch_has_its_own_step():
    schedule, x0, eps = Schedule(), torch.ones(2, 1, 2, 2, 2), torch.zeros(2, 1, 2, 2, 2)
    xt = schedule.add_noise(x0, eps, torch.tensor([0, 999]))
    torch.testing.assert_close(xt[:, 0, 0, 0, 0].double(), schedule.alpha_bar[[0, 999]].sqrt(), atol=1e-7, rtol=1e-6)


def test_noise_and_clean_estimate_round_trip_at_every_step():
    """Float32; dividing by the smaller of signal and noise magnifies a rounding error by its inverse."""
    schedule = Schedule()
    x0, eps = torch.randn(2, 1000, 1, 8, generator=torch.Generator().manual_seed(0))
    xt = schedule.add_noise(x0, eps, TIMES)
    signal, noise = schedule.signal_and_noise(TIMES, xt)
    assert ((schedule.x0_from_eps(eps, xt, TIMES) - x0).abs() < 2e-6 / signal).all()
    assert ((schedule.eps_from_x0(x0, xt, TIMES) - eps).abs() < 2e-6 / noise).all()


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_predictions_round_trip_at_every_step(prediction):
    schedule = Schedule()
    out, xt = torch.randn(2, 1000, 1, 8, generator=torch.Generator().manual_seed(1))
    eps = schedule.eps_from(prediction, out, xt, TIMES)
    signal, noise = schedule.signal_and_noise(TIMES, xt)
    back = schedule.prediction_from(prediction, eps, xt, TIMES)
    assert ((back - out).abs() < 4e-6 / torch.minimum(signal, noise)).all()


def test_v_is_signal_times_noise_minus_noise_times_target():
    schedule = Schedule()
    x0, eps = torch.randn(2, 1000, 1, 8, generator=torch.Generator().manual_seed(2))
    xt = schedule.add_noise(x0, eps, TIMES)
    signal, noise = schedule.signal_and_noise(TIMES, xt)
    torch.testing.assert_close(schedule.eps_from("v", signal * eps - noise * x0, xt, TIMES), eps, atol=2e-6, rtol=0)
    torch.testing.assert_close(schedule.eps_from("x0", x0, xt, TIMES) * noise, eps * noise, atol=2e-6, rtol=0)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_eps_per_output_is_the_derivative(prediction):
    schedule = Schedule()
    out = torch.randn(1000, 1, requires_grad=True)
    xt = torch.randn(1000, 1)
    (slope,) = torch.autograd.grad(schedule.eps_from(prediction, out, xt, TIMES).sum(), out)
    torch.testing.assert_close(schedule.eps_per_output(prediction, xt, TIMES), slope)


def _listen(model, heard):
    """Record the steps that each U-Net is told, and the sinusoids that it makes of them."""
    nets = {"3d": model.net} | {f"2d-{i}": expert.net for i, expert in enumerate(model.experts)}
    for name, net in nets.items():
        net.register_forward_pre_hook(lambda _, args, name=name: heard.append((name, "t", args[1].unique())))
        net.time.register_forward_pre_hook(
            lambda _, args, name=name: heard.append((name, "wave", args[0].unique(dim=0)))
        )
    return list(nets)


@torch.inference_mode()
def test_every_network_is_told_the_same_noise_level():
    model, heard = make_fusion(("axial", "sagittal", "coronal")), []
    names = _listen(model, heard)
    xt, y, _ = make_inputs((8, 6, 10))
    for step in ddim(model, y, xt, 4):
        for kind, count in (("t", 1), ("wave", NET.base)):
            told = {name: value for name, what, value in heard if what == kind}
            assert set(told) == set(names)
            assert all(torch.equal(value, told["3d"]) and value.numel() == count for value in told.values())
        assert {int(v) for _, what, v in ((n, w, x) for n, w, x in heard if w == "t")} == {step.t}
        heard.clear()


@pytest.mark.parametrize("other", [Schedule(1000, 1e-4, 1e-2), Schedule(500)])
def test_experts_of_another_schedule_are_refused(other):
    experts = [make_expert("axial"), make_expert("sagittal", schedule=other)]
    with pytest.raises(ValueError, match="different noise schedules"):
        Average(experts)
    with pytest.raises(ValueError, match="different noise schedules"):
        Fusion(experts, 1, NET, FusionConfig())
