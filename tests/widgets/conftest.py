"""A viewer with the denoising widget docked, and no thread left behind."""

import time

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication
from superqt.utils import WorkerBase

from napari_dip.widgets import settings, turns
from napari_dip.widgets.denoise import DenoiseWidget


@pytest.fixture(autouse=True)
def workers_end(qtbot):
    """Wait for the threads of a test: napari's viewer fixture does not."""
    yield
    WorkerBase.await_workers(20_000)
    QApplication.processEvents()
    assert not WorkerBase._worker_set


@pytest.fixture(autouse=True)
def own_settings(monkeypatch):
    """Keep what is remembered inside a test, and out of the user's settings."""
    monkeypatch.setattr(settings, "_stored", lambda: None)
    monkeypatch.setattr(settings, "_session", {})


@pytest.fixture(autouse=True)
def queue_is_left():
    """Check that every fit gave up its turn."""
    yield
    assert not turns._queue


@pytest.fixture
def noisy():
    random = np.random.default_rng(0)
    image = np.zeros((32, 32), np.float32)
    image[8:24, 8:24] = 100
    return image + random.normal(0, 10, image.shape).astype(np.float32)


@pytest.fixture
def messages():
    """Collect napari's notifications as (severity, text)."""
    from napari.utils.notifications import notification_manager

    found = []

    def collect(notification):
        found.append((notification.severity.value, notification.message))

    notification_manager.notification_ready.connect(collect)
    yield found
    notification_manager.notification_ready.disconnect(collect)


@pytest.fixture
def open_widget(make_napari_viewer_proxy):
    """Return a function that opens a viewer with an image and the widget."""

    def open_it(data=None, *, iterations=8, kind=DenoiseWidget, **layer):
        viewer = make_napari_viewer_proxy()
        if data is not None:
            viewer.add_image(data, **{"name": "raw", **layer})
        widget = kind(viewer)
        viewer.window.add_dock_widget(widget, name="Denoise")
        for name, value in {"iterations": iterations, "precision": "float32"}.items():
            if name in widget.fields.fields:
                widget.fields.fields[name].value = value
        return viewer, widget

    return open_it


@pytest.fixture
def until(qtbot):
    """Return a function that runs the event loop until something is so."""

    def wait(condition, timeout=120):
        qtbot.waitUntil(condition, timeout=timeout * 1000)

    return wait


@pytest.fixture
def finish(until):
    """Return a function that runs a widget's fit to its end."""

    def run(widget):
        widget.panel.run_button.click()
        assert widget.controller.state == "running"
        until(lambda: widget.controller.state == "idle")

    return run


@pytest.fixture
def slow(monkeypatch):
    """Make every iteration take a while, so that a test can step in."""
    from napari_dip.prior.loop import Run

    advance = Run.advance

    def slowly(self):
        time.sleep(0.02)
        return advance(self)

    monkeypatch.setattr(Run, "advance", slowly)


@pytest.fixture
def every_image(own_settings):
    """Show, and so remember, an image at every report."""
    settings.put("preview_interval", 0.0)
