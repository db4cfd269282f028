"""Take the pictures of the documentation: the widget at work in a real viewer.

On a machine without a display::

    xvfb-run -a -s "-screen 0 1400x900x24 +extension GLX" python scripts/screenshots.py

The image is a part of scikit-image's stained tissue, with noise added; original and
result stand side by side.  Says how long the window was ever unable to answer.
"""

import argparse
import time
from pathlib import Path

import napari
import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from skimage import data

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
SIDE = 256
NOISE = 25


class Heartbeat:
    """Measures how long the interface is ever kept from answering.

    Attributes
    ----------
    stalls : list of float
        Seconds between beats, less the interval of the timer.
    """

    INTERVAL = 0.01

    def __init__(self) -> None:
        self.stalls: list[float] = []
        self.last = time.perf_counter()
        self.timer = QTimer()
        self.timer.timeout.connect(self.beat)
        self.timer.start(round(1000 * self.INTERVAL))

    def beat(self) -> None:
        """Note the time since the last beat."""
        now = time.perf_counter()
        self.stalls.append(max(0.0, now - self.last - self.INTERVAL))
        self.last = now

    def __str__(self) -> str:
        stalls = np.array(self.stalls) * 1000
        return (
            f"longest stall {stalls.max():.0f} ms, 99th percentile "
            f"{np.percentile(stalls, 99):.0f} ms, of {len(stalls)} beats"
        )


def spin(seconds: float = 0.0, until=None, limit: float = 600.0) -> None:
    """Run the event loop for some seconds, or until something is so."""
    end = time.monotonic() + (limit if until else seconds)
    while time.monotonic() < end and not (until and until()):
        QApplication.processEvents()
        time.sleep(0.002)


def noisy_image() -> np.ndarray:
    """Return a part of a micrograph with Gaussian noise, as 8-bit integers."""
    image = data.immunohistochemistry()[150 : 150 + SIDE, :SIDE].astype(np.float32)
    image += np.random.default_rng(0).normal(0, NOISE, image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def main() -> None:
    """Run a fit and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=IMAGES)
    parser.add_argument("--iterations", type=int, help="default: stop by itself")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1360, 620)
    viewer.add_image(noisy_image(), name="tissue", rgb=True)
    _, widget = viewer.window.add_plugin_dock_widget("napari-dip", "Denoise")
    if options.iterations:
        widget.fields.fields["iterations"].value = options.iterations
    viewer.canvas.grid.enabled = True
    spin(1)

    def picture(name: str) -> None:
        viewer.reset_view()
        spin(0.5)
        path = options.output / name
        viewer.screenshot(str(path), canvas_only=False, flash=False)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")

    controller = widget.controller
    share = []
    controller.reported.connect(lambda r: share.append(r.step / r.maximum))
    heart = Heartbeat()
    start = time.perf_counter()
    widget.run()
    spin(until=lambda: len(viewer.layers) > 1)
    print(f"first image after {time.perf_counter() - start:.1f} s: {heart}")
    before = len(heart.stalls)
    spin(until=lambda: share[-1] > 0.2 or controller.state == "idle")
    heart.timer.stop()  # taking a picture is no stall of the fit
    picture("denoise-running.png")
    heart.last = time.perf_counter()
    heart.timer.start()
    spin(until=lambda: controller.state == "idle")
    heart.timer.stop()
    heart.stalls = heart.stalls[before:]
    print(f"after that: {heart}")
    print(widget.panel.progress.text())
    picture("denoise-done.png")
    viewer.close()


if __name__ == "__main__":
    main()
