"""The reproduction: plans, tables, their files, and what a failing step says."""

import json

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from data_prep.phantom import prepare_phantoms
from diffens_core.evaluation.evaluate import TRUTH, with_experts
from diffens_core.experiment.methods import ABLATIONS, METHODS
from diffens_core.experiment.presets import preset_named
from diffens_core.support.settings import ConfigError
from figures import execute
from figures.contents import PAGES, pages_of
from figures.networks import hyperparameters, layers
from figures.plan import EXPERIMENTS, Evaluation, open_plan
from figures.published import published
from figures.report import _heading, write_report
from figures.tables import (
    IMAGE,
    SETS,
    SSIM_PAPER,
    UNCERTAINTY,
    cost_table,
    leads,
    measured,
    overview,
    recovery_leads,
    region_panels,
    segmentation,
)
from figures.tables import step_panels as panels_of_steps
from figures.write import latex, markdown, write_table

KINDS = [page.kind for page in PAGES.values()]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFENS_HOME", str(tmp_path))
    monkeypatch.delenv("DIFFENS_RUNS", raising=False)
    return tmp_path


@pytest.fixture
def listed(tmp_path):
    """A file of experiments, from the evaluations of preset smoke."""

    def write(*evaluations, **settings):
        jobs = dict.fromkeys(["prepare", "expert", "fusion", "segmentation", "sample", "evaluate", "page"], [1, 1])
        path = tmp_path / "experiments.yaml"
        content = {"second_phantoms": 1, "jobs": jobs, "evaluations": list(evaluations)} | settings
        path.write_text(yaml.safe_dump({"smoke": content}))
        return str(path)

    return write


@pytest.mark.parametrize("preset", ["demo", "gpu", "paper"])
def test_on_data_of_ones_own_all_jobs_are_estimated_too(tmp_path, home, preset):
    """Nothing comes trained for them, so there are kinds of trainings that the embedded data do not need."""
    prepare_phantoms(tmp_path / "own", subjects=(1, 0, 1), spacing=preset_named(preset).spacing, only=())
    overview = open_plan(preset, data=str(tmp_path / "own")).overview(KINDS)
    assert overview.notna().all(axis=None) and "pix2pix" in overview.index


def test_a_job_without_an_estimate_is_named(home, listed):
    file = listed({"tasks": ["sr"], "methods": ["pix2pix-2d"]})
    with pytest.raises(ConfigError, match=r"experiments.yaml: `jobs` lacks pix2pix: \[minutes, GiB\]"):
        open_plan("smoke", experiments=file).overview(["page"])


@pytest.mark.parametrize("preset", ["smoke", "demo", "gpu", "paper"])
def test_every_preset_has_a_plan_whose_jobs_are_all_estimated(home, preset):
    plan = open_plan(preset)
    overview = plan.overview(KINDS)
    assert overview.notna().all(axis=None) and overview["jobs"].min() > 0
    assert all(sum(page.needs(one) for one in plan.wanted.values()) for name, page in PAGES.items() if needs_any(name))
    assert not (home / "runs").exists()  # a plan is only a plan


OTHER_LISTS = [("demo", name) for name in ("comparison", "own_data", "recovery", "recovery_both")]


@pytest.mark.parametrize("preset, name", [*OTHER_LISTS, ("scan", "experiments")])
def test_the_other_lists_are_plans_whose_jobs_are_all_estimated(home, preset, name):
    plan = open_plan(preset, experiments=str(EXPERIMENTS.with_name(f"{name}.yaml")))
    overview = plan.overview(page.kind for page in PAGES.values())
    assert overview.notna().all(axis=None) and overview["jobs"].min() > 0


def needs_any(page):
    return page not in ("table_7_networks", "figure_1_method")


def test_gpu_evaluates_every_method_and_ablation(home):
    found = {one.method for one in open_plan("gpu").wanted.values()}
    left = {"tpdm-alternate", "tpdm-random", "madm-samples", "madm-samples+prior", "i2sb-ode"}
    left |= {"make-a-volume+slice-wise", *(f"palette-2.5d-{plane}" for plane in ("sagittal", "coronal"))}
    assert set(METHODS) | set(ABLATIONS) | {TRUTH} == found | left


def test_one_line_more_is_one_evaluation_and_its_trainings_more(home, listed):
    few = open_plan("smoke", experiments=listed({"tasks": ["sr"], "methods": ["tpdm"]}))
    more = open_plan("smoke", experiments=listed({"tasks": ["sr"], "methods": ["tpdm", "ours-tpdm"]}))
    assert set(more.wanted) - set(few.wanted) == {"ours-tpdm-sr-seed0"}
    (new,) = set(more.trainings) - set(few.trainings)
    assert new.startswith("smoke/fusion-sr-ours-tpdm-") and set(few.trainings) < set(more.trainings)


def test_the_presets_own_number_of_steps_is_no_evaluation_of_its_own(home, listed):
    usual = open_plan("smoke").experiment().preset.steps
    sweep = {"tasks": ["sr"], "samples": 1, "steps": [1, usual], "methods": ["tpdm"]}
    plan = open_plan("smoke", experiments=listed({"tasks": ["sr"], "methods": ["tpdm"]}, sweep))
    assert {name: one.samples for name, one in plan.wanted.items()} == {"tpdm-sr-seed0": 0, "tpdm-sr-seed0-steps1": 1}


def test_experiments_of_ones_own_have_a_place_and_only_the_pages_that_they_fill(home, listed):
    plan = open_plan("smoke", experiments=listed({"tasks": ["sr"], "methods": ["tpdm", "ours-tpdm"]}))
    assert plan.out.name == "smoke-experiments" and plan.experiment().runs == open_plan("smoke").experiment().runs
    pages = pages_of(plan)
    assert {"table_1_methods", "table_7_networks", "figure_1_method"} < set(pages)
    assert not {"table_3_multimodality", "table_6_second_data", "figure_4_second_data"} & set(pages)
    assert not {"table_4_ablations", "figure_s2_steps"} & set(pages)  # which would repeat what others show
    assert set(pages_of(open_plan("smoke"))) == set(PAGES)


def test_a_new_seed_trains_new_methods_but_no_new_judge(home, listed):
    plan = open_plan("smoke", experiments=listed({"tasks": ["sr"], "seeds": [0, 1], "methods": ["tpdm"]}))
    names = [name.split("/")[1].rsplit("-", 1)[0] for name in plan.trainings]
    assert sorted(names) == ["expert-sr-axial"] * 2 + ["expert-sr-sagittal"] * 2 + [
        "segmentation-seg1-segmenter",
        "segmentation-seg4-segmenter",
    ]


def test_without_distances_between_sets_no_network_is_trained_for_them(home, listed):
    plan = open_plan("smoke", experiments=listed({"tasks": ["sr"], "methods": ["degraded"]}, sets=0))
    assert [run.task for run in plan.trainings.values()] == ["seg4"]


def test_steps_and_the_second_set_train_nothing_more(home, listed):
    block = {"tasks": ["sr"], "methods": ["tpdm"]}
    plain = open_plan("smoke", experiments=listed(block))
    extra = listed(
        block,
        block | {"steps": [2, 3]},
        block | {"samplers": ["ddim", "dpm++"]},
        block | {"second": True, "samples": 1},
    )
    more = open_plan("smoke", experiments=extra)
    names = {"tpdm-sr-seed0", "tpdm-sr-seed0-steps2", "tpdm-sr-seed0-steps3", "tpdm-sr-seed0-second"}
    names.add("tpdm-sr-seed0-dpm++")  # ddim is the preset's
    assert set(more.wanted) == names and set(more.trainings) == set(plain.trainings)
    assert more.experiment_of(Evaluation("tpdm", "sr", steps=3)).preset.steps == 3
    assert more.experiment_of(more.wanted["tpdm-sr-seed0-dpm++"]).preset.sampler == "dpm++"
    with pytest.raises(ConfigError, match="unknown sampler 'euler'"):
        open_plan("smoke", experiments=listed(block | {"samplers": ["euler"]}))
    assert more.experiment(second=True).translated.fingerprint != more.experiment().data.fingerprint


def test_data_of_ones_own_have_no_second_set_unless_given(home, listed):
    plan = open_plan("smoke")
    root = plan.experiment().data.root
    own = open_plan("smoke", data=str(home / root))
    assert not any(one.second for one in own.wanted.values()) and any(one.second for one in plan.wanted.values())


@pytest.mark.parametrize(
    "settings, message",
    [
        ("colour=red", "unknown setting 'colour'"),
        ("data=my scans", "name=value, with quotes around spaces"),
        ("samples=many", "samples must be a whole number"),
        ("samples=0", "samples must be at least 1"),
        ("evaluations=3", "unknown setting 'evaluations'"),
        ("segmenter=nowhere.pt", "nowhere.pt: no such file"),
        ("experiments=nowhere.yaml", "nowhere.yaml: no such file"),
    ],
)
def test_settings_that_cannot_be_used_are_named(home, settings, message):
    with pytest.raises(ConfigError, match=message):
        open_plan("smoke", settings)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "no plan for preset 'smoke', only for none"),
        ("gpu: {}", "no plan for preset 'smoke', only for gpu"),
        ("smoke: [", "not valid YAML"),
        ("smoke: {jobs: [expert]}", "jobs must be a mapping"),
        ("smoke: {evaluations: [tpdm]}", "an evaluation must be a mapping"),
        ("smoke: {jobs: {expert: 0.3}}", r"jobs: expert must be \[minutes, GiB\], not 0.3"),
        ("smoke: {samples: many}", "samples must be a whole number, not 'many'"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(home, tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        open_plan("smoke", experiments=str(tmp_path / "mine.yaml"))
    assert "mine.yaml" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "block, message",
    [
        ({"tasks": ["sr"], "methods": ["magic"]}, "unknown method 'magic'"),
        ({"tasks": ["sr"], "methods": ["multi-ours"]}, "does tasks with a measurement and a contrast, as both"),
        ({"tasks": ["sr"], "methods": ["tpdm"], "seed": 1}, "unknown key seed"),
        ({"methods": ["tpdm"]}, "methods, tasks, seeds, steps and samplers must be lists"),
        ({"tasks": ["sr"], "methods": ["tpdm"], "seeds": 1}, "methods, tasks, seeds, steps and samplers must be lists"),
        ({"tasks": ["sr"], "methods": ["tpdm"], "seeds": ["one"]}, "seeds must be a whole number, not 'one'"),
        ({"tasks": ["sr"], "methods": ["tpdm"], "steps": [-3]}, "steps must be a whole number, not -3"),
        ({"tasks": ["sr"], "methods": ["tpdm"], "samples": "many"}, "samples must be a whole number, not 'many'"),
        ({"tasks": ["sr"], "methods": ["tpdm"], "second": "yess"}, "second must be true or false"),
        ({"tasks": ["tr"], "methods": ["truth"]}, "unknown task 'tr'"),
    ],
)
def test_evaluations_that_cannot_be_are_named(home, listed, block, message):
    with pytest.raises(ConfigError, match=message):
        open_plan("smoke", experiments=listed(block))


def test_a_partial_plan_is_of_what_is_finished(home, listed):
    file = listed({"tasks": ["sr"], "methods": ["degraded", "tpdm"]})
    folder = open_plan("smoke", experiments=file).evaluations_folder / "degraded-sr-seed0"
    folder.mkdir(parents=True)
    (folder / "cost.json").write_text("{}")
    plan = open_plan("smoke", experiments=file, partial=1)
    assert set(plan.wanted) == {"degraded-sr-seed0"}
    assert not [name for name in plan.trainings if "expert" in name]


def test_an_empty_list_is_a_plan_of_nothing(home, tmp_path):
    (tmp_path / "mine.yaml").write_text("smoke: {jobs: , evaluations: }")
    assert not open_plan("smoke", experiments=str(tmp_path / "mine.yaml")).wanted


@pytest.mark.parametrize(
    "stem, heading",
    [
        ("table_1_sr", "Table 1, sr: super-resolution"),
        ("table_s1_psnr_brain", "Table S1, psnr, brain"),
        ("figure_8_13_sr_0", "Figure 8 to 13, sr: super-resolution, subject 1"),
        ("table_9", "Table 9"),
        ("table_1_t1-to-t2", "Table 1, t1 to t2"),
        ("table_s1_psnr", "Table S1, psnr"),
    ],
)
def test_a_file_has_a_heading_of_its_own(stem, heading):
    assert _heading(stem) == heading


def test_the_report_shows_what_pages_have_left_and_escapes_what_they_say(home, listed):
    plan = open_plan("smoke", experiments=listed({"tasks": ["sr"], "methods": ["tpdm"]}))
    folder = plan.folder("table_1_methods")
    folder.mkdir(parents=True)
    text = nbformat.v4.new_markdown_cell("# Title\nMeans & `sr`.\n\nMore.")
    nbformat.write(nbformat.v4.new_notebook(cells=[text]), folder.with_suffix(".ipynb"))
    (folder / "table_1_sr.md").write_text("| method | p |\n| --- | --- |\n| tpdm | <0.001 |\n")
    Image.new("L", (40, 20)).save(folder / "figure_3_sr.png")
    write_report(plan, plan.out / "index.html")
    html = (plan.out / "index.html").read_text()
    assert html.count("<h2") == 2 and "<p>Means &amp; <code>sr</code>.</p>" in html
    assert "<h4>Table 1, sr: super-resolution</h4>" in html and "<tr><td>tpdm</td><td>&lt;0.001</td></tr>" in html
    assert 'src="pages/table_1_methods/figure_3_sr.png" alt="figure_3_sr" width="20"' in html
    assert 'href="pages/table_1_methods/table_1_sr.csv"' in html and "<tr><td>tpdm-sr-seed0</td><td></td></tr>" in html


def test_a_sweep_and_other_seeds_do_not_mix_into_other_tables(home, listed):
    every = {"tasks": ["sr"], "methods": ["tpdm"], "seeds": [0, 1], "steps": [0, 1]}
    plan = open_plan("smoke", experiments=listed(every, every | {"second": True}))
    read = {
        name: [one.name for one in plan.needed(PAGES[name].needs)]
        for name in ("table_6_second_data", "figure_s2_steps")
    }
    assert read["table_6_second_data"] == ["tpdm-sr-seed0-second"]
    assert read["figure_s2_steps"] == ["tpdm-sr-seed0", "tpdm-sr-seed0-steps1"]


def test_configs_are_written_anew_where_data_were_moved_but_not_of_what_is_trained(home, tmp_path, listed):
    file = listed({"tasks": ["sr"], "methods": ["palette-axial", "unet-3d"]}, segmenter="none", second_phantoms=0)
    places = [tmp_path / "a", tmp_path / "b"]
    prepare_phantoms(places[0], subjects=(1, 0, 1), spacing=4.0, only=())
    plan = open_plan("smoke", data=str(places[0]), experiments=file)
    plan.write_configs()
    done, todo = (plan.experiment().runs / run for run in plan.trainings)
    (done / "model.safetensors").touch()
    places[0].rename(places[1])
    open_plan("smoke", data=str(places[1]), experiments=file).write_configs()
    roots = [json.loads((run / "config.json").read_text())["data"]["root"] for run in (done, todo)]
    assert [root[-1] for root in roots] == ["a", "b"]


def test_without_a_judge_there_is_no_truth_to_evaluate(home, listed):
    block = {"tasks": ["sr"], "methods": ["truth", "degraded"]}
    assert set(open_plan("smoke", experiments=listed(block)).wanted) == {"truth-sr-seed0", "degraded-sr-seed0"}
    plan = open_plan("smoke", experiments=listed(block), segmenter="none")
    assert set(plan.wanted) == {"degraded-sr-seed0"} and not plan.trainings


def test_sampling_does_not_wait_for_judges(home, listed):
    plan = open_plan("smoke", experiments=listed({"tasks": ["sr"], "methods": ["palette-axial"]}))
    (one,) = plan.wanted.values()
    assert [run.stage for run in plan.runs_of(one)] == ["expert"]
    assert [run.task for run in plan.judges_of(one)] == ["seg4", "seg1"]


def test_paths_with_spaces_are_settings_too(home, listed):
    plan = open_plan("smoke", f"'second=/my data' samples=3 experiments={listed()}")
    assert (plan.second, plan.samples) == ("/my data", 3)


def test_experts_of_a_fusion_are_trainings_of_their_own(home, listed):
    plan = open_plan("smoke", experiments=listed({"tasks": ["both"], "methods": ["multi-ours"]}, segmenter="none"))
    stages = sorted(run.stage for run in plan.trainings.values())
    assert stages == ["expert"] * 4 + ["fusion"]
    fusion = next(run for run in plan.trainings.values() if run.stage == "fusion")
    assert len(plan.weights(fusion.experts)) == 4 and len(list(with_experts([fusion]))) == 5


def metrics_of(values: dict[str, list[float]], metric="psnr", task="sr", **more) -> pd.DataFrame:
    """One sample of each subject."""
    rows = [(m, task, f"s{i}", "0", metric, v) for m, line in values.items() for i, v in enumerate(line)]
    table = pd.DataFrame(rows, columns=["method", "task", "subject", "sample", "metric", "value"])
    return table.assign(**{"seed": 0, "steps": 0, "sampler": ""} | more)


def test_table_of_means_has_intervals_and_the_papers_number():
    metrics = metrics_of({"ours-tpdm": [30.0, 31.0, 32.0, 33.0], "tpdm": [29.0, 30.0, 31.0, 32.0]})
    numbers, shown = measured(metrics, "sr", IMAGE, paper=1)
    assert list(numbers.index) == ["tpdm", "ours-tpdm"]  # the order of the registry
    assert numbers.loc["ours-tpdm", "PSNR, dB"] == 31.5 and numbers.loc["ours-tpdm", "PSNR, dB, paper"] == 33.24
    low, high = numbers.loc["tpdm", ["PSNR, dB low", "PSNR, dB high"]]
    assert 29 < low < 30.5 < high < 32
    assert shown.loc["tpdm", "PSNR, dB ↑"] == f"30.50 [{low:.2f}, {high:.2f}]" and "SSIM ↑" not in shown


def test_two_subjects_have_no_interval_and_no_made_up_one():
    numbers, shown = measured(metrics_of({"tpdm": [29.0, 31.0]}), "sr", IMAGE)
    assert np.isnan(numbers.loc["tpdm", "PSNR, dB low"]) and shown.loc["tpdm", "PSNR, dB ↑"] == "30.00"


def test_seeds_are_averaged_within_subjects():
    metrics = pd.concat([metrics_of({"tpdm": [20.0, 30.0]}), metrics_of({"tpdm": [24.0, 30.0]}, seed=1)])
    assert measured(metrics, "sr", IMAGE)[0].loc["tpdm", "PSNR, dB"] == 26.0


def test_metrics_over_all_samples_are_told_from_those_of_single_ones():
    rows = pd.concat(
        [metrics_of({"ours-tpdm": [1e-3, 3e-3]}, "mace").assign(sample="all"), metrics_of({"ours-tpdm": [20.0] * 2})]
    )
    numbers, _ = measured(rows, "sr", (*IMAGE, *UNCERTAINTY), paper=5)
    assert numbers.loc["ours-tpdm", "MACE, 1e-4 of the window"] == pytest.approx(20.0)
    assert numbers.loc["ours-tpdm", "MACE, 1e-4 of the window, paper"] == 44.63


def test_the_papers_baselines_stand_beside_those_that_are_not_projected():
    names = ["tpdm", "tpdm+no-projection", "palette-axial", "palette-axial+no-projection", "ours-tpdm"]
    theirs = measured(metrics_of(dict.fromkeys(names, [30.0, 31.0])), "sr", IMAGE, paper=1)[0]["PSNR, dB, paper"]
    assert theirs[["tpdm", "palette-axial"]].isna().all() and theirs["ours-tpdm"] == 33.24
    assert theirs["tpdm+no-projection"] == 32.23 and theirs["palette-axial+no-projection"] == 29.26
    unmeasured = metrics_of({"tpdm": [25.0, 26.0]}, task="mt")  # where nothing is ever projected
    assert measured(unmeasured, "mt", IMAGE, paper=1)[0].loc["tpdm", "PSNR, dB, paper"] == 25.35
    shares = dice(truth=[0.9, 0.8], degraded=[0.5, 0.6], tpdm=[0.7, 0.7], **{"tpdm+no-projection": [0.7, 0.7]})
    recovered = segmentation(shares, "sr", paper=2)[0]["Recovery WT, %, paper"]
    assert np.isnan(recovered["tpdm"]) and recovered["tpdm+no-projection"] == 40.46


def test_the_papers_similarity_stands_beside_the_one_with_its_window():
    rows = pd.concat([metrics_of({"ours-tpdm": [0.9, 0.8]}, name) for name in ("ssim", "ssim_paper")])
    numbers, _ = measured(rows, "sr", (*IMAGE, SSIM_PAPER), paper=1)
    assert [name for name in numbers if name.endswith(", paper")] == ["SSIM, uniform window, paper"]


def test_baselines_without_projection_are_in_the_tables_that_the_paper_has(home):
    plan = open_plan("gpu")
    for name in ("table_1_methods", "table_2_segmentation", "table_3_multimodality", "table_5_uncertainty"):
        shown = {one.method for one in plan.needed(PAGES[name].needs)}
        assert {"tpdm", "tpdm+no-projection", "ours-tpdm"} <= shown and "ours-tpdm+no-projection" not in shown
    shown = {one.method for one in plan.needed(PAGES["table_4_ablations"].needs)}
    assert {"ours-tpdm+no-projection", "tpdm+no-projection"} <= shown and "palette-axial+no-projection" not in shown


def dice(**values):
    return pd.concat(metrics_of(values, f"dice_{region}") for region in ("tc", "wt", "et"))


def test_recovery_is_the_share_of_what_was_lost():
    metrics = dice(truth=[0.9, 0.8, 0.85], degraded=[0.5, 0.6, 0.55], tpdm=[0.7, 0.7, 0.7])
    numbers, shown = segmentation(metrics, "sr", paper=2)
    assert numbers.loc["tpdm", "Recovery WT, %"] == pytest.approx(50.0)
    assert shown.loc["truth", "Recovery WT, % ↑"] == ""
    panels, bounds = region_panels(numbers, "dice")
    assert list(panels["Dice WT, %"].index) == ["tpdm"] and bounds["Dice WT, %"] == pytest.approx([55.0, 85.0])


def test_no_recovery_without_a_degraded_flair():
    numbers, _ = segmentation(dice(truth=[0.9, 0.8], tpdm=[0.7, 0.7]).assign(task="mt"), "mt")
    assert not any("Recovery" in column for column in numbers)


def test_a_lead_in_recovery_is_paired_and_the_difference_of_both():
    scores = {"truth": [0.95, 0.8, 0.6, 0.9], "degraded": [0.7, 0.65, 0.5, 0.6], "tpdm": [0.8, 0.7, 0.55, 0.7]}
    metrics = dice(**scores, **{"ours-tpdm": [value + 0.02 for value in scores["tpdm"]]})
    numbers, shown = recovery_leads(metrics, {"ours-tpdm": "tpdm", "ours-tosm": "tosm"}, "sr")
    line = numbers.loc[("ours-tpdm", "tpdm", "WT")]
    assert len(numbers) == 3 and line["subjects"] == 4
    assert line["lead"] == pytest.approx(line["Recovery"] - line["of the rival"]) == pytest.approx(100 * 0.02 / 0.2)
    # ahead by the same on each subject: only the loss varies, and far less than Recovery itself does
    assert 100 * 0.02 / 0.3 <= line["low"] < line["lead"] < line["high"] <= 100 * 0.02 / 0.1
    assert shown.loc[("ours-tpdm", "tpdm", "WT"), "lead, points"] == f"10.0 [{line['low']:.1f}, {line['high']:.1f}]"
    assert recovery_leads(metrics, {"ours-tpdm": "tosm"}, "sr")[0].empty


def test_leads_are_of_pairs_by_task_and_seed():
    lead = {"ours-tpdm": [20.1, 25.2, 30.1], "tpdm": [20.0, 25.0, 30.0]}
    metrics = pd.concat([metrics_of(lead), metrics_of(lead, seed=1), metrics_of({"ours-tosm": [1.0, 2.0]})])
    numbers, shown = leads(metrics, {"ours-tpdm": "tpdm", "ours-tosm": "tosm"}, IMAGE)["psnr"]
    assert list(numbers.index) == [("sr", "ours-tpdm", "tpdm", seed) for seed in (0, 1)]
    assert shown["PSNR, dB ↑"].tolist() == ["25.13"] * 2 and shown["of the rival"].tolist() == ["25.00"] * 2
    assert (
        numbers["difference"].tolist() == pytest.approx([2 / 15] * 2) and shown["ahead on"].tolist() == ["3 of 3"] * 2
    )


def test_a_metric_without_a_unit_is_shown_in_per_cent_of_the_largest():
    metrics = metrics_of({"degraded": [4e-11], "tpdm": [1e-11]}, "frechet_segmenter")
    numbers, shown = measured(metrics.assign(subject="all"), "sr", [c for c in SETS if c.metric == "frechet_segmenter"])
    assert numbers["Frechet distance on segmenter, % of largest"].tolist() == pytest.approx([100, 25])
    assert shown.iloc[:, 0].tolist() == ["100", "25"]


def test_nothing_to_compare_is_no_table():
    assert leads(metrics_of({"tpdm": [1.0, 2.0]}), {"ours-tpdm": "tpdm"}, IMAGE) == {}


def test_steps_have_the_presets_number_where_none_is_named():
    swept = [metrics_of({"tpdm": [20.0 + n]}, name, steps=n) for n in (0, 1, 8) for name in ("psnr", "ssim")]
    other = [
        metrics_of({"tpdm": [30.0 + n]}, name, steps=n, sampler="dpm++") for n in (0, 8) for name in ("psnr", "ssim")
    ]
    panels = panels_of_steps(pd.concat([*swept, *other, metrics_of({"tosm": [1.0]})], ignore_index=True), "sr", 4)
    psnr = panels["PSNR, dB ↑"]
    assert psnr.index.tolist() == [1, 4, 8] and psnr["tpdm"].tolist() == [21.0, 20.0, 28.0]
    assert set(psnr) == {"tpdm", "tpdm, dpm++"} and psnr["tpdm, dpm++"].dropna().tolist() == [30.0, 38.0]


def test_costs_stand_beside_the_papers():
    index = pd.MultiIndex.from_tuples([("ours-tpdm", "sr"), ("degraded", "sr")], names=["method", "task"])
    found = pd.DataFrame({"core_seconds": [600.0, np.nan], "parameters": [2e6, np.nan]}, index=index)
    numbers, shown = cost_table(found, "sr")
    assert shown.loc["ours-tpdm", "training, core min"] == "10.0" and shown.loc["degraded", "parameters, M"] == ""
    assert numbers.loc["ours-tpdm", "training, GPU days, paper"] == 32


def test_quality_and_cost_stand_in_one_row():
    index = pd.MultiIndex.from_tuples([("tpdm", "sr"), ("degraded", "sr")], names=["method", "task"])
    found = pd.DataFrame({"core_seconds": [600.0, np.nan], "core_sampling": [4.04, 0.0]}, index=index)
    metrics = pd.concat([metrics_of({"tpdm": [20.0, 22.0], "degraded": [18.0, 19.0]}, c.metric) for c in IMAGE])
    _, shown = overview(metrics, found, "sr")
    assert list(shown.index) == ["degraded", "tpdm"] and shown.loc["tpdm", "PSNR, dB ↑"] == "21.00"
    assert shown.loc["tpdm", "training, core min"] == "10" and shown.loc["tpdm", "a sample, core s"] == "4.0"
    assert shown.loc["degraded", "training, core min"] == ""


def test_published_tables_are_whole():
    assert len(published(1, "sr")) == 14 and len(published(1, "mt")) == 13  # "not working": no numbers
    assert published(2, "both").loc["ours-tosm", "recovery_wt"] == 49.69
    scores = published(2, "sr")
    share = 100 * (scores["dice_tc"] - 82.30) / (82.71 - 82.30)
    assert share["tpdm"] == pytest.approx(scores.loc["tpdm", "recovery_tc"], abs=1)


def test_networks_are_those_of_the_papers_tables():
    table = hyperparameters(["paper"])
    assert table.loc["batch size"].tolist() == ["4", "1, then 1", "1, then 1"]
    assert table.loc["channels"].tolist() == ["64, 128, 256, 512", "64, 128, 192, 256", "32, 64, 64, 128"]
    assert table.loc["inference steps (DDIM)", "paper, 2D"] == "50"
    blocks = layers("paper", "3D small")
    assert blocks.iloc[0].tolist()[:3] == ["Conv3d", 8, 32] and blocks["out"].iloc[-1] == 2  # w and r
    ours = layers("smoke", "3D small")  # reads the projected estimate too
    assert ours.iloc[0].tolist()[:3] == ["Conv3d", 10, 4] and ours["out"].iloc[-1] == 3


@pytest.mark.parametrize("network", ["2D", "3D", "3D small"])
def test_a_block_takes_what_the_one_before_it_gives(network):
    """In the encoder; in the decoder what comes over the bridge is added."""
    table = layers("demo", network)
    down = table[table.index.str.match("input|encoder|down|middle")]
    assert down["in"].iloc[1:].tolist() == down["out"].iloc[:-1].tolist()
    up = table[table.index.str.match("decoder|up|output")]
    assert (up["in"].iloc[1:].to_numpy() >= up["out"].iloc[:-1].to_numpy()).all()


def test_tables_are_written_in_three_formats(tmp_path):
    shown = pd.DataFrame({"SSIM_brain": ["0.9 [0.8, 1.0]"], "share": ["5 %"]}, index=pd.Index(["ours"], name="method"))
    write_table(shown, shown, tmp_path / "new" / "table")
    assert markdown(shown).splitlines()[2] == "| ours | 0.9 [0.8, 1.0] | 5 % |"
    assert r"SSIM\_brain" in latex(shown) and r"5 \%" in latex(shown) and r"\toprule" in latex(shown)
    assert pd.read_csv(tmp_path / "new" / "table.csv", index_col=0).loc["ours", "share"] == "5 %"


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """A notebook of one cell with a parameter, in a folder of its own."""
    monkeypatch.setattr(execute, "NOTEBOOKS", tmp_path)

    def write(code):
        cells = [
            nbformat.v4.new_code_cell("x: int = 1", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(code),
        ]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "one.ipynb")

    return write


def test_a_step_leaves_its_executed_notebook_and_its_log(tmp_path, notebook, home):
    notebook("print('x is', x + 1)")
    log, out = tmp_path / "logs" / "one.log", tmp_path / "out" / "one.ipynb"
    assert execute.main(["--home", str(home / "new"), "one", str(out), "--log", str(log), "-p", "x", "41"]) == 0
    assert "x is 42" in log.read_text() and "x is 42" in json.dumps(nbformat.read(out, 4))
    assert not out.with_suffix(".failed.ipynb").exists()


def test_a_failing_step_says_what_to_do_and_leaves_no_result(tmp_path, notebook, home, capsys):
    notebook("raise ValueError('loss is NaN at step 7')")
    log, out = tmp_path / "one.log", tmp_path / "one-executed.ipynb"
    assert execute.main(["--home", str(home), "one", str(out), "--log", str(log), "-p", "x", "3"]) == 1
    said = capsys.readouterr().err
    for part in ("step       one", "ValueError: loss is NaN at step 7", "x=3", str(log), ".failed.ipynb", "again"):
        assert part in said
    assert not out.exists() and out.with_suffix(".failed.ipynb").exists()


def test_a_killed_kernel_is_a_failure_too(tmp_path, notebook, home, capsys):
    notebook("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert execute.main(["--home", str(home), "one", str(tmp_path / "a.ipynb"), "--log", str(tmp_path / "a.log")]) == 1
    assert "FAILED" in capsys.readouterr().err
