"""What a training took: over a stop too, and its own peak of memory, not that of what ran before."""

import json
import sys

import pytest
import torch
from tiny import expert_config

from diffens_core.data.prepared import PreparedData
from diffens_core.data.tasks import task_named
from diffens_core.support.cost import Spent, forget_peak, peak_memory, read_cost
from diffens_core.support.device import device_name, pick_device
from diffens_core.training import runs
from diffens_core.training.checkpoints import load_checkpoint
from diffens_core.training.loop import train


def test_time_before_a_stop_counts(prepared, tmp_path):
    config = expert_config(prepared, steps=30, save_every=10)
    folder = tmp_path / config.folder
    data = PreparedData(config.data, "train", task_named("sr"))
    for stats in train(runs.build(config), data, config.train, folder, noise_steps=1000, seed=0):
        if stats.step == 20:
            break
    first = Spent(*load_checkpoint(folder / "last")["spent"])
    assert read_cost(folder) == {} and first.clock > 0 and first.cores > 0
    runs.load_or_train(config, tmp_path)
    cost = read_cost(folder)
    assert cost["seconds"] >= round(first.clock, 1) and cost["core_seconds"] >= round(first.cores, 1)
    assert cost["parameters"] == sum(p.numel() for p in runs.build(config).parameters())
    assert cost["device"] == device_name(pick_device())
    assert cost == json.loads((folder / "cost.json").read_text())


def test_time_adds_up():
    assert Spent(1, 2) + Spent(3, 4) - Spent(2, 1) == Spent(2, 5)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can forget a peak")
def test_a_peak_of_the_past_is_forgotten():
    cpu = torch.device("cpu")
    big = torch.ones(2**28, dtype=torch.uint8)  # a quarter GiB
    high = peak_memory(cpu)
    del big
    forget_peak(cpu)
    assert peak_memory(cpu) < high - 0.2
