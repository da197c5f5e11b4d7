"""Prepared volumes, resuming, adding a source, and the split."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nifti_trees import (
    SHAPE,
    WINDOW,
    assert_one_line,
    make_image,
    make_subject,
    read,
    run_brats,
    save,
    table_of,
    write_pairs,
)

from data_prep import pairs, prepare, subject
from data_prep.splits import assign_splits
from diffens_core.data.layout import read_dataset
from diffens_core.data.volumes import Scale, VolumeError


def test_volumes_are_scaled_centred_and_invertible(tmp_path):
    folder = make_subject(tmp_path / "in", "s1")
    image = read(folder / "s1_flair.nii.gz").copy()
    image[4, 2, 5] = 32767  # a hot voxel
    save(folder / "s1_flair.nii.gz", image)
    other = read(folder / "s1_t1ce.nii.gz").copy()
    other[8:12] = 0  # the T1ce misses a part of the brain
    save(folder / "s1_t1ce.nii.gz", other)
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    done = tmp_path / "out" / "s1"
    flair, t1ce, brain = (read(done / f"{name}.nii.gz") for name in ("flair", "t1ce", "brain"))
    assert flair.dtype == np.float32 and flair.shape == WINDOW and brain.dtype == np.uint8
    assert brain.sum() == (image != 0).sum() and (flair[brain == 0] == 0).all()
    assert flair.min() >= 0 and flair.max() == 1, "the hot voxel is clipped"
    box = [(line.min(), WINDOW[a] - 1 - line.max()) for a, line in enumerate(np.nonzero(brain))]
    assert all(abs(before - after) <= 1 for before, after in box), "the brain is in the middle"
    assert (t1ce != 0).sum() == (other != 0).sum(), "what T1ce misses stays 0 inside the brain"
    unit = json.loads((done / "intensity.json").read_text())["flair"]
    back = Scale(unit["low"], unit["high"]).invert(2 * flair - 1)
    mask = (brain > 0) & (flair < 1)
    inside = image[4:16, 2:16, 5:15][::-1, ::-1]  # LPS to RAS, then the same order of voxels
    np.testing.assert_allclose(back[mask], inside[(inside != 0) & (inside < 32767)], rtol=1e-4)


@pytest.mark.parametrize("axes", ["LPS", "LAS", "RAS", "PIR", "oblique"])
def test_every_orientation_comes_out_ras_at_the_same_place(tmp_path, axes):
    affine = np.diag([1.0, 1.2, 0.9, 1.0])
    affine[:3, 3] = [-9, -11, 4]
    if axes == "oblique":
        turn = np.deg2rad(12)
        affine[:2, :2] = [[np.cos(turn), -1.2 * np.sin(turn)], [np.sin(turn), 1.2 * np.cos(turn)]]
    image = nib.Nifti1Image(make_image(), affine)
    if axes != "oblique":
        image = image.as_reoriented(
            nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(axes))
        )
    for kind in ("flair", "t1ce"):
        save(tmp_path / "in" / f"s1_{kind}.nii.gz", np.asarray(image.dataobj), image.affine)
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    done = nib.load(tmp_path / "out" / "s1" / "flair.nii.gz")
    assert nib.aff2axcodes(done.affine) == ("R", "A", "S")
    data = np.asarray(done.dataobj)
    for voxel in ((5, 4, 6), (12, 9, 10)):
        x, y, z = np.round(np.linalg.inv(done.affine) @ affine @ [*voxel, 1])[:3].astype(int)
        unit = json.loads((tmp_path / "out" / "s1" / "intensity.json").read_text())["flair"]
        found = data[x, y, z] * (unit["high"] - unit["low"]) + unit["low"]
        assert found == pytest.approx(make_image()[voxel], rel=1e-4)


def test_seg_between_labels_is_refused(tmp_path):
    with pytest.raises(VolumeError, match="unknown label 1.5"):
        subject.harmonise(np.array([[[0, 1.5]]], np.float32), {1: 1, 2: 2, 4: 4}, Path("seg.nii.gz"))


def test_resume_after_a_kill(tmp_path, monkeypatch, capsys):
    for number in range(4):
        make_subject(tmp_path / "in", f"s{number}")
    out, written = tmp_path / "out", []

    def killed(root, participant_id, *rest):
        if len(written) == 2:
            (root / f".{participant_id}.partial-1").mkdir()
            (root / ".participants.tsv.partial-1").touch()
            raise KeyboardInterrupt
        written.append(participant_id)
        return prepare.write_subject(root, participant_id, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(subject, "write_subject", killed)
        with pytest.raises(KeyboardInterrupt):
            run_brats(tmp_path / "in", out)
    listed = (out / "participants.tsv").read_text()
    assert len(table_of(out)) == 4 and not (out / "s3").exists() and (out / ".s2.partial-1").exists()
    before = {name: (out / name / "flair.nii.gz").stat().st_mtime_ns for name in ("s0", "s1")}
    assert run_brats(tmp_path / "in", out, "--seed", 9) == 0
    assert (out / "participants.tsv").read_text() == listed, "the split is never drawn again"
    assert before == {name: (out / name / "flair.nii.gz").stat().st_mtime_ns for name in ("s0", "s1")}
    assert not list(out.glob(".*partial*")) and (out / "s3" / "seg.nii.gz").is_file()
    assert capsys.readouterr().out.count(": already there") == 2


def test_subject_with_a_lost_file_is_made_again(tmp_path):
    make_subject(tmp_path / "in", "s1")
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    (tmp_path / "out" / "s1" / "t1ce.nii.gz").unlink()
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    assert (tmp_path / "out" / "s1" / "t1ce.nii.gz").is_file() and not list((tmp_path / "out").glob(".*partial*"))


def test_second_source_is_added(tmp_path, capsys):
    make_subject(tmp_path / "in", "s1", ("_flair", "_t1ce", "_t1"))
    assert run_brats(tmp_path / "in", tmp_path / "out", "--name", "mine") == 0
    table = write_pairs(tmp_path, "participant_id,flair,t1ce\nx1,nifti/a.nii.gz,nifti/b.nii.gz\n")
    add = ["--table", str(table), "--out", str(tmp_path / "out")]
    assert pairs.main([*add, *SHAPE]) == 0
    about = read_dataset(tmp_path / "out")
    assert about["name"] == "mine" and about["source"] == ["BraTS", "pairs"] and len(about["licence"]) == 2
    assert about["contrasts"] == ["flair", "t1ce"] and list(table_of(tmp_path / "out").index) == ["s1", "x1"]
    assert pairs.main([*add, "--shape", "24", "24", "24"]) == 2
    assert_one_line(capsys.readouterr().err, "error: ", "--shape 16 18 14")


def test_same_name_from_another_source_is_refused(tmp_path, capsys):
    make_subject(tmp_path / "in", "s1")
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    table = write_pairs(tmp_path, "participant_id,flair,t1ce\ns1,nifti/a.nii.gz,nifti/b.nii.gz\n")
    assert pairs.main(["--table", str(table), "--out", str(tmp_path / "out"), *SHAPE]) == 1
    assert_one_line(capsys.readouterr().out, "s1: is in the prepared set already, from BraTS")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=40), st.integers(0, 99), st.randoms())
def test_split_does_not_depend_on_order_and_is_exact(patients, seed, random):
    fractions = (0.7, 0.1, 0.2)
    first = assign_splits(patients, fractions, seed, {})
    shuffled = random.sample(patients, len(patients)) + patients[:1]
    assert assign_splits(shuffled, fractions, seed, {}) == first
    for name, fraction in zip(("train", "val", "test"), fractions):
        assert abs(list(first.values()).count(name) - fraction * len(first)) < 1
    assert assign_splits([*patients, "new"], fractions, seed + 1, first).items() >= first.items()


def test_fractions_of_the_split_can_be_given(tmp_path):
    for number in range(5):
        make_subject(tmp_path / "in", f"s{number}")
    assert run_brats(tmp_path / "in", tmp_path / "out", "--split", "0.8", "0", "0.2") == 0
    splits = (tmp_path / "out" / "participants.tsv").read_text()
    assert splits.count("\ttrain") == 4 and splits.count("\ttest") == 1


def test_split_depends_on_the_seed_and_on_good_fractions():
    patients = [f"p{n}" for n in range(20)]
    assert assign_splits(patients, (0.5, 0.2, 0.3), 0, {}) != assign_splits(patients, (0.5, 0.2, 0.3), 1, {})
    with pytest.raises(VolumeError, match="sum to 1"):
        assign_splits(patients, (0.5, 0.2, 0.2), 0, {})


def write_split(folder: Path, *rows: tuple[str, str]) -> Path:
    lines = ["participant_id\tsplit", *("\t".join(row) for row in rows)]
    (folder / "split.tsv").write_text("\n".join(lines) + "\n")
    return folder / "split.tsv"


def test_split_file_decides_for_new_participants(tmp_path):
    for participant in ("Brats18_A_1_1", "Brats18_A_1_2", "Brats18_B_1_1"):
        make_subject(tmp_path / "in", participant)
    split = write_split(tmp_path, ("Brats18_A_1_2", "test"), ("Brats18_B_1_1", "val"))
    assert run_brats(tmp_path / "in", tmp_path / "out", "--split-file", split) == 0
    assert list(table_of(tmp_path / "out")["split"]) == ["test", "test", "val"]


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ([("Brats18_A_1_1", "val")], ["Brats18_A_1_1", "says val", "participants.tsv says train"]),
        ([("Brats18_A_1_2", "val")], ["Brats18_A_1_2", "patient Brats18_A_1 is in train"]),
        ([("Brats18_C_1_1", "dev")], ["Brats18_C_1_1", "'dev'", "train, val, test"]),
        ([("Brats18_C_1_1", "val"), ("Brats18_C_1_1", "test")], ["Brats18_C_1_1 is in val and in test"]),
        ([("Brats18_C_1_1", "val"), ("Brats18_C_1_2", "test")], ["Brats18_C_1_2", "Brats18_C_1 is in val"]),
    ],
)
def test_contradicting_split_file_is_one_line(tmp_path, capsys, rows, parts):
    make_subject(tmp_path / "in", "Brats18_A_1_1")
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    before = (tmp_path / "out" / "participants.tsv").read_text()
    for participant in ("Brats18_A_1_2", "Brats18_C_1_1", "Brats18_C_1_2"):
        make_subject(tmp_path / "in", participant)
    capsys.readouterr()
    assert run_brats(tmp_path / "in", tmp_path / "out", "--split-file", write_split(tmp_path, *rows)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert_one_line(error, "error: ", *parts)
    assert (tmp_path / "out" / "participants.tsv").read_text() == before
