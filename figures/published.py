"""What the paper's tables say, with the names of methods and metrics that are used here.

`published.csv`: table, task, method, metric, value. `mmd` is the released code's linear one on voxels, per volume of
192x192x152; `fid` is in units of 1e-4, on MedicalNet features; `mace` in 1e-4; Dice and Recovery in per cent; training
in GPU days, sampling in minutes a volume (A100). `palette` is a 2D model, of which plane is not said. In Table 8 the
row called Ours-MADM that has 40 days is taken for Ours-TOSM.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd


def published(table: int, task: str) -> pd.DataFrame:
    """One table of the paper, one task of it: a row per method, a column per metric."""
    rows = pd.read_csv(Path(__file__).with_name("published.csv"))
    rows = rows[(rows["table"] == table) & (rows["task"] == task)]
    return rows.pivot(index="method", columns="metric", values="value")
