"""Markdown table of how far the fusion is ahead of the average of the same experts, seed by seed.

    python figures/paired_table.py figures/out/seed-0 figures/out/seed-1 figures/out/seed-2
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

METRICS = ("psnr", "ssim", "psnr_brain", "ssim_brain")


def differences(folder: Path) -> pd.DataFrame:
    """`ours-tpdm` minus `tpdm`, one row per (task, kind, subject), a column per metric."""
    metrics = pd.read_csv(folder / "metrics.csv", dtype={"sample": str})
    metrics["kind"] = metrics["sample"].where(metrics["sample"] == "mean", "single")
    table = metrics.groupby(["method", "task", "kind", "subject", "metric"])["value"].mean().unstack("metric")
    return (table.loc["ours-tpdm"] - table.loc["tpdm"])[list(METRICS)]


if __name__ == "__main__":
    print("| task | samples | seed | " + " | ".join(METRICS) + " | subjects ahead in psnr |")
    print("|" + "---|" * (len(METRICS) + 4))
    tables = {folder: differences(Path(folder)) for folder in sys.argv[1:]}
    for task, kind in next(iter(tables.values())).index.droplevel("subject").unique():
        for folder, table in tables.items():
            rows = table.loc[task, kind]
            cells = " | ".join(f"{rows[m].mean():+.3f}" for m in METRICS)
            seed = Path(folder).name.removeprefix("seed-")
            print(f"| `{task}` | {kind} | {seed} | {cells} | {(rows['psnr'] > 0).sum()} of {len(rows)} |")
