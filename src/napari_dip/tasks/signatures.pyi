"""The task functions as type checkers and editors see them.

Written by scripts/write_stubs.py from the recipes; there is no such module at run time.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, overload

from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import Module

from napari_dip.prior.architecture import Generates
from napari_dip.prior.problem import Fit, Iterate
from napari_dip.prior.stopping import Rule
from napari_dip.tasks.analysis import Analysis

TaskName = Literal[
    "denoise",
    "denoise_guided",
    "enhance",
    "remove_artifacts",
    "super_resolve",
    "inpaint",
    "blend",
    "deconvolve",
    "restore",
    "invert_features",
    "maximize_activation",
]

@overload
def denoise(
    image: ArrayLike,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    noise: Literal[
        "auto", "gaussian", "poisson", "poisson-gaussian", "impulse"
    ] = "auto",
    sigma: float | None = None,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[False] = False,
    out: Any = None,
) -> NDArray[Any]:
    r"""Remove the noise from an image, without training data.

    A network is fitted to this one image and stopped before it learns the noise.

    Parameters
    ----------
    image : array_like
        Noisy image: (Y, X), (Y, X, C) or any leading axes over those, any real dtype, 16 pixels a side or more. NaN marks missing pixels.
    preset : fast, best or paper, default 'fast'
        How much to spend: fast suits a laptop, best takes several times as long for the last tenths of a decibel, paper is the published setting.
    iterations : auto or an integer from 1 to 1000000, default 'auto'
        Number of iterations; auto takes those of the preset, or stops earlier.
    extra_iterations : an integer from 0 to 1000000, default 0
        Number of iterations to go on for after the fit would have stopped: more detail, and more noise. The last image is then the result.
    restarts : auto or an integer from 1 to 100, default 'auto'
        Number of fits from different seeds to average, whose spread is the uncertainty of tasks without one of their own; auto is 1, or several with the best preset.
    share : auto, yes or no, default 'auto'
        Whether one network is fitted to windows of all planes and restores every one of them, in place of a fit of each plane; auto does so from 590,000 pixels on, or 16 planes of less than 192 x 192, where the task can.
    tile : auto, an integer from 1 to 1000000 or None, default 'auto'
        Side in pixels of the tiles that large planes are cut into, rounded up to a multiple of 192, so that memory does not grow with the image; auto cuts planes above a megapixel where tiles are restored as the whole is; None cuts none.
    neighbours : auto or an integer from 0 to 8, default 'auto'
        Where planes share a network, how many planes on either side of a plane it sees beside that plane; auto takes 2 where neighbours show the same things.
    channel_axis : auto, an integer or None, default 'auto'
        Axis that holds colours or channels, restored together; auto takes a last axis of 3 or 4 for colours, None has no such axis.
    spatial_dims : an integer from 2 to 3, default 2
        2 restores every plane by itself, 3 restores volumes as a whole.
    z_spacing : auto or a finite number from 0.001 to 1000, default 'auto'
        Distance of the planes of a volume over that of its pixels along y and x: the larger, the less the network looks across planes; auto is what a file or a layer says, else 1.
    device : a string, default 'auto'
        auto, cpu, cuda, cuda:N or mps.
    precision : auto, float32 or bfloat16, default 'auto'
        Arithmetic inside the network; auto is bfloat16 where the hardware has it.
    seed : an integer from 0 to 2147483647, default 0
        Start of the random numbers: the same seed on the same machine gives the same image.
    dtype : float32 or input, default 'float32'
        Type of the result: float32, or the input's own, rounded and clipped.
    noise : auto, gaussian, poisson, poisson-gaussian or impulse, default 'auto'
        Kind of noise; auto looks whether the noise grows with the signal and chooses gaussian or poisson-gaussian.
    sigma : a finite number of 0 or more or None, default None
        Standard deviation of gaussian noise in the units of the image; None estimates it.
    architecture : Architecture or dict, optional
        Network in place of the preset's; see `napari_dip.prior.architecture`.
    stop : Rule or dict, optional
        Stopping rule in place of the preset's; see `napari_dip.prior.stopping`.
    weights : dict of str to Tensor, optional
        Weights of the network to begin from, as `Fit.weights` of a fit with the
        same network and number of channels; a job of one fit gives them.  Or
        networks that `napari-dip batch --share` has fitted, to restore with.
    state : dict, optional
        From `Iterate.checkpoint` in a callback of the same call, to go on with
        its fit to the same bits; for a job of one fit.  Or, for any job, an
        empty dict, in which planes, tiles and fits that are done are kept, and
        by `Iterate.checkpoint` the fit that runs: the same call with it goes on.
    analysis : dict or sequence of dict, optional
        What was found out about another image of the same kind, one for every
        group of channels: ``fit.settings['planes'][0]['analysis']``.
    progress : bool, default False
        Show a progress bar on standard error.
    callback : callable, optional
        Called with every `Iterate`; returning True stops the fit, which keeps
        its best image.
    full_output : bool, default False
        Return a `Fit` in place of the image. Its `uncertainty` is the standard
        deviation of every pixel, where the task has one.
    out : array, optional
        Where the result is put, of its shape and any type; an array of zarr or
        h5py takes a result that is larger than the memory, part by part.

    Returns
    -------
    ndarray or Fit
        The image in the units of the input, float32 unless `dtype` says
        otherwise, or the whole `Fit`.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.
    OutOfMemory
        If the fit is too large for the device; the message says what fits.

    Notes
    -----
    The paper preset is Ulyanov, Vedaldi, Lempitsky, Deep Image Prior (IJCV
    2020), section 3.1 and section 4 (Denoising): the hourglass of 5 scales and 128
    channels, Adam at 0.01, a code perturbed by 1/30, 1800 iterations, outputs averaged
    with 0.99.  The other presets fit a smaller network without normalisation to hidden
    pixels (Noise2Self), first at half the resolution, with an orthogonalising optimiser
    (Muon), and average its weights.  They add the pixels' own values back by their local
    reliability, average with an empirical Wiener filter that the result guides, and then
    estimate similar patches of the noisy image together (NL-Ridge and NL-Bayes), in rounds
    between which half of the noise is put back (LIChI).  Their first pilot is the result,
    averaged with the first step of BM3D.  Low frequencies are those of the same filter at
    half the resolution.  Noise that reaches into neighbouring pixels is
    recognised and fitted without hiding; its covariance is measured in flat places, and the
    filter of similar patches takes it into account (Noise Clinic).  Under noise that
    channels share, the steps after the fit work on weighted sums of the channels whose
    noise is independent.  Impulses take a longer fit without filters.
    """

@overload
def denoise(
    image: ArrayLike,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    noise: Literal[
        "auto", "gaussian", "poisson", "poisson-gaussian", "impulse"
    ] = "auto",
    sigma: float | None = None,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[True],
    out: Any = None,
) -> Fit: ...
@overload
def denoise(
    image: ArrayLike,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    noise: Literal[
        "auto", "gaussian", "poisson", "poisson-gaussian", "impulse"
    ] = "auto",
    sigma: float | None = None,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: bool,
    out: Any = None,
) -> NDArray[Any] | Fit: ...
@overload
def denoise_guided(
    image: ArrayLike,
    guide: ArrayLike,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    noise: Literal[
        "auto", "gaussian", "poisson", "poisson-gaussian", "impulse"
    ] = "auto",
    sigma: float | None = None,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[False] = False,
    out: Any = None,
) -> NDArray[Any]:
    r"""Remove the noise from an image with the help of another.

    The guide, such as a photograph with flash or a bright channel of a microscope, shows
    where things are; the noisy image decides how bright they are and of what colour.

    Parameters
    ----------
    image : array_like
        Noisy image: (Y, X), (Y, X, C) or any leading axes over those, any real dtype, 16 pixels a side or more. NaN marks missing pixels.
    guide : array_like
        Better image of the same scene, pixel on pixel: one with flash, or a brighter channel. Any real dtype and number of channels, one guide for all planes or one for each.
    preset : fast, best or paper, default 'fast'
        How much to spend: fast suits a laptop, best takes several times as long for the last tenths of a decibel, paper is the published setting.
    iterations : auto or an integer from 1 to 1000000, default 'auto'
        Number of iterations; auto takes those of the preset, or stops earlier.
    extra_iterations : an integer from 0 to 1000000, default 0
        Number of iterations to go on for after the fit would have stopped: more detail, and more noise. The last image is then the result.
    restarts : auto or an integer from 1 to 100, default 'auto'
        Number of fits from different seeds to average, whose spread is the uncertainty of tasks without one of their own; auto is 1, or several with the best preset.
    share : auto, yes or no, default 'auto'
        Whether one network is fitted to windows of all planes and restores every one of them, in place of a fit of each plane; auto does so from 590,000 pixels on, or 16 planes of less than 192 x 192, where the task can.
    tile : auto, an integer from 1 to 1000000 or None, default 'auto'
        Side in pixels of the tiles that large planes are cut into, rounded up to a multiple of 192, so that memory does not grow with the image; auto cuts planes above a megapixel where tiles are restored as the whole is; None cuts none.
    neighbours : auto or an integer from 0 to 8, default 'auto'
        Where planes share a network, how many planes on either side of a plane it sees beside that plane; auto takes 2 where neighbours show the same things.
    channel_axis : auto, an integer or None, default 'auto'
        Axis that holds colours or channels, restored together; auto takes a last axis of 3 or 4 for colours, None has no such axis.
    spatial_dims : an integer from 2 to 3, default 2
        2 restores every plane by itself, 3 restores volumes as a whole.
    z_spacing : auto or a finite number from 0.001 to 1000, default 'auto'
        Distance of the planes of a volume over that of its pixels along y and x: the larger, the less the network looks across planes; auto is what a file or a layer says, else 1.
    device : a string, default 'auto'
        auto, cpu, cuda, cuda:N or mps.
    precision : auto, float32 or bfloat16, default 'auto'
        Arithmetic inside the network; auto is bfloat16 where the hardware has it.
    seed : an integer from 0 to 2147483647, default 0
        Start of the random numbers: the same seed on the same machine gives the same image.
    dtype : float32 or input, default 'float32'
        Type of the result: float32, or the input's own, rounded and clipped.
    noise : auto, gaussian, poisson, poisson-gaussian or impulse, default 'auto'
        Kind of noise; auto looks whether the noise grows with the signal and chooses gaussian or poisson-gaussian.
    sigma : a finite number of 0 or more or None, default None
        Standard deviation of gaussian noise in the units of the image; None estimates it.
    architecture : Architecture or dict, optional
        Network in place of the preset's; see `napari_dip.prior.architecture`.
    stop : Rule or dict, optional
        Stopping rule in place of the preset's; see `napari_dip.prior.stopping`.
    weights : dict of str to Tensor, optional
        Weights of the network to begin from, as `Fit.weights` of a fit with the
        same network and number of channels; a job of one fit gives them.  Or
        networks that `napari-dip batch --share` has fitted, to restore with.
    state : dict, optional
        From `Iterate.checkpoint` in a callback of the same call, to go on with
        its fit to the same bits; for a job of one fit.  Or, for any job, an
        empty dict, in which planes, tiles and fits that are done are kept, and
        by `Iterate.checkpoint` the fit that runs: the same call with it goes on.
    analysis : dict or sequence of dict, optional
        What was found out about another image of the same kind, one for every
        group of channels: ``fit.settings['planes'][0]['analysis']``.
    progress : bool, default False
        Show a progress bar on standard error.
    callback : callable, optional
        Called with every `Iterate`; returning True stops the fit, which keeps
        its best image.
    full_output : bool, default False
        Return a `Fit` in place of the image. Its `uncertainty` is the standard
        deviation of every pixel, where the task has one.
    out : array, optional
        Where the result is put, of its shape and any type; an array of zarr or
        h5py takes a result that is larger than the memory, part by part.

    Returns
    -------
    ndarray or Fit
        The image in the units of the input, float32 unless `dtype` says
        otherwise, or the whole `Fit`.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.
    OutOfMemory
        If the fit is too large for the device; the message says what fits.

    Notes
    -----
    The paper preset is Ulyanov, Vedaldi, Lempitsky, Deep Image Prior (IJCV
    2020), section 3.7, with the guide as the code; the paper names no parameters, so they
    are those of its published program: the hourglass of 5 scales and 128 channels, Adam at
    0.1, 601 iterations, the last output.  The other presets are those of `denoise`, with
    the guide beside the image of which pixels are hidden.  A fit that is stuck at a wrong
    colour after 50 or 100 iterations begins again from another seed.
    """

@overload
def denoise_guided(
    image: ArrayLike,
    guide: ArrayLike,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    noise: Literal[
        "auto", "gaussian", "poisson", "poisson-gaussian", "impulse"
    ] = "auto",
    sigma: float | None = None,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[True],
    out: Any = None,
) -> Fit: ...
@overload
def denoise_guided(
    image: ArrayLike,
    guide: ArrayLike,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    noise: Literal[
        "auto", "gaussian", "poisson", "poisson-gaussian", "impulse"
    ] = "auto",
    sigma: float | None = None,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: bool,
    out: Any = None,
) -> NDArray[Any] | Fit: ...
@overload
def enhance(
    image: ArrayLike,
    amount: float = 1.0,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    detail: float = 0.5,
    detail_of: Literal["luminance", "channels"] = "luminance",
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[False] = False,
    out: Any = None,
) -> NDArray[Any]:
    r"""Make the fine detail of an image stronger.

    A network is fitted to the image and stopped early, when it has the shapes and not yet
    the texture.  What it lacks is the detail; `amount` times the detail is added to the
    image.

    Parameters
    ----------
    image : array_like
        Image to enhance: (Y, X), (Y, X, C) or any leading axes over those, any real dtype, 16 pixels a side or more. NaN marks missing pixels.
    preset : fast, best or paper, default 'fast'
        How much to spend: fast suits a laptop, best takes several times as long for the last tenths of a decibel, paper is the published setting.
    iterations : auto or an integer from 1 to 1000000, default 'auto'
        Number of iterations; auto takes those of the preset, or stops earlier.
    extra_iterations : an integer from 0 to 1000000, default 0
        Number of iterations to go on for after the fit would have stopped: more detail, and more noise. The last image is then the result.
    restarts : auto or an integer from 1 to 100, default 'auto'
        Number of fits from different seeds to average, whose spread is the uncertainty of tasks without one of their own; auto is 1, or several with the best preset.
    share : auto, yes or no, default 'auto'
        Whether one network is fitted to windows of all planes and restores every one of them, in place of a fit of each plane; auto does so from 590,000 pixels on, or 16 planes of less than 192 x 192, where the task can.
    tile : auto, an integer from 1 to 1000000 or None, default 'auto'
        Side in pixels of the tiles that large planes are cut into, rounded up to a multiple of 192, so that memory does not grow with the image; auto cuts planes above a megapixel where tiles are restored as the whole is; None cuts none.
    neighbours : auto or an integer from 0 to 8, default 'auto'
        Where planes share a network, how many planes on either side of a plane it sees beside that plane; auto takes 2 where neighbours show the same things.
    channel_axis : auto, an integer or None, default 'auto'
        Axis that holds colours or channels, restored together; auto takes a last axis of 3 or 4 for colours, None has no such axis.
    spatial_dims : an integer from 2 to 3, default 2
        2 restores every plane by itself, 3 restores volumes as a whole.
    z_spacing : auto or a finite number from 0.001 to 1000, default 'auto'
        Distance of the planes of a volume over that of its pixels along y and x: the larger, the less the network looks across planes; auto is what a file or a layer says, else 1.
    device : a string, default 'auto'
        auto, cpu, cuda, cuda:N or mps.
    precision : auto, float32 or bfloat16, default 'auto'
        Arithmetic inside the network; auto is bfloat16 where the hardware has it.
    seed : an integer from 0 to 2147483647, default 0
        Start of the random numbers: the same seed on the same machine gives the same image.
    dtype : float32 or input, default 'float32'
        Type of the result: float32, or the input's own, rounded and clipped.
    amount : a finite number from -1 to 100, default 1.0
        How much of the detail is added to the image; 0 returns the image, negative values take detail out.
    detail : a finite number from 0.001 to 100, default 0.5
        What counts as detail: the coarse image is the first that leaves out no more than this part of the energy finer than about 5 pixels. Smaller values keep to finer detail, larger ones take in more and may draw halos around shapes.
    detail_of : luminance or channels, default 'luminance'
        luminance adds the same detail to all three colours, so that hues stay; channels enhances every channel by itself, as images of other than three channels always are.
    architecture : Architecture or dict, optional
        Network in place of the preset's; see `napari_dip.prior.architecture`.
    stop : Rule or dict, optional
        Stopping rule in place of the preset's; see `napari_dip.prior.stopping`.
    weights : dict of str to Tensor, optional
        Weights of the network to begin from, as `Fit.weights` of a fit with the
        same network and number of channels; a job of one fit gives them.  Or
        networks that `napari-dip batch --share` has fitted, to restore with.
    state : dict, optional
        From `Iterate.checkpoint` in a callback of the same call, to go on with
        its fit to the same bits; for a job of one fit.  Or, for any job, an
        empty dict, in which planes, tiles and fits that are done are kept, and
        by `Iterate.checkpoint` the fit that runs: the same call with it goes on.
    analysis : dict or sequence of dict, optional
        What was found out about another image of the same kind, one for every
        group of channels: ``fit.settings['planes'][0]['analysis']``.
    progress : bool, default False
        Show a progress bar on standard error.
    callback : callable, optional
        Called with every `Iterate`; returning True stops the fit, which keeps
        its best image.
    full_output : bool, default False
        Return a `Fit` in place of the image. Its `uncertainty` is the standard
        deviation of every pixel, where the task has one.
    out : array, optional
        Where the result is put, of its shape and any type; an array of zarr or
        h5py takes a result that is larger than the memory, part by part.

    Returns
    -------
    ndarray or Fit
        The image in the units of the input, float32 unless `dtype` says
        otherwise, or the whole `Fit`.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.
    OutOfMemory
        If the fit is too large for the device; the message says what fits.

    Notes
    -----
    Ulyanov, Vedaldi, Lempitsky, Deep Image Prior (IJCV 2020), section 3.6: the
    coarse image x_c is a fit ended early and the result ``x_0 + (x_0 - x_c)``.  The paper
    preset is its network without perturbation (section 4, Image enhancement), Adam at 0.01.
    The paper leaves the stopping point to the eye; here the fit ends by itself once the
    residual has fallen to `detail`, or after `iterations`.  Results of integer images are
    clipped at the very end only (dtype="input").
    """

@overload
def enhance(
    image: ArrayLike,
    amount: float = 1.0,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    detail: float = 0.5,
    detail_of: Literal["luminance", "channels"] = "luminance",
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[True],
    out: Any = None,
) -> Fit: ...
@overload
def enhance(
    image: ArrayLike,
    amount: float = 1.0,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    detail: float = 0.5,
    detail_of: Literal["luminance", "channels"] = "luminance",
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: bool,
    out: Any = None,
) -> NDArray[Any] | Fit: ...
@overload
def remove_artifacts(
    image: ArrayLike,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    quantization: Sequence[int] | None = None,
    subsampling: Literal["auto", "4:4:4", "4:2:2", "4:2:0"] = "auto",
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[False] = False,
    out: Any = None,
) -> NDArray[Any]:
    r"""Remove blocks and halos of compression, and unknown degradations.

    A network is fitted to this one image and stopped before it learns the artifacts.  With
    the quantisation tables of a JPEG file it is fitted to all that the file says about the
    image before it was compressed.

    Parameters
    ----------
    image : array_like
        Image with artifacts: (Y, X), (Y, X, C) or any leading axes over those, any real dtype, 16 pixels a side or more. NaN marks missing pixels.
    preset : fast, best or paper, default 'fast'
        How much to spend: fast suits a laptop, best takes several times as long for the last tenths of a decibel, paper is the published setting.
    iterations : auto or an integer from 1 to 1000000, default 'auto'
        Number of iterations; auto takes those of the preset, or stops earlier.
    extra_iterations : an integer from 0 to 1000000, default 0
        Number of iterations to go on for after the fit would have stopped: more detail, and more noise. The last image is then the result.
    restarts : auto or an integer from 1 to 100, default 'auto'
        Number of fits from different seeds to average, whose spread is the uncertainty of tasks without one of their own; auto is 1, or several with the best preset.
    share : auto, yes or no, default 'auto'
        Whether one network is fitted to windows of all planes and restores every one of them, in place of a fit of each plane; auto does so from 590,000 pixels on, or 16 planes of less than 192 x 192, where the task can.
    tile : auto, an integer from 1 to 1000000 or None, default 'auto'
        Side in pixels of the tiles that large planes are cut into, rounded up to a multiple of 192, so that memory does not grow with the image; auto cuts planes above a megapixel where tiles are restored as the whole is; None cuts none.
    neighbours : auto or an integer from 0 to 8, default 'auto'
        Where planes share a network, how many planes on either side of a plane it sees beside that plane; auto takes 2 where neighbours show the same things.
    channel_axis : auto, an integer or None, default 'auto'
        Axis that holds colours or channels, restored together; auto takes a last axis of 3 or 4 for colours, None has no such axis.
    spatial_dims : an integer from 2 to 3, default 2
        2 restores every plane by itself, 3 restores volumes as a whole.
    z_spacing : auto or a finite number from 0.001 to 1000, default 'auto'
        Distance of the planes of a volume over that of its pixels along y and x: the larger, the less the network looks across planes; auto is what a file or a layer says, else 1.
    device : a string, default 'auto'
        auto, cpu, cuda, cuda:N or mps.
    precision : auto, float32 or bfloat16, default 'auto'
        Arithmetic inside the network; auto is bfloat16 where the hardware has it.
    seed : an integer from 0 to 2147483647, default 0
        Start of the random numbers: the same seed on the same machine gives the same image.
    dtype : float32 or input, default 'float32'
        Type of the result: float32, or the input's own, rounded and clipped.
    quantization : one or more integers from 1 to 65535, such as (1, 2, 4) or None, default None
        Quantisation tables of the JPEG file that holds the image: 64 integers for a gray image, 128 for colours (brightness, then colour), each by rows from the lowest frequencies. With them the result is one of the images that the file can have been made from; the paper preset does without.
    subsampling : auto, 4:4:4, 4:2:2 or 4:2:0, default 'auto'
        How the JPEG file shares colours between pixels, where quantization is given; auto takes what fits the pixels best.
    architecture : Architecture or dict, optional
        Network in place of the preset's; see `napari_dip.prior.architecture`.
    stop : Rule or dict, optional
        Stopping rule in place of the preset's; see `napari_dip.prior.stopping`.
    weights : dict of str to Tensor, optional
        Weights of the network to begin from, as `Fit.weights` of a fit with the
        same network and number of channels; a job of one fit gives them.  Or
        networks that `napari-dip batch --share` has fitted, to restore with.
    state : dict, optional
        From `Iterate.checkpoint` in a callback of the same call, to go on with
        its fit to the same bits; for a job of one fit.  Or, for any job, an
        empty dict, in which planes, tiles and fits that are done are kept, and
        by `Iterate.checkpoint` the fit that runs: the same call with it goes on.
    analysis : dict or sequence of dict, optional
        What was found out about another image of the same kind, one for every
        group of channels: ``fit.settings['planes'][0]['analysis']``.
    progress : bool, default False
        Show a progress bar on standard error.
    callback : callable, optional
        Called with every `Iterate`; returning True stops the fit, which keeps
        its best image.
    full_output : bool, default False
        Return a `Fit` in place of the image. Its `uncertainty` is the standard
        deviation of every pixel, where the task has one.
    out : array, optional
        Where the result is put, of its shape and any type; an array of zarr or
        h5py takes a result that is larger than the memory, part by part.

    Returns
    -------
    ndarray or Fit
        The image in the units of the input, float32 unless `dtype` says
        otherwise, or the whole `Fit`.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.
    OutOfMemory
        If the fit is too large for the device; the message says what fits.

    Notes
    -----
    The paper preset is Ulyanov, Vedaldi, Lempitsky, Deep Image Prior (IJCV
    2020), section 3.1 and Fig. 6: a small hourglass, Adam at 0.01, a code of 3 channels
    perturbed by 1/30, 2400 iterations, outputs averaged with 0.99.  With `quantization` the
    data fidelity is the distance from the set of images that compress to this file, and the
    result is projected into that set: every cosine coefficient is within half a step of the
    stored one.  The stored coefficients are found again from the pixels; where they cannot
    be (blocks that are clipped or cut off by the border) the squared error remains.
    """

@overload
def remove_artifacts(
    image: ArrayLike,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    quantization: Sequence[int] | None = None,
    subsampling: Literal["auto", "4:4:4", "4:2:2", "4:2:0"] = "auto",
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[True],
    out: Any = None,
) -> Fit: ...
@overload
def remove_artifacts(
    image: ArrayLike,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    quantization: Sequence[int] | None = None,
    subsampling: Literal["auto", "4:4:4", "4:2:2", "4:2:0"] = "auto",
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: bool,
    out: Any = None,
) -> NDArray[Any] | Fit: ...
@overload
def super_resolve(
    image: ArrayLike,
    factor: int = 4,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    operator: Literal["lanczos", "box", "gaussian", "bicubic"] = "lanczos",
    sigma: float = 0.5,
    noisy: Literal["auto", "yes", "no"] = "auto",
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[False] = False,
    out: Any = None,
) -> NDArray[Any]:
    r"""Put an image on finer pixels, without training data.

    A network is fitted so that its output, reduced by the factor, is the image.  The result
    has `factor` times as many pixels along every spatial axis over the same field: a pixel
    is `factor` times smaller, and the centre of the first one lies
    ``(1 / factor - 1) / 2`` pixels of the input from that of the input's first pixel.

    Parameters
    ----------
    image : array_like
        Coarse image: (Y, X), (Y, X, C) or any leading axes over those, any real dtype, 16 pixels a side or more. NaN marks missing pixels.
    preset : fast, best or paper, default 'fast'
        How much to spend: fast suits a laptop, best takes several times as long for the last tenths of a decibel, paper is the published setting.
    iterations : auto or an integer from 1 to 1000000, default 'auto'
        Number of iterations; auto takes those of the preset, or stops earlier.
    extra_iterations : an integer from 0 to 1000000, default 0
        Number of iterations to go on for after the fit would have stopped: more detail, and more noise. The last image is then the result.
    restarts : auto or an integer from 1 to 100, default 'auto'
        Number of fits from different seeds to average, whose spread is the uncertainty of tasks without one of their own; auto is 1, or several with the best preset.
    share : auto, yes or no, default 'auto'
        Whether one network is fitted to windows of all planes and restores every one of them, in place of a fit of each plane; auto does so from 590,000 pixels on, or 16 planes of less than 192 x 192, where the task can.
    tile : auto, an integer from 1 to 1000000 or None, default 'auto'
        Side in pixels of the tiles that large planes are cut into, rounded up to a multiple of 192, so that memory does not grow with the image; auto cuts planes above a megapixel where tiles are restored as the whole is; None cuts none.
    neighbours : auto or an integer from 0 to 8, default 'auto'
        Where planes share a network, how many planes on either side of a plane it sees beside that plane; auto takes 2 where neighbours show the same things.
    channel_axis : auto, an integer or None, default 'auto'
        Axis that holds colours or channels, restored together; auto takes a last axis of 3 or 4 for colours, None has no such axis.
    spatial_dims : an integer from 2 to 3, default 2
        2 restores every plane by itself, 3 restores volumes as a whole.
    z_spacing : auto or a finite number from 0.001 to 1000, default 'auto'
        Distance of the planes of a volume over that of its pixels along y and x: the larger, the less the network looks across planes; auto is what a file or a layer says, else 1.
    device : a string, default 'auto'
        auto, cpu, cuda, cuda:N or mps.
    precision : auto, float32 or bfloat16, default 'auto'
        Arithmetic inside the network; auto is bfloat16 where the hardware has it.
    seed : an integer from 0 to 2147483647, default 0
        Start of the random numbers: the same seed on the same machine gives the same image.
    dtype : float32 or input, default 'float32'
        Type of the result: float32, or the input's own, rounded and clipped.
    factor : an integer from 2 to 8, default 4
        How many times more pixels along every axis.
    operator : lanczos, box, gaussian or bicubic, default 'lanczos'
        How the coarse pixels are thought to have come from fine ones: lanczos (carefully reduced photographs; the paper's), box (camera pixels, binning), gaussian (blur by optics, then camera pixels), bicubic (reduced by common software).
    sigma : a finite number from 0 to 10, default 0.5
        Standard deviation of the blur of the gaussian operator, in pixels of the input.
    noisy : auto, yes or no, default 'auto'
        Whether the image is noisy. Filters then remove the noise before the fit; a clean image is matched exactly. auto measures the noise in the smoothest places.
    architecture : Architecture or dict, optional
        Network in place of the preset's; see `napari_dip.prior.architecture`.
    stop : Rule or dict, optional
        Stopping rule in place of the preset's; see `napari_dip.prior.stopping`.
    weights : dict of str to Tensor, optional
        Weights of the network to begin from, as `Fit.weights` of a fit with the
        same network and number of channels; a job of one fit gives them.  Or
        networks that `napari-dip batch --share` has fitted, to restore with.
    state : dict, optional
        From `Iterate.checkpoint` in a callback of the same call, to go on with
        its fit to the same bits; for a job of one fit.  Or, for any job, an
        empty dict, in which planes, tiles and fits that are done are kept, and
        by `Iterate.checkpoint` the fit that runs: the same call with it goes on.
    analysis : dict or sequence of dict, optional
        What was found out about another image of the same kind, one for every
        group of channels: ``fit.settings['planes'][0]['analysis']``.
    progress : bool, default False
        Show a progress bar on standard error.
    callback : callable, optional
        Called with every `Iterate`; returning True stops the fit, which keeps
        its best image.
    full_output : bool, default False
        Return a `Fit` in place of the image. Its `uncertainty` is the standard
        deviation of every pixel, where the task has one.
    out : array, optional
        Where the result is put, of its shape and any type; an array of zarr or
        h5py takes a result that is larger than the memory, part by part.

    Returns
    -------
    ndarray or Fit
        The image in the units of the input, float32 unless `dtype` says
        otherwise, or the whole `Fit`.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.
    OutOfMemory
        If the fit is too large for the device; the message says what fits.

    Notes
    -----
    The paper preset is Ulyanov, Vedaldi, Lempitsky, Deep Image Prior (IJCV
    2020), section 3.2 and section 4 (Super-resolution), as the published program sets it:
    the hourglass of 5 scales and 128 channels, Adam at 0.01, the last output; up to factor
    4 a code perturbed by 0.03 (1/30 in the text) and 2000 iterations, above 0.05 (1/20) and
    4000.  The other presets fit a smaller network with an orthogonalising optimiser (Muon),
    average the weights, and estimate similar patches of the result together, in turns with
    back-projection, which makes it agree with the image.  A noisy image is denoised before
    the fit, by BM3D's thresholds and then by NL-Ridge and NL-Bayes.

    A measured point spread function needs no operator here: `restore` takes any forward
    model, `deconvolve` a measured blur at the pixels there are.
    """

@overload
def super_resolve(
    image: ArrayLike,
    factor: int = 4,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    operator: Literal["lanczos", "box", "gaussian", "bicubic"] = "lanczos",
    sigma: float = 0.5,
    noisy: Literal["auto", "yes", "no"] = "auto",
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[True],
    out: Any = None,
) -> Fit: ...
@overload
def super_resolve(
    image: ArrayLike,
    factor: int = 4,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    operator: Literal["lanczos", "box", "gaussian", "bicubic"] = "lanczos",
    sigma: float = 0.5,
    noisy: Literal["auto", "yes", "no"] = "auto",
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: bool,
    out: Any = None,
) -> NDArray[Any] | Fit: ...
@overload
def inpaint(
    image: ArrayLike,
    mask: ArrayLike,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    kind: Literal["auto", "text", "hole", "random"] = "auto",
    keep_known: bool = True,
    noise: Literal["auto", "none", "present"] = "auto",
    scales: Sequence[int] = (1,),
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[False] = False,
    out: Any = None,
) -> NDArray[Any]:
    r"""Fill in missing pixels, text, scratches or holes, without training data.

    A network is fitted to the known pixels of this one image and asked for the others.
    What is filled in is invented: plausible, not measured.  The values under the mask
    have no influence on the result.  A pixel that is missing in one channel is filled in
    from the other pixels, not from its other channels.

    Parameters
    ----------
    image : array_like
        Image with missing pixels: (Y, X), (Y, X, C) or any leading axes over those, any real dtype, 16 pixels a side or more. NaN marks missing pixels too.
    mask : array_like
        What is missing, as labels: nonzero pixels are filled in. Of the image's shape, or of that of its last axes without channels, (Y, X) for every plane alike.
    preset : fast, best or paper, default 'fast'
        How much to spend: fast suits a laptop, best takes several times as long for the last tenths of a decibel, paper is the published setting.
    iterations : auto or an integer from 1 to 1000000, default 'auto'
        Number of iterations; auto takes those of the preset, or stops earlier.
    extra_iterations : an integer from 0 to 1000000, default 0
        Number of iterations to go on for after the fit would have stopped: more detail, and more noise. The last image is then the result.
    restarts : auto or an integer from 1 to 100, default 'auto'
        Number of fits from different seeds to average, whose spread is the uncertainty of tasks without one of their own; auto is 1, or several with the best preset.
    share : auto, yes or no, default 'auto'
        Whether one network is fitted to windows of all planes and restores every one of them, in place of a fit of each plane; auto does so from 590,000 pixels on, or 16 planes of less than 192 x 192, where the task can.
    tile : auto, an integer from 1 to 1000000 or None, default 'auto'
        Side in pixels of the tiles that large planes are cut into, rounded up to a multiple of 192, so that memory does not grow with the image; auto cuts planes above a megapixel where tiles are restored as the whole is; None cuts none.
    neighbours : auto or an integer from 0 to 8, default 'auto'
        Where planes share a network, how many planes on either side of a plane it sees beside that plane; auto takes 2 where neighbours show the same things.
    channel_axis : auto, an integer or None, default 'auto'
        Axis that holds colours or channels, restored together; auto takes a last axis of 3 or 4 for colours, None has no such axis.
    spatial_dims : an integer from 2 to 3, default 2
        2 restores every plane by itself, 3 restores volumes as a whole.
    z_spacing : auto or a finite number from 0.001 to 1000, default 'auto'
        Distance of the planes of a volume over that of its pixels along y and x: the larger, the less the network looks across planes; auto is what a file or a layer says, else 1.
    device : a string, default 'auto'
        auto, cpu, cuda, cuda:N or mps.
    precision : auto, float32 or bfloat16, default 'auto'
        Arithmetic inside the network; auto is bfloat16 where the hardware has it.
    seed : an integer from 0 to 2147483647, default 0
        Start of the random numbers: the same seed on the same machine gives the same image.
    dtype : float32 or input, default 'float32'
        Type of the result: float32, or the input's own, rounded and clipped.
    kind : auto, text, hole or random, default 'auto'
        What is missing: thin strokes such as text and scratches, large holes, or scattered pixels; auto looks at the shape of the mask.
    keep_known : true or false, default True
        Give every known pixel back exactly as it came; without it the fit is returned everywhere, which also takes away the noise of noisy pixels.
    noise : auto, none or present, default 'auto'
        Whether the known pixels are noisy, so that the fit must stop before it learns their noise; auto measures them.
    scales : one or more integers from 1 to 1024, such as (1, 2, 4), default (1,)
        Sides of the squares over which image and fit are averaged and compared; 1 is pixel by pixel, 1, 2, 4 the multi-scale loss. Square s counts 1/s.
    architecture : Architecture or dict, optional
        Network in place of the preset's; see `napari_dip.prior.architecture`.
    stop : Rule or dict, optional
        Stopping rule in place of the preset's; see `napari_dip.prior.stopping`.
    weights : dict of str to Tensor, optional
        Weights of the network to begin from, as `Fit.weights` of a fit with the
        same network and number of channels; a job of one fit gives them.  Or
        networks that `napari-dip batch --share` has fitted, to restore with.
    state : dict, optional
        From `Iterate.checkpoint` in a callback of the same call, to go on with
        its fit to the same bits; for a job of one fit.  Or, for any job, an
        empty dict, in which planes, tiles and fits that are done are kept, and
        by `Iterate.checkpoint` the fit that runs: the same call with it goes on.
    analysis : dict or sequence of dict, optional
        What was found out about another image of the same kind, one for every
        group of channels: ``fit.settings['planes'][0]['analysis']``.
    progress : bool, default False
        Show a progress bar on standard error.
    callback : callable, optional
        Called with every `Iterate`; returning True stops the fit, which keeps
        its best image.
    full_output : bool, default False
        Return a `Fit` in place of the image. Its `uncertainty` is the standard
        deviation of every pixel, where the task has one.
    out : array, optional
        Where the result is put, of its shape and any type; an array of zarr or
        h5py takes a result that is larger than the memory, part by part.

    Returns
    -------
    ndarray or Fit
        The image in the units of the input, float32 unless `dtype` says
        otherwise, or the whole `Fit`.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.
    OutOfMemory
        If the fit is too large for the device; the message says what fits.

    Notes
    -----
    The paper preset is Ulyanov, Vedaldi, Lempitsky, Deep Image Prior (IJCV
    2020), section 3.3, with the settings of the published program where the text of
    section 4 differs: text (Fig. 11) 128 channels with skips of 128 and nearest
    upsampling, Adam at 0.01, 6001 iterations; large holes (Fig. 10) no skips, coordinates
    as the code, 5001 iterations; random pixels (Table 3) skips of 4, Adam at 0.001, 11000
    iterations, with more than 90 % missing the narrower network of the 98 % example, 1000
    iterations.  They return the last output.  The other presets fit a smaller network with
    an orthogonalising optimiser (Muon); for random pixels it is shown the known ones and
    learns by filling in some that are hidden from it for the purpose.  After a short such
    fit the missing pixels are estimated from groups of similar patches, again and again
    (NL-Bayes, with the known pixels put back); see `napari_dip.prior.filling`.  Of noisy
    known pixels the noise is removed first, as by `denoise`.
    The multi-scale loss (scales=(1, 2, 4)) is that of the second paper, section 4.1, with
    nothing but known pixels in its averages; see `napari_dip.prior.terms.MultiScale`.
    """

@overload
def inpaint(
    image: ArrayLike,
    mask: ArrayLike,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    kind: Literal["auto", "text", "hole", "random"] = "auto",
    keep_known: bool = True,
    noise: Literal["auto", "none", "present"] = "auto",
    scales: Sequence[int] = (1,),
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[True],
    out: Any = None,
) -> Fit: ...
@overload
def inpaint(
    image: ArrayLike,
    mask: ArrayLike,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    kind: Literal["auto", "text", "hole", "random"] = "auto",
    keep_known: bool = True,
    noise: Literal["auto", "none", "present"] = "auto",
    scales: Sequence[int] = (1,),
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: bool,
    out: Any = None,
) -> NDArray[Any] | Fit: ...
@overload
def blend(
    foreground: ArrayLike,
    background: ArrayLike,
    mask: ArrayLike,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    offset: Sequence[int] = (0, 0),
    factors: Sequence[float] = (50.0, 25.0, 20.0, 6.0, 4.0, 12.0, 18.0),
    widening: bool = True,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[False] = False,
    out: Any = None,
) -> NDArray[Any]:
    r"""Blend a part of one image into another.

    A network is fitted so that inside the mask the gradients are the foreground's, outside
    the image is the background's, and nothing jumps in between.  The result has the size
    and units of the background.

    Parameters
    ----------
    foreground : array_like
        Image of which a part is wanted, (Y, X) or with channels; may be smaller than the background.
    background : array_like
        Image to set it into, of the same number of channels.
    mask : array_like
        Nonzero where the foreground is wanted; sides of the foreground.
    preset : fast, best or paper, default 'fast'
        How much to spend: fast suits a laptop, best takes several times as long for the last tenths of a decibel, paper is the published setting.
    iterations : auto or an integer from 1 to 1000000, default 'auto'
        Number of iterations; auto takes those of the preset, or stops earlier.
    extra_iterations : an integer from 0 to 1000000, default 0
        Number of iterations to go on for after the fit would have stopped: more detail, and more noise. The last image is then the result.
    restarts : auto or an integer from 1 to 100, default 'auto'
        Number of fits from different seeds to average, whose spread is the uncertainty of tasks without one of their own; auto is 1, or several with the best preset.
    share : auto, yes or no, default 'auto'
        Whether one network is fitted to windows of all planes and restores every one of them, in place of a fit of each plane; auto does so from 590,000 pixels on, or 16 planes of less than 192 x 192, where the task can.
    tile : auto, an integer from 1 to 1000000 or None, default 'auto'
        Side in pixels of the tiles that large planes are cut into, rounded up to a multiple of 192, so that memory does not grow with the image; auto cuts planes above a megapixel where tiles are restored as the whole is; None cuts none.
    neighbours : auto or an integer from 0 to 8, default 'auto'
        Where planes share a network, how many planes on either side of a plane it sees beside that plane; auto takes 2 where neighbours show the same things.
    channel_axis : auto, an integer or None, default 'auto'
        Axis that holds colours or channels, restored together; auto takes a last axis of 3 or 4 for colours, None has no such axis.
    spatial_dims : an integer from 2 to 3, default 2
        2 restores every plane by itself, 3 restores volumes as a whole.
    z_spacing : auto or a finite number from 0.001 to 1000, default 'auto'
        Distance of the planes of a volume over that of its pixels along y and x: the larger, the less the network looks across planes; auto is what a file or a layer says, else 1.
    device : a string, default 'auto'
        auto, cpu, cuda, cuda:N or mps.
    precision : auto, float32 or bfloat16, default 'auto'
        Arithmetic inside the network; auto is bfloat16 where the hardware has it.
    seed : an integer from 0 to 2147483647, default 0
        Start of the random numbers: the same seed on the same machine gives the same image.
    dtype : float32 or input, default 'float32'
        Type of the result: float32, or the input's own, rounded and clipped.
    offset : one or more integers, such as (1, 2, 4), default (0, 0)
        Row and column of the background where the foreground's first pixel lies; what falls outside is left out.
    factors : one or more finite numbers of 0 or more, such as (1, 2, 4), default (50.0, 25.0, 20.0, 6.0, 4.0, 12.0, 18.0)
        Weights of the background's pixels, low frequencies and illumination, the foreground's gradients and their direction, the passage between gradients, and the background's texture.
    widening : true or false, default True
        Begin with a narrow foreground that widens, as the paper's formula has it; otherwise the other way round, as its text says.
    architecture : Architecture or dict, optional
        Network in place of the preset's; see `napari_dip.prior.architecture`.
    stop : Rule or dict, optional
        Stopping rule in place of the preset's; see `napari_dip.prior.stopping`.
    weights : dict of str to Tensor, optional
        Weights of the network to begin from, as `Fit.weights` of a fit with the
        same network and number of channels; a job of one fit gives them.  Or
        networks that `napari-dip batch --share` has fitted, to restore with.
    state : dict, optional
        From `Iterate.checkpoint` in a callback of the same call, to go on with
        its fit to the same bits; for a job of one fit.  Or, for any job, an
        empty dict, in which planes, tiles and fits that are done are kept, and
        by `Iterate.checkpoint` the fit that runs: the same call with it goes on.
    analysis : dict or sequence of dict, optional
        What was found out about another image of the same kind, one for every
        group of channels: ``fit.settings['planes'][0]['analysis']``.
    progress : bool, default False
        Show a progress bar on standard error.
    callback : callable, optional
        Called with every `Iterate`; returning True stops the fit, which keeps
        its best image.
    full_output : bool, default False
        Return a `Fit` in place of the image. Its `uncertainty` is the standard
        deviation of every pixel, where the task has one.
    out : array, optional
        Where the result is put, of its shape and any type; an array of zarr or
        h5py takes a result that is larger than the memory, part by part.

    Returns
    -------
    ndarray or Fit
        The image in the units of the input, float32 unless `dtype` says
        otherwise, or the whole `Fit`.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.
    OutOfMemory
        If the fit is too large for the device; the message says what fits.

    Notes
    -----
    The loss is that of the second paper, section 4.2 and appendix A3, with its
    weights.  The paper preset follows its published program where the text is open: the
    hourglass of 5 scales and 128 channels with skips of 128, nearest upsampling, Adam at
    0.006, a code perturbed by 0.02, 1001 iterations; the averaged output is the result, not
    the last one.  The program squares the background's weight, the paper does not: here the
    paper is followed.  The other presets fit a smaller network to the difference from a
    soft composite; their boxes are as large relative to the image as the paper's to its
    images, and the foreground counts within the mask only.
    """

@overload
def blend(
    foreground: ArrayLike,
    background: ArrayLike,
    mask: ArrayLike,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    offset: Sequence[int] = (0, 0),
    factors: Sequence[float] = (50.0, 25.0, 20.0, 6.0, 4.0, 12.0, 18.0),
    widening: bool = True,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[True],
    out: Any = None,
) -> Fit: ...
@overload
def blend(
    foreground: ArrayLike,
    background: ArrayLike,
    mask: ArrayLike,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    offset: Sequence[int] = (0, 0),
    factors: Sequence[float] = (50.0, 25.0, 20.0, 6.0, 4.0, 12.0, 18.0),
    widening: bool = True,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: bool,
    out: Any = None,
) -> NDArray[Any] | Fit: ...
@overload
def deconvolve(
    image: ArrayLike,
    psf: ArrayLike,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    noise: Literal["auto", "gaussian", "poisson-gaussian", "poisson"] = "auto",
    tv: float = 0.01,
    background: float | Literal["auto"] | None = "auto",
    blind: bool = False,
    boundary: Literal["extend", "periodic"] = "extend",
    sigma: float | None = None,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[False] = False,
    out: Any = None,
) -> NDArray[Any]:
    r"""Remove a known blur, and the noise, from an image or a volume.

    A network is fitted so that its image, blurred with the PSF, becomes the measurement.

    Parameters
    ----------
    image : array_like
        Blurred image: (Y, X), (Y, X, C) or any leading axes over those, any real dtype, 16 pixels a side or more. NaN marks missing pixels.
    psf : array_like
        Point spread function, (Y, X), or (Z, Y, X) to restore volumes: no larger than the image along y and x, of any positive sum, its centre at the pixel side // 2 of every axis, its background subtracted.
    preset : fast, best or paper, default 'fast'
        How much to spend: fast suits a laptop, best takes several times as long for the last tenths of a decibel, paper is the published setting.
    iterations : auto or an integer from 1 to 1000000, default 'auto'
        Number of iterations; auto takes those of the preset, or stops earlier.
    extra_iterations : an integer from 0 to 1000000, default 0
        Number of iterations to go on for after the fit would have stopped: more detail, and more noise. The last image is then the result.
    restarts : auto or an integer from 1 to 100, default 'auto'
        Number of fits from different seeds to average, whose spread is the uncertainty of tasks without one of their own; auto is 1, or several with the best preset.
    share : auto, yes or no, default 'auto'
        Whether one network is fitted to windows of all planes and restores every one of them, in place of a fit of each plane; auto does so from 590,000 pixels on, or 16 planes of less than 192 x 192, where the task can.
    tile : auto, an integer from 1 to 1000000 or None, default 'auto'
        Side in pixels of the tiles that large planes are cut into, rounded up to a multiple of 192, so that memory does not grow with the image; auto cuts planes above a megapixel where tiles are restored as the whole is; None cuts none.
    neighbours : auto or an integer from 0 to 8, default 'auto'
        Where planes share a network, how many planes on either side of a plane it sees beside that plane; auto takes 2 where neighbours show the same things.
    channel_axis : auto, an integer or None, default 'auto'
        Axis that holds colours or channels, restored together; auto takes a last axis of 3 or 4 for colours, None has no such axis.
    spatial_dims : an integer from 2 to 3, default 2
        2 restores every plane by itself, 3 restores volumes as a whole.
    z_spacing : auto or a finite number from 0.001 to 1000, default 'auto'
        Distance of the planes of a volume over that of its pixels along y and x: the larger, the less the network looks across planes; auto is what a file or a layer says, else 1.
    device : a string, default 'auto'
        auto, cpu, cuda, cuda:N or mps.
    precision : auto, float32 or bfloat16, default 'auto'
        Arithmetic inside the network; auto is bfloat16 where the hardware has it.
    seed : an integer from 0 to 2147483647, default 0
        Start of the random numbers: the same seed on the same machine gives the same image.
    dtype : float32 or input, default 'float32'
        Type of the result: float32, or the input's own, rounded and clipped.
    noise : auto, gaussian, poisson-gaussian or poisson, default 'auto'
        Kind of noise; with poisson-gaussian and poisson bright pixels, which are noisier, count less; auto looks whether the noise grows with the signal.
    tv : a finite number of 0 or more, default 0.01
        Weight of the total variation, relative to the noise: more is smoother, 0 leaves it out.
    background : auto, a finite number or None, default 'auto'
        Value of the image where there is no light; the result is never below it. auto is 0, or no limit for an image with much below 0; None is no limit.
    blind : true or false, default False
        Take the PSF as a first guess and fit it too, within its extent; a PSF of equal values says nothing but the extent. The fitted one is `operator.psf` of the full output.
    boundary : extend or periodic, default 'extend'
        extend takes light from beyond the border as unknown; periodic repeats the image, as many simulations do.
    sigma : a finite number of 0 or more or None, default None
        Standard deviation of gaussian noise in the units of the image; None estimates it.
    architecture : Architecture or dict, optional
        Network in place of the preset's; see `napari_dip.prior.architecture`.
    stop : Rule or dict, optional
        Stopping rule in place of the preset's; see `napari_dip.prior.stopping`.
    weights : dict of str to Tensor, optional
        Weights of the network to begin from, as `Fit.weights` of a fit with the
        same network and number of channels; a job of one fit gives them.  Or
        networks that `napari-dip batch --share` has fitted, to restore with.
    state : dict, optional
        From `Iterate.checkpoint` in a callback of the same call, to go on with
        its fit to the same bits; for a job of one fit.  Or, for any job, an
        empty dict, in which planes, tiles and fits that are done are kept, and
        by `Iterate.checkpoint` the fit that runs: the same call with it goes on.
    analysis : dict or sequence of dict, optional
        What was found out about another image of the same kind, one for every
        group of channels: ``fit.settings['planes'][0]['analysis']``.
    progress : bool, default False
        Show a progress bar on standard error.
    callback : callable, optional
        Called with every `Iterate`; returning True stops the fit, which keeps
        its best image.
    full_output : bool, default False
        Return a `Fit` in place of the image. Its `uncertainty` is the standard
        deviation of every pixel, where the task has one.
    out : array, optional
        Where the result is put, of its shape and any type; an array of zarr or
        h5py takes a result that is larger than the memory, part by part.

    Returns
    -------
    ndarray or Fit
        The image in the units of the input, float32 unless `dtype` says
        otherwise, or the whole `Fit`.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.
    OutOfMemory
        If the fit is too large for the device; the message says what fits.

    Notes
    -----
    The image beyond the border blurs into the measurement: it is fitted too,
    on a canvas larger by the PSF (Ren et al., Neural Blind Deconvolution Using Deep Priors,
    CVPR 2020).  The fit starts from an estimate by Richardson-Lucy; its squared error is
    filtered so that frequencies which the blur has weakened come back sooner; held-out
    pixels of the measurement tell when to stop.  The paper preset has the network (5 scales
    of 128 channels, skips of 16), the code (8 channels, perturbed by 0.001), Adam at 0.01
    halved at 2000, 3000 and 4000 of 5000 iterations and, where the PSF is unknown, the
    kernel network of Ren et al. with Adam at 0.0001; their program changes from the squared
    error to structural similarity after 1000 iterations, ours keeps the squared error, and
    begins the kernel at the PSF that is given.
    """

@overload
def deconvolve(
    image: ArrayLike,
    psf: ArrayLike,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    noise: Literal["auto", "gaussian", "poisson-gaussian", "poisson"] = "auto",
    tv: float = 0.01,
    background: float | Literal["auto"] | None = "auto",
    blind: bool = False,
    boundary: Literal["extend", "periodic"] = "extend",
    sigma: float | None = None,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[True],
    out: Any = None,
) -> Fit: ...
@overload
def deconvolve(
    image: ArrayLike,
    psf: ArrayLike,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    noise: Literal["auto", "gaussian", "poisson-gaussian", "poisson"] = "auto",
    tv: float = 0.01,
    background: float | Literal["auto"] | None = "auto",
    blind: bool = False,
    boundary: Literal["extend", "periodic"] = "extend",
    sigma: float | None = None,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: bool,
    out: Any = None,
) -> NDArray[Any] | Fit: ...
@overload
def restore(
    measurement: ArrayLike,
    operator: Callable[..., Any] | Sequence[Callable[..., Any]],
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    shape: Sequence[int] | None = None,
    term: Literal["squared", "absolute", "huber", "poisson"] = "squared",
    sigma: Sequence[float] | None = None,
    value_range: Sequence[float] | None = None,
    tv: float = 0.0,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[False] = False,
    out: Any = None,
) -> NDArray[Any]:
    r"""Restore an image from measurements of any kind with their forward model.

    A network is fitted so that the operator turns its image into the measurement.

    Parameters
    ----------
    measurement : array_like
        What was measured: an array or torch tensor of any shape, or a list of several. NaN marks missing values.
    operator : object
        The forward model, from the image to the noise-free measurement: a callable that takes a float32 tensor of shape (1, C, Y, X) or (1, C, Z, Y, X) in the units of the image and returns a tensor with the shape of the measurement, axes of length 1 aside, made by differentiable torch operations; a physics object of deepinv; or, for several measurements, a callable that returns as many tensors, or a list of callables.
    preset : fast, best or paper, default 'fast'
        How much to spend: fast suits a laptop, best takes several times as long for the last tenths of a decibel, paper is the published setting.
    iterations : auto or an integer from 1 to 1000000, default 'auto'
        Number of iterations; auto takes those of the preset, or stops earlier.
    extra_iterations : an integer from 0 to 1000000, default 0
        Number of iterations to go on for after the fit would have stopped: more detail, and more noise. The last image is then the result.
    restarts : auto or an integer from 1 to 100, default 'auto'
        Number of fits from different seeds to average, whose spread is the uncertainty of tasks without one of their own; auto is 1, or several with the best preset.
    share : auto, yes or no, default 'auto'
        Whether one network is fitted to windows of all planes and restores every one of them, in place of a fit of each plane; auto does so from 590,000 pixels on, or 16 planes of less than 192 x 192, where the task can.
    tile : auto, an integer from 1 to 1000000 or None, default 'auto'
        Side in pixels of the tiles that large planes are cut into, rounded up to a multiple of 192, so that memory does not grow with the image; auto cuts planes above a megapixel where tiles are restored as the whole is; None cuts none.
    neighbours : auto or an integer from 0 to 8, default 'auto'
        Where planes share a network, how many planes on either side of a plane it sees beside that plane; auto takes 2 where neighbours show the same things.
    channel_axis : auto, an integer or None, default 'auto'
        Axis that holds colours or channels, restored together; auto takes a last axis of 3 or 4 for colours, None has no such axis.
    spatial_dims : an integer from 2 to 3, default 2
        2 restores every plane by itself, 3 restores volumes as a whole.
    z_spacing : auto or a finite number from 0.001 to 1000, default 'auto'
        Distance of the planes of a volume over that of its pixels along y and x: the larger, the less the network looks across planes; auto is what a file or a layer says, else 1.
    device : a string, default 'auto'
        auto, cpu, cuda, cuda:N or mps.
    precision : auto, float32 or bfloat16, default 'auto'
        Arithmetic inside the network; auto is bfloat16 where the hardware has it.
    seed : an integer from 0 to 2147483647, default 0
        Start of the random numbers: the same seed on the same machine gives the same image.
    dtype : float32 or input, default 'float32'
        Type of the result: float32, or the input's own, rounded and clipped.
    shape : one or more integers of 1 or more, such as (1, 2, 4) or None, default None
        Shape of the image, such as (256, 256), (256, 256, 3) for colours or (32, 256, 256) with spatial_dims=3; None takes the measurement's.
    term : squared, absolute, huber or poisson, default 'squared'
        Data fidelity: squared error, absolute error or huber for outliers, poisson for counts of photons.
    sigma : one or more finite numbers of 0 or more, such as (1, 2, 4) or None, default None
        Standard deviation of the noise, of every measurement or one for all: errors are compared in its units. None takes every measurement's own spread.
    value_range : one or more finite numbers, such as (1, 2, 4) or None, default None
        Lowest and highest value of the image, which the result keeps to; None estimates the range by least squares and sets no limits.
    tv : a finite number of 0 or more, default 0.0
        Weight of the total variation of the image over its range; more is smoother.
    architecture : Architecture or dict, optional
        Network in place of the preset's; see `napari_dip.prior.architecture`.
    stop : Rule or dict, optional
        Stopping rule in place of the preset's; see `napari_dip.prior.stopping`.
    weights : dict of str to Tensor, optional
        Weights of the network to begin from, as `Fit.weights` of a fit with the
        same network and number of channels; a job of one fit gives them.  Or
        networks that `napari-dip batch --share` has fitted, to restore with.
    state : dict, optional
        From `Iterate.checkpoint` in a callback of the same call, to go on with
        its fit to the same bits; for a job of one fit.  Or, for any job, an
        empty dict, in which planes, tiles and fits that are done are kept, and
        by `Iterate.checkpoint` the fit that runs: the same call with it goes on.
    analysis : dict or sequence of dict, optional
        What was found out about another image of the same kind, one for every
        group of channels: ``fit.settings['planes'][0]['analysis']``.
    progress : bool, default False
        Show a progress bar on standard error.
    callback : callable, optional
        Called with every `Iterate`; returning True stops the fit, which keeps
        its best image.
    full_output : bool, default False
        Return a `Fit` in place of the image. Its `uncertainty` is the standard
        deviation of every pixel, where the task has one.
    out : array, optional
        Where the result is put, of its shape and any type; an array of zarr or
        h5py takes a result that is larger than the memory, part by part.

    Returns
    -------
    ndarray or Fit
        The image in the units of the input, float32 unless `dtype` says
        otherwise, or the whole `Fit`.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.
    OutOfMemory
        If the fit is too large for the device; the message says what fits.

    Notes
    -----
    The fit sees the image scaled to about [0, 1]; the operator always sees it
    in the units of the user.  Held-out values of the measurement tell when to stop.  The
    paper preset is the published network and optimiser for super-resolution (Ulyanov,
    Vedaldi, Lempitsky, Deep Image Prior, IJCV 2020, section 4) around your operator.
    """

@overload
def restore(
    measurement: ArrayLike,
    operator: Callable[..., Any] | Sequence[Callable[..., Any]],
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    shape: Sequence[int] | None = None,
    term: Literal["squared", "absolute", "huber", "poisson"] = "squared",
    sigma: Sequence[float] | None = None,
    value_range: Sequence[float] | None = None,
    tv: float = 0.0,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[True],
    out: Any = None,
) -> Fit: ...
@overload
def restore(
    measurement: ArrayLike,
    operator: Callable[..., Any] | Sequence[Callable[..., Any]],
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    shape: Sequence[int] | None = None,
    term: Literal["squared", "absolute", "huber", "poisson"] = "squared",
    sigma: Sequence[float] | None = None,
    value_range: Sequence[float] | None = None,
    tv: float = 0.0,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: bool,
    out: Any = None,
) -> NDArray[Any] | Fit: ...
@overload
def invert_features(
    image: ArrayLike,
    model: Module | str,
    layer: str = "",
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: Sequence[int] | None = None,
    scale: float = 1.0,
    order: Literal["rgb", "bgr"] = "rgb",
    prior: Literal["deep", "tv", "none"] = "deep",
    tv: float = 1.0,
    target: Literal["image", "activations"] = "image",
    shape: Sequence[int] = (224, 224),
    preprocess: Callable[[Tensor], Tensor] | None = None,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[False] = False,
    out: Any = None,
) -> NDArray[Any]:
    r"""Find an image with the same activations inside a network.

    Shows what a layer of a classifier still knows of an image: a network that was trained
    on nothing is fitted so that its image has the layer's activations.

    Parameters
    ----------
    image : array_like
        Image to look at, (Y, X) or (Y, X, C), integers or floats from 0 to 1; or activations of the layer.
    model : object
        A torch.nn.Module, which is copied and not changed; or the import path of a function that makes one, package.module:function, with a file of weights (.npz or .safetensors) after an @.
    preset : fast, best or paper, default 'fast'
        How much to spend: fast suits a laptop, best takes several times as long for the last tenths of a decibel, paper is the published setting.
    iterations : auto or an integer from 1 to 1000000, default 'auto'
        Number of iterations; auto takes those of the preset, or stops earlier.
    extra_iterations : an integer from 0 to 1000000, default 0
        Number of iterations to go on for after the fit would have stopped: more detail, and more noise. The last image is then the result.
    restarts : auto or an integer from 1 to 100, default 'auto'
        Number of fits from different seeds to average, whose spread is the uncertainty of tasks without one of their own; auto is 1, or several with the best preset.
    share : auto, yes or no, default 'auto'
        Whether one network is fitted to windows of all planes and restores every one of them, in place of a fit of each plane; auto does so from 590,000 pixels on, or 16 planes of less than 192 x 192, where the task can.
    tile : auto, an integer from 1 to 1000000 or None, default 'auto'
        Side in pixels of the tiles that large planes are cut into, rounded up to a multiple of 192, so that memory does not grow with the image; auto cuts planes above a megapixel where tiles are restored as the whole is; None cuts none.
    neighbours : auto or an integer from 0 to 8, default 'auto'
        Where planes share a network, how many planes on either side of a plane it sees beside that plane; auto takes 2 where neighbours show the same things.
    channel_axis : auto, an integer or None, default 'auto'
        Axis that holds colours or channels, restored together; auto takes a last axis of 3 or 4 for colours, None has no such axis.
    spatial_dims : an integer from 2 to 3, default 2
        2 restores every plane by itself, 3 restores volumes as a whole.
    z_spacing : auto or a finite number from 0.001 to 1000, default 'auto'
        Distance of the planes of a volume over that of its pixels along y and x: the larger, the less the network looks across planes; auto is what a file or a layer says, else 1.
    device : a string, default 'auto'
        auto, cpu, cuda, cuda:N or mps.
    precision : auto, float32 or bfloat16, default 'auto'
        Arithmetic inside the network; auto is bfloat16 where the hardware has it.
    seed : an integer from 0 to 2147483647, default 0
        Start of the random numbers: the same seed on the same machine gives the same image.
    dtype : float32 or input, default 'float32'
        Type of the result: float32, or the input's own, rounded and clipped.
    layer : a string, default ''
        Name of the layer, as named_modules has it.
    mean : one or more finite numbers, such as (1, 2, 4) or None, default None
        What the model's preprocessing subtracts, per channel.
    std : one or more finite numbers of 1e-12 or more, such as (1, 2, 4) or None, default None
        What the model's preprocessing divides by, per channel.
    size : one or more integers of 1 or more, such as (1, 2, 4) or None, default None
        Rows and columns that the model takes; None gives it the image as it is.
    scale : a finite number of 1e-12 or more, default 1.0
        What white becomes before the mean: 255 for models of bytes.
    order : rgb or bgr, default 'rgb'
        Order of the channels that the model takes.
    prior : deep, tv or none, default 'deep'
        deep fits a network; tv fits the pixels themselves under a total variation penalty, none without any: what the papers compare with.
    tv : a finite number of 0 or more, default 1.0
        Weight of the penalty of the tv prior.
    target : image or activations, default 'image'
        What the first argument is: an image to look at through the layer, or the layer's activations themselves.
    shape : one or more integers from 16 to 4096, such as (1, 2, 4), default (224, 224)
        Rows and columns of the result where activations are given.
    preprocess : callable, optional
        Maps an image tensor (1, C, Y, X) in [0, 1] to the model's input; takes the place of mean, std, size, scale and order.
    architecture : Architecture or dict, optional
        Network in place of the preset's; see `napari_dip.prior.architecture`.
    stop : Rule or dict, optional
        Stopping rule in place of the preset's; see `napari_dip.prior.stopping`.
    weights : dict of str to Tensor, optional
        Weights of the network to begin from, as `Fit.weights` of a fit with the
        same network and number of channels; a job of one fit gives them.  Or
        networks that `napari-dip batch --share` has fitted, to restore with.
    state : dict, optional
        From `Iterate.checkpoint` in a callback of the same call, to go on with
        its fit to the same bits; for a job of one fit.  Or, for any job, an
        empty dict, in which planes, tiles and fits that are done are kept, and
        by `Iterate.checkpoint` the fit that runs: the same call with it goes on.
    analysis : dict or sequence of dict, optional
        What was found out about another image of the same kind, one for every
        group of channels: ``fit.settings['planes'][0]['analysis']``.
    progress : bool, default False
        Show a progress bar on standard error.
    callback : callable, optional
        Called with every `Iterate`; returning True stops the fit, which keeps
        its best image.
    full_output : bool, default False
        Return a `Fit` in place of the image. Its `uncertainty` is the standard
        deviation of every pixel, where the task has one.
    out : array, optional
        Where the result is put, of its shape and any type; an array of zarr or
        h5py takes a result that is larger than the memory, part by part.

    Returns
    -------
    ndarray or Fit
        The image in the units of the input, float32 unless `dtype` says
        otherwise, or the whole `Fit`.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.
    OutOfMemory
        If the fit is too large for the device; the message says what fits.

    Notes
    -----
    First paper, section 3.4: the squared distance of the features, minimised
    over the weights of a generator.  The paper preset is that of the published program
    (widths 16 to 128 on six scales, kernels 7 7 5 5 3 3, zero padding, nearest upsampling,
    average pooling, Adam at 0.001, 3100 iterations; the paper's text names five skips where
    the program has six); the result is the averaged output with a decay of 0.9.  The tv and
    none priors fit pixels with Adam at 0.2.
    """

@overload
def invert_features(
    image: ArrayLike,
    model: Module | str,
    layer: str = "",
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: Sequence[int] | None = None,
    scale: float = 1.0,
    order: Literal["rgb", "bgr"] = "rgb",
    prior: Literal["deep", "tv", "none"] = "deep",
    tv: float = 1.0,
    target: Literal["image", "activations"] = "image",
    shape: Sequence[int] = (224, 224),
    preprocess: Callable[[Tensor], Tensor] | None = None,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[True],
    out: Any = None,
) -> Fit: ...
@overload
def invert_features(
    image: ArrayLike,
    model: Module | str,
    layer: str = "",
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: Sequence[int] | None = None,
    scale: float = 1.0,
    order: Literal["rgb", "bgr"] = "rgb",
    prior: Literal["deep", "tv", "none"] = "deep",
    tv: float = 1.0,
    target: Literal["image", "activations"] = "image",
    shape: Sequence[int] = (224, 224),
    preprocess: Callable[[Tensor], Tensor] | None = None,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: bool,
    out: Any = None,
) -> NDArray[Any] | Fit: ...
@overload
def maximize_activation(
    model: Module | str,
    layer: str = "",
    unit: int = 0,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: Sequence[int] | None = None,
    scale: float = 1.0,
    order: Literal["rgb", "bgr"] = "rgb",
    prior: Literal["deep", "tv", "none"] = "deep",
    tv: float = 1.0,
    objective: Literal["activation", "probability"] = "activation",
    goal: float | None = None,
    window: int = 1,
    shape: Sequence[int] = (224, 224),
    channels: int = 3,
    preprocess: Callable[[Tensor], Tensor] | None = None,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[False] = False,
    out: Any = None,
) -> NDArray[Any]:
    r"""Make an image that excites one unit of a network.

    Shows what a class, or a map inside a classifier, stands for: a network that was trained
    on nothing is fitted so that its image makes the unit's activation large.

    Parameters
    ----------
    model : object
        A torch.nn.Module, which is copied and not changed; or the import path of a function that makes one, package.module:function, with a file of weights (.npz or .safetensors) after an @.
    preset : fast, best or paper, default 'fast'
        How much to spend: fast suits a laptop, best takes several times as long for the last tenths of a decibel, paper is the published setting.
    iterations : auto or an integer from 1 to 1000000, default 'auto'
        Number of iterations; auto takes those of the preset, or stops earlier.
    extra_iterations : an integer from 0 to 1000000, default 0
        Number of iterations to go on for after the fit would have stopped: more detail, and more noise. The last image is then the result.
    restarts : auto or an integer from 1 to 100, default 'auto'
        Number of fits from different seeds to average, whose spread is the uncertainty of tasks without one of their own; auto is 1, or several with the best preset.
    share : auto, yes or no, default 'auto'
        Whether one network is fitted to windows of all planes and restores every one of them, in place of a fit of each plane; auto does so from 590,000 pixels on, or 16 planes of less than 192 x 192, where the task can.
    tile : auto, an integer from 1 to 1000000 or None, default 'auto'
        Side in pixels of the tiles that large planes are cut into, rounded up to a multiple of 192, so that memory does not grow with the image; auto cuts planes above a megapixel where tiles are restored as the whole is; None cuts none.
    neighbours : auto or an integer from 0 to 8, default 'auto'
        Where planes share a network, how many planes on either side of a plane it sees beside that plane; auto takes 2 where neighbours show the same things.
    channel_axis : auto, an integer or None, default 'auto'
        Axis that holds colours or channels, restored together; auto takes a last axis of 3 or 4 for colours, None has no such axis.
    spatial_dims : an integer from 2 to 3, default 2
        2 restores every plane by itself, 3 restores volumes as a whole.
    z_spacing : auto or a finite number from 0.001 to 1000, default 'auto'
        Distance of the planes of a volume over that of its pixels along y and x: the larger, the less the network looks across planes; auto is what a file or a layer says, else 1.
    device : a string, default 'auto'
        auto, cpu, cuda, cuda:N or mps.
    precision : auto, float32 or bfloat16, default 'auto'
        Arithmetic inside the network; auto is bfloat16 where the hardware has it.
    seed : an integer from 0 to 2147483647, default 0
        Start of the random numbers: the same seed on the same machine gives the same image.
    dtype : float32 or input, default 'float32'
        Type of the result: float32, or the input's own, rounded and clipped.
    layer : a string, default ''
        Name of the layer, as named_modules has it.
    mean : one or more finite numbers, such as (1, 2, 4) or None, default None
        What the model's preprocessing subtracts, per channel.
    std : one or more finite numbers of 1e-12 or more, such as (1, 2, 4) or None, default None
        What the model's preprocessing divides by, per channel.
    size : one or more integers of 1 or more, such as (1, 2, 4) or None, default None
        Rows and columns that the model takes; None gives it the image as it is.
    scale : a finite number of 1e-12 or more, default 1.0
        What white becomes before the mean: 255 for models of bytes.
    order : rgb or bgr, default 'rgb'
        Order of the channels that the model takes.
    prior : deep, tv or none, default 'deep'
        deep fits a network; tv fits the pixels themselves under a total variation penalty, none without any: what the papers compare with.
    tv : a finite number of 0 or more, default 1.0
        Weight of the penalty of the tv prior.
    unit : an integer of 0 or more, default 0
        Number of the unit: a class of the last layer, or a map.
    objective : activation or probability, default 'activation'
        What to make large: the activation, or its log-probability among the units of the layer.
    goal : a finite number or None, default None
        Value that the activation is to reach; None makes it as large as it gets.
    window : an integer from 1 to 4096, default 1
        Side of the square in the middle of a map whose activations are averaged.
    shape : one or more integers from 16 to 4096, such as (1, 2, 4), default (224, 224)
        Rows and columns of the result.
    channels : an integer from 1 to 64, default 3
        Channels of the result.
    preprocess : callable, optional
        Maps an image tensor (1, C, Y, X) in [0, 1] to the model's input; takes the place of mean, std, size, scale and order.
    architecture : Architecture or dict, optional
        Network in place of the preset's; see `napari_dip.prior.architecture`.
    stop : Rule or dict, optional
        Stopping rule in place of the preset's; see `napari_dip.prior.stopping`.
    weights : dict of str to Tensor, optional
        Weights of the network to begin from, as `Fit.weights` of a fit with the
        same network and number of channels; a job of one fit gives them.  Or
        networks that `napari-dip batch --share` has fitted, to restore with.
    state : dict, optional
        From `Iterate.checkpoint` in a callback of the same call, to go on with
        its fit to the same bits; for a job of one fit.  Or, for any job, an
        empty dict, in which planes, tiles and fits that are done are kept, and
        by `Iterate.checkpoint` the fit that runs: the same call with it goes on.
    analysis : dict or sequence of dict, optional
        What was found out about another image of the same kind, one for every
        group of channels: ``fit.settings['planes'][0]['analysis']``.
    progress : bool, default False
        Show a progress bar on standard error.
    callback : callable, optional
        Called with every `Iterate`; returning True stops the fit, which keeps
        its best image.
    full_output : bool, default False
        Return a `Fit` in place of the image. Its `uncertainty` is the standard
        deviation of every pixel, where the task has one.
    out : array, optional
        Where the result is put, of its shape and any type; an array of zarr or
        h5py takes a result that is larger than the memory, part by part.

    Returns
    -------
    ndarray or Fit
        The image in the units of the input, float32 unless `dtype` says
        otherwise, or the whole `Fit`.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.
    OutOfMemory
        If the fit is too large for the device; the message says what fits.

    Notes
    -----
    First paper, section 3.5.  The paper preset is that of the published
    program (widths 16 to 128 on six scales, no skip at the finest, kernels down 5 3 5 5 3 5
    and up 5 3 5 3 5 3, average pooling, a code perturbed by 0.03, 3100 iterations of Adam).
    For classes that program minimises ``abs(300 - activation)`` at a rate of 0.01, for maps
    ``-activation`` at 0.001, the only rate that the text names.  The result is the averaged
    output with a decay of 0.9.
    """

@overload
def maximize_activation(
    model: Module | str,
    layer: str = "",
    unit: int = 0,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: Sequence[int] | None = None,
    scale: float = 1.0,
    order: Literal["rgb", "bgr"] = "rgb",
    prior: Literal["deep", "tv", "none"] = "deep",
    tv: float = 1.0,
    objective: Literal["activation", "probability"] = "activation",
    goal: float | None = None,
    window: int = 1,
    shape: Sequence[int] = (224, 224),
    channels: int = 3,
    preprocess: Callable[[Tensor], Tensor] | None = None,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: Literal[True],
    out: Any = None,
) -> Fit: ...
@overload
def maximize_activation(
    model: Module | str,
    layer: str = "",
    unit: int = 0,
    *,
    preset: Literal["fast", "best", "paper"] = "fast",
    iterations: int | Literal["auto"] = "auto",
    extra_iterations: int = 0,
    restarts: int | Literal["auto"] = "auto",
    share: Literal["auto", "yes", "no"] = "auto",
    tile: int | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: Sequence[int] | None = None,
    scale: float = 1.0,
    order: Literal["rgb", "bgr"] = "rgb",
    prior: Literal["deep", "tv", "none"] = "deep",
    tv: float = 1.0,
    objective: Literal["activation", "probability"] = "activation",
    goal: float | None = None,
    window: int = 1,
    shape: Sequence[int] = (224, 224),
    channels: int = 3,
    preprocess: Callable[[Tensor], Tensor] | None = None,
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: bool,
    out: Any = None,
) -> NDArray[Any] | Fit: ...
