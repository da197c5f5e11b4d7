"""Files are found wherever they lie, and none is dropped without a word."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from nifti_trees import SHAPE, assert_one_line, make_image, make_subject, read, run_brats, save, table_of, write_pairs

from data_prep import hcp, open_ms, pairs
from data_prep.layout import listed_participants
from diffens_core.data.layout import read_dataset


def files_of(out: Path, participant: str) -> set[str]:
    return {path.name.removesuffix(".nii.gz") for path in (out / participant).glob("*.nii.gz")} - {"brain"}


def test_links_to_folders_and_files_are_followed_and_circles_end(tmp_path, capsys):
    store = tmp_path / "store"
    make_subject(store, "s1")
    make_subject(store, "s2")
    source = tmp_path / "in"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "s1").symlink_to(store / "s1")
    (source / "again").symlink_to(store / "s1")
    (source / "deep" / "circle").symlink_to(source)
    (source / "s2").mkdir()
    for path in (store / "s2").iterdir():
        (source / "s2" / path.name).symlink_to(path)
        (source / path.name).symlink_to(path)
    assert run_brats(source, tmp_path / "out") == 0
    assert list(table_of(tmp_path / "out").index) == ["s1", "s2"]
    assert files_of(tmp_path / "out", "s2") == {"flair", "t1ce", "seg"}
    (tmp_path / "link").symlink_to(source)
    assert run_brats(tmp_path / "link", tmp_path / "out2") == 0
    assert len(table_of(tmp_path / "out2")) == 2


def test_link_to_nothing_is_one_line(tmp_path, capsys):
    folder = make_subject(tmp_path / "in", "s1")
    (folder / "s1_flair.nii.gz").unlink()
    (folder / "s1_flair.nii.gz").symlink_to(tmp_path / "gone")
    make_subject(tmp_path / "in", "s2")
    assert run_brats(tmp_path / "in", tmp_path / "out") == 1
    assert_one_line(capsys.readouterr().out, "s1: ", "s1_flair.nii.gz: no such file")


def spread(folder: Path) -> None:
    """Each file into a folder of its own name, as 7-Zip and Kaggle leave them."""
    for path in list(folder.iterdir()):
        path.rename(folder / "moved")
        path.mkdir()
        (folder / "moved").rename(path / path.name)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_one_folder_for_each_file(tmp_path, ending):
    spread(make_subject(tmp_path / "in", "BraTS20_Training_001", ending=ending))
    folder = make_subject(tmp_path / "in", "BraTS20_Training_355", labels=None, ending=ending)
    seg = tmp_path / "in" / "BraTS20_Training_001" / f"BraTS20_Training_001_seg{ending}"
    shutil.copy(seg / seg.name, folder / f"W39_1998.09.19_Segm{ending}")
    spread(folder)
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    for participant in ("BraTS20_Training_001", "BraTS20_Training_355"):
        assert files_of(tmp_path / "out", participant) == {"flair", "t1ce", "seg"}


def test_contrasts_in_different_folders_are_gathered(tmp_path):
    for path in list(make_subject(tmp_path / "in", "s1").iterdir()):
        kind = path.name.split("_")[1].split(".")[0]
        (tmp_path / "in" / kind).mkdir()
        path.rename(tmp_path / "in" / kind / path.name)
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    assert files_of(tmp_path / "out", "s1") == {"flair", "t1ce", "seg"}


def test_one_contrast_twice_is_named_with_both_files(tmp_path, capsys):
    folder = make_subject(tmp_path / "in", "s1")
    save(tmp_path / "in" / "other" / "s1_t1ce.nii.gz", make_image(9))
    make_subject(tmp_path / "in", "s2")
    assert run_brats(tmp_path / "in", tmp_path / "out") == 1
    both = [str(folder / "s1_t1ce.nii.gz"), str(tmp_path / "in" / "other" / "s1_t1ce.nii.gz")]
    assert_one_line(capsys.readouterr().out, "s1: found twice", *both)


def test_other_cases_of_names_and_endings_are_taken(tmp_path):
    folder = make_subject(tmp_path / "in", "s1", labels=None)
    (folder / "s1_flair.nii.gz").rename(folder / "s1_FLAIR.nii.gz")
    (folder / "s1_t1ce.nii.gz").rename(folder / "s1_T1CE.NII.GZ")
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    assert files_of(tmp_path / "out", "s1") == {"flair", "t1ce"}


@pytest.mark.parametrize(
    "name",
    [
        "s1_t2.nii.gz.part",
        "s1_T1gd.nii.gz",
        "s1_flair_bias.nii",
        "s1-t2w.nii.gz",
        ".s1_t2.nii.gz.x7Y",
        "s1_seg.nii.bz2",
    ],
)
def test_file_that_is_not_taken_is_named(tmp_path, capsys, name):
    folder = make_subject(tmp_path / "in", "s1")
    (folder / name).write_bytes(b"part")
    (folder / "s1.json").write_text("{}")
    (folder / "._s1_t2.nii.gz").write_bytes(b"macOS")
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert_one_line(shown, f"note: {folder / name}: not used")
    assert shown.count("note: ") == 1


def test_only_files_of_other_names(tmp_path, capsys):
    save(tmp_path / "in" / "s1_t1c.nii.gz", make_image())
    assert run_brats(tmp_path / "in", tmp_path / "out") == 2
    shown = capsys.readouterr()
    assert_one_line(shown.out, "s1_t1c.nii.gz: not used")
    assert_one_line(shown.err, "error: ", "no BraTS files here")


def test_open_ms_and_hcp_by_links_and_in_folders_for_each_file(tmp_path, capsys):
    store = tmp_path / "store"
    for name in ("FLAIR_N4_regtoMNI.nii.gz", "T1POST_N4_REGTOMNI.nii.gz"):
        save(store / "patient07" / name, make_image(1))
    (store / "patient07" / "T2_N4_regtoMNI.nii.gz.part").touch()
    for name in ("T1w", "T2w"):
        save(store / "100307" / "T1w" / f"{name}_acpc_dc_restore_brain.nii", make_image(1))
    (store / "100307" / "T1w" / "T1w_acpc_dc_restore_brain.nii.gz.part").touch()
    spread(store / "patient07")
    spread(store / "100307" / "T1w")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "patient07").symlink_to(store / "patient07")
    (tmp_path / "in" / "100307").symlink_to(store / "100307")
    for module, participant, part in ((open_ms, "patient07", "regtoMNI"), (hcp, "100307", "acpc")):
        assert module.main(["--source", str(tmp_path / "in"), "--out", str(tmp_path / module.__name__), *SHAPE]) == 0
        assert list(table_of(tmp_path / module.__name__).index) == [participant]
        assert_one_line(capsys.readouterr().out, "note: ", f"{part}", ".part: not used")
    inside = tmp_path / "in" / "patient07"
    assert [source.participant_id for source in open_ms.find(inside)] == ["patient07"]
    assert [source.participant_id for source in hcp.find(tmp_path / "in" / "100307")] == ["100307"]


def test_participant_named_na_is_read_as_written(tmp_path):
    make_subject(tmp_path / "in", "NA")
    (tmp_path / "split.csv").write_text("participant_id,split\nNA,test\n,\n")
    assert run_brats(tmp_path / "in", tmp_path / "out", "--split-file", tmp_path / "split.csv") == 0
    table = write_pairs(tmp_path, "participant_id,flair,patient\nNA,nifti/a.nii.gz,null\nnan,nifti/b.nii.gz,NA\n")
    assert pairs.main(["--table", str(table), "--out", str(tmp_path / "pairs"), *SHAPE]) == 0
    assert table_of(tmp_path / "out").loc["NA", "split"] == "test"
    listed = listed_participants(tmp_path / "pairs")
    assert list(listed["participant_id"]) == ["NA", "nan"] and list(listed["patient"]) == ["null", "NA"]


@pytest.mark.parametrize("blank", ["", ",", " , ", ",\n,\n\n"])
def test_blank_rows_of_a_table_are_passed_over(tmp_path, blank):
    table = write_pairs(tmp_path, f"participant_id,flair,split\ns1,nifti/a.nii.gz,val\n{blank}\n")
    assert pairs.main(["--table", str(table), "--out", str(tmp_path / "out"), *SHAPE]) == 0
    assert list(table_of(tmp_path / "out").index) == ["s1"]


def test_labels_do_not_decide_the_grid(tmp_path):
    folder = make_subject(tmp_path / "in", "BraTS-GLI-00001-000", ("-t2f", "-t1c"), labels=(1,))
    coarse = np.zeros((10, 11, 9), np.uint8)
    coarse[3, 3, 3] = 3
    affine = np.diag([-2.0, -2.0, 2.0, 1.0])
    affine[:3, 3] = [-0.5, -0.5, 0.5]
    save(folder / "BraTS-GLI-00001-000-seg.nii.gz", coarse, affine)
    assert run_brats(tmp_path / "in", tmp_path / "out", "--resample") == 0
    assert read_dataset(tmp_path / "out")["spacing"] == [1, 1, 1]
    assert (read(tmp_path / "out" / "BraTS-GLI-00001-000" / "seg.nii.gz") == 4).sum() == 8
