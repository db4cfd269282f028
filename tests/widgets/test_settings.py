"""What is remembered, in napari's own settings of plugins."""

import pytest
from npe2 import PluginManifest

from napari_dip.widgets import settings


@pytest.fixture
def own_settings():
    """Let the settings be real here: the folder is the test's."""


@pytest.fixture
def registered(plugin_settings, npe2pm, root):
    npe2pm.register(PluginManifest.from_file(root / "napari.yaml"))


def test_settings_live_in_naparis_file(registered, tmp_path):
    assert settings.get("preview_interval") == 0.3
    settings.remember("denoise", {"iterations": 7})
    settings.remember("inpaint", {"iterations": 9})
    settings.put("preview_interval", 1.5)
    text = (tmp_path / "napari-dip.yaml").read_text()
    assert "preview_interval: 1.5" in text
    assert settings.last_used("denoise") == {"iterations": 7}
    assert settings.last_used("inpaint") == {"iterations": 9}
    assert settings.last_used("enhance") == {}


def test_defaults_are_those_of_the_manifest(registered):
    from napari.settings import get_plugin_settings

    stored = get_plugin_settings(settings.PLUGIN).widgets
    assert {name: getattr(stored, name) for name in settings._DEFAULTS} == (
        settings._DEFAULTS
    )


@pytest.mark.parametrize("text", ["no json", "[1]", '{"denoise": 3}'])
def test_what_was_edited_by_hand_does_no_harm(registered, text):
    settings.put("last_used", text)
    assert settings.last_used("denoise") == {}
    settings.remember("denoise", {"seed": 1})
    assert settings.last_used("denoise") == {"seed": 1}


def test_where_napari_does_not_know_the_plugin_they_last_for_the_session(
    plugin_settings, monkeypatch
):
    monkeypatch.setattr(settings, "_session", {})
    settings.remember("denoise", {"seed": 4})
    assert settings.last_used("denoise") == {"seed": 4}
    assert settings.get("trajectory_memory") == 256
