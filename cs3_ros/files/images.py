"""Pictures of ROS messages and of files, JPEG and PNG, without ROS.

OpenCV is imported late: a base install, which only passes pictures on, does without it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import MAX_PIXELS, Frame, Image
from cs3_ros.files.encodings import Data, check_image, check_size, decode_image

MAX_SCANS = 100
"""Most scans of a JPEG: each goes over the whole picture, however few bytes it has itself.
Progressive files have about ten."""
_MAX_STEPS = 65_536
"""Segments and fill bytes of a JPEG before its first scan."""
_DENSEST_JPEG = 512
"""Pixels that a byte of a JPEG can stand for: a block of 8x8 takes at least a bit."""
_DENSEST_PNG = 1032
"""Bytes of pixels that a byte of a PNG can stand for: DEFLATE shrinks to no less."""
_STRIP = 64
"""Rows whose colours are put in order at a time, so that no second picture is in memory."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the colour types of PNG


def raw_frame(
    stamp_ns: int,
    frame_id: str,
    encoding: str,
    height: int,
    width: int,
    step: int,
    is_bigendian: bool | int,
    data: Data,
    max_pixels: int = MAX_PIXELS,
) -> Frame:
    """A frame of a sensor_msgs/Image, checked now and decoded when an event looks at it.

    Raises:
        ValueError: as ``check_image`` does.
    """
    nbytes = len(data)  # type: ignore[arg-type]
    check_image(encoding, height, width, step, nbytes, max_pixels)
    decode = partial(
        decode_image, encoding, height, width, step, is_bigendian, max_pixels=max_pixels
    )
    return Frame(stamp_ns, data, decode, frame_id)


def compressed_frame(
    stamp_ns: int, frame_id: str, format: str, data: Data, max_pixels: int = MAX_PIXELS
) -> Frame:
    """A frame of a sensor_msgs/CompressedImage, checked now and decoded when an event looks at it.

    Raises:
        ValueError: as ``check_compressed`` does.
    """
    size = compressed_size(format, data, max_pixels)
    named = _named(format)
    small = partial(_decoded_small, named, size[0] * size[1])
    return Frame(stamp_ns, data, partial(_decoded, named), frame_id, small)


def decode_compressed(format: str, data: Data, max_pixels: int = MAX_PIXELS) -> Image:
    """A sensor_msgs/CompressedImage to RGB.

    The bytes tell JPEG from PNG; ``format`` is named in errors. The pixels stay as they are
    stored: an EXIF orientation does not turn them, so that masks fit the published picture.

    Args:
        format: the format field, as in ``rgb8; jpeg compressed bgr8``.
        data: the file's bytes.
        max_pixels: height times width of the largest picture that is taken.

    Returns:
        RGB uint8 [H, W, 3].

    Raises:
        ValueError: as ``check_compressed`` does, or a file whose content is damaged.
    """
    return _decoded(check_compressed(format, data, max_pixels), data)


def _decoded_small(named: str, pixels: int, data: Data, least_pixels: int) -> Image:
    """A file that was checked at 1, 1/2, 1/4 or 1/8 of its size, with at least so many pixels.

    JPEG has these sizes in it: half of one costs a quarter of the time.
    """
    divisor = next((n for n in (8, 4, 2) if pixels >= n * n * least_pixels), 1)
    return _decoded(named, data, divisor)


def _decoded(named: str, data: Data, divisor: int = 1) -> Image:
    """What ``decode_compressed`` makes of a file that was checked."""
    import cv2

    try:
        colours = (
            cv2.IMREAD_COLOR if divisor == 1 else getattr(cv2, f'IMREAD_REDUCED_COLOR_{divisor}')
        )
        flags = colours | cv2.IMREAD_IGNORE_ORIENTATION
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)  # type: ignore[arg-type]
    except cv2.error as error:
        raise ValueError(f'{named}: cannot be decoded ({error.err})') from error
    if bgr is None:
        raise ValueError(f'{named}: cannot be decoded, its content is damaged')
    image: Image = np.asarray(bgr, np.uint8)
    for first in range(0, len(image), _STRIP):
        strip = image[first : first + _STRIP]
        strip[:] = cv2.cvtColor(strip, cv2.COLOR_BGR2RGB)
    return image


def check_compressed(format: str, data: Data, max_pixels: int = MAX_PIXELS) -> str:
    """Refuse what is no whole JPEG or PNG file, or is too large, without decoding it.

    Returns:
        The picture in words, for further errors.

    Raises:
        ValueError: as ``compressed_size`` does.
    """
    compressed_size(format, data, max_pixels)
    return _named(format)


def compressed_size(format: str, data: Data, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height of a whole JPEG or PNG file by its header, without decoding it.

    Raises:
        ValueError: neither JPEG nor PNG, a cut-off file, too many pixels, or more pixels or scans
            than its bytes are worth.
    """
    raw = bytes(np.frombuffer(data, np.uint8))  # type: ignore[arg-type]
    named = _named(format)
    if raw.startswith(b'\xff\xd8'):
        size = _jpeg_size(named, raw, max_pixels)
    elif raw.startswith(b'\x89PNG\r\n\x1a\n'):
        size = _png_size(named, raw, max_pixels)
    else:
        raise ValueError(
            f'{named}: expected JPEG or PNG bytes, got {raw[:4].hex(" ") or "nothing"}; '
            'choose jpeg or png as transport of the camera'
        )
    if size is None:
        raise ValueError(f'{named}: cut off, its end is missing; expected a whole file')
    return size


def _named(format: str) -> str:
    return f'compressed image (format {format!r})'


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


def load_labels(path: Path) -> NDArray[np.uint8]:
    """Read a picture of labels, which ``save_image`` wrote, as uint8 [H, W].

    Raises:
        OSError: there is no such file.
        ValueError: as ``decode_compressed`` does.
    """
    return load_image(path)[..., 0]


def _jpeg_size(named: str, raw: bytes, max_pixels: int) -> tuple[int, int] | None:
    """Refuse by the frame header; its size where an end-of-image marker follows the first scan.

    libjpeg fills what is missing with grey and only warns. Header and end marker are looked for
    segment by segment, as libjpeg does, because an embedded thumbnail has the same ones.
    """
    position, huffman = 2, True
    size: tuple[int, int] | None = None
    progressive, components = False, b''
    for _ in range(_MAX_STEPS):
        if position + 4 > len(raw) or raw[position] != 0xFF:
            break
        marker = raw[position + 1]
        if marker == 0xFF:  # a fill byte before a marker
            position += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # TEM and RST have no segment
            position += 2
            continue
        length = int.from_bytes(raw[position + 2 : position + 4], 'big')
        if marker == 0x00 or marker in (0xD8, 0xD9) or length < 2:  # none begins here
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # SOF of any kind
            if size is not None or length < 8:
                raise ValueError(f'{named}: its header is damaged; expected one frame header')
            height, width = (
                int.from_bytes(raw[at : at + 2], 'big') for at in (position + 5, position + 7)
            )
            check_size(named, width, height, max_pixels)
            size, huffman = (width, height), marker <= 0xC2
            progressive, components = bool(marker & 2), raw[position + 9 : position + 10]
        position += 2 + length
        if marker == 0xDA:
            if raw.rfind(b'\xff\xd9', position) < 0:
                return None
            if size is None:
                raise ValueError(f'{named}: cannot be decoded, it has no frame header')
            # one that all components share is the only one that is read
            shared = (
                not progressive and raw[position - length + 2 : position - length + 3] == components
            )
            scans = 1 if shared else 1 + raw.count(b'\xff\xda', position)
            if scans > MAX_SCANS:
                raise ValueError(f'{named} of {scans} scans: expected at most {MAX_SCANS}')
            pixels = size[0] * size[1]
            if huffman and pixels > _DENSEST_JPEG * (len(raw) - position):
                raise ValueError(
                    f'{named} of {pixels / 1e6:g} megapixels in {len(raw)} bytes: expected at '
                    'least a bit for every 8x8 pixels; its header or its content is damaged'
                )
            return size
    return None


def _png_size(named: str, raw: bytes, max_pixels: int) -> tuple[int, int] | None:
    """Refuse by IHDR, which comes first; its size where the last chunk is there."""
    if raw[12:16] != b'IHDR' or len(raw) < 33:
        return None
    width, height = (int.from_bytes(raw[at : at + 4], 'big') for at in (16, 20))
    check_size(named, width, height, max_pixels)
    if b'IEND\xae\x42\x60\x82' not in raw[-4096:]:
        return None
    row = (width * raw[24] * _CHANNELS.get(raw[25], 1) + 7) // 8
    if height * row > _DENSEST_PNG * len(raw):
        raise ValueError(
            f'{named} of {width}x{height} pixels in {len(raw)} bytes: expected more than that for '
            'its pixels; its header or its content is damaged'
        )
    return width, height


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
