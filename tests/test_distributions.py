"""The wheel and the source archive work once installed, away from the checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

# What napari does at its start: find the plugin among the installed distributions. Then
# what `npe2 validate napari-dip --imports` does.
DISCOVER = """
import json, napari_dip
from npe2 import PluginManager
plugins = PluginManager()
plugins.discover()
commands = plugins.get_manifest("napari-dip").contributions.commands
print(json.dumps([napari_dip.__file__, [command.id for command in commands]]))
from npe2.cli import app
app(["validate", "napari-dip", "--imports"])
"""


def run(*command: str | Path, cwd: Path) -> str:
    # Without PYTHONPATH, which could lead back to the checkout.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory, root) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("dist")
    build = (sys.executable, "-m", "build", "--no-isolation")
    # The builder of the wheel, without the processes that `build` starts around it.
    hatch = (sys.executable, "-m", "hatchling", "build")
    run(*hatch, "--target", "wheel", "--directory", folder / "wheel", cwd=root)
    # Without --wheel: the source archive, and the wheel from it.
    run(*build, "--outdir", folder / "sdist", root, cwd=folder)
    return {
        "sdist": next(folder.glob("sdist/*.tar.gz")),
        "wheel": next(folder.glob("wheel/*.whl")),
        "wheel from sdist": next(folder.glob("sdist/*.whl")),
    }


def test_source_archive_holds_the_manifest_once_and_no_links(archives):
    with tarfile.open(archives["sdist"]) as archive:
        members = archive.getmembers()
    assert all(member.isfile() for member in members)
    manifests = [m.name for m in members if m.name.endswith("/napari.yaml")]
    assert [name.count("/") for name in manifests] == [1]


def test_both_wheels_hold_the_same_files(archives, root):
    contents = []
    for kind in ("wheel", "wheel from sdist"):
        with zipfile.ZipFile(archives[kind]) as wheel:
            contents.append({name: wheel.read(name) for name in wheel.namelist()})
    assert contents[0] == contents[1]
    packaged = contents[0]["napari_dip/napari.yaml"]
    assert packaged == (root / "napari.yaml").read_bytes()
    others = ("icon.svg", "py.typed", "tasks/signatures.pyi")
    assert {f"napari_dip/{name}" for name in others} <= set(contents[0])


@pytest.mark.slow
def test_installed_plugin_is_found_and_valid(archives, tmp_path):
    """Either wheel, since both hold the same."""
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=tmp_path)
    scripts = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    options = ("--no-deps", "--no-index")
    run(*pip, "install", *options, archives["wheel from sdist"], cwd=tmp_path)
    # The dependencies are those of this environment. Python appends the folder but
    # does not read the .pth files in it, so the editable install stays out of sight.
    site_packages = next((tmp_path / "venv").rglob("site-packages"))
    (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))

    printed, _, report = run(python, "-c", DISCOVER, cwd=tmp_path).partition("\n")
    assert "valid" in report
    found, commands = json.loads(printed)
    assert Path(found).is_relative_to(site_packages)
    assert "napari-dip.denoise_widget" in commands
    assert "denoise" in run(scripts / "napari-dip", "--help", cwd=tmp_path)
