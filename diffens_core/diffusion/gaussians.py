"""Gaussian volumes, for which experts, fusion and sampler are known exactly: no data, no training, no sampling.

If `x0 ~ N(0, cov)`, the best prediction of the noise in `xt` is a linear map, both from the whole volume (the joint
denoiser) and from one slice (a perfect 2D model). So are averages and gated sums of such predictions, and DDIM around
them; expected errors are traces of matrices. Voxels are numbered as in `volume.flatten()`, N in all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import torch

from ..data.crops import Cropping, Crops
from ..data.planes import coordinates, plane_dim
from ..support.seeds import mix_seed
from .model import Denoiser
from .sampler import noise_levels
from .schedule import Schedule


@dataclass(frozen=True)
class GaussianVolumes:
    """Volumes [X, Y, Z] with mean 0 and covariance `cov` [N, N] float64."""

    cov: torch.Tensor
    shape: tuple[int, int, int]

    @cached_property
    def root(self) -> torch.Tensor:
        """A root [N, N] of the covariance: `root @ root.T == cov`."""
        return torch.linalg.cholesky(self.cov)

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Random volumes `x0` [count, 1, X, Y, Z] float32."""
        white = torch.randn(count, len(self.cov), generator=generator, dtype=torch.float64)
        return (white @ self.root.T).float().reshape(count, 1, *self.shape)

    def crops(self, numbers: range, step: int, cropping: Cropping) -> Crops:
        """New whole volumes, with condition 0, for one training step: the interface of `PreparedData.crops`."""
        draw = torch.Generator().manual_seed(mix_seed(cropping.seed, step, "gaussian"))
        x0 = self.draw(len(numbers), draw)
        coords = coordinates(self.shape).expand(len(x0), -1, -1, -1, -1)
        return Crops(x0, torch.zeros_like(x0), coords, [draw] * len(x0))


def fibres(
    shape: tuple[int, int, int], tilt: float = 15.0, along: float = 4.0, across: float = 1.0, third: float = 2.0
) -> GaussianVolumes:
    """Two textures of variance 1: fibres run near the X axis at the posterior end of the volume, near Z anteriorly.

    tilt: degrees between fibres and the axis, within coronal planes; with 0 they lie in axial or sagittal slices, with
    45 in neither. along, across, third: correlation lengths in voxels along the fibres, across them, and along Y. The
    correlation is Matern's, `(1 + d) exp(-d)`; the textures are independent and cross-fade along Y.
    """
    position = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in shape))  # [N, 3]
    turn = math.pi / 2 * torch.sigmoid(6 * (position[:, 1] * 2 / max(1, shape[1] - 1) - 1))
    cov = 0
    for degrees, strength in ((tilt, turn.cos()), (90 - tilt, turn.sin())):
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        frame = torch.tensor([[c / along, -s / across, 0], [0, 0, 1 / third], [s / along, c / across, 0]]).to(position)
        distance = math.sqrt(3) * torch.cdist(position @ frame, position @ frame)
        cov = cov + strength[:, None] * (1 + distance) * torch.exp(-distance) * strength
    return GaussianVolumes(cov, tuple(shape))


class ExactDenoiser(Denoiser):
    """The expected noise, given the voxels that it sees: a denoiser without parameters.

    planes: with none it sees the whole volume, and is the joint denoiser; with one it sees one slice of that plane at a
    time, as a perfect 2D model that knows where its slice lies; with two, the line where slices of both planes meet.
    """

    def __init__(self, volumes: GaussianVolumes, planes: Sequence[str] = (), schedule: Schedule | None = None):
        super().__init__()
        self.schedule = schedule or Schedule()
        dims = [plane_dim(plane) - 2 for plane in planes]
        voxels = torch.arange(len(volumes.cov)).reshape(volumes.shape).movedim(dims, list(range(len(dims))))
        seen = voxels.reshape(math.prod(volumes.shape[dim] for dim in dims), -1)
        values, vectors = torch.linalg.eigh(volumes.cov[seen[:, :, None], seen[:, None, :]])
        self.register_buffer("seen", seen)  # [G, n]: voxels of each slice
        self.register_buffer("values", values)  # [G, n]
        self.register_buffer("vectors", vectors)  # [G, n, n]

    def _shrink(self, alpha_bar: torch.Tensor) -> torch.Tensor:
        """Eigenvalues of `sqrt(1 - alpha_bar) (alpha_bar cov + (1 - alpha_bar) I)^-1`, [..., G, n]."""
        alpha_bar = alpha_bar[..., None, None].to(self.values)
        return (1 - alpha_bar).sqrt() / (alpha_bar * self.values + 1 - alpha_bar)

    def forward(self, xt, y, t, coords=None) -> torch.Tensor:
        """`eps` [B, 1, X, Y, Z] for `xt` [B, 1, X, Y, Z] and `t` [B]; `y` and `coords` are not read."""
        parts = xt.flatten(1).double()[:, self.seen]
        parts = torch.einsum("gji,bgj->bgi", self.vectors, parts) * self._shrink(self.schedule.alpha_bar[t.cpu()])
        eps = torch.zeros_like(xt.flatten(1))
        eps[:, self.seen] = torch.einsum("gij,bgj->bgi", self.vectors, parts).to(eps)
        return eps.reshape(xt.shape)

    def matrix(self, t: int) -> torch.Tensor:
        """The denoiser at step `t` as a matrix [N, N] float64: `eps = matrix @ xt.flatten()`."""
        blocks = (self.vectors * self._shrink(self.schedule.alpha_bar[t])[:, None]) @ self.vectors.mT
        out = blocks.new_zeros(self.seen.numel(), self.seen.numel())
        out[self.seen[:, :, None], self.seen[:, None, :]] = blocks
        return out


class Analysis:
    """The ways to fuse the exact experts of `planes`, as matrices and expected errors."""

    def __init__(self, volumes: GaussianVolumes, planes: Sequence[str], schedule: Schedule | None = None):
        self.volumes, self.planes, self.schedule = volumes, tuple(planes), schedule or Schedule()
        self.joint = ExactDenoiser(volumes, (), self.schedule)
        groups = [group for k in range(1, len(planes) + 1) for group in combinations(planes, k)]
        self.parts = {group: ExactDenoiser(volumes, group, self.schedule) for group in groups}
        self.experts = [self.parts[plane,] for plane in planes]

    def noisy_cov(self, t: int) -> torch.Tensor:
        """Covariance of `xt`, [N, N]: `alpha_bar cov + (1 - alpha_bar) I`."""
        alpha_bar = self.schedule.alpha_bar[t]
        return alpha_bar * self.volumes.cov + (1 - alpha_bar) * torch.eye(len(self.volumes.cov), dtype=torch.float64)

    def gram(self, t: int) -> torch.Tensor:
        """`E[d_p d_q]` at each voxel, [N, P, P]; `d_p`: expert p's `eps` minus the joint denoiser's."""
        offsets = torch.stack([expert.matrix(t) for expert in self.experts]) - self.joint.matrix(t)
        return torch.einsum("pij,qij->ipq", offsets @ self.noisy_cov(t), offsets)

    def maps(self, t: int) -> dict[str, torch.Tensor]:
        """Matrices [N, N] from `xt` to `eps`: of the joint denoiser, each plane, and each way to fuse the planes.

        `sum - overlap` adds the planes and subtracts what they have in common (inclusion and exclusion).
        """
        planes = torch.stack([expert.matrix(t) for expert in self.experts])
        gram = self.gram(t)
        by_voxel = best_gate(gram)
        return {
            "joint": self.joint.matrix(t),
            **dict(zip(self.planes, planes)),
            "average": planes.mean(0),
            "constant gate": torch.einsum("p,pij->ij", best_gate(gram.mean(0)), planes),
            "voxelwise gate": torch.einsum("ip,pij->ij", by_voxel, planes),
            "sum - overlap": sum((-1) ** (1 + len(g)) * part.matrix(t) for g, part in self.parts.items()),
        }

    def excess(self, t: int) -> dict[str, float]:
        """Mean squared distance of the `eps` of each plane and fusion from the joint denoiser's.

        It is how much their squared error exceeds the joint denoiser's own, the unavoidable `least`. `any gate` is a
        lower bound for all gates with weights in [0, 1], whatever they read.
        """
        cov, maps, gram = self.noisy_cov(t), self.maps(t), self.gram(t)
        joint = maps.pop("joint")
        errors = {name: float((((m - joint) @ cov) * (m - joint)).sum() / len(cov)) for name, m in maps.items()}
        least = 1 - float(((joint @ cov) * joint).sum() / len(cov))
        return {"least": least, **errors, "any gate": float(beyond_reach(gram)[0].mean())}

    def samplers(self, steps: int, rules: Mapping[str, Callable[[int], str]] | None = None) -> dict[str, torch.Tensor]:
        """Matrices M [N, N] from starting noise to sample, of DDIM (`eta = 0`) with each of `maps`.

        The covariance of the samples is `M M^T`. rules: further samplers; at step t each uses the map `rule(t)` names.
        """
        out = {}
        for t, after in noise_levels(self.schedule, steps):
            before = float(self.schedule.alpha_bar[t])
            keep = math.sqrt(after / before)
            swap = math.sqrt(1 - after) - keep * math.sqrt(1 - before)
            maps = self.maps(t)
            mixed = {name: maps[rule(t)] for name, rule in (rules or {}).items()}
            for name, m in {**maps, **mixed}.items():
                state = out.get(name, torch.eye(len(m), dtype=m.dtype))
                out[name] = keep * state + swap * (m @ state)
        return out


def best_gate(gram: torch.Tensor) -> torch.Tensor:
    """The weights [..., P], none negative and with sum 1, that minimise `w^T gram w`; gram: [..., P, P].

    The minimum lies inside the simplex or inside one of its faces; as there are few planes, all are tried.
    """
    count = gram.shape[-1]
    scale = gram.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    gram = gram + (1e-12 * scale + 1e-300) * torch.eye(count).to(gram)  # for equal or perfect experts too
    best, least = torch.zeros_like(gram[..., 0]), torch.full_like(gram[..., 0, 0], torch.inf)
    for face in (list(f) for k in range(1, count + 1) for f in combinations(range(count), k)):
        part = gram[..., face, :][..., face]
        inside = torch.linalg.solve(part, torch.ones_like(part[..., :1]))[..., 0]
        weights = torch.zeros_like(best)
        weights[..., face] = inside / inside.sum(-1, keepdim=True)
        value = torch.einsum("...p,...pq,...q->...", weights, gram, weights)
        better = (weights >= 0).all(-1) & (value < least)
        best, least = torch.where(better[..., None], weights, best), torch.where(better, value, least)
    return best


def beyond_reach(gram: torch.Tensor, directions: int = 4096) -> tuple[torch.Tensor, torch.Tensor]:
    """How far the joint answer lies outside the range of the experts' answers, which no weights in [0, 1] leave.

    gram: [N, P, P]. Returns [N] the expected squared distance, and [N] how often the joint answer lies in the range.
    The offsets are Gaussian, so it suffices to average over their direction: over a fixed, even set of directions.
    """
    sobol = torch.quasirandom.SobolEngine(gram.shape[-1], scramble=True, seed=0).draw(directions, dtype=gram.dtype)
    normal = torch.special.ndtri(sobol.clamp(1e-9, 1 - 1e-9))
    unit = normal / normal.norm(dim=1, keepdim=True)
    values, vectors = torch.linalg.eigh(gram)
    root = vectors * values.clamp(min=0).sqrt()[:, None]
    offsets = math.sqrt(gram.shape[-1]) * unit @ root.mT  # [N, directions, P]
    outside = (offsets > 0).all(-1) | (offsets < 0).all(-1)
    return (offsets.square().amin(-1) * outside).mean(-1), 1 - outside.to(gram).mean(-1)


def frechet(cov: torch.Tensor, other: torch.Tensor) -> float:
    """Squared Frechet distance per voxel of two Gaussians with mean 0; cov, other: [N, N]. FID is that of features."""
    values, vectors = torch.linalg.eigh(cov)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ other @ root).clamp(min=0).sqrt().sum()
    return max(0.0, float((cov.trace() + other.trace() - 2 * cross) / len(cov)))


def correlation_by_lag(cov: torch.Tensor, shape: Sequence[int], plane: str) -> list[float]:
    """Mean correlation of voxels at the same position in slices of `plane` that lie 0, 1, ... apart; cov: [N, N]."""
    dim = plane_dim(plane) - 2
    std = cov.diagonal().sqrt()
    pairs = (cov / std[:, None] / std).reshape(*shape, *shape).movedim((dim, dim + 3), (0, 1))
    pairs = torch.einsum("mnabab->mnab", pairs).mean((2, 3))
    return [float(pairs.diagonal(lag).mean()) for lag in range(shape[dim])]
