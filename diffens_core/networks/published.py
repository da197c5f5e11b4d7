"""Reading of weights that others published, without executing anything in their files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch

from ..support.settings import ConfigError, shown

# A numpy number within a file, under the module names of numpy 1 and 2.
NUMPY_SCALARS = [
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    type(np.dtype(np.float64)),
    type(np.dtype(np.float32)),
]


def published_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Tensors by name from a published file: a state dict, or one under `state_dict`, of one or more GPUs.

    Nothing in the file is executed. Raises `ConfigError` for a file that is missing or no checkpoint, and for NaN.
    """
    try:
        _check_sums(path)
        with torch.serialization.safe_globals(NUMPY_SCALARS):  # such files often hold a score as a numpy number
            content = torch.load(path, map_location="cpu", weights_only=True)
        weights = content.get("state_dict", content)
        tensors = {n.removeprefix("module."): value for n, value in weights.items() if isinstance(value, torch.Tensor)}
        finite = all(torch.isfinite(value).all() for value in tensors.values())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except Exception as error:  # torch raises many kinds for files that are no checkpoint
        raise ConfigError(f"{path}: not a torch checkpoint ({shown(error)})") from None
    if not finite:
        raise ConfigError(f"{path}: weights that are NaN or infinite")
    return tensors


def _check_sums(path: str | Path) -> None:
    """Raise `ConfigError` where a part of a zip archive is not what its checksum says; torch does not look at them."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise ConfigError(f"{damaged} is damaged")
