"""How many pixels a coded image stands for, by its first bytes.

For formats that Pillow does not open, or of which it opens a part only.
"""

from __future__ import annotations

import re
from fractions import Fraction

_RATIOS = tuple(map(Fraction, ("1", "6/5", "4/3", "3/2", "16/9", "5/4", "2")))
"""Width over height in JPEG XL, from its number 1 on."""

_NO_FRAME = (0xC4, 0xC8, 0xCC)
"""Markers of JPEG among those of frames that are of other segments."""

_ALONE = (0x01, *range(0xD0, 0xD9))
"""Markers of JPEG that no segment follows."""

_JXL_BOX = re.compile(b"(?:jxlc|jxlp\0\0\0\0)\xff\x0a")
"""The beginning of a codestream, as a whole or in parts, in a container."""

_SIZES = (9, 13, 18, 30)
"""Bits of a side in JPEG XL."""


def jpeg(content: bytes) -> int:
    """Return the pixels of a JPEG of any process, 0 if its size is not found.

    See section B.1.1 of ITU-T T.81; F7 begins a frame of JPEG-LS.
    """
    place = 2
    while place + 9 < len(content):
        if content[place] != 0xFF:
            return 0
        marker = content[place + 1]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME):
            height, width = (_number(content, place + i, "big", 2) for i in (5, 7))
            return height * width
        if marker == 0xFF:
            place += 1  # fills up
        elif marker in _ALONE:
            place += 2
        else:
            place += 2 + _number(content, place + 2, "big", 2)
    return 0


def jpeg_2000(content: bytes) -> int:
    """Return the pixels of the largest codestream of JPEG 2000, 0 without one.

    What holds it can say another size than the codestream, from which it is decoded.
    """
    sizes = [0]
    for marker in re.finditer(b"\xff\x4f\xff\x51", content):
        # Lsiz and Rsiz come first, see section A.5.1 of ITU-T T.800.
        sides = content[marker.end() + 4 : marker.end() + 20]
        right, bottom, left, top = (_number(sides, i, "big") for i in (0, 4, 8, 12))
        sizes.append((right - left) * (bottom - top))
    return max(sizes)


def jpeg_xl(content: bytes) -> int:
    """Return the pixels of a JPEG XL, 0 if its size is not found, or is of several.

    See sections 9 and D.2 of ISO/IEC 18181.
    """
    beginning = re.match(b"\xff\x0a", content) or _JXL_BOX.search(content)
    if beginning is None:
        return 0
    content = content[beginning.end() :]
    bits = int.from_bytes(content[:24], "little")

    def take(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    def size() -> int:
        small = take(1)

        def side() -> int:
            return (take(5) + 1) * 8 if small else take(_SIZES[take(2)]) + 1

        height, ratio = side(), take(3)
        return height * (int(height * _RATIOS[ratio - 1]) if ratio else side())

    pixels = size()
    if not take(1) and take(1):  # the metadata are not the default, and have more
        take(3)  # the orientation
        if take(1):
            size()  # for a screen
        if take(2):  # a preview, or an animation, whose images are not counted
            return 0
    return pixels


def jpeg_xr(content: bytes) -> int:
    """Return the pixels of a JPEG XR, 0 if its size is not found.

    See section A.5 of ITU-T T.832: its container is like a TIFF.
    """
    start = _number(content, 4)
    sides = {}
    for place in range(start + 2, start + 2 + 12 * _number(content, start, size=2), 12):
        size = 2 if _number(content, place + 2, size=2) == 3 else 4
        sides[_number(content, place, size=2)] = _number(content, place + 8, size=size)
    return sides.get(0xBC80, 0) * sides.get(0xBC81, 0)


def lerc(content: bytes) -> int:
    """Return the values of a LERC, 0 if their number is not found.

    See the headers of versions 1 and 2 in https://github.com/Esri/lerc.
    """
    total = 0
    for magic in re.finditer(b"Lerc2 |CntZImage ", content):
        place = magic.end()
        version = _number(content, place)
        if magic[0] == b"CntZImage ":
            total += _number(content, place + 8) * _number(content, place + 12)
            continue
        place += 8 if version >= 3 else 4  # a checksum
        depth = _number(content, place + 8) if version >= 4 else 1
        total += _number(content, place) * _number(content, place + 4) * depth
    return total


def _number(content: bytes, place: int, order: str = "little", size: int = 4) -> int:
    return int.from_bytes(content[place : place + size], order)  # type: ignore[arg-type]
