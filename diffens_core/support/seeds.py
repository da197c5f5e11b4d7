"""Random seeds from names and numbers, the same on every machine."""

from __future__ import annotations

import numpy as np


def mix_seed(*parts: int | str) -> int:
    """A 63-bit seed from several numbers and names, the same on every machine."""
    words = [part if isinstance(part, int) else int.from_bytes(part.encode(), "little") for part in parts]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
