"""The task functions as type checkers and editors see them.

Written by scripts/write_stubs.py from the recipes; there is no such module at run time.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    stripes: Literal["auto", "no", "rows", "columns", "both"] = "auto",
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: MutableMapping[str, Any] | None = None,
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
    noise : auto, gaussian, poisson, poisson-gaussian or impulse, default 'auto'
        Kind of noise; auto looks whether the noise grows with the signal and chooses gaussian or poisson-gaussian. impulse removes single pixels far from what is around them as well, such as hot and dead ones.
    sigma : a finite number of 0 or more or None, default None
        Standard deviation of gaussian noise in the units of the image; None estimates it. Where neighbouring pixels share the noise and no place is flat, only a given one keeps the texture.
    stripes : auto, no, rows, columns or both, default 'auto'
        Whether whole rows or columns have offsets, as cameras and scanning microscopes add them, which are removed before the fit; auto removes those that must be noise.

    ``help(napari_dip.denoise)`` describes the others, too.
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    stripes: Literal["auto", "no", "rows", "columns", "both"] = "auto",
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    stripes: Literal["auto", "no", "rows", "columns", "both"] = "auto",
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    stripes: Literal["auto", "no", "rows", "columns", "both"] = "auto",
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: MutableMapping[str, Any] | None = None,
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
    noise : auto, gaussian, poisson, poisson-gaussian or impulse, default 'auto'
        Kind of noise; auto looks whether the noise grows with the signal and chooses gaussian or poisson-gaussian. impulse removes single pixels far from what is around them as well, such as hot and dead ones.
    sigma : a finite number of 0 or more or None, default None
        Standard deviation of gaussian noise in the units of the image; None estimates it. Where neighbouring pixels share the noise and no place is flat, only a given one keeps the texture.
    stripes : auto, no, rows, columns or both, default 'auto'
        Whether whole rows or columns have offsets, as cameras and scanning microscopes add them, which are removed before the fit; auto removes those that must be noise.

    ``help(napari_dip.denoise_guided)`` describes the others, too.
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    stripes: Literal["auto", "no", "rows", "columns", "both"] = "auto",
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    stripes: Literal["auto", "no", "rows", "columns", "both"] = "auto",
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    amount : a finite number from -1 to 100, default 1.0
        How much of the detail is added to the image; 0 returns the image, negative values take detail out.
    detail : a finite number from 0.001 to 100, default 0.5
        What counts as detail: the coarse image is the first that leaves out no more than this part of the energy finer than about 5 pixels. Smaller values keep to finer detail, larger ones take in more and may draw halos around shapes.
    detail_of : luminance or channels, default 'luminance'
        luminance adds the same detail to all three colours, so that hues stay; channels enhances every channel by itself. Only a last axis of three holds colours, and only where none has more than three times the range of another; all other channels are enhanced by themselves.

    ``help(napari_dip.enhance)`` describes the others, too.
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    quantization: Sequence[int] | None = None,
    find_tables: bool = True,
    subsampling: Literal["auto", "4:4:4", "4:2:2", "4:2:0"] = "auto",
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: MutableMapping[str, Any] | None = None,
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
    quantization : one or more integers from 1 to 65535, such as (1, 2, 4) or None, default None
        Quantisation tables of the JPEG file that holds the image: 64 integers for a gray image, 128 for colours (brightness, then colour), each by rows from the lowest frequencies, or in arrays of 8 x 8. With them the result is one of the images that the file can have been made from; the paper preset does without.
    find_tables : true or false, default True
        Look for these tables in the pixels, where quantization is not given: those of the usual qualities are found in a whole decoded image of up to 1024 x 1024 pixels, in integers from 0 to 255. Turn it off for damage of another kind in such an image.
    subsampling : auto, 4:4:4, 4:2:2 or 4:2:0, default 'auto'
        How the JPEG file shares colours between pixels, where its tables are known; auto takes what fits the pixels best.

    ``help(napari_dip.remove_artifacts)`` describes the others, too.
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    quantization: Sequence[int] | None = None,
    find_tables: bool = True,
    subsampling: Literal["auto", "4:4:4", "4:2:2", "4:2:0"] = "auto",
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
    neighbours: int | Literal["auto"] = "auto",
    channel_axis: int | Literal["auto"] | None = "auto",
    spatial_dims: int = 2,
    z_spacing: float | Literal["auto"] = "auto",
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    dtype: Literal["float32", "input"] = "float32",
    quantization: Sequence[int] | None = None,
    find_tables: bool = True,
    subsampling: Literal["auto", "4:4:4", "4:2:2", "4:2:0"] = "auto",
    architecture: Generates | dict[str, Any] | None = None,
    stop: Rule | dict[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    factor : an integer from 2 to 8, default 4
        How many times more pixels along every axis.
    operator : lanczos, box, gaussian or bicubic, default 'lanczos'
        How the coarse pixels are thought to have come from fine ones: lanczos (carefully reduced photographs; the paper's), box (camera pixels, binning), gaussian (blur by optics, then camera pixels), bicubic (reduced by common software).
    sigma : a finite number from 0 to 10, default 0.5
        Standard deviation of the blur of the gaussian operator, in pixels of the input.
    noisy : auto, yes or no, default 'auto'
        Whether the image is noisy. Filters then remove the noise before the fit; a clean image is matched exactly. auto measures the noise in the smoothest places.

    ``help(napari_dip.super_resolve)`` describes the others, too.
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    kind : auto, text, hole or random, default 'auto'
        What is missing: thin strokes such as text and scratches, large holes, or scattered pixels; auto looks at the shape of the mask.
    keep_known : true or false, default True
        Give every known pixel back exactly as it came; without it the fit is returned everywhere, which also takes away the noise of noisy pixels.
    noise : auto, none or present, default 'auto'
        Whether the known pixels are noisy, so that the fit must stop before it learns their noise; auto measures them.
    scales : one or more integers from 1 to 1024, such as (1, 2, 4), default (1,)
        Sides of the squares over which image and fit are averaged and compared; 1 is pixel by pixel, 1, 2, 4 the multi-scale loss. Square s counts 1/s.

    ``help(napari_dip.inpaint)`` describes the others, too.
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    offset : 2 integers, default (0, 0)
        Row and column of the background where the foreground's first pixel lies; what falls outside is left out.
    factors : 7 finite numbers of 0 or more, default (50.0, 25.0, 20.0, 6.0, 4.0, 12.0, 18.0)
        Weights of the background's pixels, low frequencies and illumination, the foreground's gradients and their direction, the passage between gradients, and the background's texture.
    widening : true or false, default True
        Begin with a narrow foreground that widens, as the paper's formula has it; otherwise the other way round, as its text says.

    ``help(napari_dip.blend)`` describes the others, too.
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
        Standard deviation of gaussian noise in the units of the image; None estimates it. Where neighbouring pixels share the noise and no place is flat, only a given one keeps the texture.

    ``help(napari_dip.deconvolve)`` describes the others, too.
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    shape : one or more integers of 1 or more, such as (1, 2, 4) or None, default None
        Shape of the image, such as (256, 256), (256, 256, 3) for colours or (32, 256, 256) with spatial_dims=3; None takes the measurement's.
    term : squared, absolute, huber or poisson, default 'squared'
        Data fidelity: squared error, absolute error or huber for outliers, poisson for counts of photons.
    sigma : one or more finite numbers of 0 or more, such as (1, 2, 4) or None, default None
        Standard deviation of the noise, of every measurement or one for all: errors are compared in its units. None takes every measurement's own spread.
    value_range : 2 finite numbers or None, default None
        Lowest and highest value of the image, which the result keeps to; None estimates the range by least squares and sets no limits.
    tv : a finite number of 0 or more, default 0.0
        Weight of the total variation of the image over its range; more is smoother.

    ``help(napari_dip.restore)`` describes the others, too.
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    layer : a string, default ''
        Name of the layer, as named_modules has it.
    mean : one or more finite numbers, such as (1, 2, 4) or None, default None
        What the model's preprocessing subtracts, per channel.
    std : one or more finite numbers of 1e-12 or more, such as (1, 2, 4) or None, default None
        What the model's preprocessing divides by, per channel.
    size : 2 integers of 1 or more or None, default None
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
    shape : 2 integers from 16 to 4096, default (224, 224)
        Rows and columns of the result where activations are given.
    preprocess : callable, optional
        Maps an image tensor (1, C, Y, X) in [0, 1] to the model's input; takes the place of mean, std, size, scale and order.

    ``help(napari_dip.invert_features)`` describes the others, too.
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    layer : a string, default ''
        Name of the layer, as named_modules has it.
    mean : one or more finite numbers, such as (1, 2, 4) or None, default None
        What the model's preprocessing subtracts, per channel.
    std : one or more finite numbers of 1e-12 or more, such as (1, 2, 4) or None, default None
        What the model's preprocessing divides by, per channel.
    size : 2 integers of 1 or more or None, default None
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
    shape : 2 integers from 16 to 4096, default (224, 224)
        Rows and columns of the result.
    channels : an integer from 1 to 64, default 3
        Channels of the result.
    preprocess : callable, optional
        Maps an image tensor (1, C, Y, X) in [0, 1] to the model's input; takes the place of mean, std, size, scale and order.

    ``help(napari_dip.maximize_activation)`` describes the others, too.
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
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
    tile: int | Sequence[int] | Literal["auto"] | None = "auto",
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
    state: MutableMapping[str, Any] | None = None,
    analysis: Analysis | Sequence[Any] | None = None,
    progress: bool = False,
    callback: Callable[[Iterate], Any] | None = None,
    full_output: bool,
    out: Any = None,
) -> NDArray[Any] | Fit: ...
