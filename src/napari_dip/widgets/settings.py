"""The settings of this plugin, which napari stores between sessions.

They are declared in the manifest and shown in napari's preferences.  If napari is too
old for that (before 0.9) or does not know the plugin, they last as long as the session.
"""

from __future__ import annotations

import json
from typing import Any

PLUGIN = "napari-dip"

_DEFAULTS: dict[str, Any] = {
    "preview_interval": 0.3,
    "trajectory_memory": 256,
    "last_used": "",
}
_session: dict[str, Any] = {}


def get(name: str) -> Any:
    """Return a setting."""
    stored = _stored()
    if stored is None:
        return _session.get(name, _DEFAULTS[name])
    return getattr(stored, name)


def put(name: str, value: Any) -> None:
    """Change a setting."""
    stored = _stored()
    if stored is None:
        _session[name] = value
    elif getattr(stored, name) != value:
        setattr(stored, name, value)


def last_used(task: str) -> dict[str, Any]:
    """Return the parameters of the last run of a task, {} if there was none."""
    values = _all_used().get(task, {})
    return values if isinstance(values, dict) else {}


def remember(task: str, values: dict[str, Any]) -> None:
    """Remember the parameters of a task."""
    put("last_used", json.dumps({**_all_used(), task: values}))


def _all_used() -> dict[str, Any]:
    try:
        values = json.loads(get("last_used") or "{}")
    except ValueError:  # edited by hand
        return {}
    return values if isinstance(values, dict) else {}


def _stored() -> Any:
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return None
    try:
        return get_plugin_settings(PLUGIN).widgets
    except KeyError:
        return None
