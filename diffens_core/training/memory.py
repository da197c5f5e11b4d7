"""The peak memory of a training or sampling step, computed without allocating it: no GPU is needed for a GPU's figure.

Model, forward and backward pass run on fake tensors, which have shapes but no content. A `Ledger` sees every operation
and adds up the storages that are alive: weights, averaged weights, gradients, the optimiser's moments, saved
activations. It does not see what kernels use within (cuDNN's workspace, oneDNN's reordered copies), nor what an
allocator keeps or cannot fill; `benchmarks/memory.py` compares it with what processes took.

A GPU is imitated by torch's device `meta`, on which networks take the way that they take on a GPU, and its autocast by
`HalfPrecision`.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
import torch.nn as nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.autograd.graph import _engine_run_backward
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from ..data.planes import Box
from ..data.tasks import task_named
from ..diffusion.batch import Batch
from ..networks.precision import autocast
from .config import RunConfig
from .loop import Phase, State, loss_box
from .runs import build
from .states import Head, Visit, collate, without_experts

GPU, CPU = torch.device("meta"), torch.device("cpu")

# What CUDA's autocast computes in half precision, and what in float32, as far as our networks use it.
HALVED = {"conv1d", "conv2d", "conv3d", "conv_transpose2d", "conv_transpose3d", "linear", "matmul", "__matmul__"}
HALVED |= {"bmm", "einsum", "scaled_dot_product_attention"}
WIDENED = {"group_norm", "layer_norm", "softmax", "mse_loss", "l1_loss", "binary_cross_entropy_with_logits", "norm"}
WIDENED |= {"sum", "prod", "pow", "exp", "log"}


class Ledger(TorchDispatchMode):
    """Adds up the bytes of all storages that operations within this context make: `now` and at most (`peak`).

    number: what is read off a tensor without content. Nothing is true there, so that no brain is found and a fusion
    works on the whole window; all such tensors are equal.
    """

    def __init__(self, number: float = 0.5):
        super().__init__()
        self.number, self.now, self.peak, self._known = number, 0, 0, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default and _is_hollow(args[0]):
            return self.number if args[0].is_floating_point() else 0
        if func is torch.ops.aten.equal.default and _is_hollow(args[0]):
            return True
        if func is torch.ops.aten.lift_fresh.default and args[0].ndim:  # a table, which may be kept for later
            return args[0]
        if func.overloadpacket is torch.ops.aten.arange:  # networks may read which axes they sum over
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if func is torch.ops.aten._to_copy.default and args[0].is_meta:
            kwargs = kwargs | {"device": GPU}  # it stays there, also in a copy for the CPU
        out = func(*args, **kwargs)
        tree_map_only(torch.Tensor, self._note, out)
        return out

    def _note(self, tensor: torch.Tensor) -> None:
        if not _is_hollow(tensor):
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._known:
            self._known.add(key)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key, storage.nbytes())

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _is_hollow(x: torch.Tensor) -> bool:
    return isinstance(x, FakeTensor) or x.is_meta


class HalfPrecision(TorchFunctionMode):
    """CUDA's autocast to bf16 for tensors of device `meta`, where that of a CPU is enabled, which leaves them alone.

    Attention keeps no table of all pairs, as on a GPU.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        if name in HALVED | WIDENED and torch.is_autocast_enabled("cpu"):
            dtype = torch.bfloat16 if name in HALVED else torch.float32
            args, kwargs = tree_map_only(torch.Tensor, lambda x: _cast(x, dtype), (args, kwargs))
        if name == "scaled_dot_product_attention":
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*args)[0]
        return func(*args, **kwargs)


def _cast(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return x.to(dtype) if x.device == GPU and x.dtype in (torch.float32, torch.bfloat16) else x


@contextmanager
def pretended(config: RunConfig, device: torch.device) -> Iterator[tuple[nn.Module, Ledger]]:
    """The model of a run, and the context in which it and all other tensors are fake and counted."""
    with GPU, Ledger(number=0.0):
        model = build(config)
    fake = FakeTensorMode(allow_non_fake_inputs=True) if device == CPU else nullcontext()
    with fake, Ledger() as ledger:
        _make_fake(model, device)
        with HalfPrecision() if device == GPU else nullcontext():
            yield model, ledger


def _make_fake(model: nn.Module, device: torch.device) -> None:
    """Replace the tensors of a model by fake ones on a device; those that modules share stay shared."""
    fakes = {}
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, old in tensors.items():
                if old is not None and old not in fakes:
                    new = torch.empty_strided(old.shape, old.stride(), dtype=old.dtype, device=device)
                    fakes[old] = nn.Parameter(new, old.requires_grad) if tensors is module._parameters else new
                tensors[name] = fakes.get(old)


def training_peak(config: RunConfig, phase: Phase, device: torch.device = GPU, precision: str = "bf16") -> int:
    """Bytes that a training step of one `phase` of a run takes at most, with the gathering of states before it."""
    with pretended(config, device) as (model, ledger):
        Training(model, config, phase, device, precision).step()
    return ledger.peak


def sampling_peak(config: RunConfig, device: torch.device = GPU, precision: str = "bf16") -> int:
    """Bytes that a step of sampling one subject takes at most with the model of a run, of a `Translator`.

    2D networks take as many slices at once as a third of 4 GiB holds; where more memory is free, they take more.
    """
    with pretended(config, device) as (model, ledger), autocast(CPU, precision):
        sample_step(model, config, device)
    return ledger.peak


@torch.no_grad()
def sample_step(model: nn.Module, config: RunConfig, device: torch.device) -> torch.Tensor:
    """Sample one subject, of random content, in one step."""
    task = task_named(config.task)
    y, noise = (torch.randn(1, n, *config.data.shape, device=device) for n in (len(task.conditions), 1))
    return next(model.eval().trajectory(y, noise, 1, project=task.project)).x0_hat


class Training:
    """A run in training, with all that it keeps in memory, and batches for one of its phases, of random content.

    model: on `device`. The optimisers have taken a step, so that their moments are there.
    """

    def __init__(self, model: nn.Module, config: RunConfig, phase: Phase, device: torch.device, precision: str):
        self.config, self.phase, self.device = config, phase, device
        self.model = model.train()
        self.state = State(self.model, config.train, precision)
        if config.train.states and not phase.alone:
            self.state.begin_round(0)
        for parameter in self.state.parameters.values():
            parameter.grad = torch.zeros_like(parameter)
        for optimizers in self.state.optimizers:
            self._update(optimizers)
        self.model.zero_grad()

    def step(self) -> None:
        """Take one optimiser step, with a learning rate of 0."""
        batches = [self.batch() for _ in range(self.config.train.accumulate)]
        for loss, optimizers in zip(self.state.objectives.values(), self.state.optimizers):
            groups = [group for optimizer in optimizers for group in optimizer.param_groups]
            parameters = [p for group in groups for p in group["params"]]
            for batch, box in batches:
                with autocast(CPU, self.state.precision):
                    error = loss(batch, self.config.train, box)
                _backward(error, parameters)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            self._update(optimizers)
            for parameter in parameters:
                parameter.grad = None

    def _update(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group |= {"lr": 0.0, "fused": self.device == CPU} if "fused" in group else {}  # `meta` lacks a kernel
            optimizer.step()

    def batch(self) -> tuple[Batch | Visit, Box | None]:
        """A batch, and the box in which its loss is taken, as in `train`."""
        phase, task, shape = self.phase, task_named(self.config.task), self.config.data.shape
        patch = tuple(slice(0, min(size, n)) for size, n in zip(phase.patch or shape, shape))
        if self.config.train.states and not phase.alone:
            return self._visits(patch, len(task.conditions)), None
        size = [s.stop for s in patch] if phase.alone else [min(s, n) for s, n in zip(phase.crop or shape, shape)]
        dim, slab = self.model.neighbours
        size[dim - 2] += 2 * slab
        x0, y, coords, eps = (
            torch.randn(phase.batch, n, *size, device=self.device) for n in (1, len(task.conditions), 3, 1)
        )
        t = torch.full((phase.batch,), self.config.diffusion.steps // 2, device=self.device)
        batch = Batch(x0, y, coords, eps, t)
        if phase.alone:
            return without_experts(self.model, batch, task.nearest), None
        return batch, patch if phase.patch else loss_box(self.model, phase, size, 0, 0)

    @torch.no_grad()
    def _visits(self, patch: Box, conditions: int) -> Visit:
        """Patches of a state, which the experts and the fusion have seen as a whole."""
        x0, y, coords, xt = (
            torch.randn(1, n, *self.config.data.shape, device=self.device) for n in (1, conditions, 3, 1)
        )
        with autocast(CPU, self.state.precision):
            visit = Head(x0, y, coords).visit(self.model, xt, self.config.diffusion.steps // 2)
            visit.fused(self.model)
        return collate([visit.cut(self.model, patch)] * self.phase.batch)


def _backward(error: torch.Tensor, parameters: Sequence[nn.Parameter]) -> None:
    """`error.backward(inputs=parameters)`, which would suspend `HalfPrecision` while blocks are recomputed."""
    options = {"allow_unreachable": True, "accumulate_grad": True}
    _engine_run_backward((error,), (torch.ones_like(error),), False, False, tuple(parameters), **options)
