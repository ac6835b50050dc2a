"""The pixels of a sensor_msgs/Image to RGB, without ROS.

The names are those of sensor_msgs/image_encodings.hpp, and ``nv12``, ``i420`` and ``yuv420``, which
drivers use. Of planar ones ``height`` and ``width`` are those of the picture and ``step`` is that
of the luma plane; the chroma planes follow it, padded likewise (V4L2's layout). OpenCV is imported
late: a base install, which only lists and checks encodings, does without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cs3_ros.collision import MAX_PIXELS, Image

Data = bytes | bytearray | memoryview | ArrayLike


@dataclass(frozen=True)
class _Plane:
    """Where a plane lies in the data of a message."""

    start: int
    """Of its first byte."""
    rows: int
    """How many."""
    row: int
    """Bytes of a row that are pixels."""
    step: int
    """Bytes from one row to the next."""

    @property
    def end(self) -> int:
        """After its last byte; the last row may lack its padding."""
        return self.start + (self.rows - 1) * self.step + self.row


@dataclass(frozen=True)
class _Encoding:
    """How pixels lie in a message, and how they become RGB."""

    to_rgb: Callable[[NDArray[Any]], Image]
    """From [H, W, channels] of uint8 or uint16; of planar ones from OpenCV's uint8 [rows, W]."""
    channels: int = 1
    """Of a pixel, in the first plane."""
    depth: int = 1
    """Bytes of a channel."""
    even: tuple[int, int] = (1, 1)
    """Height and width must be multiples of these."""
    least: int = 1
    """Smallest height and width."""
    chroma: tuple[int, int, int] | None = None
    """Chroma planes of planar ones: how many, and their rows and columns in halves of luma's."""

    def planes(self, height: int, width: int, step: int) -> Iterator[_Plane]:
        """The planes of a picture, in their order."""
        yield _Plane(0, height, width * self.channels * self.depth, step)
        if self.chroma is not None:
            count, rows, columns = self.chroma
            rows, row, padded = height * rows // 2, width * columns // 2, step * columns // 2
            for index in range(count):
                yield _Plane(height * step + index * rows * padded, rows, row, padded)


def _mono(pixels: NDArray[Any]) -> Image:
    return np.repeat(pixels, 3, axis=2)


def _picked(*channels: int) -> Callable[[NDArray[Any]], Image]:
    return lambda pixels: pixels[:, :, channels]


def _opencv(conversion: str) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def convert(pixels: NDArray[Any]) -> NDArray[Any]:
        import cv2

        # OpenCV wants contiguous rows
        image = cv2.cvtColor(np.ascontiguousarray(pixels), getattr(cv2, conversion))
        return np.asarray(image)

    return convert


def _upper_byte(convert: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[NDArray[Any]], Image]:
    return lambda pixels: (convert(pixels) >> 8).astype(np.uint8)


def _nv24(planes: NDArray[Any]) -> Image:
    """OpenCV has no conversion: NV24 is the NV12 of a picture of twice the size."""
    width = planes.shape[1]
    luma, chroma = np.split(planes, [len(planes) // 3])  # [H, W], [2 * H, W]
    luma = luma.repeat(2, 0).repeat(2, 1)  # [2 * H, 2 * W]
    doubled = np.concatenate([luma, chroma.reshape(-1, 2 * width)])  # [3 * H, 2 * W]
    return _opencv('COLOR_YUV2RGB_NV12')(doubled)[::2, ::2]  # [H, W, 3]


def _bayer(conversion: str, bits: int) -> _Encoding:
    convert = _opencv(conversion)
    if bits == 8:
        return _Encoding(convert, least=4)
    return _Encoding(_upper_byte(convert), depth=2, least=4)


_NV12 = _Encoding(_opencv('COLOR_YUV2RGB_NV12'), even=(2, 2), chroma=(1, 1, 2))
_NV21 = _Encoding(_opencv('COLOR_YUV2RGB_NV21'), even=(2, 2), chroma=(1, 1, 2))
_I420 = _Encoding(_opencv('COLOR_YUV2RGB_I420'), even=(2, 2), chroma=(2, 1, 1))
_UYVY = _Encoding(_opencv('COLOR_YUV2RGB_UYVY'), 2, even=(1, 2))
_YUYV = _Encoding(_opencv('COLOR_YUV2RGB_YUYV'), 2, even=(1, 2))
_GREY, _GREY_16 = _Encoding(_mono), _Encoding(_upper_byte(_mono), depth=2)
_RGB, _BGR = (0, 1, 2), (2, 1, 0)

# OpenCV names a Bayer pattern by its second row and column, ROS by its first; generic encodings
# hold blue first, as cv_bridge reads them.
_ENCODINGS: dict[str, _Encoding] = {
    'rgb8': _Encoding(_picked(*_RGB), 3),
    'bgr8': _Encoding(_picked(*_BGR), 3),
    'rgba8': _Encoding(_picked(*_RGB), 4),
    'bgra8': _Encoding(_picked(*_BGR), 4),
    'rgb16': _Encoding(_upper_byte(_picked(*_RGB)), 3, 2),
    'bgr16': _Encoding(_upper_byte(_picked(*_BGR)), 3, 2),
    'rgba16': _Encoding(_upper_byte(_picked(*_RGB)), 4, 2),
    'bgra16': _Encoding(_upper_byte(_picked(*_BGR)), 4, 2),
    'mono8': _GREY,
    'mono16': _GREY_16,
    '8UC1': _GREY,
    '8UC3': _Encoding(_picked(*_BGR), 3),
    '8UC4': _Encoding(_picked(*_BGR), 4),
    '16UC1': _GREY_16,
    '16UC3': _Encoding(_upper_byte(_picked(*_BGR)), 3, 2),
    '16UC4': _Encoding(_upper_byte(_picked(*_BGR)), 4, 2),
    **{
        f'bayer_{ours}{bits}': _bayer(f'COLOR_Bayer{theirs}2RGB', bits)
        for bits in (8, 16)
        for ours, theirs in (('rggb', 'BG'), ('bggr', 'RG'), ('gbrg', 'GR'), ('grbg', 'GB'))
    },
    'yuv422': _UYVY,
    'uyvy': _UYVY,
    'yuv422_yuy2': _YUYV,
    'yuyv': _YUYV,
    'nv12': _NV12,
    'nv21': _NV21,
    'nv24': _Encoding(_nv24, chroma=(1, 2, 4)),
    'i420': _I420,
    'yuv420': _I420,
}

SPARE_ROWS = 16
"""Rows that data may have more than the picture: codecs round the height up to macroblocks."""
SPARE_BYTES = 4096
"""Bytes that it may have more besides: drivers round their buffers up to pages."""

ENCODINGS = tuple(_ENCODINGS)
"""Names of the sensor_msgs/Image encodings that ``decode_image`` reads."""


def decode_image(
    encoding: str,
    height: int,
    width: int,
    step: int,
    is_bigendian: bool | int,
    data: Data,
    max_pixels: int = MAX_PIXELS,
) -> Image:
    """A sensor_msgs/Image to RGB.

    YUV is taken for BT.601 of limited range, as OpenCV and cv_bridge do.

    Args:
        encoding: one of ENCODINGS.
        height: rows.
        width: columns.
        step: bytes from one row to the next, at least those of ``width`` pixels; of planar
            encodings the luma plane's. Planes without padding are read whatever it says.
        is_bigendian: byte order of 16-bit encodings.
        data: ``height * step`` bytes, of planar encodings those of all planes; padding of the last
            row may be missing.
        max_pixels: as in ``check_image``.

    Returns:
        RGB uint8 [height, width, 3], a copy of its own; 16-bit encodings keep their upper byte.

    Raises:
        ValueError: as ``check_image`` does.
    """
    raw = np.frombuffer(data, np.uint8)  # type: ignore[arg-type]
    check_image(encoding, height, width, step, raw.size, max_pixels)
    layout = _ENCODINGS[encoding]
    parts = []
    for plane in _planes(layout, height, width, step, raw.size):
        rows = np.lib.stride_tricks.as_strided(
            raw[plane.start :], (plane.rows, plane.row), (plane.step, 1), writeable=False
        )
        parts.append(rows.reshape(-1))
    if layout.chroma is None:
        pixels: NDArray[Any] = parts[0]
        if layout.depth == 2:
            pixels = pixels.view('>u2' if is_bigendian else '<u2').astype(np.uint16)
        image = layout.to_rgb(pixels.reshape(height, width, layout.channels))
    else:
        image = layout.to_rgb(np.concatenate(parts).reshape(-1, width))
    # numpy keeps the strides of a fancy index and may hand back the message's own memory
    return np.array(image, np.uint8, order='C')


def check_image(
    encoding: str, height: int, width: int, step: int, nbytes: int, max_pixels: int = MAX_PIXELS
) -> None:
    """Refuse what ``decode_image`` cannot read, without touching the pixels.

    Args:
        encoding: as in ``decode_image``, and so are the other fields of the message.
        height: rows.
        width: columns.
        step: bytes from one row to the next.
        nbytes: length of the data.
        max_pixels: height times width of the largest picture that is taken.

    Raises:
        ValueError: unknown encoding, empty picture, one of a size that the encoding cannot have or
            of too many pixels, too short a step, too few bytes or far too many.
    """
    if encoding not in _ENCODINGS:
        raise ValueError(
            f'image encoding {encoding!r}: expected one of {", ".join(ENCODINGS)}; '
            'set the encoding of the camera driver'
        )
    layout = _ENCODINGS[encoding]
    named = f'{encoding} image of {width}x{height}'
    if height < layout.least or width < layout.least:
        raise ValueError(f'{named}: expected at least {layout.least}x{layout.least} pixels')
    check_size(f'{encoding} image', width, height, max_pixels)
    if height % layout.even[0] or width % layout.even[1]:
        sides = 'width' if layout.even == (1, 2) else 'width and height'
        raise ValueError(f'{named}: expected an even {sides}')
    luma, *chroma = _planes(layout, height, width, step, nbytes)
    if luma.step < luma.row:
        raise ValueError(
            f'{encoding} image with step {step}: expected at least {luma.row} bytes for {width} '
            'pixels'
        )
    if len(chroma) > 1 and luma.step % 2:
        raise ValueError(
            f'{encoding} image with step {step}: expected an even one, the chroma planes have half'
        )
    needed = (chroma or [luma])[-1].end
    if nbytes < needed:
        whole = ', luma and chroma; its height is that of the luma plane' if chroma else ''
        raise ValueError(f'{named} with step {step}: expected {needed} bytes, got {nbytes}{whole}')
    if nbytes > needed + needed // height * SPARE_ROWS + SPARE_BYTES:
        raise ValueError(
            f'{named} with step {step}: expected {needed} bytes, got {nbytes}, which is another '
            'picture; height, step and data must fit together'
        )


def check_size(named: str, width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture of too many pixels by what it says of itself.

    Args:
        named: the picture in words.
        width: columns that it claims.
        height: rows that it claims.
        max_pixels: height times width of the largest that is taken.

    Raises:
        ValueError: it claims more.
    """
    if width * height > max_pixels:
        raise ValueError(
            f'{named} of {width}x{height} pixels: expected at most {max_pixels / 1e6:g} '
            'megapixels; give a smaller one or raise frames.max_megapixels'
        )


def _planes(
    layout: _Encoding, height: int, width: int, step: int, nbytes: int
) -> tuple[_Plane, ...]:
    """Where the planes of a picture lie."""
    dense = tuple(layout.planes(height, width, width))
    # Drivers give all sorts of steps with planes that have no padding; padded ones need more bytes.
    if layout.chroma is not None and nbytes == dense[-1].end:
        return dense
    return tuple(layout.planes(height, width, step))
