"""Every naming scheme, and real files of each, into the prepared layout."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nifti_trees import (
    GRID,
    SHAPE,
    WINDOW,
    make_image,
    make_seg,
    make_subject,
    read,
    run_brats,
    save,
    table_of,
    write_pairs,
)

from data_prep import brats, hcp, open_ms, pairs, prepare
from diffens_core.data.layout import read_dataset

REAL = Path(os.environ.get("DIFFENS_REAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_brats_2018_to_2021_names(tmp_path, ending):
    make_subject(tmp_path / "in" / "HGG", "Brats18_TCIA01_201_1", ending=ending)
    make_subject(tmp_path / "in", "BraTS2021_01485", ("_flair", "_t1ce", "_t1", "_t2"), ending=ending)
    save(tmp_path / "in" / "BraTS2021_01485" / f"._BraTS2021_01485_flair{ending}", make_image())  # as macOS leaves
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    table = table_of(tmp_path / "out")
    assert dict(table["patient"]) == {
        "BraTS2021_01485": "BraTS2021_01485",
        "Brats18_TCIA01_201_1": "Brats18_TCIA01_201",
    }
    assert list(table["source"]) == ["BraTS 2021", "BraTS 2018"]
    files = {p.name for p in (tmp_path / "out" / "BraTS2021_01485").iterdir()}
    assert files == {f"{n}.nii.gz" for n in ("flair", "t1ce", "t1", "t2", "seg", "brain")} | {"intensity.json"}
    seg = read(tmp_path / "out" / "BraTS2021_01485" / "seg.nii.gz")
    assert seg.dtype == np.uint8 and [(seg == label).sum() for label in (1, 2, 4)] == [8, 8, 8]
    about = read_dataset(tmp_path / "out")
    assert about["contrasts"] == ["flair", "t1ce"], "only those that every subject has"
    assert about["spacing"] == [1, 1, 1] and about["shape"] == list(WINDOW) and about["source"] == ["BraTS"]


def test_brats_2023_names_and_labels(tmp_path):
    make_subject(tmp_path / "in", "BraTS-GLI-00001-000", ("-t2f", "-t1c", "-t1n", "-t2w"), labels=(1, 2, 3))
    make_subject(tmp_path / "in", "BraTS-GLI-00001-001", ("-t2f", "-t1c"), labels=None)
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    table = table_of(tmp_path / "out")
    assert set(table["patient"]) == {"BraTS-GLI-00001"} and table["split"].nunique() == 1
    seg = read(tmp_path / "out" / "BraTS-GLI-00001-000" / "seg.nii.gz")
    assert sorted(np.unique(seg)) == [0, 1, 2, 4] and (seg == 4).sum() == 8
    folder = tmp_path / "in" / "BraTS-GLI-00001-000"
    for contrast, kind in (("flair", "t2f"), ("t1ce", "t1c"), ("t1", "t1n"), ("t2", "t2w")):
        highest = read(folder / f"BraTS-GLI-00001-000-{kind}.nii.gz").max()
        units = json.loads((tmp_path / "out" / "BraTS-GLI-00001-000" / "intensity.json").read_text())
        assert units[contrast]["high"] == pytest.approx(1.25 * highest, rel=0.02)
    assert not (tmp_path / "out" / "BraTS-GLI-00001-001" / "seg.nii.gz").exists()


def test_brats_2020_misnamed_segmentation(tmp_path):
    folder = make_subject(tmp_path / "in", "BraTS20_Training_355", labels=None, ending=".nii")
    save(folder / "W39_1998.09.19_Segm.nii", make_seg(4))
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    assert (read(tmp_path / "out" / "BraTS20_Training_355" / "seg.nii.gz") == 4).sum() == 8


@pytest.mark.parametrize(
    ("participant", "patient"),
    [
        ("BraTS-GLI-00001-000", "BraTS-GLI-00001"),
        ("BraTS-GoAT-00002", "BraTS-GoAT-00002"),
        ("BraTS-MEN-RT-0001-1", "BraTS-MEN-RT-0001"),
        ("Brats18_TCIA01_201_1", "Brats18_TCIA01_201"),
        ("Brats18_CBICA_AAB_1", "Brats18_CBICA_AAB"),
        ("BraTS19_2013_0_1", "BraTS19_2013_0"),
        ("BraTS20_Training_001", "BraTS20_Training_001"),
        ("BraTS2021_01485", "BraTS2021_01485"),
    ],
)
def test_patient_of(participant, patient):
    assert brats.patient_of(participant) == patient


def test_open_ms_negative_intensities_and_lesions(tmp_path):
    folder, end = tmp_path / "in" / "MNI" / "patient07", "N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz"
    image = make_image(3, low=-40, high=300)
    hole = np.where(np.arange(GRID[0]) < 8, 0, 1)[:, None, None]
    for number, name in enumerate(("FLAIR", "T1POST", "T1", "T2")):
        save(folder / f"{name}_{end}", image * (number + 1) * (hole if name == "T2" else 1), np.diag([-1.0, 1, 1, 1]))
    save(folder / "GOLD_STANDARD_N4_noneck_regtoMNI.nii.gz", make_seg(1), np.diag([-1.0, 1, 1, 1]))
    assert open_ms.main(["--source", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *SHAPE]) == 0
    done = tmp_path / "out" / "patient07"
    assert sorted(np.unique(read(done / "seg.nii.gz"))) == [0, 2]
    assert read(done / "brain.nii.gz").sum() == (image != 0).sum(), "voxels below 0 are brain"
    assert (read(done / "t2.nii.gz") != 0).sum() <= (image * hole != 0).sum(), "what T2 misses stays 0"
    units = json.loads((done / "intensity.json").read_text())
    assert units["flair"]["low"] < -35 and units["t1ce"]["high"] == pytest.approx(2 * units["flair"]["high"], rel=1e-5)


def test_hcp_prefers_own_space_and_keeps_spacing(tmp_path):
    affine = np.diag([-0.7, 0.7, 0.7, 1.0])
    for name in ("T1w", "T2w"):
        save(tmp_path / "in/100307/T1w" / f"{name}_acpc_dc_restore_brain.nii.gz", make_image(1, high=100), affine)
        save(tmp_path / "in/100307/MNINonLinear" / f"{name}_restore_brain.nii.gz", make_image(1, high=900), affine)
        save(tmp_path / "in/100408/MNINonLinear" / f"{name}_restore_brain.nii.gz", make_image(1, high=900), affine)
    assert hcp.main(["--source", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *SHAPE]) == 0
    about = read_dataset(tmp_path / "out")
    assert about["contrasts"] == ["t1", "t2"] and about["spacing"] == [0.7, 0.7, 0.7]
    high = [
        json.loads((tmp_path / "out" / s / "intensity.json").read_text())["t1"]["high"] for s in ("100307", "100408")
    ]
    assert high[0] < 200 < high[1]


def test_pairs_split_and_patient_columns(tmp_path):
    rows = "s1,nifti/a.nii.gz,nifti/b.nii.gz,val,anna\ns2,nifti/b.nii.gz,nifti/a.nii.gz,,anna\n"
    rows += "s3,nifti/a.nii.gz,nifti/b.nii.gz,test,\n"
    table = write_pairs(tmp_path, "participant_id,flair,t2,split,patient\n" + rows)
    assert pairs.main(["--table", str(table), "--out", str(tmp_path / "out"), *SHAPE]) == 0
    found = table_of(tmp_path / "out")
    assert dict(found["split"]) == {"s1": "val", "s2": "val", "s3": "test"}
    assert dict(found["patient"]) == {"s1": "anna", "s2": "anna", "s3": "s3"}
    assert read_dataset(tmp_path / "out")["contrasts"] == ["flair", "t2"]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data at {REAL}; set DIFFENS_REAL_DATA to its folder")
@pytest.mark.parametrize(
    ("module", "folder", "participant", "orientation"),
    [
        (brats, "brats2021/BraTS2021_01485", "BraTS2021_01485", "LPS"),
        (brats, "brats2018_tcia/Brats18_TCIA10_639_1", "Brats18_TCIA10_639_1", "LPS"),
        (brats, "brats2023gli/BraTS-GLI-00001-000", "BraTS-GLI-00001-000", "LPS"),
        (open_ms, "open_ms/cross_sectional/MNI/patient19", "patient19", "LAS"),
    ],
)
def test_real_subject(tmp_path, module, folder, participant, orientation):
    summary = prepare.prepare(module.find(REAL / folder), tmp_path, name="real", source="real", licence="CC BY")
    (row,) = summary.to_dict("records")
    assert (row["status"], row["orientation"], row["spacing"]) == ("prepared", orientation, "1x1x1")
    assert 900 < row["brain_ml"] < 1900
    for path in (tmp_path / participant).glob("*.nii.gz"):
        image = nib.load(path)
        assert image.shape == (192, 192, 152) and nib.aff2axcodes(image.affine) == ("R", "A", "S")
    flair, brain = read(tmp_path / participant / "flair.nii.gz"), read(tmp_path / participant / "brain.nii.gz") > 0
    assert 0.1 < np.median(flair[brain]) < 0.8 and (flair[~brain] == 0).all()
