"""Slicing is undone exactly, in anatomical order, whatever the plane, the size and the chunk."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_expert, make_inputs
from torch import nn

from diffens_core.data.planes import (
    PLANES,
    crop_like,
    from_slices,
    pad_to_multiple,
    plane_dim,
    random_box,
    to_slices,
)
from diffens_core.diffusion.schedule import Schedule
from diffens_core.models.experts import SliceExpert

planes = st.sampled_from(sorted(PLANES))
shapes = st.tuples(*[st.integers(2, 9)] * 3)
examples = settings(deadline=None, max_examples=20)


@given(planes, shapes, st.integers(1, 3), st.integers(1, 3))
@examples
def test_slices_and_back_is_the_identity(plane, shape, batch, channels):
    volume = torch.randn(batch, channels, *shape)
    slices = to_slices(volume, plane)
    assert slices.shape[0] == batch * volume.shape[PLANES[plane]] and slices.shape[1] == channels
    assert torch.equal(from_slices(slices, plane, batch), volume)


@given(planes, shapes)
@examples
def test_feature_maps_of_another_resolution_stack_likewise(plane, shape):
    feats = torch.randn(2 * shape[PLANES[plane] - 2], 5, 4, 3)
    stacked = from_slices(feats, plane, 2)
    assert stacked.shape[PLANES[plane]] == shape[PLANES[plane] - 2]
    assert torch.equal(to_slices(stacked, plane), feats)


def test_slice_order_is_anatomical():
    """In RAS order a sagittal slice has one X, a coronal one Y, an axial one Z; the first is left, posterior, low."""
    volume = torch.arange(2 * 3 * 4.0).reshape(1, 1, 2, 3, 4)
    assert torch.equal(to_slices(volume, "sagittal")[1, 0], volume[0, 0, 1])
    assert torch.equal(to_slices(volume, "coronal")[2, 0], volume[0, 0, :, 2])
    assert torch.equal(to_slices(volume, "axial")[3, 0], volume[0, 0, :, :, 3])
    with pytest.raises(ValueError, match="choose from sagittal, coronal, axial"):
        plane_dim("transverse")


@given(shapes, st.sampled_from([1, 2, 4]), st.sampled_from([None, 2, 3, 4]))
@examples
def test_padding_repeats_the_border_and_crops_back(shape, multiple, skip):
    volume = torch.randn(1, 2, *shape)
    padded = pad_to_multiple(volume, multiple, skip)
    for dim in (2, 3, 4):
        n = volume.shape[dim]
        assert padded.shape[dim] == (n if dim == skip else -(-n // multiple) * multiple)
        tail = padded.narrow(dim, n - 1, padded.shape[dim] - n + 1)
        assert torch.equal(tail, padded.narrow(dim, n - 1, 1).expand_as(tail))
    assert torch.equal(crop_like(padded, volume), volume)


@given(shapes, st.tuples(*[st.integers(1, 12)] * 3), st.sampled_from([1, 2, 4]), st.integers(0, 10**6))
@examples
def test_a_random_box_lies_within_and_begins_at_multiples(shape, size, multiple, seed):
    box = random_box(shape, size, multiple, torch.Generator().manual_seed(seed))
    for part, wanted, n in zip(box, size, shape):
        assert part.start % multiple == 0 and 0 <= part.start < part.stop <= n
        assert part.stop - part.start == min(wanted, n - part.start)


def test_random_boxes_reach_everywhere():
    generator, seen = torch.Generator().manual_seed(0), torch.zeros(9, 7, 4)
    for _ in range(200):
        seen[random_box(seen.shape, (4, 2, 4), 2, generator)] = 1
    assert seen.all()


class Pointwise(nn.Module):
    """A network without neighbours: what it does to a volume is known."""

    multiple, widths = 2, [1, 1]

    def forward(self, x, t):
        out = x[:, :1] * 2 + x[:, 1:2] + t[:, None, None, None] / 1000
        return out, [out.sin(), nn.functional.avg_pool2d(out, 2)]


@given(planes, shapes, st.integers(1, 2))
@examples
def test_lifting_a_pointwise_network_applies_it_to_every_voxel(plane, shape, batch):
    expert = SliceExpert(Pointwise(), plane, Schedule(), "eps")
    xt, y, _ = make_inputs(shape, batch)
    t = torch.arange(batch) * 300 + 100  # every volume of a batch has its own step
    expected = 2 * xt + y + t[:, None, None, None, None] / 1000
    torch.testing.assert_close(expert(xt, y, t), expected)


@given(planes, st.tuples(*[st.integers(5, 11)] * 3), st.integers(1, 2), st.integers(1, 9))
@examples
def test_chunks_change_nothing(plane, shape, batch, slices):
    """Up to rounding; maps of one pixel, whose norm magnifies rounding, are left out."""
    expert = make_expert(plane)
    xt, y, t = make_inputs(shape, batch)
    with torch.no_grad():
        whole, chunked = _lift(expert, 1000, xt, y, t), _lift(expert, slices, xt, y, t)
    for a, b in zip(whole, chunked, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)  # other batch sizes round otherwise


def _lift(expert, slices, *inputs):
    expert.slices = slices
    outs, feats = zip(*expert.lift(*inputs))
    return [torch.cat(parts, dim=expert.dim) for parts in (outs, *zip(*feats))]


def test_small_chunks_really_run_piece_by_piece():
    expert = make_expert("axial")
    expert.slices = 4
    lengths = [out.shape[4] for out, _ in expert.lift(*make_inputs((8, 8, 10)))]
    assert lengths == [4, 4, 2]


def test_a_slice_sees_no_other_slice():
    expert, (xt, y, t) = make_expert("coronal"), make_inputs((6, 5, 7))
    changed = xt.clone()
    changed[..., 3, :] += 1
    with torch.no_grad():
        moved = (expert(changed, y, t) - expert(xt, y, t)).abs().amax((0, 1, 2, 4))
    assert moved[3] > 1e-3 and moved[[0, 1, 2, 4]].max() < 1e-5
