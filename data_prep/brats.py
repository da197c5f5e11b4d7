"""BraTS downloads, of 2018 to 2021 and of 2023 and later, to the prepared layout.

    python -m data_prep.brats --source DIR --out DIR

DIR is searched with all its folders, for one of the two ways in which the releases name their files:
  2018-2021  <id>_flair.nii.gz, _t1ce, _t1, _t2, _seg (or .nii)  labels 1 necrotic, 2 oedema, 4 enhancing
  2023-      <id>-t2f.nii.gz, -t1c, -t1n, -t2w, -seg (or .nii)   labels 1, 2, 3 enhancing, which becomes 4
The participant is the <id>; the patient, which the split goes by, is the <id> without visit or time point.
The releases share patients under different ids (2021 holds cases of 2018; 2023 those of 2021), so a set made from
several of them needs a split file to keep test patients out of training.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from data_prep.prepare import Source, make_parser, run
from data_prep.search import collect
from diffens_core.data.volumes import VolumeError

UNDERSCORE = re.compile(r"(?P<id>.+)_(?P<kind>flair|t1ce|t1|t2|seg)\.nii(\.gz)?")
DASH = re.compile(r"(?P<id>BraTS-.+)-(?P<kind>t2f|t1c|t1n|t2w|seg)\.nii(\.gz)?")
MISNAMED_SEG = re.compile(r".+_Segm\.nii(\.gz)?")  # 2020: BraTS20_Training_355/W39_1998.09.19_Segm.nii
CONTRAST = {"t2f": "flair", "t1c": "t1ce", "t1n": "t1", "t2w": "t2"}
OLD_LABELS, NEW_LABELS = {1: 1, 2: 2, 4: 4}, {1: 1, 2: 2, 3: 4}
RELEASES = {"BraTS-": "2023 or later", "BraTS2021": "2021", "BraTS20": "2020", "BraTS19": "2019", "Brats18": "2018"}
VISIT = re.compile(r"(BraTS-.+)-\d+|(bra?ts1[5-9]_.+_.+)_\d+", re.IGNORECASE)
LICENCE = "BraTS: CC BY 4.0 (2021 on TCIA), CC BY 3.0 (cases of TCGA origin); others: the terms of their release"


def find(source: str | Path) -> list[Source]:
    """The subjects with files below `source`; raises `VolumeError` where there are none."""
    listed = []
    for path in sorted(Path(source).rglob("*.nii*")):
        match = DASH.fullmatch(path.name) or UNDERSCORE.fullmatch(path.name)
        if match and path.is_file() and not path.name.startswith("."):
            listed.append((match["id"], CONTRAST.get(match["kind"], match["kind"]), path))
        elif MISNAMED_SEG.fullmatch(path.name):
            listed.append((path.parent.name, "seg", path))
    if not listed:
        raise VolumeError(f"{source}: no BraTS files here, such as <id>_flair.nii.gz or <id>-t2f.nii.gz")
    return [_describe(participant, files) for participant, files in collect(listed)]


def _describe(participant: str, files: dict[str, Path]) -> Source:
    labels = NEW_LABELS if participant.startswith("BraTS-") else OLD_LABELS
    years = [year for start, year in RELEASES.items() if participant.startswith(start)]
    return Source(participant, patient_of(participant), files, labels, " ".join(["BraTS", *years[:1]]))


def patient_of(participant: str) -> str:
    """The patient: the participant without the number of a visit, if it has one.

    So BraTS-GLI-00001 for BraTS-GLI-00001-000, and Brats18_TCIA01_201 for Brats18_TCIA01_201_1.
    """
    match = VISIT.fullmatch(participant)
    return (match[1] or match[2]) if match else participant


def main(arguments: list[str] | None = None) -> int:
    """Command line of this module; returns the exit status."""
    parser = make_parser("brats", __doc__, required="flair t1ce")
    parser.add_argument("--source", required=True, type=Path, help="folder of the download")
    options = parser.parse_args(arguments)
    return run(lambda: find(options.source), options, source="BraTS", licence=LICENCE, required=("flair", "t1ce"))


if __name__ == "__main__":
    sys.exit(main())
