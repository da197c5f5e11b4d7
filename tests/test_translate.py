"""`diffens translate` on files of any grid: aligned with the measurement, on the input's grid, in the input's unit.

The weights are random: what is tested here holds for any network.
"""

import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from grids import average, blocks, grid, save, translate
from nibabel.affines import apply_affine
from tiny import SHAPE, make_head

from diffens_core.cli import main
from diffens_core.data.conditions import conditions_of
from diffens_core.data.likeness import Likeness, numbers_of
from diffens_core.data.tasks import task_named
from diffens_core.experiment.presets import PRESETS


def assert_consistent(out, lr, labels):
    """Same grid, something new, and means of whole blocks equal to the measurement to 1e-4 of its maximum."""
    result, given = nib.load(out), nib.load(lr)
    np.testing.assert_allclose(result.affine, given.affine, atol=1e-4)
    data, measured = result.get_fdata(), given.get_fdata()
    assert data.shape == measured.shape and np.abs(data - measured).max() > 0.01 * measured.max()
    whole = np.bincount(labels.ravel())[labels] == 64
    np.testing.assert_allclose(average(data, labels)[whole], measured[whole], atol=1e-4 * measured.max())
    assert (data[measured == 0] == 0).all()


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "oblique"])
@pytest.mark.parametrize("shape, offset", [(SHAPE, (0, 0, 0)), ((24, 24, 20), (1, 2, 3)), ((23, 21, 19), (3, 0, 2))])
def test_block_means_of_the_result_are_the_measurement(folders, tmp_path, codes, shape, offset):
    """Whatever the orientation, the size and where the blocks start: this proves the alignment."""
    labels = blocks(shape, offset)
    lr = save(tmp_path / "lr.nii.gz", average(800 * make_head(2, shape), labels), grid(codes))
    assert translate(folders["sr"], lr, tmp_path / "out.nii.gz") == 0
    assert_consistent(tmp_path / "out.nii.gz", lr, labels)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "oblique"])
def test_a_low_resolution_grid_is_refined_in_place(folders, tmp_path, codes):
    """4x coarser voxels: the output has 4x finer ones over the same extent, whose block means are the input."""
    labels = blocks(SHAPE)
    coarse = average(800 * make_head(3), labels)[::4, ::4, ::4]
    lr = save(tmp_path / "lr.nii.gz", coarse, grid(codes, 16.0))
    assert translate(folders["sr"], lr, tmp_path / "out.nii.gz") == 0
    given, result = nib.load(lr), nib.load(tmp_path / "out.nii.gz")
    assert result.shape == SHAPE and result.header.get_zooms() == pytest.approx((4, 4, 4))
    for corner in np.ndindex(2, 2, 2):
        before, after = (np.array(corner) * image.shape - 0.5 for image in (given, result))
        np.testing.assert_allclose(apply_affine(result.affine, after), apply_affine(given.affine, before), atol=1e-3)
    means = average(result.get_fdata(), labels)[::4, ::4, ::4]
    np.testing.assert_allclose(means, coarse, atol=1e-4 * coarse.max())


def test_orientation_of_the_file_does_not_change_the_result(folders, tmp_path, lr):
    """The same head stored in another order gives the same head, in that order."""
    image = nib.load(lr)
    flipped = image.as_reoriented(nib.orientations.ornt_transform(*map(nib.orientations.axcodes2ornt, ("LPS", "SRA"))))
    nib.save(flipped, tmp_path / "other.nii.gz")
    for name, source in (("a.nii", lr), ("b.nii", tmp_path / "other.nii.gz")):
        assert translate(folders["sr"], source, tmp_path / name) == 0
    a, b = (nib.as_closest_canonical(nib.load(tmp_path / name)) for name in ("a.nii", "b.nii"))
    assert nib.aff2axcodes(nib.load(tmp_path / "b.nii").affine) == ("S", "R", "A")
    np.testing.assert_allclose(a.affine, b.affine, atol=1e-4)
    np.testing.assert_allclose(a.get_fdata(), b.get_fdata(), atol=1e-2)


def test_the_unit_of_the_input_is_kept(folders, tmp_path, lr):
    image = nib.load(lr)
    small = save(tmp_path / "small.nii.gz", image.get_fdata() / 200, image.affine)
    for source, name in ((lr, "a.nii"), (small, "b.nii")):
        assert translate(folders["sr"], source, tmp_path / name) == 0
    a, b = (nib.load(tmp_path / name).get_fdata() for name in ("a.nii", "b.nii"))
    np.testing.assert_allclose(b * 200, a, atol=1e-3 * a.max())


def test_a_seed_gives_the_same_result_and_another_seed_another(folders, tmp_path, lr):
    for name, seed in (("a.nii", 0), ("b.nii", 0), ("c.nii", 1)):
        assert translate(folders["sr"], lr, tmp_path / name, "--seed", seed) == 0
    a, b, c = (nib.load(tmp_path / name).get_fdata() for name in ("a.nii", "b.nii", "c.nii"))
    assert (a == b).all() and not (a == c).all()


@pytest.mark.parametrize("spacing", [2.0, 3.1])
def test_other_voxels_than_the_models_keep_the_measurement_and_warn(folders, tmp_path, capsys, spacing):
    shape = tuple(round(n * 4 / spacing) for n in SHAPE)
    labels = blocks(shape, (1, 0, 2))
    lr = save(tmp_path / "lr.nii.gz", average(800 * make_head(4, shape), labels), grid("LAS", spacing))
    assert translate(folders["sr"], lr, tmp_path / "out.nii.gz") == 0
    assert "the model was trained at 4 mm" in capsys.readouterr().err
    assert_consistent(tmp_path / "out.nii.gz", lr, labels)


@pytest.mark.parametrize("spacing", [2.0, 3.1, 4.0])
def test_without_a_measurement_the_head_is_resampled_and_comes_back(folders, tmp_path, capsys, spacing):
    shape = tuple(round(n * 4 / spacing) for n in SHAPE)
    t1ce = save(tmp_path / "t1ce.nii.gz", 300 * make_head(4, shape), grid("LAS", spacing))
    arguments = ["translate", "--run", folders["mt"], "--t1ce", t1ce, "--out", tmp_path / "out.nii.gz", "--steps", 2]
    assert main([str(a) for a in arguments]) == 0
    assert ("resampled to the 4 mm" in capsys.readouterr().err) == (spacing != 4.0)
    given, result = nib.load(t1ce), nib.load(tmp_path / "out.nii.gz")
    assert result.shape == given.shape and np.allclose(result.affine, given.affine, atol=1e-4)
    brain = given.get_fdata() > 0
    assert np.corrcoef(brain.ravel(), (result.get_fdata() > 0).ravel())[0, 1] > 0.7


def test_a_block_that_the_border_cuts_counts_by_what_it_has(folders, tmp_path):
    """A head that touches the border, whose first block has one voxel: its mean is kept too."""
    shape, offset = (21, 24, 20), (1, 0, 0)
    labels = blocks(shape, offset)
    lr = save(tmp_path / "lr.nii.gz", average(400 + 200 * np.random.default_rng(0).random(shape), labels), grid("RAS"))
    assert translate(folders["sr"], lr, tmp_path / "out.nii.gz") == 0
    data, measured = nib.load(tmp_path / "out.nii.gz").get_fdata(), nib.load(lr).get_fdata()
    whole = np.bincount(labels.ravel())[labels] == 64
    np.testing.assert_allclose(average(data, labels)[whole], measured[whole], atol=0.1)
    assert abs(data[0].mean() / measured[0].mean() - 1) < 0.2


def test_a_head_larger_than_the_window_warns_and_is_whole(folders, tmp_path, capsys):
    shape = (36, 33, 30)
    labels = blocks(shape)
    lr = save(tmp_path / "lr.nii.gz", average(800 * make_head(5, shape), labels), grid("RAS"))
    assert translate(folders["sr"], lr, tmp_path / "out.nii.gz") == 0
    assert "is the skull still there?" in capsys.readouterr().err
    assert_consistent(tmp_path / "out.nii.gz", lr, labels)


def test_two_samples_give_their_mean_and_spread(folders, tmp_path, lr):
    out, std = tmp_path / "mean.nii.gz", tmp_path / "std.nii.gz"
    assert translate(folders["sr"], lr, out, "--samples", 2, "--std", std) == 0
    assert_consistent(out, lr, blocks(SHAPE))
    spread = nib.load(std).get_fdata()
    assert spread.shape == SHAPE and spread.min() == 0 and 1 < spread.max() < 8000
    assert (spread[nib.load(lr).get_fdata() == 0] == 0).all()


def test_a_preset_of_mirrored_samples_draws_a_pair(folders, tmp_path, lr, monkeypatch):
    one, pair, again = (tmp_path / f"{name}.nii.gz" for name in ("one", "pair", "again"))
    assert translate(folders["sr"], lr, one) == 0
    monkeypatch.setitem(PRESETS, "smoke", replace(PRESETS["smoke"], mirrored=True, samples=2))
    assert translate(folders["sr"], lr, pair, "--std", tmp_path / "std.nii.gz") == 0
    assert translate(folders["sr"], lr, again, "--samples", 1) == 0
    first, mean, single = (nib.load(path).get_fdata() for path in (one, pair, again))
    np.testing.assert_array_equal(first, single)
    assert np.abs(first - mean).max() > 0.01 * np.ptp(first)
    assert_consistent(pair, lr, blocks(SHAPE))


@pytest.mark.parametrize("codes", ["LPS", "RAS"])
def test_a_fusion_reads_a_second_contrast_on_any_grid(folders, tmp_path, lr, codes):
    """The T1ce in the same space, in another order: the result changes with its content, not with its order."""
    head, results = nib.Nifti1Image(300 * make_head(6), grid("LPS")), []
    ornt = nib.orientations.ornt_transform(*map(nib.orientations.axcodes2ornt, ("LPS", codes)))
    nib.save(head.as_reoriented(ornt), tmp_path / "t1ce.nii.gz")
    other = save(tmp_path / "other.nii.gz", 300 * make_head(7), grid("LPS"))
    same = save(tmp_path / "same.nii.gz", 300 * make_head(6), grid("LPS"))
    for name in (tmp_path / "t1ce.nii.gz", same, other):
        assert translate(folders["both"], lr, tmp_path / "out.nii.gz", "--t1ce", name, "--overwrite") == 0
        results.append(nib.load(tmp_path / "out.nii.gz").get_fdata())
        assert_consistent(tmp_path / "out.nii.gz", lr, blocks(SHAPE))
    np.testing.assert_allclose(results[0], results[1], atol=0.1)
    assert np.abs(results[0] - results[2]).max() > 1


def test_a_head_unlike_those_of_the_training_is_translated_with_a_warning(folders, tmp_path, lr, capsys):
    """A run that knows its training heads; among them is this one, then all differ from it."""
    spacing = (4.0, 4.0, 4.0)
    heads = [average(800 * make_head(seed), blocks(SHAPE)) for seed in range(1, 9)]
    known = [conditions_of({"flair_lr": image}, task_named("sr"))[0] for image in heads]
    numbers = [numbers_of(y, spacing, task_named("sr").conditions) for y in known]
    for name, others, warned in (("a.nii", numbers, False), ("b.nii", [flatter(one) for one in numbers], True)):
        run = shutil.copytree(folders["sr"], tmp_path / name[0] / "smoke" / folders["sr"].name)
        (run / "likeness.json").write_text(json.dumps(Likeness.of(others).to_dict()))
        assert translate(run, lr, tmp_path / name) == 0
        assert ("unlike the heads that this run was trained on" in capsys.readouterr().err) == warned


def flatter(head):
    """The numbers of a head that is twice as large, with less contrast."""
    spreads = {name: value - 0.1 for name, value in head.items() if name.startswith("spread")}
    return head | spreads | {"volume": head["volume"] + np.log(8)}
