"""Configurations: to JSON and back, one line for every mistake, and the hash that names a run."""

import copy
import json

import pytest
from tiny import expert_config, fusion_config

from diffens_core.experiment.presets import PRESETS, preset_named
from diffens_core.networks.unet import UNetConfig
from diffens_core.support.settings import ConfigError, from_dict, to_dict
from diffens_core.training.config import RunConfig, load_config
from diffens_core.training.loop import Phase, TrainConfig
from diffens_core.training.states import StatesConfig


@pytest.fixture
def run(prepared):
    return fusion_config(prepared)


def test_json_round_trip(run, prepared, tmp_path):
    for config in (run, expert_config(prepared)):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(to_dict(config)))
        assert load_config(path) == config and load_config(path).identity == config.identity


def leaves(content, path=()):
    """Every place in a configuration that holds a value."""
    if isinstance(content, (dict, list)):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in items:
            yield from leaves(value, (*path, key))
    else:
        yield path


def changed(content: dict, path):
    """A copy with another value of the same type at `path`."""
    content = copy.deepcopy(content)
    *way, last = path
    place = content
    for key in way:
        place = place[key]
    allowed = {
        "task": "mt",
        "prediction": "eps",
        "gate": "affine",
        "plane": "coronal",
        "decay": "constant",
        "loss": "x0",
    }
    value = place[last]
    other = {bool: lambda v: not v, int: lambda v: v + 1, float: lambda v: v * 0.9 + 0.001}
    place[last] = allowed.get(last, other.get(type(value), lambda v: f"{v}x")(value))
    if place[last] == value:
        place[last] = "cosine"
    return content


def test_identity_depends_on_everything_but_where_the_data_lie(run):
    content = to_dict(run)
    for path in leaves(content):
        if path[-1] == "stage" or run is None or value_at(content, path) is None:
            continue
        other = from_dict(RunConfig, changed(content, path))
        assert (other.identity == run.identity) == (path[-1] == "root"), path


def value_at(content, path):
    for key in path:
        content = content[key]
    return content


def test_folder_names_preset_stage_task_name_and_hash(run):
    assert str(run.folder) == f"smoke/fusion-sr-ours-tpdm-{run.identity}"
    assert len(run.identity) == 8 and int(run.identity, 16) >= 0


@pytest.mark.parametrize("states", [None, StatesConfig(steps=2, heads=1, patches=2, rounds=2, fit=1)])
def test_a_fusion_is_alone_at_the_beginning_or_not_at_all(states):
    alone, heard = Phase(4, 1, 1e-3, patch=(8, 8, 8), alone=True), Phase(6, 1, 1e-3, patch=(8, 8, 8))
    wrong = [(alone,), (heard, alone), (alone, heard, alone)] + ([] if states else [(alone, heard)])
    for phases in wrong:
        with pytest.raises(ConfigError, match="begins alone, and it ends with its experts"):
            TrainConfig(phases, states=states)
    if states:
        config = TrainConfig((alone, heard), states=states)
        assert config.steps_alone == 4 and [config.round(step) for step in range(10)] == [-1] * 4 + [0] * 3 + [1] * 3


@pytest.mark.parametrize(
    "place, value, complaint",
    [
        (("unet", "widht"), 3, "RunConfig.unet: unknown key widht; known are attention, base"),
        (("unet", "base"), "64", "RunConfig.unet.base must be int, not '64'"),
        (("unet", "base"), True, "RunConfig.unet.base must be int, not True"),
        (("unet", "mult"), 2, "RunConfig.unet.mult must be a list, not 2"),
        (("unet", "mult"), [1, 2.5], r"RunConfig.unet.mult\[1\] must be int, not 2.5"),
        (("unet", "checkpointing"), "true", "checkpointing must be bool, not 'true'"),
        (("train", "phases", 0, "lr"), "1e-4", r"train.phases\[0\].lr must be float, not '1e-4'"),
        (("train",), [], "RunConfig.train must be an object"),
        (("task",), "superres", "unknown task 'superres': choose from sr, mt, both"),
        (("stage",), "stage1", "stage must be one of expert, fusion"),
        (("prediction",), "noise", "prediction must be one of v, eps, x0"),
        (("fusion", "gate"), "sigmoid", "gate must be one of softmax, affine"),
        (("train", "decay"), "linear", "decay must be one of constant, cosine"),
        (("train", "loss"), "l1", "loss must be one of v, eps, x0"),
        (("experts", 0, "train", "phases", 0, "patch"), [8, 8, 8], "only a fusion's phases have a patch"),
        (("train", "phases", 0, "patch"), [8, 8], "patch must be three positive numbers"),
        (("train", "phases", 0, "steps"), 0, "steps must be at least 1, not 0"),
        (("train", "phases", 0, "batch"), -1, "batch must be at least 1, not -1"),
        (("train", "phases"), [], "phases must not be empty"),
        (("diffusion", "beta_start"), 2.0, "0 < beta_start <= beta_end < 1 must hold"),
        (("unet", "mult"), [], "mult must be positive numbers"),
        (("experts",), [], "stage 'fusion' has no plane, and as its experts runs of stage 'expert'"),
        (("plane",), "axial", "stage 'fusion' has no plane, and as its experts runs of stage 'expert'"),
        (("data", "spacing"), None, "spacing must be float, not None"),
    ],
)
def test_every_mistake_is_one_line_that_names_file_and_key(run, tmp_path, place, value, complaint):
    content = to_dict(run)
    *way, last = place
    value_at(content, way)[last] = value
    path = tmp_path / "config.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_config(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_missing_key_is_named(run, tmp_path):
    content = to_dict(run)
    del content["data"]["shape"]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="RunConfig.data.*shape"):
        load_config(path)


@pytest.mark.parametrize("content", [b'{"preset": ', b"", b"\xff\xfe\x00", b"[1, 2]", b"null"])
def test_bad_json_is_one_line(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "absent.json")


def test_whole_numbers_are_floats_where_floats_are_wanted():
    read = from_dict(UNetConfig, {"dropout": 0})
    assert read.dropout == 0.0 and isinstance(read.dropout, float)


def test_presets_are_listed_and_unknown_ones_refused():
    assert list(PRESETS) == ["smoke", "demo", "gpu", "paper", "scan"]
    assert all(preset_named(name).name == name for name in PRESETS)
    with pytest.raises(ConfigError, match="choose from smoke, demo, gpu, paper, scan"):
        preset_named("tiny")
