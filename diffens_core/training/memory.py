"""The memory that a training step, or a sampling step, will take: computed on tensors without content, of any size.

PyTorch's fake tensors have shapes and no values, so a step of a network that no machine here could hold takes seconds
and next to no memory. What each operation allocates is added up, and taken off when Python lets go of it, as a device's
allocator would.
"""

from __future__ import annotations

import weakref
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..data.planes import whole_box
from ..diffusion.batch import Batch
from ..diffusion.model import Denoiser
from .config import RunConfig
from .loop import Phase, loss_box, trainable
from .runs import build
from .states import Visit, without_experts

CARDS = (16, 24, 40, 80)  # GB, of graphics cards
SAMPLED = ("expert", "volume", "fusion")  # denoisers of whole volumes
KEPT = {"adam": 4, "muon": 3}  # float32 copies of a weight: itself, its average, and the optimiser's moments
AROUND = 1.0  # GiB of a card that libraries, and the gaps of an allocator, take; measured on none


@dataclass(frozen=True)
class Peak:
    """GiB. training: of the largest step of all phases; sampling: of one step on a whole volume, nan if not known."""

    training: float
    sampling: float

    @property
    def cards(self) -> str:
        """The least of `CARDS` that holds the training, as text."""
        needed = (self.training + AROUND) * 2**30 / 1e9
        return next((f"{size} GB" for size in CARDS if needed <= size), f"more than {CARDS[-1]} GB")


class Live(TorchDispatchMode):
    """Within this context: the bytes of all tensors that were made in it and are still there; `peak`: the most."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.now += self._sizes[key]
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


def peak_of(run: RunConfig, precision: str = "bf16") -> Peak:
    """The memory of a run's largest training step and, for `SAMPLED` stages, of a sampling step on one whole volume.

    precision: `bf16` as on a graphics card, or `float32`. The states of a fusion (`pool_gib`) are not on the card, and
    not counted. In place of the box around a head, which depends on the data, a whole volume counts.
    """
    model = build(run).train()
    weights = 4 * sum(tensor.numel() for tensor in trainable(model).values())
    frozen = 4 * sum(tensor.numel() for tensor in model.state_dict().values()) - weights
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        _forget_content(model, mode)
        training = max(_step(model, run, phase, precision) for phase in run.train.phases)
        sampling = _sampling_step(model.eval(), run, precision) if run.stage in SAMPLED else float("nan")
    kept = KEPT[run.train.optimizer] * weights + frozen
    return Peak((training + kept) / 2**30, (sampling + weights + frozen) / 2**30)


def _forget_content(model: nn.Module, mode: FakeTensorMode) -> None:
    """Replace all tensors of a model by fake ones."""
    for module in model.modules():
        for name, tensor in module._parameters.items():
            if tensor is not None:
                fake = mode.from_tensor(tensor.detach())
                module._parameters[name] = nn.Parameter(fake, requires_grad=tensor.requires_grad)
        for name, tensor in module._buffers.items():
            module._buffers[name] = None if tensor is None else mode.from_tensor(tensor)


def blank_batch(run: RunConfig, size, count: int) -> Batch:
    """A batch of `count` windows of `size` voxels, without content."""
    channels = len(run.translation.conditions)
    x0, eps = torch.empty(count, 1, *size), torch.empty(count, 1, *size)
    y, coords = torch.empty(count, channels, *size), torch.empty(count, 3, *size)
    return Batch(x0, y, coords, eps, torch.zeros(count, dtype=torch.int64))


def _autocast(precision: str):
    return torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()


def _step(model: nn.Module, run: RunConfig, phase: Phase, precision: str) -> int:
    """Bytes of activations and gradients of one training step."""
    size = [min(s, n) for s, n in zip(phase.patch or phase.crop or run.data.shape, run.data.shape)]
    dim, around = model.neighbours
    size[dim - 2] += 2 * around
    batch, on_states = blank_batch(run, size, phase.batch), run.train.states is not None
    box = whole_box(batch.x0) if run.stage == "fusion" else loss_box(model, phase, size, 0, 0)
    visit = None
    if on_states and phase.alone:
        visit = without_experts(model, batch, run.translation.nearest)
    elif on_states:  # the experts have been run before, on whole heads
        with torch.no_grad(), _autocast(precision):
            lifted = model.lift(batch.x0, batch.y, batch.t, batch.coords)
        visit = Visit(batch.x0, batch.x0, batch.y, batch.coords, batch.t, lifted)
    with Live() as live:
        for loss in model.objectives().values() if visit is None else [lambda *_: visit.loss(model)]:
            with _autocast(precision):
                value = loss(batch, run.train, box)
            own = [p for p in trainable(model).values() if p.requires_grad]
            torch.autograd.grad(value, own, allow_unused=True)
            del value
    return live.peak


@torch.no_grad()
def _sampling_step(model: Denoiser, run: RunConfig, precision: str) -> int:
    """Bytes that one call of a denoiser on one whole volume takes."""
    batch = blank_batch(run, run.data.shape, 1)
    with Live() as live, _autocast(precision):
        model.within(whole_box(batch.x0), batch.x0, batch.y, batch.t, batch.coords)
    return live.peak
