"""Muon, an optimiser for kernels of convolutions: its steps are as large in all directions (Jordan et al. 2024).

The gradient of a kernel, as a matrix of outputs by inputs, has a few strong directions and many weak ones; Adam, which
looks at entries one by one, follows the strong ones. Muon replaces the momentum by the nearest matrix whose singular
values are all the same. `figures/results.md` says what this gains here.
"""

from __future__ import annotations

from collections import defaultdict
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
            kernels = [kernel for kernel in group["params"] if kernel.grad is not None]
            gradients = [kernel.grad for kernel in kernels]
            momenta = [self._momentum(kernel) for kernel in kernels]
            torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
            directions = torch._foreach_lerp(gradients, momenta, MOMENTUM)
            alike = defaultdict(list)  # many kernels have one size: a GPU takes them in one go
            for kernel, direction in zip(kernels, directions):
                alike[kernel.shape].append((kernel, direction.flatten(1)))
            for shape, pairs in alike.items():
                steps = orthogonalised(torch.stack([direction for _, direction in pairs]))
                size = 0.2 * max(steps.shape[1:]) ** 0.5
                for (kernel, _), step in zip(pairs, steps):
                    kernel.sub_(step.view(shape), alpha=group["lr"] * size)

    def _momentum(self, kernel: torch.Tensor) -> torch.Tensor:
        state = self.state[kernel]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(kernel)
        return state["momentum"]


def orthogonalised(matrices: torch.Tensor) -> torch.Tensor:
    """Approximately `U V'` for each `U S V'` of [K, M, N], by five Newton-Schulz iterations of odd polynomials."""
    a, b, c = NEWTON_SCHULZ
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.mT
