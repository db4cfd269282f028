"""One network for all files of a kind."""

import numpy as np
import pytest
import torch

from napari_dip import denoise
from napari_dip.batch import run as batch_run
from napari_dip.batch import share
from napari_dip.batch.manifest import NAME
from napari_dip.errors import InputError
from napari_dip.io import checkpoint, files
from napari_dip.prior.fit import run_to_end
from napari_dip.prior.local import Local
from napari_dip.prior.snapshot import digest
from napari_dip.tasks import shared as sharing
from napari_dip.tasks import windows
from napari_dip.tasks.denoise import TASK, DenoiseRecipe
from napari_dip.tasks.running import Running
from napari_dip.tasks.task import SHARED_WEIGHTS
from tests.batch.conftest import entries

SHORT = ("--iterations", "6", "--precision", "float32")
NETWORKS = "napari-dip-shared-1.safetensors"
SHARED = "of them by shared networks\n"


@pytest.fixture(autouse=True)
def small(monkeypatch, small_fits, small_windows):
    monkeypatch.setattr(share, "WINDOWS", 4)


def scene(seed, shape=(64, 80), level=100.0, sigma=8.0):
    y, x = np.mgrid[: shape[0], : shape[1]]
    random = np.random.default_rng(seed)
    clean = level + 0.3 * level * np.sin(x / 9 + seed) * np.cos(y / 7)
    return (clean + random.normal(0, sigma, shape)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(3):
        files.write(tmp_path / "in" / f"{number}.tif", scene(number))
    return tmp_path / "in"


@pytest.fixture
def fitted(monkeypatch):
    """Return what is fitted for all files of a kind: the names of the files."""
    fits, fit = [], share.fit_shared

    def noted(running, windows, **options):
        fits.append(len(windows))
        return fit(running, windows, **options)

    monkeypatch.setattr(share, "fit_shared", noted)
    monkeypatch.setattr("napari_dip.tasks.kinds.fit_shared", noted)
    return fits


def command(folder, output, *more):
    return ("batch", "denoise", folder, "-o", output, "--share", *SHORT, *more)


def test_one_fit_serves_all_files(call, folder, tmp_path, fitted, changed_presets):
    changed_presets(architecture=Local((8, 8)))  # the images are judged here
    output, options = tmp_path / "out", ("--iterations", "20", *SHORT[2:])
    batch = ("batch", "denoise", folder, "-o", output, "--share", *options)
    code, _, err = call(*batch)
    assert (code, err) == (0, f"napari-dip: 3 images: 3 done, 3 {SHARED}")
    assert fitted == [4]
    weights, about = checkpoint.read(output / NETWORKS, "weights")
    assert about["kind"]["channels"] == 1
    assert about["kind"]["noise"] == pytest.approx([8], rel=0.2)
    for number in range(3):
        image = files.read(output / f"{number}.tif")
        made = image.header.provenance
        assert [p[SHARED_WEIGHTS] for p in made["planes"]] == [digest(weights)]
        assert made["iterations"] == 0
        given = scene(number)
        clean = scene(number, sigma=0)
        assert np.std(image.data - clean) < 0.7 * np.std(given - clean)
        assert entries(output)[f"{number}.tif"]["shared"] is True
    # The networks serve alone as well, and so do they in Python.
    alone = ("denoise", folder / "1.tif", "-o", tmp_path / "alone.tif", *options)
    assert call(*alone, "--weights", output / NETWORKS)[0] == 0
    of_batch = files.read(output / "1.tif").data
    np.testing.assert_array_equal(files.read(tmp_path / "alone.tif").data, of_batch)
    image = denoise(scene(1), weights=weights, iterations=20, precision="float32")
    np.testing.assert_array_equal(image, of_batch)
    kept = ("--checkpoint", tmp_path / "kept.safetensors", "--checkpoint-every", "0")
    assert call(*alone, "--weights", output / NETWORKS, "--overwrite", *kept)[0] == 0
    assert list(tmp_path.glob("kept.safetensors*")) == []
    again = ("replay", output / "1.tif", folder / "1.tif", "-o", tmp_path / "again.tif")
    assert "weights must be those" in call(*again)[2]
    assert call(*again, "--weights", output / NETWORKS)[0] == 0
    np.testing.assert_array_equal(files.read(tmp_path / "again.tif").data, of_batch)


@pytest.mark.slow
def test_a_second_call_does_what_is_new_with_the_same_network(
    call, folder, tmp_path, fitted
):
    output = tmp_path / "out"
    assert call(*command(folder, output))[0] == 0
    assert call(*command(folder, output))[2].endswith(f"3 done before, 3 {SHARED}")
    files.write(folder / "3.tif", scene(3))
    assert call(*command(folder, output))[2].endswith(
        f"1 done, 3 done before, 4 {SHARED}"
    )
    assert fitted == [4]
    assert entries(output)["3.tif"]["shared"] is True
    (output / NETWORKS).unlink()
    assert call(*command(folder, output))[2].endswith(f"4 done, 4 {SHARED}")
    assert fitted == [4, 4]
    assert call(*command(folder, output, "--seed", "1"))[0] == 0
    assert fitted == [4, 4, 4]
    assert len(list(output.glob("*.safetensors"))) == 2


def test_every_kind_has_a_network_and_bad_files_are_passed_over(
    call, folder, tmp_path, fitted
):
    for number in (3, 4):
        bright = scene(number, level=10000.0, sigma=900.0)
        files.write(folder / f"{number}.tif", bright)
    files.write(folder / "5.tif", scene(5).astype(np.uint16))
    files.write(folder / "6.tif", np.full((64, 80), 7, np.float32))
    (folder / "bad.tif").write_bytes(b"II*\0")
    output = tmp_path / "out"
    code, _, err = call(*command(folder, output))
    assert code == 1
    assert err.endswith(f"8 images: 7 done, 1 failed, 5 {SHARED}")
    assert fitted == [4, 4]
    shared = {name: e.get("shared") for name, e in entries(output).items()}
    assert shared == {
        **{f"{n}.tif": True for n in range(5)},
        "5.tif": False,
        "6.tif": False,
        "bad.tif": None,
    }
    one, other = (
        {entries(output)[f"{n}.tif"]["weights"] for n in numbers}
        for numbers in ((0, 1, 2), (3, 4))
    )
    assert len(one) == len(other) == 1
    assert one != other


@pytest.mark.slow
def test_a_file_of_another_kind_is_fitted_for_itself(
    call, folder, tmp_path, fitted, monkeypatch
):
    # As if nothing were known of the noise beforehand.
    monkeypatch.setattr(share, "NOISE", 1e9)
    monkeypatch.setattr(share, "SPAN", 1e9)
    output = tmp_path / "out"
    assert call(*command(folder, output))[0] == 0
    files.write(folder / "3.tif", scene(3, level=20000.0, sigma=2000.0))
    assert call(*command(folder, output))[0] == 0
    assert fitted == [4, 4]
    made = files.read_header(output / "3.tif").provenance["planes"]
    assert not any(SHARED_WEIGHTS in plane for plane in made)
    assert entries(output)["3.tif"]["shared"] is False
    assert call(*command(folder, output))[2].endswith(f"4 done before, 3 {SHARED}")


def test_a_network_that_fails_leaves_the_files_to_fits_of_their_own(
    call, folder, tmp_path, monkeypatch
):
    def fail(*arguments, **options):
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(share, "fit_shared", fail)
    code, _, err = call(*command(folder, tmp_path / "out"))
    assert code == 0
    assert err.count("no network could be fitted for all files: ZeroDivision") == 3
    assert [e["shared"] for e in entries(tmp_path / "out").values()] == [False] * 3


def test_a_file_that_cannot_be_looked_at_is_fitted_for_itself(
    call, folder, tmp_path, monkeypatch
):
    candidates = share.candidates

    def fail(job, planes, seed, count):
        if job.take(planes[0]).max() > 1000:
            raise ZeroDivisionError("a fault of ours")
        return candidates(job, planes, seed, count)

    files.write(folder / "bright.tif", scene(9, level=5000.0))
    monkeypatch.setattr(share, "candidates", fail)
    assert call(*command(folder, tmp_path / "out"))[0] == 0
    shared = {name: e["shared"] for name, e in entries(tmp_path / "out").items()}
    assert shared == {"0.tif": True, "1.tif": True, "2.tif": True, "bright.tif": False}


@pytest.mark.parametrize("gone", [(0,), (1,), (0, 1, 2)])
def test_files_that_are_gone_when_the_network_is_fitted(
    call, folder, tmp_path, monkeypatch, gone
):
    fit = batch_run.fit

    def late(shared, *others):
        for number in gone:
            (folder / f"{number}.tif").unlink()
        return fit(shared, *others)

    monkeypatch.setattr(batch_run, "fit", late)
    assert call(*command(folder, tmp_path / "out"))[0] == 1
    states = {name: entry["state"] for name, entry in entries(tmp_path / "out").items()}
    assert states == {f"{n}.tif": "failed" if n in gone else "done" for n in range(3)}


def test_a_preset_that_sees_more_than_a_window_is_told(
    call, folder, tmp_path, monkeypatch
):
    def none(*arguments, **options):
        return None
        yield

    monkeypatch.setattr(share, "fit_shared", none)
    code, _, err = call(*command(folder, tmp_path / "out"))
    assert code == 0
    assert err.count("the preset sees more of an image than a window") == 3


def test_a_stop_of_the_fit_leaves_nothing(call, folder, tmp_path, monkeypatch):
    from napari_dip.batch.stop import Stop

    ask = Stop.__call__

    def stopping(self, it):
        ask(self, it)
        self.asked = it.step == 5
        return self.asked

    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Stop, "__call__", stopping)
        code, _, err = call(*command(folder, output))
    assert code == 130
    assert err.endswith(f"3 images: 3 not begun, 0 {SHARED}")
    assert [path.name for path in output.iterdir()] == [NAME]
    assert call(*command(folder, output))[0] == 0


def test_a_time_limit_leaves_the_network_as_it_is_then(
    call, folder, tmp_path, monkeypatch
):
    output = tmp_path / "out"
    monkeypatch.setenv("NAPARI_DIP_MAX_SECONDS", "1e-6")
    code, _, err = call(*command(folder, output))
    limit = "the time limit of 1e-06 s (NAPARI_DIP_MAX_SECONDS)"
    assert code == 0
    assert err.count(f"the fit of the networks was stopped by {limit}") == 3
    assert err.endswith(f"3 images: 3 done, 3 {SHARED}")
    _, about = checkpoint.read(output / NETWORKS, "weights")
    assert about["kind"]["channels"] == 1
    made = files.read_header(output / "0.tif").provenance["planes"]
    assert [plane["stopped by"] for plane in made] == [limit]


def test_a_time_limit_before_all_channels_are_fitted(
    call, tmp_path, monkeypatch, fitted
):
    for number in range(2):
        image = np.stack([scene(10 * number), scene(10 * number + 5)], axis=-1)
        path = tmp_path / "in" / f"{number}.tif"
        path.parent.mkdir(exist_ok=True)
        files.write(path, image)
    options = (*command(tmp_path / "in", tmp_path / "out"), "--channel-axis", "-1")
    monkeypatch.setenv("NAPARI_DIP_MAX_SECONDS", "1e-6")
    code, _, err = call(*options)
    assert code == 0
    assert err.count("was over before all channels were fitted") == 2
    assert err.endswith(f"2 images: 2 done, 0 {SHARED}")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--neighbours", "2"), "neighbours must be auto or 0 with --share"),
        (("--weights", "a.safetensors"), "share fits networks of its own"),
    ],
)
def test_wrong_options(call, folder, tmp_path, options, says):
    code, _, err = call(*command(folder, tmp_path / "out", *options))
    assert code == 2
    assert says in err


def test_what_cannot_share_is_refused(call, folder, tmp_path):
    for task, options in {
        "enhance": (),
        "denoise": ("--preset", "paper"),
        "denoise-guided": ("--guide", folder),
    }.items():
        output = tmp_path / task
        code, _, err = call("batch", task, folder, "-o", output, "--share", *options)
        assert code == 2
        assert f"but not with --preset paper or --spatial-dims 3; {task} fits" in err
        assert not output.exists()


def test_no_share_fits_every_plane(call, folder, tmp_path, fitted, monkeypatch):
    monkeypatch.setattr(sharing, "ENOUGH", 0)
    options = ("-o", tmp_path / "out", "--no-share", *SHORT)
    assert call("batch", "denoise", folder, *options)[0] == 0
    assert fitted == []
    assert entries(tmp_path / "out")["0.tif"]["recipe"]["share"] == "no"


@pytest.fixture
def networks():
    """Return the state of networks for gray images."""
    recipe = DenoiseRecipe(precision="float32", neighbours=0, share="yes", iterations=3)
    job = TASK.job(recipe, np.stack([scene(n) for n in range(4)]))
    drawn = windows.draw_windows(job, list(job.layout.indices()), 0)
    fitting = share.fit_shared(Running(job, recipe), drawn, seed=0)
    return sharing.state_of(run_to_end(fitting))


def test_networks_that_do_not_suit_are_refused(networks):
    colours = np.stack([scene(n) for n in range(3)], axis=-1)
    with pytest.raises(InputError, match="for the channels"):
        denoise(colours, weights=networks)
    with pytest.raises(InputError, match="serve neither this"):
        denoise(scene(0), preset="paper", weights=networks)
    seeing = dict(networks)
    seeing["networks"] = [{**networks["networks"][0], "neighbours": 2}]
    with pytest.raises(InputError, match="a single plane"):
        denoise(scene(0), weights=seeing)
    name = next(k for k, v in networks.items() if isinstance(v, torch.Tensor))
    with pytest.raises(InputError, match="weights: "):
        denoise(scene(0), weights={**networks, name: torch.zeros(1)})


def test_a_stop_between_tiles_is_told(networks):
    stack = np.stack([scene(n) for n in range(3)])
    fit = denoise(stack, weights=networks, callback=lambda it: True, full_output=True)
    assert fit.stopped_by.endswith("stopped by the user")
    assert fit.warnings == [
        "planes 1 to 2 were not restored before the stop, and came back unchanged"
    ]
    single = denoise(
        stack[0], weights=networks, callback=lambda it: True, full_output=True
    )
    assert single.stopped_by == "no fit, for the networks were given"
