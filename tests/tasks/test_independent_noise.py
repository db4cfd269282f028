"""Noise that neighbours share and channels do not: told from that of cameras."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_dip.tasks import similar_patches
from napari_dip.tasks.independent_noise import are_independent, independent_noise
from napari_dip.tasks.noise import plane_model
from napari_dip.tasks.plane import prepare
from napari_dip.tasks.shared_noise import shared_noise

SHAPE = (3, 128, 128)
LEVEL = 0.03


def smoothed(shape, sigma, seed):
    """Return smooth noise of variance 1."""
    white = np.random.default_rng(seed).normal(size=shape)
    noise = gaussian_filter(white, [0] * (len(shape) - 2) + [sigma] * 2, mode="wrap")
    return (noise / noise.std()).astype(np.float32)


@pytest.fixture(scope="module")
def texture():
    """Return an image that is textured everywhere, alike in its channels.

    As in photographs, its spectrum falls with the frequency.
    """
    random, side = np.random.default_rng(1), SHAPE[-1]
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    spectrum = np.fft.fft2(random.normal(size=SHAPE[1:])) / (frequency + 1 / side)
    gray = np.fft.ifft2(spectrum).real
    gray = 0.5 + 0.04 * (gray - gray.mean()) / gray.std()
    return np.stack([gray, 0.9 * gray, 0.8 * gray]).astype(np.float32)


@pytest.fixture(scope="module")
def noisy(texture):
    return texture + LEVEL * smoothed(SHAPE, 0.8, seed=2)


@pytest.fixture(scope="module")
def of_camera(texture):
    """Return an image of which the noise of the colours was removed at fine detail."""
    gray = smoothed(SHAPE[1:], 0.8, seed=3)
    colour = smoothed(SHAPE, 4, seed=4)
    flat = texture.mean(axis=(1, 2), keepdims=True) + 0 * texture
    return flat + LEVEL * (gray + 0.5 * colour), flat


def usable(image):
    return np.ones(image.shape, bool)


def test_texture_that_channels_share_is_no_noise(texture, noisy):
    smooth = np.stack([gaussian_filter(channel, 2) for channel in noisy])
    told = independent_noise(noisy, smooth, usable(noisy)).at(smooth)
    # Five seeds of noise and texture: 0.91 to 0.94.
    assert np.sqrt(told.mean()) == pytest.approx(LEVEL, rel=0.2)
    by_flat_places = shared_noise(noisy, smooth, usable(noisy)).at(smooth)
    assert np.sqrt(by_flat_places.mean()) > 1.15 * LEVEL
    assert are_independent(noisy, smooth, usable(noisy))


def test_noise_of_cameras_is_shared(of_camera, texture):
    noisy, flat = of_camera
    assert not are_independent(noisy, flat, usable(noisy))
    textured = noisy + texture - flat
    assert not are_independent(textured, texture, usable(noisy))


def test_gray_noise_is_shared(texture):
    gray = LEVEL * smoothed((1, *SHAPE[1:]), 0.8, seed=3)
    assert not are_independent(texture + gray, texture, usable(texture))
    image = (texture + gray)[:1]
    assert not are_independent(image, texture[:1], usable(image))


def test_unlike_noise_is_measured_channel_by_channel(of_camera):
    _, flat = of_camera
    noise = LEVEL * smoothed(SHAPE, 0.8, seed=2)
    assert are_independent(flat + noise, flat, usable(flat))
    for scale in (0.2, 3):
        unlike = noise * np.array([1, scale, 1]).reshape(3, 1, 1)
        noisy = (flat + unlike).astype(np.float32)
        assert not are_independent(noisy, flat, usable(noisy))


def test_two_channels_do_not_tell(noisy, texture):
    assert are_independent(noisy, texture, usable(noisy))
    assert not are_independent(noisy[:2], texture[:2], usable(noisy[:2]))


def test_noise_of_no_channels_is_like_that_of_another(noisy, texture):
    side = 3
    covariance = independent_noise(noisy, texture, usable(noisy)).covariance(side)
    own = covariance.reshape(3, side**2, 3, side**2)
    assert np.allclose(own[0, :, 1], 0)
    assert own[0, 0, 0, 1] == pytest.approx(np.exp(-1 / (4 * 0.8**2)), abs=0.15)


def test_what_has_no_noise_tells_none(texture):
    equal = np.repeat(texture[:1], 2, axis=0)
    assert independent_noise(equal, equal, usable(equal)) is None
    assert independent_noise(texture, texture, np.zeros(SHAPE, bool)) is None
    assert not are_independent(texture, texture, np.zeros(SHAPE, bool))


def test_texture_is_kept_under_independent_noise(noisy, texture, monkeypatch):
    """Taken for the noise of a camera, it would be smoothed away."""
    plane = prepare(noisy, "image")
    step = similar_patches.collaborative_shared(plane, plane_model(plane, "auto", None))
    pilot = np.stack([gaussian_filter(channel, 2) for channel in plane.values])

    def error():
        restored = step(torch.from_numpy(pilot)[None])[0].numpy()
        return np.square(plane.to_units(restored) - texture).mean()

    kept = error()
    # Five seeds: 0.27 to 0.30, and 0.62 to 0.75 below.
    assert kept < 0.4 * LEVEL**2
    monkeypatch.setattr(similar_patches, "are_independent", lambda *arrays: False)
    assert error() > 0.5 * LEVEL**2
