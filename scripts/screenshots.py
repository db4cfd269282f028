"""Take the pictures of the documentation: the widgets at work in a real viewer.

On a machine without a display::

    xvfb-run -a -s "-screen 0 1500x1000x24 +extension GLX" python scripts/screenshots.py

There is a picture of every task after its fit, and of denoising also while it runs.
The images are the plugin's samples and some of scikit-image.  The script prints how
long the window did not answer.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from qtpy.QtCore import QThreadPool, QTimer
from qtpy.QtWidgets import QApplication
from skimage import data
from superqt import QCollapsible

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
NOISE = 25


class Heartbeat:
    """A timer that measures how long the interface does not answer.

    Attributes
    ----------
    stalls : list of float
        Seconds between beats, minus the interval of the timer.
    """

    INTERVAL = 0.01

    def __init__(self) -> None:
        self.stalls: list[float] = []
        self.last = time.perf_counter()
        self.timer = QTimer()
        self.timer.timeout.connect(self.beat)
        self.timer.start(round(1000 * self.INTERVAL))

    def beat(self) -> None:
        """Store the time since the last beat."""
        now = time.perf_counter()
        self.stalls.append(max(0.0, now - self.last - self.INTERVAL))
        self.last = now

    def stop(self) -> None:
        """Stop measuring."""
        self.timer.stop()

    def go_on(self) -> None:
        """Measure again."""
        self.last = time.perf_counter()
        self.timer.start()

    def __str__(self) -> str:
        stalls = np.array(self.stalls) * 1000
        return (
            f"longest stall {stalls.max():.0f} ms, 99th percentile "
            f"{np.percentile(stalls, 99):.0f} ms, of {len(stalls)} beats"
        )


def spin(
    seconds: float = 0.0,
    until: Callable[[], bool] | None = None,
    limit: float = 900.0,
) -> None:
    """Run the event loop for some seconds, or until a condition holds."""
    end = time.monotonic() + (limit if until else seconds)
    while time.monotonic() < end and not (until and until()):
        QApplication.processEvents()
        time.sleep(0.002)


# -- what is restored ---------------------------------------------------------------


def tissue(side: int) -> np.ndarray:
    """Return a part of a stained section, (Y, X, 3), as 8-bit integers."""
    return np.asarray(data.immunohistochemistry()[150 : 150 + side, :side])


def with_noise(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return an 8-bit image with Gaussian noise."""
    noise = np.random.default_rng(0).normal(0, sigma, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def open_denoise(viewer: napari.Viewer, side: int) -> None:
    """Show a noisy section."""
    viewer.add_image(with_noise(tissue(side), NOISE), name="tissue", rgb=True)


def open_enhance(viewer: napari.Viewer, side: int) -> None:
    """Show the moon, which has little contrast."""
    viewer.add_image(data.moon()[100 : 100 + side, 100 : 100 + side], name="moon")


OPENED = {"denoise": open_denoise, "enhance": open_enhance}

SAMPLES = {
    "super_resolve": "low_resolution_photo",
    "inpaint": "scratched_photo",
    "remove_artifacts": "jpeg_drawing",
    "denoise_guided": "dim_and_bright",
    "deconvolve": "blurred_beads",
    "blend": "blend_pair",
}
"""Key of the plugin's sample for each task."""

TITLES = {
    "denoise": "Denoise",
    "super_resolve": "Super-resolve",
    "inpaint": "Inpaint",
    "remove_artifacts": "Remove artifacts",
    "enhance": "Enhance",
    "denoise_guided": "Guided denoise",
    "deconvolve": "Deconvolve",
    "blend": "Blend",
    "sample_prior": "Sample the prior",
}

OTHERS = {
    "psf": "PSF",
    "guide": "Coffee, flash",
    "foreground": "Rocket (foreground)",
    "background": "Galaxies (background)",
}
"""Layers of the arrays beside the image."""


# -- the pictures -------------------------------------------------------------------


def take(task: str, options: argparse.Namespace) -> None:
    """Run one task in a new viewer and take its pictures."""
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1400, 900)
    if task in SAMPLES:
        viewer.open_sample("napari-dip", SAMPLES[task])
    elif task in OPENED:
        OPENED[task](viewer, options.side)
    _, widget = viewer.window.add_plugin_dock_widget("napari-dip", TITLES[task])
    for name, layer in OTHERS.items():
        if name in widget.inputs:
            widget.inputs[name].choose(layer)
    widget.defaults_button.click()  # instead of the parameters of the last run
    if options.iterations and "iterations" in widget.fields.fields:
        widget.fields.fields["iterations"].value = options.iterations
    widget.about_section.collapse(animate=False)
    spin(2)  # torch is imported, and the memory estimated

    def picture(name: str) -> None:
        viewer.reset_view()
        spin(0.5)
        path = options.output / f"{name}.png"
        viewer.screenshot(str(path), canvas_only=False, flash=False)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")

    if task == "sample_prior":  # nothing is fitted
        widget.run()
        spin(until=widget.run_button.isEnabled)
        picture(f"{task}-done")
        close(viewer)
        return
    controller = widget.controller
    share = [0.0]
    controller.reported.connect(lambda report: share.append(report.done))
    labels = widget.quality.labels.values()

    def timed() -> bool:
        return all("\n" in label.text() for label in labels)

    spin(until=timed, limit=180)
    heart = Heartbeat()
    start = time.perf_counter()
    count = len(viewer.layers)
    widget.run()
    assert controller.state != "idle", widget.panel.progress.text()
    spin(until=lambda: len(viewer.layers) > count or controller.state == "idle")
    print(f"{task}: first image after {time.perf_counter() - start:.1f} s: {heart}")
    if task == "denoise":
        heart.stop()
        viewer.canvas.grid.enabled = True
        spin(0.5)
        heart.go_on()
        spin(until=lambda: share[-1] > 0.9 or controller.state == "idle")
        heart.stop()
        picture(f"{task}-running")
        heart.go_on()
    spin(until=lambda: controller.state == "idle")
    assert controller.state == "idle", f"{task} is still being fitted"
    heart.stop()
    print(f"{task}: {heart}\n  {widget.panel.progress.text()}")
    if task == "denoise":
        widget.comparison.residual_button.click()
        for section in widget.findChildren(QCollapsible):
            if section.text() in ("Compare", "Script and recipe"):
                section.expand(animate=False)
        spin(until=lambda: widget.comparison.reading.isVisible(), limit=20)
        spin(1)
    spin(until=timed, limit=60)
    picture(f"{task}-done")
    close(viewer)


def close(viewer: napari.Viewer) -> None:
    """Close a viewer and wait for its threads."""
    viewer.close()
    pool = QThreadPool.globalInstance()
    assert pool is not None
    pool.waitForDone()


def main() -> None:
    """Run the tasks and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", choices=[*TITLES, []], default=[])
    parser.add_argument("--output", type=Path, default=IMAGES)
    parser.add_argument("--iterations", type=int, help="default: stop by itself")
    parser.add_argument("--side", type=int, default=160, help="of the images")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for task in options.tasks or TITLES:
        take(task, options)


if __name__ == "__main__":
    main()
