"""Prepared data: what a pair holds, what identifies a data set, and one line for every data set that is none."""

import itertools
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import SHAPE, SPACING, draw_batch, write_prepared

from diffens_core.data.crops import translated, widened
from diffens_core.data.intensity import varied
from diffens_core.data.layout import describe_data, fitting_grid
from diffens_core.data.measurement import BLOCKS
from diffens_core.data.planes import coordinates
from diffens_core.data.prepared import PreparedData
from diffens_core.data.tasks import interpolate, task_named
from diffens_core.data.volumes import VolumeError
from diffens_core.support.seeds import mix_seed


@pytest.fixture
def own(tmp_path):
    """A prepared data set that a test may break."""
    return write_prepared(tmp_path / "data")


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return open_split(write_prepared(tmp_path_factory.mktemp("split") / "data"))


def open_split(root, split="train", task="both", spacing=SPACING, shape=SHAPE):
    return PreparedData(describe_data(root, spacing, shape), split, task_named(task))


def test_a_pair_is_scaled_measured_and_placed(own):
    pair = open_split(own)[0]
    assert pair.x0.shape == (1, *SHAPE) and pair.y.shape == (3, *SHAPE) and pair.brain.shape == SHAPE
    for volume in (pair.x0, pair.y[0], pair.y[2]):  # y[1], an interpolation that keeps block means, may overshoot
        assert volume.dtype == torch.float32 and volume.abs().max() <= 1.0
    assert (pair.x0[0][~pair.brain] == -1).all() and pair.x0[0][pair.brain].max() > 0.8
    torch.testing.assert_close(pair.y[None, :1], BLOCKS.degrade(pair.x0[None]))
    stored = nib.load(own / pair.subject / "flair.nii.gz")
    known = pair.brain.numpy() & (pair.x0[0].numpy() > -0.99) & (pair.x0[0].numpy() < 0.99)
    restored = pair.scale.invert(pair.x0[0].numpy())
    np.testing.assert_allclose(restored[known], stored.get_fdata()[known], atol=1e-4)
    np.testing.assert_allclose(pair.affine, stored.affine)


def test_a_moved_head_is_the_same_head_measured_elsewhere(own):
    data = open_split(own)
    pair, places = data[0], set()
    for seed in range(12):
        moved = data.moved(0, torch.Generator().manual_seed(seed))
        place = first_voxel(moved.x0) - first_voxel(pair.x0)
        assert place.min() >= -2 and place.max() <= 1
        places.add(tuple(place.tolist()))
        torch.testing.assert_close(moved.x0, pair.x0.roll(place.tolist(), (1, 2, 3)))  # nothing is at the border
        torch.testing.assert_close(moved.y[2:], pair.y[2:].roll(place.tolist(), (1, 2, 3)))
        torch.testing.assert_close(moved.y[None, :1], BLOCKS.degrade(moved.x0[None]))
        torch.testing.assert_close(moved.y[1:2], interpolate(moved.y[None, :1], BLOCKS)[0])
    assert len(places) > 6


@given(seed=st.integers(0, 999), strength=st.floats(0.01, 0.5))
def test_a_varied_head_has_the_same_background_and_the_same_highest_percentile(split, seed, strength):
    pair, draw = split[0], torch.Generator().manual_seed(seed)
    changed = varied(pair.x0, strength, draw)
    assert (changed[pair.x0 == -1] == -1).all() and changed.min() == -1
    highest = np.percentile(changed[pair.x0 != -1], 99.5)
    assert abs(highest - 0.6) < 0.02  # where fit_scale puts it, but for the voxel that is nearest
    again = varied(pair.x0, strength, torch.Generator().manual_seed(seed))
    assert torch.equal(changed, again) and not torch.equal(changed, varied(pair.x0, strength, draw))


def test_without_strength_a_head_is_only_scaled(split):
    head = split[0].x0
    changed = varied(head, 0.0, torch.Generator().manual_seed(0))
    there = head > -1
    ratio = (changed[there] + 1) / (head[there] + 1)
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))


def test_a_varied_pair_is_measured_anew_and_its_contrasts_differ(own):
    data = open_split(own)
    moved, changed = (data.moved(0, torch.Generator().manual_seed(5), vary) for vary in (0.0, 0.3))
    torch.testing.assert_close(changed.y[None, :1], BLOCKS.degrade(changed.x0[None]))
    assert changed.y[2:].max() <= 1
    assert torch.equal(changed.x0 == -1, moved.x0 == -1)  # moved by as much
    difference = [
        (after - before).abs().max() for before, after in ((moved.x0, changed.x0), (moved.y[2], changed.y[2]))
    ]
    assert min(difference) > 0.02


@given(seed=st.integers(0, 99), plane=st.sampled_from([2, 3, 4]), slab=st.sampled_from([0, 2]))
def test_a_sample_is_a_part_of_a_head_or_of_its_mirror_image(split, seed, plane, slab):
    crop = [1 if dim == plane else 8 for dim in (2, 3, 4)]
    batch = draw_batch(split, range(1), crop, seed, 0, around=(plane, slab))
    draw = torch.Generator().manual_seed(mix_seed(seed, 0, 0))
    pair = split[int(torch.randint(len(split), (1,), generator=draw))]
    start = [int(torch.randint(n - c + 1, (1,), generator=draw)) for n, c in zip(SHAPE, crop)]
    mirror = bool(torch.rand(1, generator=draw) < 0.5)
    if mirror:  # the window is drawn in the head as it is
        start[0] = SHAPE[0] - start[0] - crop[0]
    box = (slice(None), *(slice(a, a + c) for a, c in zip(start, crop)))
    for found, volume in ((batch.x0[0], pair.x0), (batch.y[0], pair.y)):
        whole = volume.flip(1) if mirror else volume
        assert torch.equal(found, widened(whole, box, plane, slab))
    assert torch.equal(batch.coords[0], widened(coordinates(SHAPE)[0], box, plane, slab))


def first_voxel(volume):
    """Where the content of [1, X, Y, Z] begins along each axis."""
    return torch.nonzero(volume[0] > -1).amin(0)


@given(st.lists(st.integers(-5, 5), min_size=3, max_size=3), st.floats(-1, 1, width=32))
def test_a_translation_loses_what_leaves_and_lets_the_background_in(by, background):
    volume = torch.arange(2.0, 122.0).reshape(1, 4, 5, 6)
    moved = translated(volume, by, background)
    for place in itertools.product(range(4), range(5), range(6)):
        came = [a - n for a, n in zip(place, by)]
        inside = all(0 <= a < n for a, n in zip(came, volume.shape[1:]))
        assert moved[0, *place] == (volume[0, *came] if inside else background)


def test_heads_of_a_training_move_every_so_many_steps_and_after_a_kill_too(own):
    straight, again = open_split(own), open_split(own)
    batches = [draw_batch(straight, range(8), None, 0, step, move_every=4) for step in range(9)]
    for step in (8, 3):  # in whatever order
        torch.testing.assert_close(draw_batch(again, range(8), None, 0, step, move_every=4).y, batches[step].y)
    places = [{tuple(first_voxel(x0).tolist()) for x0 in batch.x0} for batch in batches]
    assert places[4] != places[3] and len(set.union(*places)) > len(set.union(*places[:4]))


def test_a_coarser_preset_reads_block_means_and_keeps_the_place_in_the_world(own):
    fine, coarse = open_split(own)[0], open_split(own, spacing=2 * SPACING, shape=tuple(n // 2 for n in SHAPE))[0]
    assert coarse.x0.shape == (1, *(n // 2 for n in SHAPE))
    np.testing.assert_allclose(np.diag(coarse.affine)[:3], 2 * SPACING)
    np.testing.assert_allclose(coarse.affine @ [0, 0, 0, 1], fine.affine @ [0.5, 0.5, 0.5, 1])


def test_the_fingerprint_follows_the_split_and_not_the_place(own, tmp_path):
    first = describe_data(own, SPACING, SHAPE)
    assert describe_data(write_prepared(tmp_path / "copy"), SPACING, SHAPE).fingerprint == first.fingerprint
    table = own / "participants.tsv"
    table.write_text(table.read_text().replace("sub-02\tval", "sub-02\ttrain"))
    assert describe_data(own, SPACING, SHAPE).fingerprint != first.fingerprint


def remove(path):
    path.unlink()


def edit(change, shift=0.0):
    """Rewrites a volume; shift: of its place, mm."""

    def rewrite(path):
        image = nib.load(path)
        affine = image.affine.copy()
        affine[0, 3] += shift
        nib.save(nib.Nifti1Image(change(np.asarray(image.dataobj)), affine), path)

    return rewrite


@pytest.mark.parametrize(
    "name, spoil, complaint",
    [
        ("dataset.json", remove, "no dataset.json"),
        ("dataset.json", lambda p: p.write_text('{"name": '), "not valid JSON"),
        ("dataset.json", lambda p: p.write_text(json.dumps({"contrasts": []})), "has no name"),
        ("participants.tsv", remove, "no participants.tsv"),
        ("participants.tsv", lambda p: p.write_text(""), "cannot be read as a table"),
        (
            "participants.tsv",
            lambda p: p.write_bytes(b"\xff\xfe\x00participant_id\tsplit\n"),
            "cannot be read as a table",
        ),
        ("participants.tsv", lambda p: p.write_text("name\tset\nsub-00\ttrain\n"), "no column participant_id"),
        ("participants.tsv", lambda p: p.write_text("participant_id\tsplit\nsub-00\ttest\n"), "no participant has the"),
        ("participants.tsv", lambda p: p.write_text("participant_id\tsplit\nsub-77\ttrain\n"), "sub-77.*data_prep"),
        ("participants.tsv", lambda p: p.write_text(p.read_text() + "sub-00\ttrain\t\t\n"), "sub-00: listed twice"),
        ("participants.tsv", lambda p: p.write_text("participant_id\tsplit\nall\ttrain\n"), "all: .* named 'all'"),
        ("participants.tsv", lambda p: p.write_text('participant_id\tsplit\n""\ttrain\n'), "without a name"),
        ("sub-00/flair.nii.gz", remove, "flair.nii.gz: no such file"),
        ("sub-00/flair.nii.gz", edit(np.zeros_like), "sub-00: .*empty"),
        ("sub-00/brain.nii.gz", edit(np.zeros_like), "brain.nii.gz: empty; prepare"),
        ("sub-00/t1ce.nii.gz", edit(lambda data: data[:-2]), "t1ce.nii.gz: not on the grid of brain"),
        ("sub-00/t1ce.nii.gz", edit(lambda data: data, shift=40.0), "t1ce.nii.gz: not on the grid of brain"),
        ("sub-00/t1ce.nii.gz", lambda p: p.write_bytes(p.read_bytes()[:200]), "t1ce.nii.gz: cannot be read"),
        ("sub-00/brain.nii.gz", remove, "brain.nii.gz: no such file"),
    ],
)
def test_a_broken_data_set_is_one_line_that_names_the_place(own, name, spoil, complaint):
    spoil(own / name)
    with pytest.raises(VolumeError, match=complaint) as caught:
        open_split(own)[0]
    assert str(own) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change, shift, complaint",
    [
        (lambda brain: 3 * brain, 0.0, "labels are 0, 1, 2 and 4, not 3"),
        (lambda brain: brain * np.float32(0.5), 0.0, "labels are 0, 1, 2 and 4, not 0.5"),
        (lambda brain: brain[:-2], 0.0, "not on the grid of brain"),
        (lambda brain: brain, 40.0, "not on the grid of brain"),
    ],
)
def test_labels_that_cannot_be_are_refused(own, change, shift, complaint):
    seg = own / "sub-00" / "seg.nii.gz"
    seg.write_bytes((own / "sub-00" / "brain.nii.gz").read_bytes())
    assert open_split(own).labels("sub-00").any()
    edit(change, shift)(seg)
    with pytest.raises(VolumeError, match=complaint):
        open_split(own).labels("sub-00")


def test_voxels_that_do_not_go_into_the_presets_are_refused(own):
    with pytest.raises(VolumeError, match="do not go into 2.5 mm; resample"):
        open_split(own, spacing=2.5)[0]


@pytest.mark.parametrize(
    "own, wanted, shape, found",
    [
        ((1.0, 1.0, 1.0), 1.0, (160, 192, 152), (1.0, (160, 192, 152))),
        ((0.7, 0.7, 0.7), 2.0, (80, 96, 76), (2.0, (80, 96, 76))),  # 2.1 is near enough
        ((0.7, 0.7, 0.7), 1.0, (160, 192, 152), (0.7, (232, 280, 224))),
        ((0.8, 0.8, 0.8), 4.0, (40, 48, 38), (4.0, (40, 48, 38))),
        ((1.5, 1.5, 1.5), 2.0, (80, 96, 76), (1.5, (112, 128, 104))),
        ((4.0, 4.0, 4.0), 2.5, (80, 96, 76), (2.5, (80, 96, 76))),  # refused later
        ((1.0, 1.0, 5.0), 2.0, (80, 96, 76), (2.0, (80, 96, 76))),  # refused later, by the file's name
    ],
)
def test_voxels_that_do_not_go_into_a_preset_are_used_at_a_size_near_it(own, wanted, shape, found):
    assert fitting_grid(own, wanted, shape) == found
    assert all(n * found[0] >= m * wanted * 0.999 for n, m in zip(found[1], shape))
