"""Arrays of every kind of number: right, or refused in one line, never wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_dip import deconvolve, denoise, enhance, inpaint, super_resolve
from napari_dip.errors import InputError
from napari_dip.prior.architecture import Architecture
from napari_dip.tasks.arrays import LARGEST_INTEGER
from napari_dip.tasks.scaling import LARGEST
from tests.conftest import one_round

SHORT = {"iterations": 1, "device": "cpu", "precision": "float32"}
SHORT |= {"architecture": Architecture.uniform(4, 1), "full_output": True}

many = settings(max_examples=25, deadline=None, derandomize=True, database=None)
powers = st.one_of(st.integers(-3, 4), st.integers(-300, 299))
dtypes = st.sampled_from(["?", "u1", "i2", "u4", "i8", "u8", "f2", "f4", "f8", ">f4"])
outliers = st.lists(
    st.tuples(st.integers(0, 2 * 17 * 18 - 1), st.sampled_from([-1, 1]), powers),
    max_size=3,
)


@st.composite
def stacks(draw):
    """Return two planes of noise of any scale, offset and type, with odd values."""
    random = np.random.default_rng(draw(st.integers(0, 3)))
    shape = (2, 17, 18)
    noise = draw(st.sampled_from(["normal", "counts", "beads", "constant"]))
    image = {
        "normal": random.normal(5, 1, shape),
        "counts": random.poisson(0.2, shape),
        "beads": random.random(shape) > 0.999,
        "constant": np.full(shape, 3),
    }[noise].astype(np.float64)
    dtype = np.dtype(draw(dtypes))
    with np.errstate(over="ignore", invalid="ignore"):
        image = image * 10.0 ** draw(powers) + draw(
            st.sampled_from([0, 0, -3, 1e4, 1e12, -1e17, 1e37])
        )
        for place, sign, power in draw(outliers):
            image.flat[place] = sign * 10.0**power
        image = image.astype(dtype)
    if dtype.kind == "f":
        for place in draw(st.lists(st.integers(0, image.size - 1), max_size=3)):
            image.flat[place] = draw(st.sampled_from([np.nan, np.nan, np.nan, np.inf]))
        if draw(st.integers(0, 3)) == 3:
            image[1] = np.nan
        return image
    mask = random.random(shape) < draw(st.sampled_from([0, 0.1]))
    return np.ma.masked_array(image, mask) if mask.any() else image


def must_be_refused(image, hidden=False):
    """Return whether an image has values that no task takes, where not hidden."""
    data = np.ma.getdata(image)
    if data.dtype in (np.int64, np.uint64):
        # Hidden ones, too: they may come back.
        low, high = int(data.min()), int(data.max())
        if max(-low, high) > LARGEST_INTEGER:
            return True
    values = np.ma.filled(np.ma.asarray(image).astype(float), np.nan)
    values = np.where(hidden, np.nan, values)
    return bool((np.abs(values) > LARGEST).any() or np.isnan(values).all())


def check(function, image, *others, **parameters):
    """Run a task and judge what comes back, or that it is refused in one line."""
    dtype = np.dtype(image.dtype)
    hidden = function is inpaint and others[0]
    try:
        fit = function(image, *others, **SHORT, **parameters)
    except InputError as error:
        refusal = str(error)
    else:
        refusal = ""
    assert bool(refusal) == must_be_refused(image, hidden), refusal
    if refusal:
        assert "image" in refusal
        assert "\n" not in refusal
        return None
    if parameters.get("dtype") == "input":
        assert fit.image.dtype == dtype
    else:
        assert fit.image.dtype in (np.float32, np.float64)
    known = np.isfinite(np.ma.filled(np.ma.asarray(image).astype(float), np.nan))
    if fit.image.dtype.kind == "f":
        for plane, seen in zip(fit.image, known, strict=True):
            assert np.isfinite(plane).all() == seen.any()
    if not known.all(axis=(1, 2)).any() and not known[1].any():
        assert any("plane 1 came back unchanged" in w for w in fit.warnings)
    return fit


@pytest.mark.slow
@many
@given(image=stacks(), dtype=st.sampled_from(["float32", "input"]))
def test_denoise_of_any_numbers(image, dtype):
    fit = check(denoise, image, dtype=dtype)
    values = np.ma.compressed(np.ma.masked_invalid(image))
    if fit is not None and (values == values[0]).all():
        np.testing.assert_array_equal(
            fit.image[0], np.asarray(values[0], fit.image.dtype)
        )
        assert fit.iterations == 0


@pytest.mark.slow
@many
@given(image=stacks())
@pytest.mark.parametrize("task", [enhance, super_resolve])
def test_other_tasks_of_any_numbers(task, image):
    check(task, image)


@pytest.mark.slow
@many
@given(image=stacks(), dtype=st.sampled_from(["float32", "input"]))
def test_inpaint_of_any_numbers(image, dtype):
    mask = np.zeros((17, 18), bool)
    mask[3:5, 4:9] = True
    fit = check(inpaint, image, mask, dtype=dtype)
    if fit is not None and dtype == "input":
        # Known pixels come back exactly, whatever they are.
        kept = ~mask & ~np.ma.getmaskarray(np.ma.masked_invalid(image))
        np.testing.assert_array_equal(fit.image[kept], np.ma.getdata(image)[kept])


@settings(many, max_examples=10)
@given(image=stacks())
def test_deconvolve_of_any_numbers(image):
    check(deconvolve, image, np.ones((3, 3)))


@pytest.fixture(scope="module", autouse=True)
def few_passes():
    """Let the filters of similar patches go over an image once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_dip.tasks.super_resolve.PASSES", 1)
        patch.setattr("napari_dip.prior.filling.PASSES", 1)
        one_round(patch)
        yield


def noise():
    return np.random.default_rng(0).normal(100, 10, (17, 18))


@pytest.fixture(scope="module")
def restored_noise():
    return denoise(noise(), **SHORT).image


@pytest.mark.slow
@many
@given(
    power=st.integers(-900, 900),
    offset=st.sampled_from([0, 1e3, 1e6, 1e9, -1e12]),
)
def test_scale_and_offset_change_nothing_else(restored_noise, power, offset):
    image, plain = noise(), restored_noise
    unit = 2.0**power
    scaled = denoise((image + offset) * unit, **SHORT).image
    tolerance = 0.02 * np.ptp(image)
    np.testing.assert_allclose(scaled / unit - offset, plain, rtol=0, atol=tolerance)
