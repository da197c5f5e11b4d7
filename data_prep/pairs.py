"""Any table of paired files to the prepared layout.

    python -m data_prep.pairs --table pairs.csv --out DIR

The table has a header and one row per subject; .csv is split at commas, other files at tabs. Columns:
  participant_id   needed
  flair t1ce t1 t2 at least one: NIfTI files on one grid, skull-stripped, background 0; from the table's folder
  seg              labels 1 necrotic, 2 oedema, 4 enhancing
  mask             a volume that is not 0 where the brain is; without it, all that is not 0 in a contrast is
  patient          unit of the split; the participant, where it is empty
  split            train, val or test; drawn, where it is empty
A cell of a contrast may be empty if --contrasts does not ask for it; by default all columns are asked for.
"""

from __future__ import annotations

import sys
from pathlib import Path

from data_prep.prepare import Source, make_parser, run
from diffens_core.data.layout import CONTRASTS, read_table
from diffens_core.data.volumes import VolumeError

COLUMNS = ("participant_id", *CONTRASTS, "seg", "mask", "patient", "split")


def find(table: str | Path, contrasts=None) -> list[Source]:
    """The subjects that `table` lists; raises `VolumeError` for a table that cannot be used.

    contrasts: those that must be columns; None: any one of them.
    """
    rows, folder = read_table(table, needed=("participant_id", *(contrasts or ()))), Path(table).parent
    unknown = [column for column in rows if column not in COLUMNS]
    if unknown:
        raise VolumeError(f"{table}: unknown column {', '.join(unknown)}; use {', '.join(COLUMNS)}")
    if not set(CONTRASTS) & set(rows):
        raise VolumeError(f"{table}: no column of images; add one of {', '.join(CONTRASTS)}")
    if not len(rows):
        raise VolumeError(f"{table}: has no rows; add one per subject")
    return [_read_row(row, folder) for row in rows.to_dict("records")]


def _read_row(row: dict[str, str], folder: Path) -> Source:
    participant = row["participant_id"]
    files = {name: folder / row[name] for name in (*CONTRASTS, "seg", "mask") if row.get(name)}
    return Source(participant, row.get("patient") or participant, files, {1: 1, 2: 2, 4: 4}, "pairs")


def main(arguments: list[str] | None = None) -> int:
    """Command line of this module; returns the exit status."""
    parser = make_parser("pairs", __doc__, required="all columns of the table")
    parser.add_argument("--table", required=True, type=Path, help="table of the files")
    options = parser.parse_args(arguments)
    if options.split_file is None and _has_splits(options.table):
        options.split_file = options.table
    licence = "pairs: that of the files in the table"
    return run(lambda: find(options.table, options.contrasts), options, source="pairs", licence=licence)


def _has_splits(table: Path) -> bool:
    """Whether the table has a column of splits; `find` raises the error for a table that cannot be read."""
    try:
        return "split" in read_table(table, needed=())
    except VolumeError:
        return False


if __name__ == "__main__":
    sys.exit(main())
