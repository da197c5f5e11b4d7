"""Any table of paired files to the prepared layout.

    diffens prepare pairs --table pairs.csv --out DIR      or: python -m data_prep.pairs --table pairs.csv --out DIR

The table has a header and one row per subject; .csv is split at commas, other files at tabs. Columns:
  participant_id   needed
  flair t1ce t1 t2 at least one, or others that --contrasts names (pd): NIfTI files on one grid (or give --resample or
                   --register), skull-stripped, background 0; paths from the table's folder
  seg              labels 1 necrotic, 2 oedema, 4 enhancing, or what --labels says
  mask             a volume that is not 0 where the brain is; without it, all that is not 0 in a contrast is
  patient          unit of the split; the participant, where it is empty
  split            train, val or test; drawn, where it is empty
A cell of a contrast may be empty if --contrasts does not ask for it; by default all columns are asked for.
Rows of blank cells are passed over.
"""

from __future__ import annotations

import sys
from pathlib import Path

from data_prep.labels import UNTIL_2021, parse_labels
from data_prep.prepare import Source, add_labels, make_parser, run
from diffens_core.data.layout import CONTRASTS, contrasts_in, read_table
from diffens_core.data.volumes import VolumeError
from diffens_core.support.settings import shown

COLUMNS = ("participant_id", *CONTRASTS, "seg", "mask", "patient", "split")


def find(table: str | Path, contrasts=None, labels: dict[int, int] | None = None) -> list[Source]:
    """The subjects that `table` lists; raises `VolumeError` for a table that cannot be used.

    contrasts: those that must be columns, also unusual ones; None: any one of the usual. labels: what those of seg
    mean, {} to use none; None: those of the layout.
    """
    rows, folder = read_table(table, needed=("participant_id", *(contrasts or ()))), Path(table).parent
    unknown = [column for column in rows if column not in (*COLUMNS, *(contrasts or ()))]
    if unknown:
        use = f"use {', '.join(COLUMNS)}, or name another contrast with --contrasts"
        raise VolumeError(f"{table}: unknown column {shown(', '.join(unknown))}; {use}")
    if not contrasts and not set(CONTRASTS) & set(rows):
        raise VolumeError(f"{table}: no column of images; add one of {', '.join(CONTRASTS)}")
    if not len(rows):
        raise VolumeError(f"{table}: has no rows; add one per subject")
    meaning = UNTIL_2021 if labels is None else labels
    return [_read_row(row, folder, meaning) for row in rows.to_dict("records")]


def _read_row(row: dict[str, str], folder: Path, labels: dict[int, int]) -> Source:
    participant = row["participant_id"]
    names = [*contrasts_in(set(row) - set(COLUMNS) | set(CONTRASTS)), *(["seg"] if labels else []), "mask"]
    files = {name: folder / row[name] for name in names if row.get(name)}
    return Source(participant, row.get("patient") or participant, files, labels, "pairs")


def main(arguments: list[str] | None = None) -> int:
    """Command line of this module; returns the exit status."""
    parser = make_parser("pairs", __doc__, required="all columns of the table")
    parser.add_argument("--table", required=True, type=Path, help="table of the files")
    add_labels(parser, "1=1 2=2 4=4")
    options = parser.parse_args(arguments)
    if options.split_file is None and _has_splits(options.table):
        options.split_file = options.table
    licence = "pairs: that of the files in the table"

    def listed() -> list[Source]:
        return find(options.table, options.contrasts, parse_labels(options.labels))

    return run(listed, options, source="pairs", licence=licence)


def _has_splits(table: Path) -> bool:
    """Whether the table has a column of splits; `find` raises the error for a table that cannot be read."""
    try:
        return "split" in read_table(table, needed=())
    except VolumeError:
        return False


if __name__ == "__main__":
    sys.exit(main())
