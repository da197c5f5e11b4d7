"""Prepared sets, tables, records of runs, lists of experiments for `fuzz.py`: sound, wrong, and answered rightly."""

from __future__ import annotations

import gzip
import json
import re
from functools import cache
from itertools import zip_longest
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
import yaml
from numpy.random import Generator

from benchmarks.wrong_bytes import Files, Wrong, pick
from data_prep.pairs import find
from data_prep.splits import read_split_file
from diffens_core.batch import cases_in_table
from diffens_core.data.layout import describe_data, read_participants, read_table
from diffens_core.data.prepared import PreparedData
from diffens_core.data.tasks import SEGMENTATIONS, TASKS
from diffens_core.evaluation.evaluate import read_reports
from diffens_core.evaluation.scores import COLUMNS
from diffens_core.experiment.samples import TIMES, read_times
from diffens_core.support.cost import read_cost
from diffens_core.training.loop import read_log
from figures.plan import EXPERIMENTS, open_plan


@cache
def prepared_set() -> Files:
    """A set of one subject with labels, 12 voxels of 4 mm along each axis."""
    rng, contrasts, brain = np.random.default_rng(0), ["flair", "t1ce", "t1", "t2"], np.zeros((12, 12, 12), np.uint8)
    brain[2:-2, 2:-2, 1:-1] = 1
    images = {c: brain * rng.uniform(0.2, 0.8, brain.shape).astype(np.float32) for c in contrasts}
    images |= {"brain": brain, "seg": brain * 2}
    packed = {name: nib.Nifti1Image(data, np.diag([4.0, 4.0, 4.0, 1.0])).to_bytes() for name, data in images.items()}
    files = {f"sub-00/{name}.nii.gz": gzip.compress(content, 1) for name, content in packed.items()}
    about = {"name": "tiny", "contrasts": contrasts, "spacing": [4.0] * 3, "shape": list(brain.shape)}
    files["dataset.json"] = json.dumps(about | {"source": ["test"], "licence": ["none"]}).encode()
    files["participants.tsv"] = b"participant_id\tsplit\tpatient\tsource\nsub-00\ttrain\tsub-00\ttest\n"
    return files


def read_set(folder: Path) -> list:
    config = describe_data(folder, 4.0, (12, 12, 12))
    sets = [PreparedData(config, "train", task) for task in (TASKS["both"], SEGMENTATIONS["seg4"])]
    return [(data[0], data.labels(data[0].subject)) for data in sets]


def judge_set(_, answer) -> None:
    for pair, labels in answer:
        if not all(torch.isfinite(tensor).all() for tensor in (pair.x0, pair.y)):
            raise Wrong("the pair is not finite")
        if not np.allclose(pair.affine[:3, :3], 4 * np.eye(3), atol=0.01):
            raise Wrong("the pair lies otherwise")  # one file of a grid of its own is refused
        if labels is not None and labels.shape != pair.brain.shape:
            raise Wrong("the labels have another shape")


TABLES = {
    "pairs.csv": find,
    "splits.tsv": read_split_file,
    "participants.tsv": lambda path: read_participants(path.parent),
    "cases.csv": lambda path: cases_in_table(path, TASKS["both"], path.parent / "out"),
}


def table(rng: Generator) -> Files:
    """A table of pairs, of splits, of participants or of cases to translate."""
    rows = [["participant_id", "flair", "t1ce", "seg", "mask", "patient", "split"]]
    rows += [[f"s{n}", f"s{n}/f.nii.gz", "c d.nii", "", "m.nii", f"p{n}", "train"] for n in range(2)]
    name = pick(list(TABLES), rng)
    if name == "cases.csv":
        rows[0][1] = "lr"
    return {name: "\n".join(map(("," if name.endswith("csv") else "\t").join, rows)).encode()}


def read_any_table(folder: Path):
    (path,) = folder.iterdir()
    return path, read_table(path, needed=()), TABLES[path.name](path)


def judge_table(folder: Path, answer) -> bool:
    """Cells by lines and separators; blank rows and columns do not count."""
    path, frame, found = answer
    if path.name == "cases.csv" and not all(case.out.parent == folder / "out" for case in found):
        raise Wrong("a result would lie elsewhere")
    if (rows := plain_rows(path)) is None:
        return False
    length = max(map(len, rows))
    columns = [column for column in zip(*(row + [""] * (length - len(row)) for row in rows)) if any(column)]
    if columns != [(name, *cells) for name, cells in frame.items()]:
        raise Wrong("the lines have other cells")
    return True


def plain_rows(path: Path) -> list[list[str]] | None:
    """The cells of a table's rows that are not blank; None for one with quotes, which are not so plain."""
    text, separator = path.read_bytes().decode("utf-8-sig"), "\t" if path.suffix == ".tsv" else ","
    rows = [[cell.strip() for cell in line.split(separator)] for line in re.split("\r|\n", text)]
    return None if '"' in text else [row for row in rows if any(row)]


def records(rng: Generator) -> Files:
    """What an evaluation, a set of samples and a training write."""
    costs = {"seconds": 2.5, "core_seconds": 4.0, "parameters": 10, "memory": 0.25, "device": "CPU, x86_64"}
    metrics = [COLUMNS, ["tpdm", "sr", "sub-00", "0", "psnr", "25.25"], ["tpdm", "sr", "all", "mean", "fid", ""]]
    times = [TIMES, ["sub-00", "0", "1.5", "2.25"], ["sub-01", "0", "1.0", "2.0"]]
    logs = [["step", "loss", "lr"], ["10", "0.5", "0.001"], ["20", "nan", "0.0005"]]
    tables = {"metrics.csv": metrics, "times/cost.csv": times, "run/log.csv": logs}
    files = {name: "".join(",".join(row) + "\n" for row in rows).encode() for name, rows in tables.items()}
    evaluation = {"method": "tpdm", "task": "sr", "judges": {}, "subjects": 1}
    return files | {n: json.dumps(costs | evaluation).encode() for n in ("cost.json", "run/cost.json")}


def read_records(folder: Path):
    metrics, costs = read_reports([folder])
    return metrics, costs, read_times(folder / "times"), read_log(folder / "run"), read_cost(folder / "run")


def judge_records(folder: Path, answer) -> bool:
    """Numbers and texts by lines and commas; objects by JSON."""
    metrics, costs, times, log, cost = answer
    if len(costs) != 1 or cost != json.loads((folder / "run/cost.json").read_text()):
        raise Wrong("another cost")
    tables = {"metrics.csv": metrics, "times/cost.csv": times, "run/log.csv": log}
    plain = {name: rows for name in tables if (rows := plain_rows(folder / name)) is not None}
    for name, (header, *rows) in plain.items():
        values = tables[name].to_numpy(object)
        pairs = [pair for row, cells in zip(rows, values) for pair in zip_longest(row, cells, fillvalue="")]
        if header != list(tables[name]) or len(rows) != len(values) or not all(same(*pair) for pair in pairs):
            raise Wrong(f"{name} has other cells")
    return len(plain) == len(tables)


def same(text: str, value: str | float) -> bool:
    """Whether a cell reads as it is written."""
    if isinstance(value, str):
        return text == value.strip()
    return text in ("", "nan") if value != value else float(text) == value


def plan(rng: Generator) -> Files:
    """The plan of a preset as it is written, or as JSON, which is YAML too."""
    text = "smoke:" + EXPERIMENTS.read_text().split("\ndemo:")[0].partition("\nsmoke:")[2] + "\n"
    return pick(({"list.yaml": text.encode()}, {"list.json": json.dumps(yaml.safe_load(text)).encode()}), rng)


def read_plan(folder: Path):
    return open_plan("smoke", experiments=str(next(folder.iterdir())))


def judge_plan(_, plan) -> None:
    if not all(type(number) is int for number in (plan.subjects, plan.samples, plan.sets, plan.partial)):
        raise Wrong("a number of the plan is no integer")
    names = [one.name for one in plan.evaluations]
    if not all(isinstance(text, str) for text in (plan.data, plan.runs, plan.second, plan.split, *names)):
        raise Wrong("a name of the plan is no text")
