"""Pictures of ROS messages and of files, JPEG and PNG, without ROS.

OpenCV is imported late: a base install, which only passes pictures on, does without it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import Frame, Image
from cs3_ros.files.encodings import Data, check_image, decode_image


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
    """Write a picture.

    Args:
        path: its ending chooses the format: jpg, of quality 95, or png.
        image: RGB uint8 [H, W, 3] or grey [H, W].

    Raises:
        OSError: the file cannot be written.
        ValueError: OpenCV cannot encode the picture.
    """
    path.write_bytes(as_jpeg(image, 95) if path.suffix == '.jpg' else _encoded('.png', image))


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


def as_jpeg(image: NDArray[np.uint8], quality: int = 85) -> bytes:
    """A picture as the bytes of a JPEG file.

    Args:
        image: RGB uint8 [H, W, 3] or grey [H, W].
        quality: 1 to 100.

    Raises:
        ValueError: OpenCV cannot encode it.
    """
    return _encoded('.jpg', image, quality)


def _encoded(ending: str, image: NDArray[np.uint8], quality: int | None = None) -> bytes:
    import cv2

    stored = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    flags = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    good, data = cv2.imencode(ending, stored, flags)
    if not good:
        raise ValueError(f'picture of {image.shape}: expected one that OpenCV can encode')
    return bytes(data)
