"""A hundred fits with live layers, while layers and panels come and go.

napari's own drawing has crashed once after several results had been added and taken
away during a fit.  A crash ends the process, so this runs in one of its own.
"""

import faulthandler
import random
import subprocess
import sys
import threading
from functools import partial
from itertools import cycle, islice

import numpy as np
import pytest

pytestmark = [pytest.mark.gui, pytest.mark.long]

FITS = 100

CLOSED = (2, 7)
"""Fits during which the panel is closed; in the second it is deleted, too."""

SECONDS = 1500
"""Time after which the process is taken to hang."""


@pytest.mark.timeout(SECONDS + 100)
def test_a_hundred_fits_do_not_crash_the_drawing():
    done = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == f"{FITS} fits, 0 layers from threads"


def kinds():
    """Return a function for every kind of layer, which adds one to a viewer."""
    noise = np.random.default_rng(0)

    def image(*shape):
        values = noise.normal(0, 10, shape)
        values[..., 8:24, 8:24] += 100
        return values.astype(np.float32)

    def coloured():
        colours = np.stack([image(32, 40)] * 3, axis=-1)
        return np.clip(colours / 150 + 0.2, 0, 1)

    limits = {"contrast_limits": (0, 120)}
    return [
        lambda viewer: viewer.add_image(image(32, 40), **limits),
        lambda viewer: viewer.add_image(coloured(), rgb=True),
        lambda viewer: viewer.add_image(image(3, 32, 40), **limits),
        lambda viewer: viewer.add_image(image(16, 32, 40), **limits),
        lambda viewer: viewer.add_image(image(2, 2, 32, 40), **limits),
        lambda viewer: viewer.add_image(
            [image(64, 64), image(32, 32)], multiscale=True, **limits
        ),
        lambda viewer: viewer.add_image(image(33, 35), scale=(0.1, 0.2), **limits),
        lambda viewer: viewer.add_image(
            (image(32, 40) + 50).clip(0, 255).astype(np.uint8), colormap="magma"
        ),
    ]


def main():
    """Run the fits in a viewer that draws."""
    import napari
    from qtpy.QtTest import QTest
    from superqt.utils import WorkerBase

    from napari_dip.widgets import settings
    from napari_dip.widgets.panels import DenoiseWidget, InpaintWidget

    faulthandler.enable()
    settings._stored = lambda: None
    settings.put("preview_interval", 0.0)
    chance = random.Random(0)
    viewer = napari.Viewer(show=True)
    strangers = []

    def check(event):
        if threading.current_thread() is not threading.main_thread():
            strangers.append(event)

    def watch(event):
        event.value.events.set_data.connect(check)

    viewer.layers.events.inserted.connect(watch)
    viewer.layers.events.inserted.connect(check)
    viewer.layers.events.removed.connect(check)

    def spin(until, limit=60_000):
        waited = 0
        while not until() and waited < limit:
            QTest.qWait(5)
            waited += 5
        assert until()

    for number, add in enumerate(islice(cycle(kinds()), FITS)):
        source = add(viewer)
        source.name = f"raw {number}"
        viewer.layers.selection = {source}
        masked = number % 3 == 2
        if masked:
            add_mask(viewer, source, painted=bool(number % 2))
            viewer.layers.selection = {source}
        widget = (InpaintWidget if masked else DenoiseWidget)(viewer)
        viewer.window.add_dock_widget(widget, name=f"panel {number}")
        widget.inputs["image"].choose(source.name)
        widget.fields.fields["iterations"].value = 8
        widget.fields.fields["precision"].value = "float32"
        if source.data.shape[:1] == (16,):
            widget.fields.fields["spatial_dims"].value = 3
        in_space = viewer.dims.ndim > 2 and number % 5 == 0
        viewer.dims.ndisplay = 3 if in_space else 2
        widget.run()
        controller = widget.controller
        assert controller.state != "idle", widget.panel.progress.text()
        spin(partial(shown_or_ended, viewer, controller, len(viewer.layers)))
        QTest.qWait(chance.randrange(60))
        disturb(number % 8, viewer, widget, source)
        spin(lambda: not WorkerBase._worker_set)
        if number % 8 not in CLOSED:
            viewer.window.remove_dock_widget(widget)
        if number % 4 == 3:
            viewer.layers.clear()
        viewer.screenshot(flash=False)
        sys.stdout.write(f"{number + 1} fits\n")
        sys.stdout.flush()
    sys.stdout.write(f"{FITS} fits, {len(strangers)} layers from threads\n")
    viewer.close()


def add_mask(viewer, source, *, painted):
    """Add a mask over the last two axes of an image."""
    scale = source.scale[-2:]
    if painted:
        data = source.data[0] if source.multiscale else source.data
        mask = np.zeros(data.shape[: source.ndim][-2:], np.uint8)
        mask[10:14, 10:14] = 1
        viewer.add_labels(mask, scale=scale)
    else:
        corners = np.array([[10, 10], [10, 14], [14, 14], [14, 10]])
        viewer.add_shapes([corners * scale])


def shown_or_ended(viewer, controller, before):
    """Whether a fit shows something, or has ended."""
    return len(viewer.layers) > before or controller.state == "idle"


def disturb(way, viewer, widget, source):
    """Do to a fit what a user may do."""
    if way == 1:
        viewer.layers.remove(viewer.layers[-1])
    elif way == 3:
        viewer.layers.remove(source)
    elif way == 4:
        widget.panel.stop_button.click()
    elif way == 5:
        widget.panel.cancel_button.click()
    elif way == 6:
        viewer.canvas.grid.enabled = not viewer.canvas.grid.enabled
        widget.scrubber.slider.setValue(0)
    elif way in CLOSED:
        viewer.window.remove_dock_widget(widget)
        if way == 7:
            widget.deleteLater()


if __name__ == "__main__":
    main()
