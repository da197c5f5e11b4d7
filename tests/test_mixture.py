"""Mixtures on the line: every closed form against integration, autograd, scipy, or random draws."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import wasserstein_distance
from torch.distributions import Categorical, MixtureSameFamily, Normal

from diffens_core import Average, DiffensError, Schedule, ddim
from diffens_core.diffusion.gaussians import best_gate
from diffens_core.diffusion.mixture import NORMAL, BestGate, Mixture, MixtureDenoiser, gram, on_points

MIXTURE = Mixture((-0.7, -0.1, 0.6), (0.05, 0.2, 0.1), (0.5, 0.2, 0.3))
POINTS = torch.linspace(-1.5, 1.5, 31, dtype=torch.float64)


def as_distribution(mixture: Mixture) -> MixtureSameFamily:
    means, stds, weights = (torch.tensor(v).double() for v in (mixture.means, mixture.stds, mixture.weights))
    return MixtureSameFamily(Categorical(weights), Normal(means, stds))


@pytest.mark.parametrize("mixture", [MIXTURE, MIXTURE.noisy(0.7), MIXTURE.part(2), MIXTURE.part(0, 1)])
def test_density_score_and_cdf_are_those_of_torch(mixture):
    other, x = as_distribution(mixture), POINTS.clone().requires_grad_()
    torch.testing.assert_close(mixture.density(POINTS), other.log_prob(POINTS).exp(), rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(mixture.cdf(POINTS), other.cdf(POINTS), rtol=1e-5, atol=1e-7)
    (slope,) = torch.autograd.grad(other.log_prob(x).sum(), x)
    torch.testing.assert_close(mixture.score(POINTS), slope, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mixture.shares(POINTS).sum(0), torch.ones_like(POINTS))


def test_a_noisy_mixture_is_the_mixture_with_noise_of_this_level():
    """`p_t(x)` is the integral of `p_0(x0)` times the density of the noise that leads from `x0` to `x`."""
    alpha_bar = 0.6
    noisy, signal, noise = MIXTURE.noisy(alpha_bar), math.sqrt(alpha_bar), Normal(0.0, math.sqrt(1 - alpha_bar))
    for x in (-0.9, 0.0, 0.4):

        def joint(x0, x=x):
            return float(MIXTURE.density(torch.tensor(x0)) * noise.log_prob(torch.tensor(x - signal * x0)).exp())

        integral, _ = quad(joint, -2, 2, points=MIXTURE.means, limit=200)
        assert integral == pytest.approx(float(noisy.density(torch.tensor(x))), rel=1e-4)


@pytest.mark.parametrize("t", [5, 150, 700])
def test_the_denoiser_gives_the_mean_noise_and_tweedies_estimate_the_mean_of_x0(t):
    denoiser, schedule = MixtureDenoiser(MIXTURE), Schedule()
    alpha_bar = float(schedule.alpha_bar[t])
    signal, noise = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    x0 = torch.linspace(-2, 2, 200_001, dtype=torch.float64)
    for x in (-0.8, 0.1, 0.5):
        weight = MIXTURE.density(x0) * torch.exp(-((x - signal * x0) ** 2) / (2 * noise**2))
        mean = float((weight * x0).sum() / weight.sum())
        point = torch.tensor([x], dtype=torch.float64)
        eps = on_points(denoiser, point, t)
        assert float(eps) == pytest.approx((x - signal * mean) / noise, abs=1e-5)
        assert float(schedule.x0_from_eps(eps, point, torch.tensor([t]))) == pytest.approx(mean, abs=1e-5)


def test_a_batch_may_have_several_noise_levels():
    denoiser, xt = MixtureDenoiser(MIXTURE), POINTS[:12].reshape(2, 1, 3, 2, 1)
    eps = denoiser(xt, torch.zeros_like(xt), torch.tensor([10, 800]))
    for b, t in enumerate((10, 800)):
        torch.testing.assert_close(eps[b].flatten(), on_points(denoiser, xt[b].flatten(), t))


def test_quantiles_have_even_probabilities_and_draws_follow_the_density():
    found = MIXTURE.cdf(MIXTURE.quantiles(500))
    torch.testing.assert_close(found, (torch.arange(500).double() + 0.5) / 500)
    drawn = MIXTURE.draw(20_000, torch.Generator().manual_seed(0))
    assert MIXTURE.distance(drawn) < 0.01


def test_the_distance_is_wassersteins():
    samples = torch.randn(300, generator=torch.Generator().manual_seed(0)) * 0.5
    other = wasserstein_distance(samples.numpy(), MIXTURE.quantiles(300).numpy())
    assert MIXTURE.distance(samples) == pytest.approx(other, rel=1e-6)
    assert MIXTURE.distance(MIXTURE.quantiles(300) + 0.25) == pytest.approx(0.25)


def test_the_packages_ddim_samples_the_mixture_and_one_step_gives_its_mean():
    noise = NORMAL.quantiles(400).reshape(1, 1, -1, 1, 1)
    for steps, most in ((10, 0.2), (200, 0.01)):
        *_, last = ddim(MixtureDenoiser(MIXTURE), torch.zeros_like(noise), noise, steps, clamp=False)
        assert MIXTURE.distance(last.x0_hat.flatten()) < most
    *_, last = ddim(MixtureDenoiser(MIXTURE), torch.zeros_like(noise), noise, 1, clamp=False)
    assert float((last.x0_hat - np.dot(MIXTURE.means, MIXTURE.weights)).abs().max()) < 0.03


def test_the_gate_of_two_halves_is_exact_and_the_share_of_the_first():
    exact = MixtureDenoiser(MIXTURE)
    first, second = MixtureDenoiser(MIXTURE.part(0)), MixtureDenoiser(MIXTURE.part(1, 2))
    gate = BestGate([first, second], exact)
    for t in (30, 300):
        assert float(gram([gate], exact, t)) < 1e-12
        share = 0.5 * first.at(t).density(POINTS) / exact.at(t).density(POINTS)
        torch.testing.assert_close(on_points(gate.weight, POINTS, t), share, atol=1e-4, rtol=0)
    fixed = BestGate([first, second], exact, level=300)
    torch.testing.assert_close(on_points(fixed.weight, POINTS, 30), on_points(gate.weight, POINTS, 300))


def test_the_gate_stays_within_its_bounds_where_both_experts_are_wrong_on_one_side():
    exact, left, right = (MixtureDenoiser(MIXTURE.part(*which)) for which in ((0, 1, 2), (0,), (1,)))
    weight = on_points(BestGate([left, right], exact).weight, POINTS, 50)
    assert float(weight.min()) == 0.0 and 0.9 < float(weight.max()) <= 1.0
    assert float(gram([BestGate([left, right], exact)], exact, 50)) > 0.01
    same = on_points(BestGate([left, left], exact).weight, POINTS, 50)
    torch.testing.assert_close(same, torch.full_like(same, 0.5))


def test_products_of_errors_give_the_best_constant_weights():
    exact = MixtureDenoiser(MIXTURE)
    pair = [MixtureDenoiser(MIXTURE.part(0)), MixtureDenoiser(MIXTURE.part(1, 2))]
    products = gram(pair, exact, 100)
    weights = best_gate(products)
    weighted = Average(pair, lambda t: weights.tolist())
    assert float(gram([weighted], exact, 100)) == pytest.approx(float(weights @ products @ weights), rel=1e-4)
    for other in ([0.5, 0.5], [0.9, 0.1]):
        assert gram([Average(pair, lambda t, other=other: other)], exact, 100) >= weights @ products @ weights


@pytest.mark.parametrize("parts", [((0.0,), (1.0, 1.0), (1.0,)), ((0.0,), (0.0,), (1.0,)), ((0.0,), (1.0,), (0.5,))])
def test_what_is_no_mixture_is_refused(parts):
    with pytest.raises(DiffensError, match="a mixture has"):
        Mixture(*parts)
