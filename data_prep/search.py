"""Sorting of files into subjects."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def collect(files: Iterable[tuple[str, str, Path]]) -> list[tuple[str, dict[str, Path]]]:
    """Participants and their files by contrast, from `files` as (participant, contrast, path).

    A participant with files in two folders, or with a contrast twice, is returned twice; `prepare` then refuses it
    and names both, as it is unknown which one is meant.
    """
    subjects: list[tuple[str, Path, dict[str, Path]]] = []
    for participant, contrast, path in files:
        for known, folder, by_contrast in subjects:
            if (known, folder) == (participant, path.parent) and contrast not in by_contrast:
                by_contrast[contrast] = path
                break
        else:
            subjects.append((participant, path.parent, {contrast: path}))
    return [(participant, by_contrast) for participant, _, by_contrast in subjects]
