"""What the network sees, and above all what it does not."""

import numpy as np
import pytest
import torch

from napari_dip.prior.codes import BlindSpot, Guide, Meshgrid, Noise, extend

CANVAS = (32, 48)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def start():
    """Return a function that starts a code on a measurement, all of it known."""

    def begin(code, measurement=None, canvas=CANVAS, known=None, seed=0):
        if measurement is None:
            measurement = torch.rand((1, 3, *canvas), generator=seeded(9))
        if known is None:
            known = torch.ones_like(measurement[:, :1])
        return code.drawing(canvas, measurement, known, seeded(seed))

    return begin


EVERY_CODE = [
    Noise(),
    Noise(features=5, perturbation=0),
    Meshgrid(),
    Meshgrid(perturbation=0.1),
    Guide(torch.rand((1, 2, *CANVAS), generator=seeded(4))),
    BlindSpot(),
    BlindSpot(per_channel=True),
]


@pytest.mark.parametrize("code", EVERY_CODE, ids=lambda c: type(c).__name__)
def test_codes_have_the_channels_they_promise_and_own_their_randomness(code, start):
    measurement = torch.rand((1, 3, *CANVAS), generator=seeded(9))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    draws = [start(code, measurement, seed=7).draw(seeded(5)).code for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert draws[0].shape == (1, code.channels(tuple(measurement.shape[1:])), *CANVAS)
    assert draws[0].dtype == torch.float32
    assert torch.equal(*draws)


@pytest.mark.parametrize(
    ("code", "channels"),
    [(Noise(), 32), (Meshgrid(), 3), (BlindSpot(), 2)],
)
def test_codes_of_volumes(code, channels, start):
    volume = torch.rand((1, 1, 4, 6, 8), generator=seeded())
    draw = start(code, volume, (4, 6, 8)).draw(seeded())
    assert draw.code.shape == (1, channels, 4, 6, 8)
    if draw.hidden is not None:
        assert draw.hidden.shape == (1, 1, 4, 6, 8)


def test_noise_is_uniform_from_zero_to_its_scale(start):
    draw = start(Noise(perturbation=0)).draw(seeded())
    assert draw.hidden is None
    assert draw.code.min() >= 0
    assert draw.code.max() <= 0.1
    assert draw.code.max() > 0.0999
    assert draw.code.mean() == pytest.approx(0.05, rel=0.01)
    assert draw.code.std() == pytest.approx(0.1 / 12**0.5, rel=0.01)


def test_fixed_noise_stays_and_differs_between_seeds(start):
    drawing = start(Noise(perturbation=0))
    random = seeded()
    assert torch.equal(drawing.draw(random).code, drawing.draw(random).code)
    other = start(Noise(perturbation=0), seed=1).draw(random).code
    assert not torch.equal(drawing.draw(random).code, other)


@pytest.mark.parametrize(
    ("code", "sigma"),
    [
        (Noise(), 1 / 30),
        (Noise(perturbation=0.2), 0.2),
        (Meshgrid(0.3), 0.3),
        (Guide(torch.zeros((1, 8, *CANVAS)), 0.05), 0.05),
    ],
    ids=str,
)
def test_perturbation_is_normal_noise_drawn_anew(code, sigma, start):
    drawing = start(code)
    random = seeded()
    codes = torch.stack([drawing.draw(random).code for _ in range(40)])
    assert codes.std(dim=0).square().mean() ** 0.5 == pytest.approx(sigma, rel=0.03)
    # Around the same code, and never the same twice.
    still = (
        type(code)(**{**vars(code), "perturbation": 0})
        if not isinstance(code, Guide)
        else Guide(code.image)
    )
    error = codes.mean(dim=0) - start(still).draw(seeded()).code
    assert error.square().mean() ** 0.5 < 1.1 * sigma / 40**0.5
    assert not torch.equal(codes[0], codes[1])


def test_meshgrid_holds_the_coordinates(start):
    code = start(Meshgrid()).draw(seeded()).code
    y, x = np.mgrid[0:1:32j, 0:1:48j]
    np.testing.assert_allclose(code[0, 0], y, atol=1e-6)
    np.testing.assert_allclose(code[0, 1], x, atol=1e-6)


def test_guide_is_the_image_extended_to_the_canvas(start):
    image = torch.rand((1, 2, 30, 40), generator=seeded())
    draw = start(Guide(image), torch.zeros((1, 1, 30, 40))).draw(seeded())
    assert torch.equal(draw.code[..., :30, :40], image)
    assert torch.equal(draw.code, extend(image, CANVAS))


@pytest.mark.parametrize("sides", [(5, 7), (2, 3), (6, 20), (1, 4)], ids=str)
def test_extend_reflects_however_far(sides):
    image = torch.rand((1, 2, *sides), generator=seeded())
    canvas = (23, 20)
    far = [(0, 0), (0, 0), *((0, c - s) for c, s in zip(canvas, sides, strict=True))]
    expected = np.pad(image.numpy(), far, mode="reflect")
    np.testing.assert_array_equal(extend(image, canvas), expected)


def test_extend_of_a_volume_and_of_nothing():
    volume = torch.rand((1, 1, 3, 4, 5), generator=seeded())
    expected = np.pad(
        volume.numpy(), [(0, 0)] * 2 + [(0, 5), (0, 0), (0, 11)], "reflect"
    )
    np.testing.assert_array_equal(extend(volume, (8, 4, 16)), expected)
    assert extend(volume, (3, 4, 5)) is volume


# -- the blind spot ---------------------------------------------------------------


@pytest.fixture
def photo():
    """Return a measurement that does not fill its canvas."""
    return torch.rand((1, 2, 27, 41), generator=seeded(2))


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.6])
def test_the_fraction_is_hidden_and_changes(photo, fraction, start):
    drawing = start(BlindSpot(fraction), photo)
    random = seeded()
    hidden = torch.stack([drawing.draw(random).hidden for _ in range(30)])
    assert hidden.shape[1:] == (1, 1, 27, 41)
    assert set(hidden.unique().tolist()) == {0, 1}
    assert hidden.mean() == pytest.approx(fraction, rel=0.03)
    # Every pixel has its turn: no pixel is hidden always or never.
    turns = hidden.sum(dim=0)
    assert turns.std() == pytest.approx(
        (30 * fraction * (1 - fraction)) ** 0.5, rel=0.15
    )


def test_visible_pixels_are_shown_and_hidden_ones_marked(photo, start):
    code, hidden, _ = start(BlindSpot(), photo).draw(seeded())
    near = code[..., :27, :41]
    assert torch.equal(near[:, 2:], hidden)
    seen = hidden == 0
    shown = near[:, :2] + 0.5
    torch.testing.assert_close(shown * seen, photo * seen)
    assert not torch.isclose(shown, photo)[(~seen).expand_as(photo)].any()


def test_a_hidden_pixel_is_the_mean_of_its_visible_neighbours(photo, start):
    code, hidden, _ = start(BlindSpot(), photo).draw(seeded())
    y, x = next(
        (y, x) for y, x in hidden[0, 0].nonzero().tolist() if 0 < y < 20 and 0 < x < 30
    )
    window = np.s_[..., y - 1 : y + 2, x - 1 : x + 2]
    visible = 1 - hidden[window]
    assert 0 < visible.sum() < 9
    expected = (photo[window] * visible).sum((2, 3)) / visible.sum()
    torch.testing.assert_close(code[:, :2, y, x] + 0.5, expected)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("sides", [(32, 48), (27, 41)], ids=["fills", "part"])
def test_hidden_values_never_reach_the_network(sides, per_channel, start):
    photo = torch.rand((1, 2, *sides), generator=seeded(2))
    blind = BlindSpot(per_channel=per_channel)
    for seed in range(3):
        code, hidden, _ = start(blind, photo).draw(seeded(seed))
        changed = photo + hidden * 5
        other = start(blind, changed).draw(seeded(seed))
        assert torch.equal(hidden, other.hidden)
        assert torch.equal(code, other.code)


@pytest.mark.parametrize("per_channel", [False, True])
def test_unknown_values_never_reach_the_network(photo, per_channel, start):
    channels = 2 if per_channel else 1
    uniform = torch.rand((1, channels, 27, 41), generator=seeded(6))
    known = (uniform > 0.3).float()
    blind = BlindSpot(per_channel=per_channel)
    changed = torch.where(known > 0, photo, torch.tensor(1e6))
    one, other = (start(blind, p, known=known) for p in (photo, changed))
    first, second = seeded(), seeded()
    for _ in range(5):
        code, hidden, _ = one.draw(first)
        assert torch.equal(code, other.draw(second).code)
        assert (hidden >= 1 - known).all()


def test_channels_can_be_hidden_one_by_one(photo, start):
    code, hidden, _ = start(BlindSpot(per_channel=True), photo).draw(seeded())
    assert hidden.shape == photo.shape
    assert torch.equal(code[:, 2:, :27, :41], hidden)
    either = hidden.mean(dim=1)
    assert (either == 0.5).float().mean() == pytest.approx(2 * 0.3 * 0.7, rel=0.15)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("fraction", "views"), [(0.25, 4), (0.5, 2), (0.9, 2)])
def test_a_cover_hides_every_pixel_once(photo, per_channel, fraction, views, start):
    drawing = start(BlindSpot(fraction, per_channel), photo)
    cover = list(drawing.cover(seeded()))
    assert len(cover) == views
    total = sum(hidden for _, hidden, _ in cover)
    assert torch.equal(total, torch.ones_like(total))
    sizes = [float(hidden.mean()) for _, hidden, _ in cover]
    assert sizes == pytest.approx([1 / views] * views, rel=0.15)
    for code, hidden, _ in cover:
        assert torch.equal(code[:, 2 : 2 + hidden.shape[1], :27, :41], hidden)


def test_a_cover_never_shows_unknown_pixels(photo, start):
    known = (torch.rand((1, 1, 27, 41), generator=seeded(6)) > 0.3).float()
    changed = torch.where(known > 0, photo, torch.tensor(1e6))
    covers = [
        start(BlindSpot(), p, known=known).cover(seeded()) for p in (photo, changed)
    ]
    for (code, hidden, _), (other, *_) in zip(*covers, strict=True):
        assert torch.equal(code, other)
        assert (hidden >= 1 - known).all()


def test_a_cover_of_a_perturbed_code_is_the_code_itself(start):
    drawing = start(Noise(perturbation=0.3), torch.rand(1, 1, 16, 16))
    ((code, hidden, _),) = drawing.cover(seeded())
    assert torch.equal(code, drawing.tensors["z"])
    assert hidden is None
