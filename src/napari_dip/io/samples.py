"""The samples of a TIFF as the image that they mean.

Palettes, CMYK, L*a*b*, zero for white, opacity and orientation: a TIFF says in its tags
what its samples stand for (TIFF 6.0, sections 3 to 8, 16, 18, 20 and 23).
"""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image as Pillow
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG

from napari_dip.errors import FileError
from napari_dip.io.image import (
    Header,
    Image,
    full_scale,
    split_opacity,
    turned,
    turned_header,
    with_samples,
    without_opacity,
)
from napari_dip.io.open_tiff import OpenTiff
from napari_dip.tasks.arrays import cast

_COLOURS = {
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.SEPARATED: 4,
    PHOTOMETRIC.YCBCR: 3,
    PHOTOMETRIC.CIELAB: 3,
    PHOTOMETRIC.ICCLAB: 3,
}
"""Samples of a colour; those that follow are opacity and others."""

_GRAY = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)

_RGB = (PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE, PHOTOMETRIC.YCBCR)
"""Interpretations whose colour profile is that of the image: the others are converted,
or are no colours."""

_COLOUR_TYPES = (np.uint8, np.uint16)
"""Types of the samples of colours, where they may as well be gray planes."""

_VALUES = (PHOTOMETRIC.MASK, PHOTOMETRIC.CFA, PHOTOMETRIC.LINEAR_RAW)
"""Interpretations whose samples are taken for values."""

_D50_TO_D65 = np.array(
    [
        [0.9555766, -0.0230393, 0.0631636],
        [-0.0282895, 1.0099416, 0.0210077],
        [0.0122982, -0.0204830, 1.3299098],
    ]
)
"""Bradford's adaptation of XYZ from the white of L*a*b* in files to that of sRGB."""

_YCBCR_KEPT = (
    COMPRESSION.NONE,
    COMPRESSION.LZW,
    COMPRESSION.ADOBE_DEFLATE,
    COMPRESSION.DEFLATE,
    COMPRESSION.PACKBITS,
    COMPRESSION.LZMA,
    COMPRESSION.ZSTD,
)
"""Compressions that give Y, Cb and Cr back; decoders of the others return RGB."""

_LOSSY = (
    COMPRESSION.JPEG,
    COMPRESSION.OJPEG,
    COMPRESSION.ALT_JPEG,
    COMPRESSION.JPEG_LOSSY,
    COMPRESSION.WEBP,
    COMPRESSION.JPEG_2000_LOSSY,
    COMPRESSION.APERIO_JP2000_YCBC,
    COMPRESSION.APERIO_JP2000_RGB,
)


@dataclass(frozen=True, eq=False)
class Samples:
    """What the samples of a TIFF stand for."""

    photometric: int
    """The interpretation of the samples."""
    colours: int
    """Number of samples of a pixel that are its colour; 0 where there is one sample."""
    opacity: int | None
    """Which sample is the opacity."""
    associated: bool
    """Whether colours were multiplied by the opacity."""
    white: int
    """The value of white where 0 is black, or of black where 0 is white."""
    tables: NDArray[Any] | None
    """Colours of a palette, (planes or 1, entries, 3)."""
    orientation: int
    """How the image is to be turned."""
    notes: tuple[str, ...]
    """What is not as the file says."""
    lossy: bool
    """Whether the compression loses anything."""
    signed: bool
    """Whether they are signed integers of 16 bits, stored with 2**15 added."""
    are_planes: bool
    """Whether they are gray planes, though the file calls them colours."""

    @property
    def pointwise(self) -> bool:
        """Whether the image of a region is that region of the image, bit for bit.

        Opacity is looked at as a whole, and L*a*b* is converted by a product of
        matrices, whose rounding depends on their size.
        """
        lab = self.photometric in (PHOTOMETRIC.CIELAB, PHOTOMETRIC.ICCLAB)
        one_table = self.tables is None or len(self.tables) == 1
        return self.opacity is None and one_table and not lab

    def header(self, header: Header) -> Header:
        """Return the header of the image; that of the samples has Y, X, S last."""
        dtype = np.dtype(np.int16) if self.signed else header.dtype
        notes = (*header.notes, *self.notes)
        header = dataclasses.replace(
            header,
            dtype=dtype,
            profile=header.profile if self.photometric in _RGB else None,
            notes=notes,
            lossy=self.lossy,
        )
        if self.opacity is not None:
            shape = (*header.shape[:-1], self.colours + 1)
            header = without_opacity(dataclasses.replace(header, shape=shape))
        if self.photometric == PHOTOMETRIC.SEPARATED:
            header = dataclasses.replace(header, shape=(*header.shape[:-1], 3))
        if self.tables is not None:
            header = dataclasses.replace(
                with_samples(header, 3), dtype=self.tables.dtype
            )
        return turned_header(header, self.orientation)

    def image(self, data: NDArray[Any], header: Header) -> Image:
        """Return the image of samples with the axes Y, X and S last.

        Their header is not yet that of the image.
        """
        alpha = None
        if self.opacity is not None:
            wanted = [*range(self.colours), self.opacity]
            split = split_opacity(data[..., wanted], header)
            data, alpha = split.data, split.alpha
            if alpha is not None and self.associated:
                data = _divided(data, alpha)
        header = self.header(header)
        data = turned(self._colour(data), header.axes, self.orientation)
        if alpha is not None:
            alpha = turned(alpha, header.axes, self.orientation)
            alpha = np.ascontiguousarray(alpha)
        return Image(np.ascontiguousarray(data), header, alpha)

    def _colour(self, data: NDArray[Any]) -> NDArray[Any]:
        if self.signed:
            return (data - np.uint16(2**15)).view(np.int16)  # wraps around
        if self.photometric == PHOTOMETRIC.MINISWHITE:
            return np.invert(data) if data.dtype.kind in "bi" else self.white - data
        if self.photometric == PHOTOMETRIC.SEPARATED:
            return self._from_cmyk(data)
        if self.tables is not None:
            planes = data.reshape(-1, *data.shape[-2:])
            tables = np.broadcast_to(self.tables, (len(planes), *self.tables.shape[1:]))
            pairs = zip(tables, planes, strict=True)
            coloured = [np.take(table, plane, axis=0) for table, plane in pairs]
            return np.stack(coloured).reshape(*data.shape, 3)
        if self.photometric == PHOTOMETRIC.YCBCR:
            return self._from_ycbcr(data)
        if self.photometric in (PHOTOMETRIC.CIELAB, PHOTOMETRIC.ICCLAB):
            return self._from_lab(data)
        return data

    def _from_cmyk(self, data: NDArray[Any]) -> NDArray[Any]:
        """Return RGB of cyan, magenta, yellow and black as ideal inks would show."""
        light = self.white - data.astype(np.float32)
        rgb = light[..., :3] * light[..., 3:] / self.white
        return cast(rgb, data.dtype)

    def _from_ycbcr(self, data: NDArray[Any]) -> NDArray[Any]:
        rgb = np.empty_like(data)
        for index in np.ndindex(data.shape[:-3]):
            plane = Pillow.frombytes(
                "YCbCr", data.shape[-2:-4:-1], data[index].tobytes()
            )
            rgb[index] = plane.convert("RGB")
        return rgb

    def _from_lab(self, data: NDArray[Any]) -> NDArray[Any]:
        from skimage.color import lab2xyz, xyz2rgb

        lab = data.astype(np.float32)
        if data.dtype.kind == "u":
            bits = 8 * data.dtype.itemsize
            lab[..., 0] *= 100 / self.white
            if self.photometric == PHOTOMETRIC.CIELAB:  # a and b are signed
                lab[..., 1:] -= (data[..., 1:] >> (bits - 1)) * 2.0**bits
            else:
                lab[..., 1:] -= 2.0 ** (bits - 1)
            lab[..., 1:] /= 2 ** (bits - 8)
        with warnings.catch_warnings():  # about colours that no screen shows
            warnings.simplefilter("ignore")
            rgb = xyz2rgb(lab2xyz(lab, illuminant="D50") @ _D50_TO_D65.T)
        return cast(rgb * self.white, data.dtype)


def samples_of(file: OpenTiff, name: str, colours: bool = True) -> Samples:
    """Return what the samples of an image of a TIFF stand for.

    OME-TIFF and ImageJ give the values of a palette their meaning as intensities, and
    do not turn images; ImageJ also keeps values where 0 is shown as white.  Without
    `colours` planes are gray though the file calls them colours, as tifffile may have
    done.
    """
    tif, series = file.tif, file.series
    page: Any = series.keyframe
    photometric, notes = _photometric(tif, page, name)
    are_planes = False
    if _may_be_planes(tif, series):
        are_planes = not colours or page.dtype not in _COLOUR_TYPES
        notes.append(_planes_note(series, name, are_planes))
        if are_planes:
            photometric = PHOTOMETRIC.MINISBLACK
    signed = _is_signed(tif)
    if tif.is_imagej and "cf" in (tif.imagej_metadata or {}) and not signed:
        notes.append(f"{name} has a calibration of its values, which is not applied")
    palette = photometric == PHOTOMETRIC.PALETTE
    orientation, *others = file.orientations
    if others or (orientation != 1 and (tif.is_ome or tif.is_imagej)):
        orientation = 1
        notes.append(f"{name} is not turned as its tag of orientation says")
    has_samples = "S" in series.axes and not are_planes
    count = page.samplesperpixel if has_samples else 1
    kept, opacity = _opacity(photometric, count, tuple(page.extrasamples))
    if photometric in _COLOURS and count - kept > (opacity is not None):
        notes.append(f"{name} has more samples than colours and opacity; left out")
    return Samples(
        photometric=photometric,
        colours=kept,
        opacity=opacity,
        associated=opacity is not None and EXTRASAMPLE.ASSOCALPHA in page.extrasamples,
        white=2**page.bitspersample - 1 if page.dtype.kind in "bui" else 1,
        tables=_tables(series) if palette else None,
        orientation=orientation if orientation in range(1, 9) else 1,
        notes=tuple(notes),
        lossy=page.compression in _LOSSY,
        signed=signed,
        are_planes=are_planes,
    )


def _may_be_planes(tif: tifffile.TiffFile, series: Any) -> bool:
    """Return whether colours can be gray planes.

    Of 3 or 4 planes tifffile says that they are colours, the fourth an opacity, where
    it is not told what they are; its own description then names no axes.
    """
    page = series.keyframe
    extra = tuple(page.extrasamples)
    return (
        str(page.software).startswith("tifffile")
        and page.photometric == PHOTOMETRIC.RGB
        and page.planarconfig == PLANARCONFIG.SEPARATE
        and extra == (EXTRASAMPLE.UNASSALPHA,) * (page.samplesperpixel - 3)
        and "S" in series.axes
        and "InterColorProfile" not in page.tags
        and not (tif.is_ome or tif.is_imagej)
        and not any("axes" in written for written in tif.shaped_metadata or ())
    )


def _planes_note(series: Any, name: str, are_planes: bool) -> str:
    """Return how planes were read that may be colours, and what changes that."""
    count, axis = series.keyframe.samplesperpixel, series.axes.index("S")
    colours = "colours" if count == 3 else "colours and opacity"
    note = f"{name} calls its {count} planes {colours}, as tifffile calls any {count}; "
    if are_planes:
        note += "they were read as gray "
        return note + f"(--channel-axis {axis} if they are channels)"
    return note + "they were read as such (--channel-axis none if they are gray)"


def _is_signed(tif: tifffile.TiffFile) -> bool:
    """Return whether ImageJ has stored signed integers as unsigned ones."""
    calibration = (tif.imagej_metadata or {}) if tif.is_imagej else {}
    line = tuple(calibration.get(name) for name in ("cf", "c0", "c1"))
    return line == (0, -(2**15), 1) and tif.pages.first.dtype == np.uint16


def _photometric(tif: tifffile.TiffFile, page: Any, name: str) -> tuple[int, list[str]]:
    """Return how samples are interpreted here, and what is not as the file says."""
    photometric = page.tags.valueof("PhotometricInterpretation", PHOTOMETRIC.MINISBLACK)
    if photometric not in (*_COLOURS, *_GRAY, *_VALUES):
        raise FileError(
            f"{name} has the photometric interpretation {photometric!s}, which is not "
            "read; convert it to RGB"
        )
    if photometric == PHOTOMETRIC.PALETTE:
        if tif.is_ome or tif.is_imagej or page.colormap is None:
            return PHOTOMETRIC.MINISBLACK, []
    elif photometric == PHOTOMETRIC.MINISWHITE:
        if _array_of_bits(tif):
            return PHOTOMETRIC.MINISBLACK, []
        if tif.is_imagej or page.dtype.kind not in "bui":
            note = f"{name} is shown with 0 as white; its values were read"
            return PHOTOMETRIC.MINISBLACK, [note]
    elif photometric == PHOTOMETRIC.RGB and _channels(page):
        note = f"{name} says that its first three samples of {page.samplesperpixel} "
        note += "are red, green and blue; all were read as channels"
        return PHOTOMETRIC.MINISBLACK, [note]
    elif photometric == PHOTOMETRIC.CFA:
        return photometric, [f"{name} holds a mosaic of colours; its values were read"]
    elif photometric == PHOTOMETRIC.SEPARATED and page.tags.valueof("InkSet", 1) != 1:
        raise FileError(f"{name} holds the inks of a print that are not CMYK")
    elif photometric == PHOTOMETRIC.YCBCR:
        if page.compression not in _YCBCR_KEPT:
            return PHOTOMETRIC.RGB, []
        if page.dtype != np.uint8 or page.is_subsampled:
            raise FileError(
                f"{name} holds Y, Cb and Cr of {page.dtype}, with Cb and Cr for every "
                f"{page.subsampling or (2, 2)} pixels; without JPEG, uint8 and (1, 1) "
                "are read; convert it to RGB"
            )
    return photometric, []


def _channels(page: Any) -> bool:
    """Return whether samples beyond a fourth are channels of no stated kind.

    Programs that write any number of channels declare the first three as a colour.
    """
    extra = tuple(page.extrasamples)
    return len(extra) > 1 and set(extra) == {EXTRASAMPLE.UNSPECIFIED}


def _array_of_bits(tif: tifffile.TiffFile) -> bool:
    """Return whether tifffile wrote a bool array, which it declares as 0 for white."""
    page = tif.pages.first
    return page.dtype == np.bool_ and str(page.software).startswith("tifffile")


def _opacity(
    photometric: int, count: int, extra: tuple[int, ...]
) -> tuple[int, int | None]:
    """Return how many samples are colour, and which one is opacity.

    The kind of the sample that follows a colour is often not stated; it is opacity for
    most programs.  Among gray samples it may be another channel.
    """
    stated = [i for i, kind in enumerate(extra) if kind != EXTRASAMPLE.UNSPECIFIED]
    if photometric in _COLOURS:
        colours = _COLOURS[PHOTOMETRIC(photometric)]
        return colours, colours + (stated or [0])[0] if count > colours else None
    if count > 1 and len(extra) - 1 in stated:
        return count - 1, count - 1
    return count, None


def _tables(series: Any) -> NDArray[Any]:
    """Return the colours of a palette, (planes or 1, entries, 3).

    Tables have 16 bits, but most programs put 8 bits into the upper or into both bytes,
    and some into the lower.
    """
    pages = [page.aspage() for page in series.pages if page is not None]
    tables = np.stack([page.colormap for page in pages]).swapaxes(1, 2)
    planes = int(np.prod(series.shape[: len(series.shape) - len(pages[0].shape)]))
    if len(tables) != planes or (tables == tables[0]).all():
        tables = tables[:1]
    if tables.max() < 256:
        return tables.astype(np.uint8)
    if not (tables % 257).any() or not (tables % 256).any():
        return (tables >> 8).astype(np.uint8)
    return np.ascontiguousarray(tables)


def _divided(data: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Return colours that were multiplied by the opacity as they were before."""
    opacity = alpha / full_scale(alpha.dtype)
    if data.ndim > alpha.ndim:
        opacity = opacity[..., None]
    visible = np.where(opacity > 0, opacity, 1)
    return cast(data / visible, data.dtype)
