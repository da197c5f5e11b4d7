"""Configurations, weights and checkpoints for `fuzz.py`: sound, wrong, and answered rightly."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator

from benchmarks.wrong_bytes import Files, Wrong, flip, retold
from diffens_core.data.layout import DataConfig
from diffens_core.diffusion.schedule import DiffusionConfig
from diffens_core.networks.unet import UNetConfig
from diffens_core.support.settings import to_dict
from diffens_core.training.checkpoints import load_checkpoint, save_checkpoint
from diffens_core.training.config import RunConfig
from diffens_core.training.loop import Phase, TrainConfig
from diffens_core.training.runs import build, save_weights

# Of the smallest network there is.
RUN = RunConfig(
    preset="smoke",
    stage="expert",
    task="sr",
    name="axial",
    seed=0,
    data=DataConfig("data", "tiny", "0" * 8, 4.0, (8, 8, 8)),
    diffusion=DiffusionConfig(),
    unet=UNetConfig(base=4, mult=(1,), blocks=1),
    train=TrainConfig((Phase(2, 1, 1e-3, (8, 8, 1)),)),
    plane="axial",
)


def config() -> Files:
    return {"config.json": json.dumps(to_dict(RUN)).encode()}


def judge_config(folder: Path, config: RunConfig) -> bool:
    """Every value of the file must be in the configuration, as it is."""
    written = json.loads((folder / "config.json").read_text())
    if not within(written, json.loads(json.dumps(to_dict(config)))):
        raise Wrong("another configuration")
    (folder / config.folder / "model.safetensors").is_file()  # a name that no file can have raises an error
    return True


def within(part, whole) -> bool:
    """Whether JSON has all that a part of it has; a number may be a float."""
    if isinstance(part, dict):
        return all(key in whole and within(value, whole[key]) for key, value in part.items() if value is not None)
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(within, part, whole))
    return part == whole


@cache
def weights() -> dict[str, torch.Tensor]:
    return build(RUN).state_dict()


@cache
def run() -> Files:
    """A trained run, with its configuration."""
    with tempfile.TemporaryDirectory() as folder:
        save_weights(Path(folder), build(RUN), RUN)
        content = (Path(folder) / "model.safetensors").read_bytes()
    files = {"model.safetensors": content, **config()}
    return {f"{RUN.folder}/{name}": content for name, content in files.items()}


def judge_weights(folder: Path, answer) -> bool:
    """Tensors by the bytes of the file, whose header is JSON."""
    content = (folder / RUN.folder / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    listed, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    for name, value in answer[0].state_dict().items():
        begin, end = listed[name]["data_offsets"]
        if not np.array_equal(np.frombuffer(body[begin:end], "<f4"), value.numpy().ravel()):
            raise Wrong("other weights")
        if not torch.isfinite(value).all():
            raise Wrong("weights are not finite")
    return True


@cache
def checkpoints() -> Files:
    """The last two checkpoints of a training, the newest last."""
    with tempfile.TemporaryDirectory() as folder:
        state = {"model": weights(), "pending": [0.5], "precision": "float32"}
        paths = [save_checkpoint(Path(folder), step, state | {"step": step}) for step in (1, 2)]
        return {path.name: path.read_bytes() for path in paths}


def wrong_checkpoint(files: Files, rng: Generator) -> Files:
    """The newest one wrong; its name at times, too, or with the digest of what it has become."""
    older, newer = files
    content, name = flip(files[newer], rng), newer
    if rng.random() < 0.4:
        name = f"00000002-{hashlib.sha256(content).hexdigest()[:8]}.pt"
    elif rng.random() < 0.1:
        stem = retold(newer.removesuffix(".pt").encode(), rng).decode(errors="replace")
        name = re.sub(r"[/\0]", "", stem)[:40] + ".pt"
    return {older: files[older], name: content}


def resume(folder: Path) -> dict:
    content = load_checkpoint(folder)
    save_checkpoint(folder, 3, content)
    return content


def judge_checkpoint(_, content) -> bool:
    """One of the two, and whole: what has the digest in its name is taken as it is."""
    step = content["step"]
    if step not in (1, 2):
        raise Wrong("neither of the two checkpoints")
    sound = weights()
    if step == 1 and not all(torch.equal(sound[name], value) for name, value in content["model"].items()):
        raise Wrong("other weights than those of the older checkpoint")
    return step == 1


@cache
def published() -> Files:
    """Weights as others publish them."""
    buffer = io.BytesIO()
    torch.save({"state_dict": {f"module.{name}": t for name, t in weights().items()}}, buffer)
    return {"weights.pt": buffer.getvalue()}


def judge_published(_, tensors) -> bool:
    """The very weights that were saved, as a zip archive has checksums."""
    if tensors.keys() != weights().keys() or not all(torch.equal(weights()[n], t) for n, t in tensors.items()):
        raise Wrong("other weights than were published")
    return True
