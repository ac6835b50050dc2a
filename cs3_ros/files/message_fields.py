"""Frames and sound from the fields of ROS messages, whoever deserialised them.

rclpy and rosbags give objects of the same field names, so the live node and the bag reader read
them by the same functions, and no ROS is needed here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cs3_ros.collision import LAST_STAMP_NS, MAX_PIXELS, NS_PER_S, Frame
from cs3_ros.files.images import compressed_frame, raw_frame
from cs3_ros.files.pcm import SoundChunk, SoundFormat, decode


def stamp_of(message: Any) -> int:
    """The header's stamp in nanoseconds.

    Raises:
        ValueError: an impossible stamp.
    """
    stamp = message.header.stamp
    return header_stamp_ns(stamp.sec, stamp.nanosec)


def frame_from_message(message: Any, max_pixels: int = MAX_PIXELS) -> Frame:
    """A frame that keeps the pixels of a message and decodes them when an event picks it.

    Args:
        message: sensor_msgs/Image, or CompressedImage, which has a ``format``.
        max_pixels: height times width of the largest picture that is taken.

    Raises:
        ValueError: the message cannot be a picture (unknown encoding, zero size, too few bytes,
            truncated file, too many pixels, impossible stamp); the text says what was found and
            expected.
    """
    stamp_ns, frame_id = stamp_of(message), message.header.frame_id
    if hasattr(message, 'format'):
        return compressed_frame(stamp_ns, frame_id, message.format, message.data, max_pixels)
    return raw_frame(
        stamp_ns,
        frame_id,
        message.encoding,
        message.height,
        message.width,
        message.step,
        message.is_bigendian,
        message.data,
        max_pixels,
    )


def sound_from_data(message: Any, sound_format: SoundFormat) -> SoundChunk:
    """The sound of an AudioDataStamped (ros-drivers audio_common_msgs).

    Args:
        message: with the bytes in ``audio.data``.
        sound_format: how to read them.

    Returns:
        A chunk of float32 [N, C].

    Raises:
        ValueError: the bytes do not fit the format, or an impossible stamp.
    """
    samples = decode(message.audio.data, sound_format)
    return SoundChunk(stamp_of(message), sound_format.rate, samples)


def sound_from_unstamped(message: Any, sound_format: SoundFormat, arrived_ns: int) -> SoundChunk:
    """The sound of an AudioData (audio_common_msgs), which has no stamp.

    Args:
        message: with the bytes in ``data``.
        sound_format: how to read them.
        arrived_ns: when it came, or was recorded: its last sample is not later.

    Returns:
        A chunk of float32 [N, C].

    Raises:
        ValueError: the bytes do not fit the format.
    """
    samples = decode(message.data, sound_format)
    length_ns = round(len(samples) * NS_PER_S / sound_format.rate)
    return SoundChunk(arrived_ns - length_ns, sound_format.rate, samples)


UNSTAMPED_COST = (
    'without stamps, its time of arrival is taken: onsets are as late as what delays the sound, '
    'and the event frame with them'
)
"""What sound without stamps costs, for people."""


def unstamped_refusal(topic: str) -> str:
    """Why sound without stamps is not taken, and what to do."""
    return (
        f'{topic} is audio_common_msgs/msg/AudioData, which has no stamps: expected '
        'AudioDataStamped. Have the driver publish it (audio_capture does, as audio_stamped), or '
        f'set audio.allow_unstamped to true; {UNSTAMPED_COST}'
    )


def header_stamp_ns(sec: int, nanosec: int) -> int:
    """The stamp of a message header in nanoseconds.

    Args:
        sec: its seconds.
        nanosec: its nanoseconds, less than a second.

    Raises:
        ValueError: nanoseconds of a second or more, or later than ``LAST_STAMP_NS``.
    """
    stamp_ns = sec * NS_PER_S + nanosec
    if nanosec >= NS_PER_S or stamp_ns > LAST_STAMP_NS:
        raise ValueError(
            f'header stamp of {sec} s and {nanosec} ns: expected at most '
            f'{LAST_STAMP_NS // NS_PER_S} s and less than {NS_PER_S} ns; '
            'check the clock of the driver'
        )
    return stamp_ns


def format_from_info(info: Any) -> SoundFormat:
    """The sound format that an audio_common_msgs/AudioInfo gives.

    Raises:
        ValueError: compressed sound such as mp3, an unknown sample format, no channels or a rate of
            0; says how to set the capture.
    """
    return SoundFormat(info.sample_rate, info.channels, info.sample_format, info.coding_format)


def sound_from_audio_stamped(message: Any) -> SoundChunk:
    """The sound of an AudioStamped (the other audio_common_msgs package).

    That package (github.com/mgonzs13/audio_common) carries the samples in typed arrays, of which
    one is filled, and the channel count and rate in ``audio.info``.

    Returns:
        A chunk of float32 [N, C].

    Raises:
        ValueError: no array is filled, the channel count does not divide the samples, a rate of 0,
            or an impossible stamp.
    """
    data, info = message.audio.audio_data, message.audio.info
    full_scales = {
        'float32_data': 1.0,
        'int32_data': 2.0**31,
        'int16_data': 2.0**15,
        'int8_data': 2.0**7,
    }
    filled = [name for name in full_scales if len(getattr(data, name, ()))]
    if len(filled) != 1:
        raise ValueError(
            f'AudioStamped with {len(filled)} arrays of samples: expected exactly one of '
            f'{", ".join(full_scales)}'
        )
    values, full_scale = np.asarray(getattr(data, filled[0])), full_scales[filled[0]]
    if info.channels < 1 or info.rate < 1 or values.size % info.channels:
        raise ValueError(
            f'AudioStamped: {values.size} samples, {info.channels} channel(s), {info.rate} Hz: '
            'expected positive numbers and whole sample groups'
        )
    samples = (values.astype(np.float64) / full_scale).astype(np.float32)
    return SoundChunk(stamp_of(message), info.rate, samples.reshape(-1, info.channels))
