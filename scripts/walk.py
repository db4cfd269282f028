"""Walk through eleven tasks of a microscopist in a real viewer, and take pictures.

On a machine without a display::

    xvfb-run -a -s "-screen 0 1600x1200x24" python scripts/walk.py

Every step presses the buttons that a user would press.  The pictures are to be looked
at: for text that is cut off, the wrong layer or contrast, or no answer to a press.  The
script prints what the panels say, and ends with an error if a step went wrong.
"""

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import napari
import numpy as np
from qtpy.QtWidgets import QWidget
from screenshots import close, spin
from skimage import data
from superqt import QCollapsible

from napari_dip.widgets.psf import PsfWidget
from napari_dip.widgets.task import TaskWidget


class Walk:
    """A viewer with the panel of a task, and what a user does with them.

    Parameters
    ----------
    name : str
        Name of the step, with which the names of its pictures begin.
    output : Path
        Folder of the pictures.
    """

    def __init__(
        self, name: str, output: Path, size: tuple[int, int] = (1400, 950)
    ) -> None:
        self.name, self.output = name, output
        self.viewer = napari.Viewer(show=True)
        self.viewer.window._qt_window.resize(*size)

    def sample(self, key: str) -> None:
        """Open one of the samples."""
        self.viewer.open_sample("napari-dip", key)

    def panel(self, title: str) -> Any:
        """Open a panel with its defaults instead of the parameters of the last run."""
        _, widget = self.viewer.window.add_plugin_dock_widget("napari-dip", title)
        if hasattr(widget, "defaults_button"):
            widget.defaults_button.click()
            widget.about_section.collapse(animate=False)
        spin(1)
        return widget

    def picture(self, name: str) -> None:
        """Take a picture of the window."""
        spin(0.5)
        path = self.output / f"{self.name}-{name}.png"
        self.viewer.screenshot(str(path), canvas_only=False, flash=False)

    def tell(self, widget: TaskWidget | PsfWidget) -> None:
        """Print what a panel says."""
        panel: Any = getattr(widget, "panel", widget)
        said = [panel.progress.text()]
        if hasattr(panel, "estimate"):
            said.insert(0, panel.estimate.text())
        print(f"{self.name}: {' | '.join(said)}", flush=True)

    def foresee(self, widget: TaskWidget) -> None:
        """Wait until the time of every quality is told."""
        foresight = widget.foresight
        spin(0.5, until=lambda: not (foresight.asked or foresight.waits), limit=120)
        self.tell(widget)

    def run(self, widget: TaskWidget, part: float = 1.0) -> None:
        """Run until the end, or until a part of the iterations is done."""
        controller, start = widget.controller, time.perf_counter()
        widget.panel.run_button.click()
        assert controller.state != "idle", widget.panel.progress.text()
        bar = widget.panel.bar
        spin(until=lambda: controller.state == "idle" or bar.value() >= 1000 * part)
        if part < 1:
            return
        self.wait(widget)
        print(f"{self.name}: {time.perf_counter() - start:.1f} s")

    def wait(self, widget: TaskWidget) -> None:
        """Wait for the end of the fit."""
        spin(until=lambda: widget.controller.state == "idle")
        self.tell(widget)


def expand(widget: QWidget, title: str) -> None:
    """Unfold a section of a panel."""
    for section in widget.findChildren(QCollapsible):
        if section.text().startswith(title):
            section.expand(animate=False)


def dim_plane(walk: Walk) -> None:
    """Denoise a plane of few photons."""
    walk.sample("noisy_fluorescence")
    denoise = walk.panel("Denoise")
    walk.picture("opened")
    walk.foresee(denoise)
    walk.picture("foreseen")
    walk.run(denoise, 0.4)
    walk.picture("running")
    walk.wait(denoise)
    walk.picture("done")


def two_channels(walk: Walk) -> None:
    """Denoise two channels that are two layers, one after the other."""
    random = np.random.default_rng(0)
    cells = data.immunohistochemistry()[150:278, :128].astype(float)
    for name, colour, channel in (("nuclei", "magenta", 2), ("stain", "green", 0)):
        photons = (255 - cells[..., channel]) / 8
        walk.viewer.add_image(
            random.poisson(photons).astype(np.uint16),
            name=name,
            colormap=colour,
            blending="additive",
            scale=(0.2, 0.2),
            units=("um", "um"),
        )
    denoise = walk.panel("Denoise")
    walk.foresee(denoise)
    walk.run(denoise)
    walk.picture("first")
    denoise.inputs["image"].choose("nuclei")
    walk.run(denoise)
    walk.picture("both")


def stack(walk: Walk) -> None:
    """Denoise the plane in view of a stack, then stop while all of it is restored."""
    walk.sample("time_series")
    walk.viewer.dims.set_current_step(0, 5)
    denoise = walk.panel("Denoise")
    denoise.planes.value = "the one shown"
    walk.foresee(denoise)
    walk.run(denoise)
    walk.picture("plane")
    denoise.planes.value = "all of them"
    walk.foresee(denoise)
    walk.picture("foreseen")
    walk.run(denoise, 0.3)
    walk.picture("running")
    denoise.panel.stop_button.click()
    walk.picture("stopping")
    walk.wait(denoise)
    walk.picture("stopped")


def microscope_psf(walk: Walk) -> None:
    """Deconvolve with a PSF that is computed from the microscope."""
    walk.sample("blurred_beads")
    walk.viewer.layers.remove("PSF")
    deconvolve = walk.panel("Deconvolve")
    spin(2)
    walk.picture("no-psf")
    deconvolve.inputs["psf"].make.native.click()
    spin(1)
    psf = walk.viewer.window._qt_window.findChild(PsfWidget).microscope
    psf.fields.fields["numerical_aperture"].value = 0.8
    psf.fields.fields["wavelength"].value = 520.0
    walk.picture("psf-panel")
    psf.run_button.click()
    spin(until=psf.run_button.isEnabled)
    walk.tell(psf)
    walk.picture("psf-made")
    deconvolve.parentWidget().raise_()
    deconvolve.quality.slider.setValue(0)
    walk.foresee(deconvolve)
    walk.picture("foreseen")
    walk.run(deconvolve)
    walk.picture("done")


def spoilt_plate(walk: Walk, rows: slice, columns: slice) -> None:
    """Open a photograph, a part of which is white, with pixels of 0.1 µm."""
    photo = data.camera()[100:260, 100:260].copy()
    photo[rows, columns] = 255
    walk.viewer.add_image(photo, name="plate", scale=(0.1, 0.1), units=("um", "um"))


def painted_mask(walk: Walk) -> None:
    """Fill what is painted over in a new mask."""
    spoilt_plate(walk, slice(60, 66), slice(20, 120))
    inpaint = walk.panel("Inpaint")
    spin(2)
    walk.picture("opened")
    inpaint.inputs["mask"].new.native.click()
    spin(2)
    walk.picture("new-mask")
    mask = walk.viewer.layers.selection.active
    mask.brush_size = 12
    for column in range(20, 124, 4):
        mask.paint((63, column), 1)
    walk.foresee(inpaint)
    walk.picture("painted")
    walk.run(inpaint)
    walk.picture("done")


def drawn_shapes(walk: Walk) -> None:
    """Fill the inside of shapes that are drawn in world coordinates."""
    spoilt_plate(walk, slice(60, 75), slice(80, 100))
    corners = np.array([[5.8, 7.8], [5.8, 10.2], [7.7, 10.2], [7.7, 7.8]])
    walk.viewer.add_shapes(
        [corners], name="dirt", units=("um", "um"), edge_width=0.1, face_color="orange"
    )
    inpaint = walk.panel("Inpaint")
    walk.foresee(inpaint)
    walk.picture("foreseen")
    walk.run(inpaint)
    walk.picture("done")


def more_pixels(walk: Walk) -> None:
    """Give a photograph four times the pixels along each side."""
    walk.sample("low_resolution_photo")
    enlarge = walk.panel("Super-resolve")
    enlarge.quality.slider.setValue(0)
    walk.foresee(enlarge)
    walk.run(enlarge)
    walk.viewer.camera.zoom *= 2.5
    walk.picture("done")


def jpeg(walk: Walk) -> None:
    """Remove the blocks of a JPEG."""
    walk.sample("jpeg_drawing")
    remove = walk.panel("Remove artifacts")
    remove.quality.slider.setValue(0)
    walk.foresee(remove)
    walk.run(remove)
    walk.picture("done")


def time_series(walk: Walk) -> None:
    """Denoise a time series with one network for all frames."""
    walk.sample("time_series")
    denoise = walk.panel("Denoise")
    expand(denoise, "Settings")
    denoise.fields.fields["share"].value = "yes"
    walk.foresee(denoise)
    walk.picture("settings")
    walk.run(denoise, 0.5)
    walk.picture("running")
    walk.wait(denoise)
    walk.viewer.dims.set_current_step(0, 8)
    walk.picture("done")


def looks_back(walk: Walk) -> None:
    """Stop a fit, go on, look at earlier images, keep one and compare."""
    walk.sample("noisy_fluorescence")
    denoise = walk.panel("Denoise")
    walk.foresee(denoise)
    walk.run(denoise, 0.3)
    denoise.panel.stop_button.click()
    walk.wait(denoise)
    walk.picture("stopped")
    denoise.scrubber.go_on_button.click()
    walk.wait(denoise)
    walk.picture("went-on")
    denoise.scrubber.slider.setValue(2)
    walk.picture("earlier")
    denoise.scrubber.keep_button.click()
    walk.picture("kept")
    expand(denoise, "Compare")
    for press in ("residual_button", "uncertainty_button"):
        getattr(denoise.comparison, press).click()
        spin(3)
        walk.picture(press.partition("_")[0])
    denoise.comparison.before_button.click()
    walk.picture("original")


def save_and_read(walk: Walk) -> None:
    """Save a result and read it back, with its scale, units and recipe."""
    walk.sample("noisy_fluorescence")
    denoise = walk.panel("Denoise")
    denoise.quality.slider.setValue(0)
    walk.run(denoise)
    result = denoise.controller.last.layer
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("ome.tif", "ome.zarr"):
            path = str(Path(folder) / f"result.{ending}")
            assert result.save(path, plugin="napari-dip")
            (again,) = walk.viewer.open(path, plugin="napari-dip")
            assert np.array_equal(again.data, result.data)
            assert np.allclose(again.scale, result.scale)
            assert again.units == result.units, again.units
            denoise.load_button.click()
            print(f"{walk.name}: {denoise.message.text()}")
    expand(denoise, "Script and recipe")
    walk.picture("read")


STEPS = {
    step.__name__: step
    for step in (
        dim_plane,
        two_channels,
        stack,
        microscope_psf,
        painted_mask,
        drawn_shapes,
        more_pixels,
        jpeg,
        time_series,
        looks_back,
        save_and_read,
    )
}


def main() -> None:
    """Walk through the steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("steps", nargs="*", choices=[*STEPS, []], default=[])
    parser.add_argument("--output", type=Path, default=Path("walk"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    wrong = []
    for name in options.steps or STEPS:
        walk = Walk(name, options.output)
        try:
            STEPS[name](walk)
        except Exception:  # noqa: BLE001  # the other steps are walked, too
            traceback.print_exc()
            wrong.append(name)
        close(walk.viewer)
    if wrong:
        sys.exit(f"went wrong: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
