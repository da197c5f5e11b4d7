"""The GPU and its bf16 give what the CPU gives in float32."""

import copy

import pytest
import torch
from tiny import make_fusion, make_inputs, wake

from diffens_core.samples import sample
from diffens_core.tasks import Task

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


class Unmeasured(Task):
    """A task without projection, so that nothing hides a difference of the networks."""


@pytest.fixture(scope="module")
def results():
    """The same sample from the CPU and the GPU in float32, and from the GPU in bf16; TF32 off."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = wake(make_fusion(("axial", "sagittal"))).eval()
    _, y, _ = make_inputs((24, 22, 20))

    def draw(device, precision):
        options = {"subject": "a", "samples": 1, "steps": 5, "precision": precision}
        return sample(copy.deepcopy(model).to(device), y[0], Unmeasured("mt", ("t1ce",)), **options)

    return draw("cpu", "float32"), draw("cuda", "float32"), draw("cuda", "bf16")


def relative_rms(a, b) -> float:
    return float((a - b).square().mean().sqrt() / b.square().mean().sqrt())


def test_cuda_equals_cpu_in_float32(results):
    assert relative_rms(results[1], results[0]) < 1e-3


def test_bf16_agrees_with_float32(results):
    assert 0 < relative_rms(results[2], results[1]) < 2e-2
