"""Tables of metrics: means over subjects, and of how many."""

import numpy as np
import pandas as pd

from diffens_core.evaluation.scores import COLUMNS, by_subject, results_table, subject_means, summary


def table(*lines):
    return pd.DataFrame([("tpdm", "sr", *line) for line in lines], columns=COLUMNS)


METRICS = table(
    ("a", "0", "psnr", 20.0),
    ("a", "1", "psnr", 22.0),
    ("a", "mean", "psnr", 24.0),
    ("a", "all", "mace", 0.1),
    ("b", "0", "psnr", 30.0),
    ("b", "1", "psnr", 30.0),
    ("b", "mean", "psnr", 31.0),
    ("b", "0", "psnr_tumour", 15.0),
    ("a", "0", "psnr_tumour", np.nan),  # no tumour there
    ("all", "0", "mmd_linear_voxels", 5.0),
)


def test_samples_are_averaged_within_subjects_and_kinds_kept_apart():
    means = subject_means(METRICS).loc[("tpdm", "sr")]
    assert means[("single sample", "psnr", "a")] == 21.0 and means[("mean of samples", "psnr", "a")] == 24.0
    assert means[("all samples", "mace", "a")] == 0.1


def test_a_summary_says_how_many_subjects_a_mean_is_of():
    found = summary(METRICS)
    assert list(found.index) == ["psnr", "mace", "psnr_tumour", "mmd_linear_voxels"]
    assert found.loc["psnr", "single sample"] == 25.5 and found.loc["psnr", "subjects"] == 2
    assert found.loc["psnr_tumour", "single sample"] == 15.0 and found.loc["psnr_tumour", "subjects"] == 1
    assert found.loc["mmd_linear_voxels", "subjects"] == ""  # of the set, not of a subject


def test_values_by_subject_have_the_methods_asked_for_in_that_order():
    both = pd.concat([METRICS, METRICS.assign(method="ours-tpdm")])
    found = by_subject(both, "psnr", ["ours-tpdm", "madm", "tpdm"])
    assert list(found.columns) == ["ours-tpdm", "tpdm"] and found.loc["a"].tolist() == [21.0, 21.0]
    assert by_subject(METRICS, "psnr", ["tpdm"], "all samples").empty


def test_results_have_a_row_per_method_and_columns_by_kind():
    found = results_table(METRICS, ["tpdm", "tosm"])
    assert found.loc["tpdm", ("mean of samples", "psnr")] == 27.5 and found.loc["tosm"].isna().all()
