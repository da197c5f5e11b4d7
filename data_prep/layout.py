"""The prepared layout on disk: the one place that writes it, so that everything else can rely on it.

    <root>/dataset.json                        name, contrasts that every subject has, spacing, shape, source, licence
    <root>/participants.tsv                    participant_id, split, patient, source: defines the set and its split
    <root>/<participant_id>/<contrast>.nii.gz  flair t1ce t1 t2: float32 in [0, 1], RAS, background exactly 0
    <root>/<participant_id>/seg.nii.gz         uint8: 1 necrotic, 2 oedema, 4 enhancing; not every subject has one
    <root>/<participant_id>/brain.nii.gz       uint8: 1 where any contrast is not 0
    <root>/<participant_id>/intensity.json     low and high per contrast: value * (high - low) + low is the own unit

A subject's folder appears whole or not at all. Only one process at a time may prepare data into a root.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from diffens_core.data.volumes import Scale, VolumeError

CONTRASTS = ("flair", "t1ce", "t1", "t2")
COLUMNS = ("participant_id", "split", "patient", "source")


def write_subject(
    root: str | Path,
    participant_id: str,
    images: dict[str, np.ndarray],
    brain: np.ndarray,
    seg: np.ndarray | None,
    affine: np.ndarray,
    scales: dict[str, Scale],
) -> Path:
    """Write one subject's folder, replacing one that is there, and return its path.

    images: [X, Y, Z] by contrast, RAS, in their own unit; they are scaled to [0, 1] here, and set to 0 outside the
    brain and where they are 0 themselves. brain: bool [X, Y, Z]. seg: labels [X, Y, Z] or None. affine: [4, 4], mm.
    scales: from the own unit, by contrast.
    """
    folder = Path(root) / participant_id
    partial = Path(root) / f".{participant_id}.partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for contrast, image in images.items():
        scaled = (scales[contrast].apply(image, brain & (image != 0)) + 1) / 2
        _save(partial / f"{contrast}.nii.gz", scaled.astype(np.float32), affine)
    _save(partial / "brain.nii.gz", brain.astype(np.uint8), affine)
    if seg is not None:
        _save(partial / "seg.nii.gz", seg.astype(np.uint8), affine)
    units = {contrast: {"low": scales[contrast].low, "high": scales[contrast].high} for contrast in images}
    (partial / "intensity.json").write_text(json.dumps(units, indent=1) + "\n")
    if folder.exists():
        os.replace(folder, retired := partial.with_name(f"{partial.name}-old"))
        os.replace(partial, folder)
        shutil.rmtree(retired)
    else:
        os.replace(partial, folder)
    return folder


def _save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


def missing_files(root: str | Path, participant_id: str, names) -> list[str]:
    """Which of brain, intensity.json and the volumes `names` the subject's folder lacks; all, if it is not there."""
    wanted = ["intensity.json", "brain.nii.gz", *(f"{name}.nii.gz" for name in names)]
    return [file for file in wanted if not (Path(root) / participant_id / file).is_file()]


def remove_partials(root: str | Path) -> None:
    """Remove what a killed run left half-written."""
    for leftover in Path(root).glob(".*.partial-*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def listed_participants(root: str | Path) -> pd.DataFrame:
    """participants.tsv as strings; without rows where there is none yet.

    patient defaults to the participant, source to an empty string. Raises `VolumeError` for a file without
    participant_id and split, or with a participant listed twice.
    """
    path = Path(root) / "participants.tsv"
    if not path.is_file():
        return pd.DataFrame(columns=list(COLUMNS), dtype=str)
    table = read_table(path, needed=("participant_id", "split"))
    table = table.assign(patient=table.get("patient", table["participant_id"]), source=table.get("source", ""))
    repeated = table.loc[table["participant_id"].duplicated(), "participant_id"]
    if len(repeated):
        raise VolumeError(f"{path}: participant {repeated.iloc[0]} is listed twice; remove one of the lines")
    return table


def read_table(path: str | Path, needed) -> pd.DataFrame:
    """A .csv (comma) or other (tab) table with a header, as strings, empty cells as ''; raises `VolumeError`."""
    path = Path(path)
    if not path.is_file():
        raise VolumeError(f"{path}: no such file")
    try:
        separator = "," if path.suffix.lower() == ".csv" else "\t"
        table = pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig"
        )
    except (ValueError, pd.errors.ParserError) as error:
        raise VolumeError(f"{path}: cannot be read as a table ({str(error).strip()})") from error
    table = table.fillna("").rename(columns=str.strip).map(str.strip)
    absent = [column for column in needed if column not in table]
    if absent:
        raise VolumeError(f"{path}: no column {' or '.join(absent)}; it has {', '.join(table.columns)}")
    return table


def write_participants(root: str | Path, rows) -> None:
    """Write participants.tsv, sorted by participant. rows: a table or a list of dicts with the keys `COLUMNS`."""
    table = pd.DataFrame(rows)
    table = table[[*COLUMNS, *(column for column in table if column not in COLUMNS)]].sort_values("participant_id")
    _write_text(Path(root) / "participants.tsv", table.fillna("").to_csv(sep="\t", index=False, lineterminator="\n"))


def read_dataset(root: str | Path) -> dict | None:
    """dataset.json, or None where there is none yet; raises `VolumeError` where it cannot be read."""
    path = Path(root) / "dataset.json"
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise VolumeError(f"{path}: is not JSON ({error}); restore it or prepare into another folder") from error
    absent = [key for key in ("name", "contrasts", "spacing", "shape", "source", "licence") if key not in found]
    if absent:
        raise VolumeError(f"{path}: has no {', '.join(absent)}; restore it or prepare into another folder")
    return found


def write_dataset(root: str | Path, *, name, spacing, shape, source, licence, contrasts=CONTRASTS, **more) -> None:
    """Write dataset.json. spacing: mm, shape: voxels, along R, A, S; source, licence: lists; more: kept as given."""
    about = {"name": name, "contrasts": list(contrasts), "spacing": [float(s) for s in spacing]}
    about |= {"shape": [int(n) for n in shape], "source": list(source), "licence": list(licence)} | more
    _write_text(Path(root) / "dataset.json", json.dumps(about, indent=1) + "\n")


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial-{os.getpid()}")
    temporary.write_text(text)
    os.replace(temporary, path)
