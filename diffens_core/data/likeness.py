"""How unlike a head is to those that a model was trained on: a measured distance, beside theirs from one another.

A head is described by some numbers about its conditions: its volume and lengths; of each condition the brightness at
some depths below the surface, which tells a FLAIR from a T1, its spread, and the change from a voxel to the next along
each axis, which thick slices, blur and noise alter. Its distance from a set of heads is the root mean square of how
many of their standard deviations these numbers lie from their means. It is unlike them if it is further away than nine
in ten of them are from the others: of new heads from the same source, about one in ten is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from ..support.errors import InputError

DEPTHS = (0, 3, 6, 12, 24)  # mm below the surface of the brain, from which on brightness is averaged
FEWEST = 3  # heads that tell what others are like
FLOOR = 0.02  # the least standard deviation that counts: of intensities in [-1, 1], and of logarithms


def numbers_of(y: torch.Tensor, spacing: Sequence[float], names: Sequence[str]) -> dict[str, float]:
    """The numbers that describe a head, by what they are.

    y: conditions [C, X, Y, Z] in [-1, 1] of these `names`, background -1 in the first; spacing: mm along R, A, S.
    Raises `InputError` where all is background.
    """
    brain = y[0] != -1.0
    if not brain.any():
        raise InputError("a head without brain is like none")
    found = {"volume": float(np.log(float(brain.sum()) * np.prod(spacing)))}
    for axis, (letter, step) in enumerate(zip("RAS", spacing)):
        inside = torch.nonzero(brain.movedim(axis, 0).flatten(1).any(1)).flatten()
        found[f"length along {letter}"] = float(np.log(float(inside[-1] - inside[0] + 1) * step))
    depth = distance_transform_edt(np.pad(brain.numpy(), 1), spacing)[1:-1, 1:-1, 1:-1]
    shells = [torch.from_numpy((depth > low) & (depth <= high)) for low, high in zip(DEPTHS, (*DEPTHS[1:], np.inf))]
    for channel, name in zip(y, names):
        whole = channel[brain].float()
        found[f"spread of {name}"] = float(whole.std(correction=0))
        for low, shell in zip(DEPTHS, shells):
            found[f"{name} below {low} mm"] = float((channel[shell] if shell.any() else whole).mean())
        for axis, letter in enumerate("RAS"):
            size = brain.shape[axis] - 1
            both = brain.narrow(axis, 0, size) & brain.narrow(axis, 1, size)
            change = float(channel.diff(dim=axis)[both].abs().mean()) if both.any() else 0.0
            found[f"change of {name} along {letter}"] = float(np.log(change + 1e-4))
    return found


@dataclass(frozen=True)
class Likeness:
    """The heads of a set: mean and standard deviation of each number, and the largest distance of one from the rest."""

    mean: dict[str, float]
    std: dict[str, float]
    farthest: float

    @classmethod
    def of(cls, heads: Iterable[Mapping[str, float]]) -> Likeness:
        """That of some heads, by `numbers_of`. Raises `InputError` for fewer than `FEWEST`."""
        heads = list(heads)
        if len(heads) < FEWEST:
            raise InputError(f"{len(heads)} heads do not tell what others are like: give {FEWEST} or more")
        table = np.array([list(head.values()) for head in heads])
        names = list(heads[0])
        rest = (cls._fitted(names, np.delete(table, k, 0), 0.0) for k in range(len(heads)))
        distances = [one.distance(head) for one, head in zip(rest, heads)]
        return cls._fitted(names, table, float(np.quantile(distances, 0.9)))

    @classmethod
    def _fitted(cls, names: Sequence[str], table: np.ndarray, farthest: float) -> Likeness:
        std = np.maximum(table.std(0, ddof=1), FLOOR)
        mean, std = (dict(zip(names, map(float, row))) for row in (table.mean(0), std))
        return cls(mean, std, farthest)

    def deviations(self, head: Mapping[str, float]) -> dict[str, float]:
        """By how many standard deviations each number of a head differs from the mean, with its sign."""
        return {name: (head[name] - mean) / self.std[name] for name, mean in self.mean.items()}

    def distance(self, head: Mapping[str, float]) -> float:
        """Root mean square of the `deviations`."""
        return float(np.sqrt(np.mean(np.square(list(self.deviations(head).values())))))

    def warning(self, head: Mapping[str, float]) -> str | None:
        """What is unlike about a head that is further away than `farthest`; None for another."""
        distance = self.distance(head)
        if distance <= self.farthest:
            return None
        deviations = self.deviations(head)
        most = sorted(deviations, key=lambda name: -abs(deviations[name]))[:3]
        listed = ", ".join(f"{name} {deviations[name]:+.1f}" for name in most)
        return (
            f"unlike the heads that this run was trained on: {distance:.1f} standard deviations away, theirs lie up to "
            f"{self.farthest:.1f} from one another (most of all: {listed}); look at the result with care"
        )

    def to_dict(self) -> dict:
        """What `from_dict` reads."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping) -> Likeness:
        """Raises `InputError` for what `to_dict` cannot have written."""
        try:
            mean, std = ({str(k): float(v) for k, v in content[key].items()} for key in ("mean", "std"))
            found = cls(mean, std, float(content["farthest"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError("no likeness of heads") from None
        if mean.keys() != std.keys() or not all(value > 0 for value in std.values()):
            raise InputError("no likeness of heads: a standard deviation is missing, or not above 0")
        return found
