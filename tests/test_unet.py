"""The networks of the paper's tables, and what every U-Net promises."""

import pytest
import torch
import torch.nn.functional as F
from tiny import wake

from diffens_core.experiment.presets import PRESETS
from diffens_core.networks import narrow, unet
from diffens_core.networks.narrow import conv3d, conv_of_repeated, pointwise
from diffens_core.networks.norm import LAYOUT, NormSilu, laid_out
from diffens_core.networks.unet import Attention, UNet, UNetConfig, joined, timestep_embedding

PAPER = PRESETS["paper"]
TABLES = {  # dims, configuration, output channels, parameters with 5 input channels, widths
    "9": (2, PAPER.expert, 1, 48_142_209, [64, 128, 256, 512]),
    "10": (3, PAPER.fusion, 2, 46_974_722, [64, 128, 192, 256]),
    "11": (3, PAPER.small, 2, 9_974_306, [32, 64, 64, 128]),
}


@pytest.mark.parametrize("table", TABLES)
def test_paper_networks_have_their_size(table):
    dims, config, channels_out, parameters, widths = TABLES[table]
    with torch.device("meta"):
        net = UNet(dims, 5, channels_out, config)
        out, feats = net(torch.empty(2, 5, *[16] * dims), torch.zeros(2, dtype=torch.int64))
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert net.widths == widths and net.multiple == 8
    assert out.shape == (2, channels_out, *[16] * dims)
    assert [f.shape for f in feats] == [(2, w, *[16 // 2**k] * dims) for k, w in enumerate(widths)]


def _small(dims, **options):
    torch.manual_seed(0)
    return UNet(dims, 3, 2, UNetConfig(base=8, mult=(1, 2), blocks=2, **options))


@pytest.mark.parametrize("dims", [2, 3])
def test_output_is_zero_at_initialisation_and_features_are_not(dims):
    out, feats = _small(dims)(torch.randn(1, 3, *[8] * dims), torch.tensor([5]))
    assert not out.any() and all(f.abs().mean() > 0.01 for f in feats)


@pytest.mark.parametrize("size", [(7, 8), (8, 9)])
def test_sizes_that_do_not_halve_are_refused(size):
    with pytest.raises(ValueError, match="not multiples of 2"):
        _small(2)(torch.randn(1, 3, *size), torch.tensor([0]))


@pytest.mark.parametrize("dims", [2, 3])
def test_step_and_injected_maps_reach_the_output(dims):
    net, x = wake(_small(dims)), torch.randn(1, 3, *[8] * dims)
    t = torch.tensor([5])
    with torch.no_grad():
        out, feats = net(x, t)
        assert (net(x, t + 400)[0] - out).abs().max() > 1e-3
        zeros = [torch.zeros_like(f) for f in feats]
        assert torch.equal(net(x, t, zeros)[0], out)
        for level in range(2):
            inject = [f + (k == level) for k, f in enumerate(zeros)]
            assert (net(x, t, inject)[0] - out).abs().max() > 1e-3


def test_a_3d_network_sees_all_three_axes():
    net, x = wake(_small(3)), torch.randn(1, 3, 8, 8, 8)
    t = torch.tensor([5])
    with torch.no_grad():
        for axis in (2, 3, 4):
            moved = net(x.roll(1, axis), t)[0] - net(x, t)[0].roll(1, axis)
            assert net(x, t)[0].shape == x[:, :2].shape and moved.abs().max() > 1e-6


@pytest.mark.parametrize("dims", [2, 3])
def test_checkpointing_gives_the_same_gradients(dims):
    """With dropout, so that the recomputed pass has to draw the same mask."""
    gradients = []
    for checkpointing in (False, True):
        net = wake(_small(dims, checkpointing=checkpointing, dropout=0.3)).train()
        torch.manual_seed(1)
        net(torch.randn(2, 3, *[8] * dims), torch.tensor([1, 900]))[0].square().sum().backward()
        gradients.append([p.grad for p in net.parameters()])
    assert all(g.abs().max() > 0 for g in gradients[0])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_checkpointing_really_recomputes():
    calls = []
    net = _small(2, checkpointing=True)
    net.middle[0].register_forward_pre_hook(lambda *_: calls.append(1))
    wake(net)(torch.randn(1, 3, 8, 8), torch.tensor([1]))[0].sum().backward()
    assert len(calls) == 2


def test_embeddings_of_all_steps_differ():
    waves = timestep_embedding(torch.arange(1000), 16)
    assert waves.shape == (1000, 16) and waves.dtype == torch.float32
    assert torch.pdist(waves).min() > 1e-2


@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_attention_is_that_of_torch(dims):
    """Against nn.MultiheadAttention over the flattened positions, two heads of 32 channels."""
    torch.manual_seed(0)
    ours, x = wake(Attention(dims, 64)), torch.randn(2, 64, *[3] * dims)
    theirs = torch.nn.MultiheadAttention(64, 2, batch_first=True)
    theirs.in_proj_weight.copy_(ours.qkv.weight.flatten(1))
    theirs.in_proj_bias.copy_(ours.qkv.bias)
    theirs.out_proj.weight.copy_(ours.out.weight.flatten(1))
    theirs.out_proj.bias.copy_(ours.out.bias)
    tokens = ours.norm(x).flatten(2).transpose(1, 2)
    expected = theirs(tokens, tokens, tokens)[0].transpose(1, 2).reshape_as(x)
    assert ours.heads == 2
    torch.testing.assert_close(ours(x) - x, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_attention_starts_as_nothing_and_is_where_it_was_asked_for():
    plain, attending = _small(2), _small(2, attention=(1,))
    assert sum(isinstance(m, Attention) for m in plain.modules()) == 0
    assert sum(isinstance(m, Attention) for m in attending.modules()) == 3, "encoder, middle and decoder of level 1"
    x, t = torch.randn(1, 3, 8, 8), torch.tensor([5])
    weights = {name: value for name, value in attending.state_dict().items() if "attention" not in name}
    wake(plain.eval()).load_state_dict(weights)
    torch.testing.assert_close(attending(x, t)[1], plain(x, t)[1])
    assert (wake(attending)(x, t)[1][0] - plain(x, t)[1][0]).abs().max() > 1e-3


@pytest.mark.parametrize("size", [(4, 4, 4), (4, 8, 12), (8, 4, 4)])
def test_coarse_maps_two_voxels_thick_train_alike_every_time_in_bf16(size):
    """Memory that others have left full of NaN must not reach the gradients."""
    found = []
    for _ in range(4):
        net, x = wake(_small(3)), torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
        junk = [torch.full((n,), float("nan"), dtype=torch.bfloat16) for n in (100, 1000, 10_000, 100_000)]
        del junk
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out, _ = net(x, torch.tensor([5]))
        out.float().square().sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    assert found[0].isfinite().all() and all(torch.equal(g, found[0]) for g in found)


MAPS = {  # channels and sizes of maps that count as joined
    "one": [(12, (4, 6))],
    "one voxel": [(12, (1, 1, 1))],
    "narrow": [(4, (6, 4, 2))],
    "two grids": [(8, (2, 4)), (4, (4, 8))],
    "two grids in 3D": [(8, (2, 1, 2)), (4, (4, 2, 4))],
    "one grid": [(8, (4, 4)), (4, (4, 4))],
}


def _leaves(name: str, dtype: torch.dtype) -> list[torch.Tensor]:
    """Weight, bias, change and maps with a mean that is not 0."""
    generator = torch.Generator().manual_seed(0)
    channels = sum(width for width, _ in MAPS[name])
    shapes = [channels], [channels], (2, 2 * channels), *((2, width, *size) for width, size in MAPS[name])
    made = [torch.randn(shape, generator=generator, dtype=torch.float64) + 1 for shape in shapes]
    parameters = torch.promote_types(dtype, torch.float32)
    return [x.to(dtype if x.ndim > 2 else parameters).requires_grad_() for x in made]


def _torchs_own(weight, bias, change, *maps):
    x = joined(maps)
    scale, shift = change.reshape(len(x), -1, *[1] * (x.ndim - 2)).chunk(2, dim=1)
    return F.silu(F.group_norm(x, 2, weight, bias) * (1 + scale) + shift)


def _ours(*leaves):
    return joined(NormSilu.apply(2, 1e-5, *leaves)[: len(leaves) - 3])


@pytest.mark.parametrize("name", MAPS)
def test_norm_and_silu_have_the_gradients_that_differences_show(name):
    """With the maps handed on, whose gradients come back with those of the results; and without a change.

    Along one random direction, but so exactly that a hundredth too much in a single entry is seen.
    """
    weight, bias, change, *maps = _leaves(name, torch.float64)
    for given in (change, None):
        leaves, exactly = (weight, bias, given, *maps), {"fast_mode": True, "atol": 1e-7, "rtol": 1e-7}
        assert torch.autograd.gradcheck(lambda *a: NormSilu.apply(2, 1e-5, *a), leaves, **exactly)


@pytest.mark.parametrize("dtype, error", [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, None])
@pytest.mark.parametrize("name", MAPS)
def test_norm_and_silu_are_those_of_torch(name, layout, dtype, error):
    leaves = _leaves(name, dtype)
    ours = [x if x.ndim <= 2 else x.contiguous(memory_format=layout or LAYOUT[x.ndim]) for x in leaves]
    expected = [x.detach().double().requires_grad_() for x in leaves]
    found, wanted = _ours(*ours), _torchs_own(*expected)
    grad = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    pairs = zip(
        (found, *torch.autograd.grad(found, leaves, grad.to(found.dtype))),
        (wanted, *torch.autograd.grad(wanted, expected, grad.to(found.dtype).double())),
    )
    assert found.dtype == dtype
    assert all((a - b).abs().max() <= error * max(1.0, b.abs().max()) for a, b in pairs)
    with torch.inference_mode():
        assert torch.equal(_ours(*ours), found)


@pytest.mark.parametrize("shape", [(2, 17, 3, 4, 5), (1, 20, 6, 4), (2, 3, 4, 4)])
def test_maps_are_laid_out_as_torch_does_it(shape):
    whole = torch.randn(shape, requires_grad=True)
    for x in (whole, whole.transpose(2, 3), whole[:, :, 1:], whole.bfloat16()):
        found, wanted = laid_out(x), x.contiguous(memory_format=LAYOUT[x.ndim])
        assert torch.equal(found, wanted) and found.is_contiguous(memory_format=LAYOUT[x.ndim])
        _same(found.float(), wanted.float(), (whole,))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("precision, error", [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
def test_our_operators_give_what_those_of_torch_do(dims, precision, error, monkeypatch):
    """Output and gradients of a network whose maps are large enough for ours, and of one whose maps never are."""
    monkeypatch.setattr(narrow, "MANY", 0)
    results = []
    for ours in (True, False):
        monkeypatch.setattr(unet, "pays", lambda _, ours=ours: ours)
        net, x = wake(_small(dims)), torch.randn(2, 3, *[16] * dims, generator=torch.Generator().manual_seed(0))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
            out, feats = net(x, torch.tensor([5, 700]))
        sum(f.float().square().sum() for f in (out, *feats)).backward()
        results.append([out, *feats, *(p.grad for p in net.parameters())])
        monkeypatch.setattr(narrow, "FEW", 0)
    for a, b in zip(*results):
        assert (a - b).norm() <= error * b.norm()


def test_checkpointed_and_whole_passes_agree_with_our_operators(monkeypatch):
    monkeypatch.setattr(unet, "pays", lambda _: True)
    test_checkpointing_gives_the_same_gradients(2)
    test_step_and_injected_maps_reach_the_output(3)


@pytest.mark.parametrize("dims, size", [(2, (4, 6)), (3, (4, 2, 4))])
def test_a_convolution_of_repeated_voxels_is_that(dims, size):
    x, weight = torch.randn(2, 5, *size, requires_grad=True), torch.randn(3, 5, *[3] * dims, requires_grad=True)
    conv = {2: F.conv2d, 3: F.conv3d}[dims]
    _same(conv_of_repeated(x, weight), conv(F.interpolate(x, scale_factor=2), weight, padding=1), (x, weight))


@pytest.mark.parametrize("outputs, channels, size", [(3, 40, (4, 5, 6)), (8, 33, (5, 4, 4)), (4, 8, (4, 5, 8))])
def test_narrow_convolutions_are_those_of_torch(outputs, channels, size, monkeypatch):
    """In float32 up to rounding; in bf16, where pairs of voxels are taken, up to its own."""
    monkeypatch.setattr(narrow, "MANY", 0)
    x, weight = torch.randn(2, channels, *size), torch.randn(outputs, channels, 3, 3, 3)
    leaves = [v.requires_grad_() for v in (x, weight, torch.randn(outputs))]
    expected = F.conv3d(*leaves, padding=1)
    _same(conv3d(*leaves), expected, leaves)
    leaves = [v.detach().bfloat16().requires_grad_() for v in leaves]
    _same(conv3d(*leaves), F.conv3d(*leaves, padding=1), leaves, error=0.02)


def test_the_gradient_of_a_narrow_convolution_may_be_for_the_weights_alone(monkeypatch):
    monkeypatch.setattr(narrow, "MANY", 0)
    x, leaves = torch.randn(1, 33, 4, 4, 4), [torch.randn(2, 33, 3, 3, 3), torch.randn(2)]
    leaves = [v.requires_grad_() for v in leaves]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = conv3d(x, *leaves), F.conv3d(x, *leaves, padding=1)
    assert found.dtype == torch.bfloat16
    _same(found, expected, leaves, error=0.02)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_convolution_of_single_voxels_is_that_of_torch(dims):
    x, theirs = torch.randn(2, 12, *[4, 6, 5][:dims], requires_grad=True), {2: F.conv2d, 3: F.conv3d}[dims]
    leaves = x, torch.randn(5, 12, *[1] * dims, requires_grad=True), torch.randn(5, requires_grad=True)
    _same(pointwise(*leaves), theirs(*leaves), leaves)


@pytest.mark.parametrize("channels, planes", [(192, 7), (96, 9)])
def test_single_voxels_of_large_maps_have_their_gradient_in_bf16(channels, planes):
    """oneDNN's own ends the process here, or gives NaN."""
    conv = unet.Conv3d(channels, 8, 1).bfloat16()
    x = torch.randn(1, channels, planes, 192, 152, dtype=torch.bfloat16).to(memory_format=torch.channels_last_3d)
    out = conv(x)
    grad = torch.randn_like(out)
    (found,) = torch.autograd.grad(out, [conv.weight], grad)
    expected = torch.einsum("oxyz,ixyz->oi", grad[0].float(), x[0].float())
    assert (found.float().flatten(1) - expected).norm() < 0.01 * expected.norm()


def _same(found, expected, leaves, error=1e-5):
    """Values and gradients."""
    assert found.shape == expected.shape
    grad = torch.randn(expected.shape).to(expected.dtype)
    found, expected = ([y, *torch.autograd.grad(y, leaves, grad)] for y in (found, expected))
    assert all((a - b).abs().max() <= error * b.abs().max() and a.dtype == b.dtype for a, b in zip(found, expected))
