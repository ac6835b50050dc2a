"""Frames and sound from the fields of ROS messages, whoever deserialised them.

rclpy and rosbags give objects of the same field names, so the live node and the bag door read
them by the same functions, and no ROS is needed here.
"""

from __future__ import annotations

from typing import Any

from cs3_ros.collision import Frame, header_stamp_ns
from cs3_ros.images import compressed_frame, raw_frame
from cs3_ros.pcm import SoundChunk, SoundFormat, decode


def stamp_of(message: Any) -> int:
    """The header's stamp in nanoseconds.

    Raises:
        ValueError: an impossible stamp.
    """
    stamp = message.header.stamp
    return header_stamp_ns(stamp.sec, stamp.nanosec)


def frame_from_message(message: Any) -> Frame:
    """A frame that keeps the pixels of a message and decodes them when an event picks it.

    Args:
        message: sensor_msgs/Image, or CompressedImage, which has a ``format``.

    Raises:
        ValueError: the message cannot be a picture (unknown encoding, zero size, too few bytes,
            truncated file, impossible stamp); the text says what was found and expected.
    """
    stamp_ns, frame_id = stamp_of(message), message.header.frame_id
    if hasattr(message, 'format'):
        return compressed_frame(stamp_ns, frame_id, message.format, message.data)
    return raw_frame(
        stamp_ns,
        frame_id,
        message.encoding,
        message.height,
        message.width,
        message.step,
        message.is_bigendian,
        message.data,
    )


def sound_from_data(message: Any, sound_format: SoundFormat) -> SoundChunk:
    """The sound of an AudioDataStamped (ros-drivers audio_common_msgs).

    Raises:
        ValueError: the bytes do not fit the format, or an impossible stamp.
    """
    samples = decode(message.audio.data, sound_format)
    return SoundChunk(stamp_of(message), sound_format.rate, samples)
