"""Files that labs really have give a right answer or one clear line: through the command line where it matters."""

import warnings

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pytest
from grids import average, blocks, grid, save, translate
from nibabel.affines import apply_affine, from_matvec
from scipy.spatial.transform import Rotation
from tiny import SHAPE, SPACING, make_head, write_prepared

from diffens_core.cli import main
from diffens_core.data.grids import Grid, resample
from diffens_core.data.layout import describe_data
from diffens_core.data.prepared import PreparedData
from diffens_core.data.tasks import task_named
from diffens_core.data.volumes import VolumeError, load_volume, save_volume
from diffens_core.show import plots
from diffens_core.translate import likeliest_starts, whole_blocks


def assert_measured(out, lr):
    """The output has 4x finer voxels over the same extent, and block means that are the input, voxel for voxel."""
    fine, coarse = nib.load(out), nib.load(lr)
    assert fine.shape == tuple(4 * n for n in coarse.shape)
    for corner in np.ndindex(2, 2, 2):
        before, after = (np.array(corner) * image.shape - 0.5 for image in (coarse, fine))
        np.testing.assert_allclose(apply_affine(fine.affine, after), apply_affine(coarse.affine, before), atol=1e-3)
    means = fine.get_fdata().reshape([m for n in coarse.shape for m in (n, 4)]).mean((1, 3, 5))
    np.testing.assert_allclose(means, coarse.get_fdata(), atol=1e-4 * coarse.get_fdata().max())


@pytest.mark.parametrize("sizes", [(4, 4, 4), (6, 6, 6), (4, 4, 12), (16, 16, 16)], ids=str)
def test_voxels_that_form_no_blocks_are_the_measurement_whatever_their_size(folders, tmp_path, sizes):
    """A sharp volume, voxels of 1.5 times the model's, thick slices, and what is four times coarser."""
    affine = from_matvec(np.diag(sizes), [3.0, -7.0, 11.0])
    lr = save(tmp_path / "lr.nii.gz", 800 * make_head(3, (9, 8, 7)), affine)
    assert translate(folders["sr"], lr, tmp_path / "out.nii.gz") == 0
    assert_measured(tmp_path / "out.nii.gz", lr)


def test_a_large_volume_without_blocks_is_refused_in_one_line_unless_it_is_asked_for(folders, tmp_path, capsys):
    lr = save(tmp_path / "lr.nii.gz", make_head(1, (90, 90, 70)), grid("RAS"))
    assert translate(folders["sr"], lr, tmp_path / "out.nii.gz") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "lr.nii.gz: no 4x4x4 blocks in this file" in line and "--grid coarse" in line and "360x360x280" in line


def test_blocks_that_are_not_quite_constant_can_be_said_to_be_there(folders, tmp_path):
    offset, noise = (1, 2, 3), np.random.default_rng(0).normal(size=SHAPE)
    data = average(800 * make_head(2), blocks(SHAPE, offset))
    assert likeliest_starts(np.where(data > 0, data + 5 * noise, 0), (4, 4, 4)) == offset
    lr = save(tmp_path / "lr.nii.gz", np.where(data > 0, data + 5 * noise, 0), grid("RAS"))
    assert translate(folders["sr"], lr, tmp_path / "out.nii.gz", "--grid", "fine") == 0
    assert nib.load(tmp_path / "out.nii.gz").shape == SHAPE


def test_a_background_stored_with_a_slope_is_background(folders, tmp_path):
    """A z-scored head as scaled integers: 0 is none of the values that they can have."""
    head = average(make_head(4), blocks(SHAPE))
    scored = np.where(head > 0, (head - head[head > 0].mean()) / head[head > 0].std(), 0)
    image = nib.Nifti1Image(scored, grid("RAS"))
    image.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "scored.nii.gz")
    assert (nib.load(tmp_path / "scored.nii.gz").get_fdata() != 0).all()
    volume = load_volume(tmp_path / "scored.nii.gz")
    assert ((volume.data != 0) == (head > 0)).mean() > 0.999 and (volume.data[head == 0] == 0).all()
    assert translate(folders["sr"], tmp_path / "scored.nii.gz", tmp_path / "out.nii.gz") == 0
    assert (nib.load(tmp_path / "out.nii.gz").get_fdata()[head == 0] == 0).all()


def test_a_mask_says_where_the_brain_is_and_keeps_whole_blocks(folders, tmp_path, capsys):
    labels, brain = blocks(SHAPE), make_head(1) > 0
    data = average(500 + 100 * np.random.default_rng(0).random(SHAPE), labels)
    lr = save(tmp_path / "lr.nii.gz", data, grid("RAS"))
    mask = save(tmp_path / "mask.nii.gz", np.pad(brain, 2)[:, :, 2:-2].astype(float), shifted(grid("RAS"), (-2, -2, 0)))
    assert translate(folders["sr"], lr, tmp_path / "full.nii.gz") == 0
    assert "100% of the voxels are not 0" in capsys.readouterr().err
    assert translate(folders["sr"], lr, tmp_path / "out.nii.gz", "--mask", mask) == 0
    out, inside = nib.load(tmp_path / "out.nii.gz").get_fdata(), whole_blocks(brain, (0, 0, 0), (4, 4, 4))
    assert (out[~inside] == 0).all() and (out[inside] != 0).mean() > 0.99
    np.testing.assert_allclose(average(out, labels)[inside], data[inside], atol=1e-3 * data.max())
    empty = save(tmp_path / "empty.nii.gz", 0 * data, grid("RAS"))
    assert translate(folders["sr"], lr, tmp_path / "other.nii.gz", "--mask", empty) == 2


def shifted(affine, voxels):
    """The affine of a grid that begins so many voxels later."""
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ voxels
    return moved


@pytest.mark.parametrize("offset", [(0, 0, 0), (1, 2, 3), (3, 0, 2)])
def test_whole_blocks_are_those_that_the_mask_touches(offset):
    shape = (13, 10, 9)
    mask = np.random.default_rng(1).random(shape) < 0.02
    labels = blocks(shape, offset)
    np.testing.assert_array_equal(whole_blocks(mask, offset, (4, 4, 4)), np.isin(labels, labels[mask]))


def turned(affine, shape, degrees):
    """`affine` turned about the middle of the box."""
    turn = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    middle = apply_affine(affine, (np.array(shape) - 1) / 2)
    return from_matvec(turn, middle - turn @ middle) @ affine


def test_grids_are_the_same_to_a_tenth_of_a_voxel_at_their_corners():
    shape, affine = (96, 112, 96), grid("LPS", 2.0)
    here = Grid(affine, shape)
    assert here.same_as(Grid(shifted(affine, (0.0007, 0, 0)), shape))  # 1.4 microns
    assert here.same_as(Grid(turned(affine, shape, 0.05), shape))
    assert not here.same_as(Grid(turned(affine, shape, 0.28), shape))
    assert not here.same_as(Grid(affine @ np.diag([1.0049, 1.0049, 1.0049, 1]), shape))
    assert not here.same_as(Grid(affine, (96, 112, 95)))
    assert here.distance(Grid(shifted(affine, (0.3, 0.4, 0)), shape)) == pytest.approx(0.5)
    corner = turned(affine, shape, 0.28)
    assert here.distance(Grid(corner, shape)) == pytest.approx(np.deg2rad(0.28) * np.hypot(47.5, 55.5), rel=1e-3)


def test_nearest_resampling_keeps_labels():
    labels = np.random.default_rng(0).choice([0, 1, 2, 4], size=SHAPE).astype(np.uint8)
    out = resample(labels, grid("RAS"), Grid(shifted(grid("RAS"), (0.3, -0.2, 0.1)), SHAPE), order=0)
    assert out.dtype == np.uint8 and set(np.unique(out)) <= {0, 1, 2, 4}
    np.testing.assert_array_equal(out[1:-1, 1:-1, 1:-1], labels[1:-1, 1:-1, 1:-1])


@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 1), (2, 4)], ids=str)
@pytest.mark.parametrize("coarse", [False, True])
def test_both_geometries_of_a_header_go_to_the_output(folders, tmp_path, codes, coarse):
    """qform and sform 10 degrees apart: whichever a viewer prefers, the output lies on the input."""
    data = 800 * make_head(3, (9, 8, 7)) if coarse else average(800 * make_head(3), blocks(SHAPE))
    image = nib.Nifti1Image(data.astype(np.float32), grid("LPS"))
    image.set_qform(grid("LPS"), code=codes[0])
    image.set_sform(turned(grid("LPS"), data.shape, 10.0), code=codes[1])
    nib.save(image, tmp_path / "lr.nii.gz")
    assert translate(folders["sr"], tmp_path / "lr.nii.gz", tmp_path / "out.nii.gz") == 0
    out, factor = nib.load(tmp_path / "out.nii.gz"), 4 if coarse else 1
    corners = np.array(list(np.ndindex(2, 2, 2)))
    for form in ("get_qform", "get_sform"):
        (own, code), (theirs, wanted) = (getattr(i, form)(coded=True) for i in (out, nib.load(tmp_path / "lr.nii.gz")))
        assert code == wanted and (own is None) == (theirs is None)
        if own is not None:
            ends = (apply_affine(a, corners * n - 0.5) for a, n in ((own, out.shape), (theirs, data.shape)))
            np.testing.assert_allclose(*ends, atol=2e-3)
    np.testing.assert_allclose(out.header.get_zooms(), np.array([4.0] * 3) / factor, rtol=1e-5)


@pytest.mark.parametrize("unit, length", [("meter", 1e-3), ("micron", 1e3), ("mm", 1.0), ("unknown", 1.0)])
def test_the_unit_of_a_header_is_honoured_and_kept(tmp_path, unit, length):
    affine = np.diag([length, length, length, 1.0]) @ grid("PIR", 2.0)
    image = nib.Nifti1Image(make_head(0), affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "in.nii.gz")
    volume = load_volume(tmp_path / "in.nii.gz")
    assert volume.spacing == pytest.approx((2, 2, 2))
    save_volume(tmp_path / "out.nii.gz", volume.data, volume)
    out = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(out.affine, affine, rtol=1e-5)
    assert out.header.get_xyzt_units()[0] == unit
    np.testing.assert_array_equal(out.get_fdata(), image.get_fdata())


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.AnalyzeImage])
def test_an_orientation_that_is_guessed_is_said_and_not_stamped(tmp_path, kind):
    path = tmp_path / ("in.nii.gz" if kind is nib.Nifti1Image else "in.img")
    image = kind(make_head(0), None)
    image.header.set_zooms((2, 2, 2))
    nib.save(image, path)
    with pytest.warns(UserWarning, match="does not say how its axes lie"):
        volume = load_volume(path)
    save_volume(tmp_path / "out.nii.gz", volume.data, volume)
    header = nib.load(tmp_path / "out.nii.gz").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 0)
    assert header.get_zooms() == pytest.approx((2, 2, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = load_volume(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(again.data, volume.data)


def test_complex_numbers_are_refused_by_the_name_of_the_file(tmp_path):
    nib.save(nib.Nifti1Image(make_head(0).astype(np.complex64), grid("RAS")), tmp_path / "complex.nii.gz")
    with pytest.raises(VolumeError, match=r"complex.nii.gz: .*complex"):
        load_volume(tmp_path / "complex.nii.gz")


def test_an_output_that_cannot_be_written_is_said_before_any_work(folders, tmp_path, lr, capsys):
    (tmp_path / "file").write_text("")
    assert translate(folders["sr"], lr, tmp_path / "file" / "out.nii.gz") == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "file" in said.err and "translating" not in said.err


@pytest.mark.parametrize("split", ["train", "test"])
def test_all_files_of_a_task_are_checked_before_anything_runs(tmp_path, split):
    root = write_prepared(tmp_path / "data", (split,) * 3)
    for name in ("sub-00/t1ce", "sub-02/t1ce", "sub-02/flair"):
        (root / f"{name}.nii.gz").unlink()
    config = describe_data(root, SPACING, SHAPE)
    wanted = "sub-00/t1ce.nii.gz, sub-02/flair.nii.gz, sub-02/t1ce.nii.gz: no such file.*participants.tsv"
    with pytest.raises(VolumeError, match=wanted):
        PreparedData(config, split, task_named("both"))
    assert "sub-00" not in str(pytest.raises(VolumeError, PreparedData, config, split, task_named("sr")).value)


def test_a_picture_of_volumes_that_are_all_the_truth_is_drawn():
    head = make_head(0)
    figure = plots.three_planes({"truth": head, "a": head.copy(), "b": head.copy()}, head)
    assert len(figure.axes) >= 18
    plt.close(figure)


def test_check_says_what_would_be_made_of_a_file(folders, tmp_path, capsys):
    offset = (1, 2, 3)
    fine = save(tmp_path / "fine.nii.gz", average(800 * make_head(2), blocks(SHAPE, offset)), grid("RAS"))
    coarse = save(tmp_path / "coarse.nii.gz", make_head(3, (9, 8, 7)), from_matvec(np.diag([2, 2, 2.5]), [0, 0, 0]))
    runs = folders["sr"].parents[1]
    assert main(["check", str(fine), str(coarse), "--runs", str(runs)]) == 0
    first, second = capsys.readouterr().out.split(f"{coarse}\n")
    assert "24 x 24 x 20 voxels of 4 x 4 x 4 mm" in first and "axes RAS" in first and "sform 2" in first
    assert "fine: 4x4x4 blocks, the first begin at voxels 1, 2, 3" in first and folders["both"].name in first
    assert "coarse: no blocks" in second and "36 x 32 x 28 voxels" in second and "0.5 x 0.5 x 0.62 mm" in second
    assert main(["check", str(fine), str(tmp_path / "absent.nii")]) == 2
    said = capsys.readouterr()
    assert str(fine) in said.out and said.err == f"error: {tmp_path / 'absent.nii'}: no such file\n"
