"""Folds of a prepared set: who is held out, nested trainings, links that are read like the set itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import SHAPE, SPACING, write_prepared

from data_prep.folds import held_out, in_proportion, main, make_folds
from data_prep.layout import write_participants
from diffens_core.data.layout import read_participants
from diffens_core.data.volumes import VolumeError


def cohort(*sizes: int, scans: int = 1) -> pd.DataFrame:
    """A table of patients with `scans` each: so many of source A, B, ..."""
    patients = [(source, f"{source}{k}") for source, size in zip("ABCDE", sizes) for k in range(size)]
    rows = [(f"{p}-{scan}", "train", p, source) for source, p in patients for scan in range(scans)]
    return pd.DataFrame(rows, columns=["participant_id", "split", "patient", "source"])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 3), st.integers(2, 5), st.integers(0, 9))
def test_each_patient_is_held_out_once_and_sources_are_dealt_evenly(sizes, scans, folds, seed):
    table = cohort(*sizes, scans=scans)
    if sum(sizes) < folds:
        with pytest.raises(VolumeError):
            held_out(table, folds, seed)
        return
    found = held_out(table, folds, seed)
    assert sorted(sum(found, [])) == sorted(set(table["patient"]))
    for source, size in zip("ABCDE", sizes):
        counts = [sum(patient[0] == source for patient in patients) for patients in found]
        assert set(counts) <= {size // folds, -(-size // folds)}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 9))
def test_each_beginning_has_the_sources_in_proportion(sizes, seed):
    table = cohort(*sizes)
    order = in_proportion(table, seed)
    assert sorted(order) == sorted(table["participant_id"])
    for count in range(1, len(order)):
        for source, size in zip("ABCDE", sizes):
            has = sum(name[0] == source for name in order[:count])
            assert abs(has - size * count / len(order)) <= len(sizes)


def test_sets_of_links_hold_out_the_same_and_train_on_fewer(tmp_path):
    root = write_prepared(tmp_path / "all", ("train",) * 5 + ("val", "test"))
    made = make_folds(root, tmp_path / "out", folds=3, heads=(2, 3))
    assert list(made["set"][:3]) == ["fold1", "fold1-heads2", "fold1-heads3"] and set(made["val"]) == {2}
    assert list(made["train"][:3]) == [4, 2, 3]
    tables = {name: read_participants(tmp_path / "out" / name).set_index("participant_id") for name in made["set"]}
    whole, two, three = (tables[name] for name in ("fold1", "fold1-heads2", "fold1-heads3"))
    assert set(two.index) < set(three.index) < set(whole.index)
    assert all(set(t.index[t["split"] == "val"]) == set(whole.index[whole["split"] == "val"]) for t in (two, three))
    tested = read_participants(root).query("split == 'test'")["participant_id"]
    assert not set(tested) & set(whole.index), "test subjects are in no fold"


def test_a_fold_of_each_source_is_read_as_the_set_itself(tmp_path):
    from diffens_core.data.layout import describe_data
    from diffens_core.data.prepared import PreparedData
    from diffens_core.data.tasks import task_named

    root = write_prepared(tmp_path / "all", ("train",) * 4)
    table = read_participants(root)
    write_participants(root, table.assign(source=["A", "A", "B", "B"]))
    assert main([str(root), "--by-source", "--out", str(tmp_path / "folds")]) == 0
    assert main([str(root), "--by-source", "--out", str(tmp_path / "folds")]) == 0, "a second time changes nothing"
    (tmp_path / "folds").rename(tmp_path / "moved")
    sets = [describe_data(folder, SPACING, SHAPE) for folder in (root, tmp_path / "moved" / "fold2")]
    assert sets[1].name == f"{sets[0].name}-fold2", "its runs are its own"
    whole, fold = (PreparedData(s, "train", task_named("sr")) for s in sets)
    assert fold.subjects == sorted(table["participant_id"])[:2]
    np.testing.assert_array_equal(fold.pair(fold.subjects[1]).x0, whole.pair(fold.subjects[1]).x0)


def test_a_fold_that_is_there_is_never_changed(tmp_path):
    """Trainings may have seen its heads: with another draw, or of another set with the same names, it is refused."""
    root, other = (write_prepared(tmp_path / name, ("train",) * 6) for name in ("all", "other"))
    make_folds(root, tmp_path / "out", folds=3)
    before = (tmp_path / "out" / "fold1" / "participants.tsv").read_text()
    for again, seed in ((root, 1), (other, 0)):
        with pytest.raises(VolumeError, match="another fold is there already"):
            make_folds(again, tmp_path / "out", folds=3, seed=seed)
    assert (tmp_path / "out" / "fold1" / "participants.tsv").read_text() == before


def test_what_cannot_be_is_told_in_one_line(tmp_path, capsys):
    root = write_prepared(tmp_path / "all", ("train",) * 3)
    out = ["--out", str(tmp_path / "out")]
    for arguments, part in (
        ([str(tmp_path / "none"), *out], "no prepared data set"),
        ([str(root), *out, "--folds", "1"], "at least 2"),
        ([str(root), *out, "--folds", "4"], "3 patients"),
        ([str(root), *out, "--by-source"], "1 sources make no 1 folds"),
        ([str(root), *out, "--folds", "3", "--heads", "2"], "not 2"),
        ([str(root), "--folds", "3", "--out", str(root / "dataset.json")], "dataset.json"),
    ):
        assert main(arguments) == 2
        assert part in (line := capsys.readouterr().err) and line.startswith("error: ") and line.count("\n") == 1
