"""Samples are drawn once, kept as what a user would get, and an evaluation goes on where it was stopped."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from tiny import SHAPE, SPACING, make_expert, make_inputs, wake, write_prepared

from diffens_core.data.layout import describe_data
from diffens_core.data.tasks import task_named
from diffens_core.data.volumes import VolumeError
from diffens_core.evaluation.distributions import too_few
from diffens_core.evaluation.evaluate import evaluate, read_reports
from diffens_core.evaluation.judges import Judges, SetMetrics
from diffens_core.experiment import samples as module
from diffens_core.experiment.experiment import Experiment, open_experiment
from diffens_core.experiment.methods import METHODS, Method
from diffens_core.experiment.presets import PRESETS
from diffens_core.experiment.samples import Samples, draw, load_translation, sample, save_translation
from diffens_core.support.settings import ConfigError


class Guess(torch.nn.Module):
    """Answers with noise of its own, and counts how often it was asked."""

    asked = 0
    deterministic = any_sampler = False

    def trajectory(self, y, noise, steps, *, project=None, generator=None):
        from diffens_core.diffusion.sampler import Step

        type(self).asked += 1
        x0 = (0.2 * noise).clamp(-1, 1)
        yield Step(0, 0, x0, project(x0, y) if project else x0)


@pytest.fixture
def experiment(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(Guess, "asked", 0)
    monkeypatch.setitem(METHODS, "guess", Method("Guesses.", lambda s: (), lambda models, s: Guess()))
    data = describe_data(prepared, SPACING, SHAPE)
    return Experiment(PRESETS["smoke"], data, tmp_path / "runs", 0)


def test_a_sample_is_drawn_once(experiment):
    pair = experiment.subjects("test", "sr")[0]
    first = Samples(experiment, "guess", "sr").of(pair, 2)
    assert Guess.asked == 2 and first.shape == (2, 1, *SHAPE) and not torch.equal(first[0], first[1])
    more = Samples(experiment, "guess", "sr")
    again = more.of(pair, 3)
    assert Guess.asked == 3
    torch.testing.assert_close(again[:2], first, rtol=0, atol=0)
    assert len(pd.read_csv(more.folder / "cost.csv")) == 3 and more.cost["sampling"] >= 0


def test_a_kill_between_a_sample_and_its_cost_loses_neither(experiment, monkeypatch):
    pair, drawn = experiment.subjects("test", "sr")[0], Samples(experiment, "guess", "sr")
    drawn.of(pair, 1)
    with monkeypatch.context() as patch:
        patch.setattr(module, "save_translation", lambda *_: pytest.fail("killed"))
        with pytest.raises(BaseException, match="killed"):
            drawn.of(pair, 2)
    assert not drawn.path(pair.subject, 1).exists()
    drawn.of(pair, 2)
    costs = pd.read_csv(drawn.folder / "cost.csv")
    assert costs["sample"].tolist() == [0, 1] and not costs.isna().any(axis=None)


def test_what_is_drawn_is_read_without_its_network(experiment, monkeypatch):
    pair = experiment.subjects("test", "sr")[0]
    first = Samples(experiment, "guess", "sr").of(pair, 2)
    monkeypatch.setattr(Experiment, "model", lambda *_: pytest.fail("a network was loaded"))
    torch.testing.assert_close(Samples(experiment, "guess", "sr").of(pair, 2), first, rtol=0, atol=0)


def test_samples_equal_those_drawn_in_memory_and_have_the_background_of_the_condition(experiment):
    pair = experiment.subjects("test", "sr")[0]
    kept = Samples(experiment, "guess", "sr").of(pair, 2)
    drawn = experiment.translate("guess", "sr", pair, 2)
    torch.testing.assert_close(kept, drawn, rtol=0, atol=1e-6)
    seen = torch.from_numpy(pair.seen)
    assert (drawn[..., ~seen] == -1.0).all() and (drawn[..., seen] != -1.0).any()


class Left(Guess):
    """Makes of each voxel what its neighbour on the left has in the condition."""

    def trajectory(self, y, noise, steps, *, project=None, generator=None):
        from diffens_core.diffusion.sampler import Step

        yield Step(0, 0, noise, y[:, :1].roll(1, 2))


def test_every_second_sample_is_of_the_mirrored_head():
    y, options = make_inputs(SHAPE)[1][0], {"subject": "a", "steps": 1, "cut": False, "mirrored": True}
    drawn = sample(Left(), y, task_named("sr"), samples=4, **options)
    for volume, way in zip(drawn, (1, -1, 1, -1)):
        torch.testing.assert_close(volume, y[:1].roll(way, 1), rtol=0, atol=0)
    (second,) = sample(Left(), y, task_named("sr"), samples=1, first=1, **options)
    torch.testing.assert_close(second, drawn[1], rtol=0, atol=0)
    uneven = sample(Left(), y[:, :-1], task_named("sr"), samples=2, **options)  # the last block is cut: not mirrored
    torch.testing.assert_close(uneven[1], uneven[0], rtol=0, atol=0)


def test_a_preset_says_whether_samples_are_mirrored(experiment):
    pair = experiment.subjects("test", "sr")[0]
    both_ways = replace(experiment, preset=replace(experiment.preset, mirrored=True))
    samples = [Samples(one, "guess", "sr") for one in (experiment, both_ways)]
    plain, mirrored = (one.of(pair, 2) for one in samples)
    assert samples[0].folder != samples[1].folder
    torch.testing.assert_close(mirrored[0], plain[0], rtol=0, atol=0)
    assert not torch.equal(mirrored[1], plain[1])


def test_samples_that_are_not_cut_are_kept_and_averaged_as_drawn(experiment, tmp_path):
    uncut = replace(experiment, preset=replace(experiment.preset, cut=False))
    pair, samples = uncut.subjects("test", "sr")[0], Samples(uncut, "guess", "sr")
    drawn = uncut.translate("guess", "sr", pair, 2)
    assert (drawn[..., ~torch.from_numpy(pair.seen)] != -1.0).any()
    torch.testing.assert_close(samples.of(pair, 2), drawn, rtol=0, atol=1e-6)
    assert samples.folder != Samples(experiment, "guess", "sr").folder
    evaluate(uncut, "guess", "sr", split="test", subjects=1, samples=2, out=tmp_path / "out")
    mean = load_translation(tmp_path / "out" / f"{pair.subject}_mean.nii.gz", pair, cut=False)
    torch.testing.assert_close(mean, drawn.mean(0), rtol=0, atol=1e-6)


def test_an_experiment_has_the_scales_of_its_preset(prepared, monkeypatch):
    for scales in ("condition", "target"):
        monkeypatch.setitem(PRESETS, "smoke", replace(PRESETS["smoke"], normalisation=scales))
        experiment = open_experiment("smoke", 0, str(prepared), second=str(prepared))
        assert experiment.data.normalisation == experiment.translated.normalisation == scales
        (run,) = experiment.runs_of("unet-2d", "sr")
        assert run.data.normalisation == scales


def test_a_killed_evaluation_ends_as_an_undisturbed_one(experiment, tmp_path, monkeypatch):
    options = {"split": "train", "subjects": 0, "samples": 2}
    evaluate(experiment, "guess", "sr", out=tmp_path / "whole", **options)
    other = Experiment(experiment.preset, experiment.data, tmp_path / "other", 0)
    save, saved = module.save_translation, []

    def killed(path, volume, pair, cut):
        if len(saved) == 3:
            raise KeyboardInterrupt
        saved.append(save(path, volume, pair, cut))

    monkeypatch.setattr(module, "save_translation", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate(other, "guess", "sr", out=tmp_path / "resumed", **options)
    monkeypatch.setattr(module, "save_translation", save)
    before = Guess.asked
    evaluate(other, "guess", "sr", out=tmp_path / "resumed", **options)
    assert Guess.asked == before + 1
    whole, resumed = ((tmp_path / name / "metrics.csv").read_bytes() for name in ("whole", "resumed"))
    assert whole == resumed


def test_other_settings_have_other_samples(experiment):
    folders = {Samples(experiment, "guess", task).folder for task in ("sr", "both")}
    folders.add(Samples(replace(experiment, seed=1), "guess", "sr").folder)
    folders.add(Samples(replace(experiment, preset=replace(experiment.preset, steps=2)), "guess", "sr").folder)
    folders.add(Samples(experiment, "degraded", "sr").folder)
    folders.add(Samples(replace(experiment, second=replace(experiment.data, name="other")), "guess", "sr").folder)
    assert len(folders) == 6


def test_another_sampler_has_other_samples_and_a_method_with_a_way_of_its_own_takes_none(experiment):
    def with_sampler(name):
        return Samples(replace(experiment, preset=replace(experiment.preset, sampler=name)), "guess", "sr")

    folders = {with_sampler(name).folder for name in ("ddim", "dpm++", "ddim:0.5")}
    assert len(folders) == 3 and Samples(experiment, "guess", "sr").folder in folders
    with pytest.raises(ConfigError, match=r"sampler dpm\+\+ does not go with this method"):
        with_sampler("dpm++").of(experiment.subjects("test", "sr")[0], 1)
    expert, (_, y, _) = make_expert(), make_inputs(SHAPE)
    task, options = task_named("sr"), {"subject": "a", "samples": 1, "steps": 3, "precision": "float32"}
    drawn = {name: sample(expert, y[0], task, sampler=name, **options) for name in ("ddim", "ancestral", "dpm++")}
    assert len({float(volume.std()) for volume in drawn.values()}) == 3
    for name, volume in drawn.items():
        assert torch.equal(volume, sample(expert, y[0], task, sampler=name, **options))


def test_a_model_is_judged_on_another_data_set_than_it_was_trained_on(prepared, tmp_path):
    write_prepared(tmp_path / "other", ("test", "test", "test"))
    experiment = open_experiment("smoke", 0, str(prepared), str(tmp_path / "runs"), second=str(tmp_path / "other"))
    assert len(experiment.subjects("test", "sr")) == 3
    plain = open_experiment("smoke", 0, str(prepared), str(tmp_path / "runs"))
    assert len(plain.subjects("test", "sr")) == 1
    runs = [e.runs_of("ours-tpdm", "sr")[0].identity for e in (experiment, plain)]
    assert runs[0] == runs[1]
    embedded = open_experiment("smoke", 0, "", str(tmp_path / "runs"), second=str(tmp_path / "other"))
    names = [e.out.name for e in (experiment, embedded, plain, open_experiment("smoke"))]
    assert names[0] == f"{names[1]}-by-{names[2].removeprefix('smoke-')}" and names[3] == "smoke"


def test_a_method_that_always_says_the_same_says_it_once(experiment):
    pair = experiment.subjects("test", "sr")[0]
    assert len(Samples(experiment, "cubic", "sr").of(pair, 4)) == 1


def test_a_translation_is_written_in_the_unit_of_the_data_and_read_back(experiment, tmp_path):
    pair, path = experiment.subjects("test", "both")[0], tmp_path / "x.nii.gz"
    volume = torch.where(torch.from_numpy(pair.seen), 1.1 * torch.randn(1, *SHAPE), torch.tensor(-1.0))
    save_translation(path, volume, pair)
    image = nib.load(path)
    np.testing.assert_allclose(image.affine, pair.affine)
    assert (image.get_fdata()[~pair.seen] == 0).all()
    torch.testing.assert_close(load_translation(path, pair), volume, rtol=1e-5, atol=1e-6)  # not clipped
    other = replace(pair, scale=replace(pair.scale, high=2 * pair.scale.high))
    with pytest.raises(VolumeError, match="prepared anew since this was drawn; delete this file"):
        load_translation(path, other)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(VolumeError, match="truncated.*; delete it, and it is drawn again"):
        load_translation(path, pair)
    volume[0, 3, 3, 3] = float("nan")
    with pytest.raises(VolumeError, match="not finite"):
        save_translation(tmp_path / "bad.nii.gz", volume, pair)
    assert not (tmp_path / "bad.nii.gz").exists()


def test_sets_are_measured_and_say_when_they_are_small():
    class Mean:
        name, digest = "medicalnet10", "0"

        def __call__(self, volume):
            return torch.stack([volume.mean(), volume.std()])

    def three(extractors):
        sets, generator = SetMetrics(extractors), torch.Generator().manual_seed(0)
        for _ in range(3):
            target = torch.rand(1, 4, 4, 4, generator=generator)
            sets.add(target, target)
        return sets

    found = three([Mean()]).values()
    assert "sets of 3 volumes are biased" in too_few(3) and too_few(50) == ""
    assert found["mmd_linear_voxels"] == 0 and found["fid_medicalnet10"] == pytest.approx(0, abs=1e-9)
    assert {"mmd_rbf_medicalnet10", "mmd_bandwidth_medicalnet10"} < set(found)
    alone = SetMetrics([Mean()])
    alone.add(torch.zeros(1, 4, 4, 4), torch.ones(1, 4, 4, 4))
    assert list(alone.values()) == ["mmd_linear_voxels"]


def test_other_weights_have_other_samples(experiment, tmp_path):
    """A run that was trained anew, in the same folder, is another model."""
    from diffens_core.training import runs

    run, folders = experiment.runs_of("unet-3d", "sr")[0], []
    for seed in range(2):
        runs.save_weights(experiment.runs / run.folder, wake(runs.build(run), seed), run)
        folders.append(Samples(experiment, "unet-3d", "sr").folder)
    assert folders[0] != folders[1]


def test_a_report_writes_mean_and_std_and_says_what_it_measured(experiment, tmp_path):
    _, cost = evaluate(experiment, "guess", "sr", split="train", subjects=1, samples=3, out=tmp_path)
    assert (cost["subjects"], cost["samples"], cost["split"], cost["judges"]) == (1, 3, "train", {})
    assert cost["data"].startswith("tiny ") and cost["core_sampling"] >= 0
    pair = experiment.subjects("train", "sr")[0]
    volumes = Samples(experiment, "guess", "sr").of(pair, 3)
    std = nib.load(tmp_path / f"{pair.subject}_std.nii.gz")
    np.testing.assert_allclose(std.affine, pair.affine)
    expected = volumes.std(0)[0].numpy() * (pair.scale.high - pair.scale.low) / 2
    np.testing.assert_allclose(std.get_fdata(), expected, atol=1e-6)
    mean = load_translation(tmp_path / f"{pair.subject}_mean.nii.gz", pair)
    torch.testing.assert_close(mean, volumes.mean(0), atol=1e-5, rtol=0)


def test_a_report_of_tumours_and_of_the_truth(tmp_path):
    """The truth is measured by segmentation alone; a subject without labels has no Dice."""

    class Judge:
        def segment(self, y, brain):
            return torch.stack([y[0] > 0.3] * 3)

    root = write_prepared(tmp_path / "labelled", ("test", "test"))
    image = nib.load(root / "sub-01" / "flair.nii.gz")
    seg = np.where(image.get_fdata() > 0.5, 2, 0).astype(np.uint8)
    nib.save(nib.Nifti1Image(seg, image.affine), root / "sub-01" / "seg.nii.gz")
    experiment = Experiment(PRESETS["smoke"], describe_data(root, SPACING, SHAPE), tmp_path / "runs", 0)
    options = {"split": "test", "subjects": 0, "samples": 1, "judges": Judges(Judge(), "seg4", digests={"own": "1"})}
    metrics, cost = evaluate(experiment, "cubic", "sr", out=tmp_path / "cubic", **options)
    dice = metrics[metrics["metric"] == "dice_wt"]
    assert list(dice["subject"]) == ["sub-01"] and cost["judges"] == {"own": "1"}
    assert "psnr_tumour" in set(metrics.loc[metrics["subject"] == "sub-01", "metric"])
    truth, _ = evaluate(experiment, "truth", "sr", out=tmp_path / "truth", **options)
    assert set(truth["metric"]) == {f"{m}_{r}" for m in ("dice", "hd95") for r in ("tc", "wt", "et")}
    assert float(truth.loc[truth["metric"] == "dice_wt", "value"].iloc[0]) > float(dice["value"].iloc[0])


def test_data_without_any_labels_are_measured_all_the_same(experiment, tmp_path):
    """A judge has nothing to do there; the truth has no metrics at all, and can be read like any other report."""
    options = {"split": "test", "subjects": 0, "samples": 1, "judges": Judges(torch.nn.Identity(), "seg4")}
    metrics, cost = evaluate(experiment, "cubic", "sr", out=tmp_path / "cubic", **options)
    assert "psnr" in set(metrics["metric"]) and not any(m.startswith("dice") for m in metrics["metric"])
    evaluate(experiment, "truth", "sr", out=tmp_path / "truth", **options)
    both, costs = read_reports([tmp_path / "cubic", tmp_path / "truth"])
    assert set(both["method"]) == {"cubic"} and list(costs.index) == [("cubic", "sr"), ("truth", "sr")]


def test_draw_lists_the_files_that_are_there(experiment):
    drawn = Samples(experiment, "guess", "sr")
    table = draw(drawn, "train", 1, 2)
    assert table["sample"].tolist() == [0, 1] and table["subject"].nunique() == 1
    assert all((drawn.folder / name).is_file() for name in table["file"]) and table["voxels"].nunique() == 2
    assert draw(drawn, "train", 0, 2)["voxels"].tolist()[:2] == table["voxels"].tolist() and Guess.asked == 4


def test_subjects_are_not_kept_unless_asked_for(experiment):
    kept, dropped = (experiment.subjects("train", "sr", keep) for keep in (True, False))
    assert kept[0] is kept[0] and dropped[0] is not dropped[0]
