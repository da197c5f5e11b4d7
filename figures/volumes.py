"""What the pictures of the report show: translations of held-out subjects, read from their files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch

from diffens_core.data.prepared import Pair
from diffens_core.evaluation.evaluate import TRUTH, with_experts
from diffens_core.evaluation.uncertainty import LEVELS, calibration_curve, uncertainty
from diffens_core.experiment.samples import Samples
from diffens_core.show import plots

from .plan import Evaluation, Plan

SHOWN = ("degraded", "palette-axial", "unet-3d", "tpdm", "ours-tpdm", "tosm", "ours-tosm")


class Gallery:
    """The translations of one task by several methods, subject by subject."""

    def __init__(self, plan: Plan, task: str, methods: Sequence[str], second: bool = False):
        self.plan, self.task, self.methods = plan, task, [m for m in methods if m != TRUTH]
        self.experiment = plan.experiment(second=second)
        self.subjects = self.experiment.subjects(plan.second_split if second else plan.split, task)
        self.count = len(self.subjects.first(0 if second else plan.subjects))
        self.drawn = {method: Samples(self.experiment, method, task) for method in self.methods}
        names = {method: Evaluation(method, task, second=second).name for method in self.methods}
        self.evaluated = {method: plan.samples_of(plan.named(name)) for method, name in names.items()}

    def pair(self, number: int) -> Pair:
        """Subject `number` of those that were translated, or the last where there are fewer."""
        return self.subjects[min(number, self.count - 1)]

    def samples(self, number: int) -> dict[str, torch.Tensor]:
        """By method all samples [K, 1, X, Y, Z] of a subject that were evaluated."""
        pair = self.pair(number)
        return {method: drawn.of(pair, self.evaluated[method]) for method, drawn in self.drawn.items()}

    def volumes(self, number: int) -> dict[str, torch.Tensor]:
        """The truth and by method one sample, [1, X, Y, Z]."""
        pair = self.pair(number)
        return {TRUTH: pair.x0} | {method: drawn.of(pair, 1)[0] for method, drawn in self.drawn.items()}

    def images(self, number: int) -> dict[str, np.ndarray]:
        """The same, [X, Y, Z]."""
        return {name: volume[0].numpy() for name, volume in self.volumes(number).items()}

    def place(self, number: int) -> tuple[int, int, int]:
        """Where to cut a subject: through the tumour, else through the brain."""
        pair = self.pair(number)
        labels = self.subjects.labels(pair.subject)
        return plots.middle((labels > 0).numpy() if labels is not None and labels.any() else pair.brain.numpy())

    def title(self, number: int) -> str:
        """Subject, preset and task."""
        return f"{self.pair(number).subject}, preset {self.plan.preset}, task {self.task}"

    def calibration(self) -> pd.DataFrame:
        """Share of brain voxels within each central interval: a column per method, `LEVELS` as index."""
        curves = {"calibrated": LEVELS}
        for method in (name for name, count in self.evaluated.items() if count > 1):
            parts = []
            for pair in map(self.pair, range(self.count)):
                found = uncertainty(self.drawn[method].of(pair, self.evaluated[method])[:, 0], pair.x0[0])
                parts.append(torch.stack([found.std[pair.brain], found.error[pair.brain]]).double())
            curves[method] = calibration_curve(*torch.cat(parts, 1).numpy(), self.evaluated[method])
        return pd.DataFrame(curves, index=LEVELS)


def training_logs(plan: Plan, needs: Callable[[Evaluation], bool]) -> dict[str, dict[str, dict[str, pd.DataFrame]]]:
    """By task and stage, the training logs of all runs behind some evaluations, by the run's name."""
    experiment, logs = plan.experiment(), {}
    for one in plan.needed(needs):
        for run in with_experts(experiment.runs_of(one.method, one.task)):
            logs.setdefault(run.task, {}).setdefault(run.stage, {})[run.name] = experiment.log(run)
    return logs
