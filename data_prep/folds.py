"""Folds of a prepared set, for cross-validation and learning curves: sets of links to its subjects.

    python -m data_prep.folds DIR --out DIR [--folds 5 | --by-source] [--heads 4 8 16] [--seed 0]

Each patient of the splits train and val is held out once, in the split val of one fold, and is in train of the others.
Folds have patients of each source in proportion; with --by-source a fold holds out all of one source. With --heads,
each fold comes with so many training subjects, too, of all sources in proportion, the fewer among the more. The split
test is in no fold. Evaluate a method on one of them: diffens evaluate METHOD --data OUT/fold1 --split val.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from data_prep.layout import KEYS, listed_participants, splits_of, write_dataset, write_participants
from diffens_core.data.layout import read_dataset, read_participants
from diffens_core.data.volumes import VolumeError
from diffens_core.support.errors import DiffensError
from diffens_core.support.files import explained


def held_out(table: pd.DataFrame, folds: int | None, seed: int) -> list[list[str]]:
    """The patients that each fold holds out. table: of participants.tsv; folds: None for one of each source.

    Raises `VolumeError` for fewer than two folds, and for more than there are patients.
    """
    sources = [sorted(set(patients)) for _, patients in table.groupby("source")["patient"]]
    if folds is None:
        found = sources
    else:
        draw = np.random.default_rng(seed)
        dealt = [str(patient) for patients in sources for patient in draw.permutation(patients)]
        found = [dealt[fold::folds] for fold in range(folds)]
    if len(found) < 2 or not all(found):
        patients = sum(map(len, sources))
        raise VolumeError(
            f"{patients} patients of {len(sources)} sources make no {len(found)} folds; at least 2 are needed"
        )
    return found


def in_proportion(table: pd.DataFrame, seed: int) -> list[str]:
    """The participants in an order of which each beginning has the sources in nearly the proportion of all."""
    draw, shares = np.random.default_rng(seed), {}
    for _, names in table.groupby("source")["participant_id"]:
        for rank, name in enumerate(draw.permutation(sorted(names))):
            shares[str(name)] = (rank + 0.5) / len(names)
    return sorted(shares, key=shares.get)


def make_folds(root: Path, out: Path, folds: int | None = 5, heads: Sequence[int] = (), seed: int = 0) -> pd.DataFrame:
    """Write the sets below `out`; returns for each its folder, the subjects in train and val, the sources held out.

    heads: numbers of training subjects that each fold comes with besides all. Raises `VolumeError` as `held_out` does,
    for a number of heads that a fold does not have, where `root` is no prepared set, and where another fold is there.
    """
    description, table = read_dataset(root, KEYS), read_participants(root)
    table = table[table["split"] != "test"]
    rows = []
    for number, patients in enumerate(held_out(table, folds, seed), 1):
        held = table["patient"].isin(patients)
        sources = ", ".join(sorted(set(table.loc[held, "source"])))
        dealt = table.assign(split=np.where(held, "val", "train"))
        order = in_proportion(table[~held], seed)
        if unfit := [count for count in heads if not 0 < count < len(order)]:
            raise VolumeError(
                f"fold {number} trains on {len(order)} subjects; heads must be from 1 to fewer, not {unfit[0]}"
            )
        for count in (len(order), *heads):
            name = f"fold{number}" + (f"-heads{count}" if count < len(order) else "")
            _link(root, out / name, dealt[held | dealt["participant_id"].isin(order[:count])], description)
            rows.append({"set": name, "train": count, "val": int(held.sum()), "held out": sources})
    return pd.DataFrame(rows)


def _link(root: Path, folder: Path, table: pd.DataFrame, description: dict) -> None:
    """A prepared set of the subjects in `table`, each a link to its folder in `root`; a set that exists must be it."""
    targets = {folder / name: root.resolve() / name for name in table["participant_id"]}
    found = listed_participants(folder)
    drawn_anew = len(found) and splits_of(found) != splits_of(table)
    if drawn_anew or any(link.exists() and link.resolve() != target for link, target in targets.items()):
        raise VolumeError(f"{folder}: another fold is there already, and is never changed; give another folder")
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for link, target in targets.items():
            if not link.is_symlink():
                link.symlink_to(os.path.relpath(target, folder.resolve()))
    write_participants(folder, table)
    write_dataset(folder, **description | {"name": f"{description['name']}-{folder.name}"})


def main(arguments: list[str] | None = None) -> int:
    """Command line of this module; returns the exit status."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m data_prep.folds", description=__doc__, formatter_class=plain)
    parser.add_argument("root", type=Path, metavar="DIR", help="a prepared set")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the folds go")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--folds", type=int, default=5, metavar="N", help="default 5")
    kinds.add_argument("--by-source", action="store_true", help="a fold holds out all of one source")
    parser.add_argument("--heads", type=int, nargs="+", default=(), metavar="N", help="fewer training subjects, too")
    parser.add_argument("--seed", type=int, default=0, help="of the draw; default 0")
    asked = parser.parse_args(arguments)
    try:
        folds = None if asked.by_source else asked.folds
        made = make_folds(asked.root, asked.out, folds, asked.heads, asked.seed)
    except (DiffensError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(made.to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
