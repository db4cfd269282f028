"""The depth of a volume in a file: the third last axis but for the channels."""

from __future__ import annotations

from typing import Any

from napari_dip.io.image import Header


def _others(axes: str, channel_axis: int | None) -> list[int]:
    """Return the axes but for the channels."""
    channel = None if channel_axis is None else channel_axis % len(axes)
    return [i for i in range(len(axes)) if i != channel]


def slices_last(axes: str, channel_axis: int | None) -> tuple[int, ...]:
    """Return how to transpose an image so that Z, if it has one, is the depth."""
    order, others = list(range(len(axes))), _others(axes, channel_axis)
    for z in others[:-3]:
        if axes[z] == "Z":
            order.remove(z)
            order.insert(order.index(others[-3]) + 1, z)
    return tuple(order)


def companion_order(
    data: Any, own: Header, like: Header, channel_axis: int | None
) -> tuple[int, ...]:
    """Return how to transpose what accompanies an image so that Z is the depth, too.

    Where its own file names no Z, its axes are those of the image, with or without
    channels.
    """
    if "Z" in own.axes and data.shape == own.shape:
        return slices_last(own.axes, own.channel_axis)
    order = slices_last(like.axes, channel_axis)
    if channel_axis is not None and data.ndim == len(order) - 1:
        channel = channel_axis % len(order)
        order = tuple(i - (i > channel) for i in order if i != channel)
    return order if data.ndim == len(order) else tuple(range(data.ndim))


def times_note(axes: str, channel_axis: int | None, name: str) -> list[str]:
    """Return a warning where the file names no slices, and the depth is the time."""
    others = "".join(axes[i] for i in _others(axes, channel_axis))
    if "Z" in others or others[-3:-2] != "T":
        return []
    return [
        f"{name} has the axes {axes}, so its planes are times and not slices; a volume "
        "(--spatial-dims 3, or a PSF of three axes) takes them for slices"
    ]
