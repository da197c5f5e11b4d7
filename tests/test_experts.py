"""2.5D slabs, the rules that average experts, experts that read their own conditions, and borrowed networks."""

from copy import deepcopy

import pytest
import torch
from tiny import NET, SHAPE, draw_batch, expert_config, make_expert, make_fusion, make_inputs, wake

from diffens_core.data.planes import PLANES, coordinates
from diffens_core.data.prepared import PreparedData
from diffens_core.data.tasks import task_named
from diffens_core.diffusion.model import Denoiser
from diffens_core.diffusion.sampler import ddim, timesteps
from diffens_core.diffusion.schedule import Schedule
from diffens_core.models.experts import (
    Average,
    RandomPlane,
    SampleAverage,
    SliceExpert,
    alternate,
    average,
    channels_in,
    random,
)
from diffens_core.models.fusion import Fusion, FusionConfig
from diffens_core.networks.borrowed import Borrowed
from diffens_core.networks.inputs import with_neighbours
from diffens_core.networks.unet import UNet, UNetConfig
from diffens_core.support.settings import ConfigError
from diffens_core.training.loop import loss_box

plane = pytest.mark.parametrize("plane", PLANES)


def slab_expert(plane: str, conditions: int, slab: int = 2, seed: int = 0) -> SliceExpert:
    torch.manual_seed(seed)
    return wake(SliceExpert(UNet(2, channels_in(conditions, slab), 1, NET), plane, Schedule(), "v", slab), seed)


# Slabs


@plane
def test_a_slab_holds_the_slices_before_and_after_in_order_and_repeats_the_border(plane):
    dim, n = PLANES[plane], 5
    y = torch.arange(n).reshape([n if d == dim else 1 for d in range(5)]).expand(2, 1, 5, 5, 5).float()
    y = torch.cat([y, 10 * y], dim=1)
    found = with_neighbours(y, dim, 2).movedim(dim, 1)[0, :, :, 0, 0]
    expected = torch.tensor([[max(0, min(n - 1, i + k)) for k in range(-2, 3)] for i in range(n)]).float()
    torch.testing.assert_close(found, torch.stack([expected, 10 * expected], dim=2).flatten(1))


@plane
@torch.no_grad()
def test_a_slab_expert_sees_in_training_what_it_sees_in_inference_at_the_borders_too(prepared, plane):
    """The middle slice of a training window has the answer that the same slice has within the whole volume."""
    dim, expert = PLANES[plane], slab_expert(plane, conditions=2)
    data = PreparedData(expert_config(prepared).data, "train", task_named("sr"))
    crop = [1 if d == dim else n for d, n in zip((2, 3, 4), SHAPE)]
    phase = expert_config(prepared).train.phases[0]
    heads = [y[None] for pair in data for y in (pair.y, pair.y.flip(1))]  # training mirrors half of them
    seen = set()
    for step in range(100):
        batch = draw_batch(data, range(1), crop, 0, step, around=expert.neighbours)
        box = loss_box(expert, phase, batch.x0.shape[2:], 0, step)
        index = round(float((batch.coords[0, dim - 2, 2, 2, 2] + 1) / 2 * (SHAPE[dim - 2] - 1)))
        slab = with_neighbours(batch.y, dim, 2).narrow(dim, 2, 1)
        y = next(y for y in heads if torch.equal(with_neighbours(y, dim, 2).narrow(dim, index, 1), slab))
        xt = torch.randn(1, 1, *SHAPE).index_copy(dim, torch.tensor([index]), batch.eps.narrow(dim, 2, 1))
        whole = expert(xt, y, batch.t).narrow(dim, index, 1)
        torch.testing.assert_close(expert(batch.eps, batch.y, batch.t, batch.coords, box), whole, atol=1e-5, rtol=1e-4)
        seen.add(index)
    assert {0, SHAPE[dim - 2] - 1} <= seen, "the borders were not drawn"


@torch.no_grad()
def test_a_slab_expert_reads_its_neighbours_conditions_but_no_further():
    expert = slab_expert("axial", conditions=1)
    xt, y, t = make_inputs((8, 8, 9))
    before = expert(xt, y, t)
    y[..., 6] += 1
    changed = (expert(xt, y, t) - before).abs().amax(dim=(0, 1, 2, 3)) > 1e-6
    assert changed.tolist() == [4 <= i <= 8 for i in range(9)]


# Rules


def test_alternate_takes_the_second_expert_in_every_kth_step():
    times = timesteps(Schedule(), 7)
    rule = alternate(3, times)
    assert [rule(t) for t in times] == [[1, 0], [1, 0], [0, 1], [1, 0], [1, 0], [0, 1], [1, 0]]
    with pytest.raises(ValueError, match="at least 2"):
        alternate(1, times)


def test_random_takes_the_second_expert_as_often_as_told_and_the_same_again():
    times = list(range(1000))
    for p in (0.25, 0.5):
        drawn = [random(p, times, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
        first, again, other = ([rule(t)[1] for t in times] for rule in drawn)
        assert abs(sum(first) / 1000 - p) < 0.05 and first == again != other


@torch.no_grad()
def test_a_random_plane_is_drawn_for_each_sample():
    experts, (xt, y, _) = [make_expert("axial"), make_expert("sagittal", seed=1)], make_inputs((6, 6, 6))

    def sampled(model, seed):
        return list(model.trajectory(y, xt, 3, generator=torch.Generator().manual_seed(seed)))[-1].x0_hat

    found = [sampled(RandomPlane(experts, 0.5), seed) for seed in range(12)]
    torch.testing.assert_close(sampled(RandomPlane(experts, 0.5), 5), found[5])
    assert len({round(float(volume.sum()), 3) for volume in found}) > 3
    torch.testing.assert_close(sampled(RandomPlane(experts, 0.0), 1), sampled(experts[0], 1))
    torch.testing.assert_close(sampled(RandomPlane(experts, 1.0), 1), sampled(experts[1], 1))


@torch.no_grad()
def test_an_average_weighs_as_its_rule_says_and_runs_no_expert_in_vain():
    experts = [make_expert(plane, seed=seed) for seed, plane in enumerate(PLANES)]
    inputs = make_inputs((6, 7, 8))
    answers = torch.stack([expert(*inputs) for expert in experts])
    torch.testing.assert_close(Average(experts)(*inputs), answers.mean(0))
    experts[1].register_forward_hook(lambda *_: pytest.fail("an expert of weight 0 was run"))
    mixed = Average(experts, lambda t: [0.25, 0.0, 0.75])(*inputs)
    torch.testing.assert_close(mixed, 0.25 * answers[0] + 0.75 * answers[2])
    for rule in (average(2), alternate(2, [999, 500])):
        with pytest.raises(ValueError, match="weighs 2 experts, not 3|not in list"):
            Average(experts, rule)(*inputs)
    with pytest.raises(ValueError, match="no models"):
        Average([])
    with pytest.raises(ValueError, match="between 0 and 1, not at 2"):
        RandomPlane(experts[:2], 2)
    with pytest.raises(ValueError, match="the same"):
        xt, y, t = make_inputs((4, 4, 4), batch=2)
        Average(experts)(xt, y, torch.tensor([3, 4]))


@torch.no_grad()
def test_averaging_samples_of_one_expert_is_ancestral_sampling():
    expert, (xt, y, _) = make_expert(), make_inputs((6, 6, 6))
    generators = [torch.Generator().manual_seed(5) for _ in range(2)]
    ours = list(SampleAverage([expert]).trajectory(y, xt, 4, generator=generators[0]))
    ancestral = list(ddim(expert, y, xt, 4, eta=1.0, generator=generators[1]))
    for a, b in zip(ours, ancestral):
        torch.testing.assert_close(a.xt, b.xt)
        torch.testing.assert_close(a.x0_hat, b.x0_hat)


@torch.no_grad()
def test_all_experts_take_part_where_samples_are_averaged():
    experts, (xt, y, _) = [make_expert(plane, seed=seed) for seed, plane in enumerate(PLANES)], make_inputs((6, 6, 6))
    (step,) = SampleAverage(experts).trajectory(y, xt, 1)
    alone = [next(ddim(expert, y, xt, 1)).x0_hat for expert in experts]
    torch.testing.assert_close(step.x0_hat, torch.stack(alone).mean(0))


class Exact(Denoiser):
    """Knows that the target is 0 everywhere: all of `xt` is noise."""

    schedule = Schedule()

    def forward(self, xt, y, t, coords=None):
        return self.schedule.eps_from_x0(torch.zeros_like(xt), xt, t)


def test_averaging_the_samples_of_three_planes_shrinks_their_noise():
    """From pure noise, one ancestral step of each: a third of the fresh variance is left."""
    noise = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    first = [
        next(SampleAverage([Exact()] * n).trajectory(noise, noise, 2, generator=torch.Generator().manual_seed(1)))
        for n in (1, 3)
    ]
    schedule, (before, after) = Schedule(), timesteps(Schedule(), 2)
    a, b = schedule.alpha_bar[before], schedule.alpha_bar[after]
    fresh = (1 - b) / (1 - a) * (1 - a / b)
    for count, step in zip((1, 3), first):
        assert float(step.xt.var()) == pytest.approx(float(1 - b - fresh + fresh / count), rel=0.02)


# Conditions of one's own


@torch.no_grad()
def test_an_expert_reads_the_channels_that_it_was_trained_on():
    alone, among = make_expert(conditions=2), make_expert(conditions=2)
    xt, y, t = make_inputs((6, 6, 6), conditions=3)
    among.reads = [2, 0]
    torch.testing.assert_close(among(xt, y, t), alone(xt, y[:, [2, 0]], t))
    assert (among(xt, y, t) - alone(xt, y[:, [0, 2]], t)).abs().max() > 1e-3, "the order must matter"


def test_tasks_know_where_the_conditions_of_others_are():
    both = task_named("both")
    assert both.channels_of(task_named("sr")) == [0, 1] and both.channels_of(task_named("mt")) == [2]
    with pytest.raises(ValueError, match="task 'mt' has no flair_lr, flair_up"):
        task_named("mt").channels_of(task_named("sr"))


@torch.no_grad()
def test_a_fusion_of_experts_with_different_conditions_starts_at_their_average():
    experts = [make_expert("axial", 2, 0), make_expert("axial", 1, 1), make_expert("sagittal", 1, 2)]
    xt, y, t = make_inputs((6, 7, 8), conditions=3)
    for expert, reads in zip(experts, ([0, 1], [2], [2])):
        expert.reads = reads
    for features in (True, False):
        model = Fusion(experts, 3, NET, FusionConfig(features=features))
        fused = model.fuse(xt, y, t)
        assert torch.equal(fused.eps, Average(experts)(xt, y, t)) and fused.gate.shape[1] == 3
        answers = [e(xt, y[:, r], t) for e, r in zip(map(unread, experts), ([0, 1], [2], [2]))]
        torch.testing.assert_close(fused.eps_planes, torch.stack(answers))
        for expert, reads in zip(experts, ([0, 1], [2], [2])):
            expert.reads = reads


def unread(expert):
    expert.reads = None
    return expert


# Anything can be an expert


@torch.no_grad()
def test_any_denoiser_can_be_fused_without_feature_maps():
    xt, y, t = make_inputs((6, 7, 8))
    model = Fusion([Exact(), make_expert()], 1, NET, FusionConfig(features=False))
    torch.testing.assert_close(
        model(xt, y, t), (xt / model.schedule.signal_and_noise(t, xt)[1] + make_expert()(xt, y, t)) / 2
    )
    box = (slice(2, 6), slice(0, 4), slice(4, 8))
    torch.testing.assert_close(model(xt, y, t, None, box), model(xt, y, t)[..., *box])
    with pytest.raises(ValueError, match="an expert has feature maps of 0 levels, the 3D network has 2"):
        Fusion([Exact(), make_expert()], 1, NET, FusionConfig())
    with pytest.raises(ValueError, match="of 2 levels, the 3D network has 3"):
        Fusion([make_expert()], 1, UNetConfig(8, (1, 2, 2), 1), FusionConfig())


def diffusers_net():
    from diffusers import UNet2DModel

    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    return UNet2DModel(
        in_channels=2, out_channels=1, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, **blocks
    )


def monai_net():
    from monai.networks.nets import DiffusionModelUNet

    widths = {"channels": (8, 16), "attention_levels": (False, False), "num_head_channels": 4}
    return DiffusionModelUNet(2, 2, 1, num_res_blocks=1, norm_num_groups=4, **widths)


@pytest.mark.parametrize("make", [diffusers_net, monai_net])
def test_a_network_of_another_library_becomes_an_expert(make):
    torch.manual_seed(0)
    theirs = wake(make().eval())
    taps = [block.resnets[-1] for block in reversed(theirs.up_blocks)]
    xt, y, t = make_inputs((10, 12, 9))
    plain = SliceExpert(Borrowed(theirs, channels=2, multiple=2), "axial", Schedule(), "eps").eval()
    tapped = SliceExpert(Borrowed(theirs, channels=2, multiple=2, taps=taps), "axial", Schedule(), "eps").eval()
    assert plain.net.widths == [] and tapped.net.widths == [8, 16]
    with torch.no_grad():
        answer = plain(xt, y, t)
        by_hand = theirs(torch.cat([xt, y], 1)[..., 4], t)
        by_hand = by_hand if torch.is_tensor(by_hand) else by_hand.sample
        torch.testing.assert_close(answer[..., 4], by_hand)
        torch.testing.assert_close(tapped(xt, y, t), answer)
        ours = make_expert("sagittal")
        average = Average([plain, ours])(xt, y, t)
        torch.testing.assert_close(Fusion([plain, ours], 1, NET, FusionConfig(features=False))(xt, y, t), average)
    model = Fusion([tapped, ours], 1, NET, FusionConfig())
    torch.testing.assert_close(model(xt, y, t), average)
    wake(model.net)
    model(xt, y, t).square().sum().backward()
    assert model.adapters[0].convs[0].weight.grad.abs().max() > 0, "their feature maps do not reach the residual"
    assert all(p.grad is None for p in theirs.parameters())


def test_a_copy_of_a_borrowed_network_has_feature_maps_of_its_own():
    theirs = wake(diffusers_net().eval())
    net = Borrowed(theirs, channels=2, multiple=2, taps=[block.resnets[-1] for block in reversed(theirs.up_blocks)])
    copy, (x, t) = deepcopy(net), (torch.randn(1, 2, 8, 8), torch.tensor([5]))
    wake(copy, seed=1)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.mul_(1.5)
        ours, theirs = net(x, t)[1], copy(x, t)[1]
    assert [f.shape for f in ours] == [f.shape for f in theirs] and not torch.allclose(ours[0], theirs[0])


def test_an_output_that_is_not_a_prediction_is_refused():
    from diffusers import UNet2DModel

    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    sizes = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}
    with pytest.raises(ValueError, match="predicts one channel, this model puts out 2"):
        Borrowed(UNet2DModel(in_channels=2, out_channels=2, **sizes, **blocks), channels=2, multiple=2)
    expert = SliceExpert(Borrowed(diffusers_net(), channels=2, multiple=2), "axial", Schedule(), "epsilon")
    with pytest.raises(ValueError, match="prediction must be one of v, eps, x0, not 'epsilon'"):
        expert(*make_inputs((8, 8, 2)))


def test_what_does_not_fit_is_named():
    expert = make_expert()
    with pytest.raises(ValueError, match="reads 6 channels, not 7: are these the conditions"):
        expert(*make_inputs((8, 8, 8), conditions=2))
    with pytest.raises(ValueError, match="0 neighbours on either side or more, not -1"):
        with_neighbours(torch.zeros(1, 1, 4, 4, 4), 2, -1)
    with pytest.raises(ConfigError, match="lam must be a number, not nan"):
        FusionConfig(lam=float("nan"))
    theirs = diffusers_net()
    taps = [block.resnets[-1] for block in reversed(theirs.up_blocks)]
    coarse = SliceExpert(Borrowed(theirs, channels=2, multiple=4, taps=taps), "axial", Schedule(), "eps")
    with pytest.raises(ValueError, match="multiples of 4, the 3D network volumes of multiples of 2"):
        Fusion([coarse, expert], 1, NET, FusionConfig())


def test_taps_in_the_wrong_order_are_refused():
    theirs = diffusers_net()
    with pytest.raises(ValueError, match="from the finest feature map to the coarsest"):
        Borrowed(theirs, channels=2, multiple=2, taps=[block.resnets[-1] for block in theirs.up_blocks])


# Switches


@torch.no_grad()
def test_a_uniform_gate_leaves_the_residual_alone_to_learn():
    model = wake(make_fusion(gate="uniform"))
    fused = model.fuse(*make_inputs((6, 6, 6)))
    assert torch.equal(fused.gate, torch.full_like(fused.gate, 0.5)) and fused.resid.abs().max() > 0


@torch.no_grad()
def test_without_coordinates_the_3d_network_cannot_know_where_it_is():
    (xt, y, t), shape = make_inputs((6, 6, 6)), (6, 6, 6)
    places = [coordinates(shape), coordinates(shape).flip(2)]
    for known, differs in ((True, True), (False, False)):
        model = wake(Fusion([Exact(), Exact()], 1, NET, FusionConfig(features=False, coordinates=known)))
        answers = [model(xt, y, t, place) for place in places]
        assert (not torch.equal(*answers)) == differs


def test_levels_of_attention_must_be_there():
    with pytest.raises(ConfigError, match="attention must name levels 0 to 1"):
        UNetConfig(8, (1, 2), 1, attention=(2,))
