"""Several processes train together what one would."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from tiny import expert_config, fusion_config

from diffens_core.support.settings import to_dict
from diffens_core.training.runs import load_or_train
from diffens_core.training.states import StatesConfig


def with_batch(config, batch):
    """The same run with another batch and four steps; on states, two alone and two with experts."""
    phases = config.train.phases if config.train.states else config.train.phases[:1]
    phases = tuple(replace(p, steps=4 // len(phases), batch=batch, lr=1e-3) for p in phases)
    return replace(config, train=replace(config.train, phases=phases, warmup=0, save_every=2))


def launched(config, runs, processes=2):
    """Train as `accelerate launch` does for several GPUs, by torchrun; for CPUs it knows only MPI."""
    path = runs / "config.json"
    runs.mkdir(exist_ok=True)
    path.write_text(json.dumps(to_dict(config)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    command += ["--master_addr", "127.0.0.1", "--master_port", str(port)]
    command += ["-m", "diffens_core.cli", "train", str(path), "--runs", str(runs), "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run([*command, "--precision", "float32"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return runs / config.folder


MAKE = {
    "expert": expert_config,
    "fusion": fusion_config,
    "states": partial(fusion_config, states=StatesConfig(steps=2, heads=2, patches=12, rounds=2, fit=2), alone=2),
}


@pytest.mark.parametrize("stage", MAKE)
def test_two_processes_train_what_one_with_the_doubled_batch_does(prepared, tmp_path, stage):
    config = MAKE[stage](prepared)
    for expert in config.experts:
        load_or_train(expert, tmp_path / "two", precision="float32")
        load_or_train(expert, tmp_path / "one", precision="float32")
    two = launched(with_batch(config, 2), tmp_path / "two")
    alone = with_batch(config, 4)
    load_or_train(alone, tmp_path / "one", precision="float32")
    ours, theirs = (load_file(f / "model.safetensors") for f in (two, tmp_path / "one" / alone.folder))
    assert ours.keys() == theirs.keys()
    a, b = (torch.cat([t[name].flatten() for name in sorted(t)]) for t in (ours, theirs))
    assert (a - b).norm() < 1e-4 * b.norm() and torch.isfinite(a).all()
    logs = [f / "log.csv" for f in (two, tmp_path / "one" / alone.folder)]
    assert len(logs[0].read_text().splitlines()) == len(logs[1].read_text().splitlines())  # one process writes
