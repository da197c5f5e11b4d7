"""What the library writes and reads again: objects in JSON, and tables whose columns are known."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from .errors import DiffensError, InputError
from .settings import ConfigError, shown

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
        table = read_cells(path, dtype=dict.fromkeys(texts, str), na_values=[""])
    except ValueError as error:  # from pandas, or from bytes that are no text
        raise ConfigError(f"{path}: not a table ({shown(error)}); {REMEDY}") from None
    if list(table) != list(columns):
        raise ConfigError(f"{path}: its columns are not {', '.join(columns)}; {REMEDY}")
    wrong = [name for name in texts if table[name].isna().any()]
    wrong += [name for name in columns if name not in texts and len(table) and table[name].dtype.kind not in "iuf"]
    if wrong:
        raise ConfigError(f"{path}: a cell of {', '.join(wrong)} is blank or no number; {REMEDY}")
    return table


def read_cells(path: Path, **options) -> pd.DataFrame:
    """As `pandas.read_csv`, but only blank cells can be missing; `ValueError` where it would drop the end of a row."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return pd.read_csv(path, index_col=False, keep_default_na=False, **options)
        except pd.errors.ParserWarning:
            raise InputError("a row has more cells than the header") from None
