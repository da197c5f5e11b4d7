"""The tables of the report, from the metrics and costs of evaluations: numbers, and how they are shown.

A `Table` is two of the same rows: numbers for the CSV file, and text for Markdown and LaTeX, whose heads have units and
arrows too. Brackets hold a 95 % bootstrap interval over subjects; a column that ends in "paper" is what the paper has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from diffens_core.data.tasks import task_named
from diffens_core.evaluation.evaluate import TRUTH
from diffens_core.evaluation.names import heading, name_of
from diffens_core.evaluation.scores import by_subject
from diffens_core.evaluation.statistics import comparisons, interval, interval_text, recovery_interval, recovery_lead
from diffens_core.experiment.methods import ABLATIONS, METHODS, UNPROJECTED
from diffens_core.models.segmentation import REGION_NAMES

from .published import published

Table = tuple[pd.DataFrame, pd.DataFrame]
ORDER = [TRUTH, *METHODS, *ABLATIONS]
TASKS = {"sr": "super-resolution", "mt": "translation", "both": "both conditions"}  # others: by their own name


@dataclass(frozen=True)
class Column:
    """One metric. factor: of what is shown; kind: as in `subject_means`; paper: its name in published.csv.

    unit: of what is shown, where the factor makes it another than the metric's. A factor of 0 is for a metric without a
    unit of its own: it is shown in per cent of the largest of the methods.
    """

    metric: str
    digits: int = 2
    factor: float = 1.0
    unit: str = ""
    kind: str = "single sample"
    paper: str = ""

    @property
    def title(self) -> str:
        """In CSV files: name and unit."""
        return name_of(self.metric).measure(self.unit)

    @property
    def heading(self) -> str:
        """Where people read it."""
        return name_of(self.metric).heading(self.unit)


IMAGE = (
    Column("psnr", 2, paper="psnr"),
    Column("ssim", 3),
    Column("psnr_brain", 2),
    Column("ssim_brain", 3),
)
SSIM_PAPER = Column("ssim_paper", 3, paper="ssim")  # as the paper computes it
SETS = (
    Column("mmd_linear_voxels", 1, paper="mmd"),
    Column("mmd_rbf_segmenter", 3),
    Column("frechet_segmenter", 0, 0, "% of largest"),
    Column("fid_medicalnet50", 2, 1e4, "1e-4", paper="fid"),
)
DICE = tuple(Column(f"dice_{r}", 2, 100, "%", paper=f"dice_{r}") for r in REGION_NAMES)
PRICE = {"training, core min": 0, "parameters, M": 2, "memory, GiB": 1, "a sample, core s": 1}  # digits
UNCERTAINTY = (
    Column("std_of_psnr", 4, kind="all samples", paper="std_of_psnr"),
    Column("std_of_ssim_paper", 5, kind="all samples", paper="std_of_ssim"),
    Column("mace", 2, 1e4, "1e-4 of the window", "all samples", "mace"),
    Column("ece_brain", 3, kind="all samples"),
    Column("coverage_90_brain", 3, kind="all samples"),
    Column("ause_brain", 3, kind="all samples"),
    Column("correlation_brain", 3, kind="all samples"),
)


def tasks_of(metrics: pd.DataFrame) -> dict[str, str]:
    """The tasks that were measured, in their order, and what they are called."""
    return {task: title_of(task) for task in in_order(metrics["task"])}


def in_order(tasks: Iterable[str]) -> list[str]:
    """Tasks, each once: the paper's three first."""
    found = set(tasks)
    return [task for task in TASKS if task in found] + sorted(found - set(TASKS))


def title_of(task: str) -> str:
    """What a task is called in a table or a figure."""
    return TASKS.get(task, task.replace("-to-", " to "))


def measured(metrics: pd.DataFrame, task: str, columns: Iterable[Column], paper: int = 0) -> Table:
    """A row per method, means over subjects with intervals; `paper`: the number of the paper's table to stand beside.

    What is measured on the set of all subjects has no interval. A column that nothing was measured for is left out.
    """
    numbers, shown = pd.DataFrame(), pd.DataFrame()
    theirs = published(paper, task) if paper else pd.DataFrame()
    of_task = metrics[metrics["task"] == task]
    for column in columns:
        values = by_subject(of_task, column.metric, ORDER, column.kind)
        values = values * (column.factor or 100 / values.mean().max())
        for method in values:
            found = values[method].dropna().to_numpy()
            low, high = interval(found)
            numbers.loc[method, column.title] = found.mean()
            numbers.loc[method, [f"{column.title} low", f"{column.title} high"]] = low, high
            shown.loc[method, column.heading] = interval_text(found.mean(), low, high, column.digits)
        if column.paper in theirs and len(values):
            values = theirs[column.paper].reindex([_published_row(m, task) for m in numbers.index]).to_numpy()
            numbers[f"{column.title}, paper"] = values
            shown[f"{column.heading}, paper"] = [_text(value, column.digits) for value in values]
    order = [m for m in ORDER if m in numbers.index]
    return _named(numbers.loc[order]), _named(shown.loc[order].fillna(""))


def _published_name(method: str) -> str:
    """The paper has one 2D and one 2.5D model, and does not say of which plane."""
    kinds = {"palette-2.5d-axial": "palette-2.5d", "palette-axial": "palette"}
    return kinds.get(method, method)


def _published_row(method: str, task: str) -> str:
    """The paper's row that a method has in a task; empty where it has none.

    The released comparison projects its fusions alone. So where there is a measurement, it is the baseline without
    projection that stands beside the paper's.
    """
    name = method.removesuffix("+no-projection")
    unprojected = UNPROJECTED.get(f"{name}+no-projection")
    if unprojected is None:
        return method
    return _published_name(name) if unprojected.does(task_named(task)) == (method != name) else ""


def segmentation(metrics: pd.DataFrame, task: str, paper: int = 0) -> Table:
    """Dice of each region in per cent, HD95 in mm and, where there is a degraded FLAIR, Recovery, by method."""
    gaps = [Column(f"hd95_{r}", 1) for r in REGION_NAMES]
    numbers, shown = measured(metrics, task, (*DICE, *gaps), paper)
    theirs = published(paper, task) if paper else pd.DataFrame()
    of_task = metrics[metrics["task"] == task]
    for region in REGION_NAMES:
        recovery, scores = name_of(f"recovery_{region}"), by_subject(of_task, f"dice_{region}", ORDER)
        title = recovery.measure()
        if not {TRUTH, "degraded"} <= set(scores):
            continue
        for method in set(scores) - {TRUTH, "degraded"}:
            line = scores[[method, "degraded", TRUTH]].dropna().to_numpy().T
            share, low, high = recovery_interval(*line)
            numbers.loc[method, [title, f"{title} low", f"{title} high"]] = share, low, high
            shown.loc[method, recovery.heading()] = interval_text(share, low, high, 0)
        if f"recovery_{region}" in theirs:
            rows = [_published_row(m, task) for m in numbers.index]
            numbers[f"{title}, paper"] = theirs[f"recovery_{region}"].reindex(rows).to_numpy()
            shown[f"{recovery.heading()}, paper"] = [_text(value, 1) for value in numbers[f"{title}, paper"]]
    return numbers, shown.fillna("")


def recovery_leads(metrics: pd.DataFrame, rivals: Mapping[str, str], task: str) -> Table:
    """Recovery of each method and of its rival, per cent, and by how many points it is ahead: a row per region."""
    lines, of_task = [], metrics[metrics["task"] == task]
    for region in REGION_NAMES:
        scores = by_subject(of_task, f"dice_{region}", ORDER)
        for method, rival in rivals.items():
            if {method, rival, "degraded", TRUTH} <= set(scores):
                ours, theirs, degraded, true = scores[[method, rival, "degraded", TRUTH]].dropna().to_numpy().T
                both = (recovery_interval(ours, degraded, true)[0], recovery_interval(theirs, degraded, true)[0])
                found = (*both, *recovery_lead(ours, theirs, degraded, true), len(ours))
                lines.append((method, rival, region.upper(), *found))
    columns = ["method", "rival", "region", "Recovery", "of the rival", "lead", "low", "high", "subjects"]
    numbers = pd.DataFrame(lines, columns=columns).set_index(columns[:3])
    heads = {"Recovery": heading("recovery"), "of the rival": "of the rival, %"}
    texts = {head: [_text(value, 1) for value in numbers[name]] for name, head in heads.items()}
    shown = pd.DataFrame(texts, numbers.index)
    shown["lead, points"] = [interval_text(*line, digits=1) for line in numbers[["lead", "low", "high"]].to_numpy()]
    return numbers, shown.assign(subjects=numbers["subjects"])


def leads(metrics: pd.DataFrame, rivals: Mapping[str, str], columns: Iterable[Column]) -> dict[str, Table]:
    """Each method against its rival, such as a fusion against the average of the same experts: a table per metric."""
    tables = {column.metric: _lead_table(metrics, rivals, column) for column in columns}
    return {metric: table for metric, table in tables.items() if len(table[0])}


def _lead_table(metrics: pd.DataFrame, rivals: Mapping[str, str], column: Column) -> Table:
    """In one metric; p adjusted within each task and seed."""
    keys, lines = ["task", "method", "rival", "seed"], []
    for (task, seed), part in metrics.groupby(["task", "seed"]):
        values = by_subject(part, column.metric, ORDER) * column.factor
        pairs = {ours: rival for ours, rival in rivals.items() if {ours, rival} <= set(values)}
        if pairs:
            found = comparisons(values, pairs).rename_axis("method").reset_index()
            lines.append(found.assign(task=task, seed=seed))
    columns = [*keys, "mean", "rival_mean", "difference", "low", "high", "ahead", "subjects", "p", "effect", "needed"]
    places = {name: place for place, name in enumerate([*in_order(metrics["task"]), *ORDER])}
    numbers = (pd.concat(lines) if lines else pd.DataFrame(columns=columns)).set_index(keys)
    numbers = numbers.sort_index(key=lambda level: level.map(lambda value: places.get(value, value)))
    shown = pd.DataFrame(index=numbers.index)
    shown[column.heading] = [_text(value, column.digits) for value in numbers["mean"]]
    shown["of the rival"] = [_text(value, column.digits) for value in numbers["rival_mean"]]
    shown["lead"] = [_lead(line, column.digits + 1) for line in numbers.itertuples()]
    shown["ahead on"] = [f"{line.ahead} of {line.subjects}" for line in numbers.itertuples()]
    shown["p"] = ["<0.001" if p < 0.001 else f"{p:.3f}" for p in numbers["p"]]
    shown["effect"] = [f"{effect:+.2f}" for effect in numbers["effect"]]
    shown["subjects needed"] = [f"{n:.0f}" if n < 1e5 else "more than 100000" for n in numbers["needed"]]
    return numbers, shown


def cost_table(found: pd.DataFrame, task: str) -> Table:
    """Training and sampling time, parameters and memory by method, with the paper's times beside them."""
    ours = found.xs(task, level="task")
    kept = {"seconds": 1 / 60, "core_seconds": 1 / 60, "sampling": 1.0, "core_sampling": 1.0}
    kept |= {"parameters": 1e-6, "memory": 1.0}
    titles = ["training, min", "training, core min", "a sample, s", "a sample, core s", "parameters, M", "memory, GiB"]
    numbers = ours.reindex(columns=list(kept)).mul(pd.Series(kept)).set_axis(titles, axis=1)
    numbers = numbers.loc[[m for m in ORDER if m in numbers.index]]
    theirs = published(8, "sr").reindex([_published_name(m) for m in numbers.index])
    numbers["training, GPU days, paper"] = theirs["training_days"].to_numpy()
    numbers["a volume, min, paper"] = theirs["sampling_minutes"].to_numpy()
    digits = dict(zip(numbers, (1, 1, 2, 2, 2, 2, 0, 2)))
    shown = pd.DataFrame({c: [_text(v, digits[c]) for v in numbers[c]] for c in numbers}, index=numbers.index)
    return _named(numbers), _named(shown)


def overview(metrics: pd.DataFrame, found: pd.DataFrame, task: str) -> Table:
    """Quality and cost of every method in one narrow table: means without intervals, of the core what training took."""
    quality, _ = measured(metrics, task, IMAGE)
    numbers = quality[[c.title for c in IMAGE]].join(cost_table(found, task)[0][list(PRICE)])
    digits = {c.title: c.digits for c in IMAGE} | PRICE
    shown = pd.DataFrame({c: [_text(v, digits[c]) for v in numbers[c]] for c in numbers}, index=numbers.index)
    return numbers, shown.rename(columns={c.title: c.heading for c in IMAGE})


def region_panels(numbers: pd.DataFrame, name: str) -> tuple[dict[str, pd.DataFrame], dict[str, list[float]]]:
    """For `plots.bounded`: `dice` or `recovery` of `segmentation` by region, and their bounds."""
    panels, bounds = {}, {}
    for region in (name_of(f"{name}_{region}").measure("%") for region in REGION_NAMES):
        if region in numbers and numbers[region].notna().any():
            table = numbers[[region, f"{region} low", f"{region} high"]].set_axis(["value", "low", "high"], axis=1)
            limits = [m for m in ("degraded", TRUTH) if m in table.index]
            bounds[region] = list(table.loc[limits, "value"]) if name == "dice" else [0.0, 100.0]
            panels[region] = table.drop(index=limits).dropna(subset="value")
    return panels, bounds


def step_panels(metrics: pd.DataFrame, task: str, preset_steps: int) -> dict[str, pd.DataFrame]:
    """PSNR and SSIM by number of steps: a row per number, a column per method and sampler that has several."""
    chosen = metrics[(metrics["task"] == task) & (metrics["sample"] == "0")]
    other = chosen["sampler"].where(chosen["sampler"] == "", ", " + chosen["sampler"])
    chosen = chosen.assign(curve=chosen["method"] + other)
    swept = set(chosen[chosen["steps"] > 0]["curve"])
    chosen = chosen[chosen["curve"].isin(swept)].assign(steps=chosen["steps"].replace(0, preset_steps))
    means = chosen.groupby(["metric", "steps", "curve"])["value"].mean().unstack("curve")
    return {heading(metric): means.loc[metric] for metric in ("psnr", "ssim")}


def with_fusion_cost(table: Table, found: pd.DataFrame) -> Table:
    """With the minutes of one core that the fusion alone was trained, as the paper counts in Table 3."""
    numbers, shown = table
    minutes = found.xs("both", level="task")["core_seconds"] / 60 if "core_seconds" in found else pd.Series(dtype=float)
    experts = {m: minutes.get(rival) for m, rival in (("multi-ours", "multi-tpdm"), ("multi-small", "multi-tpdm"))}
    for method in set(numbers.index) & set(experts):
        numbers.loc[method, "training of the fusion, core min"] = minutes.get(method) - experts[method]
        shown.loc[method, "training of the fusion, core min"] = _text(minutes.get(method) - experts[method], 1)
    theirs = published(3, "both")["training_days"].reindex(numbers.index)
    numbers["training, GPU days, paper"] = theirs
    shown["training, GPU days, paper"] = [_text(value, 0) for value in theirs]
    return numbers, shown.fillna("")


def _named(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename_axis("method")


def _text(value: float, digits: int) -> str:
    return "" if pd.isna(value) else f"{value:.{digits}f}"


def _lead(line, digits: int) -> str:
    shown = f"{line.difference:+.{digits}f}"
    return shown if pd.isna(line.low) else f"{shown} [{line.low:+.{digits}f}, {line.high:+.{digits}f}]"
