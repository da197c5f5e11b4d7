"""Files found one by one, sorted into subjects."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def collect(found: Iterable[tuple[str, str, Path]]) -> list[tuple[str, dict[str, Path]]]:
    """Participants and their files by contrast, from (participant, contrast, path).

    Files of a participant in two folders, or a contrast found twice, give that participant twice: `prepare` then
    refuses it and names both, as nobody can know which one is meant.
    """
    subjects: list[tuple[str, Path, dict[str, Path]]] = []
    for participant, contrast, path in found:
        for known, folder, files in subjects:
            if (known, folder) == (participant, path.parent) and contrast not in files:
                files[contrast] = path
                break
        else:
            subjects.append((participant, path.parent, {contrast: path}))
    return [(participant, files) for participant, _, files in subjects]
