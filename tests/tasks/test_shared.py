"""One network for all planes of a data set."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from scipy import ndimage
from torch import nn

from napari_dip import denoise
from napari_dip.errors import FitError, InputError
from napari_dip.prior.architecture import ARCHITECTURES, Architecture
from napari_dip.tasks import presets, sweep, windows
from napari_dip.tasks import shared as sharing
from napari_dip.tasks.denoise import TASK, DenoiseRecipe
from napari_dip.tasks.plane import Pixels
from tests.conftest import one_round
from tests.slow import slow_but

FIXED = {"device": "cpu", "precision": "float32"}
QUICK = {"iterations": 12, "share": "yes", **FIXED}


pytestmark = pytest.mark.usefixtures("small_windows", "few_passes")


def blobs(*shape, seed=0):
    random = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(random, (*[0] * (len(shape) - 2), 4, 4))
    return (100 + 20 * smooth / smooth.std()).astype(np.float32)


def noisy(clean, sigma=8, seed=1):
    rest = np.random.default_rng(seed).normal(0, sigma, clean.shape)
    return (clean + rest).astype(np.float32)


def rmse(image, clean):
    return float(np.sqrt(np.mean((image - clean) ** 2)))


@pytest.fixture(scope="module")
def clean():
    return blobs(4, 64, 80)


@pytest.fixture(scope="module")
def stack(clean):
    return noisy(clean)


@pytest.fixture(scope="module")
def restored(stack):
    """Return a fit of the stack with the windows of the other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "WINDOW_SIDE", 48)
        patch.setattr(windows, "WINDOWS", 4)
        one_round(patch)
        return denoise(stack, iterations=30, share="yes", full_output=True, **FIXED)


@pytest.mark.usefixtures("small_fits")
def test_the_error_of_a_shared_fit_is_in_the_units_of_the_stack(stack):
    dim, bright, few = [], [], {**QUICK, "iterations": 4}
    denoise(stack, callback=lambda it: dim.append(it.error), **few)
    denoise(1000 * stack, callback=lambda it: bright.append(it.error), **few)
    assert np.isfinite(dim).any()
    np.testing.assert_allclose(bright, np.multiply(dim, 1000), rtol=0.01)


def test_one_fit_restores_all_planes(clean, stack, restored):
    fit = restored
    assert fit.iterations == 30
    assert len(fit.settings["planes"]) == 1
    assert fit.settings["planes"][0]["windows"] == 4
    for image, truth, given in zip(fit.image, clean, stack, strict=True):
        assert rmse(image, truth) < 0.5 * rmse(given, truth)


@pytest.mark.slow
def test_the_networks_of_a_data_set_serve_the_next(stack, clean, restored):
    fit = restored
    more = {"iterations": 30, "weights": fit.weights, "full_output": True, **FIXED}
    again = denoise(stack, **more)
    np.testing.assert_array_equal(again.image, fit.image)
    assert again.iterations == 0
    assert again.weights.keys() == fit.weights.keys()
    other = denoise(noisy(clean[1], seed=5), **more)
    assert rmse(other.image, clean[1]) < 5


@pytest.mark.slow
def test_networks_that_do_not_suit_a_plane_are_told(stack, restored):
    more = {"iterations": 12, "full_output": True, **FIXED}
    told = "weights: plane 0 is unlike what the networks were fitted to"
    other = noisy(3000 * blobs(64, 80, seed=5), sigma=1e5)
    fit = denoise(other, weights=restored.weights, **more)
    assert [w for w in fit.warnings if w.startswith(told)]
    assert fit.iterations == 12
    fit = denoise(stack[0], weights=restored.weights, **more)
    assert not fit.warnings


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"networks": [{"neighbours": 0}]}, "weights: networks: .* analysis"),
        ({"networks": 3}, "weights: networks must be of type list"),
        ({"networks": {"restarts": "2"}}, "networks: restarts must be of type int"),
        ({"tensor": float("nan")}, r"weights: \S+ must be finite; got NaN"),
    ],
)
def test_networks_that_were_changed_are_refused(stack, restored, change, says):
    weights = dict(restored.weights)
    if "tensor" in change:
        name = next(n for n in weights if n != "networks")
        weights[name] = weights[name] * change["tensor"]
    elif isinstance(change["networks"], dict):
        weights["networks"] = [one | change["networks"] for one in weights["networks"]]
    else:
        weights |= change
    with pytest.raises(InputError, match=says):
        denoise(stack, weights=weights, **FIXED)


@pytest.mark.usefixtures("small_fits")
def test_networks_that_see_neighbours_need_a_stack(stack):
    fit = denoise(stack, neighbours=2, full_output=True, **QUICK)
    says = "fitted with neighbours=2, .* a stack of 3 planes or more; got {}"
    for planes, given in ((1, "a single plane"), (2, "a stack of 2 planes")):
        image = stack[:planes] if planes > 1 else stack[0]
        with pytest.raises(InputError, match=says.format(given)):
            denoise(image, weights=fit.weights, **FIXED)
    assert denoise(stack[:3], weights=fit.weights, **FIXED).shape == (3, 64, 80)


@pytest.mark.slow
@pytest.mark.usefixtures("small_fits")
def test_a_network_that_collapses_is_fitted_again(stack, changed_presets, monkeypatch):
    monkeypatch.setattr(sharing, "CHECK_EVERY", 5)
    again = "the network predicted nothing after 5 iterations: begun again"
    usual = denoise(stack, full_output=True, **QUICK)
    assert not usual.warnings
    changed_presets(learning_rate=50.0, adam_learning_rate=50.0)
    fit = denoise(stack, full_output=True, **QUICK)
    assert sum(warning.startswith(again) for warning in fit.warnings) == 2
    assert fit.iterations == 12


@pytest.mark.usefixtures("small_fits")
def test_without_sharing_every_plane_is_fitted(stack):
    fit = denoise(stack, full_output=True, **{**QUICK, "share": "no", "iterations": 3})
    assert len(fit.settings["planes"]) == 4
    assert fit.iterations == 12


@pytest.mark.usefixtures("small_fits")
def test_sharing_begins_with_the_size(stack, monkeypatch):
    auto = {**QUICK, "iterations": 2, "share": "auto", "full_output": True}
    monkeypatch.setattr(sharing, "SMALL", 1)
    as_many = stack.size / windows.WINDOW_SIDE**2
    for enough, fits in ((1.01 * as_many, 4), (0.99 * as_many, 1)):
        monkeypatch.setattr(sharing, "ENOUGH", enough)
        assert len(denoise(stack, **auto).settings["planes"]) == fits


@pytest.mark.slow
@pytest.mark.parametrize("channels", [(), (3,)])
def test_tiles_cannot_be_told_from_the_whole(channels, monkeypatch):
    image = noisy(
        np.moveaxis(blobs(*channels, 24, 290), 0, -1) if channels else blobs(32, 290)
    )
    few = {**QUICK, "iterations": 3}
    whole = denoise(image, tile=None, **few)
    cut = denoise(image, tile=192, **few)
    np.testing.assert_array_equal(denoise(image, tile=(400, 192), **few), cut)
    # Colours are filtered along axes of their own in every tile.
    np.testing.assert_allclose(cut, whole, atol=4.0 if channels else 1.0)
    assert rmse(cut, whole) < (0.3 if channels else 0.03)
    # The seam is no steeper than elsewhere.
    steps, without = (np.abs(np.diff(image, axis=1)) for image in (cut, whole))
    ratios = [s[:, 191].mean() / np.delete(s, 191, 1).mean() for s in (steps, without)]
    assert ratios[0] / ratios[1] == pytest.approx(1, abs=0.02)


@pytest.mark.usefixtures("small_fits")
def test_planes_without_noise_or_pixels_come_back_as_they_were(stack):
    stack = stack.copy()
    stack[1], stack[2] = 7, np.nan
    stack[3, :20] = np.nan
    fit = denoise(stack, full_output=True, **QUICK)
    assert fit.warnings == ["plane 2 came back unchanged: nothing but NaN"]
    assert (fit.image[1] == 7).all()
    assert np.isnan(fit.image[2]).all()
    assert not np.isnan(fit.image[[0, 1, 3]]).any()


@pytest.mark.usefixtures("small_fits")
def test_what_is_nothing_but_nan_is_told():
    image = noisy(np.stack([blobs(32, 290, seed=n) for n in range(2)]))
    stack = np.stack([image, image, image])
    stack[0, 1], stack[1], stack[2, 0, :, 192:] = np.nan, np.nan, np.nan
    fit = denoise(stack, channel_axis=1, tile=192, full_output=True, **QUICK)
    assert fit.warnings == [
        f"{what} came back unchanged: nothing but NaN"
        for what in ("channels 1 of plane 0", "plane 1", "a part of plane 2")
    ]
    np.testing.assert_array_equal(np.isnan(fit.image), np.isnan(stack))


@pytest.fixture
def two_channels():
    """Return four planes of two channels that show different things."""
    two = np.stack([noisy(blobs(64, 80, seed=s), seed=s) for s in (1, 2)])
    return np.stack([two, two[:, ::-1], two[..., ::-1], two[:, ::-1, ::-1]])


@pytest.mark.usefixtures("small_fits")
def test_an_empty_channel_leaves_the_others_their_network(two_channels):
    two_channels[:, 1] = 7
    fit = denoise(two_channels, channel_axis=1, full_output=True, **QUICK)
    assert len(fit.settings["planes"]) == 1
    assert fit.warnings == []
    assert (fit.image[:, 1] == 7).all()
    assert (fit.image[:, 0] != two_channels[:, 0]).mean() > 0.9


@pytest.mark.usefixtures("small_fits")
def test_a_channel_that_is_missing_in_one_plane_leaves_the_others(two_channels):
    stack = np.repeat(two_channels[:, :1], 2, axis=1)
    stack[0, 1] = np.nan
    fit = denoise(stack, channel_axis=1, full_output=True, **QUICK)
    assert len(fit.settings["planes"]) == 1
    assert (fit.image[1:] != stack[1:]).mean() > 0.9
    np.testing.assert_array_equal(fit.image[0], stack[0])
    left, missing = fit.warnings
    assert "channels 0 are left as they came" in left
    assert missing.startswith("channels 1 of plane 0 came back unchanged")


@pytest.mark.usefixtures("small_fits")
def test_a_channel_that_is_not_empty_everywhere_is_restored_there(two_channels):
    before = two_channels[3, 1].copy()
    two_channels[:, 1], two_channels[3, 1] = 7, before
    fit = denoise(two_channels, channel_axis=1, full_output=True, **QUICK)
    assert (fit.image[:3, 1] == 7).all()
    left = [w for w in fit.warnings if "they are left as they came" in w]
    restored = (fit.image[3, 1] != before).mean() > 0.9
    assert restored != bool(left)
    assert np.isfinite(fit.image).all()


@pytest.mark.slow
def test_a_plane_of_another_kind_is_fitted_for_itself(clean, stack):
    stack = stack.copy()
    other = 3000 * blobs(64, 80, seed=5)
    stack[2] = noisy(other, sigma=1e5)
    fit = denoise(stack, iterations=10, share="yes", full_output=True, **FIXED)
    assert len(fit.settings["planes"]) == 2
    assert rmse(fit.image[2], other) < 0.6 * rmse(stack[2], other)
    assert rmse(fit.image[3], clean[3]) < 0.6 * rmse(stack[3], clean[3])


@pytest.mark.usefixtures("small_fits")
def test_channels_of_different_things_have_networks_of_their_own(two_channels):
    stack = two_channels[:2]
    fit = denoise(stack, channel_axis=1, full_output=True, **QUICK)
    channels = [p["analysis"]["channels"] for p in fit.settings["planes"]]
    assert channels == [(0,), (1,)]
    assert fit.image.shape == stack.shape


@pytest.mark.usefixtures("small_fits")
def test_a_stop_keeps_what_is_done(stack):
    def callback(it):
        seen.append(it)
        return it.part == 1

    seen = []
    fit = denoise(stack, callback=callback, full_output=True, **QUICK)
    assert fit.warnings == [
        "planes 1 to 3 were not restored before the stop, and came back unchanged"
    ]
    assert not np.array_equal(fit.image[0], stack[0])
    np.testing.assert_array_equal(fit.image[1:], stack[1:])
    assert [it.parts for it in seen] == [5] * len(seen)


@pytest.mark.usefixtures("small_fits")
def test_a_network_whose_device_failed_restores_nothing(
    stack, failing_device, monkeypatch
):
    monkeypatch.setattr(sharing, "CHECK_EVERY", 2)
    failing_device(5)
    with pytest.raises(FitError, match="the shared fit was ended by a failure of the"):
        denoise(stack, **QUICK)


@pytest.mark.usefixtures("small_fits")
def test_planes_are_kept_that_were_restored_before_the_device_failed(
    stack, monkeypatch
):
    def restore(job, recipe, kinds, number, index, *others):
        if index[0] == 2:
            raise RuntimeError("CUDA error: the device is lost")
        return restore_tile(job, recipe, kinds, number, index, *others)

    restore_tile = sweep.restore_tile
    monkeypatch.setattr(sweep, "restore_tile", restore)
    fit = denoise(stack, full_output=True, **QUICK)
    assert fit.warnings == [
        "plane 2 was not fitted: the device has failed: CUDA error: the device is lost"
    ]
    np.testing.assert_array_equal(fit.image[2], stack[2])
    assert not np.array_equal(fit.image[3], stack[3])


@pytest.mark.usefixtures("small_fits")
def test_what_is_shown_is_a_plane(stack):
    shown = []
    quick = {**QUICK, "iterations": 3}
    denoise(stack, callback=lambda it: shown.append((it.index, it.image)), **quick)
    assert {image.shape for _, image in shown} == {(64, 80)}
    for number in range(4):
        last = next(im for index, im in reversed(shown) if index[0] == number)
        assert rmse(last, stack[number]) > 0


@pytest.mark.usefixtures("small_fits")
def test_the_result_can_be_put_elsewhere(stack):
    class Sink:
        shape = stack.shape
        dtype = np.dtype(np.uint8)

        def __init__(self):
            self.image = np.zeros(stack.shape, np.uint8)
            self.sizes = []

        def __setitem__(self, index, values):
            self.image[index] = values
            self.sizes.append(values.size)

        def __getitem__(self, index):
            return self.image[index]

    sink = Sink()
    assert denoise(stack, out=sink, **QUICK) is sink
    image = denoise(stack, **QUICK)
    np.testing.assert_array_equal(sink.image, np.rint(image.clip(0, 255)))
    assert max(sink.sizes) == stack[0].size
    with pytest.raises(InputError, match="out must have the shape of the result"):
        denoise(stack[:2], out=sink, **QUICK)


@pytest.mark.usefixtures("small_fits")
def test_only_parts_of_a_large_plane_are_read(monkeypatch):
    class Lazy:
        shape, ndim, dtype = (64, 600), 2, np.dtype(np.float32)

        def __getitem__(self, index):
            part = data[index]
            sizes.append(part.size)
            return part

    sizes = []
    data = noisy(blobs(64, 600))
    monkeypatch.setattr("napari_dip.tasks.run.free_memory", lambda: 1000)
    image = denoise(Lazy(), tile=192, **QUICK)
    np.testing.assert_array_equal(image, denoise(data, tile=192, **QUICK))
    assert max(sizes) <= 64 * (192 + 2 * 64)


@pytest.mark.slow
def test_noise_that_needs_whole_planes_is_fitted_plane_by_plane(stack, changed_presets):
    changed_presets(architecture=Architecture.uniform(8, 2))
    blurred = ndimage.gaussian_filter(stack, (0, 1, 1))
    fit = denoise(blurred, **{**QUICK, "iterations": 2, "full_output": True})
    assert all(plane["correlated"] for plane in fit.settings["planes"])
    assert len(fit.settings["planes"]) == 4
    assert any("share: no network can be shared" in w for w in fit.warnings)


@pytest.mark.parametrize("more", [{"share": "yes"}, {"neighbours": 1}])
def test_constant_planes_are_not_said_to_be_fitted(more):
    fit = denoise(np.full((4, 64, 64), 7.0), full_output=True, **more)
    assert fit.stopped_by == "nothing to fit, for the image is constant"
    assert fit.warnings == []


@pytest.mark.usefixtures("small_fits")
def test_a_network_that_sees_more_than_a_window_is_not_shared(stack, monkeypatch):
    whole = Architecture.uniform(8, 2)
    with pytest.raises(InputError, match="architecture must be one whose weights"):
        denoise(stack, architecture=whole, **QUICK)
    monkeypatch.setattr(sharing, "ENOUGH", 0)
    auto = {**QUICK, "iterations": 2, "share": "auto", "full_output": True}
    assert len(denoise(stack, architecture=whole, **auto).settings["planes"]) == 4


@dataclass(frozen=True)
class Plain:
    """A few convolutions, one after the other."""

    local: ClassVar[bool] = True
    width: int = 8

    @property
    def widest(self):
        return self.width

    def multiple(self, ndim):
        return (1,) * ndim

    def build(self, inputs, outputs, sides, generator):
        first = nn.Conv2d(inputs, self.width, 3, padding=1)
        last = nn.Conv2d(self.width, outputs, 1)
        network = nn.Sequential(first, nn.LeakyReLU(0.2), last, nn.Sigmoid())
        if generator is not None:
            for p in network.parameters():
                nn.init.uniform_(p, -0.1, 0.1, generator=generator)
        return network


@pytest.mark.usefixtures("small_fits")
def test_a_network_of_the_user_can_be_shared(stack, monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "plain", Plain)
    changes = {**QUICK, "iterations": 3, "full_output": True}
    fit = denoise(stack, architecture=Plain(), **changes)
    assert [p["architecture"]["name"] for p in fit.settings["planes"]] == ["plain"]
    again = denoise(stack, weights=fit.weights, **changes)
    np.testing.assert_array_equal(again.image, fit.image)


def test_windows_are_drawn_from_what_holds_noise(stack):
    stack = stack.copy()
    stack[0], stack[1, :, :40] = 3, np.nan
    job = TASK.job(DenoiseRecipe(), stack)
    planes = list(job.layout.indices())

    def drawn(planes, seed):
        return [w.index for w in windows.draw_windows(job, planes, seed)]

    places = drawn(planes, seed=0)
    assert len(places) == 4
    assert all(w[0] != 0 for w in places)
    assert places == drawn(planes, seed=0)
    assert places != drawn(planes, seed=1)
    assert drawn(planes[:1], seed=0) == []


@pytest.mark.parametrize("missing", [0, 0.2, 0.45, 0.49])
def test_structure_of_a_window_is_that_of_its_known_pixels(missing):
    fine, coarse = blobs(1, 48, 48), ndimage.zoom(blobs(1, 12, 12), (1, 4, 4), order=1)
    gone = np.random.default_rng(0).random(fine.shape) < missing
    full, flat, part = (
        windows._structure(Pixels.of(np.where(where, np.nan, image)))
        for where, image in ((False, coarse), (gone, noisy(0 * fine)), (gone, coarse))
    )
    assert part == pytest.approx(full, rel=0.1)
    assert flat < 0.3 * part


@pytest.mark.parametrize("ratio", [3, 10, 1000])
def test_windows_are_of_planes_of_one_brightness(stack, ratio):
    scales = np.reshape([1, ratio] * 2, (4, 1, 1))
    job = TASK.job(DenoiseRecipe(), scales * stack)
    drawn = windows.draw_windows(job, list(job.layout.indices()), 0)
    assert len({w.index[0] % 2 for w in drawn}) == 1


def test_windows_of_photons_are_of_all_planes(clean, monkeypatch):
    scales = np.reshape([1, 3, 10, 100], (4, 1, 1)) / 4
    photons = np.random.default_rng(0).poisson(scales * clean)
    job = TASK.job(DenoiseRecipe(), photons)
    drawn = []
    for most in (windows.UNLIKE, np.inf):
        monkeypatch.setattr(windows, "UNLIKE", most)
        found = windows.draw_windows(job, list(job.layout.indices()), 0)
        drawn.append([w.index for w in found])
    assert drawn[0] == drawn[1]


@pytest.mark.slow
def test_planes_of_unlike_brightness_have_networks_of_their_own(clean):
    scales = np.reshape([1, 30], (2, 1, 1))
    image = scales * noisy(clean[:2])
    fit = denoise(image, **{**QUICK, "iterations": 12}, full_output=True)
    assert [p["analysis"]["channels"] for p in fit.settings["planes"]] == [(0,)] * 2
    for result, scale, truth in zip(fit.image, scales, clean, strict=False):
        assert rmse(result / scale, truth) < 6  # of 8


@pytest.mark.parametrize("seed", slow_but(range(3), 0))
@pytest.mark.parametrize(("planes", "shape"), [(1, (1200, 1200)), (300, (64, 80))])
def test_windows_are_found_in_data_that_are_mostly_empty(planes, shape, seed):
    sizes = []
    empty = np.zeros((planes, *shape), np.uint8)

    class Lazy:
        shape, ndim, dtype = empty.shape, 3, empty.dtype

        def __getitem__(self, index):
            part = empty[index]
            sizes.append(part.size)
            return part

    empty[planes // 3, -70:, -75:] = noisy(blobs(70, 75))[-shape[0] :].clip(0, 255)
    job = TASK.job(DenoiseRecipe(), Lazy())
    drawn = windows.draw_windows(job, list(job.layout.indices()), seed)
    assert len(drawn) == 4
    assert all(w.index[0] == planes // 3 for w in drawn)
    assert all((~w.pixels.constant).mean() > 0.5 for w in drawn)
    assert max(sizes) <= 768**2


@pytest.mark.usefixtures("small_fits")
def test_a_plane_that_cannot_be_used_leaves_the_others(stack, monkeypatch):
    class Lazy:
        shape, ndim, dtype = stack.shape, 3, stack.dtype

        def __getitem__(self, index):
            if index[0] == 2:
                raise OSError("the disk is broken")
            return stack[index]

    broken = stack.copy()
    broken[1, 3, 4] = np.inf
    monkeypatch.setattr("napari_dip.tasks.run.free_memory", lambda: 1000)
    fit = denoise(Lazy(), full_output=True, **QUICK)
    assert any("plane 2" in w and "disk is broken" in w for w in fit.warnings)
    assert np.isnan(fit.image[2]).all()
    assert np.isfinite(fit.image[[0, 1, 3]]).all()
    stack = broken
    fit = denoise(Lazy(), full_output=True, **QUICK)
    assert any("plane 1" in w and "finite" in w for w in fit.warnings)
    np.testing.assert_array_equal(fit.image[1], broken[1])


def test_a_network_that_sees_neighbouring_planes_is_its_own_pilot():
    # What sees one plane costs 0.2 dB of a stack there.
    preset = presets.TABLES["denoise"]["fast", ""]
    single, several = (sharing.for_windows(preset, n).finish for n in (0, 1))
    assert (single.thresholds, single.half_resolution, single.rounds) == (True, True, 2)
    assert several == replace(single, **sharing.ONE_PLANE) != single
