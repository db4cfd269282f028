"""Richardson-Lucy deconvolution: multiplicative, so that nothing becomes negative."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from napari_dip.prior import interrupt
from napari_dip.prior.convolution import Convolution
from napari_dip.prior.layers import corner
from napari_dip.prior.operators import per_channel

PROBED = 0.1
"""Noise that is added to find derivatives, over that of the measurement."""

MARGIN = 0.02
"""Part of the noise by which the error has to fall, unless gradients get sparser."""

PATIENCE = 20
"""Iterations in which the error of a channel has to fall below the lowest so far."""

SEEN = 1e-2
"""Part of the light of a pixel that has to be in the measurement, since steps are
divided by it; other pixels keep their values."""


class Iteration:
    """One iteration, ``x <- x / A^T(w) * A^T(w y / A(x))``.

    Richardson (1972), Lucy (1974), with the weights w of Bertero and Boccacci (2005)
    for pixels beyond the border, which are only partly seen, and for missing ones,
    where they are 0.  Negative values of the measurement y count as zero.
    """

    def __init__(self, blur: Convolution, measurement: Tensor, weight: Tensor) -> None:
        self.blur, self.weight = blur, weight
        self.y = measurement.clamp(min=0) * weight
        self.axes = tuple(range(2, measurement.ndim))
        self.level = self.y.sum(self.axes, keepdim=True) / weight.sum()
        self.tiny = 1e-6 * self.level + 1e-12
        seen = blur.adjoint(weight)
        self.enough = seen > SEEN
        self.seen = seen.clamp(min=SEEN)

    def start(self, estimate: Tensor | None = None) -> Tensor:
        """Return an estimate without zeros, which would stay zero, or a constant."""
        if estimate is not None:
            return torch.maximum(estimate, 1e-3 * self.level)
        constant = torch.maximum(self.level, self.tiny)
        return constant.expand(1, self.y.shape[1], *self.blur.canvas).clone()

    def __call__(self, x: Tensor, blurred: Tensor) -> Tensor:
        """Return the next estimate from the present one and what it blurs to."""
        ratio = self.y / torch.maximum(blurred, self.tiny)
        better = x * self.blur.adjoint(ratio).clamp(min=0) / self.seen
        return torch.where(self.enough, better, x)

    def keep(self, going: Tensor, better: Tensor, x: Tensor) -> Tensor:
        """Return the better image in the channels that go on, else the other."""
        if bool(going.all()):
            return better
        return torch.where(per_channel(going, x), better, x)


def richardson_lucy(
    blur: Convolution,
    measurement: Tensor,
    weight: Tensor,
    iterations: int,
    variance: Sequence[float] = (),
    first_estimate: Tensor | None = None,
) -> Tensor:
    """Return the Richardson-Lucy estimate on the canvas, non-negative.

    A channel is complete once its mean of ``(A(x) - y)^2`` is no more than the variance
    of its noise (Morozov's discrepancy principle).

    Parameters
    ----------
    blur : Convolution
        The blur A.
    measurement : Tensor
        y, (1, C, *sides); negative values count as zero.
    weight : Tensor
        Of y, (1, 1, *sides); missing values have the weight 0.
    iterations : int
        At most so many.
    variance : sequence of float
        Of the noise of every channel; where it is empty all iterations are done.
    first_estimate : Tensor, optional
        (1, C, *canvas), not negative; a constant image where there is none.

    Returns
    -------
    Tensor
        The estimate, (1, C, *canvas), not negative.

    Notes
    -----
    Richardson, Bayesian-based iterative method of image restoration (1972); Lucy, An
    iterative technique for the rectification of observed distributions (1974); for the
    weights Bertero and Boccacci, A simple method for the reduction of boundary effects
    in the Richardson-Lucy approach (2005).  See `Iteration`.
    """
    iterate = Iteration(blur, measurement, weight)
    x = iterate.start(first_estimate)
    levels = list(variance) or [0.0] * measurement.shape[1]
    allowed = measurement.new_tensor(levels) * weight.sum()
    for _ in range(iterations):
        interrupt.check()
        blurred = blur(x)
        residual = (weight * (blurred - iterate.y)).square().sum(iterate.axes)[0]
        going = residual > allowed
        if not bool(going.any()):
            break
        x = iterate.keep(going, iterate(x, blurred), x)
    return x


def least_risk(
    blur: Convolution,
    measurement: Tensor,
    weight: Tensor,
    variance: Tensor,
    iterations: int,
    first_estimate: Tensor | None = None,
) -> Tensor:
    """Return the Richardson-Lucy estimate that fits the blurred truth best.

    The iterations are accelerated (Biggs, Andrews, Acceleration of iterative image
    restoration algorithms, Applied Optics 36, 1997): each begins beyond the last
    estimate, in the direction of its change.

    Of every channel that estimate is taken whose error, blurred, against the blurred
    truth is the least.  Up to a constant it is the mean of ``(A x - y)^2 + 2 v d(A
    x)/dy``, v being the variance of the noise (Stein's unbiased estimate); the
    derivatives are found by a second measurement, to which a little noise is added
    (Ramani, Blu, Unser, Monte-Carlo SURE, IEEE TIP 17, 2008).  What a first estimate
    has taken from the noise is not counted.

    With a wrong PSF the error goes on to fall, slowly, while the image is spoilt, and
    so it does when noise becomes a field of sparse points.  So it has to fall by a part
    of the noise.  Any amount is enough only where gradients are sparser than ever since
    the first estimate, as those of spots on a dark ground become.

    Parameters
    ----------
    blur : Convolution
        The blur A.
    measurement : Tensor
        y, (1, C, *sides).
    weight : Tensor
        Of y, (1, 1, *sides); missing values have the weight 0.
    variance : Tensor
        Of the noise of y, (1, C, *sides).
    iterations : int
        At most so many.
    first_estimate : Tensor, optional
        (1, C, *canvas), not negative; a constant image where there is none.

    Returns
    -------
    Tensor
        The estimate, (1, C, *canvas), not negative.
    """
    channels = measurement.shape[1]
    random = torch.Generator().manual_seed(0)
    signs = torch.randn(measurement.shape, generator=random).sign()
    probe = variance.sqrt() * signs.to(variance.device)
    pair = torch.cat([measurement, measurement + PROBED * probe], 1)
    iterate = Iteration(blur, pair, weight)
    twice = None if first_estimate is None else torch.cat([first_estimate] * 2, 1)
    here = ahead = iterate.start(twice)
    best = here[:, :channels]
    change = torch.zeros_like(here)
    total = (weight * variance).sum(iterate.axes)[0]
    least = measurement.new_full((channels,), float("inf"))
    # Gradients of the first images after a constant one say nothing.
    sparsest = least if first_estimate is not None else torch.zeros_like(least)
    waited = torch.zeros_like(least)
    for _ in range(iterations):
        interrupt.check()
        blurred = blur(ahead)
        given, probed = blurred.split(channels, 1)
        error = (given - measurement).square() + 2 / PROBED * probe * (probed - given)
        risk = (weight * error).sum(iterate.axes)[0]
        density = gradient_density(blur, ahead[:, :channels], weight)
        enough = least - torch.where(density < sparsest, 0, MARGIN * total)
        sparsest = sparsest.minimum(density)
        going = waited <= PATIENCE
        better = going & (risk < enough)
        best = iterate.keep(better, ahead[:, :channels], best)
        waited = torch.where(better, 0, waited + 1)
        least = torch.where(better, risk, least)
        if not bool(going.any()):
            break
        here, before = iterate(ahead, blurred), here
        last, change = change, here - ahead
        forward = (change * last).sum(iterate.axes, keepdim=True)
        length = forward / last.square().sum(iterate.axes, keepdim=True).clamp(1e-30)
        ahead = here + length.clamp(0, 1) * (here - before)
        ahead = torch.maximum(ahead, iterate.tiny)
    return best


def gradient_density(blur: Convolution, estimate: Tensor, weight: Tensor) -> Tensor:
    """Return the mean over the root-mean-square gradient of every channel, (C,).

    Low values are sparse: few pixels have all of the gradient.  The estimate is on the
    canvas of the blur; pixels of the weight 0, and those beyond it, do not count.
    """
    image = estimate[blur.crop]
    inside = corner([n - 1 for n in image.shape[2:]])
    steps = [torch.diff(image, dim=axis)[inside] for axis in range(2, image.ndim)]
    squared = torch.stack(steps).square().sum(0).flatten(2)
    known = (weight[inside] > 0).flatten(2)
    total = known.sum(2).clamp(min=1)
    mean, power = ((v * known).sum(2) / total for v in (squared.sqrt(), squared))
    return (mean / power.clamp(min=1e-30).sqrt())[0]
