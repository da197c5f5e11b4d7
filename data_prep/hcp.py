"""Preprocessed structural images of the Human Connectome Project (young adults) to the prepared layout.

    python -m data_prep.hcp --source DIR --out DIR

DIR holds the unpacked <subject>_3T_Structural_preproc archives, that is, for each subject
  <subject>/T1w/T1w_acpc_dc_restore_brain.nii.gz and T2w_acpc_dc_restore_brain.nii.gz      its own space, or else
  <subject>/MNINonLinear/T1w_restore_brain.nii.gz and T2w_restore_brain.nii.gz             warped to MNI
HCP has no FLAIR, no contrast agent and no tumours: the contrasts are t1 and t2, and there is no seg.
The voxels stay at their 0.7 mm. The default window is 232 x 288 x 232 of them, 162 x 202 x 162 mm; for comparison, the
brains of the BraTS cases that this was tried on span up to 146 x 190 x 146 mm. A brain that does not fit is reported.
Many HCP subjects are siblings. Only the restricted data tells which, so give --split-file if families must not mix.
"""

from __future__ import annotations

import sys
from pathlib import Path

from data_prep.prepare import Source, make_parser, run
from data_prep.search import collect
from diffens_core.data.volumes import VolumeError

FOLDERS = {"T1w": "{}_acpc_dc_restore_brain.nii.gz", "MNINonLinear": "{}_restore_brain.nii.gz"}  # the first wins
CONTRAST = {"T1w": "t1", "T2w": "t2"}
SHAPE = (232, 288, 232)
LICENCE = "HCP: WU-Minn HCP Consortium Open Access Data Use Terms"


def find(source: str | Path) -> list[Source]:
    """The subjects below `source`; raises `VolumeError` where there are none."""
    by_subject: dict[Path, list[tuple[str, str, Path]]] = {}
    for folder, pattern in FOLDERS.items():
        for name, contrast in CONTRAST.items():
            for path in sorted(Path(source).glob(f"**/{folder}/{pattern.format(name)}")):
                subject = path.parent.parent.resolve()
                files = by_subject.setdefault(subject, [])
                if all(known.parent == path.parent for _, _, known in files):
                    files.append((subject.name, contrast, path))
    if not by_subject:
        raise VolumeError(f"{source}: no HCP files here, such as <subject>/T1w/T1w_acpc_dc_restore_brain.nii.gz")
    subjects = collect(file for files in by_subject.values() for file in files)
    return [Source(subject, subject, files, {}, "HCP") for subject, files in subjects]


def main(arguments: list[str] | None = None) -> int:
    """Command line of this module; returns the exit status."""
    parser = make_parser("hcp", __doc__, required="t1 t2", shape=SHAPE)
    parser.add_argument("--source", required=True, type=Path, help="folder of the unpacked archives")
    options = parser.parse_args(arguments)
    return run(lambda: find(options.source), options, source="WU-Minn HCP", licence=LICENCE, required=("t1", "t2"))


if __name__ == "__main__":
    sys.exit(main())
