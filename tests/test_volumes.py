"""NIfTI in and out without losing anything, and one line for every file that cannot be used."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffens_core.data import volumes
from diffens_core.data.volumes import Scale, VolumeError, Window, center_of, fit_scale, load_volume, save_volume

SHAPE = (5, 7, 9)
OBLIQUE = nib.affines.from_matvec(
    np.array([[1.1, 0.2, -0.1], [-0.25, 1.3, 0.15], [0.1, -0.2, 1.9]]) @ np.diag([-1, 1, 1]), [-30.5, 12.25, 7.0]
)
ORIENTATIONS = ["RAS", "LPS", "LAS", "PIR", "SLA"]


def affine_of(codes: str) -> np.ndarray:
    """An affine with these axis codes and voxels of 1, 1.5 and 2 mm along R, A and S, off the origin."""
    ornt = nib.orientations.axcodes2ornt(codes)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(ornt):
        affine[int(world), axis] = sign * (1.0, 1.5, 2.0)[int(world)]
    affine[:3, 3] = [10.0, -20.0, 30.0]
    return affine


AFFINES = {codes: affine_of(codes) for codes in ORIENTATIONS} | {"oblique": OBLIQUE}


def write(path, data=None, affine=None):
    data = np.random.default_rng(0).uniform(-5, 900, SHAPE).astype(np.float32) if data is None else data
    nib.save(nib.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return path


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_round_trip_keeps_grid_orientation_and_intensity(tmp_path, name, ending):
    source = write(tmp_path / f"in{ending}", affine=AFFINES[name])
    volume = load_volume(source)
    save_volume(tmp_path / f"out{ending}", volume.data, volume)
    before, after = nib.load(source), nib.load(tmp_path / f"out{ending}")
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-5)
    np.testing.assert_array_equal(after.get_fdata(), before.get_fdata())
    assert after.get_data_dtype() == np.float32
    assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")


@pytest.mark.parametrize("name", AFFINES)
def test_every_voxel_keeps_its_place_in_the_world(tmp_path, name):
    data = np.zeros(SHAPE, np.float32)
    data[1, 5, 2] = 7
    volume = load_volume(write(tmp_path / "in.nii", data, AFFINES[name]))
    (where,) = np.argwhere(volume.data == 7)
    world = nib.affines.apply_affine(AFFINES[name], [1, 5, 2])
    np.testing.assert_allclose(nib.affines.apply_affine(volume.affine, where), world, atol=1e-4)


def test_spacing_is_along_right_anterior_superior(tmp_path):
    volume = load_volume(write(tmp_path / "in.nii", affine=AFFINES["PIR"]))
    assert volume.spacing == pytest.approx((1.0, 1.5, 2.0)) and volume.data.shape == (9, 5, 7)


def test_scaled_integers_and_codes_are_kept(tmp_path):
    """A file with slope and intercept comes in as values; the codes and units go out as they came."""
    image = nib.Nifti1Image(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), affine_of("LPS"))
    image.header.set_slope_inter(0.5, 10)
    image.set_sform(image.affine, code=4)
    image.set_qform(image.affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "in.nii.gz")
    volume = load_volume(tmp_path / "in.nii.gz")
    assert volume.data.dtype == np.float32 and volume.data.max() == pytest.approx((np.prod(SHAPE) - 1) * 0.5 + 10)
    save_volume(tmp_path / "out.nii.gz", volume.data, volume)
    header = nib.load(tmp_path / "out.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (4, 1)
    assert header.get_xyzt_units() == ("mm", "sec")


def test_a_trailing_axis_of_one_is_dropped(tmp_path):
    assert load_volume(write(tmp_path / "in.nii", np.ones((*SHAPE, 1), np.float32))).data.shape == SHAPE


def singular(path):
    write(path)
    image = nib.load(path)
    header, data = image.header.copy(), np.asarray(image.dataobj)
    header["srow_y"] = header["srow_x"]
    header["sform_code"], header["vox_offset"] = 1, 352
    path.write_bytes(header.binaryblock + b"\0\0\0\0" + data.astype("<f4").tobytes(order="F"))


def nan(path):
    data = np.ones(SHAPE, np.float32)
    data[0, 0, :2] = np.nan, np.inf
    write(path, data)


def truncated(path):
    write(path, np.random.default_rng(0).normal(size=(30, 30, 30)).astype(np.float32))
    path.write_bytes(path.read_bytes()[:2000])


def bad_type(path):
    write(path)
    content = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    content[70:72] = b"\x39\x30"  # datatype 12345
    path.write_bytes(gzip.compress(bytes(content)) if path.suffix == ".gz" else bytes(content))


def colours(path):
    write(path, np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]))


BAD = {
    "missing.nii": (lambda path: None, "no such file"),
    "folder.nii": (lambda path: path.mkdir(), "no such file"),
    "text.nii": (lambda path: path.write_text("not an image"), "cannot be read"),
    "nothing.nii.gz": (lambda path: path.write_bytes(b""), "cannot be read"),
    "truncated.nii": (truncated, "truncated"),
    "truncated.nii.gz": (truncated, "truncated"),
    "type.nii": (bad_type, "cannot be read"),
    "colours.nii": (colours, "cannot be read"),
    "flat.nii": (lambda path: write(path, np.ones((5, 6), np.float32)), "expected a 3D volume"),
    "slice.nii": (lambda path: write(path, np.ones((5, 6, 1), np.float32)), "expected a 3D volume"),
    "series.nii": (lambda path: write(path, np.ones((*SHAPE, 3), np.float32)), "expected a 3D volume"),
    "nan.nii.gz": (nan, "2 voxels are NaN or infinite"),
    "singular.nii": (singular, "the affine is singular"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_used_is_named_in_one_line(tmp_path, name):
    make, complaint = BAD[name]
    make(tmp_path / name)
    with pytest.raises(VolumeError, match=complaint) as caught:
        load_volume(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_an_empty_brain_is_refused():
    with pytest.raises(VolumeError, match="the brain is empty"):
        center_of(np.zeros(SHAPE, bool))
    with pytest.raises(VolumeError, match="the brain is empty"):
        fit_scale(np.ones(SHAPE), np.zeros(SHAPE, bool))


def test_saving_is_whole_or_not_at_all(tmp_path, monkeypatch):
    volume, out = load_volume(write(tmp_path / "in.nii")), tmp_path / "sub" / "out.nii"

    def fail(image, path):
        path.write_bytes(b"half a")
        raise OSError("disk full")

    monkeypatch.setattr(volumes.nib, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_volume(out, volume.data, volume)
    assert list(out.parent.iterdir()) == []


def test_saving_another_shape_is_refused(tmp_path):
    volume = load_volume(write(tmp_path / "in.nii"))
    with pytest.raises(VolumeError, match="does not fit the grid"):
        save_volume(tmp_path / "out.nii", volume.data[1:], volume)
    assert not (tmp_path / "out.nii").exists()


starts, sizes = st.tuples(*[st.integers(-4, 8)] * 3), st.tuples(*[st.integers(1, 9)] * 3)


@given(starts, sizes, st.tuples(*[st.integers(2, 8)] * 3))
@settings(deadline=None, max_examples=50)
def test_window_crop_and_paste_are_inverse(start, size, shape):
    window, data = Window(start, size), np.random.default_rng(0).uniform(1, 2, shape)
    box = window.crop(data, fill=-1)
    assert box.shape == size
    np.testing.assert_array_equal(window.paste(box, data), data)
    pasted = window.paste(box + 10, data)
    assert (pasted != data).sum() == (box > 0).sum()
    np.testing.assert_array_equal(window.crop(pasted, fill=9), box + 10)


def test_window_affine_keeps_places():
    window, data = Window((2, -1, 3), (4, 4, 4)), np.arange(np.prod(SHAPE)).reshape(SHAPE)
    moved = window.affine(OBLIQUE)
    value = window.crop(data)[1, 2, 3]
    (where,) = np.argwhere(data == value)
    np.testing.assert_allclose(moved @ [1, 2, 3, 1], OBLIQUE @ [*where, 1])
    assert Window.centered((5, 5, 5), (4, 6, 3)) == Window((3, 2, 4), (4, 6, 3))


def test_center_is_that_of_the_bounding_box():
    mask = np.zeros((10, 10, 10), bool)
    mask[2:6, 3:4, 5:10] = True
    assert center_of(mask) == (4, 3, 7)


@given(st.integers(0, 20), st.floats(0.01, 1e4))
@settings(deadline=None, max_examples=30)
def test_scale_inverts_within_its_range(seed, unit):
    data = np.random.default_rng(seed).gamma(4, unit, (9, 9, 9)).astype(np.float32)
    brain = data > np.median(data) / 4
    scale = fit_scale(data, brain)
    scaled = scale.apply(data, brain)
    assert scaled.min() == -1 and scaled.max() <= 1 and (scaled[~brain] == -1).all() and scaled.dtype == np.float32
    inside = brain & (data > scale.low) & (data < scale.high)
    assert inside.sum() > 0.98 * brain.sum()
    np.testing.assert_allclose(scale.invert(scaled)[inside], data[inside], atol=1e-5 * scale.high, rtol=1e-4)


def test_scale_leaves_headroom_and_keeps_zero_at_the_bottom():
    data = np.linspace(100, 200, 8000).reshape(20, 20, 20)
    scale = fit_scale(data, data > 0)
    assert scale.low == 0 and scale.high == pytest.approx(1.25 * 199.5, rel=1e-3)
    below_zero = fit_scale(data - 150, data > 0)
    assert below_zero.low == pytest.approx(-49.5, abs=0.1)


def test_one_hot_voxel_changes_nothing():
    data = np.random.default_rng(0).uniform(100, 900, (20, 20, 20))
    hot = data.copy()
    hot[3, 3, 3] = 32767
    before, after = fit_scale(data, data > 0), fit_scale(hot, hot > 0)
    assert after.high == pytest.approx(before.high, rel=0.01) and after.low == before.low


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e6])
def test_a_constant_image_is_refused(value):
    with pytest.raises(VolumeError, match="constant"):
        fit_scale(np.full(SHAPE, value), np.ones(SHAPE, bool))


def test_scale_is_exact_in_a_hand_case():
    scale = Scale(0.0, 200.0)
    np.testing.assert_array_equal(scale.apply(np.array([0.0, 100.0, 500.0]), np.array([1, 1, 1], bool)), [-1, 0, 1])
    np.testing.assert_array_equal(scale.invert(np.array([-1.0, 0.0, 1.0])), [0, 100, 200])
