"""The run that fits a lab's files when none is named: by what they are, and by the size of their voxels."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from grids import average, blocks, grid, save
from tiny import fusion_config, make_head

from diffens_core import choice
from diffens_core.choice import run_for
from diffens_core.cli import main
from diffens_core.support.errors import MissingError

SHAPE = (24, 28, 24)


@pytest.fixture
def shipped(prepared, monkeypatch, tmp_path):
    """Shipped fusions: `sr` and `both` at 1 and 2 mm, `mt` at 2 mm, and thick slices at 1 mm; beside each an expert,
    and before it a fusion of more experts, which does the same in more time."""
    runs = []
    for task, spacings in {
        "sr": (2.0, 1.0),
        "both": (1.0, 2.0),
        "mt": (2.0,),
        "flair_lr-to-flair@1x1x5": (1.0,),
    }.items():
        for spacing in spacings:
            config = fusion_config(prepared, task="sr")
            config = replace(config, task=task, data=replace(config.data, spacing=spacing))
            of_more = replace(config, experts=config.experts * 2)
            runs += [(tmp_path / "of more experts", of_more), (tmp_path / f"{task} at {spacing:g}", config)]
            runs.append((tmp_path / "expert", config.experts[0]))
    monkeypatch.setattr(choice, "shipped_runs", lambda: runs)


def coarse(path, spacing):
    """A file whose voxels, of so many mm, are the measurement."""
    return save(path, 800 * make_head(1, SHAPE), grid("LPS", spacing))


@pytest.mark.parametrize("spacing, run", [(4.0, "1"), (4.8, "1"), (6.0, "2"), (8.0, "2")])
def test_a_coarse_file_goes_to_the_run_of_the_voxels_that_are_made_of_it(shipped, tmp_path, spacing, run):
    assert run_for({"lr": coarse(tmp_path / "lr.nii", spacing)}).name == f"sr at {run}"
    both = {"lr": coarse(tmp_path / "lr.nii", spacing), "t1ce": coarse(tmp_path / "t1ce.nii", 1.0)}
    assert run_for(both).name == f"both at {run}"


@pytest.mark.parametrize("spacing, run", [(0.8, "1"), (1.2, "1"), (2.2, "2")])
def test_a_fine_file_with_blocks_goes_to_the_run_of_its_own_voxels(shipped, tmp_path, spacing, run):
    data = average(800 * make_head(1, SHAPE), blocks(SHAPE, (1, 2, 3)))
    assert run_for({"lr": save(tmp_path / "lr.nii", data, grid("RAS", spacing))}).name == f"sr at {run}"


def test_blocks_that_are_not_quite_constant_are_found_by_saying_so(shipped, tmp_path):
    noisy = coarse(tmp_path / "lr.nii", 2.0)
    assert run_for({"lr": noisy}).name == "sr at 1"
    assert run_for({"lr": noisy}, "fine").name == "sr at 2"
    assert run_for({"lr": coarse(tmp_path / "lr.nii", 8.0)}, "coarse").name == "sr at 2"


def test_thick_slices_and_a_contrast_alone_go_to_runs_for_these(shipped, tmp_path):
    thick = save(tmp_path / "lr.nii", 800 * make_head(1, SHAPE), np.diag([1.0, 1.0, 5.0, 1.0]))
    assert run_for({"lr": thick}).name == "flair_lr-to-flair@1x1x5 at 1"
    assert run_for({"t1ce": coarse(tmp_path / "t1ce.nii", 1.0)}).name == "mt at 2"


def test_what_no_run_reads_is_refused_in_one_line(shipped, tmp_path):
    with pytest.raises(MissingError, match="anything of t2 with voxels of 1 x 1 x 1 mm: train one"):
        run_for({"t2": coarse(tmp_path / "t2.nii", 1.0)})
    with pytest.raises(MissingError, match="give --lr"):
        run_for({})


def test_translate_says_which_run_it_takes(prepared, folders, tmp_path, lr, capsys, monkeypatch):
    config = fusion_config(prepared, task="sr")
    monkeypatch.setattr(choice, "shipped_runs", lambda: [(folders["sr"], config)])
    assert main(["translate", "--lr", str(lr), "--out", str(tmp_path / "out.nii"), "--steps", "2"]) == 0
    assert f"run {folders['sr']}" in capsys.readouterr().out
    assert nib.load(tmp_path / "out.nii").shape == nib.load(lr).shape
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.nii.gz").write_bytes(lr.read_bytes())
    assert main(["translate", "--lr", str(tmp_path / "in"), "--out", str(tmp_path / "made"), "--steps", "2"]) == 0
    assert (tmp_path / "made" / "a.nii.gz").is_file()


def test_many_subjects_of_a_table_need_a_run(tmp_path, capsys):
    (tmp_path / "list.csv").write_text("participant_id,lr\na,a.nii\n")
    assert main(["translate", "--table", str(tmp_path / "list.csv"), "--out", str(tmp_path / "made")]) == 2
    assert "need a --run" in capsys.readouterr().err
