"""Heads like those that a run was trained on, and others."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import SHAPE, make_head

from diffens_core.data.likeness import Likeness, numbers_of
from diffens_core.support.errors import InputError
from diffens_core.support.settings import ConfigError
from diffens_core.training.runs import likeness


def head(seed: int, change=lambda image: image, spacing=(4.0, 4.0, 4.0)) -> dict[str, float]:
    """The numbers of a small head whose image, with background 0, is changed."""
    image = change(make_head(seed))
    y = torch.from_numpy(np.where(image > 0, 2 * image / image.max() - 1, -1.0)).float()[None]
    return numbers_of(y, spacing, ["flair"])


HEADS = Likeness.of(head(seed) for seed in range(20))


def test_numbers_of_a_ball_are_those_of_a_ball():
    places = torch.stack(torch.meshgrid(*[torch.arange(-20.0, 21)] * 3, indexing="ij"))
    radius = places.square().sum(0).sqrt()
    y = torch.where(radius <= 15, places[0] / 40, -1.0)[None]
    found = numbers_of(y, (1.0, 1.0, 2.0), ["ramp"])
    assert np.exp(found["volume"]) == pytest.approx(2 * 4 / 3 * np.pi * 15**3, rel=0.02)
    assert np.exp(found["length along R"]) == pytest.approx(31)
    assert np.exp(found["length along S"]) == pytest.approx(62)
    assert found["spread of ramp"] == pytest.approx(15 / np.sqrt(5) / 40, rel=0.02)  # of a coordinate in a ball
    assert found["ramp below 3 mm"] == pytest.approx(0, abs=1e-6)
    assert np.exp(found["change of ramp along R"]) == pytest.approx(1 / 40 + 1e-4)
    assert np.exp(found["change of ramp along A"]) == pytest.approx(1e-4)


@given(st.integers(3, 12), st.integers(1, 6), st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_the_distance_is_the_root_mean_square_of_standard_scores(heads, numbers, seed):
    table = np.random.default_rng(seed).normal(0, 5, (heads, numbers))
    found = Likeness.of(dict(enumerate(map(float, row))) for row in table)
    one = table[0] + 1
    scores = (one - table.mean(0)) / np.maximum(table.std(0, ddof=1), 0.02)
    assert found.distance(dict(enumerate(one))) == pytest.approx(np.sqrt(np.mean(scores**2)))
    assert found.distance(dict(enumerate(table.mean(0)))) == pytest.approx(0, abs=1e-9)


def test_few_new_heads_of_the_same_kind_are_unlike():
    assert sum(HEADS.warning(head(seed)) is not None for seed in range(100, 140)) <= 8


@pytest.mark.parametrize(
    "change, most",
    [
        (lambda v: np.where(np.arange(SHAPE[2]) > SHAPE[2] // 2, v, 0), "length along S"),
        (lambda v: np.where(v > 0, v.max() * 1.1 - v, 0), "flair"),
        (lambda v: v[:, :, np.arange(SHAPE[2]) // 6 * 6], "along S"),
        (lambda v: np.where(v > 0, v + v.max() * np.random.default_rng(0).random(v.shape), 0), "change of flair"),
    ],
    ids=["half a head", "inverted", "thick slices", "noise"],
)
def test_another_kind_of_head_is_unlike_and_it_is_said_in_what(change, most):
    said = HEADS.warning(head(100, change))
    assert said and most in said.partition("most of all: ")[2]


def test_a_childs_head_is_unlike_by_its_size():
    assert "volume" in HEADS.warning(head(100, spacing=(3.0, 3.0, 3.0)))


def test_too_few_heads_and_none_are_refused():
    with pytest.raises(InputError, match="give 3 or more"):
        Likeness.of([head(0), head(1)])
    with pytest.raises(InputError, match="without brain"):
        numbers_of(torch.full((1, 4, 4, 4), -1.0), (1, 1, 1), ["flair"])


def test_it_is_kept_in_a_file_and_a_damaged_one_is_refused(tmp_path):
    assert likeness(tmp_path) is None
    path = tmp_path / "likeness.json"
    path.write_text(json.dumps(HEADS.to_dict()))
    assert likeness(tmp_path) == HEADS
    content = HEADS.to_dict()
    for wrong in ({}, content | {"std": {}}, content | {"mean": 3}, content | {"farthest": None}):
        path.write_text(json.dumps(wrong))
        with pytest.raises(ConfigError, match="likeness.json: no likeness of heads"):
            likeness(tmp_path)
