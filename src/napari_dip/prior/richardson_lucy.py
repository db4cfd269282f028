"""Richardson-Lucy deconvolution: multiplicative, so that nothing becomes negative."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from napari_dip.prior import interrupt
from napari_dip.prior.convolution import Convolution
from napari_dip.prior.layers import corner

SPARSE = 0.8
"""Density of the gradients below which an image is sharpened further.

Independent Gaussian gradients have about 0.9, and so has the noise that iterations
amplify: nothing could tell it from such a texture.
"""

PROBED = 0.1
"""Noise that is added to find derivatives, over that of the measurement."""

PATIENCE = 20
"""Iterations in which the error has to fall below the lowest so far."""


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
        # Pixels that hardly blur into the measurement keep their values.
        self.enough = seen > 1e-2
        self.seen = seen.clamp(min=1e-2)

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
        return torch.where(going.reshape(1, -1, *[1] * len(self.axes)), better, x)


def richardson_lucy(
    blur: Convolution,
    measurement: Tensor,
    weight: Tensor,
    iterations: int,
    variance: Sequence[float] = (),
    first_estimate: Tensor | None = None,
) -> Tensor:
    """Return the Richardson-Lucy estimate on the canvas, non-negative.

    There are at most so many iterations: a channel is complete once its mean of ``(A(x)
    - y)^2`` is no more than the variance of its noise (Morozov's discrepancy
    principle).  Without a first estimate they begin with a constant image.
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


def sharpened_while_sparser(
    blur: Convolution,
    measurement: Tensor,
    weight: Tensor,
    variance: Tensor,
    iterations: int,
    estimate: Tensor,
) -> Tensor:
    """Continue Richardson-Lucy as long as the gradients of a channel become sparser.

    The iterations are accelerated (Biggs, Andrews, Acceleration of iterative image
    restoration algorithms, Applied Optics 36, 1997): each begins beyond the last
    estimate, in the direction of the last change.  Spots on a dark ground become
    sharper for long.  Noise and ringing make gradients less sparse, and in most images
    from the first iteration on.

    Where the noise becomes a field of sparse points, gradients cannot tell.  So the
    error of the blurred estimate against the blurred truth has to fall as well.  Up to
    a constant it is the mean of ``(A x - y)^2 + 2 v d(A x)/dy``, v being the variance
    of the noise; the derivatives are found by a second measurement, to which a little
    noise is added (Ramani, Blu, Unser, Monte-Carlo SURE, IEEE TIP 17, 2008).

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
    estimate : Tensor
        The first estimate, (1, C, *canvas), not negative.

    Returns
    -------
    Tensor
        The estimate with the sparsest gradients, of the shape of `estimate`.
    """
    channels = measurement.shape[1]
    random = torch.Generator().manual_seed(0)
    signs = torch.randn(measurement.shape, generator=random).sign()
    probe = variance.sqrt() * signs.to(variance.device)
    pair = torch.cat([measurement, measurement + PROBED * probe], 1)
    iterate = Iteration(blur, pair, weight)
    here = ahead = iterate.start(torch.cat([estimate, estimate], 1))
    best = here[:, :channels]
    density = gradient_density(best[blur.crop], weight)
    going = density < SPARSE
    least = torch.full_like(density, float("inf"))
    waited = torch.zeros_like(density)
    change = torch.zeros_like(here)
    for _ in range(iterations):
        interrupt.check()
        blurred = blur(ahead)
        given, probed = blurred.split(channels, 1)
        error = (given - measurement).square() + 2 / PROBED * probe * (probed - given)
        risk = (weight * error).sum(iterate.axes)[0]
        here, before = iterate(ahead, blurred), here
        now = gradient_density(here[:, :channels][blur.crop], weight)
        better = risk < least
        waited = torch.where(better, 0, waited + 1)
        going = going & (now < density) & (waited <= PATIENCE)
        if not bool(going.any()):
            break
        density, least = now, torch.minimum(risk, least)
        best = iterate.keep(going & better, here[:, :channels], best)
        last, change = change, here - ahead
        forward = (change * last).sum(iterate.axes, keepdim=True)
        length = forward / last.square().sum(iterate.axes, keepdim=True).clamp(1e-30)
        ahead = here + length.clamp(0, 1) * (here - before)
        ahead = torch.maximum(ahead, iterate.tiny)
    return best


def gradient_density(image: Tensor, weight: Tensor) -> Tensor:
    """Return the mean over the root-mean-square gradient of every channel, (C,).

    Low values are sparse: few pixels have all of the gradient.  Pixels of the weight 0
    do not count.
    """
    inside = corner([n - 1 for n in image.shape[2:]])
    steps = [torch.diff(image, dim=axis)[inside] for axis in range(2, image.ndim)]
    squared = torch.stack(steps).square().sum(0).flatten(2)
    known = (weight[inside] > 0).flatten(2)
    total = known.sum(2).clamp(min=1)
    mean, power = ((v * known).sum(2) / total for v in (squared.sqrt(), squared))
    return (mean / power.clamp(min=1e-30).sqrt())[0]
