"""What the labels of tumour segmentations mean, release by release.

The layout has the classes of BraTS 2021: 1 necrotic or non-enhancing core, 2 oedema, 4 enhancing. Releases number
theirs differently, and the same number changes its meaning from year to year and from challenge to challenge:

  2017-2021               1 NCR (with NET until 2020), 2 ED, 4 ET
  GLI, MEN, MET, SSA      1 NETC, 2 SNFH, 3 ET                    2023 and later
  GLI 2024-, MET 2025-    4 RC, the resection cavity, as well
  PED 2023                1 NC (NET, cysts and necrosis), 2 ED, 3 ET
  PED 2024-               1 ET, 2 NET, 3 CC, 4 ED

(NCR necrotic core, NET, NC, NETC non-enhancing tumour, ED oedema, SNFH what is bright in FLAIR without enhancing, ET
enhancing tumour, CC cystic component.) Sources: Baid et al. arXiv:2107.02314 (2021; the data page of 2020 for
NCR/NET); LaBella et al. arXiv:2305.07642 (MEN 2023); Moawad et al. arXiv:2306.00838 (MET 2023), Maleki et al.
arXiv:2504.12527 (MET 2025); Adewole et al. arXiv:2305.19369 (SSA); de Verdier et al. arXiv:2405.18368 (GLI 2024);
Fathi Kazerooni et al. arXiv:2305.17033 and 2407.08855 (PED 2023), 2404.15009 (PED 2024).

A name does not say the year, so a segmentation is used where all meanings that its name allows, and its labels fit, say
the same. PED without a 4 may be of 2023 or 2024: it is prepared without labels unless --labels says what they mean. So
is a radiotherapy target (MEN-RT), GoAT, and any name that is no BraTS name, unless a 4 without a 3 tells it from the
other numberings, the Medical Segmentation Decathlon's (1 oedema, 2 non-enhancing, 3 enhancing) among them.

A cavity and a cyst have no class in the layout and become 0: the volume of a tumour is without them, and a line says
so for each subject. To count cysts with the core, as the challenge itself did in 2023, give --labels 1=4 2=1 3=1 4=2.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from data_prep.subject import Source
from diffens_core.data.volumes import VolumeError, load_volume

Meaning = dict[int, int]  # label in a file to label in the layout; 0 for what has no class there

UNTIL_2021: Meaning = {1: 1, 2: 2, 4: 4}
FROM_2023: Meaning = {1: 1, 2: 2, 3: 4}
WITH_CAVITY: Meaning = {**FROM_2023, 4: 0}
PED_2024: Meaning = {1: 4, 2: 1, 3: 0, 4: 2}
DECATHLON: Meaning = {1: 2, 2: 1, 3: 4}
ANY_NAME = (UNTIL_2021, FROM_2023, DECATHLON)

BY_NAME: tuple[tuple[str, tuple[Meaning, ...]], ...] = (
    (r"BraTS1[789]_.+|BraTS20_(Training|Validation)_\d+|BraTS2021_\d+", (UNTIL_2021,)),
    (r"BraTS-(GLI|MET)-\d+-\d+", (WITH_CAVITY,)),
    (r"BraTS-(MEN|SSA)-\d+-\d+", (FROM_2023,)),
    (r"BraTS-PED-\d+-\d+", (FROM_2023, PED_2024)),
    (r"BraTS-.+", ()),
)


def meanings_of(participant: str) -> tuple[Meaning, ...]:
    """What the labels of a participant may mean, by its name."""
    matching = (m for names, m in BY_NAME if re.fullmatch(names, participant, re.IGNORECASE))
    return next(matching, ANY_NAME)


def parse_labels(words: list[str] | None) -> Meaning | None:
    """The meaning that `--labels` gives, such as 1=1 2=2 3=4; {} for none, None where it is not given."""
    if not words or words == ["none"]:
        return {} if words else None
    pairs = [re.fullmatch(r"([1-9]\d*)=([0124])", word) for word in " ".join(words).split()]
    if not pairs or not all(pairs) or len({pair[1] for pair in pairs}) < len(pairs):
        raise VolumeError(
            f"--labels {' '.join(words)}: write each label of the files once, as LABEL=CLASS, with the class 1 "
            "necrotic, 2 oedema, 4 enhancing or 0 none, such as 1=1 2=2 3=4; or write none"
        )
    return {int(pair[1]): int(pair[2]) for pair in pairs}


def settle_labels(subject: Source) -> tuple[Source, str]:
    """The subject with the one meaning of its labels, and a remark on them, or ''.

    Where the labels in the file leave the meaning open, or fit none, the subject is returned without its segmentation,
    and the remark says why. Raises `VolumeError` for a segmentation that cannot be read.
    """
    if "seg" not in subject.files:
        return subject, ""
    path, meanings = subject.files["seg"], subject.seg_labels
    values = np.unique(load_volume(path).data)
    found = [int(value) if value == int(value) else float(value) for value in values if value]
    if not found:
        return replace(subject, seg_labels={}), ""
    if isinstance(meanings, tuple):
        fitting = [m for m in meanings if set(found) <= set(m)]
        said = [{label: meaning[label] for label in found} for meaning in fitting]
        if not said or any(meaning != said[0] for meaning in said):
            files = {name: file for name, file in subject.files.items() if name != "seg"}
            numbers = ", ".join(f"{label:g}" for label in found[:9])
            remark = f"what the labels {numbers} in {path} mean is not known; say it with --labels"
            return replace(subject, files=files), remark
        subject = replace(subject, seg_labels=fitting[0])
    gone = [str(label) for label in found if subject.seg_labels.get(label) == 0]
    return subject, f"label {' and '.join(gone)} has no class here and became 0" if gone else ""
