"""The npe2 manifest: valid, in its place, and free of dead entries."""

from importlib import resources
from importlib.metadata import metadata

import pytest
from npe2 import PluginManifest


@pytest.fixture(scope="module")
def manifest(root) -> PluginManifest:
    return PluginManifest.from_file(root / "napari.yaml")


def test_is_named_after_the_distribution(manifest):
    assert manifest.name == metadata("napari-dip")["Name"]


def test_package_holds_the_same_file(root):
    packaged = resources.files("napari_dip") / "napari.yaml"
    assert packaged.read_text() == (root / "napari.yaml").read_text(), (
        "src/napari_dip/napari.yaml should be a symbolic link to the top-level file; "
        "CONTRIBUTING.md says how to get one on Windows"
    )


def test_icon_is_in_the_package(manifest):
    package, _, name = manifest.icon.partition(":")
    assert (resources.files(package) / name).is_file()


def test_every_command_can_be_imported(manifest):
    manifest.validate_imports()  # raises for what cannot be
    assert all(command.python_name for command in manifest.contributions.commands)


def test_every_command_is_used_and_every_use_is_declared(manifest):
    contributions = manifest.contributions
    used = {
        item.command
        for kind in ("readers", "writers", "widgets", "sample_data")
        for item in getattr(contributions, kind) or ()
        if getattr(item, "command", None)
    }
    used |= {
        item.command
        for menu in (contributions.menus or {}).values()
        for item in menu
        if getattr(item, "command", None)
    }
    assert {command.id for command in contributions.commands} == used


def test_every_submenu_is_declared_shown_and_filled(manifest):
    menus = manifest.contributions.menus or {}
    shown = {
        item.submenu
        for menu in menus.values()
        for item in menu
        if getattr(item, "submenu", None)
    }
    declared = {submenu.id for submenu in manifest.contributions.submenus or ()}
    filled = {menu for menu in menus if not menu.startswith("napari/")}
    assert shown == declared == filled
