"""The filter of Wiener and Hunt."""

import numpy as np
import pytest

from napari_dip.tasks.wiener_hunt import WienerHunt, balance_for


@pytest.fixture
def psf():
    return np.outer([1, 2, 1], [1, 2, 1]) / 16


@pytest.mark.parametrize("order", [1, 2])
def test_the_result_is_least_in_residual_and_penalty(order, psf, random):
    image = random.normal(size=(16, 18))
    blurred = WienerHunt(image, psf, order=order, periodic=True)

    def cost(sharp):
        spectrum = np.fft.rfftn(sharp)
        residual = blurred.image(blurred.transfer * spectrum) - image
        steps = [np.roll(sharp, 1, axis) - sharp for axis in (0, 1)]
        if order == 2:
            steps = [sum(s - np.roll(s, -1, a) for a, s in enumerate(steps))]
        return (residual**2).sum() + 0.1 * sum((step**2).sum() for step in steps)

    best = blurred.image(blurred.restored(0.1))
    for _ in range(5):
        assert cost(best) < cost(best + 0.01 * random.normal(size=best.shape))


def test_an_image_keeps_its_sides_beyond_which_it_is_reflected(psf, random):
    image = random.normal(size=(17, 20))
    blurred = WienerHunt(image, psf, order=1, periodic=False)
    assert blurred.shape == (23, 26)
    assert blurred.image(blurred.spectrum) == pytest.approx(image)


def test_the_balance_is_that_of_the_variance():
    assert balance_for(lambda balance: balance, 0.01, (-5, 2)) == pytest.approx(
        0.01, rel=0.01
    )
