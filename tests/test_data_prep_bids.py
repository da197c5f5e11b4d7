"""BIDS data sets, raw and derived, into the prepared layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nifti_trees import SHAPE, assert_one_line, make_image, make_seg, read, save, table_of

from data_prep import bids
from diffens_core.data.layout import read_dataset
from diffens_core.data.preparation import SOURCES


def make_participant(root: Path, session="", suffixes=("FLAIR", "ce-gd_T1w"), name="sub-01") -> Path:
    """The folder anat with an image for each suffix, of rising intensity."""
    folder = root / name / session / "anat"
    begin = f"{name}_{session}_" if session else f"{name}_"
    for number, suffix in enumerate(suffixes):
        save(folder / f"{begin}{suffix}.nii.gz", make_image(number, high=100.0 * (number + 2)))
    return folder


def run(source: Path, out: Path, *more: str) -> int:
    return bids.main(["--source", str(source), "--out", str(out), *SHAPE, *more])


def names_in(folder: Path) -> set[str]:
    return {path.name.removesuffix(".nii.gz") for path in folder.glob("*.nii.gz")}


def test_sessions_contrasts_and_other_files(tmp_path, capsys):
    root = tmp_path / "in"
    make_participant(root, suffixes=("acq-3d_FLAIR", "ce-gd_T1w", "T1w", "acq-tse_run-1_T2w"))
    for session in ("ses-a", "ses-b"):
        make_participant(root, session, name="sub-02")
    for name in ("bold", "desc-brain_mask"):
        save(root / "sub-02" / "ses-a" / "func" / f"sub-02_ses-a_task-rest_{name}.nii.gz", make_image())
    save(root / "sub-02" / "ses-a" / "anat" / "sub-02_ses-a_ce-gd_FLAIR.nii.gz", make_image())
    save(root / "sourcedata" / "sub-02" / "sub-02_ses-a_FLAIR.nii.gz", make_image())
    (root / "dataset_description.json").write_text('{"Name": "Tumours", "BIDSVersion": "1.9.0"}')
    assert run(root, tmp_path / "out") == 0
    table = table_of(tmp_path / "out")
    assert dict(table["patient"]) == {"sub-01": "sub-01", "sub-02_ses-a": "sub-02", "sub-02_ses-b": "sub-02"}
    assert table.loc["sub-02_ses-a", "split"] == table.loc["sub-02_ses-b", "split"]
    assert set(table["source"]) == {"BIDS Tumours"}
    assert names_in(tmp_path / "out" / "sub-01") == {"flair", "t1ce", "t1", "t2", "brain"}
    assert names_in(tmp_path / "out" / "sub-02_ses-a") == {"flair", "t1ce", "brain"}
    about = read_dataset(tmp_path / "out")
    assert about["contrasts"] == ["flair", "t1ce"] and about["name"] == "bids" and about["source"] == ["BIDS Tumours"]
    shown = capsys.readouterr().out
    assert_one_line(shown, "sub-02_ses-a_ce-gd_FLAIR.nii.gz: not used")
    assert shown.count("note: ") == 1


def test_each_contrast_is_the_right_file(tmp_path):
    suffixes = ("FLAIR", "ce-gd_T1w", "T1w", "T2w")
    make_participant(tmp_path / "in", suffixes=suffixes)
    (source,) = bids.find(tmp_path / "in")
    ends = {name: path.name.removeprefix("sub-01_") for name, path in source.files.items()}
    assert ends == dict(zip(("flair", "t1ce", "t1", "t2"), (f"{suffix}.nii.gz" for suffix in suffixes)))


def test_segmentation_and_brain_mask(tmp_path):
    root = tmp_path / "in"
    make_participant(root)
    derived = root / "derivatives" / "manual" / "sub-01" / "anat"
    save(derived / "sub-01_space-orig_dseg.nii.gz", make_seg(1, 2, 4, 4))
    mask = (make_image() > 0).astype(np.uint8)
    mask[:6] = 0
    save(derived / "sub-01_desc-brain_mask.nii.gz", mask)
    assert run(root, tmp_path / "out") == 0
    done = tmp_path / "out" / "sub-01"
    seg = read(done / "seg.nii.gz")
    assert [(seg == label).sum() for label in (1, 2, 4)] == [8, 8, 16]
    assert read(done / "brain.nii.gz").sum() == mask.sum()


@pytest.mark.parametrize(("brain", "lesion"), [("_mask", "_label-lesion_mask"), ("_label-brain_mask", "_dseg")])
def test_labels_of_a_lesion_must_be_said(tmp_path, capsys, brain, lesion):
    folder = make_participant(tmp_path / "in")
    save(folder / f"sub-01{brain}.nii.gz", (make_image() > 0).astype(np.uint8))
    save(folder / f"sub-01{lesion}.nii.gz", make_seg(1, 1))
    assert run(tmp_path / "in", tmp_path / "out") == 0
    assert_one_line(capsys.readouterr().out, "sub-01: prepared without labels: ", lesion, "--labels")
    assert run(tmp_path / "in", tmp_path / "out", "--labels", "1=2") == 0
    assert (read(tmp_path / "out" / "sub-01" / "seg.nii.gz") == 2).sum() == 16


def test_derivatives_alone_or_beside_raw_images(tmp_path, capsys):
    root = tmp_path / "in"
    derived = root / "derivatives" / "stripped"
    suffixes = ("space-orig_desc-brain_FLAIR", "space-orig_ce-gd_desc-brain_T1w")
    make_participant(derived, "ses-1", suffixes)
    assert run(derived, tmp_path / "out") == 0
    assert run(root, tmp_path / "out2") == 0
    for out in ("out", "out2"):
        assert names_in(tmp_path / out / "sub-01_ses-1") == {"flair", "t1ce", "brain"}
    raw = make_participant(root, "ses-1")
    capsys.readouterr()
    (source,) = bids.find(root)
    assert {path.parent for path in source.files.values()} == {raw}
    assert_one_line(capsys.readouterr().out, "note: ", f"{suffixes[0]}.nii.gz: not used, as the data set itself has")


def test_several_runs_are_named(tmp_path, capsys):
    make_participant(tmp_path / "in", suffixes=("run-1_FLAIR", "run-2_FLAIR", "ce-gd_T1w"))
    make_participant(tmp_path / "in", name="sub-02")
    assert run(tmp_path / "in", tmp_path / "out") == 1
    parts = ("sub-01_run-1_FLAIR.nii.gz", "sub-01_run-2_FLAIR.nii.gz", "keep one")
    assert_one_line(capsys.readouterr().out, "sub-01: found twice", *parts)
    assert list(table_of(tmp_path / "out").index) == ["sub-02"]


def test_required_contrasts(tmp_path, capsys):
    make_participant(tmp_path / "in", suffixes=("T1w", "T2w"))
    make_participant(tmp_path / "in", suffixes=("T1w",), name="sub-02")
    assert run(tmp_path / "in", tmp_path / "out") == 1
    assert_one_line(capsys.readouterr().out, "sub-02: no t2 in ")
    assert run(tmp_path / "in", tmp_path / "out", "--contrasts", "t1") == 0
    assert read_dataset(tmp_path / "out")["contrasts"] == ["t1"]


def test_two_data_sets_with_the_same_participant(tmp_path, capsys):
    for name in ("one", "two"):
        make_participant(tmp_path / name)
    assert run(tmp_path / "one", tmp_path / "out") == 0
    assert run(tmp_path / "two", tmp_path / "out") == 1
    assert_one_line(capsys.readouterr().out, "sub-01: is in the prepared set already, from BIDS one")


@pytest.mark.parametrize("name", ["sub-01/anat/sub-01_T1w.nii.gz.part", "sub-01/anat/01_t1w.nii.gz", "none"])
def test_no_images_is_one_line(tmp_path, capsys, name):
    (tmp_path / "in" / name).parent.mkdir(parents=True)
    (tmp_path / "in" / name).touch()
    assert run(tmp_path / "in", tmp_path / "out") == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert_one_line(shown.err, "error: ", "no BIDS images here")
    assert name == "none" or name in shown.out


def test_it_is_a_source_of_the_command():
    assert "bids" in SOURCES
