"""Classical blending against literal versions and the second paper's tables."""

import numpy as np
import pytest
from PIL import Image
from scipy import fft, ndimage

from napari_dip import metrics
from napari_dip.errors import FitError, InputError
from napari_dip.tasks import compositing
from napari_dip.tasks.compositing import alpha, laplacian, poisson

METHODS = {
    "alpha": alpha,
    "laplacian": lambda *a: laplacian(*a, levels=2),
    "poisson": lambda *a: poisson(*a, erosion=1),
    "poisson box": lambda *a: poisson(*a, region="box", erosion=1),
}


@pytest.fixture
def images():
    """Return a foreground, a background and a mask."""
    rng = np.random.default_rng(0)
    mask = np.zeros((14, 17), bool)
    mask[3:10, 4:12] = True
    mask[7:12, 9:14] = True
    return *rng.random((2, 14, 17, 3)), mask


@pytest.mark.parametrize("method", METHODS)
def test_equal_images_give_themselves(images, method):
    _, background, mask = images
    blended = METHODS[method](background, background, mask)
    np.testing.assert_allclose(blended, background, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_arguments_stay_as_they_are(images, method):
    copies = [a.copy() for a in images]
    blended = METHODS[method](*images)
    for argument, copy in zip(images, copies, strict=True):
        np.testing.assert_array_equal(argument, copy)
        assert not np.shares_memory(blended, argument)


@pytest.mark.parametrize("method", METHODS)
def test_gray_images_blend_as_channels_do(images, method):
    foreground, background, mask = images
    blended = METHODS[method](*images)
    gray = METHODS[method](foreground[..., 1], background[..., 1], mask)
    np.testing.assert_allclose(gray, blended[..., 1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("given", "returned"),
    [(np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)],
)
def test_dtype(images, method, given, returned):
    foreground, background, mask = images
    blended = METHODS[method](foreground.astype(given), background.astype(given), mask)
    assert blended.dtype == returned
    assert blended.shape == background.shape


def test_alpha_mixes_by_the_mask():
    front, back = np.full((1, 3), 0.8), np.full((1, 3), 0.4)
    mask = np.array([[0, 0.25, 1]])
    np.testing.assert_allclose(alpha(front, back, mask), [[0.4, 0.5, 0.8]])


# The Laplacian pyramid


def literal_halve(image):
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    padded = np.pad(image, 2, mode="reflect")
    rows, columns = image.shape
    return np.array(
        [
            [
                (kernel * padded[y : y + 5, x : x + 5]).sum()
                for x in range(0, columns, 2)
            ]
            for y in range(0, rows, 2)
        ]
    )


def literal_double(image, shape):
    wide = np.zeros(shape)
    wide[::2, ::2] = image
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 64
    padded = np.pad(wide, 2, mode="reflect")
    return np.array(
        [
            [(kernel * padded[y : y + 5, x : x + 5]).sum() for x in range(shape[1])]
            for y in range(shape[0])
        ]
    )


def literal_laplacian(front, back, mask, levels, gain):
    """Blend by recursion: this band by this mask, the rest by a coarser one."""
    mask = np.minimum(mask, 1)
    if levels == 0:
        return mask * front + (1 - mask) * back
    small = [literal_halve(a) for a in (front, back, mask)]
    bands = [
        image - literal_double(less, image.shape)
        for image, less in zip((front, back), small[:2], strict=True)
    ]
    coarse = literal_laplacian(small[0], small[1], gain * small[2], levels - 1, gain)
    here = mask * bands[0] + (1 - mask) * bands[1]
    return here + literal_double(coarse, front.shape)


@pytest.mark.parametrize("gain", [1, 1.2])
def test_laplacian_is_the_literal_pyramid(images, gain):
    foreground, background, mask = (a[:, :, 0] if a.ndim == 3 else a for a in images)
    wanted = literal_laplacian(foreground, background, mask.astype(float), 3, gain)
    found = laplacian(foreground, background, mask, levels=3, mask_gain=gain)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


def test_laplacian_joins_flat_images_softly():
    mask = np.zeros((32, 96), bool)
    mask[:, 48:] = True
    front, back = np.ones((32, 96)), np.zeros((32, 96))
    soft = laplacian(front, back, mask, levels=4)[16]
    assert (np.diff(soft) >= -1e-12).all()
    assert np.diff(soft).max() < 0.05  # alpha's step is 1
    assert soft[0] == pytest.approx(0, abs=1e-3)
    assert soft[-1] == pytest.approx(1, abs=1e-3)
    narrow = laplacian(front, back, mask, levels=1)[16]
    assert np.diff(narrow).max() > 3 * np.diff(soft).max()


# Poisson's equation


def literal_poisson(front, back, mask, region, erosion):
    """Solve for all pixels of the region at once, one dense equation each."""
    rows, columns = mask.shape
    ys, xs = np.nonzero(mask)

    def eroded(y, x):
        for v in range(y - erosion, y + erosion + 1):
            for u in range(x - erosion, x + erosion + 1):
                if not (0 <= v < rows and 0 <= u < columns):
                    if region == "box":
                        return False
                elif not mask[v, u]:
                    return False
        return True

    def gradient(first, second):
        """From one pixel to the next one right of it or below."""
        image = front if eroded(*first) and mask[second] else back
        return image[second] - image[first]

    def unknown(y, x):
        if region == "mask":
            return mask[y, x]
        return ys.min() < y < ys.max() and xs.min() < x < xs.max()

    pixels = [(y, x) for y in range(rows) for x in range(columns) if unknown(y, x)]
    number = {pixel: i for i, pixel in enumerate(pixels)}
    matrix = np.zeros((len(pixels), len(pixels)))
    right = np.zeros(len(pixels))
    for i, (y, x) in enumerate(pixels):
        for q in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if not (0 <= q[0] < rows and 0 <= q[1] < columns):
                continue
            matrix[i, i] += 1
            if q > (y, x):
                right[i] -= gradient((y, x), q)
            else:
                right[i] += gradient(q, (y, x))
            if q in number:
                matrix[i, number[q]] -= 1
            else:
                right[i] += back[q]
    blended = back.copy()
    for pixel, value in zip(pixels, np.linalg.solve(matrix, right), strict=True):
        blended[pixel] = value
    return blended


def masks():
    inner = np.zeros((14, 17), bool)
    inner[3:10, 4:12] = True
    inner[7:12, 9:14] = True
    corner = np.zeros((14, 17), bool)
    corner[:8, :9] = True
    corner[10:, 11:] = True
    most = np.ones((14, 17), bool)
    most[6, 5] = False
    return {"inner": inner, "corner": corner, "most": most}


@pytest.mark.parametrize("erosion", [0, 1])
@pytest.mark.parametrize("region", ["mask", "box"])
@pytest.mark.parametrize("where", masks())
def test_poisson_solves_the_dense_equations(images, where, region, erosion):
    foreground, background = (image[..., 0] for image in images[:2])
    mask = masks()[where]
    wanted = literal_poisson(foreground, background, mask, region, erosion)
    found = poisson(foreground, background, mask, region=region, erosion=erosion)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6)
    assert np.abs(wanted - background).max() > 0.1


@pytest.mark.parametrize("region", ["mask", "box"])
def test_poisson_takes_gradients_only(images, region):
    """A foreground of the background's gradients vanishes, whatever its colour."""
    _, background, mask = images
    blended = poisson(background + 0.3, background, mask, region=region, erosion=1)
    np.testing.assert_allclose(blended, background, rtol=0, atol=1e-6)


def test_poisson_keeps_the_background_to_the_bit(images):
    foreground, background, mask = images
    blended = poisson(foreground, background, mask, erosion=1)
    np.testing.assert_array_equal(blended[~mask], background[~mask])
    assert (blended[mask] != background[mask]).any()
    box = poisson(foreground, background, mask, region="box", erosion=1)
    assert (box[~mask] != background[~mask]).any()


def test_poisson_does_not_see_the_cut(images):
    """What lies outside the mask in the foreground has no part in the result."""
    foreground, background, mask = images
    cut = np.where(mask[..., np.newaxis], foreground, 9)
    for region in ("mask", "box"):
        for erosion in (0, 1):
            np.testing.assert_array_equal(
                poisson(cut, background, mask, region=region, erosion=erosion),
                poisson(foreground, background, mask, region=region, erosion=erosion),
            )


def test_poisson_without_foreground_is_the_background(images):
    foreground, background, mask = images
    np.testing.assert_array_equal(
        poisson(foreground, background, mask & False), background
    )


def test_poisson_says_when_it_did_not_converge(images, monkeypatch):
    monkeypatch.setattr(compositing, "cg", lambda a, b, **_: (b, 7))
    with pytest.raises(FitError, match="within 7 steps"):
        poisson(*images, erosion=1)


# What is refused

A = np.zeros((8, 9, 3))
M = np.zeros((8, 9), bool)
M[2:5, 2:5] = True
REFUSED = {
    "integers": (lambda: alpha(A.astype(int), A, M), "foreground must be an array of"),
    "a volume": (lambda: alpha(A, A[None], M), "background must be an array of"),
    "NaN": (lambda: alpha(A, A + np.nan, M), "background must be finite"),
    "two shapes": (lambda: alpha(A, A[1:], M), r"\(8, 9, 3\) and \(7, 9, 3\)"),
    "a mask of another shape": (lambda: alpha(A, A, A > 0), r"got \(8, 9, 3\)"),
    "a mask of bytes": (lambda: alpha(A, A, M * np.uint8(255)), "uint8 from 0 to 255"),
    "a mask above 1": (lambda: alpha(A, A, M * 1.5), "mask must be bool, or float"),
    "a mask of NaN": (lambda: alpha(A, A, M * np.nan), "mask must be bool, or float"),
    "no levels": (lambda: laplacian(A, A, M, levels=0), "levels must be an integer"),
    "half a level": (lambda: laplacian(A, A, M, levels=1.5), "levels must be an"),
    "too many levels": (lambda: laplacian(A, A, M, levels=4), "at most 3"),
    "no gain": (lambda: laplacian(A, A, M, levels=2, mask_gain=0), "mask_gain"),
    "no background": (lambda: poisson(A, A, ~M | M), "covers the whole image"),
    "another region": (lambda: poisson(A, A, M, region="all"), "'all'"),
    "a negative erosion": (lambda: poisson(A, A, M, erosion=-1), "at least 0"),
    "a thin mask": (lambda: poisson(A, A, M, erosion=2), "at least 5 pixels wide"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what):
    call, message = REFUSED[what]
    with pytest.raises(InputError, match=message):
        call()


# The second paper's Tables 5 and 6: GFF, GFP, BSI, SSIM

TABLES = {
    "child_lake": {
        "alpha": (0.666876, 0.840638, 15.171874, 0.363135),
        "poisson": (0.608026, 0.842703, 22.493957, 0.679560),
        "laplacian": (0.658930, 1.861390, 27.954209, 0.334541),
    },
    "bear_penguin": {
        "alpha": (0.591284, 0.817655, 515.180007, 0.570862),
        "poisson": (0.611293, 2.090503, 585.931454, 0.837563),
        "laplacian": (0.593106, 1.932817, 562.232692, 0.660616),
    },
}


class Published:
    """One of the paper's pairs and the tables' figures of a blend of it."""

    def __init__(self, folder):
        def read(name, mode):
            return np.asarray(Image.open(folder / name).convert(mode))

        self.rows = TABLES[folder.name]
        self.foreground, self.background = read("fg.jpg", "RGB"), read("bg.jpg", "RGB")
        self.mask = read("mask.jpg", "L") > 127
        self.gap = read("gap.png", "RGB")[..., 0]

    @property
    def unit(self):
        return self.foreground / 255, self.background / 255, self.mask

    @property
    def shifted(self):
        """Foreground and mask where seamlessClone puts them: one pixel higher.

        The boxes of both masks have an even number of rows and an odd one of columns.
        """
        return (*(np.roll(a, -1, axis=0) for a in (self.foreground / 255, self.mask)),)

    def measure(self, blended):
        """Return the figures; the program measures 8-bit images, made by truncation.

        Whole levels that rounding leaves just below themselves stay what they are.
        """
        stored = np.clip(blended * 255 + 1e-6, 0, 255).astype(np.uint8)
        sources = self.foreground, self.background
        return (
            metrics.gff(stored, *sources, self.gap),
            metrics.gfp(stored, *sources),
            metrics.bsi(stored, self.gap),
            metrics.ssim_transition(stored, self.background, self.gap),
        )


@pytest.fixture(params=TABLES)
def published(request, shared_data):
    return Published(shared_data / "blend" / request.param)


def test_published_alpha(published):
    found = published.measure(alpha(*published.unit))
    assert found == pytest.approx(published.rows["alpha"], rel=2e-6)


def test_published_laplacian(published):
    found = published.measure(laplacian(*published.unit, mask_gain=1.2))
    assert found == pytest.approx(published.rows["laplacian"], rel=3e-5)


def single_precision(foreground, background, mask):
    """Solve the "box" problem with the eigenvalues seamlessClone has.

    It rounds them to single precision before it takes the differences that small
    ones come from, an error of up to a sixth of a level of 255 in the slowest waves.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    front, back = (np.float32(255 * image[box]) for image in (foreground, background))
    kept = ndimage.binary_erosion(mask[box], np.ones((7, 7)))[..., np.newaxis]
    down = np.where(kept[:-1], np.diff(front, axis=0), np.diff(back, axis=0))
    across = np.where(kept[:, :-1], np.diff(front, axis=1), np.diff(back, axis=1))
    right = np.diff(down, axis=0)[:, 1:-1] + np.diff(across, axis=1)[1:-1]
    right[0] -= back[0, 1:-1]
    right[-1] -= back[-1, 1:-1]
    right[:, 0] -= back[1:-1, 0]
    right[:, -1] -= back[1:-1, -1]
    waves = [
        np.float32(2) * np.cos(np.pi * np.arange(1, side - 1) / (side - 1), dtype="f4")
        for side in front.shape[:2]
    ]
    eigenvalues = np.add.outer(*waves) - np.float32(4)
    solved = fft.dstn(right, type=1, axes=(0, 1)) / eigenvalues[..., np.newaxis]
    blended = background.copy()
    blended[box][1:-1, 1:-1] = fft.idstn(solved, type=1, axes=(0, 1)) / 255
    return blended


def test_published_poisson(published):
    foreground, mask = published.shifted
    background = published.background / 255
    wanted = published.rows["poisson"]
    # Of the solver behind the table: proves the metrics.
    theirs = single_precision(foreground, background, mask)
    found = published.measure(theirs)
    assert found == pytest.approx(wanted, rel=3e-3)
    assert found[:2] + found[3:] == pytest.approx(wanted[:2] + wanted[3:], rel=1e-5)
    # Exactly solved: proves the method. BSI, which hangs on single levels of flat
    # pixels, comes out 25 % higher on the first pair and 2 % lower on the other.
    ours = poisson(foreground, background, mask, region="box")
    assert np.abs(ours - theirs).max() < 0.2 / 255
    found = published.measure(ours)
    assert found[:2] + found[3:] == pytest.approx(wanted[:2] + wanted[3:], rel=1e-3)
