"""Volumes of few planes, and of planes that lie far apart."""

import dataclasses
import json

import numpy as np
import pytest
import tifffile

import napari_dip
from napari_dip import cli
from napari_dip.prior.architecture import Architecture
from napari_dip.prior.generators import UNet
from napari_dip.prior.local import Local
from napari_dip.tasks.denoise import DenoiseRecipe
from napari_dip.tasks.setup import flattened

HOURGLASS = Architecture.uniform(4, 4)


@pytest.mark.parametrize("network", [Local((4,) * 4), HOURGLASS], ids=["local", "old"])
@pytest.mark.parametrize(
    ("sides", "spacing", "flat"),
    [
        ((32, 64, 64), "auto", 0),
        ((31, 64, 64), "auto", 1),
        ((16, 64, 64), "auto", 1),
        ((4, 64, 64), "auto", 3),
        ((2, 64, 64), "auto", 4),
        ((64, 64, 64), 1.0, 0),
        ((64, 64, 64), 0.2, 0),
        ((64, 64, 64), 3.0, 2),
        ((64, 64, 64), 100.0, 4),
        ((64, 64), 100.0, 0),
    ],
)
def test_scales_that_leave_the_planes(network, sides, spacing, flat):
    found = flattened(network, sides, DenoiseRecipe(z_spacing=spacing))
    assert found == dataclasses.replace(network, flat_scales=flat)


def test_networks_without_such_scales_stay():
    network = UNet()
    assert flattened(network, (4, 64, 64), DenoiseRecipe()) is network


def test_local_halves_as_it_says():
    network = Local((4, 4, 4), flat_scales=1)
    assert network.multiple(3) == (4, 8, 8)
    assert network.multiple(2) == (8, 8)


@pytest.mark.parametrize("flat", [-1, 4])
def test_scales_that_are_not_there_are_refused(flat):
    message = f"Local: flat_scales must be from 0 to .* .3.; got {flat}"
    with pytest.raises(napari_dip.InputError, match=message):
        Local((4, 4, 4), flat_scales=flat)


@pytest.fixture(scope="module")
def volume():
    """Return four planes of waves that drift from plane to plane, and their noise."""
    y, x = np.mgrid[0:32, 0:32]
    planes = [100 + 50 * np.sin((x + 2 * z) / 4) * np.cos(y / 6) for z in range(4)]
    clean = np.stack(planes).astype(np.float32)
    return clean, clean + np.random.default_rng(0).normal(0, 20, clean.shape)


def test_four_planes_are_a_volume(volume):
    clean, noisy = volume
    fit = napari_dip.denoise(
        noisy, spatial_dims=3, iterations=5, full_output=True, device="cpu"
    )
    assert fit.image.shape == clean.shape
    assert ((fit.image - clean) ** 2).mean() < 0.15 * ((noisy - clean) ** 2).mean()
    # Over seeds: 0.038 +- 0.002.


@pytest.mark.usefixtures("small_fits")
def test_the_distance_of_planes_changes_the_network(volume):
    _, noisy = volume
    stack = np.tile(noisy, (4, 1, 1))
    near, far = (
        napari_dip.denoise(
            stack, spatial_dims=3, z_spacing=z, iterations=1, full_output=True
        )
        for z in (1, 8)
    )
    assert not np.array_equal(near.image, far.image)


@pytest.mark.usefixtures("small_fits")
@pytest.mark.parametrize(("unit", "expected"), [("micron", 4.0), ("", "auto")])
def test_a_file_says_how_far_planes_are_apart(tmp_path, volume, unit, expected, capsys):
    path = tmp_path / "stack.tif"
    size = {"resolution": (5, 5), "metadata": {"axes": "ZYX"}}
    if unit:
        size["metadata"] |= {"unit": unit, "spacing": 0.8}
    tifffile.imwrite(path, volume[1].astype(np.float32), imagej=True, **size)
    command = ["denoise", str(path), "-o", str(tmp_path / "out.tif"), "--json"]
    command += ["--spatial-dims", "3", "--iterations", "1", "--device", "cpu"]
    assert cli.main(command) == 0
    made = json.loads(capsys.readouterr().out)["provenance"]["recipe"]
    assert made["z_spacing"] == expected


@pytest.mark.slow
def test_a_volume_does_not_begin_at_half_the_resolution():
    """Fits of volumes collapsed after that, to one value everywhere."""
    volume = np.random.default_rng(0).normal(100, 10, (4, 64, 64)).astype(np.float32)
    for dims, ahead in ((2, True), (3, False)):
        steps = napari_dip.iterate(
            "denoise", volume, spatial_dims=dims, device="cpu", channel_axis=None
        )
        assert (next(steps).ahead > 0) == ahead
        steps.close()
