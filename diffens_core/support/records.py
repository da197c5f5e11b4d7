"""What the library writes and reads again: objects in JSON, and tables whose columns are known."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from .errors import DiffensError, InputError
from .settings import ConfigError, quoted, shown

REMEDY = "restore it, or delete its folder to have it made anew"


def read_json(path: Path, remedy: str = REMEDY, kind: type[DiffensError] = ConfigError):
    """The content of a JSON file; raises `kind`, which ends with the `remedy`, for one that is no valid JSON."""
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:  # no text, no JSON, thousands of digits, or brackets within brackets
        raise kind(f"{path}: not valid JSON ({shown(error)}); {remedy}") from None


def read_record(path: Path) -> dict:
    """The object in a JSON file; raises `ConfigError` for one that is damaged."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: not an object; {REMEDY}")
    return content


def read_records(path: Path, columns: Sequence[str], texts: Sequence[str] = ()) -> pd.DataFrame:
    """A table split at commas with exactly these `columns`, numbers but for the `texts`; blank numbers are NaN.

    Raises `ConfigError` for one that is damaged.
    """
    try:
        table = read_cells(path)
        if list(table) != list(columns) or (table[[*texts]] == "").any(axis=None):
            raise ConfigError(f"its columns are not {', '.join(columns)}, or there are blanks among them")
        numbers = {
            column: pd.to_numeric(table[column].replace(["", "nan"], None)) for column in columns if column not in texts
        }
    except ValueError as error:  # one of these, or cells that are no numbers
        raise ConfigError(f"{path}: damaged ({shown(error)}); {REMEDY}") from None
    return table.assign(**numbers)


def read_cells(path: Path, separator: str = ",") -> pd.DataFrame:
    """A table with a header as strings; where a row is shorter, they are ''. Rows of blank cells are passed over.

    Raises `InputError` for what is no table, or has a row with more than the header. (pandas would drop that in
    silence, and can lose a blank cell after a lone carriage return.)
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, delimiter=separator, strict=True)
            header, *rows = (cells for cells in lines if any(map(str.strip, cells)))
    except (csv.Error, ValueError) as error:  # ValueError: no row at all, or bytes that are no text
        raise InputError(str(error)) from None
    longer = [row for row in rows if any(row[len(header) :])]
    if longer:
        raise InputError(f"a row has more cells than the header, {quoted(longer[0])}")
    width = len(header)
    return pd.DataFrame([row[:width] + [""] * (width - len(row)) for row in rows], columns=header, dtype=str)
