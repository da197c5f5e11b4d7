"""The GPU and its bf16 give what the CPU gives in float32; training heads there give the same crops."""

import copy

import pytest
import torch
from tiny import SHAPE, SPACING, make_fusion, make_inputs, wake

from diffens_core.data.crops import Cropping
from diffens_core.data.layout import describe_data
from diffens_core.data.prepared import PreparedData
from diffens_core.data.tasks import Task, task_named
from diffens_core.evaluation.metrics import image_metrics
from diffens_core.evaluation.uncertainty import uncertainty, uncertainty_metrics
from diffens_core.experiment.samples import sample
from diffens_core.models.segmentation import Segmenter, SegmenterConfig

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


def test_metrics_are_those_of_the_cpu():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(30, 31, 32, generator=generator)
    samples = target + 0.2 * torch.randn(4, 30, 31, 32, generator=generator)
    brain = torch.zeros(30, 31, 32, dtype=torch.bool)
    brain[6:-6, 6:-6, 6:-6] = True
    for measure in (
        lambda device: image_metrics(samples[0].to(device), target.to(device), brain, brain),
        lambda device: uncertainty_metrics(uncertainty(samples.to(device), target.to(device)), brain.to(device)),
    ):
        found, expected = measure("cuda"), measure("cpu")
        assert found == pytest.approx(expected, rel=1e-4)


def test_the_segmenter_finds_what_it_finds_on_the_cpu():
    torch.manual_seed(0)
    model, y = Segmenter(2, SegmenterConfig(12, 4, 64)).eval(), torch.rand(2, 40, 48, 38) * 2 - 1
    brain = torch.ones(40, 48, 38, dtype=torch.bool)
    found = [copy.deepcopy(model).to(device).segment(y, brain) for device in ("cpu", "cuda")]
    assert (found[0] != found[1]).float().mean() < 1e-3 and found[1].device.type == "cpu"
    features = [copy.deepcopy(model).to(device).features(y) for device in ("cpu", "cuda")]
    torch.testing.assert_close(*features, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("size, around", [((16, 8, 1), (4, 0)), ((16, 8, 1), (4, 2)), ((8, 8, 8), (2, 0))])
def test_heads_kept_there_give_the_crops_of_the_cpu(prepared, size, around):
    config = describe_data(prepared, SPACING, SHAPE)
    here, there = (PreparedData(config, "train", task_named("both")).to(torch.device(d)) for d in ("cpu", "cuda"))
    cropping = Cropping(size, seed=0, around=around, move_every=2, vary=0.2)
    for step in range(4):
        a, b = (data.crops(range(3), step, cropping) for data in (here, there))
        for name in ("x0", "y", "coords"):
            assert getattr(b, name).device.type == "cuda"
            torch.testing.assert_close(getattr(a, name), getattr(b, name).cpu(), rtol=1e-4, atol=1e-4)
