"""A glioma: necrotic core, enhancing rim, oedema along the white matter, and the tissue it pushes away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

NECROTIC, OEDEMA, ENHANCING = 1, 2, 4
# Lattice spacing in mm and standard deviation of the fields that make it irregular: outline, rim, oedema
OUTLINE, RIM, REACH = {14.0: 1.0, 6.0: 0.5}, {9.0: 1.0, 4.5: 0.6}, {25.0: 1.0, 8.0: 0.6}


@dataclass(frozen=True)
class Glioma:
    """A glioma in a head. center: [3], mm; radius: of the core, rim: its thickness, reach: of the oedema, all mm;
    shape: [3, 3], stretches distances from the centre."""

    center: np.ndarray
    radius: float
    rim: float
    reach: float
    shape: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, seeds: np.ndarray) -> Glioma:
        """A random glioma around one of `seeds` [N, 4] (mm, and depth below the surface) that is deep enough."""
        rotation = Rotation.random(random_state=rng).as_matrix()
        stretch = np.diag(np.exp(rng.normal(0, 0.15, 3)))
        radius = rng.uniform(8, 18)
        fits = seeds[seeds[:, 3] > 0.9 * radius + 2]
        return cls(
            center=(fits[rng.integers(len(fits)), :3] + rng.uniform(-2, 2, 3)).astype(np.float32),
            radius=radius,
            rim=rng.uniform(2.5, 4.5),
            reach=rng.uniform(6, 15),
            shape=(rotation @ stretch @ rotation.T).astype(np.float32),
        )

    def push(self, points: np.ndarray) -> np.ndarray:
        """The positions, before the tumour grew, of the tissue that is now at `points` [3, N]: closer to its centre.

        The displaced volume is half that of the core near it, and less with the distance.
        """
        offset = points - self.center[:, None]
        cube = np.linalg.norm(offset, axis=0) ** 3 + 1e-3
        grown = (0.8 * self.radius) ** 3 * np.exp(-(np.cbrt(cube) ** 2) / 50.0**2)
        return points + offset * (np.cbrt(np.clip(1 - grown / cube, 0.1, 1)) - 1)

    def invade(self, healthy: np.ndarray, points: np.ndarray, fields: list[np.ndarray], spacing: float):
        """Tissue shares [6, N] (CSF, GM, WM, oedema, enhancing, necrotic) and labels [N], from healthy shares [3, N].

        points: [3, N], mm. fields: three random fields [N], of `OUTLINE`, `RIM` and `REACH`.
        """
        level = np.linalg.norm(self.shape @ (points - self.center[:, None]), axis=0)
        level += 0.2 * self.radius * fields[0]
        core = _within(level, self.radius, max(1.5, spacing))
        inner = self.radius - self.rim * np.clip(1 + 0.5 * fields[1], 0.3, None)
        necrotic = np.minimum(core, _within(level, inner, max(1.5, spacing)))
        edge = self.radius + self.reach * (0.35 + 0.8 * healthy[2] + 0.35 * fields[2])
        swollen = _within(level, edge, 2 + spacing)
        fading = np.clip((level - self.radius) / (1.5 * self.reach), 0, 1)
        rest = healthy * (1 - core)
        taken = rest[1:] * swollen * (0.6 + 0.4 * healthy[2]) * (1 - 0.4 * fading)
        rest[1:] -= taken
        labels = np.where((swollen > 0.5) & (healthy[0] < 0.5), OEDEMA, 0).astype(np.uint8)
        labels[core > 0.5] = ENHANCING
        labels[necrotic > 0.5] = NECROTIC
        return np.stack([*rest, taken.sum(0), core - necrotic, necrotic]).astype(np.float32), labels


def _within(level: np.ndarray, limit, width: float) -> np.ndarray:
    """1 well inside the surface where `level` is `limit`, 0 well outside, linear over `width` mm between."""
    return np.clip((limit - level) / np.float32(width) + 0.5, 0, 1)
