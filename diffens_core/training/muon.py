"""Muon, an optimiser for kernels of convolutions: its steps are as large in all directions (Jordan et al. 2024).

The gradient of a kernel, as a matrix of outputs by inputs, has a few strong directions and many weak ones; Adam, which
looks at entries one by one, follows the strong ones. Muon replaces the momentum by the nearest matrix whose singular
values are all the same. `figures/results.md` says what this gains here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # of Jordan et al.: after five iterations singular values are 0.7 to 1.2


class Muon(torch.optim.Optimizer):
    """Muon with updates as large as Adam's (a root mean square of 0.2), so that both share a learning rate.

    kernels: parameters [outputs, inputs, *size].
    """

    def __init__(self, kernels: Sequence[torch.nn.Parameter], lr: float = 0.0):
        super().__init__(kernels, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:
        """Take one step along the orthogonalised Nesterov momentum."""
        for group in self.param_groups:
            for kernel in group["params"]:
                if kernel.grad is None:
                    continue
                momentum = self.state[kernel].setdefault("momentum", torch.zeros_like(kernel))
                momentum.lerp_(kernel.grad, 1 - MOMENTUM)
                direction = orthogonalised(kernel.grad.lerp(momentum, MOMENTUM).flatten(1))
                size = 0.2 * max(direction.shape) ** 0.5
                kernel.sub_(direction.view_as(kernel), alpha=group["lr"] * size)


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """Approximately `U V'` for `matrix = U S V'` [M, N], by five Newton-Schulz iterations of odd polynomials."""
    a, b, c = NEWTON_SCHULZ
    x = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if len(matrix) <= matrix.shape[1] else x.T
