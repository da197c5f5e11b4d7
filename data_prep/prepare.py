"""Preparation of a data set, subject by subject: good ones are written in the prepared layout, bad ones reported.

The modules for single data sets only find files; `prepare` does all the rest.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd

from data_prep import layout
from data_prep.labels import settle_labels
from data_prep.layout import splits_of, write_dataset, write_participants, write_subject
from data_prep.splits import extend_participants, read_split_file
from data_prep.subject import Source, in_order, prepare_subject
from diffens_core.data.layout import CONTRASTS, contrasts_in, is_contrast
from diffens_core.data.volumes import VolumeError, spacing_of
from diffens_core.support.errors import DiffensError
from diffens_core.support.files import alone_in

__all__ = ["Source", "add_labels", "make_parser", "prepare", "run"]
__all__ += ["write_dataset", "write_participants", "write_subject"]
SHAPE = (192, 192, 152)


def prepare(
    subjects,
    out,
    *,
    name,
    source,
    licence,
    shape=SHAPE,
    split=(0.7, 0.1, 0.2),
    split_file=None,
    seed=0,
    required=("flair", "t1ce"),
    move="refuse",
) -> pd.DataFrame:
    """Prepare `subjects` (of `Source`) into the folder `out`; subjects that it has already are kept.

    name: of a new set; an existing one keeps its own. source, licence: added to the lists in dataset.json.
    shape: window in voxels. split: fractions of train, val, test for new patients; split_file: table with
    participant_id and split that decides for new participants. required: contrasts that a subject must have.
    move: as in `prepare_subject`; where it is "refuse", a subject with files off the grid of its first is left out.
    Returns one row per subject: participant, split, contrasts, grid, spacing, orientation, brain_ml, tumour_ml, status;
    a status of "left out: ..." or "prepared without labels: ..." says why.
    Another process that prepares into the same folder is waited for. Raises `VolumeError` for an error that concerns
    all subjects, `WriteError` where `out` cannot be written.
    """
    out, subjects = Path(out), sorted(subjects, key=lambda s: s.participant_id)
    good, rows = _sort_out(subjects, out, required)
    with alone_in(out) if good else nullcontext():
        layout.remove_partials(out)
        good, rows = _sort_out(subjects, out, required)  # again, as another process may have added some
        if good:
            table = layout.listed_participants(out)
            begun = any((out / participant).is_dir() for participant in table["participant_id"])
            known = layout.known_dataset(out) if begun else None  # a set without subjects does not bind the next run
            description = _describe(known, out, good, name, source, licence, shape, required)
            asked = read_split_file(split_file) if split_file else {}
            table = extend_participants(table, _listed(good), asked, split, seed)
            splits = splits_of(table)
            _note(asked, splits)
            write_dataset(out, **description)
            write_participants(out, table)  # before the first subject, so that a killed run can be resumed
            rows += _prepare_all(good, out, description, splits, move)
            _finish(out, description, table, rows)
    summary = pd.DataFrame(rows).sort_values("participant", ignore_index=True)
    _print_summary(summary)
    return summary


def _sort_out(subjects: list[Source], out: Path, required) -> tuple[list[Source], list[dict]]:
    """Those that can be prepared into `out`, as far as one sees without images; rows of the summary for the others."""
    table = layout.listed_participants(out)
    problems = _find_problems(subjects, dict(zip(table["participant_id"], table["source"])), required)
    rows = [_row(participant, "-", "-", f"left out: {line}") for participant, line in problems.items()]
    return [s for s in subjects if s.participant_id not in problems], rows


def _listed(subjects: list[Source]) -> pd.DataFrame:
    """Rows of participants.tsv, without the split."""
    rows = [{"participant_id": s.participant_id, "patient": s.patient, "source": s.source} for s in subjects]
    return pd.DataFrame(rows)


def _find_problems(subjects: list[Source], known: dict[str, str], required) -> dict[str, str]:
    """The problem of each subject that cannot be prepared, in one line; no image is read for it."""
    problems: dict[str, str] = {}
    first: dict[str, Source] = {}
    for subject in subjects:
        participant, absent = subject.participant_id, [c for c in required if c not in subject.files]
        other = first.setdefault(participant, subject)
        if not re.fullmatch(r"[A-Za-z0-9][\w.+-]{0,99}", participant):
            problems[participant] = "the name cannot be a folder; use letters, digits, '-', '_', '.'"
        elif other is not subject:
            both = next((name for name in subject.files if name in other.files), None)
            files = " and ".join(str(s.files[both] if both else _first(s)) for s in (other, subject))
            problems[participant] = f"found twice, as {files}; keep one of them"
        elif known.get(participant, "") not in ("", subject.source):
            problems[participant] = f"is in the prepared set already, from {known[participant]}; rename one of the two"
        elif absent:
            where = _first(subject).parent if subject.files else "its row of the table"
            problems[participant] = f"no {' or '.join(absent)} in {where}; add it, or ask for less with --contrasts"
    return problems


def _first(subject: Source) -> Path:
    return subject.files[in_order(subject.files)[0]]


def _describe(known: dict | None, out: Path, good: list[Source], name, source, licence, shape, required) -> dict:
    """The content of dataset.json: the `known` one, checked, or a new one, with this source added."""
    new = {"name": name, "contrasts": contrasts_in(required), "shape": list(shape), "source": [], "licence": []}
    description = known or new
    if min(shape) < 1:
        raise VolumeError(f"a window of {tuple(shape)} voxels is empty; give three positive numbers to --shape")
    if list(description["shape"]) != list(shape):
        kept = " ".join(map(str, description["shape"]))
        raise VolumeError(f"{out}: holds windows of {kept} voxels; use --shape {kept} or another --out")
    spacing = description.get("spacing") or common_spacing(good)
    contrasts = [contrast for contrast in description["contrasts"] if contrast in required]
    added = (("source", source), ("licence", licence))
    grown = {key: list(dict.fromkeys([*description[key], text])) for key, text in added}
    return {**description, **grown, "spacing": spacing, "contrasts": contrasts}


def common_spacing(subjects: list[Source]) -> list[float]:
    """The median voxel size in mm along R, A, S, from the headers alone; `VolumeError` if none can be read."""
    sizes = []
    for subject in subjects:
        try:
            sizes.append(spacing_of(_first(subject)))
        except VolumeError:
            continue  # `prepare_subject` says what is wrong when its turn comes
    if not sizes:
        file = _first(subjects[0])
        raise VolumeError(f"{file}: cannot be read, truncated or not NIfTI; nor can that of any other subject")
    return [round(float(s), 4) for s in np.median(sizes, axis=0)]


def _note(asked: dict[str, str], splits: dict[str, str]) -> None:
    unknown = sorted(set(asked) - set(splits))
    if unknown:
        print(f"note: {len(unknown)} names in the split file are not in this set, such as {unknown[0]}", flush=True)


def _prepare_all(good: list[Source], out: Path, description: dict, splits: dict[str, str], move: str) -> list[dict]:
    """Prepare one after another, with a line each; returns the rows of the summary."""
    rows, begin, made = [], time.monotonic(), 0
    for number, subject in enumerate(good, start=1):
        row = _prepare_one(subject, out, description, splits[subject.participant_id], move)
        made += not row["status"].startswith("already there")
        rows.append(row)
        elapsed = time.monotonic() - begin
        left = elapsed / max(1, made) * (len(good) - number)
        clock = f"{_clock(elapsed)} elapsed, about {_clock(left)} left"
        print(f"[{number}/{len(good)}] {subject.participant_id} {row['split']}: {row['status']} ({clock})", flush=True)
    return rows


def _prepare_one(subject: Source, out: Path, description: dict, split: str, move: str) -> dict:
    """Prepare one subject, unless it is there; returns its row of the summary, with a remark on its labels."""
    if _is_there(subject, out):
        return _row(subject.participant_id, split, _names(subject), "already there")
    measured = {}
    try:
        settled, remark = settle_labels(subject)
        done = "already there" if _is_there(settled, out) else "prepared"
        if done == "prepared":
            measured = prepare_subject(settled, out, tuple(description["shape"]), description["spacing"], move)
    except VolumeError as error:
        line = " ".join(str(error).split())
        return _row(subject.participant_id, "-", _names(subject), f"left out: {line}")
    done += "" if len(settled.files) == len(subject.files) else " without labels"
    status = f"{done}: {remark}" if remark else done
    return _row(subject.participant_id, split, _names(settled), status) | measured


def _is_there(subject: Source, out: Path) -> bool:
    return not layout.missing_files(out, subject.participant_id, subject.files.keys() - {"mask"})


def _finish(out: Path, description: dict, table: pd.DataFrame, rows: list[dict]) -> None:
    """Remove subjects that could not be prepared from the table, and write the contrasts that all subjects have."""
    failed = {row["participant"] for row in rows if row["status"].startswith("left out")}
    gone = [participant in failed and not (out / participant).is_dir() for participant in table["participant_id"]]
    table = table[~np.array(gone, bool)]
    there = [participant for participant in table["participant_id"] if (out / participant).is_dir()]
    held = [{path.name.removesuffix(".nii.gz") for path in (out / p).glob("*.nii.gz")} for p in there]
    shared = contrasts_in(set.intersection(*held)) if held else []
    write_participants(out, table)
    write_dataset(out, **{**description, "contrasts": shared or description["contrasts"]})


def _row(participant: str, split: str, contrasts: str, status: str) -> dict:
    blank = {"grid": "-", "spacing": "-", "orientation": "-", "brain_ml": np.nan, "tumour_ml": np.nan}
    return {"participant": participant, "split": split, "contrasts": contrasts, **blank, "status": status}


def _names(subject: Source) -> str:
    return " ".join(name for name in in_order(subject.files) if name != "mask")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _print_summary(summary: pd.DataFrame) -> None:
    """Print the table, and one more line for each subject that was left out or lost its labels."""
    short = summary.assign(status=summary["status"].str.partition(":")[0])
    print(short.to_string(index=False, na_rep="-", float_format="{:.1f}".format), flush=True)
    out = summary[summary["status"].str.startswith("left out")]
    bare = summary[summary["status"].str.contains(" without labels: ")]
    for participant, status in zip(bare["participant"], bare["status"]):
        print(f"{participant}: {status}", flush=True)
    for participant, status in zip(out["participant"], out["status"]):
        print(f"{participant}: {status.partition(': ')[2]}", flush=True)
    if len(out):
        print(f"{len(out)} of {len(summary)} subjects left out", flush=True)


def make_parser(module: str, doc: str, *, required: str, shape=SHAPE) -> argparse.ArgumentParser:
    """A parser of the options that all data sets share; each module adds where its files are."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=f"diffens prepare {module}", description=doc, formatter_class=plain)
    axes, default = ("X", "Y", "Z"), " ".join(map(str, shape))
    parser.add_argument("--out", required=True, type=Path, help="prepared set; one that exists is added to")
    parser.add_argument(
        "--shape", nargs=3, type=int, default=shape, metavar=axes, help=f"window, voxels; default: {default}"
    )
    fractions = ("TRAIN", "VAL", "TEST")
    text = "fractions of new patients; default: 0.7 0.1 0.2 (the paper: 0.8 0 0.2)"
    parser.add_argument("--split", nargs=3, type=float, default=(0.7, 0.1, 0.2), metavar=fractions, help=text)
    parser.add_argument("--split-file", type=Path, help="table with participant_id and split, for new participants")
    parser.add_argument("--seed", type=int, default=0, help="of the split of the other new patients; default 0")
    parser.add_argument("--contrasts", nargs="+", type=_contrast, help=f"that each must have; default: {required}")
    moves = parser.add_mutually_exclusive_group()
    text = "bring what is off the first contrast's grid onto it"
    moves.add_argument("--resample", dest="move", action="store_const", const="resample", default="refuse", help=text)
    text = "find how the head moved between the contrasts, and bring all onto the first; needs SimpleITK"
    moves.add_argument("--register", dest="move", action="store_const", const="register", help=text)
    parser.add_argument("--name", default=module, help="of a new set; default: %(default)s")
    return parser


def _contrast(name: str) -> str:
    if not is_contrast(name):
        raise argparse.ArgumentTypeError(f"not the name of a contrast, such as flair, t1ce, t1, t2 or pd: {name}")
    return name


def add_labels(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the option --labels, which `parse_labels` reads."""
    text = "what the labels of seg mean, LABEL=CLASS: 1 necrotic, 2 oedema, 4 enhancing, 0 none of them, such as "
    text += f"1=1 2=2 3=4; or none, to use no labels. default: {default}"
    parser.add_argument("--labels", nargs="+", metavar="LABEL=CLASS", help=text)


def run(find: Callable[[], list[Source]], options: argparse.Namespace, *, source, licence, required=None) -> int:
    """Find subjects and prepare them; returns the exit status: 0, 1 if some were left out, 2 after an error line.

    required: contrasts a subject must have, unless --contrasts names others; None: each contrast that any subject has.
    """
    try:
        subjects = find()
        used = contrasts_in(name for s in subjects for name in s.files)
        wanted = options.contrasts or required or used or CONTRASTS
        summary = prepare(
            subjects,
            options.out,
            name=options.name,
            source=source,
            licence=licence,
            shape=tuple(options.shape),
            split=tuple(options.split),
            split_file=options.split_file,
            seed=options.seed,
            required=tuple(wanted),
            move=options.move,
        )
    except (DiffensError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return int(summary["status"].str.startswith("left out").any())
