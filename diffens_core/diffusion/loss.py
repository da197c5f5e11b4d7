"""The training loss of a denoiser, for any quantity that its network predicts."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F

from ..data.planes import Box
from .batch import Batch


class LossConfig(Protocol):
    """The settings of a training that the loss reads. loss: `eps`, `v` or `x0`; norm: `l2` or `l1`."""

    loss: str
    norm: str


def denoising_loss(denoiser, batch: Batch, config: LossConfig, box: Box | None = None) -> torch.Tensor:
    """Mean squared (or absolute) error of the quantity `config.loss` at random steps (Eqs. 2, 3 and 5); float32.

    A denoiser predicts noise, as the sampler needs it; here the noise is turned into the quantity that is compared.
    With a `box`, the loss is taken within it.
    """
    schedule = denoiser.schedule
    xt, eps = schedule.add_noise(batch.x0, batch.eps, batch.t), batch.eps
    if box is None:
        eps_hat = denoiser(xt, batch.y, batch.t, batch.coords)
    else:
        eps_hat = denoiser.within(box, xt, batch.y, batch.t, batch.coords)
        xt, eps = xt[..., *box], eps[..., *box]
    wanted = schedule.prediction_from(config.loss, eps, xt, batch.t)
    predicted = schedule.prediction_from(config.loss, eps_hat, xt, batch.t)
    return F.l1_loss(predicted, wanted) if config.norm == "l1" else F.mse_loss(predicted, wanted)
