"""A head that moved between two contrasts is found again; truth is the motion that was put in."""

import re
import sys
from dataclasses import replace
from functools import cache

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine, from_matvec
from nilearn.datasets import load_mni152_gm_template, load_mni152_template
from scipy.spatial.transform import Rotation

from data_prep import pairs
from diffens_core.cli import main
from diffens_core.data.grids import resample
from diffens_core.data.registration import register
from diffens_core.data.volumes import VolumeError, load_volume


@cache
def heads():
    """Two contrasts of one head at 3 mm, on one grid: T1 and the share of grey matter; and its affine."""
    t1, grey = load_mni152_template(resolution=3), load_mni152_gm_template(resolution=3)
    t1, affine = np.asarray(t1.dataobj, np.float32), t1.affine
    return t1, np.where(t1 > 0, 400 * np.asarray(grey.dataobj, np.float32) + 20, 0).astype(np.float32), affine


def motion(degrees, millimetres, seed=0):
    """A turn about the middle of the head by `degrees`, then a shift, about and along axes drawn at random."""
    axis, way = (v / np.linalg.norm(v) for v in np.random.default_rng(seed).normal(size=(2, 3)))
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * axis).as_matrix()
    t1, _, affine = heads()
    middle = apply_affine(affine, np.divide(t1.shape, 2))
    return from_matvec(turn, middle - turn @ middle + millimetres * way)


def files(folder, moved=None, degrees=12, millimetres=15):
    """`fixed.nii.gz` and `moving.nii.gz`, whose header has the head elsewhere; and where it should have it."""
    t1, grey, affine = heads()
    there = (motion(degrees, millimetres) if moved is None else moved) @ affine
    nib.save(nib.Nifti1Image(t1, affine), folder / "fixed.nii.gz")
    nib.save(nib.Nifti1Image(grey, there), folder / "moving.nii.gz")
    nib.save(nib.Nifti1Image((grey > 200).astype(np.uint8), there), folder / "mask.nii.gz")
    return folder / "fixed.nii.gz", folder / "moving.nii.gz"


def error(found, wanted):
    """Millimetres that the brain's voxels lie apart under two affines, at most."""
    brain = np.argwhere(heads()[0] > 0)[::50]
    return np.linalg.norm(apply_affine(found, brain) - apply_affine(wanted, brain), axis=1).max()


@pytest.mark.parametrize("seed, degrees, millimetres", [(0, 3, 3), (2, 20, 40)])
def test_the_motion_that_was_put_in_is_found(tmp_path, seed, degrees, millimetres):
    fixed, moving = map(load_volume, files(tmp_path, motion(degrees, millimetres, seed)))
    assert error(moving.affine, fixed.affine) > 3
    assert error(register(fixed, moving).affine, fixed.affine) < 0.75  # a quarter of a voxel


def test_headers_that_are_right_are_left_as_they_are(tmp_path):
    fixed, moving = map(load_volume, files(tmp_path, np.eye(4)))
    assert register(fixed, moving) is moving


def test_the_command_brings_a_volume_and_its_mask_onto_the_other_grid(tmp_path, capsys):
    fixed, moving = files(tmp_path)
    out, mask_out = tmp_path / "out.nii.gz", tmp_path / "mask_out.nii.gz"
    masks = ["--mask", str(tmp_path / "mask.nii.gz"), "--mask-out", str(mask_out)]
    assert main(["register", str(fixed), str(moving), "--out", str(out), *masks]) == 0
    turned, shifted = map(float, re.findall(r"turned by ([\d.]+) .* by ([\d.]+) mm", capsys.readouterr().out)[0])
    assert abs(turned - 12) < 0.5 and abs(shifted - 15) < 1
    _, grey, affine = heads()
    written, mask = nib.load(out), nib.load(mask_out).get_fdata() > 0
    assert written.shape == grey.shape
    np.testing.assert_allclose(written.affine, affine)
    assert np.corrcoef(written.get_fdata().ravel(), grey.ravel())[0, 1] > 0.97
    assert 2 * (mask & (grey > 200)).sum() / (mask.sum() + (grey > 200).sum()) > 0.85
    assert main(["register", str(fixed), str(moving), "--out", str(out)]) == 2
    assert "exists; give --overwrite" in capsys.readouterr().err


def test_preparation_registers_contrasts_and_labels_go_with_the_one_they_were_drawn_on(tmp_path, capsys):
    t1, grey, affine = heads()
    here = np.where(grey > 300, 2, 0).astype(np.uint8)
    there = motion(10, 12) @ affine
    for name, data, at in (("flair", t1, affine), ("t1ce", grey, there), ("seg", here, there)):
        nib.save(nib.Nifti1Image(data, at), tmp_path / f"{name}.nii.gz")
    table = tmp_path / "pairs.csv"
    table.write_text("participant_id,flair,t1ce,seg\na,flair.nii.gz,t1ce.nii.gz,seg.nii.gz\n")
    command = ["--table", str(table), "--shape", "72", "80", "72", "--out", str(tmp_path / "out")]
    assert pairs.main(command) == 1
    assert "t1ce.nii.gz: is not on the grid of" in capsys.readouterr().out
    assert pairs.main([*command, "--register"]) == 0
    flair, t1ce, seg = (nib.load(tmp_path / "out" / "a" / f"{n}.nii.gz") for n in ("flair", "t1ce", "seg"))
    wanted = resample(grey, affine, load_volume(tmp_path / "out" / "a" / "t1ce.nii.gz").grid)
    assert np.corrcoef(t1ce.get_fdata().ravel(), wanted.ravel())[0, 1] > 0.95
    np.testing.assert_array_equal(flair.affine, seg.affine)
    truth, found = wanted > 300, seg.get_fdata() == 2
    assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.75  # thin cortex, nearest voxels of 3 mm


def test_preparation_names_the_file_that_cannot_be_registered(tmp_path, capsys):
    fixed, _ = files(tmp_path)
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 8), np.float32), np.eye(4)), tmp_path / "empty.nii.gz")
    (tmp_path / "pairs.csv").write_text(f"participant_id,flair,t1ce\na,{fixed.name},empty.nii.gz\n")
    assert pairs.main(["--table", str(tmp_path / "pairs.csv"), "--register", "--out", str(tmp_path / "out")]) == 1
    assert f"empty.nii.gz onto {fixed}: an empty volume" in capsys.readouterr().out


def test_what_cannot_be_registered_is_one_line(tmp_path, capsys, monkeypatch):
    fixed, moving = files(tmp_path)
    volume = load_volume(fixed)
    with pytest.raises(VolumeError, match="an empty volume"):
        register(volume, replace(volume, data=np.zeros_like(volume.data)))
    command = ["register", str(fixed), str(moving), "--out", str(tmp_path / "out.nii.gz")]
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), tmp_path / "empty.nii.gz")
    for pair in ([str(fixed), str(tmp_path / "empty.nii.gz")], [str(tmp_path / "empty.nii.gz"), str(moving)]):
        assert main(["register", *pair, "--out", str(tmp_path / "out.nii.gz")]) == 2
        assert "empty.nii.gz: every voxel is 0" in capsys.readouterr().err
    assert main([*command, "--mask", str(fixed)]) == 2
    assert "--mask and --mask-out go together" in capsys.readouterr().err
    assert main([*command, "--mask", str(fixed), "--mask-out", str(tmp_path / "m.nii.gz")]) == 2
    assert "fixed.nii.gz: is not on the grid of" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    assert main(command) == 2
    assert "pip install 'diffens[register]'" in capsys.readouterr().err
    assert not list(tmp_path.glob("*out*"))
