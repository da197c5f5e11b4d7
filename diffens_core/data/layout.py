"""The layout of prepared data on disk, and how it is read; `data_prep.layout` writes it.

<root>/dataset.json                        name, contrasts that every subject has, spacing, shape, source, licence
<root>/participants.tsv                    participant_id, split, patient, source: defines the set and its split
<root>/<participant_id>/<contrast>.nii.gz  flair t1ce t1 t2 or others: float32 in [0, 1], RAS, background exactly 0
<root>/<participant_id>/seg.nii.gz         uint8: 1 necrotic, 2 oedema, 4 enhancing; not every subject has one
<root>/<participant_id>/brain.nii.gz       uint8: 1 where any contrast is not 0
<root>/<participant_id>/intensity.json     low and high per contrast: value * (high - low) + low is its own unit
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..support.errors import InputError
from ..support.files import is_name
from ..support.places import lengthen, shorten
from ..support.records import read_cells, read_json
from ..support.settings import one_of, option, quoted, shown
from .volumes import VolumeError

REMEDY = "restore it, or prepare into another folder"
SPLITS = ("train", "val", "test")
CONTRASTS = ("flair", "t1ce", "t1", "t2")  # the usual ones, in their order; a set may have others
CONTRAST = re.compile(r"[a-z][a-z0-9]{0,15}", re.ASCII)  # how a contrast, and its file, may be called
RESERVED = ("seg", "mask", "brain")  # other files of a subject
TOLERANCE = 0.05  # of a spacing
EMBEDDED = "phantom"  # the name of every set of phantoms
EVERYONE = "all"  # stands for the subject in metrics of a set of subjects


def is_contrast(name: str) -> bool:
    """Whether a contrast, and its file, can be called so."""
    return CONTRAST.fullmatch(name) is not None and name not in RESERVED


def contrasts_in(names: Iterable[str]) -> list[str]:
    """The contrasts among the names of files, each once: the usual ones in their order, then others by name."""
    found = {name for name in names if is_contrast(name)}
    return [name for name in CONTRASTS if name in found] + sorted(found - set(CONTRASTS))


@dataclass(frozen=True)
class DataConfig:
    """A prepared data set at one resolution. `root`, the folder, is no part of a run's identity.

    normalisation: what an intensity scale is fitted on, the `condition` that a user has, or, as in the paper's released
    code, the `target`: then the conditions tell the target's maximum, which flatters, and no file can be translated.
    """

    root: str
    name: str
    fingerprint: str
    spacing: float
    shape: tuple[int, ...]
    normalisation: str = option("condition")

    def __post_init__(self):
        one_of("normalisation", self.normalisation, ("condition", "target"))

    @property
    def folder(self) -> Path:
        """The folder on this machine."""
        return lengthen(self.root)


def describe_data(root: str | Path, spacing: float, shape) -> DataConfig:
    """Identify the prepared data set at `root`, to be used at `spacing` millimetres in windows of `shape` voxels.

    Where its own voxels do not go into this spacing, they are used at one near it, in windows of as many millimetres
    (`fitting_grid`): HCP's, of 0.7 mm, as they are in place of 1 mm. Raises `VolumeError` where there is none, or where
    it cannot be read.
    """
    description, table = read_dataset(root), read_participants(root)
    listed = zip(table["participant_id"], table["split"])
    digits = fingerprint(description["name"], listed, description.get("phantom"))
    spacing, shape = fitting_grid(description.get("spacing") or [spacing] * 3, float(spacing), tuple(shape))
    return DataConfig(shorten(root), description["name"], digits, spacing, shape)


def fitting_grid(own: Sequence[float], wanted: float, shape: tuple[int, ...]) -> tuple[float, tuple[int, ...]]:
    """Spacing and window for voxels of `own` mm: what is `wanted`, or a multiple of isotropic voxels within a third.

    The window then spans at least as many millimetres, in multiples of 8 voxels.
    """
    size = sum(own) / 3
    factor = max(1, round(wanted / size))
    off = abs(size * factor - wanted) / wanted
    if max(own) - min(own) > TOLERANCE * size or not TOLERANCE < off < 1 / 3:
        return wanted, shape  # if it does not fit, `coarsening` in `prepared.py` says so
    spacing = round(size * factor, 4)
    return spacing, tuple(8 * math.ceil(n * wanted / spacing / 8) for n in shape)


def fingerprint(name: str, listed: Iterable[tuple[str, str]], phantom: dict | None = None) -> str:
    """Eight hexadecimal digits of a hash over a data set: its name, each participant's split, phantoms' settings."""
    content = json.dumps([name, sorted(listed), phantom], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def data_contrasts(config: DataConfig) -> list[str]:
    """The contrasts that every subject of a prepared data set has."""
    return read_dataset(config.folder).get("contrasts", [])


def read_dataset(root: str | Path, needed: Sequence[str] = ("name",)) -> dict:
    """The content of dataset.json; raises `VolumeError` if it is missing, unreadable or lacks a key of `needed`."""
    path = Path(root) / "dataset.json"
    try:
        description = read_json(path, REMEDY, VolumeError)
    except FileNotFoundError:
        raise VolumeError(f"{root}: no prepared data set here (no dataset.json); see diffens prepare --help") from None
    absent = [key for key in needed if key not in description] if isinstance(description, dict) else needed
    if absent:
        raise VolumeError(f"{path}: has no {', '.join(absent)}; {REMEDY}")
    wrong = [key for key, fits in FITS.items() if key in description and not fits(description[key])]
    if wrong:
        raise VolumeError(f"{path}: wrong {', '.join(wrong)}; {REMEDY}")
    return description


def _is_text(value) -> bool:
    return isinstance(value, str) and value.isprintable()


def _are_texts(value) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_sizes(value) -> bool:
    """Whether it is three positive numbers."""
    return isinstance(value, list) and len(value) == 3 and all(type(n) in (int, float) and 0 < n < 1e6 for n in value)


FITS = {"name": _is_text, "contrasts": _are_texts, "source": _are_texts, "licence": _are_texts}
FITS |= {"spacing": _are_sizes, "shape": _are_sizes}


def read_participants(root: str | Path) -> pd.DataFrame:
    """The table participants.tsv, which defines the data set and its split, as strings.

    patient defaults to the participant, source to an empty string. Raises `VolumeError` where the table is missing or
    unreadable, or has a participant that is listed twice, has no name that a folder can have, is named `all`, or
    is in no split that there is.
    """
    path = Path(root) / "participants.tsv"
    if not path.is_file():
        raise VolumeError(f"{root}: no participants.tsv here; prepare the data first, see diffens prepare --help")
    table = read_table(path, needed=("participant_id", "split"))
    names = table["participant_id"]
    wrong = sorted({name for name in names if not is_name(name) or name == EVERYONE} | set(names[names.duplicated()]))
    if wrong:
        listed = shown(", ".join(wrong))
        raise VolumeError(
            f"{path}: {listed}: listed twice, without a name, with one that no folder can have, or named '{EVERYONE}'"
        )
    unknown = table[~table["split"].isin(SPLITS)]
    if len(unknown):
        participant, split = unknown.iloc[0][["participant_id", "split"]]
        raise VolumeError(f"{path}: {participant} has the split '{shown(split)}'; use {', '.join(SPLITS)}")
    return table.assign(patient=table.get("patient", names), source=table.get("source", ""))


def read_table(path: str | Path, needed: Sequence[str]) -> pd.DataFrame:
    """A table with a header, split at commas (.csv) or else at tabs, as strings; empty cells are ''.

    Rows and columns that are blank throughout are left out: spreadsheets write them beside and below a table.
    Raises `VolumeError` where it is missing, is no table, has two columns of one name, or lacks one of `needed`.
    """
    path = Path(path)
    if not os.path.isfile(path):  # unlike Path's, false for a name that no file can have
        raise VolumeError(f"{path}: no such file")
    try:
        table = read_cells(path, "," if path.suffix.lower() == ".csv" else "\t")
    except InputError as error:
        raise VolumeError(f"{path}: cannot be read as a table ({shown(error)})") from None
    table = table.rename(columns=str.strip).map(str.strip)
    table = table.loc[:, (table.columns != "") | (table != "").any()]
    odd = [cell for cell in (*table.columns, *table.to_numpy().flat) if not cell.isprintable()]
    if odd:
        raise VolumeError(f"{path}: a cell cannot be printed, {quoted(odd[0])}; correct the table")
    if not table.columns.is_unique:
        raise VolumeError(f"{path}: several columns of one name; it has {shown(', '.join(table.columns))}")
    absent = [column for column in needed if column not in table]
    if absent:
        raise VolumeError(f"{path}: no column {' or '.join(absent)}; it has {shown(', '.join(table.columns))}")
    return table
