"""The only access of the library to `data_prep`, which makes prepared data."""

from __future__ import annotations

import importlib
from types import ModuleType

SOURCES = ("brats", "open_ms", "hcp", "bids", "pairs", "phantom")


def preparation(source: str) -> ModuleType:
    """The module `data_prep.<source>`, for one of `SOURCES`.

    It is imported only on request: prepared data are used without it, and it imports the library itself.
    """
    return importlib.import_module(f"data_prep.{source}")
