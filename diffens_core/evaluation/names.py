"""What metrics are called where people read them: title, unit, and an arrow that says which way is better.

`psnr_brain` is headed "PSNR in brain, dB ↑" in every table, figure and notebook. A new metric has its entry here.
"""

from __future__ import annotations

from dataclasses import dataclass

UP, DOWN, LEVEL = "↑", "↓", ""  # larger is better, smaller is better, neither is


@dataclass(frozen=True)
class Name:
    """title: of a metric; unit: of its value, empty for a pure number; better: which way, `UP`, `DOWN` or `LEVEL`."""

    title: str
    unit: str = ""
    better: str = LEVEL

    def measure(self, unit: str = "") -> str:
        """Title and unit; unit: another than that of the value, where it is shown in another."""
        return ", ".join(filter(None, (self.title, unit or self.unit)))

    def heading(self, unit: str = "") -> str:
        """The same, with the arrow."""
        return f"{self.measure(unit)} {self.better}".rstrip()


PLACES = {  # where: the last part of a metric's name, and how a title says it
    "brain": "in brain",
    "tumour": "in tumour",
    "axial": "of axial slices",
    "coronal": "of coronal slices",
    "sagittal": "of sagittal slices",
    "wt": "WT",
    "tc": "TC",
    "et": "ET",
    "segmenter": "on segmenter",
    "medicalnet50": "on MedicalNet",
}
NAMES = {
    "psnr": Name("PSNR", "dB", UP),
    "psnr_brain_fitted": Name("PSNR in brain, fitted", "dB", UP),
    "ssim": Name("SSIM", "", UP),
    "ssim_paper": Name("SSIM, uniform window", "", UP),
    "mae": Name("MAE", "share of the range", DOWN),
    "jitter": Name("jitter", "% of the range", DOWN),
    "measurement_error": Name("measurement error", "share of the window", DOWN),
    "dice": Name("Dice", "", UP),
    "hd95": Name("HD95", "mm", DOWN),
    "recovery": Name("Recovery", "%", UP),
    "mmd_linear_voxels": Name("MMD, linear, voxels", "", DOWN),
    "mmd_rbf": Name("MMD, RBF", "", DOWN),
    "mmd_bandwidth": Name("MMD, bandwidth"),
    "frechet": Name("Frechet distance", "", DOWN),
    "fid": Name("FID", "", DOWN),
    "std_of_psnr": Name("std of PSNR", "dB"),
    "std_of_ssim": Name("std of SSIM"),
    "std_of_ssim_paper": Name("std of SSIM, uniform window"),
    "mace": Name("MACE", "share of the window", DOWN),
    "std": Name("std", "share of the window"),
    "ece": Name("calibration error", "", DOWN),
    "coverage_90": Name("coverage of 90 %", "0.9 is right"),
    "coverage_range": Name("coverage of the range", "as expected is right"),
    "expected_range": Name("expected of the range"),
    "ause": Name("AUSE", "", DOWN),
    "correlation": Name("correlation", "", UP),
}


def name_of(metric: str) -> Name | None:
    """Of a metric, as `metrics.csv` calls it; None for what is no metric."""
    base, _, place = metric.rpartition("_")
    if metric not in NAMES and base in NAMES and place in PLACES:
        plain = NAMES[base]
        return Name(f"{plain.title} {PLACES[place]}", plain.unit, plain.better)
    return NAMES.get(metric)


def heading(metric: str) -> str:
    """What a column or an axis of a metric is headed with; what is no metric keeps its name.

    For tables: `table.rename(columns=heading)`.
    """
    named = name_of(metric) if isinstance(metric, str) else None
    return named.heading() if named else metric
