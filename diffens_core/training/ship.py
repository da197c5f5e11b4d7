"""Copy finished runs into the package: `python -m diffens_core.training.ship runs/demo/*`."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save

from ..support.files import write_atomically
from ..support.settings import to_dict
from .config import RunConfig, load_config
from .runs import SHIPPED


def ship(folder: Path) -> Path:
    """Write configuration, log, cost and weights of a run below `diffens_core/weights/`; returns the new folder.

    Weights of networks become float16. A least-squares fit stays in float32: its large terms cancel, and it is small.
    """
    config = load_config(folder / "config.json")
    out = SHIPPED / config.folder
    write_atomically(out / "config.json", json.dumps(to_dict(_without_places(config)), indent=2).encode())
    for name in ("log.csv", "cost.json", "likeness.json"):
        write_atomically(out / name, (folder / name).read_bytes())
    with safe_open(folder / "model.safetensors", "pt") as file:
        trained = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        tensors = {n: v if n.startswith("linear.") else v.to(torch.float16) for n, v in trained.items()}
        write_atomically(out / "model.safetensors", save(tensors, file.metadata()))
    return out


def _without_places(config: RunConfig) -> RunConfig:
    """The run with its data where `diffens prepare` might have put them, not where they were when it was trained."""
    data = config.data
    if Path(data.root).is_absolute():
        data = replace(data, root=f"data/{data.name}")
    return replace(config, data=data, experts=tuple(map(_without_places, config.experts)))


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        shipped = ship(Path(argument))
        print(f"{shipped.name}: {(shipped / 'model.safetensors').stat().st_size / 1e6:.2f} MB")
