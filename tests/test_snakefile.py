"""The graph on the smallest plan: killed at random points it ends as if undisturbed, and then has nothing to do."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import pytest
import yaml
from forks import snakemake

from figures.contents import pages_of
from figures.plan import Evaluation, open_plan

ROOT = Path(__file__).parents[1]
PLAN = {
    "subjects": 1,
    "samples": 2,
    "segmenter": "none",
    "second_phantoms": 1,
    "jobs": dict.fromkeys(["prepare", "expert", "sample", "evaluate", "page"], [1, 1]),
    "evaluations": [
        {"tasks": ["sr"], "methods": ["degraded", "palette-axial"]},
        {"tasks": ["sr"], "methods": ["degraded"], "samples": 1, "second": True},
    ],
}
RESULTS = [f"evaluations/palette-axial-sr-seed0/{name}.csv" for name in ("metrics", "samples")]
RESULTS += [f"pages/table_1_methods/table_1_sr.{suffix}" for suffix in ("csv", "md", "tex")]
TABLES = ("table_1_methods", "table_6_second_data")
OF_METHODS = {f"page table_{name}" for name in ("1_methods", "2_segmentation", "8_cost", "s2_overview")}
OF_METHODS |= {f"page figure_{name}" for name in ("3_comparison", "5_7_recovery", "s4_training")}
OF_SECOND = {"page table_6_second_data", "page figure_4_second_data"}


def order(
    home: Path, *options: str, name="experiments", pages=TABLES, checkout=ROOT, **settings
) -> tuple[list[str], dict[str, str]]:
    """Options and environment of Snakemake for the plan, as far as some pages or, without any, the whole of it."""
    file = home / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"smoke": PLAN | settings}))
    targets = [home / "figures" / "out" / f"smoke-{name}" / "pages" / f"{page}.ipynb" for page in pages]
    words = ["-s", checkout / "figures" / "Snakefile", "--cores", "2", *options]
    words += ["--directory", home, "--config", "preset=smoke", f"experiments={file}", "--", *targets]
    environment = {k: v for k, v in os.environ.items() if k != "DIFFENS_RUNS"} | {"DIFFENS_HOME": str(home)}
    environment["PYTHONPATH"] = os.pathsep.join([str(checkout), *filter(None, [os.environ.get("PYTHONPATH")])])
    return list(map(str, words)), environment


def start(home: Path, *options: str, python=sys.executable, **settings) -> subprocess.Popen:
    """Snakemake by the command line, in a process group of its own."""
    words, environment = order(home, *options, **settings)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [str(python), "-m", "snakemake", *words]
    return subprocess.Popen(command, env=environment, start_new_session=True, **pipes)


def finish(process: subprocess.Popen) -> str:
    """What it said up to its end."""
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said[-3000:]
    return said


def run(home: Path, *options: str, **settings) -> str:
    """The same in a forked process, to the end; what it said."""
    status, said = snakemake(*order(home, *options, **settings))
    assert status == 0, said[-3000:]
    return said


def jobs(said: str) -> dict[str, int]:
    """How many jobs of each kind a dry run plans."""
    pairs = [line.split() for line in said.splitlines() if len(line.split()) == 2]
    return {name: int(count) for name, count in pairs if count.isdigit() and ":" not in name}


def planned(said: str) -> set[str]:
    """Which jobs a dry run of the whole plan names, `all` aside: the rule, and of what."""
    whole = re.findall(r"^rule (\w+):\n(?:    .*\n)*?(?:    wildcards: \w+=(.*)\n|(?=\[|Job))", said, flags=re.M)
    names = {f"{rule} {of}".strip() for rule, of in whole} - {"all"}
    return {re.sub(r"^train smoke/(.*)-\w{8}$", r"train \1", name) for name in names}


def results(home: Path) -> dict[str, bytes]:
    return {name: (home / "figures" / "out" / "smoke-experiments" / name).read_bytes() for name in RESULTS}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    home = tmp_path_factory.mktemp("undisturbed")
    run(home)
    return home


def test_a_plan_makes_nothing(tmp_path):
    said = run(tmp_path, "--dry-run")
    assert jobs(said)["train"] > 0
    assert set(re.findall(r" mem_mb=(\d+)", said)) == {"2560"}  # 1 GiB and what holds it
    assert set(re.findall(r" runtime=(\d+)", said)) == {"9"}  # four times a minute, and until it has started
    assert not [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and ".snakemake" not in path.parts and path.suffix != ".yaml"
    ]


@pytest.mark.parametrize("options", [["-n"], ["-np", "--quiet"], []], ids=["n", "np", "run"])
def test_memory_of_a_gpu_is_computed_for_a_plan_alone(tmp_path, options):
    """The run itself is asked for what does not exist, so that it ends after what it says first."""
    plan = PLAN | {"evaluations": [{"tasks": ["sr"], "methods": ["degraded"]}]}
    file = tmp_path / "one.yaml"
    file.write_text(yaml.safe_dump({"gpu": plan}))
    words = ["-s", ROOT / "figures" / "Snakefile", "--cores", "1", *options, "--directory", tmp_path]
    words += ["--config", "preset=gpu", f"experiments={file}", "--", *([] if options else ["no-such-file"])]
    _, said = snakemake(list(map(str, words)), os.environ | {"DIFFENS_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)})
    assert "of a fusion's memory" in said and ("of a GPU's memory" in said) == bool(options)


def test_with_other_shipped_weights_an_evaluation_is_made_anew(tmp_path):
    """Of networks that come with the package there is no training whose file would be newer."""
    lines = [{"tasks": ["sr"], "methods": ["degraded", "palette-axial"]}]
    costs = dict.fromkeys(["prepare", "sample", "evaluate", "page"], [1, 1])
    plan = {"segmenter": "none", "jobs": costs, "evaluations": lines}
    (tmp_path / "demo.yaml").write_text(yaml.safe_dump({"demo": plan}))
    folder = tmp_path / "figures/out/demo-demo/evaluations"
    made = [folder / f"{method}-sr-seed0" for method in ("degraded", "palette-axial")]
    for one, name in product(made, ("samples.csv", "metrics.csv", "cost.json")):
        one.mkdir(parents=True, exist_ok=True)
        (one / name).touch()

    def said(*options: str) -> str:
        words = ["-s", str(ROOT / "figures" / "Snakefile"), "--cores", "1", "--directory", str(tmp_path), *options]
        words += ["--config", "preset=demo", f"experiments={tmp_path / 'demo.yaml'}", "--"]
        words += [str(one / "metrics.csv") for one in made]
        status, said = snakemake(words, os.environ | {"DIFFENS_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)})
        assert status == 0, said[-3000:]
        return said

    said("--touch", "--forceall")
    assert "Nothing to be done" in said("--dry-run")
    (run,) = open_plan("demo", experiments=str(tmp_path / "demo.yaml")).runs_of(Evaluation("palette-axial", "sr"))
    remembered = [path for path in (tmp_path / ".snakemake/metadata").rglob("*") if path.is_file()]
    changed = [path for path in remembered if run.identity in path.read_text()]
    for path in changed:
        path.write_text(path.read_text().replace(run.identity, "0" * 8))
    assert jobs(said("--dry-run")) == {"sample": 1, "evaluate": 1, "total": 2}


def test_a_second_call_has_nothing_to_do(undisturbed):
    assert "Nothing to be done" in run(undisturbed, "--dry-run")


def test_a_changed_setting_repeats_only_what_depends_on_it(undisturbed):
    """One sample fewer: nothing is trained or prepared again."""
    said = run(undisturbed, "--dry-run", samples=1)
    assert jobs(said) == {"sample": 2, "evaluate": 2, "page": 1, "total": 5}


def test_the_folder_of_runs_by_its_name_is_no_other(undisturbed):
    assert "Nothing to be done" in run(undisturbed, "--dry-run", runs=str(undisturbed / "runs"))


def test_another_list_trains_and_prepares_nothing_again(undisturbed):
    said = run(undisturbed, "--dry-run", name="others")
    assert jobs(said) == {"sample": 3, "evaluate": 3, "page": 2, "total": 8}


def test_more_phantoms_of_the_second_set_are_made_before_they_are_translated(undisturbed):
    said = run(undisturbed, "--dry-run", second_phantoms=2)
    assert jobs(said) == {"prepare_second": 1, "sample": 1, "evaluate": 1, "page": 1, "total": 4}


def test_a_training_is_kept_where_what_was_said_of_the_data_is_lost(undisturbed, tmp_path):
    """As in a folder of runs that other commands filled: the data are looked at again for what is new, nothing else."""
    (looked,) = undisturbed.glob("runs/smoke/prepared-first-*/prepare.ipynb")
    kept = looked.rename(tmp_path / looked.name)
    try:
        assert "Nothing to be done" in run(undisturbed, "--dry-run")
        others = jobs(run(undisturbed, "--dry-run", name="others"))
    finally:
        kept.rename(looked)
    assert others == {"prepare_first": 1, "sample": 3, "evaluate": 3, "page": 2, "total": 9}


@pytest.fixture(scope="module")
def finished(undisturbed):
    """The whole graph done, up to the report. Of pages that were not asked for yet, their notebooks as they are."""
    out, plan = (
        undisturbed / "figures/out/smoke-experiments",
        open_plan("smoke", experiments=str(undisturbed / "experiments.yaml")),
    )
    others = [page for page in pages_of(plan) if page not in TABLES]
    for page in others:
        shutil.copy(ROOT / "figures" / "pages" / f"{page}.ipynb", out / "pages")
        (out / "pages" / page).mkdir()
    run(undisturbed, "--touch", "--forcerun", "page", pages=others)
    run(undisturbed, pages=())
    assert "Nothing to be done" in run(undisturbed, "--dry-run", pages=())
    return undisturbed


AXIAL = {"tasks": ["sr"], "methods": ["palette-axial"]}


@pytest.mark.parametrize(
    "more, jobs",
    [
        (AXIAL | {"steps": [1]}, {"sample palette-axial-sr-seed0-steps1", "page figure_s2_steps"}),
        (AXIAL | {"seeds": [1]}, {"train expert-sr-axial", "sample palette-axial-sr-seed1"}),
        (AXIAL | {"methods": ["cubic"]}, {"sample cubic-sr-seed0", *OF_METHODS}),
        (AXIAL | {"tasks": ["mt"]}, {"train expert-mt-axial", "sample palette-axial-mt-seed0", *OF_METHODS}),
        (AXIAL | {"second": True}, {"sample palette-axial-sr-seed0-second", *OF_SECOND}),
        (AXIAL | {"samples": 3}, {"sample palette-axial-sr-seed0", *OF_METHODS}),
    ],
    ids=["steps", "seeds", "methods", "tasks", "second", "samples"],
)
def test_a_line_more_is_computed_and_nothing_else(finished, more, jobs):
    """Also where no page that is there already reads it. The new line comes first, as the first of two counts."""
    said = run(finished, "--dry-run", pages=(), evaluations=[more, *PLAN["evaluations"]])
    (sampled,) = (job for job in jobs if job.startswith("sample "))
    assert planned(said) == {*jobs, sampled.replace("sample", "evaluate", 1), "report"}


def test_a_line_less_is_off_the_report(finished):
    assert planned(run(finished, "--dry-run", pages=(), evaluations=PLAN["evaluations"][:1])) == {"report"}


@pytest.mark.parametrize(
    "names, jobs",
    [
        (["index.html"], set()),
        (["pages/figure_1_method.ipynb"], {"page figure_1_method"}),
        (["pages/figure_1_method", "pages/table_7_networks"], {"page figure_1_method", "page table_7_networks"}),
        (["evaluations/degraded-sr-seed0-second/metrics.csv"], {"evaluate degraded-sr-seed0-second", *OF_SECOND}),
        (["evaluations/degraded-sr-seed0-second/cost.json"], {"evaluate degraded-sr-seed0-second", *OF_SECOND}),
        *(
            (
                [f"evaluations/palette-axial-sr-seed0{file}"],
                {"sample palette-axial-sr-seed0", "evaluate palette-axial-sr-seed0", *OF_METHODS},
            )
            for file in ("", "/samples.csv")
        ),
    ],
    ids=["report", "notebook", "folders", "metrics", "cost", "evaluation", "samples"],
)
def test_what_was_deleted_is_planned_again(finished, tmp_path, names, jobs):
    """A page or its folder, an evaluation or a file of it; with what is made of it, and nothing else."""
    paths = [finished / "figures/out/smoke-experiments" / name for name in names]
    kept = [path.rename(tmp_path / path.name) for path in paths]
    try:
        said = run(finished, "--dry-run", pages=())
    finally:
        for path, there in zip(paths, kept):
            there.rename(path)
    assert planned(said) == {*jobs, "report"}


def test_a_page_whose_folder_was_deleted_is_made_again_and_reported(finished):
    out = finished / "figures/out/smoke-experiments"
    shutil.rmtree(out / "pages/figure_1_method")
    run(finished, pages=())
    assert (out / "pages/figure_1_method/figure_1_method.png").is_file()
    assert 'src="pages/figure_1_method/figure_1_method.png"' in (out / "index.html").read_text()
    assert "Nothing to be done" in run(finished, "--dry-run", pages=())


def test_killed_at_random_points_the_tables_are_the_same_byte_for_byte(undisturbed, tmp_path):
    """A moment after the first phantom, the first checkpoint, the first sample, and the first file of the table."""
    seconds, out = random.Random(0), "figures/out/smoke-experiments"
    written = ["data/phantom-smoke/phantom-000", "runs/smoke/expert-*/last/*.pt"]
    written += ["runs/smoke/samples-sr-palette-axial-*/*.nii.gz", f"{out}/pages/table_1_methods/*.csv"]
    for name in written:
        process = start(tmp_path, pages=TABLES[:1])
        while process.poll() is None and not any(tmp_path.glob(name)):
            time.sleep(0.01)
        time.sleep(seconds.uniform(0, 0.2))
        assert process.poll() is None, f"ended before {name} was there, or soon after"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finish(start(tmp_path, pages=TABLES[:1]))
    assert results(tmp_path) == results(undisturbed)


def test_a_step_that_fails_is_named_and_the_rest_goes_on(undisturbed, tmp_path):
    """Weights that cannot be read: the sample of the expert fails, that of the input as it is does not."""
    for name in ("data", "runs"):
        shutil.copytree(undisturbed / name, tmp_path / name)
    (weights,) = tmp_path.glob("runs/smoke/expert-*/model.safetensors")
    weights.write_bytes(b"not weights")
    status, said = snakemake(*order(tmp_path, pages=TABLES[:1], samples=1))
    assert status and "corrupt weights" in said and "steps/sample" in said and "method=palette-axial" in said
    assert (tmp_path / "figures/out/smoke-experiments/evaluations/degraded-sr-seed0/metrics.csv").exists()


def test_a_checkout_whose_folder_has_a_blank_in_its_name(tmp_path):
    """Its Python, data and results lie there, too. A report of what is finished, nothing, has two pages of the code."""
    checkout = tmp_path / "with blank" / "diffens"
    left_out = shutil.ignore_patterns("out", "weights", "__pycache__")
    for package in ("figures", "diffens_core", "data_prep"):
        shutil.copytree(ROOT / package, checkout / package, ignore=left_out)
    (checkout / ".venv").symlink_to(sys.prefix)
    blank = {"checkout": checkout, "python": checkout / ".venv/bin/python"}
    assert jobs(finish(start(checkout, "--dry-run", **blank)))["train"] == 1
    finish(start(checkout, pages=(), partial=1, **blank))
    out = checkout / "figures/out/smoke-experiments"
    assert (out / "pages/figure_1_method/figure_1_method.png").is_file()
    assert "Figure 1. The method" in (out / "index.html").read_text()
