"""The 3D MR image database of MS patients (Lesjak et al., Neuroinformatics 2017) to the prepared layout.

    diffens prepare open_ms --source DIR --out DIR      or: python -m data_prep.open_ms --source DIR --out DIR

DIR is a copy of the open_ms_data repository or a part of it. Used are the cross-sectional images registered to MNI,
MNI/patientNN/{FLAIR,T1,T1POST,T2}_..._regtoMNI.nii.gz, and the lesions in GOLD_STANDARD_..._regtoMNI.nii.gz.
T1POST is a T1 after contrast agent: t1ce. A lesion, 1 in the file, becomes label 2: oedema is the one class of the
layout that is bright in FLAIR without enhancing, so "tumour volume" means lesion volume here.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from data_prep.prepare import Source, make_parser, run
from data_prep.search import collect, folder_of, note_untaken, walk
from diffens_core.data.volumes import VolumeError

NAME = re.compile(r"(FLAIR|T1POST|T1|T2|GOLD_STANDARD)_.*regtoMNI\.nii(\.gz)?", re.IGNORECASE)
ALIKE = re.compile(r"regtoMNI.*\.nii", re.IGNORECASE)
CONTRAST = {"FLAIR": "flair", "T1POST": "t1ce", "T1": "t1", "T2": "t2", "GOLD_STANDARD": "seg"}
NEEDED = ("flair", "t1ce")


def find(source: str | Path) -> list[Source]:
    """The patients below `source`; raises `VolumeError` where there are none."""
    files = walk(source)
    matches = [(path, match) for path in files if (match := NAME.fullmatch(path.name))]
    note_untaken(files, (path for path, _ in matches), ALIKE, "FLAIR_..._regtoMNI.nii.gz")
    if not matches:
        raise VolumeError(f"{source}: no files of open_ms here, such as patient07/FLAIR_..._regtoMNI.nii.gz")
    listed = [(folder_of(path).name, CONTRAST[match[1].upper()], path) for path, match in matches]
    return [Source(patient, patient, found, {1: 2}, "open_ms") for patient, found in collect(listed)]


def main(arguments: list[str] | None = None) -> int:
    """Command line of this module; returns the exit status."""
    parser = make_parser("open_ms", __doc__, required=" ".join(NEEDED))
    parser.add_argument("--source", required=True, type=Path, help="folder of the download")
    options = parser.parse_args(arguments)
    source = "3D MR image database of MS patients (Lesjak et al. 2017)"
    return run(lambda: find(options.source), options, source=source, licence="open_ms: CC BY", required=NEEDED)


if __name__ == "__main__":
    sys.exit(main())
