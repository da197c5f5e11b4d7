"""The command line refuses what cannot be used in one line, and never replaces a file unasked."""

import json

import nibabel as nib
import numpy as np
import pytest
from grids import grid, save, translate
from tiny import SHAPE, expert_config, make_head, wake

from diffens_core.cli import main
from diffens_core.data.layout import DataConfig
from diffens_core.experiment.presets import PRESETS
from diffens_core.experiment.setting import Setting
from diffens_core.support.settings import to_dict
from diffens_core.training import runs


def refused(capsys, code, out, complaint):
    """Return code 2, one line on stderr, nothing written."""
    error = capsys.readouterr().err
    assert code == 2 and error.startswith("error: ") and error.count("\n") == 1 and complaint in error, error
    assert not out.exists() and not list(out.parent.glob(".*"))


def test_bad_conditions_are_refused(folders, tmp_path, lr, capsys):
    out = tmp_path / "out.nii.gz"
    refused(capsys, translate(folders["both"], lr, out), out, "missing: t1ce")
    refused(capsys, translate(folders["sr"], lr, out, "--t1ce", lr), out, "does not use t1ce")
    far = grid("LPS")
    far[:3, 3] += 500
    t1ce = save(tmp_path / "far.nii.gz", make_head(6), far)
    refused(capsys, translate(folders["both"], lr, out, "--t1ce", t1ce), out, "far.nii.gz")
    far[:3, 3] -= 440
    t1ce = save(tmp_path / "near.nii.gz", make_head(6), far)
    refused(capsys, translate(folders["both"], lr, out, "--t1ce", t1ce), out, "near.nii.gz: does not overlap")
    refused(capsys, translate(folders["sr"], tmp_path / "absent.nii.gz", out), out, "absent.nii.gz: no such file")
    empty = save(tmp_path / "empty.nii.gz", np.zeros(SHAPE), grid("LPS"))
    refused(capsys, translate(folders["sr"], empty, out), out, "empty.nii.gz: the brain is empty")
    flat = save(tmp_path / "flat.nii.gz", np.ones(SHAPE), grid("LPS"))
    refused(capsys, translate(folders["sr"], flat, out), out, "constant")


def test_bad_options_are_refused(folders, tmp_path, lr, capsys):
    out, std = tmp_path / "out.nii.gz", tmp_path / "std.nii.gz"
    refused(capsys, translate(folders["sr"], lr, out, "--std", std), out, "--samples of --std must be at least 2")
    refused(capsys, translate(folders["sr"], lr, out, "--samples", 0), out, "--samples must be at least 1")
    refused(capsys, translate(folders["sr"], lr, out, "--steps", 2000), out, "between 1 and 1000")
    refused(capsys, translate(folders["sr"], lr, out, "--steps", 0), out, "between 1 and 1000")
    refused(capsys, translate(folders["sr"], lr, out, "--device", "abacus"), out, "device 'abacus' is not there")
    refused(capsys, translate(folders["sr"], lr, tmp_path / "out.png"), out, "name the output .nii or .nii.gz")
    refused(capsys, translate(tmp_path / "no-such-run", lr, out), out, "neither a run folder nor")
    same = translate(folders["sr"], lr, out, "--samples", 2, "--std", out)
    refused(capsys, same, out, "name the same file")


WRONG = {  # an option that no run can have, and what is said of it
    "--sampler": ("nonsense", "choose from ddim, ancestral, dpm++, or ddim:ETA"),
    "--samples": (0, "--samples must be at least 1"),
    "--jobs": (0, "--jobs must be at least 1"),
    "--slices": (-1, "--slices must be at least 0"),
    "--steps": (2000, "between 1 and 1000"),
}


@pytest.mark.parametrize("option", WRONG)
@pytest.mark.parametrize("many", [False, True])
def test_a_wrong_option_is_refused_before_any_file_is_read(folders, tmp_path, capsys, option, many):
    value, complaint = WRONG[option]
    lr, out = tmp_path / ("lr" if many else "no-such-file.nii.gz"), tmp_path / ("out" if many else "out.nii.gz")
    if many:
        lr.mkdir()  # and empty
    command = ["translate", "--run", folders["sr"], "--lr", lr, "--out", out, option, value]
    assert main(list(map(str, command))) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and complaint in error and not out.exists()


def test_what_cannot_be_evaluated_is_refused_before_phantoms_are_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DIFFENS_HOME", str(tmp_path))
    wrong = [("unet-3d", "--sampler", "ancestral", "samples in its own way")]
    wrong += [("tpdm", "--steps", "2000", "between 1 and 1000"), ("tpdm", "--split", "nobody", "not 'nobody'")]
    wrong += [("tpdm", option, "/no/file", "/no/file: no such file") for option in ("--segmenter", "--medicalnet")]
    for method, option, value, complaint in wrong:
        assert main(["evaluate", method, "--preset", "smoke", option, value]) == 2
        error = capsys.readouterr().err
        assert complaint in error and error.count("\n") == 1
    assert not list(tmp_path.rglob("*.nii.gz"))
    assert main(["methods", "--against", "gpu"]) == 2 and "goes with --preset" in capsys.readouterr().err


def test_a_call_that_was_stopped_between_its_two_outputs_is_repeated(folders, tmp_path, lr, capsys):
    out, std = tmp_path / "out.nii.gz", tmp_path / "std.nii.gz"
    options = ["--samples", 2, "--std", std]
    assert translate(folders["sr"], lr, out, *options) == 0
    mean, spread = out.read_bytes(), nib.load(std).get_fdata()
    assert translate(folders["sr"], lr, out, *options) == 2 and "give --overwrite" in capsys.readouterr().err
    std.unlink()
    assert translate(folders["sr"], lr, out, *options) == 0 and "stays" in capsys.readouterr().err
    assert out.read_bytes() == mean
    np.testing.assert_array_equal(nib.load(std).get_fdata(), spread)
    std.unlink()
    assert translate(folders["sr"], lr, out, *options, "--seed", 1) == 2  # of other samples
    assert "is not what this call would write; give --overwrite" in capsys.readouterr().err
    assert out.read_bytes() == mean and not std.exists()


def test_existing_files_are_kept_without_overwrite(folders, tmp_path, lr, capsys):
    out = tmp_path / "out.nii.gz"
    out.write_bytes(b"precious")
    assert translate(folders["sr"], lr, out) == 2
    assert "give --overwrite" in capsys.readouterr().err and out.read_bytes() == b"precious"
    assert translate(folders["sr"], lr, out, "--overwrite") == 0 and nib.load(out).shape == SHAPE


@pytest.mark.parametrize("damage", ["weights", "json", "gone"])
def test_a_damaged_run_is_refused(prepared, folders, tmp_path, lr, capsys, damage):
    config, out = expert_config(prepared), tmp_path / "out.nii.gz"
    folder = tmp_path / config.folder
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        content = (folders["sr"] / name).read_bytes()
        (folder / name).write_bytes(content[:500] if damage == name.split(".")[-1] else content)
    if damage == "weights":
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:500])
    if damage == "gone":
        (folder / "model.safetensors").unlink()
    complaint = {"weights": "corrupt weights", "json": "config.json: not valid JSON", "gone": "no trained weights"}
    refused(capsys, translate(folder, lr, out), out, complaint[damage])


def test_a_run_is_found_by_its_name_and_said_and_two_that_fit_are_refused(folders, tmp_path, lr, monkeypatch, capsys):
    """A shipped run of another resolution may have the name of an own one: neither is taken silently."""
    out = tmp_path / "out.nii.gz"
    monkeypatch.setenv("DIFFENS_RUNS", str(folders["sr"].parents[1]))
    refused(capsys, translate("expert-sr-axial", lr, out), out, "fits several runs: ")
    refused(capsys, translate("expert-", lr, out), out, f"smoke/{folders['sr'].name}")
    for name in (folders["sr"].name, "smoke/expert-sr-axial"):
        assert translate(name, lr, out, "--overwrite") == 0
        assert f"run {folders['sr']}" in capsys.readouterr().out
    monkeypatch.setenv("DIFFENS_RUNS", str(tmp_path / "no-runs"))
    assert "expert-sr-axial-ad5e18e2" in str(runs.resolve("demo/expert-sr-axial"))


def test_train_goes_on_from_a_config_file(prepared, tmp_path, capsys):
    config = expert_config(prepared, steps=2)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(to_dict(config)))
    assert main(["train", str(path), "--runs", str(tmp_path / "runs"), "--device", "cpu"]) == 0
    assert (tmp_path / "runs" / config.folder / "model.safetensors").is_file()
    path.write_text("{}")
    assert main(["train", str(path), "--runs", str(tmp_path / "runs")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")


def test_weights_of_the_package_are_judged_on_other_data(prepared, tmp_path, monkeypatch, capsys):
    trained_on = DataConfig("data/elsewhere", "real", "0" * 8, 4.0, PRESETS["smoke"].shape)
    config = Setting(PRESETS["smoke"], "sr", trained_on).baseline("unet-3d", "regression")
    folder = tmp_path / "shipped" / config.folder
    runs.save_weights(folder, wake(runs.build(config), size=0.03), config)
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    monkeypatch.setattr(runs, "SHIPPED", tmp_path / "shipped")
    options = [
        "--preset",
        "smoke",
        "--on",
        str(prepared),
        "--runs",
        str(tmp_path / "runs"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(["evaluate", "unet-3d", *options]) == 0
    assert "by weights that come with the package, trained on 'real'" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "cost.json").read_text())["subjects"] == 1
    for wrong in (["tpdm"], ["unet-3d", "--segmenter", "own"], ["truth", "--segmenter", "own"]):
        assert main(["evaluate", *wrong, *options]) == 2
        assert "does not come with the package: give --data" in capsys.readouterr().err


def test_a_regression_translates_but_has_no_standard_deviation(prepared, tmp_path, lr, capsys):
    data = expert_config(prepared).data
    config = Setting(PRESETS["smoke"], "sr", data).baseline("unet-3d", "regression")
    folder = tmp_path / config.folder
    runs.save_weights(folder, wake(runs.build(config), size=0.03), config)
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    out, std = tmp_path / "out.nii.gz", tmp_path / "std.nii.gz"
    refused(capsys, translate(folder, lr, out, "--samples", 3, "--std", std), out, "always gives the same answer")
    assert translate(folder, lr, out) == 0 and np.isfinite(nib.load(out).get_fdata()).all()
