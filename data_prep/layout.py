"""Writing of prepared data; no other module writes them.

`diffens_core.data.layout` describes the layout and reads it.

A subject's folder appears whole or not at all. One process at a time prepares data into a root (`alone_in`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from diffens_core.data.layout import CONTRASTS, read_dataset, read_participants
from diffens_core.data.volumes import Scale
from diffens_core.support.files import explained, write_atomically

COLUMNS = ("participant_id", "split", "patient", "source")
KEYS = ("name", "contrasts", "spacing", "shape", "source", "licence")


def write_subject(
    root: str | Path,
    participant_id: str,
    images: dict[str, np.ndarray],
    brain: np.ndarray,
    seg: np.ndarray | None,
    affine: np.ndarray,
    scales: dict[str, Scale],
) -> Path:
    """Write one subject's folder, or replace it if it exists, and return its path.

    images: [X, Y, Z] by contrast, RAS, in their own unit; they are scaled to [0, 1] here, and set to 0 outside the
    brain and where they are 0 themselves. brain: bool [X, Y, Z]. seg: labels [X, Y, Z] or None. affine: [4, 4], mm.
    scales: of their units, by contrast.
    """
    folder = Path(root) / participant_id
    units = {contrast: {"low": scales[contrast].low, "high": scales[contrast].high} for contrast in images}
    with _replacing(folder) as partial:
        for contrast, image in images.items():
            scaled = (scales[contrast].apply(image, brain & (image != 0)) + 1) / 2
            _save(partial / f"{contrast}.nii.gz", scaled.astype(np.float32), affine)
        _save(partial / "brain.nii.gz", brain.astype(np.uint8), affine)
        if seg is not None:
            _save(partial / "seg.nii.gz", seg.astype(np.uint8), affine)
        (partial / "intensity.json").write_text(json.dumps(units, indent=1) + "\n")
    return folder


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A temporary folder for this block to fill, which then becomes `folder`; raises `WriteError` where it cannot."""
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    retired = partial.with_name(f"{partial.name}-old")
    with explained(folder):
        try:
            partial.mkdir(parents=True)
            yield partial
            if folder.exists():
                os.replace(folder, retired)
            os.replace(partial, folder)
        finally:
            for leftover in (partial, retired):
                shutil.rmtree(leftover, ignore_errors=True)


def _save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


def missing_files(root: str | Path, participant_id: str, names) -> list[str]:
    """The files that a subject's folder lacks, among brain, intensity.json and the volumes `names`."""
    wanted = ["intensity.json", "brain.nii.gz", *(f"{name}.nii.gz" for name in names)]
    return [file for file in wanted if not (Path(root) / participant_id / file).is_file()]


def remove_partials(root: str | Path) -> None:
    """Remove the partial folders and files that a killed run left; nobody else may be working in `root`."""
    for leftover in partials(root):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def partials(root: str | Path) -> list[Path]:
    """The partial folders and files below `root`, of a process that writes there or was killed."""
    return list(Path(root).glob(".*.partial-*"))


def listed_participants(root: str | Path) -> pd.DataFrame:
    """The table that `read_participants` reads; without rows where there is no participants.tsv yet."""
    if not (Path(root) / "participants.tsv").is_file():
        return pd.DataFrame(columns=list(COLUMNS), dtype=str)
    return read_participants(root)


def splits_of(table: pd.DataFrame) -> dict[str, str]:
    """The split by participant."""
    return dict(zip(table["participant_id"], table["split"]))


def write_participants(root: str | Path, rows) -> None:
    """Write participants.tsv, sorted by participant. rows: a table or a list of dicts with the keys `COLUMNS`."""
    table = pd.DataFrame(rows)
    table = table[[*COLUMNS, *(column for column in table if column not in COLUMNS)]].sort_values("participant_id")
    text = table.fillna("").to_csv(sep="\t", index=False, lineterminator="\n")
    write_atomically(Path(root) / "participants.tsv", text.encode())


def known_dataset(root: str | Path) -> dict | None:
    """The complete content of dataset.json; None where there is none yet."""
    return read_dataset(root, KEYS) if (Path(root) / "dataset.json").is_file() else None


def write_dataset(root: str | Path, *, name, spacing, shape, source, licence, contrasts=CONTRASTS, **more) -> None:
    """Write dataset.json. spacing: mm, shape: voxels, along R, A, S; source, licence: lists; more: further keys."""
    description = {"name": name, "contrasts": list(contrasts), "spacing": [float(s) for s in spacing]}
    description |= {"shape": [int(n) for n in shape], "source": list(source), "licence": list(licence)} | more
    write_atomically(Path(root) / "dataset.json", (json.dumps(description, indent=1) + "\n").encode())
