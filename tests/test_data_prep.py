"""Files of every naming scheme, and every bad file, into the prepared layout."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import brats, hcp, open_ms, pairs, prepare, subject
from data_prep.layout import read_dataset, read_participants
from data_prep.splits import assign_splits
from diffens_core.volumes import Scale, VolumeError

GRID, WINDOW = (20, 22, 18), (16, 18, 14)
SHAPE = ["--shape", *map(str, WINDOW)]
REAL = Path(os.environ.get("DIFFENS_REAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def make_image(seed=0, low=50.0, high=900.0, box=(12, 14, 10)) -> np.ndarray:
    """A block of noise off the middle of the grid, background 0."""
    data = np.zeros(GRID, np.float32)
    data[tuple(slice(2, 2 + n) for n in box)] = np.random.default_rng(seed).uniform(low, high, box)
    return data


def make_seg(*labels) -> np.ndarray:
    """Eight voxels of each label."""
    seg = np.zeros(GRID, np.uint8)
    for number, label in enumerate(labels):
        seg[4 + 2 * number : 6 + 2 * number, 6:8, 6:8] = label
    return seg


def save(path: Path, data: np.ndarray, affine=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.diag([-1.0, -1.0, 1.0, 1.0]) if affine is None else affine), path)
    return path


def make_subject(
    root: Path, participant: str, suffixes=("_flair", "_t1ce"), labels=(1, 2, 4), ending=".nii.gz"
) -> Path:
    """A BraTS subject; with labels None it has no segmentation."""
    folder = root / participant
    for number, suffix in enumerate(suffixes):
        save(folder / f"{participant}{suffix}{ending}", make_image(number, high=100.0 * (number + 2)))
    if labels is not None:
        save(folder / f"{participant}{suffixes[0][0]}seg{ending}", make_seg(*labels))
    return folder


def run_brats(source: Path, out: Path, *more) -> int:
    return brats.main(["--source", str(source), "--out", str(out), *SHAPE, *map(str, more)])


def read(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def table_of(out: Path) -> pd.DataFrame:
    return read_participants(out).set_index("participant_id")


def assert_one_line(text: str, *parts: str) -> None:
    """Some line of the output has all of `parts`, and there is no traceback."""
    assert any(all(part in line for part in parts) for line in text.splitlines()), text
    assert "Traceback" not in text


# ---- naming schemes ----


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_brats_2018_to_2021_names(tmp_path, ending):
    make_subject(tmp_path / "in" / "HGG", "Brats18_TCIA01_201_1", ending=ending)
    make_subject(tmp_path / "in", "BraTS2021_01485", ("_flair", "_t1ce", "_t1", "_t2"), ending=ending)
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
    for number, name in enumerate(("FLAIR", "T1POST", "T1", "T2")):
        save(folder / f"{name}_{end}", image * (number + 1), np.diag([-1.0, 1, 1, 1]))
    save(folder / "GOLD_STANDARD_N4_noneck_regtoMNI.nii.gz", make_seg(1), np.diag([-1.0, 1, 1, 1]))
    assert open_ms.main(["--source", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *SHAPE]) == 0
    done = tmp_path / "out" / "patient07"
    assert sorted(np.unique(read(done / "seg.nii.gz"))) == [0, 2]
    assert read(done / "brain.nii.gz").sum() == (image != 0).sum(), "voxels below 0 are brain"
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


def write_pairs(folder: Path, text: str) -> Path:
    for name in ("a", "b"):
        save(folder / "nifti" / f"{name}.nii.gz", make_image(ord(name)))
    (folder / "pairs.csv").write_text(text)
    return folder / "pairs.csv"


def test_pairs_split_and_patient_columns(tmp_path):
    rows = "s1,nifti/a.nii.gz,nifti/b.nii.gz,val,anna\ns2,nifti/b.nii.gz,nifti/a.nii.gz,,anna\ns3,nifti/a.nii.gz,nifti/b.nii.gz,test,\n"
    table = write_pairs(tmp_path, "participant_id,flair,t2,split,patient\n" + rows)
    assert pairs.main(["--table", str(table), "--out", str(tmp_path / "out"), *SHAPE]) == 0
    found = table_of(tmp_path / "out")
    assert dict(found["split"]) == {"s1": "val", "s2": "val", "s3": "test"}
    assert dict(found["patient"]) == {"s1": "anna", "s2": "anna", "s3": "s3"}
    assert read_dataset(tmp_path / "out")["contrasts"] == ["flair", "t2"]


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


def test_pairs_missing_file_and_empty_cell(tmp_path, capsys):
    rows = "s1,nifti/a.nii.gz,nifti/b.nii.gz\ns2,nifti/gone.nii.gz,nifti/b.nii.gz\ns3,,nifti/b.nii.gz\n"
    table = write_pairs(tmp_path, "participant_id,flair,t2\n" + rows)
    assert pairs.main(["--table", str(table), "--out", str(tmp_path / "out"), *SHAPE]) == 1
    shown = capsys.readouterr().out
    assert_one_line(shown, "s2: ", "gone.nii.gz: no such file")
    assert_one_line(shown, "s3: no flair")
    assert list(table_of(tmp_path / "out").index) == ["s1"]


# ---- bad input: one line, the others are prepared ----


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


def unknown_label(folder):
    save(next(folder.glob("*_seg*")), make_seg(1, 3))
    return ["bad_seg.nii.gz", "unknown label 3", "1, 2, 4"]


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
FAULTS += [constant_brain, unknown_label, big_brain, other_spacing, in_two_folders, zipped_and_not]


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_subject_is_one_line_and_the_others_are_prepared(tmp_path, capsys, fault):
    for participant in ("a1", "a2"):
        make_subject(tmp_path / "in", participant)
    parts = fault(make_subject(tmp_path / "in", "bad"))
    assert run_brats(tmp_path / "in", tmp_path / "out") == 1
    shown = capsys.readouterr()
    assert_one_line(shown.out + shown.err, "bad: ", *parts)
    assert shown.out.splitlines()[-1] == "1 of 3 subjects left out"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a1", "a2", "dataset.json", "participants.tsv"]
    assert list(table_of(tmp_path / "out").index) == ["a1", "a2"]


def test_repaired_subject_joins_later(tmp_path):
    make_subject(tmp_path / "in", "a1")
    nan_voxel(make_subject(tmp_path / "in", "bad"))
    assert run_brats(tmp_path / "in", tmp_path / "out") == 1
    make_subject(tmp_path / "in", "bad")
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    assert list(table_of(tmp_path / "out").index) == ["a1", "bad"]


def test_nothing_usable_leaves_no_set(tmp_path, capsys):
    drop_contrast(make_subject(tmp_path / "in", "bad"))
    assert run_brats(tmp_path / "in", tmp_path / "out") == 1
    assert "1 of 1 subjects left out" in capsys.readouterr().out and not (tmp_path / "out").exists()


@pytest.mark.parametrize("module", [brats, open_ms, hcp])
def test_empty_source_is_one_line(tmp_path, capsys, module):
    assert module.main(["--source", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'none'}: no ") and error.count("\n") == 1


# ---- what is written ----


def test_volumes_are_scaled_centred_and_invertible(tmp_path):
    folder = make_subject(tmp_path / "in", "s1")
    image = read(folder / "s1_flair.nii.gz").copy()
    image[2, 2, 2] = 32767  # a hot voxel
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
    inside = image[:14, :16, :12][::-1, ::-1]  # LPS to RAS, then the same order of voxels
    np.testing.assert_allclose(back[mask], inside[(inside != 0) & (inside < 32767)], rtol=1e-4)


@pytest.mark.parametrize("axes", ["LPS", "LAS", "RAS", "PIR", "oblique"])
def test_every_orientation_comes_out_ras_at_the_same_place(tmp_path, axes):
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = [-9, -11, 4]
    if axes == "oblique":
        turn = np.deg2rad(12)
        affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
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
    for voxel in ((3, 4, 5), (12, 9, 10)):
        x, y, z = np.round(np.linalg.inv(done.affine) @ affine @ [*voxel, 1])[:3].astype(int)
        unit = json.loads((tmp_path / "out" / "s1" / "intensity.json").read_text())["flair"]
        found = data[x, y, z] * (unit["high"] - unit["low"]) + unit["low"]
        assert found == pytest.approx(make_image()[voxel], rel=1e-4)


def test_seg_between_labels_is_refused(tmp_path):
    with pytest.raises(VolumeError, match="unknown label 1.5"):
        subject.harmonise(np.array([[[0, 1.5]]], np.float32), {1: 1, 2: 2, 4: 4}, Path("seg.nii.gz"))


# ---- resume and append ----


def test_resume_after_a_kill(tmp_path, monkeypatch, capsys):
    for number in range(4):
        make_subject(tmp_path / "in", f"s{number}")
    out, written = tmp_path / "out", []

    def killed(root, participant_id, *rest):
        if len(written) == 2:
            (root / f".{participant_id}.partial-1").mkdir()
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
    assert not list(out.glob(".*")) and (out / "s3" / "seg.nii.gz").is_file()
    assert capsys.readouterr().out.count(": already there") == 2


def test_subject_with_a_lost_file_is_made_again(tmp_path):
    make_subject(tmp_path / "in", "s1")
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    (tmp_path / "out" / "s1" / "t1ce.nii.gz").unlink()
    assert run_brats(tmp_path / "in", tmp_path / "out") == 0
    assert (tmp_path / "out" / "s1" / "t1ce.nii.gz").is_file() and not list((tmp_path / "out").glob(".*"))


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


# ---- split ----


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


# ---- real files ----


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
