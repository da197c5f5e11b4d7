"""The labels of segmentations: what each release means by them, and what is done where that is not known."""

from __future__ import annotations

import numpy as np
import pytest
from nifti_trees import SHAPE, assert_one_line, make_seg, make_subject, read, run_brats, save, write_pairs

from data_prep import pairs

DASHES = ("-t2f", "-t1c")
OLD, NEW = ("_flair", "_t1ce"), DASHES


def classes(out, participant) -> dict[int, int]:
    """Class in the layout by label in the file, of which `make_seg` draws eight voxels each, in rising order."""
    seg = read(out / participant / "seg.nii.gz")
    assert sorted(np.unique(seg)) == sorted({0} | set(np.unique(seg)) & {1, 2, 4})
    return {int(label): int((seg == label).sum()) for label in np.unique(seg) if label}


@pytest.mark.parametrize(
    ("participant", "suffixes", "sizes", "wanted"),
    [  # sizes: how many blocks of eight voxels each label of the file has; wanted: the same of the layout
        ("Brats18_CBICA_AAB_1", OLD, {1: 1, 2: 2, 4: 3}, {1: 1, 2: 2, 4: 3}),
        ("BraTS19_2013_0_1", OLD, {1: 1, 2: 2}, {1: 1, 2: 2}),
        ("BraTS20_Training_001", OLD, {1: 1, 2: 2, 4: 3}, {1: 1, 2: 2, 4: 3}),
        ("BraTS2021_01485", OLD, {1: 1, 2: 2, 4: 3}, {1: 1, 2: 2, 4: 3}),
        ("BraTS-GLI-00001-000", NEW, {1: 1, 2: 2, 3: 3}, {1: 1, 2: 2, 4: 3}),
        ("BraTS-GLI-00005-100", NEW, {1: 1, 2: 2, 3: 3, 4: 2}, {1: 1, 2: 2, 4: 3}),  # 4: resection cavity
        ("BraTS-GLI-00006-101", NEW, {2: 2, 4: 3}, {2: 2}),
        ("BraTS-MEN-00004-000", NEW, {1: 1, 2: 2, 3: 3}, {1: 1, 2: 2, 4: 3}),
        ("BraTS-MET-00002-000", NEW, {1: 1, 2: 2, 3: 3}, {1: 1, 2: 2, 4: 3}),
        ("BraTS-SSA-00002-000", NEW, {1: 1, 2: 2, 3: 3}, {1: 1, 2: 2, 4: 3}),
        ("BraTS-PED-00001-000", NEW, {1: 1, 2: 2, 3: 1, 4: 3}, {4: 1, 1: 2, 2: 3}),  # ET, NET, CC, ED
        ("BraTS-PED-00002-000", NEW, {}, {}),
        ("BraTS-GoAT-00002", NEW, {}, {}),
        ("mine", OLD, {1: 1, 2: 2, 4: 3}, {1: 1, 2: 2, 4: 3}),
    ],
)
def test_labels_of_the_releases(tmp_path, participant, suffixes, sizes, wanted):
    folder = make_subject(tmp_path / "in", participant, suffixes, labels=None)
    labels = [label for label, size in sizes.items() for _ in range(size)]
    save(folder / f"{participant}{suffixes[0][0]}seg.nii.gz", make_seg(*labels))
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    assert classes(tmp_path / "out", participant) == {label: 8 * size for label, size in wanted.items()}


@pytest.mark.parametrize(
    ("participant", "suffixes", "labels"),
    [
        ("BraTS-PED-00001-000", NEW, (1, 2, 3)),  # of 2023, or of 2024 without oedema
        ("BraTS-PED-00001-000", NEW, (2,)),
        ("BraTS-SSA-00002-000", NEW, (1, 2, 4)),
        ("BraTS-MEN-00004-000", NEW, (1, 5)),
        ("BraTS-GoAT-00002", NEW, (1, 2, 3)),
        ("BraTS-MEN-RT-0001-1", NEW, (1,)),
        ("BraTS2021_01485", OLD, (1, 2, 3)),
        ("mine", OLD, (1, 2, 3)),
        ("mine", OLD, (1,)),
        ("mine", OLD, (1, 2, 3, 4)),
    ],
)
def test_images_are_prepared_without_labels_that_may_mean_anything(tmp_path, capsys, participant, suffixes, labels):
    make_subject(tmp_path / "in", participant, suffixes, labels=labels)
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert_one_line(shown, f"{participant}: prepared without labels: ", "seg.nii.gz", "--labels")
    assert_one_line(shown, ", ".join(map(str, labels)))
    names = {path.name for path in (tmp_path / "out" / participant).iterdir()}
    assert names == {"flair.nii.gz", "t1ce.nii.gz", "brain.nii.gz", "intensity.json"}
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    assert_one_line(capsys.readouterr().out, f"{participant} ", ": already there without labels: ")


def test_labels_can_be_said_and_join_later(tmp_path):
    make_subject(tmp_path / "in", "BraTS-PED-00001-000", DASHES, labels=(1, 1, 1, 2, 2, 3))
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    assert not (tmp_path / "out" / "BraTS-PED-00001-000" / "seg.nii.gz").exists()
    assert run_brats(tmp_path / "in", tmp_path / "out", "--labels", "1=4 2=1 3=0 4=2") == 0
    assert classes(tmp_path / "out", "BraTS-PED-00001-000") == {4: 24, 1: 16}


def test_no_labels_are_wanted(tmp_path):
    folder = make_subject(tmp_path / "in", "BraTS2021_01485")
    save(folder / "again" / "BraTS2021_01485_seg.nii.gz", make_seg(1))
    assert run_brats(tmp_path / "in", tmp_path / "out", "--labels", "none") == 0
    assert not (tmp_path / "out" / "BraTS2021_01485" / "seg.nii.gz").exists()


def test_a_label_that_was_not_said_is_one_line(tmp_path, capsys):
    make_subject(tmp_path / "in", "bad", labels=(1, 3))
    assert run_brats(tmp_path / "in", tmp_path / "out", "--labels", "1=1", "2=2") == 1
    assert_one_line(capsys.readouterr().out, "bad: ", "bad_seg.nii.gz", "unknown label 3", "expected 0, 1, 2")


@pytest.mark.parametrize("words", ["1", "1=3", "1=1 1=2", "0=1", "none 1=1", "a=b", ""])
def test_labels_that_make_no_sense_are_one_line(tmp_path, capsys, words):
    make_subject(tmp_path / "in", "s1")
    assert run_brats(tmp_path / "in", tmp_path / "out", "--labels", words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert_one_line(error, "error: --labels", "1=1 2=2 3=4")


def test_labels_of_a_table_of_pairs(tmp_path):
    table = write_pairs(tmp_path, "participant_id,flair,seg\ns1,nifti/a.nii.gz,nifti/seg.nii.gz\n")
    save(tmp_path / "nifti" / "seg.nii.gz", make_seg(1, 3, 3))
    add = ["--table", str(table), "--out", str(tmp_path / "out"), *SHAPE]
    assert pairs.main([*add, "--contrasts", "flair"]) == 1
    assert pairs.main([*add, "--labels", "1=2 3=4"]) == 0
    assert classes(tmp_path / "out", "s1") == {2: 8, 4: 16}
