"""The live viewers draw what their sliders choose."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from diffens_core.show import widgets


@pytest.fixture
def drawn(monkeypatch):
    """The titles of each picture, and the mean of its first panel."""
    matplotlib.use("Agg")
    pictures = []

    def show():
        axes = plt.gcf().axes
        pictures.append(([a.get_title() for a in axes], float(axes[0].images[0].get_array().mean())))
        plt.close()

    monkeypatch.setattr(widgets.plt, "show", show)
    return pictures


def test_browse_shows_the_volumes_side_by_side(drawn):
    box = widgets.browse({"a": np.full((4, 5, 6), 0.1), "b": np.zeros((4, 5, 6))})
    box.children[0].children[0].value = "sagittal"
    assert [titles for titles, _ in drawn] == [["a", "b"], ["a", "b"]]


def test_browse_steps_shows_the_step_that_is_chosen(drawn):
    states = {f"t = {t}": {"sample": np.full((4, 5, 6), t / 10)} for t in (9, 5, 1)}
    box = widgets.browse_steps(states)
    box.children[0].children[0].value = "t = 1"
    assert [round(mean, 3) for _, mean in drawn] == [0.9, 0.1]
