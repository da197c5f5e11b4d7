"""The contract: what a model offers to the sampler, to the training loop and to a fusion.

Everything that translates is a `Translator`, everything that a run trains is `Trainable`, and a model that predicts
noise is a `Denoiser`, which is both. Nothing else is ever asked what it is.

Shapes, throughout: `x0`, `xt`, `eps` are [B, 1, X, Y, Z], the target in [-1, 1]; conditions `y` are [B, C, X, Y, Z];
steps `t` are int64 [B]; `coords` are [B, 3, X, Y, Z], or None for whole volumes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
import torch.nn as nn

from ..data.planes import Box
from .batch import Batch
from .loss import LossConfig, denoising_loss
from .sampler import Projection, Step, ddim
from .schedule import Schedule

# The loss of a batch under a training's settings; with a box, of what lies in it.
Objective = Callable[[Batch, LossConfig, Box | None], torch.Tensor]


class Translator(ABC):
    """Makes a sample of the target from conditions."""

    deterministic = False  # whether all its samples of a subject are the same

    @abstractmethod
    def trajectory(
        self, y, noise, steps: int, *, project: Projection | None = None, generator: torch.Generator | None = None
    ) -> Iterator[Step]:
        """The way from `noise` [B, 1, X, Y, Z] to a sample, the `x0_hat` of the last step, by the model's own rule.

        steps: how many to take; project: corrects every clean estimate to what was measured; generator: of whatever
        else is random.
        """


class Trainable(ABC):
    """Has parameters that a run trains. Those of the runs that it builds on lie in its `experts`, and stay as is."""

    neighbours = (2, 0)  # (dim, n): it reads n slices on either side, along `dim`, of what it answers for

    @abstractmethod
    def objectives(self) -> Mapping[str, Objective]:
        """By the beginning of parameters' names, the loss that those parameters minimise, each with an optimiser."""


class Denoiser(nn.Module, Translator, Trainable):
    """Predicts the noise in `xt`: `eps = denoiser(xt, y, t)`."""

    schedule: Schedule

    @abstractmethod
    def forward(self, xt, y, t, coords=None) -> torch.Tensor:
        """`eps` for a noisy target `xt` at steps `t`, given `y`."""

    def within(self, box: Box, xt, y, t, coords=None) -> torch.Tensor:
        """`eps` for what lies in `box`, from whole volumes; one that can spare the rest does so."""
        return self(xt, y, t, coords)[..., *box]

    def trajectory(self, y, noise, steps: int, *, project: Projection | None = None, generator=None) -> Iterator[Step]:
        """Deterministic DDIM."""
        return ddim(self, y, noise, steps, project=project)

    def objectives(self) -> Mapping[str, Objective]:
        """One: the denoising loss of all parameters."""
        return {"": partial(denoising_loss, self)}
