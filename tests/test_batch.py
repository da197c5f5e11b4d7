"""Many subjects in one call: each is translated, or named with a reason; a second call does what is left."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from grids import average, blocks, grid, save
from tiny import SHAPE, make_head

from diffens_core.cli import main


def degraded(path, seed=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(path, average(800 * make_head(seed), blocks(SHAPE)), grid("LPS"))


def many(folder, out, *more) -> int:
    options = ["--run", folder, "--out", out, "--steps", 2, "--precision", "float32", *more]
    return main(["translate", *map(str, options)])


def summary(out) -> pd.Series:
    return pd.read_csv(out / "summary.tsv", sep="\t", dtype={"subject": str}).set_index("subject")["status"]


def test_a_folder_is_translated_and_goes_on_where_it_stopped(folders, tmp_path, capsys):
    lr, out = tmp_path / "lr", tmp_path / "out"
    for number, name in enumerate(("a.nii.gz", "b.nii.gz", "c.nii")):
        degraded(lr / name, number)
    (lr / "b.nii.gz").write_bytes(b"no image")
    (lr / "notes.txt").write_text("not a scan")
    assert many(folders["sr"], out, "--lr", lr) == 1
    said = capsys.readouterr().out
    assert "2 of 3 subjects are there" in said and "b: failed: " in said
    assert list(summary(out).index) == ["a", "b", "c"] and summary(out)["b"].startswith("failed: ")
    one = tmp_path / "one.nii.gz"
    assert many(folders["sr"], one, "--lr", lr / "a.nii.gz") == 0
    np.testing.assert_array_equal(nib.load(out / "a.nii.gz").get_fdata(), nib.load(one).get_fdata())
    degraded(lr / "b.nii.gz", 1)
    before = (out / "a.nii.gz").stat().st_mtime_ns
    assert many(folders["sr"], out, "--lr", lr) == 0
    assert summary(out).to_dict() == {"a": "already there", "b": "translated", "c": "already there"}
    assert (out / "a.nii.gz").stat().st_mtime_ns == before


def test_two_conditions_lie_in_two_folders_and_what_one_lacks_is_named(folders, tmp_path):
    lr, t1ce = tmp_path / "lr", tmp_path / "t1ce"
    for name in ("a.nii.gz", "b.nii.gz"):
        degraded(lr / name)
    t1ce.mkdir()
    save(t1ce / "a.nii.gz", 500 * make_head(1), grid("LPS"))
    assert many(folders["both"], tmp_path / "out", "--lr", lr, "--t1ce", t1ce) == 1
    found = summary(tmp_path / "out")
    assert found["a"] == "translated" and "t1ce/b.nii.gz: no such file" in found["b"]


def test_a_table_names_files_and_masks(folders, tmp_path):
    degraded(tmp_path / "scans" / "x.nii.gz")
    mask = np.zeros(SHAPE)
    mask[8:16, 8:16, 8:16] = 1
    save(tmp_path / "scans" / "mask.nii.gz", mask, grid("LPS"))
    table = tmp_path / "list.csv"
    table.write_text("participant_id,lr,mask\n007,scans/x.nii.gz,scans/mask.nii.gz\nNA,scans/x.nii.gz,\n")
    assert many(folders["sr"], tmp_path / "out", "--table", table, "--jobs", 2) == 0
    masked, whole = (nib.load(tmp_path / "out" / f"{name}.nii.gz").get_fdata() for name in ("007", "NA"))
    assert (masked[mask == 0] == 0).all() and (masked[mask == 1] != 0).mean() > 0.9 and (whole[mask == 0] != 0).any()
    table.write_text("participant_id,lr\nx,scans/x.nii.gz\nx,scans/x.nii.gz\n")
    assert many(folders["sr"], tmp_path / "other", "--table", table) == 2


def test_a_bids_data_set_becomes_a_derivative(folders, tmp_path, capsys):
    root, out = tmp_path / "bids", tmp_path / "out"
    degraded(root / "sub-01/anat/sub-01_FLAIR.nii.gz")
    degraded(root / "sub-02/ses-a/anat/sub-02_ses-a_FLAIR.nii.gz")
    for run in (1, 2):
        degraded(root / f"sub-03/anat/sub-03_run-{run}_FLAIR.nii.gz")
    (root / "sub-04/anat").mkdir(parents=True)
    assert many(folders["sr"], out, "--bids", root) == 1
    assert (out / "sub-01/anat/sub-01_desc-diffens_FLAIR.nii.gz").is_file()
    assert (out / "sub-02/ses-a/anat/sub-02_ses-a_desc-diffens_FLAIR.nii.gz").is_file()
    assert "sub-03_run-1_FLAIR.nii.gz, sub-03_run-2_FLAIR.nii.gz" in summary(out)["sub-03"]
    assert "missing: flair_lr" in summary(out)["sub-04"]
    assert json.loads((out / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    assert many(folders["sr"], tmp_path / "no", "--bids", tmp_path / "out" / "sub-01") == 2


@pytest.mark.parametrize(
    "options, complaint",
    [
        (["--table", "t.csv", "--bids", "."], "exclude one another"),
        (["--bids", ".", "--std", "s.nii"], "--std and --mask are for one subject"),
        (["--bids", ".", "--jobs", 0], "--jobs must be at least 1"),
    ],
)
def test_options_that_do_not_go_together_are_refused(folders, tmp_path, capsys, options, complaint):
    assert many(folders["sr"], tmp_path / "out", *options) == 2
    assert complaint in capsys.readouterr().err and not (tmp_path / "out").exists()
