"""What a reproduction consists of: the evaluations that `experiments.yaml` lists, and the trainings behind them.

The Snakefile makes a graph of it, the notebooks of tables and figures read what came out.
"""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import product
from pathlib import Path

import pandas as pd
import yaml

from diffens_core.data.tasks import translation_named
from diffens_core.diffusion.sampler import sampler_named
from diffens_core.evaluation.evaluate import TRUTH, evaluation_name, read_reports, with_experts
from diffens_core.evaluation.judges import OWN, is_judged, segmentation_task
from diffens_core.evaluation.scores import COLUMNS
from diffens_core.experiment.embedded import Phantoms
from diffens_core.experiment.experiment import Experiment, open_experiment
from diffens_core.experiment.methods import method_named
from diffens_core.experiment.presets import Preset, preset_named
from diffens_core.support.files import write_atomically
from diffens_core.support.settings import ConfigError, quoted, shown, to_dict
from diffens_core.training.config import RunConfig
from diffens_core.training.runs import SHIPPED, find

EXPERIMENTS = Path(__file__).with_name("experiments.yaml")
NONE = "none"  # no segmenter
NOT_YAML = (yaml.YAMLError, ValueError, RecursionError, TypeError, LookupError, AttributeError, OverflowError)
SECOND_SEED = 1  # of the phantoms that stand in for a second data set


@dataclass(frozen=True)
class Evaluation:
    """One method on one task. steps, sampler: of sampling, 0 and empty for the preset's; second: on the second data
    set, all subjects; samples: of each subject, 0 for the plan's.
    """

    method: str
    task: str
    seed: int = 0
    steps: int = 0
    second: bool = False
    samples: int = 0
    sampler: str = ""

    @property
    def name(self) -> str:
        """Its folder below `Plan.evaluations_folder`."""
        name = evaluation_name(self.method, self.task, self.seed, self.steps, sampler=self.sampler)
        return name + ("-second" if self.second else "")


@dataclass(frozen=True)
class Plan:
    """One reproduction. The fields of an experiment are as in `open_experiment`, the others as in `experiments.yaml`.

    second: a second prepared data set, of which `second_split` is translated; empty: `second_phantoms` phantoms of
    another seed where the data are embedded, else none.
    sets: 1 compares sets of volumes on features of a network that is trained for it; 0: too few volumes to be worth it.
    partial: 1 makes tables and figures of those evaluations that are finished, whatever else is listed.
    jobs: minutes and GiB that one job of each kind is expected to take.
    experiments: the file that lists it, in place of experiments.yaml; its name is added to that of the results' folder.
    """

    preset: str
    data: str = ""
    runs: str = ""
    second: str = ""
    split: str = "test"
    subjects: int = 0
    samples: int = 1
    segmenter: str = OWN
    medicalnet: str = ""
    sets: int = 1
    partial: int = 0
    second_split: str = "test"
    second_phantoms: int = 0
    evaluations: tuple[Evaluation, ...] = ()
    jobs: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    experiments: str = ""

    def experiment(self, seed: int = 0, steps: int = 0, second: bool = False, sampler: str = "") -> Experiment:
        """The experiment of some evaluation."""
        other = self.second_data if second else ""
        return open_experiment(self.preset, seed, self.data, self.runs, other, steps, sampler)

    def experiment_of(self, evaluation: Evaluation) -> Experiment:
        """The experiment that an evaluation is part of."""
        return self.experiment(evaluation.seed, evaluation.steps, evaluation.second, evaluation.sampler)

    @property
    def second_data(self) -> str | Phantoms:
        """The second data set, as `open_experiment` wants it: a folder, phantoms, or nothing."""
        if self.second or self.data or not self.second_phantoms:
            return self.second
        name = f"phantom-{self.preset}-second-{self.second_phantoms}"
        return Phantoms(name, (0, 0, self.second_phantoms), preset_named(self.preset).spacing, SECOND_SEED)

    @property
    def second_root(self) -> str:
        """Where the second data set lies; empty without one."""
        return str(self.second_data.root if isinstance(self.second_data, Phantoms) else self.second)

    @property
    def out(self) -> Path:
        """Where its results go."""
        out = self.experiment().out
        return out.with_name(f"{out.name}-{Path(self.experiments).stem}") if self.experiments else out

    def folder(self, page: str) -> Path:
        """Where the tables and figures of a page go."""
        return self.out / "pages" / page

    @property
    def evaluations_folder(self) -> Path:
        """Where evaluations go: not where `diffens evaluate` writes, which may be asked for fewer subjects."""
        return self.out / "evaluations"

    @property
    def wanted(self) -> dict[str, Evaluation]:
        """Its evaluations by name; of a second data set only where there is one, of the truth only with a judge.

        In a `partial` plan those that are finished at this moment.
        """
        judge = self.segmenter != NONE
        possible = (e for e in self.evaluations if e.method != TRUTH or (judge and is_judged(e.task)))
        possible = (e for e in possible if not self.partial or self.is_finished(e))
        return {e.name: e for e in possible if not e.second or self.second_root}

    def named(self, name: str) -> Evaluation:
        """One that is listed, whether or not it is finished."""
        return next(one for one in self.evaluations if one.name == name)

    def samples_of(self, evaluation: Evaluation) -> int:
        """How many samples of each subject it has."""
        return evaluation.samples or self.samples

    def is_finished(self, evaluation: Evaluation) -> bool:
        """Whether it has been made."""
        return (self.evaluations_folder / evaluation.name / "cost.json").is_file()

    def needed(self, needs: Callable[[Evaluation], bool]) -> list[Evaluation]:
        """Some of its evaluations."""
        return [one for one in self.wanted.values() if needs(one)]

    @cached_property
    def trainings(self) -> dict[str, RunConfig]:
        """Every training that is not shipped with the package, by its folder below that of all runs."""
        runs = [run for one in self.wanted.values() for run in (*self.runs_of(one), *self.judges_of(one))]
        return {str(run.folder): run for run in with_experts(runs) if not is_shipped(run)}

    def runs_of(self, evaluation: Evaluation) -> tuple[RunConfig, ...]:
        """The networks of a method."""
        if evaluation.method == TRUTH:
            return ()
        return self.experiment_of(evaluation).runs_of(evaluation.method, evaluation.task)

    def judges_of(self, evaluation: Evaluation) -> tuple[RunConfig, ...]:
        """The networks, trained here, that judge it."""
        if self.segmenter != OWN or not is_judged(evaluation.task):
            return ()
        experiment = self.experiment_of(evaluation)
        tasks = [segmentation_task(experiment), *(["seg1"] if self.sets and evaluation.method != TRUTH else [])]
        return tuple(experiment.segmenter_run(task) for task in tasks)

    def weights(self, runs: Iterable[RunConfig]) -> list[str]:
        """The files of those runs that are not shipped."""
        root = self.experiment().runs
        return [str(root / run.folder / "model.safetensors") for run in runs if not is_shipped(run)]

    def shipped(self, runs: Iterable[RunConfig]) -> list[str]:
        """The identities of those that are, which change with the weights that come with the package."""
        return [run.identity for run in runs if is_shipped(run)]

    def about(self, found: pd.DataFrame) -> str:
        """One line on what a table is of; found: the costs that `read` returns."""
        experiment, data = self.experiment(), self.experiment().data
        shape = "x".join(map(str, data.shape))
        line = f"preset {self.preset}, data {data.name} {data.fingerprint}, {data.spacing:g} mm, {shape} voxels"
        line += f", {experiment.preset.steps} DDIM steps"
        for (where, split), part in found.groupby(["data", "split"]) if len(found) else ():
            counts = [sorted(set(part[name])) for name in ("subjects", "samples", "seed")]
            subjects, samples, seeds = (" or ".join(map(str, count)) for count in counts)
            line += f"; {subjects} subjects of {where} {split}, samples {samples}, seeds {seeds}"
        return line

    def write_configs(self) -> None:
        """Write the `config.json` that each training not finished yet starts from: data may lie elsewhere now."""
        runs = self.experiment().runs
        for run in self.trainings.values():
            if find(run, runs) is None:
                (runs / run.folder).mkdir(parents=True, exist_ok=True)
                write_atomically(runs / run.folder / "config.json", json.dumps(to_dict(run), indent=2).encode())

    def overview(self, pages: Iterable[str]) -> pd.DataFrame:
        """Jobs by kind, with what they are expected to take on one core (one GPU): minutes each and in all, GiB.

        pages: the kind of job that each page is.
        """
        kinds = ["prepare"] * (2 if self.second_root else 1) + [run.stage for run in self.trainings.values()]
        drawn = [e for e in self.wanted.values() if e.method != TRUTH]
        kinds += [*["sample"] * len(drawn), *["evaluate"] * len(self.wanted), *pages]
        table = pd.Series(kinds).value_counts(sort=False).rename("jobs").to_frame()
        table["minutes each"], table["GiB"] = zip(*map(self.job, table.index))
        table["minutes"] = table["jobs"] * table["minutes each"]
        return table

    def job(self, kind: str) -> tuple[float, float]:
        """Minutes and GiB that a job of this kind is expected to take; raises `ConfigError` where `jobs` lacks it."""
        if kind not in self.jobs:
            raise ConfigError(f"{self.experiments or EXPERIMENTS}: `jobs` lacks {kind}: [minutes, GiB]")
        return self.jobs[kind]

    def read(self, needs: Callable[[Evaluation], bool]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The finished ones of some evaluations: metrics, and costs by (method, task); with seed, steps, sampler."""
        metrics, costs = [pd.DataFrame(columns=[*COLUMNS, "seed", "steps", "sampler"])], []
        for one in self.needed(needs):
            if self.is_finished(one):
                table, cost = read_reports([self.evaluations_folder / one.name])
                about = {"seed": one.seed, "steps": one.steps, "sampler": one.sampler}
                metrics.append(table.assign(**about))
                costs.append(cost.assign(**about))
        return pd.concat(metrics[1:] or metrics, ignore_index=True), pd.concat(costs) if costs else pd.DataFrame()


def open_plan(preset: str, settings: str = "", **more) -> Plan:
    """The plan of a preset, with settings in place of its own: `samples=3 subjects=0`, or as arguments.

    Raises `ConfigError` for a preset that has no plan, an unknown setting, method, task or key, a value of a wrong type
    and a file that is not there.
    """
    parts = shlex.split(settings)
    if not all("=" in part for part in parts):
        raise ConfigError(f"settings are written as name=value, with quotes around spaces, not {settings!r}")
    given = dict(part.split("=", 1) for part in parts) | more
    given = {name: value for name, value in given.items() if value != ""}
    file = Path(given.get("experiments", EXPERIMENTS))
    content = dict(_read(file, preset))
    types = {f.name: f.type for f in fields(Plan) if f.type in ("int", "str") and f.name != "preset"}
    for name in (*content, *given):
        if name not in {*types, *({"evaluations", "jobs"} - set(given))}:
            raise ConfigError(f"{file}: unknown setting {quoted(name)}: choose from {', '.join(types)}")
    content |= given
    for name in set(content) & set(types):
        if types[name] == "int":
            content[name] = _whole(content[name], f"{file}: {name}")
        elif not isinstance(content[name], str | Path) or not str(content[name]).isprintable():
            raise ConfigError(f"{file}: {name} must be text, not {quoted(content[name])}")
    content |= {"jobs": content.get("jobs") or {}, "evaluations": content.get("evaluations") or []}
    if not isinstance(content["jobs"], Mapping) or not isinstance(content["evaluations"], list):
        raise ConfigError(f"{file}: jobs must be a mapping, {{...}}, and evaluations a list")
    for kind, cost in content["jobs"].items():
        if not (isinstance(cost, list) and len(cost) == 2 and all(map(_is_cost, cost))):
            raise ConfigError(f"{file}: jobs: {shown(kind)} must be [minutes, GiB], not {quoted(cost)}")
    plan = Plan(preset, **content | {"evaluations": _expanded(content["evaluations"], preset, file)})
    if plan.samples < 1:
        raise ConfigError(f"{file}: samples must be at least 1")
    for judge in {plan.segmenter, plan.medicalnet} - {"", OWN, NONE, "download"}:
        if not os.path.isfile(judge):  # unlike Path's, false for a name that no file can have
            raise ConfigError(f"{shown(judge)}: no such file")
    return plan


def _read(file: Path, preset: str) -> Mapping:
    """What a file of experiments says of a preset."""
    try:
        presets = yaml.safe_load(file.read_text())
    except OSError:
        raise ConfigError(f"{file}: no such file") from None
    except NOT_YAML as error:  # the last ones from yaml's constructors of numbers, dates and mappings
        raise ConfigError(f"{file}: not valid YAML ({shown(error)})") from None
    if not isinstance(presets, Mapping) or not isinstance(presets.get(preset), Mapping):
        raise ConfigError(f"{file}: no plan for preset '{preset}', only for {_names(presets)}")
    return presets[preset]


def _whole(value, name: str) -> int:
    """A number that is not negative, from YAML or from the command line."""
    number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 10 else value
    if type(number) is not int or not 0 <= number < 10**9:
        raise ConfigError(f"{name} must be a whole number, not {quoted(value)} (0 to 999999999)")
    return number


def _is_cost(value) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


def _names(values) -> str:
    """The keys of what a file holds, for a message."""
    names = values if isinstance(values, Mapping | set) else ()
    return shown(", ".join(name if isinstance(name, str) else quoted(name) for name in names)) or NONE


def _expanded(blocks: Iterable[Mapping], preset: str, file: Path) -> tuple[Evaluation, ...]:
    """All evaluations that are listed; one that is named twice is as it is listed first."""
    found: dict[str, Evaluation] = {}
    for block in blocks:
        try:
            for one in _expand(block, preset_named(preset)):
                found.setdefault(one.name, one)
        except ConfigError as error:
            raise ConfigError(f"{file}: {shown(error)}") from None
    return tuple(found.values())


def _expand(block: Mapping, preset: Preset) -> Iterable[Evaluation]:
    """The evaluations of a line of the list: every method on every task, with every seed, number of steps and sampler.

    Steps and sampler of the `preset` need no evaluation of their own.
    """
    if not isinstance(block, Mapping):
        raise ConfigError(f"an evaluation must be a mapping, {{tasks: [...], methods: [...]}}, not {quoted(block)}")
    unknown = set(block) - {"methods", "tasks", "seeds", "steps", "samplers", "second", "samples"}
    if unknown:
        raise ConfigError(f"unknown key {_names(unknown)} in {quoted(dict(block))}")
    defaults = {"methods": 0, "tasks": 0, "seeds": [0], "steps": [0], "samplers": [""]}
    every = [block.get(key, default) for key, default in defaults.items()]
    if not all(isinstance(values, list) for values in every):
        raise ConfigError(f"methods, tasks, seeds, steps and samplers must be lists, [...], in {quoted(dict(block))}")
    if not isinstance(block.get("second", False), bool):
        raise ConfigError(f"second must be true or false in {quoted(dict(block))}")
    samples = _whole(block.get("samples", 0), "samples")
    for name in (*every[0], *every[1], *every[4]):
        if not isinstance(name, str):
            raise ConfigError(f"methods, tasks and samplers are names, not {quoted(name)}")
    for method, task, seed, steps, sampler in product(*every):
        task = translation_named(task).name
        if method != TRUTH:
            method_named(method, task)
        seed, steps = _whole(seed, "seeds"), _whole(steps, "steps")
        if sampler:
            sampler_named(sampler)
        steps, sampler = 0 if steps == preset.steps else steps, "" if sampler == preset.sampler else sampler
        yield Evaluation(method, task, seed, steps, block.get("second", False), samples, sampler)


def is_shipped(run: RunConfig) -> bool:
    """Whether the weights of a run come with the package."""
    return (SHIPPED / run.folder / "model.safetensors").is_file()
