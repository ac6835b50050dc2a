"""Pictures of ROS messages to RGB: raw encodings and compressed files, without ROS."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cs3_ros.collision import Frame, Image

Data = bytes | bytearray | memoryview | ArrayLike


def _mono(pixels: NDArray[Any]) -> Image:
    return np.repeat(pixels, 3, axis=2)


def _mono16(pixels: NDArray[Any]) -> Image:
    return _mono((pixels >> 8).astype(np.uint8))


def _picked(*channels: int) -> Callable[[NDArray[Any]], Image]:
    return lambda pixels: pixels[:, :, channels]


def _opencv(conversion: str) -> Callable[[NDArray[Any]], Image]:
    def convert(pixels: NDArray[Any]) -> Image:
        import cv2

        # OpenCV wants contiguous rows
        image = cv2.cvtColor(np.ascontiguousarray(pixels), getattr(cv2, conversion))
        return np.asarray(image, np.uint8)

    return convert


# encoding -> bytes per channel, channels, conversion. OpenCV names a Bayer pattern by its second
# row and column, ROS by its first; generic encodings hold blue first, as cv_bridge reads them.
_ENCODINGS: dict[str, tuple[int, int, Callable[[NDArray[Any]], Image]]] = {
    'rgb8': (1, 3, _picked(0, 1, 2)),
    'bgr8': (1, 3, _picked(2, 1, 0)),
    'rgba8': (1, 4, _picked(0, 1, 2)),
    'bgra8': (1, 4, _picked(2, 1, 0)),
    'mono8': (1, 1, _mono),
    'mono16': (2, 1, _mono16),
    '8UC1': (1, 1, _mono),
    '8UC3': (1, 3, _picked(2, 1, 0)),
    '16UC1': (2, 1, _mono16),
    'bayer_rggb8': (1, 1, _opencv('COLOR_BayerBG2RGB')),
    'bayer_bggr8': (1, 1, _opencv('COLOR_BayerRG2RGB')),
    'bayer_gbrg8': (1, 1, _opencv('COLOR_BayerGR2RGB')),
    'bayer_grbg8': (1, 1, _opencv('COLOR_BayerGB2RGB')),
    'yuv422': (1, 2, _opencv('COLOR_YUV2RGB_UYVY')),
    'uyvy': (1, 2, _opencv('COLOR_YUV2RGB_UYVY')),
    'yuv422_yuy2': (1, 2, _opencv('COLOR_YUV2RGB_YUYV')),
    'yuyv': (1, 2, _opencv('COLOR_YUV2RGB_YUYV')),
}

ENCODINGS = tuple(_ENCODINGS)
"""Names of the sensor_msgs/Image encodings that ``decode_image`` reads."""


def decode_image(
    encoding: str, height: int, width: int, step: int, is_bigendian: bool | int, data: Data
) -> Image:
    """A sensor_msgs/Image to RGB.

    Args:
        encoding: one of ENCODINGS.
        height: rows.
        width: columns.
        step: bytes from one row to the next, at least those of ``width`` pixels.
        is_bigendian: byte order of 16-bit encodings.
        data: at least ``(height - 1) * step`` bytes and one row.

    Returns:
        RGB uint8 [height, width, 3], a copy of its own; 16-bit encodings keep their upper byte.

    Raises:
        ValueError: as ``check_image`` does.
    """
    raw = np.frombuffer(data, np.uint8)  # type: ignore[arg-type]
    check_image(encoding, height, width, step, raw.size)
    depth, channels, convert = _ENCODINGS[encoding]
    row = width * channels * depth
    rows = np.lib.stride_tricks.as_strided(raw, (height, row), (step, 1), writeable=False)
    pixels: NDArray[Any] = np.ascontiguousarray(rows)
    if depth == 2:
        pixels = pixels.view('>u2' if is_bigendian else '<u2')
    image = convert(pixels.reshape(height, width, channels))
    # numpy keeps the strides of a fancy index and may hand back the message's own memory
    return np.array(image, np.uint8, order='C')


def check_image(encoding: str, height: int, width: int, step: int, nbytes: int) -> None:
    """Refuse what ``decode_image`` cannot read, without touching the pixels.

    Raises:
        ValueError: unknown encoding, empty picture, too short a step or too few bytes.
    """
    if encoding not in _ENCODINGS:
        raise ValueError(
            f'image encoding {encoding!r}: expected one of {", ".join(ENCODINGS)}; '
            'set the encoding of the camera driver'
        )
    depth, channels, convert = _ENCODINGS[encoding]
    if height < 1 or width < 1:
        raise ValueError(f'{encoding} image of {width}x{height}: expected at least 1x1 pixels')
    if channels == 2 and width % 2:
        raise ValueError(f'{encoding} image {width} pixels wide: expected an even width')
    if encoding.startswith('bayer') and (height < 4 or width < 4):
        raise ValueError(f'{encoding} image of {width}x{height}: expected at least 4x4 pixels')
    row = width * channels * depth
    if step < row:
        raise ValueError(
            f'{encoding} image with step {step}: expected at least {row} bytes for {width} pixels'
        )
    needed = (height - 1) * step + row
    if nbytes < needed:
        raise ValueError(
            f'{encoding} image of {width}x{height} with step {step}: expected {needed} bytes, '
            f'got {nbytes}'
        )


def raw_frame(
    stamp_ns: int,
    frame_id: str,
    encoding: str,
    height: int,
    width: int,
    step: int,
    is_bigendian: bool | int,
    data: Data,
) -> Frame:
    """A frame of a sensor_msgs/Image, checked now and decoded when an event looks at it.

    Raises:
        ValueError: as ``check_image`` does.
    """
    check_image(encoding, height, width, step, len(data))  # type: ignore[arg-type]
    decode = partial(decode_image, encoding, height, width, step, is_bigendian)
    return Frame(stamp_ns, data, decode, frame_id)


def compressed_frame(stamp_ns: int, frame_id: str, format: str, data: Data) -> Frame:
    """A frame of a sensor_msgs/CompressedImage, checked now and decoded when an event looks at it.

    Raises:
        ValueError: as ``check_compressed`` does.
    """
    check_compressed(format, data)
    return Frame(stamp_ns, data, partial(decode_compressed, format), frame_id)


def decode_compressed(format: str, data: Data) -> Image:
    """A sensor_msgs/CompressedImage to RGB.

    The bytes tell JPEG from PNG; ``format`` is named in errors. The pixels stay as they are
    stored: an EXIF orientation does not turn them, so that masks fit the published picture.

    Args:
        format: the format field, as in ``rgb8; jpeg compressed bgr8``.
        data: the file's bytes.

    Returns:
        RGB uint8 [H, W, 3].

    Raises:
        ValueError: as ``check_compressed`` does, or a file whose content is damaged.
    """
    import cv2

    named = check_compressed(format, data)
    try:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)  # type: ignore[arg-type]
    except cv2.error as error:
        raise ValueError(f'{named}: cannot be decoded ({error.err})') from error
    if bgr is None:
        raise ValueError(f'{named}: cannot be decoded, its content is damaged')
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def check_compressed(format: str, data: Data) -> str:
    """Refuse what is no whole JPEG or PNG file, without decoding it.

    Returns:
        The picture in words, for further errors.

    Raises:
        ValueError: neither JPEG nor PNG, or a cut-off file.
    """
    raw = bytes(np.frombuffer(data, np.uint8))  # type: ignore[arg-type]
    named = f'compressed image ({len(raw)} bytes, format {format!r})'
    if raw.startswith(b'\xff\xd8'):
        whole = _jpeg_is_whole(raw)
    elif raw.startswith(b'\x89PNG\r\n\x1a\n'):
        whole = b'IEND\xae\x42\x60\x82' in raw[-4096:]
    else:
        raise ValueError(
            f'{named}: expected JPEG or PNG bytes, got {raw[:4].hex(" ") or "nothing"}; '
            'choose jpeg or png as transport of the camera'
        )
    if not whole:
        raise ValueError(f'{named}: cut off, its end is missing; expected a whole file')
    return named


def save_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write RGB uint8 [H, W, 3] or grey [H, W]; the ending (png, jpg) chooses the format.

    Raises:
        OSError: the file cannot be written.
    """
    import cv2

    stored = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), stored):
        raise OSError(f'{path}: cannot be written; check the folder and the free space')


def load_image(path: Path) -> Image:
    """Read a picture file as RGB uint8 [H, W, 3].

    Raises:
        OSError: there is no such file.
        ValueError: as ``decode_compressed`` does.
    """
    return decode_compressed(path.suffix, path.read_bytes())


def _jpeg_is_whole(raw: bytes) -> bool:
    """True where an end-of-image marker follows the first scan.

    libjpeg fills what is missing with grey and only warns. The marker is looked for after the
    first scan header because an embedded thumbnail ends with the same one.
    """
    position = 2
    while position + 4 <= len(raw) and raw[position] == 0xFF:
        marker = raw[position + 1]
        if marker == 0xFF:  # a fill byte before a marker
            position += 1
            continue
        position += 2 + int.from_bytes(raw[position + 2 : position + 4], 'big')
        if marker == 0xDA:
            return raw.find(b'\xff\xd9', position) >= 0
    return False


def as_jpeg(image: Image, quality: int = 85) -> bytes:
    """RGB uint8 [H, W, 3] as the bytes of a JPEG file.

    Raises:
        ValueError: OpenCV could not encode it.
    """
    import cv2

    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    good, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not good:
        raise ValueError(f'picture of {image.shape}: expected one that OpenCV can encode as JPEG')
    return bytes(data)
