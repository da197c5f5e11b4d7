"""Tables 7 and 9 to 11, printed from the code itself: what is trained how, and the layers of the networks."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
import torch.nn as nn

from diffens_core.data.layout import DataConfig
from diffens_core.experiment.methods import method_named
from diffens_core.experiment.presets import preset_named
from diffens_core.experiment.setting import Setting
from diffens_core.networks.unet import ResBlock
from diffens_core.training.config import RunConfig
from diffens_core.training.runs import build

NETWORKS = {"2D": "palette-axial", "3D": "ours-tpdm", "3D small": "ours-small"}


def run_of(preset: str, method: str) -> RunConfig:
    """The training of one of the `NETWORKS` at a preset, on no data in particular."""
    chosen = preset_named(preset)
    data = DataConfig("", "none", "00000000", chosen.spacing, chosen.shape)
    return method_named(method, "sr").runs(Setting(chosen, "sr", data))[0]


def hyperparameters(presets: Iterable[str]) -> pd.DataFrame:
    """Table 7: a row per setting, a column per preset and network."""
    columns = {
        f"{preset}, {name}": _settings(preset, method) for preset in presets for name, method in NETWORKS.items()
    }
    return pd.DataFrame(columns).rename_axis("parameter")


def _settings(preset: str, method: str) -> dict[str, str]:
    run, phases = run_of(preset, method), run_of(preset, method).train.phases
    windows = [phase.patch or phase.crop or preset_named(preset).shape for phase in phases]
    return {
        "voxels": ", then ".join("x".join(map(str, window)) for window in windows),
        "batch size": ", then ".join(str(phase.batch) for phase in phases),
        "training steps": ", then ".join(str(phase.steps) for phase in phases),
        "learning rate": ", then ".join(f"{phase.lr:g}" for phase in phases),
        "optimizer": {"adam": "Adam", "muon": "Muon, and Adam for what is no kernel"}[run.train.optimizer],
        "moving average": f"{run.train.ema:g}",
        "diffusion steps": str(run.diffusion.steps),
        "noise schedule": f"linear, {run.diffusion.beta_start:g} to {run.diffusion.beta_end:g}",
        "inference steps (DDIM)": str(preset_named(preset).steps),
        "prediction": run.fusion.prediction if run.fusion else run.prediction,
        "channels": ", ".join(str(run.unet.base * m) for m in run.unet.mult),
        "parameters, M": f"{_count(_network(run)) / 1e6:.2f}",
    }


def layers(preset: str, network: str) -> pd.DataFrame:
    """Tables 9 to 11: a row per block of one of `NETWORKS`, with its layers, channels and parameters."""
    net = _network(run_of(preset, NETWORKS[network]))
    parts = {"input": net.stem, "time embedding": net.time}
    for level, blocks in enumerate(net.encoder, 1):
        parts |= {f"encoder {level}.{b}": block for b, block in enumerate(blocks, 1)}
        if level <= len(net.down):
            parts[f"down {level}"] = net.down[level - 1]
    parts |= {f"middle {b}": block for b, block in enumerate(net.middle, 1)}
    for level, blocks in enumerate(net.decoder, 1):
        parts |= {f"decoder {level}.{b}": block for b, block in enumerate(blocks, 1)}
        if level <= len(net.up):
            parts[f"up {level}"] = net.up[level - 1]
    parts["output"] = net.head
    rows = {name: [type(part).__name__, *_channels(part), _count(part)] for name, part in parts.items()}
    columns = ["layer", "in", "out", "parameters"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("block")


def _network(run: RunConfig) -> nn.Module:
    """The U-Net of a run, untrained."""
    return build(run).net


def _channels(part: nn.Module) -> tuple[int, int]:
    """Of the first and the last layer that has weights, in the order in which data pass them."""
    if isinstance(part, ResBlock):  # its time embedding is beside
        return part.conv_in.in_channels, part.conv_out.out_channels
    found = [m for m in part.modules() if isinstance(m, (nn.Linear, nn.Conv2d, nn.Conv3d))]
    sizes = [(m.weight.shape[1], m.weight.shape[0]) for m in found]
    return sizes[0][0], sizes[-1][1]


def _count(part: nn.Module) -> int:
    return sum(p.numel() for p in part.parameters())
