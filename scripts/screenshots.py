"""Take the pictures of the documentation: the widgets at work in a real viewer.

On a machine without a display::

    xvfb-run -a -s "-screen 0 1500x1000x24 +extension GLX" python scripts/screenshots.py

Every task is shown once its fit has ended, denoising also while it runs.  The images
are parts of those that scikit-image brings, spoilt on purpose.  Says how long the
window was ever unable to answer.
"""

import argparse
import time
from pathlib import Path

import napari
import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from scipy import ndimage
from skimage import data
from superqt import QCollapsible

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
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

    def stop(self) -> None:
        """Rest: what comes is no stall of the fit."""
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


def spin(seconds: float = 0.0, until=None, limit: float = 900.0) -> None:
    """Run the event loop for some seconds, or until something is so."""
    end = time.monotonic() + (limit if until else seconds)
    while time.monotonic() < end and not (until and until()):
        QApplication.processEvents()
        time.sleep(0.002)


# -- what is restored ---------------------------------------------------------------


def tissue(side: int) -> np.ndarray:
    """Return a part of a stained section, (Y, X, 3), as 8-bit integers."""
    return data.immunohistochemistry()[150 : 150 + side, :side]


def with_noise(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return an 8-bit image with Gaussian noise."""
    noise = np.random.default_rng(0).normal(0, sigma, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def scratches(shape: tuple[int, int]) -> list[np.ndarray]:
    """Return paths across an image."""
    y, x = shape
    return [
        np.array([[0.1 * y, 0], [0.3 * y, 0.4 * x], [0.25 * y, x]]),
        np.array([[y, 0.2 * x], [0.5 * y, 0.55 * x], [0.7 * y, 0.9 * x]]),
    ]


def jpeg(image: np.ndarray, folder: Path) -> Path:
    """Write an image as a poor JPEG."""
    from PIL import Image

    path = folder / "poor.jpg"
    Image.fromarray(image).save(path, quality=10)
    return path


def open_denoise(viewer, side, folder):
    """Show a noisy section."""
    viewer.add_image(with_noise(tissue(side), NOISE), name="tissue", rgb=True)


def open_super_resolve(viewer, side, folder):
    """Show a small part of a photograph, with a scale."""
    small = data.astronaut()[30 : 30 + side // 3, 160 : 160 + side // 3]
    viewer.add_image(small, name="face", rgb=True, scale=(2, 2))


def open_inpaint(viewer, side, folder):
    """Show a section with scratches drawn as shapes."""
    image = tissue(side).copy()
    viewer.add_image(image, name="tissue", rgb=True)
    viewer.add_shapes(
        scratches(image.shape[:2]),
        shape_type="path",
        edge_width=5,
        edge_color="white",
        name="scratches",
    )


def open_remove_artifacts(viewer, side, folder):
    """Open a poor JPEG."""
    viewer.open(str(jpeg(data.astronaut()[:side, 100 : 100 + side], folder)))


def open_enhance(viewer, side, folder):
    """Show the moon, which has little contrast."""
    viewer.add_image(data.moon()[100 : 100 + side, 100 : 100 + side], name="moon")


def open_denoise_guided(viewer, side, folder):
    """Show a noisy channel and a clean one of the same cells."""
    cells = data.cells3d()[30, :, :side, :side].astype(np.float32)
    nuclei, membranes = cells[1], cells[0]
    noise = np.random.default_rng(0).normal(0, 0.1 * nuclei.max(), nuclei.shape)
    viewer.add_image(membranes, name="membranes", colormap="green", visible=False)
    noisy = (nuclei + noise).astype(np.float32)
    viewer.add_image(noisy, name="nuclei", colormap="magma")


def open_deconvolve(viewer, side, folder):
    """Show blurred cells and the point spread function."""
    cells = data.human_mitosis()[:side, :side].astype(np.float32)
    psf = np.zeros((15, 15), np.float32)
    psf[7, 7] = 1
    psf = ndimage.gaussian_filter(psf, 2)
    blurred = ndimage.gaussian_filter(cells, 2)
    blurred += np.random.default_rng(0).normal(0, 1, cells.shape)
    viewer.add_image(psf, name="psf", visible=False)
    viewer.add_image(blurred.astype(np.float32), name="cells")


SCENES = {
    "denoise": ("Denoise", open_denoise),
    "super_resolve": ("Super-resolve", open_super_resolve),
    "inpaint": ("Inpaint", open_inpaint),
    "remove_artifacts": ("Remove artifacts", open_remove_artifacts),
    "enhance": ("Enhance", open_enhance),
    "denoise_guided": ("Guided denoise", open_denoise_guided),
    "deconvolve": ("Deconvolve", open_deconvolve),
}


# -- the pictures -------------------------------------------------------------------


def take(task: str, options) -> None:
    """Run one task in a viewer of its own and take its pictures."""
    title, opened = SCENES[task]
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1400, 900)
    opened(viewer, options.side, options.output)
    _, widget = viewer.window.add_plugin_dock_widget("napari-dip", title)
    for name in ("psf", "guide"):
        if name in widget.inputs:
            widget.inputs[name].choose({"psf": "psf", "guide": "membranes"}[name])
    if options.iterations:
        widget.fields.fields["iterations"].value = options.iterations
    widget.about_section.collapse(animate=False)
    spin(2)  # torch is imported, and the memory reckoned

    def picture(name: str) -> None:
        viewer.reset_view()
        spin(0.5)
        path = options.output / f"{name}.png"
        viewer.screenshot(str(path), canvas_only=False, flash=False)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")

    controller = widget.controller
    share = [0.0]
    controller.reported.connect(lambda r: share.append(r.step / r.maximum))
    spin(until=lambda: bool(widget.panel.estimate.text()), limit=20)
    heart = Heartbeat()
    start = time.perf_counter()
    count = len(viewer.layers)
    widget.run()
    spin(until=lambda: len(viewer.layers) > count or controller.state == "idle")
    print(f"{task}: first image after {time.perf_counter() - start:.1f} s: {heart}")
    if task == "denoise":
        heart.stop()
        viewer.canvas.grid.enabled = True
        spin(0.5)
        heart.go_on()
        spin(until=lambda: share[-1] > 0.2 or controller.state == "idle")
        heart.stop()
        picture(f"{task}-running")
        heart.go_on()
    spin(until=lambda: controller.state == "idle")
    heart.stop()
    print(f"{task}: {heart}\n  {widget.panel.progress.text()}")
    if task == "denoise":
        widget.comparison.residual_button.click()
        for section in widget.findChildren(QCollapsible):
            if section.text() in ("Compare", "Script and recipe"):
                section.expand(animate=False)
        spin(until=lambda: widget.comparison.reading.isVisible(), limit=20)
        spin(1)
    picture(f"{task}-done")
    viewer.close()


def main() -> None:
    """Run the tasks and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", choices=[*SCENES, []], default=[])
    parser.add_argument("--output", type=Path, default=IMAGES)
    parser.add_argument("--iterations", type=int, help="default: stop by itself")
    parser.add_argument("--side", type=int, default=256, help="of the images")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for task in options.tasks or SCENES:
        take(task, options)


if __name__ == "__main__":
    main()
