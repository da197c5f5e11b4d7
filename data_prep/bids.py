"""A BIDS data set to the prepared layout.

    diffens prepare bids --source DIR --out DIR      or: python -m data_prep.bids --source DIR --out DIR

DIR is a BIDS data set, or a folder derivatives/NAME of one. Used are, in whatever folders and through links,
  sub-XX[_ses-YY][_...]_FLAIR.nii.gz, _T1w, _T2w, _PDw   flair, t1, t2, pd; a _T1w with ce-... (contrast agent): t1ce
  ..._dseg.nii.gz, or ..._label-XX_mask.nii.gz           seg; what its labels mean, --labels says
  ..._mask.nii.gz without a label, or desc-brain         the brain; without it, all that is not 0 in a contrast is
The participant is sub-XX[_ses-YY], the patient, which the split goes by, is sub-XX. Images below derivatives/ are used
for participants without any in the data set itself; sourcedata/, func/, dwi/ and the like are passed over.
All images of a participant must be on one grid (or give --resample or --register), and skull-stripped, unless there is
a mask.
A participant with two files of one contrast, such as two runs, is left out and both are named: keep one of them, in a
folder of links to those that you mean, if the data set is not yours to change.
Without --labels, a segmentation is used where its labels are surely those of BraTS 2018 to 2021 (with a 4 and without a
3); otherwise the images are prepared without labels, and a line says so.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from data_prep.labels import ANY_NAME, Meaning, parse_labels
from data_prep.prepare import Source, add_labels, make_parser, run
from data_prep.search import collect, note_untaken, walk
from diffens_core.data.layout import is_contrast
from diffens_core.data.volumes import VolumeError
from diffens_core.support.records import read_json
from diffens_core.support.settings import ConfigError, shown

NAME = re.compile(
    r"(?P<id>(?P<sub>sub-[A-Za-z0-9+]+)(_ses-[A-Za-z0-9+]+)?)(?P<entities>(_[A-Za-z]+-[^_]+)*)"
    r"_(?P<suffix>FLAIR|T1w|T2w|PDw|dseg|mask)\.nii(\.gz)?"
)
ALIKE = re.compile(r"(FLAIR|T1w|T2w|PDw|dseg|mask).*\.nii", re.IGNORECASE)
CONTRAST = {"FLAIR": "flair", "T1w": "t1", "T2w": "t2", "PDw": "pd"}
USUAL = ("flair", "t1ce")
OTHERS = {"sourcedata", "func", "dwi", "fmap", "perf", "pet", "figures"}  # folders without structural images


def find(source: str | Path, labels: Meaning | None = None) -> list[Source]:
    """The participants below `source`; raises `VolumeError` where there are none.

    labels: what those of all segmentations mean, {} to use none; None: those that are surely of BraTS 2018 to 2021.
    """
    top = Path(os.path.abspath(source))
    files = [path for path in walk(top) if not OTHERS & set(path.relative_to(top).parts)]
    listed = [
        (match["id"], kind, path)
        for path in files
        if (match := NAME.fullmatch(path.name)) and (kind := _kind(match["suffix"], match["entities"]))
    ]
    note_untaken(files, (path for *_, path in listed), ALIKE, "sub-XX[_ses-YY]_FLAIR.nii.gz, _T1w, _T2w, _dseg, _mask")
    if not any(is_contrast(kind) for _, kind, _ in listed):
        raise VolumeError(f"{source}: no BIDS images here, such as sub-01/anat/sub-01_FLAIR.nii.gz")
    used = [file for file in _preferred(listed, top) if file[1] != "seg" or labels != {}]
    meaning, name = ANY_NAME if labels is None else labels, f"BIDS {_name_of(top)}"
    return [Source(p, p.partition("_ses-")[0], found, meaning, name) for p, found in collect(used)]


def _kind(suffix: str, entities: str) -> str:
    """The contrast of a file, "seg" or "mask"; '' for one that is none of them, as is a FLAIR after contrast agent."""
    values = dict(entity.split("-", 1) for entity in entities.split("_") if entity)
    if suffix == "mask":
        label, description = values.get("label", "brain"), values.get("desc", "brain")
        return "seg" if label != "brain" else "mask" if description == "brain" else ""
    if suffix == "dseg":
        return "seg"
    if "ce" in values:
        return "t1ce" if suffix == "T1w" else ""
    return CONTRAST[suffix]


def _preferred(listed: list[tuple[str, str, Path]], top: Path) -> list[tuple[str, str, Path]]:
    """The files without images below derivatives/ of participants that the data set itself has images of."""

    def is_derived(path: Path) -> bool:
        return path.relative_to(top).parts[0] == "derivatives"

    own = {participant for participant, kind, path in listed if is_contrast(kind) and not is_derived(path)}
    passed = {file for file in listed if file[0] in own and is_contrast(file[1]) and is_derived(file[2])}
    for _, _, path in sorted(passed):
        print(f"note: {path}: not used, as the data set itself has images of this participant", flush=True)
    return [file for file in listed if file not in passed]


def _name_of(top: Path) -> str:
    """The name of a data set, by its description or else by its folder: participants of two sets have equal names."""
    try:
        return shown(read_json(top / "dataset_description.json")["Name"])
    except (OSError, ConfigError, LookupError, TypeError):
        return top.name


def main(arguments: list[str] | None = None) -> int:
    """Command line of this module; returns the exit status."""
    parser = make_parser("bids", __doc__, required="flair and t1ce, if any has them; or else all that any has")
    parser.add_argument("--source", required=True, type=Path, help="folder of the data set, or one of its derivatives")
    add_labels(parser, "those of BraTS 2018 to 2021, where it is sure")
    options = parser.parse_args(arguments)

    def listed() -> list[Source]:
        subjects = find(options.source, parse_labels(options.labels))
        usual = [contrast for contrast in USUAL if any(contrast in subject.files for subject in subjects)]
        options.contrasts = options.contrasts or usual
        return subjects

    name = f"BIDS {_name_of(Path(os.path.abspath(options.source)))}"
    return run(listed, options, source=name, licence=f"{name}: see its dataset_description.json")


if __name__ == "__main__":
    sys.exit(main())
