"""Embedded data: phantoms that are described without any file, and made when they are first read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..data.layout import EMBEDDED, DataConfig, fingerprint
from ..data.preparation import preparation
from ..support.places import home, shorten
from ..support.progress import Progress


@dataclass(frozen=True)
class Phantoms:
    """A set of phantoms. name: of its folder below `home() / "data"`; counts: train, val, test; spacing: mm."""

    name: str
    counts: tuple[int, int, int]
    spacing: float
    seed: int = 0

    @property
    def root(self) -> Path:
        """The folder that holds them once they are made."""
        return home() / "data" / self.name

    def describe(self, shape) -> DataConfig:
        """The description that `describe_data` will give of them, in windows of `shape` voxels."""
        listed, made_with = preparation("phantom").describe(self.counts, self.spacing, self.seed)
        digits = fingerprint(EMBEDDED, listed.items(), made_with)
        return DataConfig(shorten(self.root), EMBEDDED, digits, self.spacing, tuple(shape))

    def make(self, splits: Iterable[str]) -> None:
        """Make the missing phantoms of some splits; wait for another process that makes them."""
        options = {"subjects": self.counts, "spacing": self.spacing, "seed": self.seed}
        with Progress("making phantoms", 0) as bar:
            preparation("phantom").prepare_phantoms(self.root, only=tuple(splits), progress=bar.count, **options)
