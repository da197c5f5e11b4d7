"""Several processes train together what one would."""

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

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


MAKE = {
    "expert": expert_config,
    "fusion": fusion_config,
    "states": partial(fusion_config, states=StatesConfig(steps=2, heads=2, patches=12, rounds=2, fit=2), alone=2),
}


EACH = """
from diffens_core.cli import main
for path in {paths}:
    assert main(["train", path, *{options}]) == 0
"""


@pytest.fixture(scope="module")
def two(prepared, tmp_path_factory):
    """Runs that two processes trained, started as `accelerate launch` does for several GPUs: by torchrun.

    For CPUs it knows only MPI. The same two train all of them, as starting them takes longest.
    """
    top = tmp_path_factory.mktemp("two")
    paths, runs, script = [], top / "runs", top / "each.py"
    for stage, make in MAKE.items():
        config = make(prepared)
        for expert in config.experts:
            load_or_train(expert, runs, precision="float32")
        paths.append(str(top / f"{stage}.json"))
        Path(paths[-1]).write_text(json.dumps(to_dict(with_batch(config, 2))))
    options = ["--runs", str(runs), "--device", "cpu", "--precision", "float32"]
    script.write_text(EACH.format(options=options, paths=paths))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command += ["--master_addr", "127.0.0.1", "--master_port", str(port), str(script)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return runs


@pytest.mark.parametrize("stage", MAKE)
def test_two_processes_train_what_one_with_the_doubled_batch_does(prepared, two, tmp_path, stage):
    config = MAKE[stage](prepared)
    for expert in config.experts:
        shutil.copytree(two / expert.folder, tmp_path / expert.folder)
    alone = with_batch(config, 4)
    load_or_train(alone, tmp_path, precision="float32")
    folders = two / with_batch(config, 2).folder, tmp_path / alone.folder
    ours, theirs = (load_file(folder / "model.safetensors") for folder in folders)
    assert ours.keys() == theirs.keys()
    a, b = (torch.cat([t[name].flatten() for name in sorted(t)]) for t in (ours, theirs))
    assert (a - b).norm() < 1e-4 * b.norm() and torch.isfinite(a).all()
    logs = [len((folder / "log.csv").read_text().splitlines()) for folder in folders]
    assert logs[0] == logs[1]  # one process writes
