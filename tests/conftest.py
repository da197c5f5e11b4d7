"""One thread, so that results are the same on every machine; data and runs that several files use."""

import json

import pytest
import torch
from grids import average, blocks, grid, save
from tiny import SHAPE, expert_config, fusion_config, make_head, wake, write_prepared

from diffens_core.support.settings import to_dict
from diffens_core.training import runs

torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """The graph is tested first: that takes minutes, and at the end one of several processes would be alone with it."""
    items.sort(key=lambda item: item.path.stem != "test_snakefile")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A prepared data set of four tiny heads (two train, one val, one test). Read only."""
    return write_prepared(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="session")
def folders(prepared, tmp_path_factory):
    """Run folders of an `sr` and an `mt` expert and a `both` fusion with random weights."""
    root, made = tmp_path_factory.mktemp("runs"), {}
    fusion = fusion_config(prepared, task="both")
    single = {task: expert_config(prepared, task=task) for task in ("sr", "mt")}
    for name, config in (*single.items(), ("both", fusion), *enumerate(fusion.experts)):
        made[name] = root / config.folder
        runs.save_weights(made[name], wake(runs.build(config), size=0.03), config)
        (made[name] / "config.json").write_text(json.dumps(to_dict(config)))
    return made


@pytest.fixture
def lr(tmp_path):
    """A degraded head on the fine grid, in scanner units."""
    data = average(800 * make_head(1), blocks(SHAPE))
    return save(tmp_path / "lr.nii.gz", data, grid("LPS"))
