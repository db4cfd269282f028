"""Data terms against their formulas, and masks."""

import math

import numpy as np
import pytest
import torch

from napari_dip.errors import InputError
from napari_dip.prior import operators
from napari_dip.prior.terms import (
    Absolute,
    Huber,
    MultiScale,
    Pointwise,
    Poisson,
    PoissonGaussian,
    Squared,
    total_variation,
    weighted_mean,
)

TERMS = [
    Squared(),
    Absolute(),
    Huber(0.1),
    Poisson(gain=0.02),
    PoissonGaussian(gain=0.02, variance=0.003, level=0.01, offset=0.1),
]


def named(term):
    return type(term).__name__


@pytest.fixture
def pair():
    """Return prediction and measurement, some values below the terms' offset."""
    random = np.random.default_rng(0)
    return random.uniform(0, 1, (2, 1, 3, 6, 7)).astype(np.float32)


@pytest.fixture
def evaluate():
    def value(term, prediction, measurement):
        found = term(torch.from_numpy(prediction), torch.from_numpy(measurement))
        return found.numpy()

    return value


def test_squared_and_absolute(pair, evaluate):
    x, y = pair
    np.testing.assert_allclose(evaluate(Squared(), x, y), (x - y) ** 2, rtol=1e-5)
    np.testing.assert_allclose(evaluate(Absolute(), x, y), abs(x - y), rtol=1e-5)


def test_huber_is_half_the_square_inside_and_linear_outside(pair, evaluate):
    x, y = pair
    difference = abs(x - y).astype(np.float64)
    expected = np.where(
        difference <= 0.2, difference**2 / 2, 0.2 * (difference - 0.2 / 2)
    )
    assert 0.1 < (difference <= 0.2).mean() < 0.9
    np.testing.assert_allclose(evaluate(Huber(0.2), x, y), expected, rtol=1e-4)


def test_huber_pulls_outliers_with_constant_force():
    x = torch.tensor([0.01, 0.5, 5, -5], requires_grad=True)
    Huber(0.1)(x, torch.zeros(4)).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([0.01, 0.1, 0.1, -0.1]))


def test_poisson_is_the_kullback_leibler_divergence_of_counts(pair, evaluate):
    x, y = pair
    p, q = (np.maximum(v / 0.02, 0).astype(np.float64) + 0.1 for v in (x, y))
    expected = p - q + q * np.log(q / p)
    found = evaluate(Poisson(gain=0.02), x, y)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_poisson_is_zero_and_flat_at_a_perfect_prediction(pair):
    y = torch.from_numpy(pair[1])
    x = y.clone().requires_grad_()
    error = Poisson(gain=0.02)(x, y)
    (slope,) = torch.autograd.grad(error.sum(), x)
    assert error.abs().max() < 1e-5
    assert slope.abs().max() < 1e-5
    for step in (-0.05, 0.05):
        assert (Poisson(gain=0.02)(y.clamp(min=0.1) + step, y.clamp(min=0.1)) > 0).all()


def test_poisson_bears_dark_pixels():
    x = torch.tensor([-1.0, 0, 0, 1], requires_grad=True)
    error = Poisson(gain=0.1)(x, torch.tensor([0.0, 0, 1, 0]))
    error.sum().backward()
    assert torch.isfinite(error).all()
    assert torch.isfinite(x.grad).all()
    torch.testing.assert_close(error[:2], torch.zeros(2))


def test_poisson_gaussian_divides_by_the_variance_at_the_prediction(pair, evaluate):
    x, y = pair
    gain, floor, offset = 0.02, 0.003, 0.1
    spread = gain * np.maximum(x - offset, 0) + floor
    usual = gain * (y.mean() - offset) + floor
    weight = np.clip(usual / spread, 0.05, 20)
    found = evaluate(PoissonGaussian(gain, floor, usual, offset), x, y)
    np.testing.assert_allclose(found, weight * (x - y) ** 2, rtol=1e-4)
    assert 0.5 < weight.mean() < 2


def test_poisson_gaussian_bounds_the_weights():
    x, y = torch.tensor([[[0.0, 1, 1e3]]]), torch.tensor([[[1.0, 2, 1e3 + 1]]])
    error = PoissonGaussian(gain=1, variance=1e-9, level=1004 / 3)(x, y)
    # The level over the variances at 0 (bounded), 1 (bounded) and 1000.
    torch.testing.assert_close(error, torch.tensor([[[20, 20, 1004 / 3 / 1000]]]))


def test_poisson_gaussian_does_not_differentiate_its_weight():
    x = torch.tensor([0.2, 0.8], requires_grad=True)
    y = torch.tensor([0.4, 0.6])
    term = PoissonGaussian(gain=0.5, variance=0.1, level=0.35)
    (slope,) = torch.autograd.grad(term(x, y).sum(), x)
    weight = 0.35 / (0.5 * x.detach() + 0.1)
    torch.testing.assert_close(slope, weight * 2 * (x.detach() - y))


@pytest.mark.parametrize("difference", [0.03, 0.5])
@pytest.mark.parametrize(
    "term", [Squared(), Absolute(), Huber(0.1), MultiScale()], ids=named
)
def test_an_error_says_how_large_the_difference_is(term, difference):
    error = term(torch.tensor(1 + difference), torch.tensor(1.0))
    assert term.difference(float(error)) == pytest.approx(difference, rel=1e-5)


@pytest.mark.parametrize("term", [Poisson(gain=0.02), Pointwise(torch.sub)], ids=named)
def test_an_error_that_says_no_difference_is_not_shown_as_one(term):
    assert math.isnan(term.difference(0.1))


@pytest.mark.parametrize("term", TERMS, ids=named)
def test_terms_are_non_negative_and_zero_only_where_right(term, pair):
    x, y = 0.15 + torch.from_numpy(pair)
    error = term(x, y)
    assert error.shape == x.shape
    assert (error > 0).all()
    assert term(y, y).abs().max() < 1e-5


@pytest.mark.parametrize("term", TERMS[:4], ids=named)
@pytest.mark.parametrize("channels", [1, 3])
def test_masked_values_do_not_change_a_bit(term, channels, pair):
    x, y = torch.from_numpy(pair)
    random = torch.Generator().manual_seed(1)
    mask = (torch.rand((1, channels, 6, 7), generator=random) > 0.4).float()
    changed = torch.where(mask > 0, y, y * 7 + 30)
    one, other = (weighted_mean(term(x, v), mask) for v in (y, changed))
    assert torch.equal(one, other)
    assert not torch.equal(weighted_mean(term(x, y), 1 - mask), one)


def test_masked_values_do_not_change_poisson_gaussian_weights(pair):
    x, y = torch.from_numpy(pair)
    mask = torch.ones(1, 1, 6, 7)
    mask[..., :2] = 0
    changed = torch.where(mask > 0, y, y * 7 + 30)
    term = PoissonGaussian(gain=0.02, variance=0.003, level=0.01)
    one, other = (weighted_mean(term(x, v), mask) for v in (y, changed))
    assert torch.equal(one, other)


@pytest.mark.parametrize("channels", [1, 3])
def test_weighted_mean_is_the_mean_under_the_weight(channels, pair):
    error = pair[0]
    weight = np.random.default_rng(1).uniform(0, 2, (1, channels, 6, 7))
    weight = weight.astype(np.float32)
    spread = np.broadcast_to(weight, error.shape)
    expected = np.average(error, weights=spread)
    found = weighted_mean(torch.from_numpy(error), torch.from_numpy(weight))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_weighted_mean_under_no_weight_is_zero():
    assert weighted_mean(torch.ones(1, 2, 3, 3), torch.zeros(1, 1, 3, 3)) == 0


def test_several_scales_sum_the_errors_of_averages():
    generator = torch.Generator().manual_seed(0)
    prediction, measurement = torch.rand(2, 1, 3, 8, 8, generator=generator)
    weight = torch.ones(1, 1, 8, 8)
    term = MultiScale((1, 4), (1.0, 0.5))
    found = term.mean(prediction, measurement, weight)
    coarse = (prediction - measurement).reshape(1, 3, 2, 4, 2, 4).mean((3, 5))
    fine = (prediction - measurement).square().mean()
    torch.testing.assert_close(found, fine + 0.5 * coarse.square().mean())


@pytest.mark.parametrize("side", [8, 11])
def test_hidden_pixels_do_not_move_several_scales_by_a_bit(side):
    generator = torch.Generator().manual_seed(0)
    prediction, measurement = torch.rand(2, 1, 3, side, side, generator=generator)
    weight = (torch.rand(1, 1, side, side, generator=generator) > 0.5).float()
    other = torch.where(weight > 0, measurement, 1 - measurement)
    elsewhere = torch.where(weight > 0, prediction, 5 * prediction)
    term = MultiScale((1, 2, 4), (1.0, 0.5, 0.25))
    found = term.mean(prediction, measurement, weight)
    assert torch.equal(found, term.mean(prediction, other, weight))
    assert torch.equal(found, term.mean(elsewhere, measurement, weight))


def test_scales_need_as_many_factors():
    with pytest.raises(InputError, match="one weight per scale"):
        MultiScale((1, 2), (1.0,))


@pytest.mark.parametrize("scales", [(), (1, 0)])
def test_scales_are_sides_of_squares(scales):
    with pytest.raises(InputError, match="scales must be integers of 1 or more"):
        MultiScale(scales, (1.0,) * len(scales))


def test_total_variation_counts_the_steps():
    image = torch.zeros(1, 1, 4, 5)
    image[..., 2:] = 2.0
    # Of 4 x 4 horizontal differences one column is 2, and no vertical ones.
    assert total_variation(image).item() == pytest.approx(0.5)


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_an_axis_of_one_pixel_has_no_variation(axis):
    image = torch.rand(1, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    assert total_variation(image.unsqueeze(axis)) == total_variation(image)


@pytest.mark.parametrize(
    "make", [lambda: Squared((0.3, 0.7)), lambda: PoissonGaussian(0.021, 0.004, 0.02)]
)
def test_the_numbers_of_a_term_are_made_once_and_go_with_it(make):
    image, weight = torch.rand(2, 1, 2, 6, 7), torch.ones(1, 1, 6, 7)
    kept, term = len(operators._constants.made), make()
    with torch.inference_mode():
        first = term.mean(*image, weight)
    made = dict(term.numbers.made)
    assert term.mean(*image, weight) == first
    assert all(term.numbers.made[key] is made[key] for key in term.numbers.made)
    assert made
    assert not any(tensor.is_inference() for tensor in made.values())
    assert len(operators._constants.made) == kept
    assert (term, hash(term)) == (make(), hash(make()))
