"""What a GPU's memory must hold, by kind of stage, computed without one: python -m figures.memory gpu paper

The plan prints it too. Of each kind the largest run counts; 2D and 3D are two kinds, and so are a fusion on its
sampler's states and one that is trained as in the paper. The command writes `figures/results/memory.md`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from diffens_core.training.config import RunConfig
from diffens_core.training.memory import sampling_peak, training_peak

from .plan import open_plan

TITLE = """# Memory of a GPU, computed without one

What a training step and a sampling step of the largest run of each kind take in bf16, and the cards that hold both with
a tenth to spare. [What fits a card](reproduce.md#what-fits-a-card) says how it is computed, what is not counted, and
what was measured. Written by `python -m figures.memory {presets}`.
"""
RESULTS = Path(__file__).with_name("results") / "memory.md"
CARDS = (16, 24, 40, 80)  # GiB
USABLE = 0.9  # of a card: the rest is left to driver, kernels' workspace, and gaps that an allocator cannot fill
SAMPLES_NOTHING = ("autoencoder", "autoencoder-3d", "segmentation")


def size_of(run: RunConfig) -> float:
    """Grows with the memory of a run among those of one kind: voxels of its largest step times channels of networks."""
    phases = run.train.phases
    voxels = max(p.batch * math.prod(p.crop or p.patch or run.data.shape) for p in phases)
    widths = [one.unet.base * sum(one.unet.mult) for one in (run, *run.experts) if one.unet]
    return voxels * sum(widths or [1])


def memory_of(runs: Iterable[RunConfig]) -> pd.DataFrame:
    """GiB of a training step (the largest phase) and of a sampling step, in bf16, and the cards that hold both."""
    largest: dict[str, RunConfig] = {}
    for run in runs:
        kind = f"{run.stage}, {'3D' if run.plane is None else '2D'}" + (", on states" if run.train.states else "")
        if kind not in largest or size_of(run) > size_of(largest[kind]):
            largest[kind] = run
    rows = {}
    for kind, run in largest.items():
        peaks = [max(training_peak(run, phase) for phase in run.train.phases)]
        peaks += [] if run.stage in SAMPLES_NOTHING else [sampling_peak(run)]
        training, *sampling = (peak / 2**30 for peak in peaks)
        fitting = [str(card) for card in CARDS if USABLE * card >= max([training, *sampling])]
        rows[kind] = {
            "largest run": f"{run.name} ({run.task})",
            "training GiB": round(training, 1),
            "sampling GiB": round(sampling[0], 1) if sampling else "",
            "held by cards of GB": " ".join(fitting) or "none",
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def main() -> None:
    """Write the tables of the presets that are named."""
    text = [TITLE.format(presets=" ".join(sys.argv[1:]))]
    for preset in sys.argv[1:]:
        text += [f"## {preset}\n", memory_of(open_plan(preset).trainings.values()).to_markdown(floatfmt=".1f") + "\n"]
    RESULTS.write_text("\n".join(text))


if __name__ == "__main__":
    main()
