"""Publishes a microphone as AudioDataStamped and AudioInfo (``cs3 mic``).

A stamp is the time of the first sample: the host time at which PortAudio says that the block was
captured, not the time of the callback.
"""

from __future__ import annotations

import argparse
import array
import math
import queue
from typing import Any

from audio_common_msgs.msg import AudioData, AudioDataStamped, AudioInfo
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from cs3_ros.collision import NS_PER_S
from cs3_ros.files.pcm import SoundFormat
from cs3_ros.ros import qos
from cs3_ros.ros.command import before_given
from cs3_ros.ros.environment import ros
from cs3_ros.ros.messages import header, info_message

MAX_AGE_S = 2.0
"""A block older than this at its callback has no believable capture time."""


def import_sounddevice() -> Any:
    """The sounddevice module.

    Raises:
        RuntimeError: PortAudio is missing; names the fix.
    """
    try:
        import sounddevice
    except OSError as error:  # sounddevice finds no PortAudio library
        raise RuntimeError(f'{error}: `apt install libportaudio2`, then try again') from error
    except ImportError as error:
        raise RuntimeError(f'{error}: `pip install sounddevice`, then try again') from error
    return sounddevice


class Microphone(Node):
    """One input device as a pair of topics, ``audio`` and ``audio_info``.

    Parameters, read once at the start: ``device`` (a name or an index as ``python -m sounddevice``
    lists them; empty takes the default), ``rate`` (samples per second), ``channels``, ``block_s``
    (seconds of one message) and ``frame_id`` (of the headers).

    Args:
        options: further arguments of rclpy's node.

    Raises:
        RuntimeError: no PortAudio, no such device, or it refuses the format; says which.
        ValueError: a parameter of another type or out of range.
    """

    def __init__(self, **options: Any) -> None:
        sounddevice = import_sounddevice()
        super().__init__('cs3_microphone', **{'namespace': 'cs3', **options})
        try:
            qos.check(self)
            device, rate, channels, block_s, self._frame_id = self._declared()
        except (ValueError, ParameterException) as error:
            self.destroy_node()
            raise ValueError(f'microphone: {error}') from error
        self.dropped = 0
        self._rate = rate
        self._blocks: queue.Queue[tuple[int, bytes]] = queue.Queue(maxsize=100)
        latched = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        self._audio = qos.publisher(self, AudioDataStamped, 'audio', 100)
        self._info = qos.publisher(self, AudioInfo, 'audio_info', latched)
        qos.warn_without_effect(self)
        self._stream: Any = None
        try:
            self._stream = sounddevice.RawInputStream(
                samplerate=rate,
                channels=channels,
                dtype='int16',
                device=device,
                blocksize=round(rate * block_s),
                callback=self._captured,
            )
            self._stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            self.close()
            self.destroy_node()
            raise RuntimeError(
                f'microphone {device!r} at {rate} Hz, {channels} channel(s): {error}; '
                '`python -m sounddevice` lists what there is'
            ) from error
        self._info.publish(info_message(SoundFormat(rate, channels)))

    def _declared(self) -> tuple[str | int | None, int, int, float, str]:
        """Device, rate, channels, seconds of a block, frame_id."""
        # A launch file and a command line turn an index into a number.
        either = ParameterDescriptor(
            description='Name or index of the device; empty: default.',
            dynamic_typing=True,
            read_only=True,
        )
        device: Any = self.declare_parameter('device', '', either).value
        if type(device) not in (str, int):
            raise ValueError(f'device = {device!r}: expected a name or an index')
        rate = self._number('rate', 48_000, 'Samples per second.')
        channels = self._number('channels', 1, 'Channels to record.')
        block_s = self._number('block_s', 0.02, 'Length of one message, seconds.')
        described = ParameterDescriptor(description='frame_id of the sound.', read_only=True)
        frame_id: str = self.declare_parameter('frame_id', 'microphone', described).value
        if isinstance(device, str) and device.isdigit():
            device = int(device)
        return device if device != '' else None, rate, channels, block_s, frame_id

    def _number(self, name: str, default: Any, text: str) -> Any:
        described = ParameterDescriptor(description=text, read_only=True)
        value = self.declare_parameter(name, default, described).value
        if not 0 < value < math.inf:
            raise ValueError(f'{name} = {value}: expected a positive number')
        return value

    def run(self) -> None:
        """Publish what is captured until the process is interrupted."""
        while self.context.ok():
            try:
                stamp_ns, block = self._blocks.get(timeout=0.2)
            except queue.Empty:
                continue
            message = AudioDataStamped(header=header(stamp_ns, self._frame_id))
            message.audio = AudioData(data=array.array('B', block))
            self._audio.publish(message)

    def close(self) -> None:
        """Release the device."""
        if self._stream is not None:
            self._stream.close()

    def _captured(self, data: Any, frames: int, times: Any, status: Any) -> None:
        """PortAudio's own thread: only take the time and hand over."""
        if status:
            self.get_logger().warning(f'microphone: {status}', throttle_duration_sec=5.0)
        age_s = times.currentTime - times.inputBufferAdcTime
        if not 0 <= age_s <= MAX_AGE_S:  # some hosts give 0 as capture time
            age_s = frames / self._rate
        now_ns = self.get_clock().now().nanoseconds
        try:
            self._blocks.put_nowait((now_ns - round(age_s * NS_PER_S), bytes(data)))
        except queue.Full:
            self.dropped += 1
            self.get_logger().warning(
                f'microphone: {self.dropped} block(s) dropped, the publisher is too slow',
                throttle_duration_sec=5.0,
            )


def main(options: argparse.Namespace) -> int:
    """``cs3 mic``."""
    given = {name: getattr(options, name) for name in ('device', 'rate', 'channels')}
    short = [
        word
        for name, value in given.items()
        if value is not None
        for word in ('-p', f'{name}:={value}')
    ]
    with ros(before_given(short, options.ros_arguments)):
        node = Microphone()
        try:
            node.run()
        except KeyboardInterrupt:
            return 130
        finally:
            node.close()
            node.destroy_node()
    return 0
