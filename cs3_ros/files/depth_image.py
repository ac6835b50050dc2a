"""The values of a depth image, a sensor_msgs/Image as REP 118 has it, without ROS."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import MAX_PIXELS
from cs3_ros.files.encodings import check_size

DEPTH_ENCODINGS = {'16UC1': 'u2', 'mono16': 'u2', '32FC1': 'f4'}
"""Encoding -> numpy's name of its values: millimetres, millimetres, metres."""


def check_depth(message: Any, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse what ``depth_values`` cannot read, without touching the values.

    Args:
        message: sensor_msgs/Image, whoever deserialised it.
        max_pixels: height times width of the largest picture that is taken.

    Raises:
        ValueError: another encoding, an empty picture or one of too many pixels, too short a step,
            other than ``height * step`` bytes; the last row may lack its padding.
    """
    encoding, height, width = message.encoding, message.height, message.width
    if encoding not in DEPTH_ENCODINGS:
        raise ValueError(
            f'depth of encoding {encoding[:40]!r}: expected 16UC1 in millimetres or 32FC1 in '
            'metres (REP 118); take the depth that is registered to the picture, not compressed'
        )
    if not (height and width):
        raise ValueError(f'depth of {width}x{height} pixels: expected a picture')
    check_size('depth', width, height, max_pixels)
    row = width * np.dtype(DEPTH_ENCODINGS[encoding]).itemsize
    least, most = message.step * (height - 1) + row, message.step * height
    if message.step < row or not least <= len(message.data) <= most:
        raise ValueError(
            f'{encoding} depth of {width}x{height} with step {message.step} and '
            f'{len(message.data)} bytes: expected a step of at least {row} and {most} bytes'
        )


def depth_values(message: Any, max_pixels: int = MAX_PIXELS) -> NDArray[np.generic]:
    """The values as they are stored.

    Args:
        message: as in ``check_depth``.
        max_pixels: as there.

    Returns:
        [H, W], uint16 millimetres or float32 metres, in this machine's byte order.

    Raises:
        ValueError: as ``check_depth`` does.
    """
    check_depth(message, max_pixels)
    kind = np.dtype(DEPTH_ENCODINGS[message.encoding])
    stored = kind.newbyteorder('>' if message.is_bigendian else '<')
    rows: NDArray[np.generic] = np.ndarray(
        (message.height, message.width),
        stored,
        np.frombuffer(message.data, np.uint8),
        strides=(message.step, kind.itemsize),
    )
    return rows.astype(kind)
