"""Many subjects in one call of `diffens translate`: folders of files, a table, or a BIDS data set."""

from __future__ import annotations

import functools
import json
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch.nn as nn
from loky import ProcessPoolExecutor

from .data.layout import read_table
from .data.tasks import Task
from .data.volumes import VolumeError
from .networks.lifting import SliceNet
from .support.device import pick_device
from .support.errors import DiffensError
from .support.files import check_writable, is_name, write_atomically
from .training.config import RunConfig
from .training.runs import load_folder
from .translate import translate_files

ENDING = re.compile(r"\.nii(\.gz)?$")
SUFFIX = {"flair": "FLAIR", "t1ce": "T1w", "t1": "T1w", "t2": "T2w", "pd": "PDw"}  # of BIDS names
AGENT = {"t1ce": r".*_ce-\w+_(.*_)?", "t1": r"(?!.*_ce-).*_"}  # contrast agent or none


@dataclass(frozen=True)
class Case:
    """One subject. inputs: files of conditions by name; out: the volume to write; mask: not 0 where the brain is.

    problem: why it cannot be translated, where that is known already.
    """

    name: str
    inputs: Mapping[str, Path]
    out: Path
    mask: Path | None = None
    problem: str = ""


def cases_in_folders(folders: Mapping[str, Path], out: Path) -> list[Case]:
    """Subjects whose files have the same name in the folder of each condition; the output has it, too.

    One that a folder lacks stays in the list, and is reported as missing when its turn comes.
    """
    names = {path.name for folder in folders.values() for path in folder.iterdir() if ENDING.search(path.name)}
    if not names:
        raise VolumeError(f"{' and '.join(map(str, folders.values()))}: no .nii or .nii.gz files here")
    files = {name: {condition: folder / name for condition, folder in folders.items()} for name in sorted(names)}
    return [Case(ENDING.sub("", name), inputs, out / name) for name, inputs in files.items()]


def cases_in_table(table: Path, task: Task, out: Path) -> list[Case]:
    """Subjects of a table with the columns participant_id, lr, t1ce (as the task needs) and, if there is one, mask.

    lr: the task's measurement; other inputs are columns of their own names. Paths are relative to the table. Raises
    `VolumeError` for a table that cannot be used.
    """
    rows = read_table(table, needed=("participant_id", *task.given_as)).to_dict("records")
    names = [row["participant_id"] for row in rows]
    if not rows or len(set(names)) < len(names) or not all(map(is_name, names)):
        raise VolumeError(f"{table}: needs rows, each with a participant_id of its own that a file can have")
    cases = []
    for row in rows:
        inputs = {name: table.parent / row[column] for column, name in task.given_as.items() if row[column]}
        mask = table.parent / row["mask"] if row.get("mask") else None
        cases.append(Case(row["participant_id"], inputs, out / f"{row['participant_id']}.nii.gz", mask))
    return cases


def cases_in_bids(root: Path, task: Task, out: Path) -> list[Case]:
    """Subjects and sessions of a BIDS data set that have an `anat` folder; the output is named as a derivative of it.

    A degraded FLAIR is `*_FLAIR`, a T1 `*_T1w`, a T1ce `*_ce-*_T1w`, a T2 `*_T2w`; other contrasts have their own name
    for suffix. Raises `VolumeError` where there are no subjects.
    """
    wanted = {name: _bids_name(name.removesuffix("_lr")) for name in task.inputs}
    cases = []
    for anat in sorted([*root.glob("sub-*/anat"), *root.glob("sub-*/ses-*/anat")]):
        entities = "_".join(part for part in anat.parts[len(root.parts) : -1])
        files = sorted(anat.iterdir())
        fitting = {name: [path for path in files if wanted[name].fullmatch(path.name)] for name in task.inputs}
        several = [path.name for paths in fitting.values() if len(paths) > 1 for path in paths]
        problem = f"{anat}: {', '.join(several)}: a table can name one of them" if several else ""
        inputs = {name: paths[0] for name, paths in fitting.items() if paths}
        name = out / anat.relative_to(root) / f"{entities}_desc-diffens_{SUFFIX.get(task.target, task.target)}.nii.gz"
        cases.append(Case(entities, inputs, name, problem=problem))
    if not cases:
        raise VolumeError(f"{root}: no BIDS data set here, with folders such as sub-01/anat")
    description = {"Name": "diffens", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}
    description |= {"GeneratedBy": [{"Name": "diffens", "Description": f"task {task.name}"}]}
    write_atomically(out / "dataset_description.json", json.dumps(description, indent=1).encode())
    return cases


def _bids_name(contrast: str) -> re.Pattern:
    """The names of files of a contrast."""
    return re.compile(rf"{AGENT.get(contrast, '.*_')}{SUFFIX.get(contrast, contrast)}\.nii(\.gz)?")


def translate_cases(
    cases: Sequence[Case], run: Path, out: Path, *, jobs: int = 1, overwrite: bool = False, slices: int = 0, **options
) -> pd.DataFrame:
    """Translate what is not there yet, a line for each; the table of all is `out/summary.tsv` after every one.

    jobs: subjects at a time, each in a process of its own. What cannot be translated is left out, with the reason as
    its status. options: of `translate_files`.
    """
    check_writable(out)
    rows = {case.name: {"subject": case.name, "status": "not yet", "file": str(case.out)} for case in cases}
    there = [case for case in cases if case.out.exists() and not overwrite]
    for case in there:
        rows[case.name]["status"] = "already there"
    waiting = [case for case in cases if case not in there]
    for done, (name, result) in enumerate(_results(waiting, run, jobs, slices, options), start=1):
        rows[name] |= result
        print(f"[{done}/{len(waiting)}] {name}: {result['status']}", flush=True)
        if done < len(waiting):
            _summary(rows, out)
    return _summary(rows, out)


def _summary(rows: Mapping[str, dict], out: Path) -> pd.DataFrame:
    """The table of all subjects, which is written to `out`, too."""
    table = pd.DataFrame(rows.values())
    write_atomically(out / "summary.tsv", table.to_csv(sep="\t", index=False).encode())
    return table


def _results(cases, run: Path, jobs: int, slices: int, options: dict) -> Iterator[tuple[str, dict]]:
    if jobs == 1 or len(cases) < 2:
        yield from ((case.name, _translate(case, run, slices, options)) for case in cases)
        return
    with ProcessPoolExecutor(min(jobs, len(cases))) as pool:
        calls = {pool.submit(_translate, case, run, slices, options): case.name for case in cases}
        yield from ((calls[call], call.result()) for call in as_completed(calls))


def _translate(case: Case, run: Path, slices: int, options: dict) -> dict:
    """One subject, with what it was warned of; errors that concern its files are its status."""
    begin = time.monotonic()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            if case.problem:
                raise VolumeError(case.problem)
            model, config = loaded(run, slices)
            translate_files(model, config, case.inputs, case.out, mask=case.mask, **options)
            status = "translated"
        except (DiffensError, OSError) as error:
            status = f"failed: {' '.join(str(error).split())}"
    said = "; ".join(dict.fromkeys(str(w.message) for w in caught if w.category is UserWarning))
    return {"status": status, "seconds": round(time.monotonic() - begin, 1), "warnings": said}


@functools.lru_cache(maxsize=1)
def loaded(run: Path, slices: int) -> tuple[nn.Module, RunConfig]:
    """The model of a run and its configuration, once a process; slices: per 2D pass, 0 for what fits."""
    model, config = load_folder(run)
    for part in model.modules():
        if isinstance(part, SliceNet):
            part.slices = slices
    return model.to(pick_device()), config
