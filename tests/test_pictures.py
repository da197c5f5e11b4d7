"""The committed pictures are what the code and the weights of this checkout make."""

import json
import re

import pytest

from figures import pictures
from figures.pictures import PICTURES, RECORD, ROOT, made_of

AGAIN = "`make pictures` makes them anew (minutes); look at them before you commit them with figures/pictures.json"


@pytest.mark.parametrize("name", PICTURES)
def test_a_committed_picture_is_of_this_code_and_these_weights(name):
    recorded, now = json.loads(RECORD.read_text()).get(name, {}), made_of(name)
    changed = [what for what in now if recorded.get(what) != now[what]]
    assert not changed, f"figures/{name} was made with other {' and '.join(changed)}: {AGAIN}"


def test_every_picture_beside_the_results_is_made_by_the_command():
    assert {path.name for path in ROOT.glob("figures/*.png")} == set(PICTURES) == set(json.loads(RECORD.read_text()))


def copy(tmp_path, monkeypatch, change) -> dict[str, str]:
    """What a picture is made of in a checkout whose modules of pictures were changed."""
    for path in (ROOT / "diffens_core" / "show").glob("*.py"):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(change(path.read_text()))
    monkeypatch.setattr(pictures, "ROOT", tmp_path)
    return made_of("zoom.png")["code"]


@pytest.mark.parametrize(
    "before, after, same",
    [
        (r"Draw a cut without ticks", "Draw a cut", True),  # a docstring of what it uses
        (r"#E69F00", "#FF0000", False),  # the mark of a zoom, among others
        (r"bins: int = 60", "bins: int = 61", True),  # of a picture that the quickstart does not draw
        (r"shape\[0\] // 8", "shape[0] // 9", False),  # used by what the notebook calls, not by the notebook
    ],
)
def test_a_change_of_what_draws_a_picture_is_seen_and_no_other(tmp_path, monkeypatch, before, after, same):
    now = made_of("zoom.png")["code"]
    assert (copy(tmp_path, monkeypatch, lambda text: re.sub(before, after, text)) == now) is same
