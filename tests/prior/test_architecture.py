"""The hourglass: that it is the published network, and what can be varied."""

import importlib.util

import pytest
import torch
from torch import nn

from napari_dip.errors import InputError
from napari_dip.prior.architecture import Architecture
from napari_dip.prior.hourglass import Lanczos, NormAct
from napari_dip.prior.layers import Conv

SMALL = Architecture.uniform(6, 3, skip=2)


@pytest.fixture(scope="module")
def plain(root):
    """Return the module of the published network, written the obvious way."""
    path = root / "benchmarks" / "plain.py"
    spec = importlib.util.spec_from_file_location("plain_for_tests", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def random():
    return torch.Generator().manual_seed(3)


def parts(sequence):
    """Return the convolutions and normalisations of a sequence, in order."""
    kinds = (Conv, NormAct, nn.Conv2d, nn.BatchNorm2d)
    return [module for module in sequence.modules() if isinstance(module, kinds)]


@pytest.fixture
def copy_scale():
    """Return a function that copies the weights of a plain scale, and below it."""

    def copy(ours, theirs):
        for name in ("skip", "down", "merge"):
            pairs = zip(
                parts(getattr(ours, name)), parts(getattr(theirs, name)), strict=True
            )
            for mine, yours in pairs:
                mine.weight.copy_(yours.weight)
                if isinstance(yours, nn.BatchNorm2d):
                    mine.bias.copy_(yours.bias)
        if ours.below is None:
            assert isinstance(theirs.below, nn.Identity)
        else:
            copy(ours.below, theirs.below)

    return copy


@torch.no_grad()
def test_default_is_the_published_network(plain, copy_scale, random):
    theirs = plain.network(3)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            # Ones and zeros would hide a normalisation in the wrong place.
            module.weight.uniform_(0.5, 1.5, generator=random)
            module.bias.uniform_(-0.5, 0.5, generator=random)
    ours = Architecture().build(32, 3, (32, 32), None)
    copy_scale(ours.body, theirs[0])
    ours.head.weight.copy_(theirs[1][1].weight)
    ours.head.bias.copy_(theirs[1][1].bias)
    code = torch.rand((1, 32, 64, 96), generator=random) * 0.1
    rounded = theirs(code)
    torch.testing.assert_close(ours(code), rounded, rtol=0, atol=5e-5)
    exact = theirs.double()(code.double())
    assert exact.std() > 0.01
    # Its output is float32 always; everything before it was float64.
    found = ours.double()(code.double()).double()
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-7)


def test_default_has_the_published_number_of_weights(plain):
    theirs = plain.network(3)
    total = sum(p.numel() for p in theirs.parameters())
    head = theirs[1][1]
    before_a_norm = [
        module
        for module in theirs.modules()
        if isinstance(module, nn.Conv2d) and module is not head
    ]
    useless = sum(module.bias.numel() for module in before_a_norm)
    ours = Architecture().build(32, 3, (32, 32), None)
    assert sum(p.numel() for p in ours.parameters()) == total - useless
    assert 2.1e6 < total < 2.3e6  # "about 2.2 million"


OPTIONS = [
    {},
    {"upsampling": "nearest"},
    {"downsampling": "average"},
    {"downsampling": "max"},
    {"downsampling": "lanczos"},
    {"pointwise": False},
    {"padding": "zero"},
    {"output": "linear"},
    {"skip": (0, 0, 0)},
    {"skip": (0, 2, 5)},
    {"down_kernel": 5, "up_kernel": (3, 1, 5)},
    {"skip_kernel": 3},
    {"down": (3, 4, 5), "up": (6, 7, 8)},
]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("changes", OPTIONS, ids=str)
def test_every_option_keeps_the_size_and_can_be_trained(changes, ndim, random):
    values = {"down": (6,) * 3, "up": (6,) * 3, "skip": (2,) * 3} | changes
    architecture = Architecture(**values)
    network = architecture.build(4, 2, (32,) * ndim, random)
    sides = (16, 24, 16)[:ndim]
    code = torch.rand((1, 4, *sides), generator=random)
    out = network(code)
    assert out.shape == (1, 2, *sides)
    assert out.dtype == torch.float32
    out.square().mean().backward()
    for name, p in network.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
    inside = bool((out > 0).all() and (out < 1).all())
    assert inside or architecture.output == "linear"


def test_options_change_the_function(random):
    code = torch.rand((1, 4, 16, 16), generator=random)
    outputs = []
    for changes in (
        {},
        {"upsampling": "nearest"},
        {"downsampling": "average"},
        {"downsampling": "max"},
        {"downsampling": "lanczos"},
        {"padding": "zero"},
        {"output": "linear"},
    ):
        architecture = Architecture.uniform(6, 3, skip=2, **changes)
        same = torch.Generator().manual_seed(0)
        outputs.append(architecture.build(4, 2, (32, 32), same)(code).detach())
    for i, one in enumerate(outputs):
        for other in outputs[:i]:
            assert not torch.allclose(one, other, atol=1e-4)


def test_linear_output_is_what_the_sigmoid_is_taken_of(random):
    code = torch.rand((1, 4, 16, 16), generator=random)
    linear, sigmoid = (
        Architecture.uniform(6, 3, output=output)
        .build(4, 1, (32, 32), torch.Generator().manual_seed(0))(code)
        .detach()
        for output in ("linear", "sigmoid")
    )
    torch.testing.assert_close(torch.sigmoid(linear), sigmoid)
    assert linear.min() < 0


def test_computes_in_the_dtype_of_the_code(random):
    network = SMALL.build(4, 1, (32, 32), random)
    seen = []
    network.head.register_forward_hook(lambda m, i, out: seen.append(out.dtype))
    code = torch.rand((1, 4, 16, 16), generator=random)
    exact, rough = network(code), network(code.bfloat16())
    assert seen == [torch.float32, torch.bfloat16]
    assert exact.dtype == rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    torch.testing.assert_close(exact, rough, rtol=0, atol=0.1)


def test_train_and_eval_are_the_same(random):
    network = SMALL.build(4, 1, (32, 32), random)
    code = torch.rand((1, 4, 16, 16), generator=random)
    assert torch.equal(network.train()(code), network.eval()(code))


def test_samples_of_a_batch_do_not_mix(random):
    network = SMALL.build(4, 1, (32, 32), random)
    codes = torch.rand((2, 4, 16, 16), generator=random)
    apart = torch.cat([network(codes[:1]), network(codes[1:])])
    torch.testing.assert_close(network(codes), apart, rtol=0, atol=1e-5)


def test_multiple_counts_the_halvings():
    assert Architecture().multiple(2) == (32, 32)
    assert Architecture.uniform(4, 3).multiple(3) == (8, 8, 8)
    flat = Architecture.uniform(4, 3, flat_scales=2)
    assert flat.multiple(3) == (2, 8, 8)
    assert flat.multiple(2) == (8, 8)
    assert Architecture.uniform(4, 2, flat_scales=2).multiple(3) == (1, 4, 4)


@pytest.mark.parametrize("downsampling", ["stride", "average", "max", "lanczos"])
@pytest.mark.parametrize("upsampling", ["bilinear", "nearest"])
def test_flat_scales_leave_the_first_axis_alone(downsampling, upsampling, random):
    architecture = Architecture.uniform(
        4, 2, flat_scales=1, downsampling=downsampling, upsampling=upsampling
    )
    network = architecture.build(3, 1, (32,) * 3, random)
    sizes = []
    network.body.below.register_forward_pre_hook(
        lambda module, args: sizes.append(tuple(args[0].shape[2:]))
    )
    out = network(torch.rand((1, 3, 6, 16, 12), generator=random))
    assert sizes == [(6, 8, 6)]
    assert out.shape == (1, 1, 6, 16, 12)


def test_kernels_per_scale_go_to_their_scales(random):
    architecture = Architecture.uniform(
        4, 3, down_kernel=(7, 5, 3), up_kernel=(1, 3, 5), skip_kernel=(1, 5, 7)
    )
    body = architecture.build(2, 1, (32, 32), random).body
    for down, up, skip in ((7, 1, 1), (5, 3, 5), (3, 5, 7)):
        convolutions = [m for m in body.down.modules() if isinstance(m, Conv)]
        assert [c.weight.shape[-1] for c in convolutions] == [down, down]
        merging = [m for m in body.merge.modules() if isinstance(m, Conv)]
        assert [c.weight.shape[-1] for c in merging] == [up, 1]
        assert body.skip[0].weight.shape[-1] == skip
        body = body.below


def test_widths_per_scale_go_to_their_scales(random):
    architecture = Architecture(down=(3, 4), up=(5, 6), skip=(2, 0))
    body = architecture.build(7, 1, (32, 32), random).body
    finest, coarsest = body, body.below
    assert finest.down[0].weight.shape[:2] == (3, 7)
    assert coarsest.down[0].weight.shape[:2] == (4, 3)
    assert finest.skip[0].weight.shape[:2] == (2, 7)
    assert coarsest.skip is None
    assert coarsest.merge[1].weight.shape[:2] == (6, 4)
    assert finest.merge[1].weight.shape[:2] == (5, 2 + 6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"down": ()}, "at least one"),
        ({"down": (4, 4)}, "same number of scales"),
        ({"skip": (4, 4, -1)}, "skips 0 or more"),
        ({"up": (4, 0, 4)}, "widths must be positive"),
        ({"down": (4, -4, 4)}, "widths must be positive"),
        ({"upsampling": "cubic"}, "upsampling must be one of bilinear, nearest"),
        ({"downsampling": "skip"}, "downsampling must be one of stride, average"),
        ({"padding": "wrap"}, "padding must be one of reflection, zero"),
        ({"output": "tanh"}, "output must be one of sigmoid, softplus, linear"),
        ({"down_kernel": 4}, "down_kernel must be odd"),
        ({"up_kernel": 0}, "up_kernel must be odd"),
        ({"up_kernel": (3, 3)}, "up_kernel must be odd"),
        ({"down_kernel": (3, 2, 3)}, "down_kernel must be odd"),
    ],
    ids=str,
)
def test_what_cannot_be_built_is_refused(changes, words):
    values = {"down": (4,) * 3, "up": (4,) * 3, "skip": (4,) * 3} | changes
    with pytest.raises(InputError, match=words) as caught:
        Architecture(**values)
    (wrong,) = changes.values()
    assert str(wrong) in str(caught.value)


def test_other_than_two_or_three_dimensions_are_refused(random):
    with pytest.raises(InputError, match="ndim must be 2 or 3; got 4"):
        SMALL.build(2, 1, (32,) * 4, random)


def test_weights_come_from_the_given_generator_only():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (
        SMALL.build(4, 1, (32, 32), torch.Generator().manual_seed(seed)).state_dict()
        for seed in (7, 7, 8)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(
        torch.equal(one[name], other[name]) for name in one if one[name].ndim > 1
    )


def test_weights_are_drawn_as_torchs_convolutions_draw_theirs(random):
    conv = Conv(16, 64, 3, 2, bias=True)
    with torch.no_grad():
        conv.reset(random)
    bound = (16 * 9) ** -0.5
    for p in (conv.weight.detach(), conv.bias.detach()):
        assert p.abs().max() <= bound
        assert p.abs().max() > 0.9 * bound
    assert conv.weight.detach().std() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_network_is_float32_whatever_the_default_dtype(random):
    expected = SMALL.build(
        4, 1, (32, 32), torch.Generator().manual_seed(0)
    ).state_dict()
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        network = Architecture.uniform(6, 3, skip=2, downsampling="lanczos").build(
            4, 1, (32, 32), random
        )
        out = network(torch.rand((1, 4, 16, 16), dtype=torch.float32))
        found = SMALL.build(
            4, 1, (32, 32), torch.Generator().manual_seed(0)
        ).state_dict()
    finally:
        torch.set_default_dtype(before)
    assert out.dtype == torch.float32
    for name, value in expected.items():
        assert found[name].dtype == torch.float32, name
        assert torch.equal(found[name], value), name


def test_lanczos_keeps_constants_and_decimates_in_phase():
    shrink = Lanczos((2, 2))
    constant = torch.full((1, 2, 12, 10), 0.7)
    torch.testing.assert_close(shrink(constant), constant[..., :6, :5])
    # A ramp stays a ramp, sampled midway between pairs of pixels.
    ramp = torch.arange(24.0).expand(1, 2, 20, 24)
    expected = torch.arange(12.0) * 2 + 0.5
    inside = shrink(ramp)[0, 0, 5, 2:-2]
    torch.testing.assert_close(inside, expected[2:-2])


def test_lanczos_removes_what_decimation_would_fold():
    finest = torch.tensor([1.0, -1.0]).repeat(16).expand(1, 1, 32, 32)
    out = Lanczos((2, 2))(finest)[..., 2:-2, 2:-2]
    assert out.abs().max() < 0.1
