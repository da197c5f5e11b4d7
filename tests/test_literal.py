"""Preset `paper` to the letter: its switches do what they say, and its sizes are those of the paper's tables."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from tiny import SHAPE, SPACING, draw_batch, expert_config, fusion_config, make_fusion, make_inputs, wake

from diffens_core.cli import main
from diffens_core.data.crops import Cropping
from diffens_core.data.layout import DataConfig, describe_data
from diffens_core.data.prepared import PreparedData
from diffens_core.data.tasks import task_named
from diffens_core.diffusion.batch import spread_step, with_noise
from diffens_core.evaluation.metrics import image_metrics
from diffens_core.experiment.differences import differences
from diffens_core.experiment.methods import ABLATIONS, METHODS, method_named
from diffens_core.experiment.presets import PRESETS, Preset
from diffens_core.experiment.samples import sample
from diffens_core.experiment.setting import Setting
from diffens_core.models.experts import Average, SliceExpert
from diffens_core.training.loop import Phase, TrainConfig, own_tensors, train
from diffens_core.training.runs import build
from figures import letter

PAPER = PRESETS["paper"]


def setting(task="sr") -> Setting:
    return Setting(PAPER, task, DataConfig("", "none", "00000000", PAPER.spacing, PAPER.shape))


def trained(config, tmp_path):
    """The model of a run after its training, and how far its weights have moved."""
    model = build(config)
    before = {name: tensor.detach().clone() for name, tensor in own_tensors(model).items()}
    data = PreparedData(config.data, "train", config.translation)
    for _ in train(model, data, config.train, tmp_path, noise_steps=1000, seed=0, precision="float32"):
        pass
    moved = [(tensor.detach() - before[name]).abs().max() for name, tensor in own_tensors(model).items()]
    return model, float(max(moved))


def test_gradients_are_clipped_or_not(prepared, tmp_path):
    """Adam ignores their size, unless it is below its own epsilon."""
    far = {clip: trained(expert_config(prepared, clip=clip, ema=0.0), tmp_path / str(clip))[1] for clip in (0.0, 1e-12)}
    assert far[0.0] > 1e-3 > 10 * far[1e-12]


def test_heads_are_mirrored_or_not(prepared):
    data = PreparedData(describe_data(prepared, SPACING, SHAPE), "train", task_named("sr"))
    for mirror in (True, False):
        batch = draw_batch(data, range(16), None, 0, 0, mirror=mirror)
        turned = [any(torch.equal(x0, pair.x0.flip(1)) for pair in (data[0], data[1])) for x0 in batch.x0]
        assert any(turned) == mirror and not all(turned)


def test_noise_levels_are_spread_or_drawn(prepared):
    data = PreparedData(describe_data(prepared, SPACING, SHAPE), "train", task_named("sr"))
    crops = [data.crops(range(8), step, Cropping((4, 4, 4), 0)) for step in range(40)]
    even = torch.cat([with_noise(c, 1000, 0, step, range(8)).t for step, c in enumerate(crops)])
    assert even[:8].tolist() == [spread_step(1000, 0, 0, k) for k in range(8)]
    crops = [data.crops(range(8), step, Cropping((4, 4, 4), 0)) for step in range(40)]
    drawn = torch.cat([with_noise(c, 1000, 0, step, range(8), spread=False).t for step, c in enumerate(crops)])
    counts = [torch.histc(t.float(), 10, 0, 1000) for t in (even, drawn)]  # 320 levels in ten bins
    assert counts[0].std() < 2 < counts[1].std() < 12 and drawn.min() < 30 and 970 < drawn.max() < 1000


@pytest.mark.parametrize("interpolated", [True, False])
def test_networks_read_the_interpolation_or_the_conditions_alone(prepared, interpolated):
    config = replace(fusion_config(prepared, task="both"), interpolated=interpolated)
    config = replace(config, experts=tuple(replace(e, interpolated=interpolated) for e in config.experts))
    pair = PreparedData(config.data, "train", config.translation)[0]
    assert config.translation.conditions == ("flair_lr", *(["flair_up"] if interpolated else []), "t1ce")
    assert len(pair.y) == 2 + interpolated and config.translation.nearest == interpolated
    model = build(config)
    assert model.experts[0].net.stem.in_channels == 1 + len(pair.y) + 4
    xt, _, t = make_inputs(SHAPE)
    with torch.no_grad():
        assert model(xt, pair.y[None], t).shape == xt.shape


@torch.no_grad()
@pytest.mark.parametrize("planes", [("axial", "sagittal"), ("axial", "sagittal", "coronal")])
def test_the_plain_gate_starts_as_the_average_and_learns_all_weights_but_one(planes):
    model, (xt, y, t) = make_fusion(planes, gate="plain", residual_unit=1.0, prediction="eps"), make_inputs((8, 8, 8))
    assert model.net.head.out_channels == len(planes)  # two planes: w and r (Table 10)
    torch.testing.assert_close(model.fuse(xt, y, t).eps, Average(model.experts)(xt, y, t))
    fused = wake(model).fuse(xt, y, t)
    torch.testing.assert_close(fused.gate.sum(1), torch.ones_like(fused.gate[:, 0]))
    w, r = fused.gate, fused.resid
    expected = sum(w[:, [p]] * fused.eps_planes[p] for p in range(len(planes))) + r  # Eq. 6
    torch.testing.assert_close(fused.eps, expected, atol=1e-5, rtol=1e-4)
    assert w.min() < 1 / len(planes) < w.max() and r.abs().max() > 0


@torch.no_grad()
def test_the_residual_has_its_unit():
    found = {}
    for unit in (0.03, 1.0):
        model, (xt, y, t) = wake(make_fusion(residual_unit=unit)), make_inputs((8, 8, 8))
        found[unit] = model.fuse(xt, y, t).resid
    torch.testing.assert_close(found[1.0] * 0.03, found[0.03])


def test_experts_and_fusion_work_on_the_same_patches(prepared, tmp_path, monkeypatch):
    config, seen = fusion_config(prepared), []
    forward = SliceExpert.lift
    monkeypatch.setattr(
        SliceExpert, "lift", lambda self, xt, *more: seen.append(xt.shape[2:]) or forward(self, xt, *more)
    )
    phases = (Phase(2, 1, 2e-3, crop=(8, 8, 8)), Phase(1, 1, 1e-3))
    _, moved = trained(replace(config, train=TrainConfig(phases, loss="eps", ema=0.0)), tmp_path)
    assert [tuple(shape) for shape in seen] == [(8, 8, 8)] * 4 + [SHAPE] * 2 and moved > 0


def test_samples_are_cut_to_the_background_or_not(prepared):
    config = expert_config(prepared)
    model, pair = wake(build(config)), PreparedData(config.data, "test", config.translation)[0]
    for cut in (True, False):
        options = {"subject": "a", "samples": 1, "steps": 1, "precision": "float32", "cut": cut}
        outside = sample(model, pair.y, config.translation, **options)[0, 0][~torch.from_numpy(pair.seen)]
        assert (outside == -1).all() == cut


def test_ssim_paper_is_that_of_scikit_image():
    rng = np.random.default_rng(0)
    target = rng.random((16, 14, 12))
    prediction = np.clip(target + 0.1 * rng.normal(size=target.shape), -1, 2)
    target[0, 0, 0], target[1, 0, 0] = 0.0, 1.0  # the range is the unit
    found = image_metrics(prediction, target, np.ones(target.shape, bool))["ssim_paper"]
    assert found == pytest.approx(structural_similarity(prediction, target, data_range=1.0), abs=1e-6)


def test_the_papers_numbers_are_the_presets():
    """Table 7, and the text of Sec. 3 and 4."""
    expert, fusion = (
        method_named("palette-axial", "sr").runs(setting())[0],
        method_named("ours-tpdm", "sr").runs(setting())[0],
    )
    for run, batch, rate in ((expert, 4, 5e-5), (fusion, 1, 1e-4)):
        assert {(p.batch, p.lr) for p in run.train.phases} == {(batch, rate)}
        assert (run.train.optimizer, run.train.decay, run.train.warmup) == ("adam", "constant", 0)
        assert (run.train.loss, run.train.clip, run.train.mirror, run.train.spread) == ("eps", 0.0, False, False)
        assert (run.diffusion.steps, run.diffusion.kind, run.interpolated) == (1000, "linear", False)
    assert expert.prediction == fusion.fusion.prediction == "eps" and PAPER.steps == 50 and PAPER.sampler == "ddim"
    assert fusion.fusion.residual_unit == fusion.fusion.lam == 1.0 and not fusion.fusion.linear
    counts = np.array(PAPER.phantoms)
    assert (counts / counts.sum()).tolist() == [0.8, 0.0, 0.2]


@pytest.mark.parametrize(
    "network, widths, out",
    [
        ("expert", [64, 128, 256, 512], 1),  # Table 9
        ("fusion", [64, 128, 192, 256], 2),  # Table 10
        ("small", [32, 64, 64, 128], 2),  # Table 11
    ],
)
def test_networks_have_the_papers_widths_and_outputs(network, widths, out):
    name = {"expert": "palette-axial", "fusion": "ours-tpdm", "small": "ours-small"}[network]
    run = method_named(name, "sr").runs(setting())[0]
    net = build(run).net
    assert list(net.widths) == widths and net.head.out_channels == out
    assert all(len(blocks) == 2 for blocks in net.encoder)


def test_no_method_of_the_paper_clips_mirrors_or_spreads():
    for name, method in (METHODS | ABLATIONS).items():
        for task in method.tasks:
            for run in method.runs(setting(task)):
                train = run.train
                assert not (train.clip or train.mirror or train.spread or run.interpolated), (name, run.name)


def test_every_difference_of_two_presets_is_named(capsys):
    found = differences(PAPER, PRESETS["demo"])
    assert found["train.clip"] == ("0", "1") and found["interpolated"] == ("False", "True")
    assert found["fusion_config.gate"] == ("plain", "softmax") and found["steps"] == ("50", "3")
    assert differences(PAPER, PAPER) == {}
    for field in fields(Preset):  # a change of any setting is seen
        if type(getattr(PAPER, field.name)) in (int, float, bool):
            changed = replace(PAPER, **{field.name: getattr(PAPER, field.name) + 1})
            assert list(differences(changed, PAPER)) == [field.name]
    assert main(["methods", "--preset", "paper"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(found) and any(
        line.split() == ["cut", "False,", "instead", "of", "True"] for line in lines
    )


def test_the_page_of_the_letter_is_what_the_code_says():
    assert letter.FILE.read_text() == letter.table(), "run python -m figures.letter"
