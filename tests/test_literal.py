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
from diffens_core.data.measurement import BLOCKS
from diffens_core.data.prepared import PreparedData, pair_scaled_by_target
from diffens_core.data.tasks import task_named
from diffens_core.diffusion.batch import Batch, spread_step, with_noise
from diffens_core.diffusion.model import Denoiser
from diffens_core.diffusion.residual import residual
from diffens_core.diffusion.schedule import Schedule
from diffens_core.evaluation.metrics import image_metrics
from diffens_core.experiment.differences import differences
from diffens_core.experiment.methods import ABLATIONS, METHODS, UNPROJECTED, method_named
from diffens_core.experiment.presets import PRESETS, Preset
from diffens_core.experiment.samples import sample
from diffens_core.experiment.setting import Setting
from diffens_core.models.experts import Average, SampleAverage, SliceExpert
from diffens_core.networks.unet import Attention, UNet, UNetConfig
from diffens_core.support.errors import InputError
from diffens_core.support.settings import ConfigError
from diffens_core.training.loop import Phase, TrainConfig, own_tensors, train
from diffens_core.training.runs import build
from diffens_core.training.states import StatesConfig
from diffens_core.translate import translate_files
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


@torch.no_grad()
def test_a_fusion_works_everywhere_or_on_the_head():
    xt, y, t = make_inputs((16, 16, 16))
    y[..., :8] = -1.0
    parts = {}
    for everywhere in (True, False):
        fused = wake(make_fusion(everywhere=everywhere)).fuse(xt, y, t)
        parts[everywhere] = fused.resid[..., :8], fused.gate[..., :8]
    assert parts[True][0].abs().min() > 0 and not parts[False][0].any()
    assert parts[True][1].std() > 0 and (parts[False][1] == 0.5).all()


def residual_runs(prepared, states=None):
    """A tiny fusion that diffuses residuals, as its experts do."""
    config = fusion_config(prepared, states=states)
    return replace(config, target="residual", experts=tuple(replace(e, target="residual") for e in config.experts))


class Knows(Denoiser):
    """The noise in a state, if the target is what it knows."""

    def __init__(self, x0, of_residual):
        super().__init__()
        self.x0, self.of_residual, self.schedule = x0, of_residual, Schedule()

    def forward(self, xt, y, t, coords=None):
        return self.schedule.eps_from_x0(residual(self.x0, y) if self.of_residual else self.x0, xt, t)


def test_a_model_of_residuals_samples_targets_and_is_projected_as_one():
    generator = torch.Generator().manual_seed(0)
    x0 = torch.rand(1, 1, 8, 8, 8, generator=generator) * 2 - 1
    y, noise = BLOCKS.degrade(x0), torch.randn(x0.shape, generator=generator)
    for wrong in (0.0, 0.2):
        model = Knows(x0 + wrong, of_residual=True)
        for denoiser in (model, Average([model, model]), SampleAverage([model])):
            options = {"project": BLOCKS.project, "generator": generator}
            *_, last = denoiser.trajectory(y, noise, 20, **options)
            torch.testing.assert_close(BLOCKS.degrade(last.x0_hat), y, atol=1e-4, rtol=0)
            torch.testing.assert_close(last.x0_hat, x0, atol=2e-2, rtol=0)  # a wrong mean of a block is projected away
    with pytest.raises(InputError, match="residuals and others targets"):
        Average([model, Knows(x0, of_residual=False)])


def test_a_model_of_residuals_learns_them():
    x0, y = torch.rand(1, 1, 4, 4, 4), torch.rand(1, 2, 4, 4, 4)
    batch = Batch(x0, y, torch.zeros(1, 3, 4, 4, 4), torch.randn(x0.shape), torch.tensor([500]))
    losses = {}
    for target in (True, False):
        model, train = Knows(x0, of_residual=target), TrainConfig((Phase(1, 1, 1e-3),), loss="eps")
        losses[target] = [float(model.loss(batch, train, None))]
        model.x0 = x0 + 0.5
        losses[target].append(float(model.loss(batch, train, None)))
    assert max(losses[True][0], losses[False][0]) < 1e-9
    assert losses[True][1] == pytest.approx(losses[False][1] / 4, rel=1e-3)  # half as far away


def test_the_residual_target_is_one_of_a_fusion_and_its_experts(prepared, tmp_path):
    config = residual_runs(prepared)
    model, moved = trained(config, tmp_path)
    assert moved > 0 and model.of_residual and all(expert.of_residual for expert in model.experts)
    assert config.identity != fusion_config(prepared).identity
    with pytest.raises(ConfigError, match="a run and its experts have the same target"):
        replace(config, target="image")
    with pytest.raises(ConfigError, match="learn from true ones"):
        residual_runs(prepared, states=StatesConfig(steps=2, heads=1, patches=2, rounds=2, fit=1))
    both = fusion_config(prepared, task="both")
    with pytest.raises(ConfigError, match="residuals of task 'sr' are none of 'both'"):
        build(replace(both, target="residual", experts=config.experts))
    preset = replace(PAPER, target="residual")
    chosen = replace(setting(), preset=preset)
    found = {name: method_named(name, "sr").runs(chosen)[0].target for name in ("ours-tpdm", "palette-3d", "unet-2d")}
    assert found == {"ours-tpdm": "residual", "palette-3d": "residual", "unet-2d": "image"}


def test_the_scale_is_that_of_the_condition_or_of_the_target(prepared, tmp_path):
    data = describe_data(prepared, SPACING, SHAPE)
    for task in ("sr", "mt", "both"):
        pairs = [PreparedData(d, "train", task_named(task))[0] for d in (replace(data, normalisation="target"), data)]
        leaking, usual = pairs
        assert leaking.x0.max() == 1.0 > usual.x0.max() and leaking.y.max() <= 1.0 and leaking.scale.low == 0.0
        back = [torch.from_numpy(pair.scale.invert(pair.x0.numpy())) for pair in pairs]
        assert (back[0] - back[1]).abs().median() < 1e-5  # the same target, on another scale
        if task != "mt":
            torch.testing.assert_close(leaking.y[:1], BLOCKS.degrade(leaking.x0[None])[0])
    images = {"flair": np.array([[[0.0, 2.0]]]), "t1ce": np.array([[[0.0, 4.0]]])}
    x0, y, _ = pair_scaled_by_target(images, task_named("seg2"))  # the contrasts that a segmenter sees
    assert x0.flatten().tolist() == y[0].flatten().tolist() == y[1].flatten().tolist() == [-1.0, 1.0]
    config = replace(expert_config(prepared), data=replace(data, normalisation="target"))
    assert config.identity != expert_config(prepared).identity
    with pytest.raises(ConfigError, match="which no file of yours has"):
        translate_files(None, config, {}, tmp_path / "out.nii.gz")


def test_madm_starts_from_noise_or_from_a_noised_prior():
    y, noise = torch.zeros(1, 1, 4, 4, 4), torch.randn(1, 1, 4, 4, 4)
    seen, prior = [], Knows(torch.full_like(y, 0.7), of_residual=False)

    class Watched(Knows):
        def forward(self, xt, y, t, coords=None):
            seen.append((int(t[0]), xt))
            return super().forward(xt, y, t, coords)

    experts = [Watched(torch.zeros_like(y), of_residual=False)]
    for start, first in ((None, 999), (prior, 199)):
        seen.clear()
        *_, last = SampleAverage(experts, start).trajectory(y, noise, 10, generator=torch.Generator().manual_seed(0))
        assert seen[0][0] == first and len(seen) == 10 and last.x0_hat.abs().max() < 0.1
    signal, level = experts[0].schedule.signal_and_noise(torch.tensor([199]), y)
    torch.testing.assert_close(seen[0][1], signal * 0.7 + level * noise, atol=1e-3, rtol=0)


def test_the_middle_has_attention_where_no_level_has():
    plain, middle = (UNet(2, 3, 1, UNetConfig(8, (1, 2), 1, middle_attention=on)) for on in (False, True))
    assert not any(isinstance(module, Attention) for module in plain.modules())
    assert [name for name, module in middle.named_modules() if isinstance(module, Attention)] == ["middle_attention"]


def test_baselines_have_rows_without_projection():
    """One for each kind; what its names leave out are planes, rules and our own fusions."""
    kinds = {name for name, method in METHODS.items() if method.project and not name.startswith(("ours-", "multi-"))}
    kinds -= {"cubic-projected", "i2sb-ode", "tpdm-alternate", "tpdm-random", "madm-samples"}
    kinds -= {f"{kind}-{plane}" for kind in ("palette", "palette-2.5d") for plane in ("sagittal", "coronal")}
    assert set(UNPROJECTED) == {f"{name}+no-projection" for name in (*kinds, "multi-tpdm")} < set(ABLATIONS)
    for row, same in UNPROJECTED.items():
        method = METHODS[row.removesuffix("+no-projection")]
        assert not same.project and same.tasks == tuple(task for task in method.tasks if task != "mt")
        assert same.runs(setting("both")) == method.runs(setting("both"))  # nothing is trained for it
