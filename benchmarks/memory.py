"""The memory that each stage of presets `gpu` and `paper` will take on a graphics card, and how right such numbers are.

python -m benchmarks.memory table        computes it, without a card: writes figures/results/memory.csv
python -m benchmarks.memory check        computed against measured, for steps that a CPU can take
"""

from __future__ import annotations

import os
import subprocess
import sys

import pandas as pd

from diffens_core.data.layout import DataConfig
from diffens_core.evaluation.evaluate import with_experts
from diffens_core.experiment.methods import METHODS
from diffens_core.experiment.presets import PRESETS
from diffens_core.experiment.setting import Setting
from diffens_core.training.config import RunConfig
from diffens_core.training.memory import blank_batch, peak_of
from figures.plan import MEMORY

# A method for each stage; the experts and autoencoders that it builds on are looked at too.
SHOWN = ("ours-tpdm", "ours-small", "palette-3d", "unet-2d", "unet-3d", "pix2pix-3d", "i2sb", "make-a-volume")
SHOWN += ("wavelet-3d", "latent-3d")
CHECKED = (("demo", "palette-axial"), ("demo", "unet-3d"), ("demo", "palette-3d"), ("gpu", "unet-2d"))


def runs_of(preset: str, method: str) -> list[RunConfig]:
    """The trainings of a method on super-resolution, on no data in particular."""
    chosen = PRESETS[preset]
    data = DataConfig("", "none", "00000000", chosen.spacing, chosen.shape)
    return list(METHODS[method].runs(Setting(chosen, "sr", data)))


def table() -> None:
    """Compute and write the table, a line as it comes."""
    lines = []
    for preset in ("gpu", "paper"):
        found = {run.folder: run for method in SHOWN for run in with_experts(runs_of(preset, method))}
        for run in found.values():
            if (preset, run.stage, run.name) in {tuple(line[:3]) for line in lines}:
                continue
            peak = peak_of(run)
            lines.append((preset, run.stage, run.name, round(peak.training, 2), round(peak.sampling, 2), peak.cards))
            print(*lines[-1], flush=True)
    columns = ["preset", "stage", "run", "training", "sampling", "card"]
    pd.DataFrame(lines, columns=columns).to_csv(MEMORY, index=False, lineterminator="\n")


def check() -> None:
    """Growth of the largest resident memory over one real step in a fresh process, and what was computed for it."""
    for preset, method in CHECKED:
        code = f"from benchmarks.memory import real_step; real_step({preset!r}, {method!r})"
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        print(said.strip(), flush=True)


def real_step(preset: str, method: str) -> None:
    """One training step in float32 on this machine, and its memory beside the computed one."""
    import torch

    from diffens_core.training.runs import build

    (run,) = runs_of(preset, method)
    phase = run.train.phases[0]
    computed = peak_of(run, "float32").training
    model = build(run).train()
    batch = blank_batch(run, phase.crop or run.data.shape, phase.batch)
    before = _resident("VmRSS")
    optimizer = torch.optim.Adam(model.parameters())
    for loss in model.objectives().values():
        loss(batch, run.train, None).backward()
    optimizer.step()
    measured = _resident("VmHWM") - before
    print(
        f"{preset} {method}: computed {computed:.2f} GiB, measured {measured:.2f} GiB, ratio {measured / computed:.2f}"
    )


def _resident(key: str) -> float:
    """GiB of this process, from Linux."""
    with open(f"/proc/{os.getpid()}/status") as file:
        line = next(line for line in file if line.startswith(key))
    return int(line.split()[1]) / 2**20


if __name__ == "__main__":
    {"table": table, "check": check}[sys.argv[1] if len(sys.argv) > 1 else "check"]()
