"""Noise impedance: how fast the prior takes up an image, and how slowly noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_dip.errors import DipError, InputError
from napari_dip.machine import deadline
from napari_dip.tasks.arrays import Float, Layout, as_array
from napari_dip.tasks.function import check_callback, overriding
from napari_dip.tasks.plane import prepare
from napari_dip.tasks.recipe import check, check_channel_axis
from napari_dip.tasks.running import with_usual_settings

if TYPE_CHECKING:
    from napari_dip.prior.architecture import Generates
    from napari_dip.prior.problem import Iterate, Prior, Settings

KINDS = ("natural", "natural + noise", "shuffled", "white noise")

FORMATS = ("csv", "png", "svg", "pdf")
"""Kinds of file that `Impedance.save` writes."""


@dataclass(frozen=True)
class Impedance:
    """Learning curves of four targets."""

    steps: NDArray[np.int64]
    """Iterations, (N,), from 1 to those of the longest fit."""
    curves: dict[str, NDArray[np.float64]]
    """For each of `KINDS` the mean squared error at every step, (N,), of an image
    scaled to [0, 1]; NaN after the end of a fit that was stopped."""
    targets: dict[str, Float] = field(repr=False)
    """For each of `KINDS` what was fitted, float32 in [0, 1], of the shape of the
    input."""
    images: dict[str, Float] = field(repr=False)
    """What the fit had become at the end, likewise."""

    def plot(self, axes: Any = None) -> Any:
        """Draw the curves over the logarithm of the iteration.

        Parameters
        ----------
        axes : matplotlib Axes, optional
            Where to draw; a new figure where not given.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        DipError
            If matplotlib is not installed.
        """
        if axes is None:
            axes = new_figure(figsize=(6, 4), layout="constrained").subplots()
        for kind, curve in self.curves.items():
            axes.plot(self.steps, curve, label=kind)
        axes.set(xscale="log", xlabel="iteration", ylabel="mean squared error")
        axes.set_ylim(bottom=0)
        axes.legend()
        return axes

    def save(self, path: str | Path, kind: str) -> None:
        """Write the curves to a file: as a table, or as a plot by matplotlib.

        Parameters
        ----------
        path : str or Path
            The file; its ending does not matter.
        kind : {"csv", "png", "svg", "pdf"}
            What to write.

        Raises
        ------
        InputError
            If the kind is another one; a ValueError.
        DipError
            If a plot is asked for and matplotlib is not installed.
        OSError
            If the file cannot be written.
        """
        check("kind", kind, choices=FORMATS)
        if kind != "csv":
            self.plot().figure.savefig(path, format=kind, dpi=150)
            return
        columns = [self.steps, *self.curves.values()]
        numbers = ["%d", *["%.8g"] * len(self.curves)]
        names = ",".join(["iteration", *self.curves])
        np.savetxt(
            path, np.column_stack(columns), numbers, ",", header=names, comments=""
        )


def new_figure(**options: Any) -> Any:
    """Return a figure of matplotlib, which is not a requirement of the package."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DipError("plots need matplotlib; pip install matplotlib") from error
    return Figure(**options)


def noise_impedance(
    image: ArrayLike,
    *,
    iterations: int = 1000,
    sigma: float = 25 / 255,
    channel_axis: int | Literal["auto"] | None = "auto",
    architecture: Generates | dict[str, Any] | None = None,
    learning_rate: float = 0.01,
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    callback: Callable[[str, Iterate], Any] | None = None,
) -> Impedance:
    """Compare how fast a network fits an image and three kinds of noise.

    First paper, section 2.1 and Fig. 4: the same network is fitted to the image, the
    image with noise, its pixels in random order, and white noise.  The image goes
    in long before the noise does, which is why stopping in time restores it.

    Parameters
    ----------
    image : array_like
        One image, (Y, X) or with channels, of any real dtype, scaled to [0, 1].
    iterations : int, default 1000
        Iterations of every fit.
    sigma : float, default 25/255
        Standard deviation of the noise that is added, in [0, 1] of the image.
    channel_axis : int, "auto" or None
        Axis of the channels; a last axis of 3 or 4 by itself.
    architecture : Generates or dict, optional
        Network; the hourglass of the paper where not given.
    learning_rate : float, default 0.01
        Learning rate of Adam, as in the paper.
    device : str, default "auto"
        auto, cpu, cuda, cuda:N or mps.
    precision : {"auto", "float32", "bfloat16"}
        As in every task.
    seed : int, default 0
        Seed of weights, noise and order.
    callback : callable, optional
        Called with the kind of target and the `Iterate`; returning True stops
        that fit.

    Returns
    -------
    Impedance
        Curves and images.

    Raises
    ------
    InputError
        If an argument is not acceptable.
    """
    check_callback(callback, "the kind of target", "an Iterate")
    iterations = check("iterations", iterations, int, low=1)
    sigma = check("sigma", sigma, float, low=0)
    learning_rate = check("learning_rate", learning_rate, float, low=0)
    seed = check("seed", seed, int, low=0, high=2**31 - 1)
    network = overriding(architecture).architecture
    from napari_dip.prior import stopping
    from napari_dip.prior.architecture import Architecture
    from napari_dip.prior.codes import Noise
    from napari_dip.prior.problem import Prior, Settings

    array = as_array(image, "image")
    layout = Layout.of(array, check_channel_axis(channel_axis), 2, "image")
    if layout.planes != 1:
        raise InputError(f"image must be a single one; got shape {array.shape}")
    plane = prepare(layout.take(array, next(layout.indices())), "image", unit=True)
    # No perturbation: the curves are those of one objective that does not change.
    prior = Prior(network or Architecture(), Noise(perturbation=0))
    settings = Settings(
        stopping.Iterations(iterations),
        optimizer="adam",
        learning_rate=learning_rate,
        check_every=1,
        ema_decay=0,
        device=device,
        precision=precision,
        seed=seed,
    )
    targets = _targets(plane.values, sigma, seed)
    curves, images, late = {}, {}, deadline()
    for kind, target in targets.items():
        losses, last = _curve(target, prior, settings, kind, callback, late)
        curves[kind], images[kind] = losses, layout.arrange(last)
    longest = max(map(len, curves.values()))
    padded = {  # with NaN, where a fit was stopped before the others
        kind: np.pad(curve, (0, longest - len(curve)), constant_values=np.nan)
        for kind, curve in curves.items()
    }
    return Impedance(
        np.arange(1, longest + 1),
        padded,
        {kind: layout.arrange(target) for kind, target in targets.items()},
        images,
    )


def _targets(image: Float, sigma: float, seed: int) -> dict[str, Float]:
    random = np.random.default_rng(seed)
    noisy = image + random.normal(0, sigma, image.shape)
    pixels = image.reshape(len(image), -1)
    shuffled = pixels[:, random.permutation(pixels.shape[1])].reshape(image.shape)
    white = random.uniform(0, 1, image.shape)
    targets = (image, np.clip(noisy, 0, 1), shuffled, white)
    return {
        kind: np.asarray(target, np.float32)
        for kind, target in zip(KINDS, targets, strict=True)
    }


def _curve(
    target: Float,
    prior: Prior,
    settings: Settings,
    kind: str,
    callback: Callable[[str, Iterate], Any] | None,
    late: Callable[[], float | None],
) -> tuple[NDArray[np.float64], Float]:
    import torch

    from napari_dip.prior.fit import fit, run_to_end
    from napari_dip.prior.problem import Problem

    problem = Problem(torch.from_numpy(target)[None])
    fitting = with_usual_settings(fit(problem, prior, settings))

    def watch(it: Iterate) -> bool:
        return bool(callback is not None and callback(kind, it)) or late() is not None

    done = run_to_end(fitting, watch)
    losses = np.array([entry["loss"] for entry in done.history])
    return losses, done.image[0].cpu().numpy()
