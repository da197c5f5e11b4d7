"""Preprocessed structural images of the Human Connectome Project (young adults) to the prepared layout.

    diffens prepare hcp --source DIR --out DIR      or: python -m data_prep.hcp --source DIR --out DIR

DIR holds the unpacked <subject>_3T_Structural_preproc archives, that is, for each subject
  <subject>/T1w/T1w_acpc_dc_restore_brain.nii.gz and T2w_acpc_dc_restore_brain.nii.gz      its own space, or else
  <subject>/MNINonLinear/T1w_restore_brain.nii.gz and T2w_restore_brain.nii.gz             warped to MNI
HCP has no FLAIR, no contrast agent and no tumours: the contrasts are t1 and t2, and there is no seg.
The voxels stay at their 0.7 mm. The default window is 232 x 288 x 232 of them, 162 x 202 x 162 mm; for comparison, the
brains of the BraTS cases that this was tried on span up to 146 x 190 x 146 mm. A brain that does not fit is reported.
Many HCP subjects are siblings. Only the restricted data tells which, so give --split-file if families must not mix.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from data_prep.prepare import Source, make_parser, run
from data_prep.search import collect, folder_of, note_untaken, walk
from diffens_core.data.volumes import VolumeError

NAMES = {  # by folder; the first folder wins
    "T1w": re.compile(r"(T1w|T2w)_acpc_dc_restore_brain\.nii(\.gz)?"),
    "MNINonLinear": re.compile(r"(T1w|T2w)_restore_brain\.nii(\.gz)?"),
}
ALIKE = re.compile(r"T[12]w(_acpc_dc)?_restore_brain\.nii", re.IGNORECASE)
CONTRAST = {"T1w": "t1", "T2w": "t2"}
SHAPE = (232, 288, 232)
LICENCE = "HCP: WU-Minn HCP Consortium Open Access Data Use Terms"


def find(source: str | Path) -> list[Source]:
    """The subjects below `source`; raises `VolumeError` where there are none."""
    files, taken = walk(source), []
    by_subject: dict[str, dict[str, list[tuple[str, str, Path]]]] = {}
    for path in files:
        folder = folder_of(path)
        if match := folder.name in NAMES and NAMES[folder.name].fullmatch(path.name):
            subject = folder.parent.name
            found = by_subject.setdefault(subject, {name: [] for name in NAMES})
            found[folder.name].append((subject, CONTRAST[match[1]], path))
            taken.append(path)
    note_untaken(files, taken, ALIKE, "T1w/T1w_acpc_dc_restore_brain.nii.gz")
    if not by_subject:
        raise VolumeError(f"{source}: no HCP files here, such as <subject>/T1w/T1w_acpc_dc_restore_brain.nii.gz")
    preferred = (next(filter(None, found.values())) for found in by_subject.values())
    subjects = collect(file for listed in preferred for file in listed)
    return [Source(subject, subject, found, {}, "HCP") for subject, found in subjects]


def main(arguments: list[str] | None = None) -> int:
    """Command line of this module; returns the exit status."""
    parser = make_parser("hcp", __doc__, required="t1 t2", shape=SHAPE)
    parser.add_argument("--source", required=True, type=Path, help="folder of the unpacked archives")
    options = parser.parse_args(arguments)
    return run(lambda: find(options.source), options, source="WU-Minn HCP", licence=LICENCE, required=("t1", "t2"))


if __name__ == "__main__":
    sys.exit(main())
