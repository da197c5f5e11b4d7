"""A run that is killed, or whose newest checkpoint is damaged, ends exactly as one that was left alone."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file
from tiny import expert_config, fusion_config

from diffens_core.data.prepared import PreparedData
from diffens_core.data.tasks import task_named
from diffens_core.networks.unet import UNetConfig
from diffens_core.support.files import write_atomically
from diffens_core.training import checkpoints, loop, runs
from diffens_core.training.loop import train
from diffens_core.training.states import StatesConfig

STEPS = 40
NET = UNetConfig(base=8, mult=(1, 2), blocks=1, dropout=0.2)  # dropout: random state that a resume must restore

KILLED = """
import sys, time, torch
sys.path.insert(0, {tests!r})
torch.set_num_threads(1)
from pathlib import Path
from test_resume import config_for
from diffens_core.data import prepared as data
from diffens_core.training import runs
draw = data.PreparedData.crops
def slowly(*args):
    time.sleep(0.03)
    return draw(*args)
data.PreparedData.crops = slowly
runs.load_or_train(config_for({root!r}), Path({out!r}), precision="float32")
"""


def config_for(root):
    return expert_config(Path(root), steps=STEPS, unet=NET, save_every=6)


@pytest.fixture(scope="module")
def uninterrupted(prepared, tmp_path_factory):
    out = tmp_path_factory.mktemp("uninterrupted")
    runs.load_or_train(config_for(prepared), out, precision="float32")
    return out / config_for(prepared).folder


def assert_same_end(folder: Path, expected: Path) -> None:
    """Averaged weights, weights, optimiser and log."""
    assert (folder / "log.csv").read_bytes() == (expected / "log.csv").read_bytes()
    ends = [torch.load(max((f / "last").glob("*.pt")), weights_only=True) for f in (folder, expected)]
    for part in ("model", "ema"):
        assert all(torch.equal(ends[0][part][name], value) for name, value in ends[1][part].items())
    moments = [end["optimizers"][0]["state"] for end in ends]
    assert all(torch.equal(moments[0][i]["exp_avg_sq"], state["exp_avg_sq"]) for i, state in moments[1].items())
    saved, wanted = (load_file(f / "model.safetensors") for f in (folder, expected))
    assert all(torch.equal(saved[name], value) for name, value in wanted.items())


def test_killed_at_a_random_moment_it_ends_bit_for_bit_the_same(prepared, uninterrupted, tmp_path):
    folder = tmp_path / config_for(prepared).folder
    script = KILLED.format(tests=str(Path(__file__).parent), root=str(prepared), out=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[1])
    while not list((folder / "last").glob("*.pt")) and process.poll() is None:
        time.sleep(0.02)
    time.sleep(random.uniform(0, 0.5))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (folder / "model.safetensors").exists()
    runs.load_or_train(config_for(prepared), tmp_path, precision="float32")
    assert_same_end(folder, uninterrupted)


def stop_after(config, folder: Path, steps: int) -> None:
    """Train and walk away, as a closed notebook does; a fusion's experts are trained already."""
    data = PreparedData(config.data, "train", task_named(config.task))
    options = {"seed": runs.own_seed(config), "precision": "float32", "noise_steps": 1000}
    model = runs._build_on_experts(config, folder.parents[1])
    stats = train(model, data, config.train, folder, **options)
    next(s for s in stats if s.step >= steps)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_fusion_stopped_among_its_patches_ends_bit_for_bit_the_same(prepared, tmp_path):
    config = fusion_config(prepared, steps=24)
    whole, part = tmp_path / "whole", tmp_path / "part"
    runs.load_or_train(config, whole, precision="float32")
    for expert in config.experts:
        shutil.copytree(whole / expert.folder, part / expert.folder)
    assert config.train.phases[0].patch and config.train.phases[0].steps == 22
    stop_after(config, part / config.folder, 10)
    newest = checkpoints.load_checkpoint(part / config.folder / "last")
    assert newest["step"] == 8, "stopped at 10, before its checkpoint, among the patches"
    runs.load_or_train(config, part, precision="float32")
    assert_same_end(part / config.folder, whole / config.folder)


@pytest.fixture(scope="module")
def on_states(prepared, tmp_path_factory):
    """A fusion with ten steps of its own and twice ten on states, uninterrupted."""
    states = StatesConfig(steps=2, heads=2, patches=8, rounds=2, fit=2)
    config, whole = fusion_config(prepared, steps=20, states=states, alone=10), tmp_path_factory.mktemp("states")
    runs.load_or_train(config, whole, precision="float32")
    return config, whole


@pytest.mark.parametrize("stopped", [5, 15, 25])  # alone, in the first and in the second of two rounds
def test_a_fusion_stopped_among_its_states_ends_bit_for_bit_the_same(on_states, tmp_path, stopped):
    """The states are gathered again with the weights that their round began with."""
    config, whole = on_states
    for expert in config.experts:
        shutil.copytree(whole / expert.folder, tmp_path / expert.folder)
    stop_after(config, tmp_path / config.folder, stopped)
    assert checkpoints.load_checkpoint(tmp_path / config.folder / "last")["round"] == stopped // 10 - 1
    runs.load_or_train(config, tmp_path, precision="float32")
    assert_same_end(tmp_path / config.folder, whole / config.folder)


def test_a_training_goes_on_in_the_precision_that_it_began_with(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr("diffens_core.training.loop.fastest_precision", lambda _: "bf16")
    config = expert_config(prepared, steps=20)
    stop_after(config, tmp_path / config.folder, 10)
    asked = []
    data = PreparedData(config.data, "train", task_named(config.task))
    options = {"seed": 0, "precision": "auto", "noise_steps": 1000}
    training = train(runs.build(config), data, config.train, tmp_path / config.folder, **options)
    for _ in training:
        asked.append(checkpoints.load_checkpoint(tmp_path / config.folder / "last")["precision"])
    assert set(asked) == {"float32"}


@pytest.mark.parametrize("damage", [truncate, flip_a_byte])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(prepared, uninterrupted, tmp_path, damage):
    config = config_for(prepared)
    folder = tmp_path / config.folder
    stop_after(config, folder, 20)
    older, newest = sorted((folder / "last").glob("*.pt"))
    damage(newest)
    with pytest.warns(UserWarning, match=f"{newest.name}: checkpoint is corrupt"):
        assert checkpoints.load_checkpoint(folder / "last")["step"] == int(older.name[:8]) == 12
    with pytest.warns(UserWarning, match=newest.name):
        runs.load_or_train(config, tmp_path, precision="float32")
    assert_same_end(folder, uninterrupted)


def test_with_every_checkpoint_damaged_it_starts_anew_and_keeps_the_new_ones(prepared, uninterrupted, tmp_path):
    config = config_for(prepared)
    folder = tmp_path / config.folder
    stop_after(config, folder, 20)
    for path in (folder / "last").glob("*.pt"):
        truncate(path)
    with pytest.warns(UserWarning, match="corrupt"):
        stop_after(config, folder, 10)
    assert checkpoints.load_checkpoint(folder / "last")["step"] == 6
    runs.load_or_train(config, tmp_path, precision="float32")
    assert_same_end(folder, uninterrupted)


@pytest.mark.parametrize("left", ["", "step,lo", "step,loss,lr\n10,0.5,0.001\n2"])
def test_a_log_that_was_cut_off_is_a_log_again(tmp_path, left):
    """By a kill between the making of the file and its first row, or by a full disk."""
    (tmp_path / "log.csv").write_text(left)
    loop._cut_log(tmp_path, 10)
    loop._log(tmp_path, 20, 0.25, 0.002)
    expected = ["step,loss,lr", *(["10,0.5,0.001"] if "0.5" in left else []), "20,0.25,0.002"]
    assert (tmp_path / "log.csv").read_text().splitlines() == expected
    (tmp_path / "log.csv").write_bytes(b"")
    loop._log(tmp_path, 20, 0.25, 0.002)
    assert (tmp_path / "log.csv").read_text().startswith("step,loss,lr\n20,")


def test_what_was_not_deleted_after_the_last_checkpoint_is_deleted_when_it_is_read(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        for step in (1, 2, 3):
            checkpoints.save_checkpoint(tmp_path, step, {"step": step})
    assert len(list(tmp_path.glob("*.pt"))) == 3
    assert checkpoints.load_checkpoint(tmp_path)["step"] == 3
    assert sorted(path.name[:8] for path in tmp_path.glob("*.pt")) == ["00000002", "00000003"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new, and longer")
    assert path.read_bytes() == b"old"


def test_a_second_process_waits_and_does_not_train_again(prepared, tmp_path):
    """The lock is held, and the weights appear, as if another process had trained."""
    config = config_for(prepared)
    folder = tmp_path / config.folder
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        waiting = threading.Thread(target=runs.load_or_train, args=(config, tmp_path))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive() and not (folder / "last").exists()
        runs.save_weights(folder, runs.build(config), config)
    waiting.join(60)
    assert not waiting.is_alive() and not (folder / "log.csv").exists()


def test_a_finished_run_is_not_touched_again(prepared, uninterrupted):
    times = {p: p.stat().st_mtime_ns for p in uninterrupted.rglob("*") if p.is_file()}
    runs.load_or_train(config_for(prepared), uninterrupted.parents[1])
    assert times == {p: p.stat().st_mtime_ns for p in uninterrupted.rglob("*") if p.is_file()}
