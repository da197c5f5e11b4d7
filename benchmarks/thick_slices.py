"""Thick slices made of sharp scans, through `translate`: python -m benchmarks.thick_slices RUN SCAN... [--out DIR]

RUN is a trained run of a task that reads the measurement alone, such as `t1ce_lr->t1ce@1x1x5`, SCAN a skull-stripped
scan of that contrast which it has not seen, with the voxels of its preset. Of each scan a file of thick slices is
made, which is translated with nothing known beside it. The line under it compares what comes out, and a cubic spline
with the projection, with the scan; in the folder are all files, and a picture.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from diffens_core.data.measurement import Degradation
from diffens_core.data.prepared import coarse_affine
from diffens_core.data.volumes import fit_scale, load_volume, save_image
from diffens_core.evaluation.metrics import image_metrics
from diffens_core.experiment.presets import preset_named
from diffens_core.show.plots import three_planes
from diffens_core.support.errors import DiffensError, InputError
from diffens_core.training.runs import load_folder, resolve
from diffens_core.translate import translate_files

SHOWN = ("psnr", "ssim", "psnr_brain", "ssim_brain")


def batched(data: np.ndarray) -> torch.Tensor:
    """An image [X, Y, Z] as [1, 1, X, Y, Z]."""
    return torch.from_numpy(np.ascontiguousarray(data))[None, None]


def cubic_projected(low: torch.Tensor, degradation: Degradation, shape) -> np.ndarray:
    """What the measurement [1, 1, x, y, z] says without learning, corrected to it; background 0."""
    repeated = degradation.repeat(low, shape)
    image = degradation.project(degradation.interpolate(repeated).clamp(min=0), repeated)
    return torch.where(repeated > 0, image, 0.0)[0, 0].numpy()


def compare(model, config, scan: Path, out: Path) -> None:
    """Make the scan's slices thick, translate them, and print what became of it."""
    degradation, sharp = config.translation.degradation, load_volume(scan)
    whole = tuple(slice(0, n // f * f) for n, f in zip(sharp.data.shape, degradation.factor))
    truth = sharp.data[whole]
    low = degradation.measure(batched(truth), background=0.0)
    name = f"{scan.absolute().parent.name}_{scan.name.split('.')[0]}"
    thick, result = out / f"{name}_thick.nii.gz", out / f"{name}_{config.name}.nii.gz"
    save_image(thick, nib.Nifti1Image(low[0, 0].numpy(), coarse_affine(sharp.affine, degradation.factor)))
    steps = preset_named(config.preset).steps
    translate_files(model, config, {config.translation.inputs[0]: thick}, result, steps=steps)
    volumes = {
        "cubic, projected": cubic_projected(low, degradation, truth.shape),
        config.name: load_volume(result).data,
    }
    again = degradation.measure(batched(volumes[config.name]), background=0.0)
    print(f"{scan}: what was measured is kept to {float((again - low).abs().max() / low.abs().max()):.1e}")
    for method, volume in volumes.items():
        metrics = image_metrics(volume, truth, truth > 0)
        print(f"    {method:20}" + "  ".join(f"{metric} {metrics[metric]:.3f}" for metric in SHOWN), flush=True)
    scale = fit_scale(truth, truth > 0)
    shown = {"thick slices": degradation.repeat(low, truth.shape)[0, 0].numpy(), **volumes, "truth": truth}
    images = {method: scale.apply(volume, volume != 0) for method, volume in shown.items()}
    three_planes(images, images["truth"], title=name).savefig(out / f"{name}.png", dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="run folder, or a run's name")
    parser.add_argument("scans", nargs="+", type=Path, metavar="SCAN")
    parser.add_argument("--out", type=Path, default=Path("thick_slices"), help="folder to write (default: %(default)s)")
    options = parser.parse_args()
    try:
        model, config = load_folder(resolve(options.run))
        task = config.translation
        if not task.degradation or len(task.inputs) > 1:
            raise InputError(f"task '{task.name}' of this run does not read a measurement alone: nothing to make")
        options.out.mkdir(parents=True, exist_ok=True)
        for scan in options.scans:
            compare(model, config, scan, options.out)
    except DiffensError as error:
        sys.exit(f"benchmarks.thick_slices: {error}")


if __name__ == "__main__":
    main()
