"""Search of a download for its files, and their sorting into subjects."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path


def walk(source: str | Path) -> list[Path]:
    """All files below `source`, sorted; none where there is no such folder.

    Links to folders are followed. Each folder is entered once, whatever the number of links to it, so links in a
    circle end. Hidden folders, and the files ._* that macOS leaves, are passed over. A folder that cannot be read is
    named in one line.
    """
    files: list[Path] = []
    entered: set[str] = set()
    top = os.path.abspath(source)  # a subject may be named by the folder that `source` is
    for folder, inner, names in os.walk(top, followlinks=True, onerror=_note_unreadable):
        here = os.path.realpath(folder)
        if here in entered:
            inner.clear()
            continue
        entered.add(here)
        inner[:] = [name for name in sorted(inner) if not name.startswith(".")]
        inner.sort(key=lambda name: os.path.islink(os.path.join(folder, name)))  # what lies here before what is linked
        files += [Path(folder, name) for name in names if not name.startswith("._")]
    return sorted(files)


def _note_unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        print(f"note: {error.filename}: cannot be read ({error.strerror}), so nothing in it is used", flush=True)


def folder_of(path: Path) -> Path:
    """The folder of a file, without one that is named after the file.

    Some unpackers make such a folder for each file: x_flair.nii/x_flair.nii.
    """
    own = path.parent.name.lower().removesuffix(".gz").removesuffix(".nii")
    return path.parent.parent if own == path.name.lower().removesuffix(".gz").removesuffix(".nii") else path.parent


def collect(files: Iterable[tuple[str, str, Path]]) -> list[tuple[str, dict[str, Path]]]:
    """Participants and their files by contrast, from `files` as (participant, contrast, path), in whatever folders.

    A participant that has a contrast twice is returned twice; `prepare` then refuses it and names both files, as it is
    unknown which one is meant.
    """
    subjects: dict[str, list[dict[str, Path]]] = {}
    for participant, contrast, path in files:
        sets = subjects.setdefault(participant, [{}])
        if any(contrast in known and _is_same(known[contrast], path) for known in sets):
            continue  # reached by two links
        if contrast in sets[-1]:
            sets.append({})
        sets[-1][contrast] = path
    return [(participant, by_contrast) for participant, sets in subjects.items() for by_contrast in sets]


def _is_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def note_untaken(files: Iterable[Path], taken: Iterable[Path], alike: re.Pattern, wanted: str) -> None:
    """Print a line for each of `files` that looks like a contrast (its name has `alike`) but was not `taken`."""
    used = set(taken)
    for path in files:
        if path not in used and alike.search(path.name):
            print(f"note: {path}: not used, as it is not named like {wanted}", flush=True)
