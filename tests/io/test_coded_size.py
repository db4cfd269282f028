"""The sizes of coded images by their first bytes, where the coding has variants."""

import struct

from napari_dip.io import coded_size


def test_jpeg_with_filling_bytes_and_markers_without_a_segment():
    frame = b"\xff\xc0\x00\x11\x08" + struct.pack(">2H", 480, 640) + bytes(10)
    assert coded_size.jpeg(b"\xff\xd8" + b"\xff\x01" + b"\xff" + frame) == 480 * 640
    assert coded_size.jpeg(b"\xff\xd8" + b"\xff\xd0" * 20) == 0


def test_lerc_of_the_first_version():
    head = b"CntZImage " + struct.pack("<4I", 11, 8, 30, 40)
    assert coded_size.lerc(head + bytes(8) + head) == 2 * 30 * 40


def test_jpeg_xl_with_a_size_for_a_screen():
    size = [(1, 1), (4, 5), (1, 3)]  # 40 x 40 pixels
    code, place = 0, 0
    for value, bits in [*size, (0, 1), (1, 1), (0, 3), (1, 1), *size, (0, 2)]:
        code |= value << place
        place += bits
    assert coded_size.jpeg_xl(b"\xff\x0a" + code.to_bytes(24, "little")) == 1600
