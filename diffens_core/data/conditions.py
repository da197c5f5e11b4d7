"""The conditions of a task from images in their own unit: one function for training and for a lab's own files.

Intensities are scaled by percentiles that are known at inference time: a target by those of its measurement, other
contrasts by their own. A measurement is never clipped: what the projection restores is what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from .measurement import Degradation
from .tasks import Task
from .volumes import Scale, fit_scale


def conditions_of(
    images: Mapping[str, np.ndarray], task: Task, scales: Mapping[str, Scale] | None = None
) -> tuple[torch.Tensor, Scale]:
    """`y` [C, X, Y, Z] of a task, background -1, and the scale of its first input, which is that of the output.

    images: the task's inputs [X, Y, Z] in their own unit, background 0; a measurement as `degraded` makes it. Contrasts
    are clipped to [-1, 1]. scales: of the inputs, in place of those fitted on them. Raises `VolumeError` for an image
    that is empty or constant.
    """
    scales = scales or {name: fit_scale(images[name], images[name] != 0) for name in task.inputs}
    channels = {
        name: scaled(images[name], scale, clip=not (task.degradation and name == task.inputs[0]))
        for name, scale in scales.items()
    }
    return task.stack(channels), scales[task.inputs[0]]


def scaled(image: np.ndarray, scale: Scale, clip: bool = True) -> torch.Tensor:
    """`image` [X, Y, Z], background 0, as [1, X, Y, Z] on a scale, background -1."""
    return torch.from_numpy(scale.apply(image, image != 0, clip))[None]


def degraded(image: np.ndarray, degradation: Degradation) -> np.ndarray:
    """The measurement of an `image` [X, Y, Z] in its own unit, background 0, on the same grid."""
    tensor = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None, None]
    return degradation.degrade(tensor, background=0.0)[0, 0].numpy()


def evened_out(measurement: np.ndarray, degradation: Degradation) -> np.ndarray:
    """A `measurement` [X, Y, Z] from a file, in which a coarse voxel may not be quite constant: with its mean."""
    tensor = torch.from_numpy(np.ascontiguousarray(measurement, dtype=np.float32))[None, None]
    return degradation.even_out(tensor)[0, 0].numpy()
