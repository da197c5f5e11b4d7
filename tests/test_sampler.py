"""The sampler against an independent implementation, and against distributions known in closed form."""

import math
import re

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from tiny import make_expert, make_inputs

from diffens_core.data.measurement import BLOCKS
from diffens_core.diffusion.sampler import ddim, dpm_solver, noise_for, sampler_named, timesteps
from diffens_core.diffusion.schedule import Schedule
from diffens_core.support.seeds import mix_seed
from diffens_core.support.settings import ConfigError

VOXELS = (2, 2, 2)
SAMPLES, STEPS = 10_000, 500


def _peer(steps: int, clip: bool) -> DDIMScheduler:
    scheduler = DDIMScheduler(
        beta_start=1e-4,
        beta_end=2e-2,
        beta_schedule="linear",
        clip_sample=clip,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(steps)
    return scheduler


@pytest.mark.parametrize("steps", [1, 4, 10, 50])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("clip", [True, False])
@torch.inference_mode()
def test_ddim_equals_diffusers(steps, eta, clip):
    """Same network, same noise. Unclipped samples grow to hundreds, so the difference is relative to their size."""
    net = make_expert(prediction="eps")
    net.net.head.weight.data *= 0.1  # a gentle network: a wild one amplifies the rounding of either implementation
    noise, y, _ = make_inputs((8, 8, 6))
    ours = [s.xt for s in ddim(net, y, noise, steps, eta=eta, clamp=clip, generator=torch.Generator().manual_seed(1))]
    fresh, scheduler, xt = torch.Generator().manual_seed(1), _peer(steps, clip), noise
    for t, mine in zip(scheduler.timesteps, ours, strict=True):
        z = torch.randn(xt.shape, generator=fresh)
        eps = net(xt, y, t.reshape(1))
        xt = scheduler.step(eps, t, xt, eta=eta, use_clipped_model_output=True, variance_noise=z).prev_sample
        assert (mine - xt).abs().max() <= 1e-5 * max(1.0, float(xt.abs().max()))


def _gentle():
    """An expert whose predictions do not amplify the rounding of either implementation, noise for it, conditions."""
    net = make_expert(prediction="eps")
    net.net.head.weight.data *= 0.1
    noise, y, _ = make_inputs((8, 8, 8))
    return net, noise, BLOCKS.degrade(y)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10, 50])
@pytest.mark.parametrize("projected", [True, False])
@torch.inference_mode()
def test_dpm_solver_equals_diffusers(steps, projected):
    """Given the same clean estimates, clamped and projected, every state of DPM-Solver++(2M) is that of diffusers."""
    net, noise, y = _gentle()
    scheduler = DPMSolverMultistepScheduler(
        beta_start=1e-4,
        beta_end=2e-2,
        algorithm_type="dpmsolver++",
        solver_order=2,
        prediction_type="sample",
        timestep_spacing="trailing",
        final_sigmas_type="zero",
        lower_order_final=True,
    )
    scheduler.set_timesteps(steps)
    ours, xt = list(dpm_solver(net, y, noise, steps, project=BLOCKS.project if projected else None)), noise
    for t, mine in zip(scheduler.timesteps, ours, strict=True):
        x0_hat = net.schedule.x0_from_eps(net(xt, y, t.reshape(1)), xt, t.reshape(1)).clamp(-1.0, 1.0)
        x0_hat = BLOCKS.project(x0_hat, y) if projected else x0_hat
        xt = scheduler.step(x0_hat, t, xt).prev_sample
        assert (mine.xt - xt).abs().max() <= 1e-5 * max(1.0, float(xt.abs().max()))
    assert torch.equal(ours[-1].xt, ours[-1].x0_hat)


@pytest.mark.parametrize("steps", [1, 4, 10, 50])
@torch.inference_mode()
def test_ancestral_sampling_equals_diffusers_ddpm(steps):
    """The posterior between the times that are taken, with the smaller of the two usual variances."""
    net, noise, y = _gentle()
    options = {"beta_start": 1e-4, "beta_end": 2e-2, "variance_type": "fixed_small", "clip_sample": False}
    scheduler = DDPMScheduler(**options, prediction_type="sample", timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    fresh = torch.Generator().manual_seed(1)
    ours = sampler_named("ancestral")(net, y, noise, steps, project=BLOCKS.project, generator=fresh)
    xt, again = noise, torch.Generator().manual_seed(1)
    for t, mine in zip(scheduler.timesteps, ours, strict=True):
        x0_hat = net.schedule.x0_from_eps(net(xt, y, t.reshape(1)), xt, t.reshape(1)).clamp(-1.0, 1.0)
        x0_hat, last = BLOCKS.project(x0_hat, y), t == scheduler.timesteps[-1]
        xt = x0_hat if last else scheduler.step(x0_hat, t, xt, generator=again).prev_sample  # diffusers ends with noise
        assert (mine.xt - xt).abs().max() <= 1e-5 * max(1.0, float(xt.abs().max()))


@torch.inference_mode()
def test_samplers_by_name():
    net, noise, y = _gentle()

    def last(name):
        *_, step = sampler_named(name)(net, y, noise, 4, generator=torch.Generator().manual_seed(2))
        return step.x0_hat

    assert torch.equal(last("ddim"), last("ddim:0"))
    assert torch.equal(last("ancestral"), last("ddim:1"))
    assert len({float(last(name).sum()) for name in ("ddim", "ddim:0.5", "ancestral", "dpm++")}) == 4
    for name in ("", "dpm", "ddim:", "ddim:x", "ddim:2", "ddim:nan", "0", "ancestral:0.5", "dpm++:1"):
        with pytest.raises(ConfigError, match=re.escape(f"unknown sampler '{name}'")):
            sampler_named(name)


class Gaussian:
    """The exact denoiser of `x0 ~ N(mean, cov)` over 8 voxels, given exact values of the first `seen` of them."""

    def __init__(self, seen: int = 0):
        generator = torch.Generator().manual_seed(3)
        self.schedule, self.seen = Schedule(), seen
        root = torch.randn(8, 8, generator=generator, dtype=torch.float64) / math.sqrt(8)
        self.mean = torch.randn(8, generator=generator, dtype=torch.float64)
        self.cov = root @ root.T + 0.05 * torch.eye(8, dtype=torch.float64)

    def posterior(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and covariance of all 8 voxels given `y` [8], of which the first `seen` are known."""
        k = self.seen
        gain = self.cov[:, :k] @ torch.linalg.inv(self.cov[:k, :k])
        return self.mean + gain @ (y[:k].double() - self.mean[:k]), self.cov - gain @ self.cov[:k]

    def __call__(self, xt, y, t):
        mean, cov = self.posterior(y[0].flatten())
        alpha_bar = self.schedule.alpha_bar[t[0]]
        x, eye = xt.flatten(1).double(), torch.eye(8, dtype=torch.float64)
        gain = alpha_bar.sqrt() * cov @ torch.linalg.inv(alpha_bar * cov + (1 - alpha_bar) * eye)
        x0 = mean + (x - alpha_bar.sqrt() * mean) @ gain.T
        return ((x - alpha_bar.sqrt() * x0) / (1 - alpha_bar).sqrt()).float().reshape(xt.shape)


@pytest.mark.parametrize("name, steps", [("ddim", STEPS), ("ancestral", STEPS), ("dpm++", STEPS // 4)])
@pytest.mark.parametrize("seen", [0, 3])
def test_samples_have_the_closed_form_distribution(name, steps, seen):
    """Mean and covariance within five standard errors, plus 1 % for discrete steps: 500, fewer of the second order.

    `seen` = 0 is the prior, `seen` = 3 the posterior given three observed voxels.
    """
    model = Gaussian(seen)
    y = torch.randn(1, 1, *VOXELS, generator=torch.Generator().manual_seed(5))
    noise = torch.randn(SAMPLES, 1, *VOXELS, generator=torch.Generator().manual_seed(6))
    fresh = torch.Generator().manual_seed(7)
    *_, last = sampler_named(name)(model, y, noise, steps, clamp=False, generator=fresh)
    x = last.x0_hat.flatten(1).double()
    mean, cov = model.posterior(y.flatten())
    variance = cov.diagonal().clamp(min=0)
    error_of_mean = (variance / SAMPLES).sqrt()
    error_of_cov = ((variance[:, None] * variance + cov**2) / SAMPLES).sqrt()
    size = float(model.cov.diagonal().max())
    assert ((x.mean(0) - mean).abs() <= 5 * error_of_mean + 0.01 * math.sqrt(size)).all()
    assert ((x.T.cov() - cov).abs() <= 5 * error_of_cov + 0.01 * size).all()


@torch.inference_mode()
def test_projected_samples_agree_with_the_measurement():
    net, shape = make_expert(), (10, 9, 8)
    noise, y, _ = make_inputs(shape)
    y = BLOCKS.degrade(y)
    steps = list(ddim(net, y, noise, 3, project=BLOCKS.project))
    for step in steps:
        torch.testing.assert_close(BLOCKS.degrade(step.x0_hat), y, atol=1e-5, rtol=0)
    assert torch.equal(steps[-1].xt, steps[-1].x0_hat)


@torch.inference_mode()
def test_one_step_is_a_generator_of_states():
    noise, y, _ = make_inputs((4, 4, 4))
    states = list(ddim(make_expert(), y, noise, 5))
    assert [(s.index, s.t) for s in states] == list(enumerate([999, 799, 599, 399, 199]))
    assert all(s.x0_hat.abs().max() <= 1 and s.xt.dtype == torch.float32 for s in states)


@pytest.mark.parametrize("total", [1000, 7])
def test_timesteps_start_at_pure_noise_and_fall(total):
    schedule = Schedule(total)
    for steps in range(1, total + 1):
        times = timesteps(schedule, steps)
        assert len(times) == steps and times[0] == total - 1 and times[-1] >= 0
        assert all(a > b for a, b in zip(times, times[1:]))


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_impossible_step_counts_are_refused(steps):
    with pytest.raises(ValueError, match="between 1 and 1000"):
        timesteps(Schedule(), steps)


def test_noise_depends_on_seed_subject_and_sample_alone():
    shape = (3, 4, 5)
    five = noise_for("sub-a", range(5), 0, shape)
    assert five.shape == (5, 1, *shape)
    torch.manual_seed(123)
    assert torch.equal(noise_for("sub-a", [3], 0, shape)[0], five[3])
    assert torch.equal(noise_for("sub-a", [4, 1], 0, shape), five[[4, 1]])
    others = [noise_for("sub-b", [0], 0, shape)[0], noise_for("sub-a", [0], 1, shape)[0], *five[1:]]
    assert not any(torch.equal(five[0], other) for other in others)


def test_mixed_seeds_do_not_collide():
    seeds = {mix_seed(a, b, c) for a in range(12) for b in range(12) for c in range(12)}
    assert len(seeds) == 12**3 and max(seeds) < 2**63
