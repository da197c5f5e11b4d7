"""Distances between sets of volumes against MONAI, scipy, closed forms and cases worked out by hand."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.spatial.distance import pdist

from diffens_core.evaluation.distributions import VoxelMeans, frechet_distance, mmd_rbf, small_sample_curve


def normal(n, features, seed=0, shift=0.0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return shift + scale * torch.randn(n, features, generator=generator, dtype=torch.float64)


def test_frechet_distance_equals_monai_and_scipy():
    from monai.metrics import FIDMetric

    x, y = normal(60, 8), normal(50, 8, seed=1, shift=0.5, scale=1.4)
    ours = frechet_distance(x, y)
    assert ours == pytest.approx(float(FIDMetric()(x, y)), rel=1e-6)
    a, b = (np.cov(f.numpy(), rowvar=False) for f in (x, y))
    shift = float(((x.mean(0) - y.mean(0)) ** 2).sum())
    assert ours == pytest.approx(shift + np.trace(a + b - 2 * sqrtm(a @ b).real), rel=1e-8)


def test_frechet_distance_of_many_normal_vectors_is_that_of_the_gaussians():
    """Means m apart, standard deviations 1 and s in each of d directions: d (m^2 + (1 - s)^2)."""
    x, y = normal(200_000, 3), normal(200_000, 3, seed=1, shift=2.0, scale=3.0)
    assert frechet_distance(x, y) == pytest.approx(3 * (4 + 4), rel=0.02)


def test_frechet_distance_where_there_are_fewer_volumes_than_features():
    """A set and itself are 0 apart, a set and the same set moved are apart by the move; singular covariances."""
    x = normal(5, 300)
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(x, x + 0.1) == pytest.approx(300 * 0.01, rel=1e-9)


def test_mmd_by_its_definition():
    x, y = normal(4, 3).float(), normal(3, 3, seed=1, shift=1.0).float()
    found, bandwidth = mmd_rbf(x, y)
    every = torch.cat([x, y]).double().numpy()
    distances = np.sort(pdist(every[4:]))
    assert bandwidth == pytest.approx(distances[(len(distances) - 1) // 2])  # torch's median: the lower one

    def kernel(a, b):
        return np.exp(-((a - b) ** 2).sum() / (2 * bandwidth**2))

    p, q = every[:4], every[4:]
    within_p = np.mean([kernel(p[i], p[j]) for i in range(4) for j in range(4) if i != j])
    within_q = np.mean([kernel(q[i], q[j]) for i in range(3) for j in range(3) if i != j])
    across = np.mean([kernel(a, b) for a in p for b in q])
    assert found == pytest.approx(within_p + within_q - 2 * across)


def test_mmd_is_unbiased_and_sees_a_difference():
    same = [mmd_rbf(normal(10, 5, seed=2 * k), normal(10, 5, seed=2 * k + 1))[0] for k in range(200)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(len(same)) and min(same) < 0 < max(same)
    assert mmd_rbf(normal(40, 5), normal(40, 5, seed=1, shift=1.0))[0] > 4 * np.std(same)


def test_mmd_of_paired_sets_is_unbiased_and_zero_for_perfect_translations():
    """Translations are of the same subjects as the truth: as pairs they are no nearer than a distribution to itself."""
    x = normal(10, 5)
    assert mmd_rbf(x, x, paired=True)[0] == pytest.approx(0.0, abs=1e-12) and mmd_rbf(x, x)[0] < -0.05
    near = [
        mmd_rbf(f, f + normal(10, 5, seed=k, scale=0.3), paired=True)[0]
        for k, f in ((k, normal(10, 5, seed=1000 + k, scale=(1 - 0.3**2) ** 0.5)) for k in range(200))
    ]
    same = normal(4000, 5, seed=7), normal(4000, 5, seed=8, scale=(1 - 0.3**2) ** 0.5)
    assert np.mean(near) == pytest.approx(mmd_rbf(*same)[0], abs=4 * np.std(near) / np.sqrt(len(near)))


def test_order_of_subjects_does_not_matter():
    x, y = normal(9, 4), normal(8, 4, seed=1)
    assert mmd_rbf(x.flip(0), y.flip(0)) == pytest.approx(mmd_rbf(x, y))
    assert frechet_distance(x.flip(0), y.flip(0)) == pytest.approx(frechet_distance(x, y))


def test_linear_mmd_of_voxels_by_hand_and_one_subject_at_a_time():
    """Volumes in [-1, 1] are compared in [0, 1]: means that are 0.5 apart in 8 voxels, 0.25^2 * 8."""
    means = VoxelMeans()
    with pytest.raises(ValueError, match="at least one"):
        means.value  # noqa: B018
    means.add(torch.full((1, 2, 2, 2), 0.2), torch.zeros(1, 2, 2, 2))
    means.add(torch.full((1, 2, 2, 2), 0.8), torch.zeros(1, 2, 2, 2))
    assert means.value == pytest.approx(8 * 0.25**2) and means.count == 2


@pytest.mark.parametrize("distance", [mmd_rbf, frechet_distance])
def test_what_cannot_be_compared_is_refused(distance):
    x = normal(5, 3)
    with pytest.raises(ValueError, match="at least two"):
        distance(x[:1], x)
    with pytest.raises(ValueError, match="must be"):
        distance(x, normal(5, 4))
    with pytest.raises(ValueError, match="not finite"):
        distance(x, torch.full_like(x, float("nan")))
    with pytest.raises(ValueError, match="equal"):
        mmd_rbf(torch.ones(3, 2), torch.ones(3, 2))
    with pytest.raises(ValueError, match="no pairs"):
        mmd_rbf(normal(4, 2), normal(5, 2), paired=True)


def test_the_frechet_distance_falls_with_the_number_of_volumes():
    curve = small_sample_curve(frechet_distance, normal(400, 20), [5, 50, 200])
    means = [values.mean() for values in curve.values()]
    assert list(curve) == [5, 50, 200] and all(len(v) == 20 for v in curve.values())
    assert means[0] > 3 * means[1] > 6 * means[2] and all(values.std() > 0 for values in curve.values())
    with pytest.raises(ValueError, match="two sets of 201"):
        small_sample_curve(frechet_distance, normal(400, 20), [201])
