"""Phantoms: seeded, labelled, skull-stripped, with the contrasts of real brains, and resumable on disk."""

import json
import os
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from data_prep import phantom
from data_prep.anatomy import make_head
from data_prep.fields import Grid, smooth_field
from data_prep.layout import CONTRASTS
from data_prep.phantom import make_phantom, prepare_phantoms
from diffens_core.data.volumes import VolumeError

COARSE = 4.0
TISSUE = {"csf": 0, "gm": 1, "wm": 2}


@pytest.fixture(scope="module")
def phantoms():
    return [make_phantom(0, index, COARSE) for index in range(6)]


def _quiet(*_counted):
    pass


def _names(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def _where(index, tissue):
    """Voxels of one healthy tissue: more than 85 % of it."""
    head = make_head((0, index), Grid(phantom.FIELD_OF_VIEW, COARSE))
    where = np.zeros(head.brain.shape, bool)
    where[head.brain] = (head.tissues[TISSUE[tissue]] > 0.85) & (head.seg == 0)
    return where


def test_subject_depends_on_seed_and_index_alone(phantoms):
    again = make_phantom(0, 3, COARSE)
    for contrast in CONTRASTS:
        np.testing.assert_array_equal(again.images[contrast], phantoms[3].images[contrast])
    np.testing.assert_array_equal(again.seg, phantoms[3].seg)


@pytest.mark.parametrize("other", [(0, 1), (1, 0)])
def test_other_seed_or_index_is_another_head(phantoms, other):
    assert (make_phantom(*other, COARSE).brain != phantoms[0].brain).mean() > 0.01


def test_shapes_types_and_affine(phantoms):
    one = phantoms[0]
    assert set(one.images) == {"flair", "t1ce", "t1", "t2"}
    for image in one.images.values():
        assert image.shape == (48, 48, 38) and image.dtype == np.float32
    assert one.seg.dtype == np.uint8 and one.brain.dtype == bool
    assert nib.aff2axcodes(one.affine) == ("R", "A", "S")
    np.testing.assert_allclose(np.diag(one.affine), [4, 4, 4, 1])


def test_background_is_zero_and_brain_positive(phantoms):
    for one in phantoms:
        for image in one.images.values():
            assert np.isfinite(image).all()
            np.testing.assert_array_equal(image != 0, one.brain)
            assert image.min() == 0
        assert not one.seg[~one.brain].any()


def test_brain_lies_within_the_window_and_is_of_human_size(phantoms):
    for one in phantoms:
        assert 0.9e6 < one.brain.sum() * COARSE**3 < 1.7e6
        border = one.brain.copy()
        border[1:-1, 1:-1, 1:-1] = False
        assert border.sum() < 0.01 * one.brain.sum()


def test_labels_are_those_of_brats(phantoms):
    labels = [set(np.unique(one.seg)) for one in phantoms]
    assert all(found <= {0, 1, 2, 4} for found in labels)
    assert sum(found == {0, 1, 2, 4} for found in labels) >= 5


@pytest.mark.parametrize("index", range(3))
def test_flair_orders_the_tissues(phantoms, index):
    flair = phantoms[index].images["flair"]
    csf, wm, gm = (np.median(flair[_where(index, tissue)]) for tissue in ("csf", "wm", "gm"))
    assert csf < wm < gm < np.median(flair[phantoms[index].seg == 2])


def test_t1ce_rim_is_the_brightest_tissue_and_white_above_grey(phantoms):
    for index, one in enumerate(phantoms[:3]):
        t1ce = one.images["t1ce"]
        rim = np.median(t1ce[one.seg == 4])
        assert rim > np.median(t1ce[one.seg == 1]) and rim > np.median(t1ce[one.brain & (one.seg != 4)]) * 1.1
        assert np.median(t1ce[_where(index, "wm")]) > np.median(t1ce[_where(index, "gm")])


def test_t2_shows_csf_brightest(phantoms):
    t2 = phantoms[0].images["t2"]
    csf, gm, wm = (np.median(t2[_where(0, tissue)]) for tissue in ("csf", "gm", "wm"))
    assert csf > gm > wm


def test_contrasts_are_not_functions_of_each_other(phantoms):
    one = phantoms[0]
    white = _where(0, "wm")
    correlation = np.corrcoef([one.images[contrast][white] for contrast in CONTRASTS])
    assert np.abs(correlation[np.triu_indices(4, 1)]).max() < 0.98


def test_same_anatomy_at_another_spacing(phantoms):
    fine = make_phantom(0, 0, 2.0)
    blocks = fine.images["flair"].reshape(48, 2, 48, 2, 38, 2).mean((1, 3, 5))
    both = phantoms[0].brain & (blocks > 0)
    assert np.corrcoef(blocks[both], phantoms[0].images["flair"][both])[0, 1] > 0.9
    volumes = [(one.seg > 0).sum() * spacing**3 for one, spacing in ((fine, 2), (phantoms[0], 4))]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.1)


def test_smooth_field_has_the_stated_size_and_survives_resampling():
    fields = [smooth_field(np.random.default_rng(5), Grid((96, 96, 96), spacing), {12.0: 2.0}) for spacing in (2, 4)]
    assert fields[0].std() == pytest.approx(2.0, rel=0.15)
    blocks = fields[0].reshape(24, 2, 24, 2, 24, 2).mean((1, 3, 5))
    assert np.abs(blocks - fields[1]).max() < 0.2


def test_set_is_complete_in_the_prepared_layout(tmp_path):
    lines = []
    prepare_phantoms(tmp_path, subjects=(1, 1, 1), spacing=COARSE, progress=lambda *counted: lines.append(counted))
    assert _names(tmp_path) == ["phantom-000", "phantom-001", "phantom-002"] and lines[-1] == (3, 3, "phantom-002")
    described = json.loads((tmp_path / "dataset.json").read_text())
    assert described["name"] == "phantom" and described["shape"] == [48, 48, 38]
    table = [line.split("\t") for line in (tmp_path / "participants.tsv").read_text().splitlines()]
    assert [row[:2] for row in table[1:]] == [["phantom-000", "train"], ["phantom-001", "val"], ["phantom-002", "test"]]
    files = {path.name for path in (tmp_path / "phantom-001").iterdir()}
    assert {f"{name}.nii.gz" for name in (*CONTRASTS, "seg", "brain")} | {"intensity.json"} <= files
    flair = nib.load(tmp_path / "phantom-001" / "flair.nii.gz").get_fdata()
    assert flair.min() == 0 and 0.5 < flair.max() <= 1


def test_only_makes_its_split_and_a_later_call_the_rest(tmp_path):
    prepare_phantoms(tmp_path, subjects=(2, 0, 1), spacing=COARSE, only=("test",), progress=_quiet)
    assert _names(tmp_path) == ["phantom-002"]
    assert len((tmp_path / "participants.tsv").read_text().splitlines()) == 4
    before = (tmp_path / "phantom-002" / "t1.nii.gz").stat().st_mtime_ns
    prepare_phantoms(tmp_path, subjects=(2, 0, 1), spacing=COARSE, progress=_quiet)
    assert _names(tmp_path) == ["phantom-000", "phantom-001", "phantom-002"]
    assert (tmp_path / "phantom-002" / "t1.nii.gz").stat().st_mtime_ns == before


def test_interrupted_generation_resumes(tmp_path):
    def stop(*_counted):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_phantoms(tmp_path, subjects=(2, 0, 0), spacing=COARSE, progress=stop)
    assert _names(tmp_path) == ["phantom-000"]
    prepare_phantoms(tmp_path, subjects=(2, 0, 0), spacing=COARSE, progress=_quiet)
    assert _names(tmp_path) == ["phantom-000", "phantom-001"]


@pytest.mark.parametrize("change", [{"seed": 1}, {"spacing": 2.0}, {"subjects": (2, 0, 0)}])
def test_another_set_in_the_same_folder_is_refused(tmp_path, change):
    first = {"subjects": (1, 0, 0), "spacing": COARSE, "seed": 0, "only": ("test",), "progress": _quiet}
    prepare_phantoms(tmp_path, **first)
    with pytest.raises(VolumeError, match="another folder") as error:
        prepare_phantoms(tmp_path, **{**first, **change})
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_split_is_named(tmp_path):
    with pytest.raises(VolumeError, match="phantoms have the splits train, val, test, not 'tset'"):
        prepare_phantoms(tmp_path / "new", subjects=(1, 0, 0), only=("tset",))
    assert not (tmp_path / "new").exists()


def test_other_processes_give_every_subject_in_order():
    assert list(phantom._run(abs, [4, 2, 7], workers=2)) == [4, 2, 7]


def test_goes_on_in_this_process_where_others_die(monkeypatch):
    class Dying:
        def __init__(self, *_args, **_options):
            pass

        def map(self, make, indices):
            yield make(indices[0])
            raise BrokenProcessPool

        def shutdown(self, **_options):
            pass

    monkeypatch.setattr(phantom, "ProcessPoolExecutor", Dying)
    made = []
    assert list(phantom._run(made.append, [4, 2, 7], workers=2)) == [4, 2, 7] == made


def test_a_script_without_a_main_guard_is_run_once(tmp_path):
    """Its workers do not run it again."""
    script = tmp_path / "script.py"
    code = "from data_prep.phantom import _run\nprint('once')\nprint(list(_run(abs, [4, 2, 7], workers=2)))\n"
    script.write_text(code)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout == "once\n[4, 2, 7]\n", done.stderr[-1000:]


def test_five_of_two_millimetres_are_made_by_two_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(phantom, "_run", lambda make, indices, workers: asked.append((indices, workers)) or [])
    asked = []
    for count in (4, 5):
        prepare_phantoms(tmp_path / str(count), subjects=(count, 0, 0), spacing=2.0, progress=_quiet)
    assert asked == [([0, 1, 2, 3], 1), ([0, 1, 2, 3, 4], 2)]


def test_missing_nilearn_is_one_clear_line(monkeypatch):
    from data_prep import template

    monkeypatch.setattr(template.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(VolumeError, match="pip install nilearn"):
        template.template_file("t1")


def test_command_line(tmp_path, capsys):
    arguments = f"--out {tmp_path} --train 1 --val 0 --test 1 --spacing 4 --only test".split()
    phantom.main(arguments)
    assert _names(tmp_path) == ["phantom-001"]
    with pytest.raises(SystemExit):
        phantom.main([*arguments, "--seed", "3"])
    assert "another folder" in capsys.readouterr().err
