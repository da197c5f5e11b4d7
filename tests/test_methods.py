"""The registry: every name trains and translates, runs are shared by hash, options do not orphan old runs."""

import json
import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from tiny import NET, SHAPE, SPACING

from diffens_core import cli
from diffens_core.data.layout import describe_data
from diffens_core.data.planes import PLANES
from diffens_core.evaluation.evaluate import cost_of, evaluate, read_reports, with_experts
from diffens_core.evaluation.scores import METRICS
from diffens_core.experiment import methods
from diffens_core.experiment.experiment import Experiment, open_experiment
from diffens_core.experiment.methods import ABLATIONS, METHODS, method_named
from diffens_core.experiment.presets import PRESETS, Recipe
from diffens_core.experiment.setting import Setting
from diffens_core.models.fusion import FusionConfig
from diffens_core.networks.unet import UNetConfig
from diffens_core.support.cost import read_cost
from diffens_core.support.settings import ConfigError, from_dict, to_dict
from diffens_core.training.config import RunConfig
from diffens_core.training.loop import Phase, learning_rate
from diffens_core.training.runs import SHIPPED, build, find, load
from diffens_core.training.states import StatesConfig

BASELINES = ["palette-3d", "unet-2d", "unet-3d", "pix2pix-2d", "pix2pix-3d", "i2sb"]
ENSEMBLES = ["tpdm", "tosm", "madm", "ours-tpdm", "ours-tosm", "ours-madm", "ours-small"]
DIFFUSION = [*(f"palette-{plane}" for plane in PLANES), *(f"palette-2.5d-{plane}" for plane in PLANES)]
BUDGET = (Phase(2, 2, 1e-3),)


def brief(recipe: Recipe) -> Recipe:
    """Two steps of each phase."""
    phases = [replace(phase, steps=2, crop=phase.crop and (24, 24, 6)) for phase in recipe.train.phases]
    return replace(recipe, train=replace(recipe.train, phases=tuple(phases)))


TINY = replace(
    PRESETS["smoke"],
    spacing=SPACING,
    shape=SHAPE,
    expert=NET,
    expert_train=BUDGET,
    fusion_train=(Phase(2, 1, 1e-3, patch=(8, 8, 8)),),
    states=StatesConfig(steps=2, heads=1, patches=4, rounds=1, fit=1),
    paper_train=(Phase(2, 1, 1e-3, patch=(8, 8, 8)), Phase(1, 1, 1e-3)),
    volume_train=(Phase(2, 1, 1e-3, crop=(24, 24, 20)),),
    recipes={name: brief(recipe) for name, recipe in PRESETS["smoke"].recipes.items()},
    steps=2,
)


@pytest.fixture(scope="module")
def runs_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def experiment(prepared, runs_folder):
    return Experiment(TINY, describe_data(prepared, SPACING, SHAPE), runs_folder, 0)


@pytest.fixture
def setting(prepared):
    return Setting(PRESETS["demo"], "both", describe_data(prepared, SPACING, SHAPE))


def test_the_experts_of_a_task_may_go_on_where_others_end(setting):
    again = Phase(60, 2, 1e-3)
    longer = replace(setting, preset=replace(setting.preset, expert_restarts={"mt": (again,)}))
    assert longer.expert("axial") == setting.expert("axial")
    runs = [s.expert("axial", task="mt") for s in (setting, longer)]
    *begun, more = runs[1].train.phases
    assert begun == list(runs[0].train.phases) and more == replace(again, crop=begun[-1].crop)
    begin = runs[0].train.steps  # the rate has fallen to nothing, and is high again after the warm-up
    assert learning_rate(runs[1].train, begin - 1) < 1e-4 * begun[-1].lr
    assert learning_rate(runs[1].train, begin + 10) > 0.9 * again.lr


def test_every_name_of_the_design_is_there():
    assert {"degraded", "cubic", *BASELINES, *ENSEMBLES, *DIFFUSION} <= set(METHODS)


@pytest.mark.parametrize("name", [*METHODS, *ABLATIONS])
def test_every_method_trains_and_translates_by_name(experiment, name):
    """Shape, range, and agreement with what was measured; a deterministic method answers once."""
    method = (METHODS | ABLATIONS)[name]
    task = "both" if "both" in method.tasks else method.tasks[0]
    pair = experiment.subjects("test", task)[0]
    found = experiment.translate(name, task, pair, samples=2)
    model = experiment.model(name, task)
    assert found.shape == (1 if getattr(model, "deterministic", False) else 2, 1, *SHAPE)
    assert found.isfinite().all() and found.abs().max() < 3
    measured = experiment.subjects("test", task).task.project(found, pair.y[None].expand(len(found), -1, -1, -1, -1))
    assert torch.allclose(measured, found, atol=1e-5) == (method.project or name == "degraded")


def test_nothing_is_trained_twice(experiment, runs_folder):
    """Eight methods of two planes and three have three experts between them."""
    names = ["tpdm", "tosm", "ours-tpdm", "ours-tosm", "ours-small", "tpdm-alternate", *DIFFUSION[:3]]
    runs = [run for name in names for run in with_experts(experiment.runs_of(name, "sr"))]
    assert len({run.folder for run in runs if run.stage == "expert"}) == 3
    multi = with_experts(experiment.runs_of("multi-ours", "both"))
    single = [*experiment.runs_of("tpdm", "sr"), *experiment.runs_of("tpdm", "mt")]
    assert {run.folder for run in multi if run.stage == "expert"} == {run.folder for run in single}


def test_a_trained_run_is_left_alone(experiment, runs_folder):
    model = experiment.model("tpdm", "both")
    before = {path: path.stat().st_mtime_ns for path in runs_folder.glob("*/*/model.safetensors")}
    again = experiment.model("ours-tpdm", "both")
    after = {path: path.stat().st_mtime_ns for path in runs_folder.glob("*/*/model.safetensors")}
    assert all(after[path] == stamp for path, stamp in before.items())
    assert torch.equal(model.experts[0].net.stem.weight, again.experts[0].net.stem.weight)


def test_an_unknown_method_and_an_impossible_task_are_refused():
    with pytest.raises(ConfigError, match="unknown method 'tdpm': choose from degraded, cubic"):
        method_named("tdpm", "sr")
    with pytest.raises(
        ConfigError, match="method 'multi-ours' does tasks with a measurement and a contrast, as both, not 'sr'"
    ):
        method_named("multi-ours", "sr")


def test_shipped_runs_are_still_found_after_new_options_came(tmp_path):
    for path in SHIPPED.glob("*/*/config.json"):
        config = from_dict(RunConfig, json.loads(path.read_text()))
        assert path.parent.name.endswith(config.identity) and find(config, tmp_path) == path.parent
        assert {"seconds", "core_seconds", "parameters", "memory"} <= set(read_cost(path.parent)), path.parent.name
        assert ("slab" in to_dict(config)) == (config.slab != 0)
        assert replace(config, slab=config.slab + 1).identity != config.identity


def test_methods_of_the_demo_find_the_runs_that_come_with_the_package(tmp_path, monkeypatch):
    """Neither a new name, nor a new place for a setting, nor another description of phantoms makes them another run."""
    monkeypatch.setenv("DIFFENS_HOME", str(tmp_path))
    experiment, found = open_experiment("demo"), set()
    wanted = [("multi-ours", "both"), *(("ours-tpdm", task) for task in ("sr", "mt", "both"))]
    wanted += [(name, "sr") for name in ("pix2pix-2d", "pix2pix-3d", "make-a-volume")]
    runs = [run for method, task in wanted for run in experiment.runs_of(method, task)]
    for run in with_experts([*runs, experiment.segmenter_run("seg4")]):
        found.add(find(run, tmp_path).name)
        load(run, tmp_path)
    assert found == {path.parent.name for path in SHIPPED.glob("demo/*/config.json")}


def test_ablations_change_what_they_say_and_nothing_else(setting):
    (plain,) = METHODS["ours-tpdm"].runs(setting)
    found = {name: ABLATIONS[f"ours-tpdm+{name}"].runs(setting)[0] for name in map(after_plus, ABLATIONS) if name}
    longer = found.pop("all-time")
    times = setting.preset.all_time["expert"]
    assert [e.train.steps for e in longer.experts] == [round(times * e.train.steps) for e in plain.experts]
    assert times > 1
    assert longer.train == plain.train and longer.fusion == plain.fusion
    assert found["true-states"].train.states == replace(plain.train.states, true=True)
    assert not found["no-linear"].fusion.linear
    assert found["never-alone"].train.steps_alone == 0 < plain.train.steps_alone
    assert found["never-alone"].train.steps == plain.train.steps and found["never-alone"].train.states
    assert found["gate-only"].fusion == replace(plain.fusion, lam=0.0)
    assert found["residual-only"].fusion.gate == "uniform" and found["affine-gate"].fusion.gate == "affine"
    assert not found["no-features"].fusion.features and not found["no-coordinates"].fusion.coordinates
    own = found["paper"]
    assert own.fusion == FusionConfig(prediction="eps") and own.train.loss == "eps" and not own.train.states
    assert plain.fusion.linear and plain.train.states == setting.preset.states
    assert found["paper+patches-only"].train.phases == own.train.phases[:1]
    (whole,) = found["paper+volumes-only"].train.phases
    patches, last = own.train.phases
    assert whole.patch is None and whole.lr == patches.lr
    shape = setting.preset.shape
    sizes = [math.prod(map(min, p.patch, shape)) if p.patch else math.prod(shape) for p in (patches, last, whole)]
    voxels = [p.steps * p.batch * size for p, size in zip((patches, last, whole), sizes)]
    assert voxels[2] == pytest.approx(voxels[0] + voxels[1], abs=whole.batch * sizes[2])
    both = found["paper+patches-only+no-features"]
    assert both.train == found["paper+patches-only"].train and both.fusion == replace(own.fusion, features=False)
    assert [len(run.experts) for run in found.values()].count(1) == 1 == len(found["one-plane"].experts)
    for name, run in found.items():
        assert run.identity != plain.identity and run.name == f"ours-tpdm+{name}"
        assert set(run.experts) <= set(plain.experts)


EXPERTS = {
    "tpdm": [("axial", 0), ("sagittal", 0)],
    "tosm": [("axial", 0), ("sagittal", 0), ("coronal", 0)],
    "madm": [("axial", 2), ("sagittal", 2), ("coronal", 2)],
}


@pytest.mark.parametrize(
    "name, rival",
    [(name, name) for name in EXPERTS]
    + [("tpdm-alternate", "tpdm"), ("tpdm-random", "tpdm"), ("madm-samples", "madm")]
    + [("ours-tpdm", "tpdm"), ("ours-small", "tpdm"), ("ours-tosm", "tosm"), ("ours-madm", "madm")],
)
def test_a_name_means_the_experts_of_its_paper(setting, name, rival):
    runs = METHODS[name].runs(setting)
    experts = runs[0].experts if name.startswith("ours") else runs
    assert [(run.plane, run.slab) for run in experts] == EXPERTS[rival]
    assert {run.task for run in experts} == {setting.task}


def test_a_name_means_the_network_of_its_paper(setting):
    runs = {name: METHODS[name].runs(setting)[0] for name in METHODS if METHODS[name].runs(setting)}
    full, small, preset = runs["ours-tpdm"], runs["ours-small"], setting.preset
    assert full.unet == preset.fusion and full.fusion == preset.fusion_config
    assert small.unet == preset.small != preset.fusion and small.fusion == replace(full.fusion, features=False)
    assert not runs["i2sb"].ode and runs["i2sb-ode"].ode
    assert build(runs["i2sb"]).stochastic and not build(runs["i2sb-ode"]).stochastic
    planes = {
        name: runs[name].plane for name in ("unet-2d", "unet-3d", "pix2pix-2d", "pix2pix-3d", "i2sb", "palette-3d")
    }
    assert [name for name, plane in planes.items() if plane is None] == ["unet-3d", "pix2pix-3d", "palette-3d"]
    stages = {
        "unet": "regression",
        "pix2pix": "pix2pix",
        "i2sb": "bridge",
        "palette-3d": "volume",
        "make": "volumetric",
    }
    for start, stage in stages.items():
        assert {run.stage for name, run in runs.items() if name.startswith(start)} == {stage}
    multi = METHODS["multi-ours"].runs(replace(setting, task="both"))[0]
    wanted = [(task, plane) for task in ("sr", "mt") for plane in preset.planes]
    assert [(run.task, run.plane) for run in multi.experts] == wanted


def after_plus(name: str) -> str:
    own = name.startswith("ours-tpdm+") and not name.endswith("no-projection")
    return name.removeprefix("ours-tpdm+") if own else ""


def test_preset_paper_has_the_papers_baselines(prepared):
    data = describe_data(prepared, SPACING, SHAPE)
    run = {name: METHODS[name].runs(Setting(PRESETS["paper"], "sr", data))[0] for name in BASELINES}
    med = run["palette-3d"]
    assert (med.diffusion.steps, med.diffusion.kind, med.train.norm, med.prediction) == (250, "cosine", "l1", "eps")
    assert med.unet == UNetConfig(64, (1, 1, 2, 3, 4), 2, checkpointing=True, middle_attention=True)
    assert (med.train.phases[0].lr, med.train.accumulate, med.train.ema) == (1e-5, 2, 0.995)
    for name in ("pix2pix-2d", "pix2pix-3d"):
        assert (run[name].train.phases[0].lr, run[name].train.beta1, run[name].unet.dropout) == (2e-4, 0.5, 0.5)
    bridge = run["i2sb"].train
    assert (bridge.phases[0].lr, bridge.ema, bridge.phases[0].batch * bridge.accumulate) == (5e-5, 0.99, 256)
    assert run["unet-3d"].plane is None and run["unet-2d"].plane == "axial"


def test_the_networks_of_every_preset_can_be_built_for_the_methods_that_share_levels(setting):
    """Feature maps of experts must lie on the grids of the fusion, whatever the preset."""
    for preset in PRESETS.values():
        narrow = [replace(preset, **{part: replace(getattr(preset, part), base=8) for part in ("expert", "fusion")})]
        (run,) = METHODS["ours-madm"].runs(replace(setting, preset=narrow[0]))
        assert len(build(run).experts) == 3


def test_a_report_has_metrics_and_cost(experiment, tmp_path):
    metrics, cost = evaluate(experiment, "ours-tpdm", "both", split="val", subjects=1, samples=2, out=tmp_path / "a")
    assert set(metrics["sample"]) == {"0", "1", "mean", "all"} and set(metrics["method"]) == {"ours-tpdm"}
    together = metrics[metrics["sample"] == "all"].set_index("metric")["value"]
    assert together["measurement_error"] < 1e-5 and together["mace"] > 0 and together["std_of_psnr"] > 0
    assert "mmd_linear_voxels" in set(metrics.loc[metrics["subject"] == "all", "metric"])
    runs = list(with_experts(experiment.runs_of("ours-tpdm", "both")))
    alone = [cost_of([run], experiment.runs) for run in experiment.runs_of("tpdm", "both")]
    assert len(runs) == 3 and cost["seconds"] >= sum(c["seconds"] for c in alone)  # which may be 0.0 for so small ones
    assert cost["parameters"] > sum(c["parameters"] for c in alone) > 0
    assert cost["parameters"] == sum(p.numel() for p in build(runs[0]).parameters())
    evaluate(experiment, "cubic", "both", split="val", subjects=0, samples=2, out=tmp_path / "b")
    metrics, costs = read_reports([tmp_path / "a", tmp_path / "b"])
    assert list(costs.index) == [("ours-tpdm", "both"), ("cubic", "both")]
    assert set(metrics["method"]) == {"ours-tpdm", "cubic"} and set(METRICS) < set(metrics["metric"])
    assert pd.isna(costs.loc[("cubic", "both"), "seconds"]) and (costs["sampling"] >= 0).all()


def test_minutes_of_a_gpu_and_of_cores_are_not_added_up(experiment):
    (run,) = experiment.runs_of("ours-tpdm", "both")
    experiment.model("ours-tpdm", "both")
    assert cost_of([run], experiment.runs)["seconds"] >= 0
    path = find(run, experiment.runs) / "cost.json"
    kept = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(kept) | {"device": "another GPU"}))
        assert set(cost_of([run], experiment.runs)) == {"parameters"}
    finally:
        path.write_text(kept)


@pytest.mark.parametrize("preset", PRESETS)
def test_without_a_measurement_a_fusion_keeps_the_contrast_of_its_average(setting, preset):
    def keeps(name, task):
        return ABLATIONS[name].runs(replace(setting, preset=PRESETS[preset], task=task))[0].fusion.keep_contrast

    wanted = {"sr": False, "both": False, "mt": preset != "paper"}
    assert wanted == {task: keeps("ours-tpdm+no-features", task) for task in wanted}
    assert not any(keeps("ours-tpdm+paper", task) for task in wanted) and not keeps("ours-tpdm+free-contrast", "mt")


def test_one_command_trains_a_method_and_writes_its_metrics(prepared, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(PRESETS, "smoke", TINY)
    options = ["--preset", "smoke", "--data", str(prepared), "--runs", str(tmp_path / "runs"), "--out", str(tmp_path)]
    assert cli.main(["evaluate", "unet-2d", "--task", "mt", *options]) == 0
    metrics = pd.read_csv(tmp_path / "metrics.csv")
    assert list(metrics.columns) == ["method", "task", "subject", "sample", "metric", "value"]
    assert {*METRICS, "mae", "jitter_axial", "mmd_linear_voxels"} <= set(metrics["metric"])
    assert json.loads((tmp_path / "cost.json").read_text())["parameters"] > 0
    assert cli.main(["evaluate", "cubic", "--subjects", "50", *options]) == 0
    assert "warning: 'test' has 1 subjects, not 50" in capsys.readouterr().err
    for arguments, complaint in (
        (["unet", "--task", "mt"], "unknown method 'unet'"),
        (["cubic", "--task", "mt"], "method 'cubic' does tasks with a measurement, as sr, not 'mt'"),
        (["unet-2d", "--task", "all"], "unknown task 'all'"),
        (["truth", "--task", "seg4", "--segmenter", "own"], "task 'seg4' is a segmentation"),
        (["unet-2d", "--samples", "0"], "--samples must be at least 1"),
        (["truth"], "give --segmenter"),
        (["cubic", "--task", "both", "--medicalnet", "none.pth"], "none.pth: no such file"),
        (["cubic", "--task", "both", "--segmenter", "none.pt"], "none.pt: no such file"),
    ):
        capsys.readouterr()
        assert cli.main(["evaluate", *arguments, *options]) == 2
        error = capsys.readouterr().err
        assert complaint in error and error.count("\n") == 1


def test_methods_module_names_its_planes_once():
    assert set(methods.THREE_PLANES) == set(PLANES)
