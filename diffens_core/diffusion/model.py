"""The contract of models: what they offer to the sampler, to the training loop and to a fusion.

Everything that translates is a `Translator`, everything that a run trains is `Trainable`, and a model that predicts
noise is a `Denoiser`, which is both. No other types are distinguished.

Shapes, throughout: `x0`, `xt`, `eps` are [B, 1, X, Y, Z], the target in [-1, 1]; conditions `y` are [B, C, X, Y, Z];
steps `t` are int64 [B]; `coords` are [B, 3, X, Y, Z], or None for whole volumes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
import torch.nn as nn

from ..data.planes import Box
from .batch import Batch
from .loss import LossConfig, denoising_loss
from .residual import of_residuals, residual
from .sampler import Projection, Step, sampler_named
from .schedule import Schedule

# The loss of a batch under a training's settings; with a box, within it.
Objective = Callable[[Batch, LossConfig, Box | None], torch.Tensor]


class Translator(ABC):
    """Makes a sample of the target from conditions."""

    deterministic = False  # whether all its samples of a subject are the same
    any_sampler = False  # whether `trajectory` takes `sampler`, a name for `sampler_named`; else it has its own way

    @abstractmethod
    def trajectory(
        self, y, noise, steps: int, *, project: Projection | None = None, generator: torch.Generator | None = None
    ) -> Iterator[Step]:
        """The steps from `noise` [B, 1, X, Y, Z] to a sample, which is the `x0_hat` of the last one.

        steps: how many to take; project: corrects every clean estimate to what was measured; generator: of all other
        random numbers.
        """


class Trainable(ABC):
    """Has parameters that a run trains. The models that it builds on are its `experts`, which stay fixed."""

    neighbours = (2, 0)  # (dim, n): for a slice it also reads n slices on either side along `dim`

    @abstractmethod
    def objectives(self) -> Mapping[str, Objective]:
        """The losses, by the prefix of the parameters that minimise them; each has an optimiser of its own."""


class Denoiser(nn.Module, Translator, Trainable):
    """Predicts the noise in `xt`: `eps = denoiser(xt, y, t)`.

    of_residual: whether `xt` is a noisy residual (`residual.py`) instead of a noisy target.
    """

    schedule: Schedule
    of_residual = False
    any_sampler = True

    @abstractmethod
    def forward(self, xt, y, t, coords=None) -> torch.Tensor:
        """The predicted noise `eps` for a noisy target `xt` at steps `t` and conditions `y`."""

    def within(self, box: Box, xt, y, t, coords=None) -> torch.Tensor:
        """`eps` within `box`, from whole volumes; subclasses may skip the work outside of it."""
        return self(xt, y, t, coords)[..., *box]

    def trajectory(
        self, y, noise, steps: int, *, project: Projection | None = None, generator=None, sampler: str = "ddim"
    ) -> Iterator[Step]:
        """The steps of a sampler by its name, deterministic DDIM by default."""
        run = of_residuals(sampler_named(sampler)) if self.of_residual else sampler_named(sampler)
        return run(self, y, noise, steps, project=project, generator=generator)

    def objectives(self) -> Mapping[str, Objective]:
        """One objective for all parameters: the denoising loss."""
        return {"": self.loss}

    def loss(self, batch: Batch, train: LossConfig, box: Box | None) -> torch.Tensor:
        """The denoising loss on targets, or on residuals."""
        if self.of_residual:
            batch = replace(batch, x0=residual(batch.x0, batch.y))
        return denoising_loss(self, batch, train, box)
