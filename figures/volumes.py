"""What the pictures of the report show: translations of held-out subjects, read from their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
import torch

from diffens_core import plots
from diffens_core.data import Pair
from diffens_core.report import TRUTH, with_experts
from diffens_core.samples import Samples, different_samples
from diffens_core.uncertainty import LEVELS, calibration_curve, uncertainty

from .plan import Evaluation, Plan
from .tables import ORDER, TASKS

SHOWN = ("degraded", "palette-axial", "unet-3d", "tpdm", "ours-tpdm", "tosm", "ours-tosm")


def methods_by_task(plan: Plan, needs: Callable[[Evaluation], bool], among: Iterable[str] = ORDER) -> dict[str, list]:
    """The methods `among` those that a page reads, by task, in this order."""
    listed = plan.needed(needs)
    found = {task: [m for m in among if any((e.task, e.method) == (task, m) for e in listed)] for task in TASKS}
    return {task: names for task, names in found.items() if set(names) - {TRUTH}}


class Gallery:
    """The translations of one task by several methods, subject by subject."""

    def __init__(self, plan: Plan, task: str, methods: Sequence[str], second: bool = False):
        self.plan, self.task, self.methods = plan, task, [m for m in methods if m != TRUTH]
        self.experiment = plan.experiment(second=second)
        self.subjects = self.experiment.subjects(plan.second_split if second else plan.split, task)
        self.count = len(self.subjects.first(0 if second else plan.subjects))
        self.drawn = {method: Samples(self.experiment, method, task) for method in self.methods}

    def pair(self, number: int) -> Pair:
        """Subject `number` of those that were translated, or the last where there are fewer."""
        return self.subjects[min(number, self.count - 1)]

    def samples(self, number: int, count: int) -> dict[str, torch.Tensor]:
        """By method `count` samples [K, 1, X, Y, Z] of a subject; one, if all would be the same."""
        pair = self.pair(number)
        return {method: drawn.of(pair, count) for method, drawn in self.drawn.items()}

    def images(self, number: int) -> dict[str, np.ndarray]:
        """The truth and by method one sample, [X, Y, Z]."""
        made = {method: volumes[0, 0].numpy() for method, volumes in self.samples(number, 1).items()}
        return {TRUTH: self.pair(number).x0[0].numpy()} | made

    def place(self, number: int) -> tuple[int, int, int]:
        """Where to cut a subject: through the tumour, else through the brain."""
        pair = self.pair(number)
        labels = self.subjects.labels(pair.subject)
        return plots.middle((labels > 0).numpy() if labels is not None and labels.any() else pair.brain.numpy())

    def title(self, number: int) -> str:
        """Subject, preset and task."""
        return f"{self.pair(number).subject}, preset {self.plan.preset}, task {self.task}"

    def calibration(self, samples: int) -> pd.DataFrame:
        """Share of brain voxels within each central interval: a column per method, `LEVELS` as index."""
        curves = {"calibrated": LEVELS}
        for method, drawn in self.drawn.items():
            if different_samples(drawn.model, samples) < 2:
                continue
            parts = []
            for number in range(self.count):
                pair = self.subjects[number]
                found = uncertainty(drawn.of(pair, samples)[:, 0], pair.x0[0])
                parts.append(torch.stack([found.std[pair.brain], found.error[pair.brain]]).double())
            curves[method] = calibration_curve(*torch.cat(parts, 1).numpy(), samples)
        return pd.DataFrame(curves, index=LEVELS)


def training_logs(plan: Plan, needs: Callable[[Evaluation], bool]) -> dict[str, dict[str, dict[str, pd.DataFrame]]]:
    """By task and stage, the training logs of all runs behind some evaluations, by the run's name."""
    experiment, logs = plan.experiment(), {}
    for one in plan.needed(needs):
        for run in with_experts(experiment.runs_of(one.method, one.task)):
            logs.setdefault(run.task, {}).setdefault(run.stage, {})[run.name] = experiment.log(run)
    return logs
