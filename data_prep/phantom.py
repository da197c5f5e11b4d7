"""Phantoms: four-contrast brains with a glioma, simulated from the MNI152 template; the embedded default data.

Usage: python -m data_prep.phantom --out DIR [--train N --val N --test N] [--spacing MM] [--seed N] [--only test]

What is like a real scan: folding, sulci and nuclei of the template; contrast from T1, T2, proton density and the signal
equations; partial volume, bias field, Rician noise; labels as BraTS draws them.
What is not: every head is a deformation of one symmetric brain, so gyri differ in place and width, never in pattern.
All contrasts come from one set of tissue shares: translation from one to another is easier than on patients, and
numbers measured here flatter. All contrasts are isotropic and perfectly aligned, where clinical FLAIR is thick-sliced.
No motion, no vessels but random tubes, no basal ganglia iron, no tracts, no haemorrhage, calcification or surgery.
A glioma always has a closed rim and one focus, and its oedema may cross the midline. Skull stripping never fails.
"""

from __future__ import annotations

import argparse
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from loky import ProcessPoolExecutor

from data_prep.anatomy import make_head
from data_prep.fields import Grid
from data_prep.layout import (
    known_dataset,
    missing_files,
    partials,
    remove_partials,
    write_dataset,
    write_participants,
    write_subject,
)
from data_prep.scanner import CONTRASTS, scan
from data_prep.splits import SPLITS
from data_prep.template import template_file
from diffens_core.data.layout import EMBEDDED
from diffens_core.data.volumes import VolumeError, fit_scale
from diffens_core.support.errors import DiffensError
from diffens_core.support.files import alone_in

FIELD_OF_VIEW = (192, 192, 152)
SOURCE = ["simulated from the ICBM 152 nonlinear symmetric 2009a template, as shipped with nilearn"]
LICENCE = ["ICBM 152: may be used, copied, modified and distributed with its copyright notice (McConnell BIC, MNI)"]
VERSION = 1  # of the generator; a folder never mixes two


@dataclass(frozen=True)
class Phantom:
    """A simulated subject. images: float32 [X, Y, Z] by contrast, in arbitrary units; seg: uint8; brain: bool;
    affine: [4, 4], RAS, mm."""

    images: dict[str, np.ndarray]
    seg: np.ndarray
    brain: np.ndarray
    affine: np.ndarray


def make_phantom(seed: int, index: int, spacing: float = 1.0, shape=FIELD_OF_VIEW) -> Phantom:
    """Subject `index` of the set `seed`, with voxels of `spacing` mm in a window of `shape` mm.

    It depends on (seed, index) alone; another spacing gives the same head and tumour with other noise.
    """
    grid = Grid(tuple(float(length) for length in shape), float(spacing))
    head = make_head((seed, index), grid)
    seg = np.zeros(grid.shape, np.uint8)
    seg[head.brain] = head.seg
    return Phantom(scan((seed, index), head, grid), seg, head.brain, grid.affine)


def prepare_phantoms(out, *, subjects=(24, 4, 8), spacing=1.0, seed=0, only=None, progress=None) -> None:
    """Write a set of phantoms in the prepared layout; finished subjects are kept, so a second call resumes.

    subjects: numbers for train, val and test. only: names of the splits to make now; all are listed in
    participants.tsv, and a later call makes the others. progress: called as (done, of, participant) for each one made.
    Another process that prepares into the same folder is waited for. Where nothing is missing, nothing is written.
    Raises `VolumeError` where `out` holds other data, or phantoms of another seed, spacing or number, and `WriteError`
    where it cannot be written.
    """
    out, splits = Path(out), SPLITS if only is None else ([only] if isinstance(only, str) else list(only))
    if len(subjects) != 3 or min(subjects) < 0 or seed < 0 or spacing <= 0:
        raise VolumeError(f"{out}: phantoms need three counts, seed >= 0, spacing > 0")
    if unknown := sorted(set(splits) - set(SPLITS)):
        raise VolumeError(f"{out}: phantoms have the splits {', '.join(SPLITS)}, not '{unknown[0]}'")
    template_file("t1")  # raises its error before anything is written
    listed, made_with = describe(subjects, spacing, seed)
    wanted = [index for index, split in enumerate(listed.values()) if split in splits]
    if _is_described(out, made_with) and not _missing(out, wanted) and not partials(out):
        return
    with alone_in(out):
        if not _is_described(out, made_with):
            _write_description(out, listed, made_with)
        remove_partials(out)
        missing = _missing(out, wanted)
        make = partial(_make_subject, str(out), int(seed), float(spacing))
        workers = 2 if len(missing) > 4 and spacing <= 2 else 1
        for done, index in enumerate(_run(make, missing, workers), start=1):
            (progress or _print_line)(done, len(missing), name_of(index))


def _missing(out: Path, wanted: list[int]) -> list[int]:
    """The subjects that are not there yet."""
    return [index for index in wanted if missing_files(out, name_of(index), (*CONTRASTS, "seg"))]


def name_of(index: int) -> str:
    """Participant id of subject `index`."""
    return f"phantom-{index:03d}"


def describe(subjects, spacing: float, seed: int) -> tuple[dict[str, str], dict]:
    """The definition of a set, without making it: the split of each participant, and its settings in dataset.json."""
    splits = [split for split, count in zip(SPLITS, subjects) for _ in range(count)]
    made_with = {"seed": int(seed), "spacing": float(spacing), "subjects": [int(n) for n in subjects]}
    return {name_of(index): split for index, split in enumerate(splits)}, made_with | {"version": VERSION}


def _is_described(out: Path, made_with: dict) -> bool:
    """Whether dataset.json is there; raises `VolumeError` where it is of other data."""
    known = known_dataset(out)
    if known is not None:
        held = known.get("phantom", f"the data set {known['name']}")
        if held != made_with:
            raise VolumeError(f"{out}: holds {held}, asked for {made_with}: choose another folder or remove this one")
    return known is not None


def _write_description(out: Path, listed: dict[str, str], made_with: dict) -> None:
    """Write participants.tsv, then dataset.json."""
    grid = Grid(FIELD_OF_VIEW, made_with["spacing"])
    rows = [{"participant_id": name, "split": split, "patient": name} for name, split in listed.items()]
    write_participants(out, [row | {"source": "phantom"} for row in rows])
    details = {"spacing": [grid.spacing] * 3, "shape": list(grid.shape), "source": SOURCE, "licence": LICENCE}
    write_dataset(out, name=EMBEDDED, **details, phantom=made_with)


def _print_line(done: int, total: int, participant: str) -> None:
    print(f"[{done}/{total}] {participant}", flush=True)


def _make_subject(out: str, seed: int, spacing: float, index: int) -> None:
    """Make and write one subject; at module level, so that a spawned process can run it."""
    phantom = make_phantom(seed, index, spacing)
    scales = {contrast: fit_scale(image, phantom.brain) for contrast, image in phantom.images.items()}
    write_subject(Path(out), name_of(index), phantom.images, phantom.brain, phantom.seg, phantom.affine, scales)


def _run(make, indices: list[int], workers: int):
    """Call `make` for every index, yielding the index when it is done; in this process if others cannot start."""
    left = list(indices)
    if workers > 1:
        pool = ProcessPoolExecutor(workers)
        try:
            for index, _ in zip(indices, pool.map(make, indices)):
                left.remove(index)
                yield index
        except BrokenProcessPool:  # too little memory: go on in this process
            pass
        finally:
            pool.shutdown(kill_workers=True)
    for index in left:
        make(index)
        yield index


def main(arguments: list[str] | None = None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="diffens prepare phantom", description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="folder of the prepared set")
    for split, count in zip(SPLITS, (24, 4, 8)):
        parser.add_argument(f"--{split}", type=int, default=count, metavar="N", help=f"subjects, default {count}")
    parser.add_argument("--spacing", type=float, default=1.0, metavar="MM", help="voxel size, default 1 mm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=SPLITS, help="make these splits now, list all")
    options = parser.parse_args(arguments)
    counts = (options.train, options.val, options.test)
    try:
        prepare_phantoms(options.out, subjects=counts, spacing=options.spacing, seed=options.seed, only=options.only)
    except (DiffensError, OSError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
