"""Tasks as data: any contrasts and degradations, read from a line; and one truth for their conditions."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from grids import grid, save, translate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.affines import from_matvec
from tiny import SHAPE, SPACING, expert_config, fusion_config, make_head, wake, write_prepared

from diffens_core.cli import main
from diffens_core.data.conditions import conditions_of, degraded
from diffens_core.data.layout import describe_data
from diffens_core.data.measurement import Degradation
from diffens_core.data.prepared import PreparedData, scaled_pair
from diffens_core.data.tasks import TASKS, task_named, translation_named
from diffens_core.data.volumes import VolumeError
from diffens_core.experiment.methods import method_named
from diffens_core.experiment.presets import PRESETS
from diffens_core.experiment.setting import Setting
from diffens_core.support.errors import InputError
from diffens_core.support.settings import ConfigError, to_dict
from diffens_core.training import runs
from diffens_core.translate import prepare

THICK = "flair_lr->flair@1x1x5"


@pytest.mark.parametrize(
    "line, name",
    [
        ("flair_lr->flair", "sr"),
        ("t1ce->flair", "mt"),
        ("t1ce+flair_lr->flair", "both"),
        ("flair_lr-to-flair@4x4x4", "sr"),
        ("t1->t2", "t1-to-t2"),
        ("t2+t1+t2_lr->flair2", None),
        ("pd+t2_lr+t1->t2", "t2_lr+t1+pd-to-t2"),
        (THICK, "flair_lr-to-flair@1x1x5"),
        ("t2_lr->t2@fourier-2x2x1", "t2_lr-to-t2@fourier-2x2x1"),
    ],
)
def test_a_line_and_a_name_mean_the_same_task(line, name):
    if name is None:
        with pytest.raises(ConfigError, match="only the target can be degraded"):
            task_named(line)
        return
    task = task_named(line)
    assert task.name == name and task_named(name) is task_named(task.name) and task_named(name) == task
    assert (name in TASKS) == (task is TASKS.get(name))


@pytest.mark.parametrize(
    "line", ["", "t1", "->", "t1->", "->t2", "t1->t1", "t1+t1->t2", "t1_lr->t2", "T1->T2", "t1->seg", "t1->t2@1x1x5"]
)
def test_a_task_that_makes_no_sense_is_refused_in_one_line(line):
    with pytest.raises(ConfigError) as error:
        task_named(line)
    assert "\n" not in str(error.value) and repr(line) in str(error.value)


def test_a_segmentation_is_no_translation():
    assert task_named("seg4").target == "seg"
    with pytest.raises(ConfigError, match="is a segmentation"):
        translation_named("seg4")


@pytest.mark.parametrize("line", ["t1_lr+t2->t1", "both", THICK.replace("->", "+t1->")])
def test_parts_read_the_measurement_alone_and_the_contrasts_alone(line):
    task = task_named(line)
    measured, others = map(task_named, task.parts)
    assert measured.degradation == task.degradation and measured.contrasts == ()
    assert others.degradation is None and others.inputs == task.contrasts
    assert [*task.channels_of(measured), *task.channels_of(others)] == list(range(len(task.conditions)))
    assert task_named("sr").parts == task_named("t1+t2->flair").parts == ()


def test_an_expert_of_another_degradation_cannot_be_fused():
    with pytest.raises(InputError, match="no measurement by 1x1x5"):
        task_named("both").channels_of(task_named(THICK))


def test_methods_say_which_tasks_they_do():
    for method, task in (("degraded", "t1->t2"), ("multi-ours", THICK), ("ours-tpdm+free-contrast", "t2_lr->t2")):
        with pytest.raises(ConfigError, match=f"'{method.replace('+', '.')}' does .*, not '{task}'"):
            method_named(method, task)
    assert method_named("multi-ours", "t1_lr+t2->t1") and method_named("ours-tpdm+free-contrast", "t1->t2")


@pytest.fixture
def without_flair(tmp_path) -> Path:
    """A prepared set as HCP has it: T1 and T2 alone."""
    root = write_prepared(tmp_path / "data")
    for path in root.rglob("*.nii.gz"):
        if path.name.startswith(("flair", "t1ce")):
            path.unlink()
    about = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(about | {"contrasts": ["t1", "t2"]}))
    return root


@pytest.mark.parametrize(
    "line", ["t1->t2", "t2_lr->t2", "t2_lr+t1->t2@1x1x5", "t1_lr->t1@1x1x6-slice4", "t1_lr->t1@fourier-2x2x2"]
)
def test_a_set_without_flair_has_pairs_of_what_it_has(without_flair, line):
    task = task_named(line)
    data = PreparedData(describe_data(without_flair, SPACING, SHAPE), "train", task)
    pair, moved = data[0], data.moved(0, torch.Generator().manual_seed(3))
    stored = nib.load(without_flair / pair.subject / f"{task.target}.nii.gz").get_fdata()
    np.testing.assert_allclose(pair.scale.invert(pair.x0[0].numpy()), np.minimum(stored, pair.scale.high), atol=1e-5)
    for one in (pair, moved):
        assert one.y.shape == (len(task.conditions), *SHAPE) and float(one.x0.abs().max()) <= 1
        if task.degradation:
            torch.testing.assert_close(one.y[None, :1], task.degradation.degrade(one.x0[None]), atol=1e-5, rtol=0)
            torch.testing.assert_close(task.project(one.x0[None], one.y[None])[0], one.x0, atol=0.2, rtol=0)
    with pytest.raises(VolumeError, match="flair.nii.gz: no such file, and task 'sr' reads it"):
        PreparedData(data.config, "train", task_named("sr"))


def test_runs_of_the_papers_tasks_are_the_same_by_name_and_by_line(prepared):
    data = describe_data(prepared, SPACING, SHAPE)
    by_name, by_line = (Setting(PRESETS["demo"], task_named(n).name, data) for n in ("both", "t1ce+flair_lr->flair"))
    for method in ("ours-tpdm", "multi-ours"):
        first, second = (method_named(method, "both").runs(s) for s in (by_name, by_line))
        assert [run.identity for run in first] == [run.identity for run in second]


def test_a_run_has_the_name_of_its_task(prepared):
    assert expert_config(prepared, task="t1-to-t2").task == "t1-to-t2"
    with pytest.raises(ConfigError, match="is it not 't1-to-t2'"):
        expert_config(prepared, task="t1->t2")


def saved(config, root: Path) -> Path:
    """The folder of a run with random weights, and of those that it builds on."""
    for expert in config.experts:
        saved(expert, root)
    folder = root / config.folder
    runs.save_weights(folder, wake(runs.build(config), size=0.03), config)
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    return folder


def any_head(seed: int, shape=SHAPE, lowest=0.0, hot=0) -> np.ndarray:
    """A head in scanner units with values from `lowest`, and `hot` voxels ten times as bright as any other."""
    head = make_head(seed, shape)
    inside = np.argwhere(head > 0)[:: max(1, (head > 0).sum() // max(1, hot))][:hot]
    head = np.where(head > 0, 800 * (head + lowest), 0).astype(np.float32)
    head[tuple(inside.T)] = 8000
    return head


@pytest.mark.parametrize("line", ["sr", "both", THICK, "t2_lr+t1->t2@1x1x6-slice4"])
@given(seed=st.integers(0, 1000), hot=st.sampled_from([0, 0, 3, 40]))
@settings(deadline=None, max_examples=8)
def test_training_and_command_line_prepare_the_same_conditions(line, seed, hot):
    """Of one head: prepared for training, and measured in a file that is translated."""
    task = task_named(line)
    images = {name: any_head(seed + k, hot=hot) for k, name in enumerate((task.target, *task.contrasts))}
    x0, trained, scale = scaled_pair(images, task)
    truth = np.where(x0[0] == -1, np.float32(0), scale.invert(x0[0].numpy()))
    measured = {task.inputs[0]: degraded(truth, task.degradation)}
    read, same = conditions_of(measured | {name: images[name] for name in task.contrasts}, task)
    torch.testing.assert_close(trained, read, atol=1e-5, rtol=0)
    assert same.high == pytest.approx(scale.high, rel=1e-5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Fusions with random weights of several degradations, by the name of the degradation."""
    root = tmp_path_factory.mktemp("many")
    data, made = write_prepared(root / "data"), {}
    for name in ("4x4x4", "1x1x5", "5x1x2", "1x1x6-slice4", "1x1x4-gauss4"):
        task = task_named(f"flair_lr->flair@{name}").name
        made[name] = saved(fusion_config(data, task=task), root / "runs")
    return made


@pytest.mark.parametrize("name", ["4x4x4", "1x1x5", "5x1x2"])
@given(
    seed=st.integers(0, 1000),
    lowest=st.sampled_from([0.0, 0.1, -0.25, -0.5]),
    hot=st.sampled_from([0, 3, 40]),
    shape=st.tuples(*[st.integers(11, 26)] * 3),
)
@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_block_means_of_the_result_are_those_of_the_input(trained, tmp_path, name, seed, lowest, hot, shape):
    """Through the command line, whatever the values: hot voxels, z-scored heads, odd sizes."""
    degradation = Degradation.parse(name)
    shape = tuple(n // f * f for n, f in zip(shape, degradation.factor))
    given_ = degraded(any_head(seed, shape, lowest, hot), degradation)
    lr = save(tmp_path / "lr.nii.gz", given_, grid("LPS"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert translate(trained[name], lr, tmp_path / "out.nii.gz", "--overwrite", "--grid", "fine") == 0
    result = nib.load(tmp_path / "out.nii.gz").get_fdata().astype(np.float32)
    means = degraded(result, degradation)
    np.testing.assert_allclose(means, given_, atol=1e-4 * np.abs(given_).max())


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
@pytest.mark.parametrize("name", ["1x1x5", "1x1x6-slice4"])
def test_thick_slices_are_known_by_their_header_and_kept_exactly(trained, tmp_path, name, codes):
    """Voxels of 4 x 4 x 20 mm become ones of 4 mm, in any orientation, and what was measured is what is measured."""
    degradation = Degradation.parse(name)
    coarse = degradation.measure(torch.from_numpy(800 * make_head(3, (24, 22, 30)))[None, None], 0.0)[0, 0].numpy()
    image = nib.Nifti1Image(coarse, from_matvec(np.diag([4.0, 4.0, 4.0 * degradation.factor[2]]), [5.0, -3.0, 9.0]))
    ornt = nib.orientations.ornt_transform(*map(nib.orientations.axcodes2ornt, ("RAS", codes)))
    nib.save(image.as_reoriented(ornt), tmp_path / "thick.nii.gz")
    assert translate(trained[name], tmp_path / "thick.nii.gz", tmp_path / "out.nii.gz") == 0
    stored = nib.load(tmp_path / "out.nii.gz")
    assert nib.aff2axcodes(stored.affine) == tuple(codes) and stored.header.get_zooms() == pytest.approx((4, 4, 4))
    result = nib.as_closest_canonical(stored)
    np.testing.assert_allclose(result.affine[:3, 3], [5, -3, 9 - 2 * (degradation.factor[2] - 1)], atol=1e-3)
    fine = torch.from_numpy(result.get_fdata().astype(np.float32))[None, None]
    again = degradation.measure(fine, 0.0)[0, 0].numpy()
    np.testing.assert_allclose(again, coarse, atol=1e-4 * coarse.max())


def test_thick_slices_for_a_run_of_blocks_are_refused_with_the_task_that_would_fit(trained, tmp_path, capsys):
    affine = from_matvec(np.diag([4.0, 4.0, 20.0]), [0.0, 0.0, 0.0])
    thick = save(tmp_path / "thick.nii.gz", 800 * make_head(3, (24, 22, 6)), affine)
    assert translate(trained["4x4x4"], thick, tmp_path / "out.nii.gz") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "voxels of 4 x 4 x 20 mm" in line and "'flair_lr-to-flair@1x1x5' would fit" in line
    assert translate(trained["4x4x4"], thick, tmp_path / "out.nii.gz", "--grid", "coarse") == 0
    assert main(["check", str(thick), "--runs", str(trained["1x1x5"].parents[1])]) == 0
    said = capsys.readouterr().out
    assert "a task such as t1_lr->t1@1x1x5" in said and trained["1x1x5"].name in said


def test_a_z_scored_measurement_is_translated_with_a_warning(trained, tmp_path, capsys):
    lr = save(tmp_path / "lr.nii.gz", degraded(any_head(1, lowest=-0.5), Degradation((4, 4, 4))), grid("RAS"))
    assert translate(trained["4x4x4"], lr, tmp_path / "out.nii.gz") == 0
    assert "of the head are negative, so 0, the background, is not the least" in capsys.readouterr().err


def test_any_contrast_is_an_input_of_the_command_line(prepared, tmp_path, capsys):
    config = expert_config(prepared, task="t2_lr+t1-to-t2")
    run = saved(config, tmp_path / "runs")
    lr = save(tmp_path / "t2.nii.gz", degraded(any_head(1), Degradation((4, 4, 4))), grid("RAS"))
    t1 = save(tmp_path / "t1.nii.gz", any_head(2), grid("RAS"))
    out = tmp_path / "out.nii.gz"
    assert translate(run, lr, out, "--input", f"t1={t1}") == 0 and nib.load(out).shape == SHAPE
    assert translate(run, lr, out, "--overwrite") == 2 and "missing: t1" in capsys.readouterr().err
    assert translate(run, lr, out, "--overwrite", "--t1ce", t1) == 2
    assert "does not use t1ce" in capsys.readouterr().err
    (tmp_path / "cases.csv").write_text("participant_id,lr,t1\na,t2.nii.gz,t1.nii.gz\n")
    arguments = ["--run", run, "--table", tmp_path / "cases.csv", "--out", tmp_path / "many", "--steps", 1]
    assert main(["translate", *map(str, arguments)]) == 0
    anat = tmp_path / "bids" / "sub-01" / "anat"
    anat.mkdir(parents=True)
    for source, name in ((lr, "T2w"), (t1, "T1w"), (t1, "ce-gad_T1w")):
        (anat / f"sub-01_{name}.nii.gz").write_bytes(Path(source).read_bytes())
    arguments = ["--run", run, "--bids", tmp_path / "bids", "--out", tmp_path / "derived", "--steps", 1]
    assert main(["translate", *map(str, arguments)]) == 0
    assert (tmp_path / "derived" / "sub-01" / "anat" / "sub-01_desc-diffens_T2w.nii.gz").is_file()


def test_the_conditions_of_a_file_are_those_of_the_function(trained, tmp_path, prepared):
    """What the command line makes of a file, around the head: nothing is clipped."""
    config = replace(fusion_config(prepared), task="sr")
    given_ = degraded(any_head(4, hot=40), Degradation((4, 4, 4)))
    lr = save(tmp_path / "lr.nii.gz", given_, grid("RAS"))
    made = prepare({"flair_lr": lr}, task_named("sr"), config)
    wanted, scale = conditions_of({"flair_lr": given_}, task_named("sr"))
    torch.testing.assert_close(made.y[:1], wanted[:1], atol=1e-5, rtol=1e-5)
    assert made.y.max() > 1 and made.scale == scale
