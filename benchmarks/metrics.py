"""Speed of our 3D SSIM against scikit-image, torchmetrics and MONAI, and of all metrics of a subject, in one process.

    python benchmarks/metrics.py [--shape 192 192 152] [--rounds 5]

Variants take turns, so that a busy machine slows all of them; ratios of medians are what counts. The physical limit
beside them: SSIM smooths five volumes along three axes, and no way of doing so is faster than reading and writing each
of them three times. MedicalNet's ResNet-50 has random weights here: as fast as the true ones.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from monai.metrics import SSIMMetric
from monai.networks.nets import resnet50
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from diffens_core.evaluation.metrics import image_metrics
from diffens_core.evaluation.ssim import ssim_map
from diffens_core.evaluation.uncertainty import uncertainty, uncertainty_metrics
from diffens_core.support.device import pick_device


def variants(shape: tuple[int, ...], device: torch.device) -> dict[str, Callable]:
    """Named functions: four implementations of SSIM, what limits them, and the rest of an evaluation."""
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(shape, generator=generator).to(device)
    prediction = target + 0.1 * torch.randn(shape, generator=generator).to(device)
    brain = torch.zeros(shape, dtype=torch.bool, device=device)
    brain[tuple(slice(n // 6, -n // 6) for n in shape)] = True
    samples = prediction + 0.1 * torch.randn(5, *shape, generator=generator).to(device)
    pair, arrays = (prediction[None, None], target[None, None]), (target.cpu().numpy(), prediction.cpu().numpy())
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    monai = SSIMMetric(spatial_dims=3, data_range=1.0)
    net = resnet50(spatial_dims=3, n_input_channels=1, feed_forward=False, conv1_t_stride=2).eval().to(device)
    copies = [torch.empty_like(target) for _ in range(2)]

    def limit():
        for _ in range(15):
            copies[0].copy_(copies[1])
        copies[0][0, 0, 0].item()  # waits for a GPU

    return {
        "SSIM, ours": lambda: ssim_map(prediction, target)[5:-5, 5:-5, 5:-5].mean().item(),
        "SSIM, scikit-image": lambda: structural_similarity(*arrays, **window),
        "SSIM, MONAI": lambda: monai(*pair).item(),
        "SSIM, torchmetrics": lambda: structural_similarity_index_measure(*pair, data_range=1.0).item(),
        "15 copies (limit)": limit,
        "all image metrics": lambda: image_metrics(prediction, target, brain),
        "uncertainty of 5": lambda: uncertainty_metrics(uncertainty(samples, target), brain),
        "MedicalNet features": lambda: net(prediction[None, None]).sum().item(),
    }


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=(192, 192, 152))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    functions = variants(tuple(args.shape), pick_device())
    times = {name: [] for name in functions}
    for _ in range(args.rounds + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    print(f"{'variant':22} {'median s':>9} {'ratio to ours':>14}")
    for name, median in medians.items():
        print(f"{name:22} {median:9.2f} {median / medians['SSIM, ours']:14.2f}")


if __name__ == "__main__":
    main()
