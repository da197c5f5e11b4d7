"""Splits into train, val and test: drawn by patient from a seed, written once and never drawn again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from diffens_core.data.layout import SPLITS, read_table
from diffens_core.data.volumes import VolumeError
from diffens_core.support.settings import shown


def assign_splits(patients, fractions, seed: int, existing: dict[str, str]) -> dict[str, str]:
    """The split of every patient. Those in `existing` keep theirs; only the new ones are divided.

    patients: names, in any order, repeated or not. fractions: of train, val, test; they sum to 1. The numbers are
    the fractions of the new patients, rounded by largest remainder; the draw depends on the seed and on the set of new
    patients alone. Raises `VolumeError` for fractions that do not sum to 1.
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise VolumeError(f"the split {tuple(fractions)} must be three fractions (train, val, test) that sum to 1")
    new = sorted(set(patients) - set(existing))
    exact = np.round(np.array(fractions) * len(new), 9)  # 0.7 * 10 is not 7 in floating point
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: len(new) - counts.sum()]] += 1
    labels = np.repeat(SPLITS, counts)
    order = np.random.default_rng(seed).permutation(len(new))
    drawn = {new[i]: str(label) for i, label in zip(order, labels)}
    return {patient: existing.get(patient) or drawn[patient] for patient in patients}


def read_split_file(path: str | Path) -> dict[str, str]:
    """The split by participant, from a table with the columns participant_id and split; empty ones are drawn later.

    Raises `VolumeError` for an unknown split name and for a participant with two splits.
    """
    table = read_table(path, needed=("participant_id", "split"))
    asked: dict[str, str] = {}
    for participant, split in zip(table["participant_id"], table["split"]):
        if split and split not in SPLITS:
            raise VolumeError(f"{path}: {shown(participant)} has the split '{shown(split)}'; use {', '.join(SPLITS)}")
        if split and asked.setdefault(participant, split) != split:
            raise VolumeError(
                f"{path}: {shown(participant)} is in {asked[participant]} and in {split}; keep one of them"
            )
    return asked


def extend_participants(table: pd.DataFrame, new: pd.DataFrame, asked: dict[str, str], fractions, seed: int):
    """The `table` of participants.tsv with the rows of `new` (which has no column split) added.

    asked: the splits that a file gives to participants; it decides for new patients. Raises `VolumeError` where it
    contradicts `table`, or would put one patient into two splits.
    """
    new = new[~new["participant_id"].isin(table["participant_id"])]
    settled = dict(zip(table["patient"], table["split"]))
    for participant, patient, split in zip(table["participant_id"], table["patient"], table["split"]):
        if asked.get(participant, split) != split:
            raise VolumeError(
                f"{participant}: the split file says {asked[participant]}, participants.tsv says {split}; "
                "a split is never changed, so correct the file or prepare into another folder"
            )
        if settled[patient] != split:
            raise VolumeError(f"participants.tsv: patient {patient} is in {settled[patient]} and {split}; correct it")
    for participant, patient in zip(new["participant_id"], new["patient"]):
        if participant in asked and settled.setdefault(patient, asked[participant]) != asked[participant]:
            raise VolumeError(
                f"{participant}: the split file says {asked[participant]}, but patient {patient} is in "
                f"{settled[patient]} already; all scans of a patient share one split"
            )
    splits = assign_splits(new["patient"], fractions, seed, settled)
    return pd.concat([table, new.assign(split=new["patient"].map(splits))], ignore_index=True)
