"""The commands that make a PSF, and what deconvolve says of one."""

import json

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from napari_dip import bead_psf, cli, microscope_psf
from napari_dip.io import files

OPTICS = ["--numerical-aperture", "1.2", "--wavelength", "600"]


@pytest.fixture
def volume(tmp_path):
    """Return the file of a volume with its pixel sizes."""
    path = tmp_path / "volume.ome.tif"
    tifffile.imwrite(
        path,
        np.zeros((12, 32, 32), np.uint8),
        metadata={
            "axes": "ZYX",
            "PhysicalSizeX": 65,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 65,
            "PhysicalSizeYUnit": "nm",
            "PhysicalSizeZ": 0.4,
            "PhysicalSizeZUnit": "µm",
        },
    )
    return path


@pytest.fixture
def beads(tmp_path):
    """Return the file of an image with nine beads."""
    image = np.zeros((128, 128))
    image[24:120:40, 24:120:40] = 1
    image = ndimage.gaussian_filter(image, 2)
    random = np.random.default_rng(0)
    image = 100 + 1000 * image / image.max() + random.normal(0, 2, image.shape)
    path = tmp_path / "beads.tif"
    tifffile.imwrite(
        path,
        image.astype(np.float32),
        imagej=True,
        resolution=(5, 5),
        metadata={"unit": "um"},
    )
    return path


def test_a_plane_from_the_optics(tmp_path, capsys):
    out = tmp_path / "psf.tif"
    given = ["psf", "microscope", *OPTICS, "--pixel-size", "0.1", "--shape", "33,35"]
    assert cli.main([*given, "-o", str(out)]) == 0
    assert "a widefield PSF of 33 x 35 pixels" in capsys.readouterr().out
    psf = files.read(out)
    expected = microscope_psf(
        (33, 35), numerical_aperture=1.2, wavelength=600, pixel_size=0.1
    )
    np.testing.assert_array_equal(psf.data, expected)
    assert psf.header.scale == pytest.approx((0.1, 0.1))
    assert psf.header.units == ("µm", "µm")
    assert cli.main([*given, "-o", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_volume_like_the_image(tmp_path, volume, capsys):
    out, again = tmp_path / "psf.ome.tif", tmp_path / "again.ome.tif"
    given = ["psf", "microscope", *OPTICS, "--like", str(volume), "-o", str(out)]
    confocal = ["--kind", "confocal", "--excitation-wavelength", "561"]
    assert cli.main([*given, *confocal, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    recipe = facts["provenance"]["recipe"]
    assert recipe["pixel_size"] == pytest.approx(0.065)
    assert recipe["z_step"] == pytest.approx(0.4)
    assert facts["shape"] == [13, 65, 65]
    header = files.read_header(out)
    assert header.axes == "ZYX"
    assert header.scale == pytest.approx((0.4, 0.065, 0.065))
    assert cli.main(["replay", str(out), "-o", str(again)]) == 0
    np.testing.assert_array_equal(files.read(again).data, files.read(out).data)
    assert cli.main(["replay", str(out), str(out), "-o", str(tmp_path / "y.tif")]) == 2
    assert "takes no input and no model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "numerical_aperture must be given"),
        (OPTICS, "pixel_size, or like, must be given"),
        ([*OPTICS, "--pixel-size", "650"], "pixel_size must be"),
        ([*OPTICS, "--pixel-size", "0.1", "--shape", "9,33,33"], "z_step must be"),
        ([*OPTICS, "--pixel-size", "0.1", "--shape", "32,33"], "odd numbers"),
        ([*OPTICS, "--pixel-size", "0.1", "--kind", "confocal"], "excitation_wave"),
    ],
)
def test_optics_that_are_refused(tmp_path, capsys, options, message):
    out = tmp_path / "psf.tif"
    assert cli.main(["psf", "microscope", *options, "-o", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_psf_from_beads(tmp_path, beads, capsys):
    out, again = tmp_path / "psf.tif", tmp_path / "again.tif"
    given = ["psf", "beads", str(beads), "--shape", "21,21"]
    assert cli.main([*given, "-o", str(out)]) == 0
    assert "21 x 21 pixels from 9 beads" in capsys.readouterr().out
    psf = files.read(out)
    expected = bead_psf(tifffile.imread(beads), shape=(21, 21))
    np.testing.assert_array_equal(psf.data, expected)
    assert psf.header.scale == pytest.approx((0.2, 0.2))
    assert psf.header.provenance["beads"] == 9
    assert psf.header.provenance["inputs"]["image"]["file"] == "beads.tif"
    assert cli.main(["replay", str(out), str(beads), "-o", str(again)]) == 0
    np.testing.assert_array_equal(files.read(again).data, expected)
    assert cli.main(["replay", str(out), "-o", str(tmp_path / "y.tif")]) == 2
    assert "takes one input" in capsys.readouterr().err
    few = ["--min-beads", "10", "-o", str(tmp_path / "few.tif")]
    assert cli.main([*given, *few]) == 2
    assert "at least 10 beads (min_beads)" in capsys.readouterr().err


def test_the_diameter_takes_the_pixel_size_of_the_file(tmp_path, beads):
    out = tmp_path / "psf.tif"
    given = ["psf", "beads", str(beads), "--bead-diameter", "0.8", "-o", str(out)]
    assert cli.main(given) == 0
    expected = bead_psf(tifffile.imread(beads), bead_diameter=0.8, pixel_size=0.2)
    np.testing.assert_allclose(files.read(out).data, expected, atol=1e-6)


def test_deconvolve_tells_of_other_pixels(tmp_path, beads, small_fits, capsys):
    psf = tmp_path / "psf.tif"
    make = ["psf", "microscope", *OPTICS, "--pixel-size", "0.1", "--shape", "9,9"]
    assert cli.main([*make, "-o", str(psf)]) == 0
    small = tmp_path / "small.tif"
    image = tifffile.imread(beads)[:48, :48]
    tifffile.imwrite(
        small, image, imagej=True, resolution=(5, 5), metadata={"unit": "um"}
    )
    out = tmp_path / "sharp.tif"
    run = ["deconvolve", str(small), "--psf", str(psf), "-o", str(out)]
    assert cli.main([*run, "--iterations", "1"]) == 0
    assert "0.1 along y, where those of the image have 0.2" in capsys.readouterr().err
    warnings = files.read_header(out).provenance["warnings"]
    assert any("another size" in text for text in warnings)
