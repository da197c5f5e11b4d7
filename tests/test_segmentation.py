"""The segmenter, its scores by hand and against MONAI, and what is asked of a generated FLAIR."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import SHAPE, SPACING, write_prepared

from diffens_core.data.layout import describe_data
from diffens_core.data.prepared import PreparedData, coarsen_labels
from diffens_core.data.tasks import task_named
from diffens_core.data.volumes import VolumeError
from diffens_core.evaluation.evaluate import evaluate
from diffens_core.evaluation.judges import Judges, open_judges
from diffens_core.experiment.experiment import Experiment
from diffens_core.experiment.presets import PRESETS
from diffens_core.experiment.recipes import Recipe
from diffens_core.experiment.setting import Setting
from diffens_core.models.segmentation import (
    WORST_HD95,
    Segmenter,
    SegmenterConfig,
    published_segmenter,
    recovery,
    regions_of,
    segmentation_metrics,
    z_score,
)
from diffens_core.support.settings import ConfigError, from_dict, to_dict
from diffens_core.training import runs
from diffens_core.training.loop import Phase, TrainConfig, train

SMALL = SegmenterConfig(feature_size=12, attention=4, window=64)


def labelled(root, splits=("train", "train", "val", "test")):
    """A prepared set with a bright ball of labels in each head but the first."""
    import nibabel as nib

    write_prepared(root, splits)
    for number in range(1, len(splits)):
        folder = root / f"sub-{number:02d}"
        image = nib.load(folder / "flair.nii.gz")
        grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
        distance = np.linalg.norm(grid - np.array([12, 12, 10]) - number, axis=-1)
        seg = np.select([distance < 2, distance < 4, distance < 6], [1, 4, 2]).astype(np.uint8)
        nib.save(nib.Nifti1Image(seg, image.affine), folder / "seg.nii.gz")
        flair = np.where(seg > 0, 0.2 + 0.2 * seg, image.get_fdata()).astype(np.float32)
        nib.save(nib.Nifti1Image(flair, image.affine), folder / "flair.nii.gz")
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return labelled(tmp_path_factory.mktemp("seg") / "data")


def ball(radius, center=(12, 12, 10), shape=SHAPE):
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    return torch.from_numpy(np.linalg.norm(grid - np.array(center), axis=-1) < radius)


class TestScores:
    def test_regions_lie_within_each_other(self):
        labels = torch.tensor([0, 1, 2, 4]).view(1, 2, 2)
        tc, wt, et = regions_of(labels).flatten(1).int().tolist()
        assert (tc, wt, et) == ([0, 1, 0, 1], [0, 1, 1, 1], [0, 0, 0, 1])
        assert regions_of(torch.zeros(5, 2, 3, 4)).shape == (5, 3, 2, 3, 4)

    def test_dice_equals_monai_and_a_moved_ball_is_as_far_as_it_was_moved(self):
        from monai.metrics import DiceMetric

        truth = torch.stack([ball(5)] * 3)
        found = torch.stack([ball(5), ball(5, (14, 12, 10)), ball(4)])
        scores = segmentation_metrics(found, truth, (2.0, 2.0, 2.0))
        theirs = DiceMetric()(found[None].float(), truth[None].float())[0]
        assert [scores[f"dice_{r}"] for r in ("tc", "wt", "et")] == pytest.approx(theirs.tolist())
        assert scores["dice_tc"] == 1.0 and scores["hd95_tc"] == 0.0
        assert scores["hd95_wt"] == pytest.approx(4.0)  # two voxels of 2 mm

    def test_empty_regions_follow_the_rule(self):
        empty, full = torch.zeros(SHAPE, dtype=torch.bool), ball(3)
        truth, found = torch.stack([empty, empty, full]), torch.stack([empty, full, empty])
        scores = segmentation_metrics(found, truth, (1.0, 1.0, 1.0))
        assert (scores["dice_tc"], scores["dice_wt"], scores["dice_et"]) == (1.0, 0.0, 0.0)
        assert (scores["hd95_tc"], scores["hd95_wt"], scores["hd95_et"]) == (0.0, WORST_HD95, WORST_HD95)
        with pytest.raises(ValueError, match="shapes differ"):
            segmentation_metrics(found[:, 1:], truth, (1.0, 1.0, 1.0))

    def test_recovery_as_in_the_papers_table(self):
        """Super-resolution, TPDM, tumour core: 46.27 per cent in Table 2, from Dice rounded to two digits."""
        assert recovery([82.49], [82.30], [82.71]) == pytest.approx(46.34, abs=0.01)
        assert recovery([0.7, 0.9], [0.6, 0.8], [0.8, 1.0]) == pytest.approx(50.0)
        assert np.isnan(recovery([0.8], [0.8], [0.8005])) and np.isnan(recovery([0.75], [0.8], [0.78]))


class TestData:
    def test_labels_of_a_block_are_those_of_most_of_it(self):
        labels = np.zeros((4, 4, 4), np.uint8)
        labels[:2, :2, :2] = 4
        labels[0, 0, 0] = 1
        labels[2:, 2:, 2:].flat[:3] = 2
        found = coarsen_labels(labels, 2)
        assert found[0, 0, 0] == 4 and found.sum() == 4 and found.dtype == np.uint8

    def test_labels_lie_on_the_grid_of_the_pair(self, data):
        """At twice the voxel size and in a window that cuts the volume: the tumour is where the FLAIR is bright."""
        config = describe_data(data, 2 * SPACING, (14, 12, 12))
        subjects = PreparedData(config, "test", task_named("sr"))
        pair = subjects[0]
        tumour = subjects.labels(pair.subject) == 4
        assert tumour.shape == pair.brain.shape and tumour.any()
        assert pair.x0[0][tumour].mean() > pair.x0[0][pair.brain & ~tumour].mean() + 0.2

    def test_only_subjects_with_labels_and_all_contrasts_are_used(self, data):
        config = describe_data(data, SPACING, SHAPE)
        seg = PreparedData(config, "train", task_named("seg4"))
        assert seg.subjects == ["sub-01"] and len(PreparedData(config, "train", task_named("sr"))) == 2
        pair = seg.pair("sub-01")
        assert pair.y.shape == (4, *SHAPE) and set(pair.x0.unique().tolist()) == {0, 1, 2, 4}
        with pytest.raises(VolumeError, match="no sub-00 with all files of task 'seg4'"):
            seg.pair("sub-00")

    def test_the_flair_has_the_scale_of_the_translations(self, data):
        """A generated FLAIR takes the place of the true one: both are scaled by the degraded one."""
        config = describe_data(data, SPACING, SHAPE)
        pairs = [PreparedData(config, "test", task_named(task))[0] for task in ("sr", "seg4")]
        torch.testing.assert_close(pairs[0].x0, pairs[1].y[:1])

    def test_a_set_without_labels_is_refused(self, prepared):
        with pytest.raises(VolumeError, match="no 'test' subject has labels and flair, t1ce"):
            PreparedData(describe_data(prepared, SPACING, SHAPE), "test", task_named("seg2"))


class TestSegmenter:
    def test_the_shape_of_what_it_finds_is_that_of_the_volume(self):
        model = Segmenter(2, SMALL).eval()
        assert model.segment(torch.zeros(2, *SHAPE), ball(9)).shape == (3, *SHAPE)
        assert model.features(torch.zeros(2, *SHAPE)).shape == (192,)

    def test_its_loss_falls_with_better_answers(self):
        from diffens_core.diffusion.batch import Batch

        labels = torch.from_numpy(np.select([ball(2), ball(4), ball(6)], [1, 4, 2])).float()[None, None]
        wanted = regions_of(labels[:, 0]).float()

        class Fixed(Segmenter):
            def forward(self, y):
                return self.answer

        model, losses = Fixed(1, SMALL), []
        for answer in (20 * wanted - 10, torch.zeros_like(wanted), 10 - 20 * wanted):
            model.answer = answer
            losses.append(float(model.objectives()[""](Batch(labels, labels, labels, labels, None), None, None)))
        assert losses[0] < 0.01 < losses[1] < losses[2]

    def test_it_learns_one_tumour_by_heart(self, data, tmp_path):
        setting = Setting(small_preset(), "seg2", describe_data(data, SPACING, SHAPE))
        config = setting.segmenter()
        subjects = PreparedData(config.data, "train", task_named("seg2"))
        model = runs.build(config)
        for _ in train(model, subjects, config.train, tmp_path, noise_steps=1000, seed=0):
            pass
        pair = subjects[0]
        assert (
            segmentation_metrics(model.segment(pair.y, pair.brain), regions_of(pair.x0[0]), (4.0,) * 3)["dice_wt"] > 0.7
        )

    def test_its_configuration_can_be_read_back_and_bad_ones_are_refused(self, data):
        config = Setting(PRESETS["paper"], "seg4", describe_data(data, SPACING, SHAPE)).segmenter()
        assert from_dict(type(config), json.loads(json.dumps(to_dict(config)))) == config
        assert config.segmenter == SegmenterConfig(48, 7, 128) and config.train.phases[0].lr == 1e-4
        for bad in ({"feature_size": 10}, {"window": 32}, {"attention": 0}):
            with pytest.raises(ConfigError):
                SegmenterConfig(**bad)
        with pytest.raises(ConfigError, match="stage 'segmentation' does not do task 'sr'"):
            replace(config, task="sr")


def small_preset():
    recipe = Recipe(None, TrainConfig((Phase(25, 1, 4e-3),), ema=0.9, save_every=25))
    return replace(PRESETS["smoke"], spacing=SPACING, shape=SHAPE, recipes={"segmenter": recipe})


class TestPublishedWeights:
    @pytest.fixture
    def checkpoint(self, tmp_path):
        """A file as MONAI's research contributions publish it: nested, from a model on several GPUs."""
        model = Segmenter(4, SegmenterConfig(12))
        path = tmp_path / "model.pt"
        torch.save(
            {
                "epoch": 1,
                "best_acc": np.float64(0.9),
                "state_dict": {f"module.{n.replace('.part.', '.', 1)}": v for n, v in model.net.state_dict().items()},
            },
            path,
        )
        return path, model

    def test_load_and_answer_alike(self, checkpoint):
        path, model = checkpoint
        loaded = published_segmenter(path)
        assert loaded.z_score and loaded.window == 128
        y = torch.randn(1, 4, 64, 64, 32)
        with torch.no_grad():
            torch.testing.assert_close(loaded(y), model.eval()(y))

    def test_contrasts_are_normalised_as_they_were_trained(self):
        """Mean 0 and standard deviation 1 within the brain, 0 outside: also for a FLAIR that is noisy around -1."""
        brain, y = ball(6), torch.randn(2, *SHAPE) - 1.0
        z = z_score(y, brain)
        torch.testing.assert_close(z[:, brain].mean(1), torch.zeros(2), atol=1e-5, rtol=0)
        torch.testing.assert_close(z[:, brain].std(1), torch.ones(2))
        assert (z[:, ~brain] == 0).all()
        torch.testing.assert_close(z_score(7 * y + 3, brain), z)

    def test_volumes_are_normalised_before_they_are_segmented(self, checkpoint):
        loaded, brain, y = published_segmenter(checkpoint[0]), ball(6), torch.rand(4, *SHAPE)
        loaded.window, seen = 64, []
        loaded.net.register_forward_pre_hook(lambda net, inputs: seen.append(inputs[0][0]))
        loaded.segment(5 * y - 2, brain)
        inner = tuple(slice((64 - n) // 2, (64 - n) // 2 + n) for n in SHAPE)  # windows are padded on both sides
        torch.testing.assert_close(seen[0][:, *inner], z_score(y, brain), atol=1e-4, rtol=0)

    def test_other_files_are_refused(self, checkpoint, tmp_path):
        with pytest.raises(ConfigError, match="no such file"):
            published_segmenter(tmp_path / "none.pt")
        (tmp_path / "text.pt").write_text("not weights")
        with pytest.raises(ConfigError, match="not a torch checkpoint"):
            published_segmenter(tmp_path / "text.pt")
        torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "other.pt")
        with pytest.raises(ConfigError, match="not a SwinUNETR"):
            published_segmenter(tmp_path / "other.pt")
        content = torch.load(checkpoint[0], weights_only=False)
        content["state_dict"].popitem()
        content["state_dict"]["module.out.conv.conv.weight"] = torch.zeros(3, 12, 1, 1, 1)
        torch.save(content, tmp_path / "cut.pt")
        with pytest.raises(ConfigError, match="not of this MONAI's SwinUNETR|not a SwinUNETR"):
            published_segmenter(tmp_path / "cut.pt")

    @pytest.mark.parametrize(
        "spoil, complaint",
        [
            (lambda name, value: value[:, :2] if "patch_embed.proj.weight" in name else value, "four contrasts"),
            (lambda name, value: 7 if "patch_embed.proj.weight" in name else value, "not a SwinUNETR"),
            (lambda name, value: value * np.nan if name.endswith("out.conv.conv.weight") else value, "NaN or infinite"),
            (lambda name, value: 7 if "encoder2" in name else value, "not of this MONAI's SwinUNETR"),
        ],
    )
    def test_weights_that_do_not_fit_are_one_line(self, checkpoint, tmp_path, spoil, complaint):
        content = torch.load(checkpoint[0], weights_only=False)
        content["state_dict"] = {name: spoil(name, value) for name, value in content["state_dict"].items()}
        torch.save(content, tmp_path / "spoilt.pt")
        with pytest.raises(ConfigError, match=complaint) as caught:
            published_segmenter(tmp_path / "spoilt.pt")
        assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


class TestJudges:
    class BrightIsTumour(torch.nn.Module):
        """Finds the brightest voxels of the first contrast, in all regions."""

        def segment(self, y, brain):
            return torch.stack([y[0] > 0.3] * 3)

    def test_the_flair_is_replaced_and_nothing_else(self, data):
        seen = []

        class Watching(self.BrightIsTumour):
            def segment(self, y, brain):
                seen.append(y)
                return super().segment(y, brain)

        pair = PreparedData(describe_data(data, SPACING, SHAPE), "test", task_named("seg4"))[0]
        flair = torch.full((1, *SHAPE), -1.0)
        _, scores = Judges(Watching()).segment(pair, flair)
        torch.testing.assert_close(seen[0], torch.cat([flair, pair.y[1:]]))
        assert scores["dice_wt"] == 0.0 and scores["hd95_wt"] == WORST_HD95

    def test_the_judge_reads_what_the_data_have_and_is_one_for_all_seeds(self, data, tmp_path, monkeypatch):
        config, trained = describe_data(data, SPACING, SHAPE), []

        def fake(self, task):
            trained.append((task, self.segmenter_run(task).identity))
            return Segmenter(len(task_named(task).conditions), SMALL)

        monkeypatch.setattr(Experiment, "segmenter", fake)
        found = [open_judges(Experiment(PRESETS["smoke"], config, tmp_path, s), "sr", "own") for s in (0, 1)]
        assert found[0].contrasts == "seg4" and trained[:2] == trained[2:]
        alone = open_judges(Experiment(PRESETS["smoke"], config, tmp_path, 0), "sr", "own", sets=False)
        assert alone.features == () and alone.segmenter and len(trained) == 5  # no second network is trained for it
        about = json.loads((data / "dataset.json").read_text())
        monkeypatch.setattr("diffens_core.experiment.experiment.data_contrasts", lambda config: about["contrasts"][:2])
        assert open_judges(Experiment(PRESETS["smoke"], config, tmp_path, 0), "sr", "own").contrasts == "seg2"
        assert open_judges(Experiment(PRESETS["smoke"], config, tmp_path, 0), "sr") == Judges()

    def test_labels_without_the_contrasts_that_it_reads_are_an_error(self, data, tmp_path):
        copy = shutil.copytree(data, tmp_path / "data")
        experiment = Experiment(PRESETS["smoke"], describe_data(copy, SPACING, SHAPE), tmp_path, 0)
        options = {"split": "test", "subjects": 0, "samples": 1, "out": tmp_path / "out"}
        judges = Judges(self.BrightIsTumour())
        metrics, _ = evaluate(experiment, "truth", "sr", **options, judges=judges)
        assert "dice_wt" in set(metrics["metric"])
        for file in copy.rglob("t1.nii.gz"):
            file.unlink()
        with pytest.raises(VolumeError, match="no 'test' subject has labels and"):
            evaluate(experiment, "truth", "sr", **options, judges=judges)
        for file in copy.rglob("seg.nii.gz"):
            file.unlink()
        metrics, _ = evaluate(experiment, "truth", "sr", **options, judges=judges)  # nothing to judge is no error
        assert len(metrics) == 0
