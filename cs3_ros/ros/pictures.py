"""Frames of image messages: by the built-in converter, else by cv_bridge where it is installed.

The built-in converter, ``files/encodings.py``, reads every usual encoding and is that of the
offline commands, too. For others cv_bridge is imported when the first of them comes.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMessage

from cs3_ros.collision import MAX_PIXELS, Frame, Image
from cs3_ros.files.encodings import ENCODINGS, check_image, check_size
from cs3_ros.files.message_fields import frame_from_message, stamp_of
from cs3_ros.ros.apt import apt_package, from_apt

LONGEST_NAME = 32
"""Of an encoding that cv_bridge is asked for; a longer one is damage."""
MOST_ENCODINGS = 64
"""Encodings whose answer is remembered."""
_PROBE = 4
"""Side of the picture by which an encoding is tried."""


def is_bridged(message: ImageMessage | CompressedImage) -> bool:
    """Whether cv_bridge has to read a picture, by its encoding."""
    return isinstance(message, ImageMessage) and message.encoding not in ENCODINGS


def frame_of(message: ImageMessage | CompressedImage, max_pixels: int = MAX_PIXELS) -> Frame:
    """A frame that keeps the pixels of a message and decodes them when an event picks it.

    Args:
        message: the picture.
        max_pixels: height times width of the largest that is taken.

    Raises:
        ValueError: as ``frame_from_message`` does; of an encoding that only cv_bridge may know, why
            it does not, or the apt package that has it.
    """
    if not is_bridged(message):
        return frame_from_message(message, max_pixels)
    encoding, height, width = message.encoding, message.height, message.width
    _check_encoding(encoding)
    check_size(f'{encoding} image', width, height, max_pixels)
    least = height * message.step
    if not width or not least or message.step < width or len(message.data) < least:
        raise ValueError(
            f'{encoding} image of {width}x{height} with step {message.step}: expected a picture of '
            f'{least} bytes, got {len(message.data)}'
        )
    shape = dict(height=height, width=width, step=message.step)
    decode = partial(_decode, encoding, shape | {'is_bigendian': message.is_bigendian})
    return Frame(stamp_of(message), message.data, decode, message.header.frame_id)


def _check_encoding(encoding: str) -> None:
    """Refuse what cannot become RGB, before anything is kept.

    Raises:
        ValueError: says why.
    """
    try:
        check_image(encoding, 1, 1, 1, 1)
    except ValueError as error:  # names the encodings of the built-in converter
        why = str(error)
    bridge, problem = _bridge()
    if bridge is None:
        package = apt_package('cv_bridge')
        raise ValueError(f'{why}; or `apt install {package}`, which may know it ({problem})')
    if problem := _problem(encoding) if len(encoding) <= LONGEST_NAME else 'too long a name':
        raise ValueError(f'{why}; nor does cv_bridge read it as colours: {problem}')


@cache
def _bridge() -> tuple[Any, str]:
    """cv_bridge's converter, or None and why there is none."""
    try:
        return from_apt('cv_bridge', 'this encoding').CvBridge(), ''
    except Exception as error:  # one that was built for another numpy raises all sorts
        return None, f'{type(error).__name__}: {error}'


_problems: dict[str, str] = {}


def _problem(encoding: str) -> str:
    """Why cv_bridge makes no colours of an encoding; tried on a small black picture, once."""
    if encoding not in _problems:
        try:
            dtype, channels = _bridge()[0].encoding_to_dtype_with_channels(encoding)
            step = _PROBE * channels * np.dtype(dtype).itemsize
            shape = dict(height=_PROBE, width=_PROBE, step=step, is_bigendian=0)
            _decode(encoding, shape, bytes(_PROBE * step))
            problem = ''
        except Exception as error:  # it comes from C++, and cv2.error is no ValueError
            problem = str(error) or type(error).__name__
        if len(_problems) >= MOST_ENCODINGS:
            _problems.clear()
        _problems[encoding] = problem
    return _problems[encoding]


def _decode(encoding: str, shape: dict[str, int], data: Any) -> Image:
    """What cv_bridge makes of a picture, RGB uint8 [H, W, 3].

    Raises:
        ValueError: it cannot.
    """
    message = ImageMessage(encoding=encoding, data=data, **shape)
    try:
        image = np.asarray(_bridge()[0].imgmsg_to_cv2(message, desired_encoding='rgb8'))
    except Exception as error:
        raise ValueError(f'{encoding} image: cv_bridge cannot read it ({error})') from error
    if image.dtype != np.uint8 or image.shape != (shape['height'], shape['width'], 3):
        raise ValueError(f'{encoding} image: cv_bridge made {image.dtype} {image.shape} of it')
    return np.array(image, order='C')  # may share the memory of the message
