"""The networks of the papers' comparison: sizes, scales, weights, gradients."""

import pytest
import torch

from napari_dip.errors import InputError
from napari_dip.prior import stopping
from napari_dip.prior.architecture import Pixels
from napari_dip.prior.codes import Noise
from napari_dip.prior.fit import fit, run_to_end
from napari_dip.prior.generators import ResNet, UNet
from napari_dip.prior.problem import Prior, Problem, Settings

KINDS = {
    "unet": UNet((4, 6, 8)),
    "resnet": ResNet(blocks=2, width=5),
    "pixels": Pixels(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_output_is_an_image_of_the_codes_size(kind, random):
    network = KINDS[kind].build(7, 3, (8, 12), random)
    output = network(torch.rand(1, 7, 8, 12))
    assert output.shape == (1, 3, 8, 12)
    assert output.dtype == torch.float32
    assert 0 < output.min() <= output.max() < 1
    output.square().mean().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_weights_follow_the_generator_and_nothing_else(kind):
    torch.manual_seed(1)
    before = torch.get_rng_state()

    def built(seed):
        generator = torch.Generator().manual_seed(seed)
        return KINDS[kind].build(7, 3, (8, 12), generator).state_dict()

    one, same, other = built(0), built(0), built(1)
    assert torch.equal(torch.get_rng_state(), before)
    for name in one:
        assert torch.equal(one[name], same[name])
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_multiples_are_those_of_the_halvings():
    assert UNet((4, 6, 8)).multiple(2) == (4, 4)
    assert UNet().multiple(2) == (32, 32)
    assert ResNet().multiple(2) == Pixels().multiple(2) == (1, 1)


def test_the_published_widths():
    network = UNet().build(32, 3, (64, 64), None)
    # 64 to 1024 divided by 8, and one scale more of the last width.
    assert [block[0].out_channels for block in network.down] == [
        8,
        16,
        32,
        64,
        128,
        128,
    ]
    assert len(ResNet().build(32, 3, (16, 16), None).blocks) == 8


@pytest.mark.parametrize(
    ("architecture", "rows"), [(ResNet(blocks=2, width=4), 15), (UNet((4, 4, 4)), 52)]
)
def test_how_far_a_pixel_sees(architecture, rows, random):
    network = architecture.build(2, 1, (64, 64), random)
    # Instance normalisation ties everything together; a maximum and a ReLU have a
    # gradient at some pixels only.
    for module in network.modules():
        if isinstance(module, torch.nn.InstanceNorm2d | torch.nn.ReLU):
            module.forward = lambda x: x
        if isinstance(module, torch.nn.MaxPool2d):
            module.forward = lambda x: torch.nn.functional.avg_pool2d(x, 2)
    code = torch.rand(1, 2, 64, 64, requires_grad=True)
    network(code)[0, 0, 32, 32].backward()
    touched = (code.grad != 0).any(dim=1)[0].any(dim=1).nonzero()
    # ResNet: seven convolutions of 3 pixels.  U-Net: rows 30 to 34 at full resolution,
    # 12 to 19 of the halves, 3 to 12 of the quarters, and back up: 6 to 57.
    assert int(touched.max() - touched.min()) + 1 == rows


@pytest.mark.parametrize("kind", ["unet", "resnet"])
def test_volumes_are_refused(kind, random):
    with pytest.raises(InputError, match="2 dimensions; got 3"):
        KINDS[kind].build(2, 1, (8, 8, 8), random)


# Over seeds: 0.02 +- 0.02, 0.64 +- 0.13, 0.06 +- 0.01.
@pytest.mark.parametrize(
    ("kind", "bound"), [("unet", 0.3), ("resnet", 0.95), ("pixels", 0.3)]
)
def test_the_fit_takes_them(kind, bound):
    y, x = torch.linspace(0, 3, 19)[:, None], torch.linspace(0, 4, 21)
    target = 0.5 + 0.4 * torch.sin(x + y)[None, None]
    prior = Prior(KINDS[kind], Noise(4, perturbation=0))
    settings = Settings(
        stopping.Iterations(30),
        "adam",
        learning_rate=0.05,
        device="cpu",
        precision="float32",
        ema_decay=0,
    )
    done = run_to_end(fit(Problem(target), prior, settings))
    assert done.image.shape == target.shape
    assert done.history[-1]["loss"] < bound * done.history[0]["loss"]


def test_pixels_do_not_depend_on_the_code(random):
    network = Pixels().build(1, 2, (9, 10), random)
    codes = torch.rand(2, 1, 1, 9, 10)
    assert torch.equal(network(codes[0]), network(codes[1]))
    assert sum(p.numel() for p in network.parameters()) == 2 * 9 * 10
