"""Embedded phantoms are described without a file and made when they are read: looking has no side effects."""

import pytest
from filelock import FileLock

from diffens_core.data.layout import describe_data
from diffens_core.experiment.embedded import Phantoms
from diffens_core.experiment.experiment import open_experiment
from diffens_core.experiment.samples import Samples
from figures.plan import open_plan


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFENS_HOME", str(tmp_path))
    monkeypatch.delenv("DIFFENS_RUNS", raising=False)
    return tmp_path


@pytest.mark.parametrize("preset", ["smoke", "demo", "gpu"])
def test_opening_and_planning_write_nothing_and_wait_for_nobody(home, preset):
    (home / "data" / f"phantom-{preset}").mkdir(parents=True)
    lock = FileLock(home / "data" / f"phantom-{preset}" / ".lock")
    with lock:
        held = set(home.rglob("*"))
        experiment = open_experiment(preset, second=Phantoms("others", (0, 0, 1), 4.0, seed=1))
        assert experiment.runs_of("ours-tpdm", "sr") and experiment.contrasts == {"flair", "t1ce", "t1", "t2"}
        Samples(experiment, "unet-3d", "sr")
        plan = open_plan(preset)
        assert plan.trainings and plan.wanted and plan.second_root
        assert set(home.rglob("*")) == held


def test_phantoms_are_what_was_said_of_them(home):
    phantoms = Phantoms("some", (1, 0, 1), 4.0, seed=3)
    said = phantoms.describe((40, 48, 38))
    phantoms.make(["test"])
    assert describe_data(phantoms.root, 4.0, (40, 48, 38)) == said
    assert [path.name for path in sorted(phantoms.root.glob("phantom-*"))] == ["phantom-001"]
    other = Phantoms("some", (1, 0, 1), 4.0, seed=4).describe((40, 48, 38))
    assert other.fingerprint != said.fingerprint


def test_phantoms_that_are_there_can_be_where_nothing_can_be_written(home, monkeypatch):
    phantoms = Phantoms("some", (0, 0, 1), 8.0)
    phantoms.make(["test"])
    monkeypatch.setattr("data_prep.phantom.alone_in", lambda _: pytest.fail("something is to be written"))
    phantoms.make(["train", "val", "test"])


def test_subjects_of_a_split_are_made_when_they_are_asked_for(home):
    experiment = open_experiment("smoke")
    assert not (home / "data").exists()
    assert len(experiment.subjects("val", "sr")) == 1
    assert [path.name for path in sorted(experiment.phantoms[experiment.data.root].root.glob("phantom-*"))] == [
        "phantom-004"
    ]
