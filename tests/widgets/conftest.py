"""A viewer with the denoising widget docked, and no thread left behind."""

import gc
import importlib
import time
from functools import partial
from types import FunctionType

import napari
import numpy as np
import pytest
import torch
from napari._qt.qt_viewer import QtViewer
from napari._qt.threads.status_checker import StatusChecker
from napari.settings import get_settings
from napari.utils._proxies import PublicOnlyProxy
from napari.utils.events import EventEmitter
from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QApplication
from superqt.utils import WorkerBase

from napari_dip.prior import interrupt
from napari_dip.tasks import presets
from napari_dip.widgets import settings, turns, worker
from napari_dip.widgets.panels import DenoiseWidget

TABLES = presets.TABLES


@pytest.fixture(autouse=True)
def workers_end(qtbot, queue_is_left):
    """Wait for the threads of a test: napari's viewer fixture does not."""
    yield
    WorkerBase.await_workers(20_000)
    QApplication.processEvents()
    assert not WorkerBase._worker_set
    assert torch.get_num_threads() == 1  # more wait in spins, and every fit is slower


@pytest.fixture(autouse=True)
def own_settings(monkeypatch):
    """Keep what is remembered inside a test, and out of the user's settings."""
    monkeypatch.setattr(settings, "_stored", lambda: None)
    monkeypatch.setattr(settings, "_session", {})


@pytest.fixture(autouse=True)
def short(small_fits):
    """Keep fits short: the panels are judged here, not the images."""


@pytest.fixture
def own_presets(short, monkeypatch):
    """Fit with the presets of the tasks all the same."""
    monkeypatch.setattr(presets, "TABLES", TABLES)


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


def remember_signatures(patch):
    """Let napari inspect the signature of every function that it calls only once.

    It does so whenever a slot is connected or disconnected: a thousand times a layer.
    """
    inspect, known = EventEmitter._check_signature, {}

    def remembered(callback):
        function = getattr(callback, "__func__", callback)
        if isinstance(callback, EventEmitter):
            key = type(callback)
        elif isinstance(function, FunctionType) and not function.__dict__:
            key = function.__code__, function is callback
        else:
            return inspect(callback)  # it may have another signature than its code
        if key not in known:
            known[key] = inspect(callback)
        return known[key]

    patch.setattr(EventEmitter, "_check_signature", staticmethod(remembered))


def undress(window):
    """Remove what takes a third of the time of a test, and what no test looks at.

    That is the style sheet, which Qt applies to every part of every dock, and a filter
    that sees all events of Qt to show a menu bar that is hidden.
    """
    QApplication.instance().removeEventFilter(window._qt_window)
    for styled in (window._qt_window, window._qt_viewer):
        styled.setStyleSheet("")


@pytest.fixture(scope="session")
def shared_viewer(qapp):
    """Open the viewer of all tests that do not close it.

    To open and to close one takes longer than most tests.
    """
    with pytest.MonkeyPatch.context() as patch:
        remember_signatures(patch)
        patch.setattr(StatusChecker, "start", lambda self: None)
        get_settings().reset()
        viewer = napari.Viewer(show=False, show_welcome_screen=False)
        undress(viewer.window)
        # Or make_napari_viewer would take it for one that its test leaked.
        QtViewer._instances.clear()
        gc.collect()
        yield viewer
        gc.unfreeze()
        patch.setattr(
            viewer.window._qt_window, "_save_current_window_settings", lambda: None
        )
        viewer.close()


@pytest.fixture
def empty_viewer(shared_viewer):
    """Return the shared viewer; what a test puts into it goes when the test ends."""
    # napari looks for garbage whenever a layer is removed. Everything from before the
    # test, all modules and the viewer, is left out of that: it is many times faster.
    gc.freeze()
    yield shared_viewer
    window, layers = shared_viewer.window, shared_viewer.layers
    for widget in list(window.dock_widgets.values()):
        window.remove_dock_widget(widget)
        if hasattr(widget, "reset_choices"):
            layers.events.disconnect(widget.reset_choices)
        widget.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    layers.clear()
    get_settings().reset()


@pytest.fixture
def dock():
    """Return a function that puts an image and a widget into a viewer."""

    def dock_it(viewer, data=None, *, iterations=8, kind=DenoiseWidget, **layer):
        if data is not None:
            viewer.add_image(data, **{"name": "raw", **layer})
        widget = kind(viewer)
        viewer.window.add_dock_widget(widget, name="Denoise")
        for name, value in {"iterations": iterations, "precision": "float32"}.items():
            if name in widget.fields.fields:
                widget.fields.fields[name].value = value
        return viewer, widget

    return dock_it


@pytest.fixture
def open_widget(empty_viewer, dock, monkeypatch):
    """Return a function that opens an image and the widget, as napari's plugins do.

    They may use what is public in the viewer, and only from the main thread.
    """
    monkeypatch.setenv("NAPARI_ENSURE_PLUGIN_MAIN_THREAD", "True")
    return partial(dock, PublicOnlyProxy(empty_viewer))


@pytest.fixture
def open_own_viewer(make_napari_viewer_proxy, dock):
    """Return what `open_widget` does, in a viewer that the test may close."""
    return partial(dock, make_napari_viewer_proxy())


@pytest.fixture
def until(qtbot):
    """Return a function that runs the event loop until something is so."""

    def wait(condition, timeout=60):
        qtbot.waitUntil(condition, timeout=timeout * 1000)

    return wait


@pytest.fixture
def finish(until):
    """Return a function that runs a widget's fit to its end."""

    def run(widget):
        widget.panel.run_button.click()
        # A cancelled fit may take a moment to end, and this one waits for it.
        assert widget.controller.state in ("running", "waiting")
        until(lambda: widget.controller.state == "idle")

    return run


class Pace:
    """How long every iteration takes at least."""

    def __init__(self):
        self.seconds = 0.02

    def quicken(self):
        """Go on as fast as can be, and show few images, once a test has stepped in."""
        self.seconds = 0
        settings.put("preview_interval", 1.0)


@pytest.fixture
def slow(monkeypatch):
    """Make every iteration take a while, so that a test can step in."""
    from napari_dip.prior.loop import Run

    advance, pace = Run.advance, Pace()

    def slowly(self):
        time.sleep(pace.seconds)
        return advance(self)

    monkeypatch.setattr(Run, "advance", slowly)
    return pace


@pytest.fixture
def every_image(own_settings, monkeypatch):
    """Report every iteration; show, and so remember, an image at every report."""
    monkeypatch.setattr(worker, "REPORT_EVERY", 0.0)
    settings.put("preview_interval", 0.0)


@pytest.fixture
def endless_filters(monkeypatch):
    """Let the filters at the end of a denoising go on until they are stopped."""

    def endless(image):
        while True:
            interrupt.check()
            time.sleep(0.01)

    module = importlib.import_module("napari_dip.tasks.denoise")
    monkeypatch.setattr(
        module, "_steps", lambda *_, **__: ([lambda image: image], [endless])
    )


@pytest.fixture
def rng():
    """Return a generator of random numbers."""
    return np.random.default_rng(0)
