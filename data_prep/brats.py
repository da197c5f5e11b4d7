"""BraTS downloads, of 2018 to 2021 and of 2023 and later, to the prepared layout.

    diffens prepare brats --source DIR --out DIR      or: python -m data_prep.brats --source DIR --out DIR

DIR is searched with all its folders and links, for one of the two ways in which the releases name their files, in
upper or lower case:
  2018-2021  <id>_flair.nii.gz, _t1ce, _t1, _t2, _seg (or .nii)
  2023-      <id>-t2f.nii.gz, -t1c, -t1n, -t2w, -seg (or .nii)
The participant is the <id>; the patient, which the split goes by, is the <id> without visit or time point.
What the labels mean depends on challenge and year (`data_prep/labels.py` has the table and its sources). They are used
where <id> and the labels in the file agree on it: 2018-2021 (1 necrotic, 2 oedema, 4 enhancing), GLI, MEN, MET and SSA
of 2023 and later (3 enhancing), PED of 2024 and later where a file has a 4 (1 enhancing, 2 non-enhancing, 3 cyst,
4 oedema). Otherwise the images are prepared without labels, and a line says so; --labels says what they mean: for PED
of 2023 1=1 2=2 3=4, for PED of 2024 1=4 2=1 3=0 4=2. A cyst, and the 4 of GLI 2024 and MET 2025, the resection
cavity, have no class in the layout and become 0.
The releases share patients under different ids (2021 holds cases of 2018; 2023 those of 2021), so a set made from
several of them needs a split file to keep test patients out of training.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from data_prep.labels import Meaning, meanings_of, parse_labels
from data_prep.prepare import Source, add_labels, make_parser, run
from data_prep.search import collect, folder_of, note_untaken, walk
from diffens_core.data.volumes import VolumeError

UNDERSCORE = re.compile(r"(?P<id>.+)_(?P<kind>flair|t1ce|t1|t2|seg)\.nii(\.gz)?", re.IGNORECASE)
DASH = re.compile(r"(?P<id>BraTS-.+)-(?P<kind>t2f|t1c|t1n|t2w|seg)\.nii(\.gz)?", re.IGNORECASE)
MISNAMED_SEG = re.compile(r".+_Segm\.nii(\.gz)?")  # 2020: BraTS20_Training_355/W39_1998.09.19_Segm.nii
ALIKE = re.compile(r"(flair|t1|t2|seg).*\.nii", re.IGNORECASE)
CONTRAST = {"t2f": "flair", "t1c": "t1ce", "t1n": "t1", "t2w": "t2"}
RELEASES = {"BraTS-": "2023 or later", "BraTS2021": "2021", "BraTS20": "2020", "BraTS19": "2019", "Brats18": "2018"}
VISIT = re.compile(r"(BraTS-.+-\d+)-\d+|(bra?ts1[5-9]_.+_.+)_\d+", re.IGNORECASE)
LICENCE = "BraTS: CC BY 4.0 (2021 on TCIA), CC BY 3.0 (cases of TCGA origin); others: the terms of their release"


def find(source: str | Path, labels: Meaning | None = None) -> list[Source]:
    """The subjects with files below `source`; raises `VolumeError` where there are none.

    labels: what those of all segmentations mean, {} to use none; None: what name and file agree on.
    """
    files, listed = walk(source), []
    for path in files:
        if match := DASH.fullmatch(path.name) or UNDERSCORE.fullmatch(path.name):
            kind = match["kind"].lower()
            listed.append((match["id"], CONTRAST.get(kind, kind), path))
        elif MISNAMED_SEG.fullmatch(path.name):
            listed.append((folder_of(path).name, "seg", path))
    note_untaken(files, (path for *_, path in listed), ALIKE, "<id>_flair.nii.gz or BraTS-<id>-t2f.nii.gz")
    used = [file for file in listed if file[1] != "seg" or labels != {}]
    if not used:
        raise VolumeError(f"{source}: no BraTS files here, such as <id>_flair.nii.gz or <id>-t2f.nii.gz")
    return [_describe(participant, found, labels) for participant, found in collect(used)]


def _describe(participant: str, files: dict[str, Path], labels: Meaning | None) -> Source:
    meaning = meanings_of(participant) if labels is None else labels
    years = [year for start, year in RELEASES.items() if participant.startswith(start)]
    return Source(participant, patient_of(participant), files, meaning, " ".join(["BraTS", *years[:1]]))


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
    add_labels(parser, "what name and file agree on")
    options = parser.parse_args(arguments)

    def listed() -> list[Source]:
        return find(options.source, parse_labels(options.labels))

    return run(listed, options, source="BraTS", licence=LICENCE, required=("flair", "t1ce"))


if __name__ == "__main__":
    sys.exit(main())
