"""Images of bars: what is in them, and what their measures say of cases that are known by thought."""

import pytest
import torch

from diffens_core.data.bars import LEVEL, Bars, texture
from diffens_core.data.crops import Cropping


def test_images_are_bars_on_a_background_and_the_same_for_the_same_seed():
    world = Bars(24, 2)
    x0 = world.draw(5, torch.Generator().manual_seed(3))
    assert x0.shape == (5, 1, 24, 24, 1) and x0.abs().max() <= LEVEL + 1e-6
    lying, standing = world.parts(5, torch.Generator().manual_seed(3))
    torch.testing.assert_close(x0, LEVEL * (2 * torch.maximum(lying, standing) - 1))
    assert ((x0 > 0.5).flatten(1).any(1) & (x0 < -0.5).flatten(1).any(1)).all()


def test_lying_bars_are_long_along_x_and_standing_ones_along_y():
    lying, standing = Bars(32, 1).parts(50, torch.Generator().manual_seed(0))
    for part, long, short in ((lying, 2, 3), (standing, 3, 2)):
        inside = part > 0.5
        length = inside.sum(long, keepdim=True).amax((2, 3))
        thickness = inside.sum(short, keepdim=True).amax((2, 3))
        assert thickness.max() <= 4 and length.double().mean() > 3 * thickness.double().mean()


def test_crops_are_whole_images_that_depend_on_seed_and_step():
    world = Bars(16)
    first, again, other = (world.crops(range(3), step, Cropping(None, 0)) for step in (0, 0, 1))
    assert first.x0.shape == first.y.shape == (3, 1, 16, 16, 1) and first.coords.shape == (3, 3, 16, 16, 1)
    assert torch.equal(first.x0, again.x0) and not torch.equal(first.x0, other.x0)
    assert len(first.draws) == 3 and not first.y.any()


def test_texture_of_stripes():
    rows = torch.tensor([1.0, -1.0]).repeat(4).expand(8, 8)[None, None, :, :, None]  # it changes along Y
    found = texture(rows)
    assert (found["between rows"], found["between columns"], found["undecided"]) == (2.0, 0.0, 0.0)
    assert found["variance"] == pytest.approx(1.0)
    turned = texture(0.25 * rows.transpose(2, 3))
    assert (turned["between rows"], turned["between columns"], turned["undecided"]) == (0.0, 0.5, 1.0)
