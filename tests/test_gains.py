"""Where a method gains: classes share out the brain, and the table says where the error fell."""

import numpy as np
import pytest

from diffens_core.evaluation.gains import (
    BY_DISTANCE,
    BY_TISSUE,
    edge_classes,
    gain_table,
    squared_errors,
    tissue_classes,
)


@pytest.fixture
def head():
    """A truth with one flat edge at x = 10, a brain with a margin, and labels of a tumour."""
    rng = np.random.default_rng(0)
    truth = np.where(np.arange(20)[:, None, None] < 10, -0.5, 0.5) + 1e-3 * rng.normal(size=(20, 12, 12))
    brain = np.zeros(truth.shape, bool)
    brain[2:18, 1:11, 1:11] = True
    labels = np.zeros(truth.shape, np.uint8)
    labels[2:6, 1:6, 1:6] = 4
    return truth, brain, labels


def test_classes_share_out_the_brain(head):
    truth, brain, labels = head
    for classes in (tissue_classes(*head), tissue_classes(truth, brain), edge_classes(truth, brain)):
        assert np.array_equal(sum(mask.astype(int) for mask in classes.values()), brain.astype(int))
    assert np.array_equal(tissue_classes(*head)["tumour"], labels > 0)
    assert not tissue_classes(truth, brain)["tumour"].any()


def test_distance_is_counted_from_the_edge(head):
    truth, brain, _ = head
    classes = edge_classes(truth, brain)
    planes = {name: sorted(set(np.nonzero(mask)[0])) for name, mask in classes.items()}
    assert set(planes["on it"]) <= {9, 10}, "the steepest voxels lie on both sides of the jump"
    assert min(planes["beyond 3"]) == 2 and not {9, 10} & set(planes["beyond 3"])


def test_the_table_says_where_the_error_fell(head):
    truth, brain, labels = head
    worse = truth + 0.2
    better = worse.copy()
    better[labels > 0] = truth[labels > 0] + 0.1
    errors = squared_errors({"a": worse, "b": better}, truth, brain, labels)
    table = gain_table(errors + errors, "a", "b")
    assert table.loc[(BY_TISSUE, "tumour"), "gain, dB"] == pytest.approx(20 * np.log10(2))
    assert table.loc[(BY_TISSUE, "tumour"), "of the gain, %"] == pytest.approx(100)
    assert table.loc[(BY_TISSUE, "middle"), "gain, dB"] == pytest.approx(0)
    assert table.loc[(BY_TISSUE, "middle"), "a"] == pytest.approx(0.2)
    for kind in (BY_TISSUE, BY_DISTANCE):
        assert table.loc[kind, "voxels, %"].sum() == pytest.approx(100)


def test_a_class_without_voxels_has_no_line(head):
    truth, brain, _ = head
    table = gain_table(squared_errors({"a": truth + 0.2, "b": truth + 0.1}, truth, brain), "a", "b")
    assert "tumour" not in table.loc[BY_TISSUE].index
