"""The fusion: the exact average at the start, a convex gate, frozen experts, a residual, and adapted features."""

from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import NET, make_expert, make_fusion, make_inputs, wake

from diffens_core.data.measurement import BLOCKS
from diffens_core.data.planes import PLANES, coordinates, random_box, whole_box
from diffens_core.models import fusion
from diffens_core.models.experts import Average, combine
from diffens_core.models.fusion import Fused, Fusion, FusionConfig
from diffens_core.networks.inputs import brain_box
from diffens_core.networks.unet import UNetConfig
from diffens_core.support.settings import ConfigError

plane_sets = st.lists(st.sampled_from(sorted(PLANES)), min_size=1, max_size=4)
shapes = st.tuples(*[st.integers(2, 9)] * 3)


@given(
    plane_sets,
    shapes,
    st.integers(1, 2),
    st.sampled_from(["softmax", "affine"]),
    st.sampled_from([("v", False), ("eps", False), ("x0", False), ("x0", True)]),
    st.booleans(),
)
@settings(deadline=None, max_examples=25)
def test_at_initialisation_it_is_exactly_the_average(planes, shape, batch, gate, kind, features):
    model = make_fusion(planes, gate=gate, prediction=kind[0], linear=kind[1], features=features, degradation=BLOCKS)
    xt, y, t = make_inputs(shape, batch)
    with torch.no_grad():
        fused = model.fuse(xt, y, t)
        average = Average(model.experts)(xt, y, t)
    assert torch.equal(fused.eps, average) and not fused.resid.any()
    assert fused.gate.shape == (batch, len(planes), *shape) and fused.eps_planes.shape == (len(planes), *xt.shape)


@torch.no_grad()
@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_a_ramp_gives_a_share_of_the_correction_by_step_to_heads_and_the_whole_to_patches(prediction):
    """In one step the clean estimate moves by that share from the average to the whole, and Eq. 6 holds of it."""
    options = {"prediction": prediction, "linear": prediction == "x0"}
    whole, model = make_fusion(**options), make_fusion(ramp=1.25, **options)
    model.load_state_dict(wake(whole).state_dict())
    xt, y, _ = make_inputs((8, 8, 8), batch=3)
    t, share = torch.tensor([100, 600, 999]), torch.tensor([1.0, 0.5, 0.00125])[:, None, None, None, None]
    full, found = whole.fuse(xt, y, t), model.fuse(xt, y, t)
    average = full.eps_planes.mean(0)
    torch.testing.assert_close(found.eps, torch.lerp(average, full.eps, share), atol=1e-4, rtol=1e-4)
    assert torch.equal(found.eps[0], full.eps[0]) and (found.eps - full.eps)[1:].abs().max() > 0.01
    unit = model.schedule.eps_per_output(prediction, xt, t)
    torch.testing.assert_close(found.eps, combine(found.eps_planes, found.gate) + unit * found.resid)
    box = (slice(0, 4), slice(0, 8), slice(0, 8))
    assert torch.equal(model(xt, y, t, box=box), whole(xt, y, t, box=box))


@pytest.mark.parametrize("ramp", [-1.0, float("nan"), float("inf")])
def test_a_ramp_is_a_number_from_0_on(ramp):
    with pytest.raises(ConfigError, match="ramp must be a number from 0 on"):
        FusionConfig(ramp=ramp)


@pytest.mark.parametrize("gate", ["softmax", "affine"])
@torch.no_grad()
def test_gate_sums_to_one(gate):
    model = wake(make_fusion(("axial", "sagittal", "coronal"), gate=gate))
    fused = model.fuse(*make_inputs((6, 7, 8), batch=2))
    torch.testing.assert_close(fused.gate.sum(1), torch.ones(2, 6, 7, 8))
    assert fused.gate.std(dim=(2, 3, 4)).min() > 1e-3, "the gate is meant to vary over voxels"
    assert gate == "affine" or (fused.gate >= 0).all()


@pytest.mark.parametrize("chosen", [0, 1, 2])
@torch.no_grad()
def test_gate_channels_are_in_the_order_of_the_experts(chosen):
    """All weight to one plane gives that expert back."""
    model = make_fusion(("sagittal", "axial", "coronal"))
    model.net.head.bias[chosen] = 100.0
    inputs = make_inputs((6, 8, 4))
    torch.testing.assert_close(model(*inputs), model.experts[chosen](*inputs))
    others = [e(*inputs) for i, e in enumerate(model.experts) if i != chosen]
    assert all((model(*inputs) - other).abs().max() > 1e-2 for other in others)


def test_experts_stay_frozen_and_in_evaluation_mode():
    experts = [make_expert(plane, config=UNetConfig(8, (1, 2), 1, dropout=0.9)) for plane in ("axial", "coronal")]
    model = Fusion(experts, 1, NET, FusionConfig()).train()
    assert model.net.training and not any(module.training for module in model.experts.modules())
    inputs = make_inputs((4, 4, 4))
    assert torch.equal(model(*inputs), model(*inputs)), "dropout of an expert is active"
    model(*inputs).square().sum().backward()
    assert all(p.grad is None and not p.requires_grad for p in model.experts.parameters())
    assert not model.eval().train().experts.training


def test_the_fusions_own_dropout_is_active_in_training():
    model = wake(make_fusion(unet=UNetConfig(8, (1, 2), 1, dropout=0.5)).train())
    inputs = make_inputs((4, 4, 4))
    assert not torch.equal(model(*inputs), model(*inputs))


@pytest.mark.parametrize("prediction", ["v", "eps", "x0"])
@torch.no_grad()
def test_lam_scales_the_residual(prediction):
    inputs, eps = make_inputs((4, 6, 8)), {}
    for lam in (0.0, 0.5, 1.0):
        model = wake(make_fusion(lam=lam, prediction=prediction))
        fused = model.fuse(*inputs)
        eps[lam] = fused.eps
    torch.testing.assert_close(eps[0.0], (fused.gate.movedim(1, 0)[:, :, None] * fused.eps_planes).sum(0))
    torch.testing.assert_close(2 * (eps[0.5] - eps[0.0]), eps[1.0] - eps[0.0], atol=1e-5, rtol=1e-4)
    unit = model.schedule.eps_per_output(prediction, inputs[0], inputs[2])
    torch.testing.assert_close(eps[1.0] - eps[0.0], unit * fused.resid, atol=1e-5, rtol=1e-4)


def test_adapters_learn_once_the_head_does():
    model, inputs = make_fusion(), make_inputs((8, 8, 8))
    model.net.head.weight.data.normal_()
    for block in model.net.modules():  # the zeros inside each block let a gradient through their skip path
        block.train()
    model.experts.eval()
    model(*inputs).square().sum().backward()
    weights = [conv.weight for adapters in model.adapters for conv in adapters.convs]
    assert len(weights) == 4 and all(w.grad.abs().max() > 0 for w in weights)


@torch.no_grad()
def test_adapter_kernels_reach_along_the_slice_axis_only():
    model = make_fusion(("sagittal", "coronal", "axial"))
    for expert, adapters in zip(model.experts, model.adapters):
        for level, conv in enumerate(adapters.convs):
            wanted = tuple(2**level if dim == expert.dim else 1 for dim in (2, 3, 4))
            assert conv.kernel_size == conv.stride == wanted and not conv.weight.any()


@torch.no_grad()
def test_the_network_reads_what_the_sampler_makes_of_the_corrected_average():
    """And the correction is clamped and projected there, but not in the answer, which the sampler treats itself."""
    model, (xt, y, t) = make_fusion(prediction="x0", linear=True, degradation=BLOCKS), make_inputs((8, 8, 8))
    model.linear.weights.normal_(std=0.05)
    lifted, seen = model.lift(xt, y, t), []
    model.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    fused = model.fuse(xt, y, t)
    planes = torch.cat([model.schedule.x0_from_eps(eps, xt, t) for eps in lifted.eps_planes], dim=1)
    corrected = planes.mean(1, keepdim=True) + lifted.start
    torch.testing.assert_close(seen[0][:, -3:-2], BLOCKS.project(corrected.clamp(-1, 1), y), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.schedule.x0_from_eps(fused.eps, xt, t), corrected, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(fused.resid, lifted.start)


def test_a_linear_start_corrects_clean_estimates_only():
    with pytest.raises(ConfigError, match="needs prediction 'x0'"):
        FusionConfig(prediction="v", linear=True)


@pytest.mark.parametrize("kind", [{}, {"prediction": "x0", "linear": True}])
@torch.no_grad()
def test_nothing_is_corrected_in_the_background(kind):
    model, (xt, y, t) = wake(make_fusion(**kind)), make_inputs((8, 8, 8))
    if model.linear is not None:
        model.linear.weights.normal_(std=0.05)
    y = y.clamp(min=-0.9)
    y[..., :3] = -1.0
    fused = model.fuse(xt, y, t)
    assert not fused.resid[..., :3].any() and fused.resid[..., 3:].all()
    wanted = (fused.gate.movedim(1, 0)[:, :, None] * fused.eps_planes).sum(0)
    torch.testing.assert_close(fused.eps[..., :3], wanted[..., :3])


@given(plane_sets, st.tuples(*[st.integers(5, 13)] * 3), st.integers(1, 2), st.integers(0, 10**6))
@settings(deadline=None, max_examples=20)
def test_the_network_works_in_the_box_around_the_head_and_leaves_the_average_outside(planes, shape, batch, seed):
    model = wake(make_fusion(planes, prediction="x0", linear=True, degradation=BLOCKS)).eval()
    model.linear.weights.normal_(std=0.05)
    (xt, y, t), draw = make_inputs(shape, batch, seed=seed), torch.Generator().manual_seed(seed)
    corners = [sorted(torch.randint(n, (2,), generator=draw).tolist()) for n in shape]
    head = torch.zeros(shape, dtype=torch.bool)
    head[*(slice(a, b + 1) for a, b in corners)] = True
    y = torch.where(head, y.clamp(min=-0.9), -1.0)
    box = brain_box(y, (4, 4, 4))
    for (first, last), n, side in zip(corners, shape, box):
        assert first - 4 < side.start <= first and last < side.stop <= last + 4 and side.start % 4 == 0
        assert side.stop % 4 == 0 or side.stop == n
    with torch.no_grad():
        whole, lifted = model.fuse(xt, y, t), model.adapted(model.lift(xt, y, t))  # cut first, sums round otherwise
        patch = model.refine(lifted.cut(model, box), xt[..., *box], y[..., *box], t, coordinates(shape)[..., *box])
        average = Average(model.experts)(xt, y, t)
    outside = torch.ones(shape, dtype=torch.bool)
    outside[box] = False
    assert torch.equal(whole.eps[..., *box], patch.eps) and torch.equal(whole.resid[..., *box], patch.resid)
    assert torch.equal(whole.eps[..., outside], average[..., outside]) and not whole.resid[..., outside].any()
    torch.testing.assert_close(whole.gate.sum(1), torch.ones(batch, *shape))


@given(st.tuples(*[st.integers(5, 30)] * 3), plane_sets, st.integers(100, 4000), st.booleans(), st.integers(1, 2))
@settings(deadline=None, max_examples=25)
def test_in_windows_the_experts_and_their_linear_correction_are_those_of_the_whole_head(
    shape, planes, window, keep_contrast, batch
):
    """What the 3D network sees of a head that is too large is a window; all else must not know."""
    model = make_fusion(planes, prediction="x0", linear=True, degradation=BLOCKS, keep_contrast=keep_contrast).eval()
    model.linear.weights.normal_(std=0.05)
    xt, y, t = make_inputs(shape, batch)
    y[..., : shape[0] // 3, :, :] = -1.0
    with torch.no_grad():
        whole = model.fuse(xt, y, t)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fusion, "WINDOW", window * batch)
            windows = model.fuse(xt, y, t)
    for field in fields(Fused):
        torch.testing.assert_close(getattr(windows, field.name), getattr(whole, field.name), atol=1e-4, rtol=1e-4)


@given(
    st.tuples(*[st.integers(5, 11)] * 3),
    st.sampled_from(sorted(PLANES)),
    st.sampled_from(sorted(PLANES)),
    st.sampled_from([1, 2, 4, 6]),
)
@settings(deadline=None, max_examples=15)
def test_features_chunk_by_chunk_equal_all_at_once(shape, first, second, slices):
    model, inputs, results = wake(make_fusion((first, second))), make_inputs(shape), []
    for count in (slices, 1000):
        for expert in model.experts:
            expert.slices = count
        with torch.no_grad():
            results.append(model.fuse(*inputs))
    torch.testing.assert_close(results[0].gate, results[1].gate, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(results[0].eps, results[1].eps, atol=1e-4, rtol=1e-4)


@given(st.tuples(*[st.integers(5, 13)] * 3), plane_sets, st.integers(0, 10**6), st.integers(1, 2))
@settings(deadline=None, max_examples=25)
def test_in_a_box_the_experts_answer_as_in_the_whole_volume(shape, planes, seed, batch):
    """Predictions and features of the experts are those of the whole volume, cut; only the 3D part sees a patch."""
    model, (xt, y, _) = wake(make_fusion(planes)), make_inputs(shape, batch)
    t, multiple = torch.tensor([100, 800])[:batch], model.net.multiple
    for expert in model.experts:
        expert.slices = batch * multiple  # several chunks in a box
    box = random_box(shape, (5, 6, 4), multiple, torch.Generator().manual_seed(seed))
    coords = coordinates(shape)
    with torch.no_grad():
        lifted, all_lifted = model.lift(xt, y, t, coords, box), model.lift(xt, y, t, coords, whole_box(xt))
        fused = model.fuse(xt, y, t, box=box)
        feats, feats_whole = (
            [sum(maps) for maps in zip(*(a(f) for a, f in zip(model.adapters, one.feats)))]
            for one in (lifted, all_lifted)
        )
    torch.testing.assert_close(lifted.eps_planes, all_lifted.eps_planes[..., *box], atol=1e-4, rtol=1e-4)
    assert torch.equal(fused.eps_planes, lifted.eps_planes)
    assert fused.eps.shape == fused.resid.shape == xt[..., *box].shape
    for level, (part, whole) in enumerate(zip(feats, feats_whole, strict=True)):
        start = [s.start >> level for s in box]
        # Where the box ends within a cell of the coarsest grid, its last cell is padded and the volume's is not.
        size = [(s.stop // multiple) * multiple - s.start >> level for s in box]
        inner = whole[..., *(slice(a, a + n) for a, n in zip(start, size))]
        torch.testing.assert_close(part[..., : size[0], : size[1], : size[2]], inner, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_features_matter_only_if_asked_for():
    inputs = make_inputs((4, 4, 4))
    with_features, without = make_fusion(), make_fusion(features=False)
    assert len(without.adapters) == 0 and len(with_features.adapters) == 2
    with_features.net.load_state_dict(wake(without.net).state_dict())
    torch.testing.assert_close(with_features(*inputs), without(*inputs))
    wake(with_features.adapters)
    assert (with_features(*inputs) - without(*inputs)).abs().max() > 1e-3


@torch.no_grad()
def test_without_context_no_voxel_is_corrected_by_what_is_beside_it():
    """But for what the experts themselves saw: their answers and feature maps are held as they are."""
    net = UNetConfig(8, (1,), 2, kernel=1)
    model = wake(make_fusion(unet=net, prediction="x0", linear=True, context=False, degradation=BLOCKS))
    model.linear.weights.normal_(std=0.05)
    for module in model.net.modules():  # its statistics are those of all voxels
        if isinstance(module, torch.nn.GroupNorm):
            module.silu = lambda maps, change=None: ([torch.nn.functional.silu(m) for m in maps], maps)
    xt, y, t = make_inputs((8, 8, 8))
    lifted = model.lift(xt, y, t)
    assert len(lifted.feats) == 1 and len(model.adapters) == 1 and model.linear.around == 0
    coords, moved = coordinates((8, 8, 8)), xt.clone()
    moved[..., 4:, 4:, 4:] += 1.0
    model.degradation = None  # the measurement of a block is context too
    answers = [model.refine(lifted, x, y, t, coords) for x in (xt, moved)]
    differs = (answers[0].gate != answers[1].gate).any(1)
    assert differs[..., 4:, 4:, 4:].any() and not differs[..., :4, :, :].any() and not differs[..., :4].any()


@torch.no_grad()
def test_a_crop_is_told_where_it_lies():
    """The coordinates given with a crop are what the networks read; without them a crop believes to be a head."""
    model, shape = wake(make_fusion()), (8, 8, 8)
    xt, y, t = make_inputs(shape)
    place = coordinates((16, 16, 16))[..., 4:12, 8:16, :8]
    assert place[0, :, 0, 0, 0].tolist() == pytest.approx([-1 + 8 / 15, 1 / 15, -1.0])
    torch.testing.assert_close(model(xt, y, t, coordinates(shape)), model(xt, y, t))
    assert (model(xt, y, t, place) - model(xt, y, t)).abs().max() > 1e-3
    assert model(xt, y, t, place).shape == xt.shape
