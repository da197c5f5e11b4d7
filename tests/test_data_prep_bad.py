"""Bad input: one line that names it, and the other subjects are prepared."""

from __future__ import annotations

import numpy as np
import pytest
from nifti_trees import (
    GRID,
    SHAPE,
    assert_one_line,
    make_image,
    make_subject,
    read,
    run_brats,
    save,
    table_of,
    write_pairs,
)

from data_prep import brats, hcp, open_ms, pairs


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("participant_id,flair,colour\ns1,nifti/a.nii.gz,red\n", ["pairs.csv", "unknown column colour"]),
        ("id,flair\ns1,nifti/a.nii.gz\n", ["pairs.csv", "no column participant_id"]),
        ("participant_id,patient\ns1,s1\n", ["pairs.csv", "no column of images"]),
        ("participant_id,flair\n", ["pairs.csv", "no rows"]),
        ("", ["pairs.csv", "cannot be read as a table"]),
        ("participant_id,flair,split\ns1,nifti/a.nii.gz,dev\n", ["pairs.csv", "'dev'", "train, val, test"]),
    ],
)
def test_pairs_bad_table_is_one_line(tmp_path, capsys, text, parts):
    table = write_pairs(tmp_path, text)
    assert pairs.main(["--table", str(table), "--out", str(tmp_path / "out"), *SHAPE]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert_one_line(error, *parts)


def test_pairs_row_without_files(tmp_path, capsys):
    table = write_pairs(tmp_path, "\ufeffparticipant_id,flair,t2\ns1\n")
    assert pairs.main(["--table", str(table), "--out", str(tmp_path / "out"), *SHAPE]) == 1
    assert_one_line(capsys.readouterr().out, "s1: no flair", "its row of the table")


def test_pairs_missing_file_and_empty_cell(tmp_path, capsys):
    rows = "s1,nifti/a.nii.gz,nifti/b.nii.gz\ns2,nifti/gone.nii.gz,nifti/b.nii.gz\ns3,,nifti/b.nii.gz\n"
    table = write_pairs(tmp_path, "participant_id,flair,t2\n" + rows)
    assert pairs.main(["--table", str(table), "--out", str(tmp_path / "out"), *SHAPE]) == 1
    shown = capsys.readouterr().out
    assert_one_line(shown, "s2: ", "gone.nii.gz: no such file")
    assert_one_line(shown, "s3: no flair")
    assert list(table_of(tmp_path / "out").index) == ["s1"]


def drop_contrast(folder):
    next(folder.glob("*_t1ce*")).unlink()
    return ["no t1ce", "--contrasts"]


def other_grid(folder):
    save(next(folder.glob("*_t1ce*")), make_image(1)[:-1])
    return ["bad_t1ce.nii.gz: is not on the grid of", "bad_flair.nii.gz"]


def other_affine(folder):
    save(next(folder.glob("*_t1ce*")), make_image(1), np.diag([-1.0, -1.0, 1.01, 1.0]))
    return ["bad_t1ce.nii.gz: is not on the grid of", "bad_flair.nii.gz"]


def nan_voxel(folder):
    image = make_image()
    image[5, 5, 5] = np.nan
    save(next(folder.glob("*_flair*")), image)
    return ["bad_flair.nii.gz", "NaN"]


def two_dimensions(folder):
    save(next(folder.glob("*_flair*")), make_image()[:, :, 5])
    return ["bad_flair.nii.gz", "expected a 3D volume"]


def four_dimensions(folder):
    save(next(folder.glob("*_flair*")), np.stack([make_image()] * 2, -1))
    return ["bad_flair.nii.gz", "expected a 3D volume"]


def truncated(folder):
    path = next(folder.glob("*_flair*"))
    path.write_bytes(path.read_bytes()[:-2000])
    return ["bad_flair.nii.gz", "truncated"]


def no_nifti(folder):
    next(folder.glob("*_flair*")).write_bytes(b"not a volume")
    return ["bad_flair.nii.gz", "not NIfTI"]


def empty_brain(folder):
    save(next(folder.glob("*_t1ce*")), np.zeros(GRID, np.float32))
    return ["bad_t1ce.nii.gz", "brain is empty"]


def constant_brain(folder):
    save(next(folder.glob("*_t1ce*")), (make_image() > 0).astype(np.float32))
    return ["bad_t1ce.nii.gz", "constant"]


def big_brain(folder):
    for path in folder.glob("*_[ft]*"):
        save(path, make_image(box=(12, 20, 10)))
    return ["spans 12x20x10", "--shape 16 24 16"]


def other_spacing(folder):
    for path in folder.glob("*"):
        save(path, read(path), np.diag([-2.0, -1.0, 1.0, 1.0]))
    return ["bad_flair.nii.gz", "2 x 1 x 1 mm", "resample"]


def in_two_folders(folder):
    make_subject(folder.parent / "again", "bad")
    return ["found twice", "again/bad/bad_flair.nii.gz", "keep one"]


def zipped_and_not(folder):
    save(folder / "bad_flair.nii", make_image())
    return ["found twice", "bad_flair.nii.gz", "bad_flair.nii ", "keep one"]


FAULTS = [
    drop_contrast,
    other_grid,
    other_affine,
    nan_voxel,
    two_dimensions,
    four_dimensions,
    truncated,
    no_nifti,
    empty_brain,
]
FAULTS += [constant_brain, big_brain, other_spacing, in_two_folders, zipped_and_not]


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_subject_is_one_line_and_the_others_are_prepared(tmp_path, capsys, fault):
    for participant in ("a1", "a2"):
        make_subject(tmp_path / "in", participant)
    parts = fault(make_subject(tmp_path / "in", "bad"))
    assert run_brats(tmp_path / "in", tmp_path / "out") == 1
    shown = capsys.readouterr()
    assert_one_line(shown.out + shown.err, "bad: ", *parts)
    assert shown.out.splitlines()[-1] == "1 of 3 subjects left out"
    there = {p.name for p in (tmp_path / "out").iterdir()}
    assert there == {"a1", "a2", "dataset.json", "participants.tsv", ".lock"}
    assert list(table_of(tmp_path / "out").index) == ["a1", "a2"]


def test_repaired_subject_joins_later(tmp_path):
    make_subject(tmp_path / "in", "a1")
    nan_voxel(make_subject(tmp_path / "in", "bad"))
    assert run_brats(tmp_path / "in", tmp_path / "out") == 1
    make_subject(tmp_path / "in", "bad")
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    assert list(table_of(tmp_path / "out").index) == ["a1", "bad"]


def test_another_shape_after_nothing_fitted(tmp_path, capsys):
    big_brain(make_subject(tmp_path / "in", "bad"))
    assert run_brats(tmp_path / "in", tmp_path / "out") == 1
    assert run_brats(tmp_path / "in", tmp_path / "out", "--shape", "-1", "0", "8") == 2
    assert_one_line(capsys.readouterr().err, "error: ", "three positive numbers")
    assert run_brats(tmp_path / "in", tmp_path / "out", "--shape", "16", "24", "16") == 0
    assert read(tmp_path / "out" / "bad" / "flair.nii.gz").shape == (16, 24, 16)


def test_nothing_usable_leaves_no_set(tmp_path, capsys):
    drop_contrast(make_subject(tmp_path / "in", "bad"))
    assert run_brats(tmp_path / "in", tmp_path / "out") == 1
    assert "1 of 1 subjects left out" in capsys.readouterr().out and not (tmp_path / "out").exists()


@pytest.mark.parametrize("module", [brats, open_ms, hcp])
def test_empty_source_is_one_line(tmp_path, capsys, module):
    assert module.main(["--source", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'none'}: no ") and error.count("\n") == 1
