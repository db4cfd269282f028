"""Samples of the prior: what they hold, what they depend on, files from nothing."""

import json

import numpy as np
import pytest
import skimage.io
import tifffile
import torch

from napari_dip import cli, sample_prior
from napari_dip.errors import InputError

SMALL = {"shape": (33, 40), "width": 6, "scales": 3, "device": "cpu"}


def energy_of_detail(image):
    """Return the part of the variance that is between neighbours."""
    steps = [np.square(np.diff(image, axis=a)).mean() for a in (0, 1)]
    return sum(steps) / image.var()


def test_a_sample_is_an_image():
    found = sample_prior(**SMALL)
    assert found.shape == (33, 40, 3)
    assert found.dtype == np.float32
    assert (found.min((0, 1)) == 0).all()
    np.testing.assert_allclose(found.max((0, 1)), 1)
    assert sample_prior(**SMALL, channels=1).shape == (33, 40)


def test_the_seed_decides():
    one, same, other = (sample_prior(**SMALL, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).mean() > 0.05


def test_settings_of_the_caller_change_no_bit():
    expected, before = sample_prior(**SMALL), torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with torch.inference_mode():
            found = sample_prior(**SMALL)
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(before)
    np.testing.assert_array_equal(found, expected)


def test_more_scales_are_smoother_and_skips_are_rougher():
    """Fig. 5 of the first paper: a to c, and d."""
    found = {
        (scales, skip): np.mean(
            [
                energy_of_detail(
                    sample_prior(
                        shape=(64, 64),
                        width=16,
                        scales=scales,
                        skip=skip,
                        seed=seed,
                        device="cpu",
                    )
                )
                for seed in range(4)
            ]
        )
        for scales, skip in ((1, 0), (3, 0), (5, 0), (5, 4))
    }
    assert found[1, 0] > 2 * found[3, 0] > 2 * found[5, 0]
    assert found[5, 4] > 2 * found[5, 0]


def test_nearest_upsampling_makes_blocks():
    smooth, blocks = (
        sample_prior(shape=(64, 64), width=8, upsampling=how, device="cpu")
        for how in ("bilinear", "nearest")
    )
    assert energy_of_detail(blocks) > 1.5 * energy_of_detail(smooth)


@pytest.mark.parametrize("architecture", ["unet", "resnet"])
def test_other_networks(architecture):
    found = sample_prior(shape=(33, 40), architecture=architecture, scales=2)
    assert found.shape == (33, 40, 3)
    assert np.isfinite(found).all()


def test_without_spreading_the_contrast_is_the_networks():
    found = sample_prior(**SMALL, spread=False)
    assert 0 < found.min() < found.max() < 1
    whole = sample_prior(**SMALL)
    for c in range(3):
        part = found[..., c]
        spread = (part - part.min()) / (part.max() - part.min())
        np.testing.assert_allclose(spread, whole[..., c], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (8, 40)}, "shape must be"),
        ({"shape": (40,)}, "shape must be 2 integers from 16"),
        ({"scales": 0}, "scales must be"),
        ({"architecture": "gan"}, "hourglass"),
        ({"upsampling": "cubic"}, "nearest"),
    ],
)
def test_refused(options, message):
    with pytest.raises(InputError, match=message):
        sample_prior(**options)


def test_command_and_replay(tmp_path, capsys):
    out, again = tmp_path / "x.png", tmp_path / "again.tif"
    given = ["sample-prior", "--shape", "33,40", "--width", "6", "--seed", "3"]
    assert cli.main([*given, "-o", str(out)]) == 0
    image = skimage.io.imread(out)
    assert image.shape == (33, 40, 3)
    assert (image.min(), image.max()) == (0, 255)
    assert cli.main(["info", str(out)]) == 0
    assert "sample_prior" in capsys.readouterr().out
    assert cli.main(["replay", str(out), "-o", str(again)]) == 0
    np.testing.assert_array_equal(np.rint(255 * tifffile.imread(again)), image)
    assert cli.main(["sample-prior", "--shape", "8,40", "-o", str(again)]) == 2
    assert "shape must be" in capsys.readouterr().err
    extra = ["sample-prior", str(out), "-o", str(tmp_path / "y.png")]
    assert cli.main(extra) == 2
    for more in ([str(out)], ["--model", "a:b"]):
        assert cli.main(["replay", str(out), *more, "-o", str(tmp_path / "y.png")]) == 2
        assert "takes no input and no model" in capsys.readouterr().err


def test_command_says_what_it_made(tmp_path, capsys):
    out = tmp_path / "x.tif"
    given = ["sample-prior", "--shape", "16,20", "--width", "6", "-o", str(out)]
    assert cli.main(given) == 0
    assert f"{out}: " in capsys.readouterr().out
    assert cli.main([*given, "--json"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert cli.main([*given, "--json", "--overwrite"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["shape"] == [16, 20, 3]
    recipe = facts["provenance"]["recipe"]
    assert recipe.pop("task") == "sample_prior"
    np.testing.assert_array_equal(tifffile.imread(out), sample_prior(**recipe))
