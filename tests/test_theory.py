"""Gaussian volumes: every closed form against brute force, random draws, or a case that is known by thought."""

import math

import pytest
import torch
from scipy.stats import multivariate_normal
from tiny import draw_batch

from diffens_core.diffusion.gaussians import (
    Analysis,
    ExactDenoiser,
    GaussianVolumes,
    best_gate,
    beyond_reach,
    correlation_by_lag,
    fibres,
    frechet,
)
from diffens_core.diffusion.sampler import ddim
from diffens_core.diffusion.schedule import Schedule
from diffens_core.models.experts import Average

SHAPE = (3, 2, 4)
PLANES = ("axial", "sagittal")


def wild(shape=SHAPE, seed=0) -> GaussianVolumes:
    """A covariance without any structure."""
    n = math.prod(shape)
    root = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / math.sqrt(n)
    return GaussianVolumes(root @ root.T + 0.05 * torch.eye(n, dtype=torch.float64), shape)


def random_gram(count: int, experts: int, seed=0) -> torch.Tensor:
    roots = torch.randn(count, experts, experts, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return roots @ roots.mT


def conditional_mean_of_noise(volumes: GaussianVolumes, alpha_bar: float, xt: torch.Tensor, seen: list[int]):
    """`E[eps | xt at the voxels seen]` of those voxels, from the textbook formula for the Gaussian (x0, eps)."""
    n = len(volumes.cov)
    both = torch.block_diag(volumes.cov, torch.eye(n, dtype=torch.float64))  # covariance of (x0, eps)
    look = torch.cat([math.sqrt(alpha_bar) * torch.eye(n), math.sqrt(1 - alpha_bar) * torch.eye(n)], 1).double()[seen]
    gain = both @ look.T @ torch.linalg.inv(look @ both @ look.T)
    return (gain @ xt[seen])[[n + voxel for voxel in seen]]


@pytest.mark.parametrize("planes", [(), ("sagittal",), ("coronal",), ("axial",), PLANES, ("axial", "coronal")])
@pytest.mark.parametrize("t", [0, 300, 999])
def test_exact_denoiser_is_the_conditional_expectation(planes, t):
    volumes = wild()
    denoiser = ExactDenoiser(volumes, planes)
    xt = torch.randn(2, 1, *SHAPE, generator=torch.Generator().manual_seed(1))
    eps = denoiser(xt, torch.zeros_like(xt), torch.tensor([t, 500]))
    cut = ["sagittal", "coronal", "axial"]
    places = [(x, y, z) for x in range(SHAPE[0]) for y in range(SHAPE[1]) for z in range(SHAPE[2])]
    for b, step in enumerate((t, 500)):
        alpha_bar = float(denoiser.schedule.alpha_bar[step])
        for voxel, place in enumerate(places):
            same = [all(p[cut.index(plane)] == place[cut.index(plane)] for plane in planes) for p in places]
            seen = [i for i, inside in enumerate(same) if inside]
            wanted = conditional_mean_of_noise(volumes, alpha_bar, xt[b].flatten().double(), seen)
            assert abs(float(eps[b].flatten()[voxel] - wanted[seen.index(voxel)])) < 1e-5
    by_matrix = (denoiser.matrix(t) @ xt[0].flatten().double()).float()
    torch.testing.assert_close(by_matrix, eps[0].flatten(), atol=1e-5, rtol=1e-5)


def test_joint_denoiser_is_the_score_of_the_noisy_density():
    """`eps = -sqrt(1 - alpha_bar) grad log p(xt)`, by finite differences of scipy's density."""
    volumes, t = wild((2, 2, 2)), 400
    analysis = Analysis(volumes, PLANES)
    density = multivariate_normal(torch.zeros(8).numpy(), analysis.noisy_cov(t).numpy())
    xt = torch.randn(8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    steps = 1e-5 * torch.eye(8, dtype=torch.float64)
    slope = [(density.logpdf((xt + h).numpy()) - density.logpdf((xt - h).numpy())) / 2e-5 for h in steps]
    noise = math.sqrt(1 - analysis.schedule.alpha_bar[t])
    torch.testing.assert_close(
        analysis.joint.matrix(t) @ xt, -noise * torch.tensor(slope, dtype=torch.float64), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("planes", [PLANES, ("axial", "sagittal", "coronal")])
def test_expected_errors_are_those_of_many_draws(planes):
    """Against the true noise: every fusion's mean squared error is the least one plus its excess."""
    volumes, t, count = wild(), 300, 40_000
    analysis = Analysis(volumes, planes)
    generator = torch.Generator().manual_seed(3)
    x0 = volumes.draw(count, generator)
    eps = torch.randn(x0.shape, generator=generator)
    xt = analysis.schedule.add_noise(x0, eps, torch.tensor([t])).flatten(1).double()
    eps, excess = eps.flatten(1).double(), analysis.excess(t)
    maps = analysis.maps(t)
    assert set(excess) - set(maps) == {"least", "any gate"}
    for name, matrix in maps.items():
        errors = (xt @ matrix.T - eps).square().mean(1)
        wanted = excess["least"] + (excess[name] if name != "joint" else 0.0)
        assert abs(float(errors.mean()) - wanted) < 5 * float(errors.std()) / math.sqrt(count), name
    joint = xt @ maps["joint"].T
    guesses = torch.stack([xt @ maps[plane].T for plane in planes])
    best = torch.minimum(torch.maximum(joint, guesses.amin(0)), guesses.amax(0))  # a gate that knows the answer
    errors = (best - joint).square().mean(1)
    tolerance = 5 * float(errors.std()) / math.sqrt(count) + 2e-3 * excess["any gate"]
    assert abs(float(errors.mean()) - excess["any gate"]) < tolerance


@pytest.mark.parametrize("planes", [PLANES, ("axial", "sagittal", "coronal")])
def test_at_high_noise_the_excess_is_counted_in_pairs(planes):
    """Each pair of voxels enters with the share of the planes that see it; in the sum, fully if any plane sees it."""
    volumes, t = wild(), 999
    analysis = Analysis(volumes, planes)
    places = torch.tensor([(x, y, z) for x in range(SHAPE[0]) for y in range(SHAPE[1]) for z in range(SHAPE[2])])
    axes = [["sagittal", "coronal", "axial"].index(plane) for plane in planes]
    share = torch.stack([places[:, None, axis] == places[:, axis] for axis in axes]).double().mean(0)
    pairs = volumes.cov.square() * (1 - torch.eye(len(share), dtype=torch.float64))
    unit = float(analysis.schedule.alpha_bar[t] ** 2) / len(share)
    excess = analysis.excess(t)
    assert excess["average"] == pytest.approx(unit * float((pairs * (1 - share) ** 2).sum()), rel=0.01)
    assert excess["sum - overlap"] == pytest.approx(unit * float((pairs * (share == 0)).sum()), rel=0.01)


def test_the_fusions_are_ordered_as_they_must_be():
    analysis = Analysis(fibres((4, 4, 4)), PLANES)
    for t in (10, 300, 700, 990):
        e = analysis.excess(t)
        assert 0 < e["any gate"] < e["voxelwise gate"] < e["average"] < min(e[plane] for plane in PLANES)
        assert e["constant gate"] <= e["average"] * (1 + 1e-9)  # equal here: the toy is symmetric


def test_average_is_the_packages_average():
    analysis = Analysis(wild(), PLANES)
    xt = torch.randn(3, 1, *SHAPE, generator=torch.Generator().manual_seed(4))
    eps = Average(analysis.experts)(xt, torch.zeros_like(xt), torch.tensor([500, 500, 500]))
    by_matrix = xt.flatten(1).double() @ analysis.maps(500)["average"].T
    torch.testing.assert_close(eps.flatten(1), by_matrix.float(), atol=1e-5, rtol=1e-5)


def test_a_slices_estimate_is_a_timid_version_of_the_joint_one():
    """The tower property: `E[x0_p x0_joint] = E[x0_p^2]`, voxel by voxel; so a plane's estimate is the smaller."""
    analysis, t = Analysis(wild(), PLANES), 400
    alpha_bar, cov = analysis.schedule.alpha_bar[t], analysis.noisy_cov(t)
    estimate = {
        name: (torch.eye(len(cov), dtype=cov.dtype) - (1 - alpha_bar).sqrt() * m) / alpha_bar.sqrt()
        for name, m in analysis.maps(t).items()
    }
    size = {name: ((e @ cov) * e).sum(1) for name, e in estimate.items()}
    for plane in PLANES:
        torch.testing.assert_close(((estimate[plane] @ cov) * estimate["joint"]).sum(1), size[plane])
        assert (size[plane] < size["joint"]).all()


def test_white_volumes_need_no_neighbours():
    volumes = GaussianVolumes(torch.eye(24, dtype=torch.float64), SHAPE)
    assert all(value < 1e-20 for name, value in Analysis(volumes, PLANES).excess(300).items() if name != "least")


def test_independent_slices_need_one_plane_only():
    """Correlation within axial slices alone: the axial expert is exact, every gate finds it, the average is not."""
    in_plane = wild((3, 2, 1)).cov
    volumes = GaussianVolumes(torch.kron(in_plane, torch.eye(4, dtype=torch.float64)), SHAPE)
    analysis = Analysis(volumes, PLANES)
    excess = analysis.excess(300)
    assert all(excess[name] < 1e-12 for name in ("axial", "constant gate", "voxelwise gate", "any gate"))
    assert excess["sagittal"] > 1.9 * excess["average"] > 0.01
    assert excess["sum - overlap"] < 1e-20  # a sagittal slice knows what its lines know
    assert (best_gate(analysis.gram(300))[:, 0] > 0.999).all()


@pytest.mark.parametrize("experts", [1, 2, 3])
def test_no_other_weights_beat_the_best_gate(experts):
    gram = random_gram(50, experts)
    best = best_gate(gram)
    torch.testing.assert_close(best.sum(-1), torch.ones(50, dtype=torch.float64))
    assert (best >= 0).all()
    torch.manual_seed(0)
    others = torch.distributions.Dirichlet(0.5 * torch.ones(experts, dtype=torch.float64)).sample((20_000,))
    value = torch.einsum("np,npq,nq->n", best, gram, best)
    rivals = torch.einsum("kp,npq,kq->nk", others, gram, others).amin(1)
    assert (value <= rivals * (1 + 1e-9)).all()
    if experts == 2:  # the parabola's minimum, cut to [0, 1]
        a, b, c = gram[:, 0, 0], gram[:, 1, 1], gram[:, 0, 1]
        torch.testing.assert_close(best[:, 0], ((b - c) / (a + b - 2 * c)).clamp(0, 1))


def test_reach_of_a_gate_in_cases_known_by_thought():
    """Offsets of equal size: independent ones straddle 0 half the time; equal ones never; opposite ones always."""
    gram = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]], [[1.0, -1.0], [-1.0, 1.0]]]).double()
    distance, within = beyond_reach(gram)
    wanted = torch.tensor([0.5 - 1 / math.pi, 1.0, 0.0], dtype=torch.float64)  # half of E[min(a^2, b^2)] = 1 - 2 / pi
    torch.testing.assert_close(distance, wanted, atol=2e-3, rtol=0)
    torch.testing.assert_close(within, torch.tensor([0.5, 0.0, 1.0], dtype=torch.float64), atol=2e-3, rtol=0)


@pytest.mark.parametrize("experts", [2, 3])
def test_reach_of_a_gate_is_that_of_many_draws(experts):
    gram = random_gram(3, experts)
    draws = torch.randn(400_000, experts, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    offsets = draws @ torch.linalg.cholesky(gram).mT
    outside = (offsets > 0).all(-1) | (offsets < 0).all(-1)
    distance, within = beyond_reach(gram)
    torch.testing.assert_close(distance, (offsets.square().amin(-1) * outside).mean(-1), rtol=0.02, atol=1e-3)
    torch.testing.assert_close(within, 1 - outside.double().mean(-1), rtol=0, atol=5e-3)


def test_sampler_as_a_matrix_is_the_sampler():
    analysis = Analysis(wild(), PLANES)
    noise = torch.randn(2, 1, *SHAPE, generator=torch.Generator().manual_seed(6))
    samplers = analysis.samplers(7)
    for name, denoiser in {"joint": analysis.joint, "average": Average(analysis.experts)}.items():
        *_, last = ddim(denoiser, torch.zeros_like(noise), noise, 7, clamp=False)
        by_matrix = noise.flatten(1).double() @ samplers[name].T
        torch.testing.assert_close(last.x0_hat.flatten(1), by_matrix.float(), atol=1e-4, rtol=1e-4)


def test_a_rule_chooses_the_map_of_each_step():
    analysis = Analysis(wild((2, 2, 2)), PLANES)
    rules = {"all": lambda t: "average", "early": lambda t: "average" if t >= 500 else "joint"}
    out = analysis.samplers(8, rules)
    assert torch.equal(out["all"], out["average"])
    assert not any(torch.allclose(out["early"], out[name]) for name in ("average", "joint"))


def test_the_sums_steps_are_wrong_and_its_samples_right_where_correlations_are_products():
    """Then all maps commute, and the sampler of the sum is the product of two samplers divided by the third."""
    axes = [r ** (torch.arange(n)[:, None] - torch.arange(n)).abs().double() for n, r in zip(SHAPE, (0.6, 0.5, 0.8))]
    volumes = GaussianVolumes(torch.kron(torch.kron(axes[0], axes[1]), axes[2]), SHAPE)
    analysis = Analysis(volumes, PLANES)
    excess = analysis.excess(500)
    assert excess["sum - overlap"] > 0.3 * excess["average"]
    joint, total, average = (m @ m.T for m in map(analysis.samplers(400).get, ("joint", "sum - overlap", "average")))
    assert frechet(joint, total) < 1e-4 < 0.05 < frechet(joint, average)


def test_samples_of_the_joint_denoiser_reach_the_truth_and_those_of_the_average_never():
    volumes = fibres((4, 2, 4))
    analysis = Analysis(volumes, PLANES, Schedule())
    off = {}
    for steps in (10, 50, 250):
        off[steps] = {name: frechet(volumes.cov, m @ m.T) for name, m in analysis.samplers(steps).items()}
    assert off[10]["joint"] > off[50]["joint"] > off[250]["joint"] and off[250]["joint"] < 1e-3
    assert off[250]["average"] > 50 * off[250]["joint"]


def test_frechet_distance_of_commuting_covariances():
    a, b = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 4.0, 1.0]).double()
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(7), dtype=torch.float64))[0]
    found = frechet(turn * a @ turn.T, turn * b @ turn.T)
    assert found == pytest.approx(float((a.sqrt() - b.sqrt()).square().mean()))


def test_fibres_have_unit_variance_and_run_along_x_behind_and_along_z_in_front():
    volumes = fibres((5, 6, 5), tilt=0)
    torch.testing.assert_close(volumes.cov.diagonal(), torch.ones(150, dtype=torch.float64))
    assert torch.linalg.eigvalsh(volumes.cov).min() > 0
    by_place = volumes.cov.reshape(5, 6, 5, 5, 6, 5)
    along_x, along_z = by_place[0, :, 0, 2, :, 0].diagonal(), by_place[0, :, 0, 0, :, 2].diagonal()
    long, short = ((1 + d) * math.exp(-d) for d in (2 * math.sqrt(3) / 4, 2 * math.sqrt(3)))
    assert float(along_x[0]) == pytest.approx(long, abs=1e-2) and float(along_z[0]) == pytest.approx(short, abs=1e-2)
    assert float(along_z[-1]) == pytest.approx(long, abs=1e-2) and float(along_x[-1]) == pytest.approx(short, abs=1e-2)


def test_tilted_fibres_leave_the_planes():
    """At 45 degrees a diagonal neighbour is the closest relative, and the two textures are one."""
    by_place = fibres((4, 3, 4), tilt=45).cov.reshape(4, 3, 4, 4, 3, 4)
    diagonal, other = by_place[0, 1, 0, 1, 1, 1], by_place[0, 1, 1, 1, 1, 0]
    d = math.sqrt(3) * math.sqrt(2) / 4
    assert float(diagonal) == pytest.approx((1 + d) * math.exp(-d)) and other < 0.4 < by_place[0, 1, 0, 1, 1, 0]


def test_correlation_by_lag_of_a_separable_covariance():
    x, y, z = (r ** (torch.arange(n)[:, None] - torch.arange(n)).abs().double() for n, r in zip(SHAPE, (0.3, 0.5, 0.8)))
    scale = torch.linspace(1, 2, 24, dtype=torch.float64)
    cov = scale[:, None] * torch.kron(torch.kron(x, y), z) * scale
    for plane, wanted in {"sagittal": x[0], "coronal": y[0], "axial": z[0]}.items():
        assert correlation_by_lag(cov, SHAPE, plane) == pytest.approx(wanted.tolist())


def test_batches_depend_on_seed_and_step_alone_and_have_the_covariance():
    volumes = wild()
    one, again, other = (draw_batch(volumes, range(4), None, 0, step) for step in (3, 3, 4))
    assert torch.equal(one.x0, again.x0) and torch.equal(one.eps, again.eps) and not torch.equal(one.x0, other.x0)
    assert torch.equal(one.t, again.t) and not torch.equal(one.t, other.t)
    assert one.coords.shape == (4, 3, *SHAPE) and one.y.shape == one.x0.shape and one.t.dtype == torch.int64
    draws = volumes.draw(50_000, torch.Generator().manual_seed(8)).flatten(1).double()
    error = ((volumes.cov.diagonal()[:, None] * volumes.cov.diagonal() + volumes.cov**2) / 50_000).sqrt()
    assert ((draws.T.cov() - volumes.cov).abs() <= 5 * error).all()
