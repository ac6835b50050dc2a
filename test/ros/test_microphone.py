"""The microphone as topics, with a fake sounddevice."""

from __future__ import annotations

import needs

needs.ros()

import argparse
import builtins
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from audio_common_msgs.msg import AudioDataStamped, AudioInfo
from rclpy.qos import DurabilityPolicy, QoSProfile

from cs3_ros.files.message_fields import format_from_info, sound_from_data
from cs3_ros.ros import microphone
from cs3_ros.ros.microphone import Microphone

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class PortAudioError(Exception):
    pass


class Device:
    """sounddevice.RawInputStream as far as it is used."""

    made: list[Device] = []

    def __init__(self, **options) -> None:
        if options['device'] == 'nowhere':
            raise ValueError("No input device matching 'nowhere'")
        self.options, self.open = options, True
        Device.made.append(self)

    def start(self) -> None:
        if self.options['samplerate'] == 12_345:
            raise PortAudioError('Invalid sample rate [PaErrorCode -9997]')

    def close(self) -> None:
        self.open = False

    def capture(self, data: bytes, age_s: float | None, status: str = '') -> None:
        """What PortAudio's thread does; no age where the host does not tell."""
        frames = len(data) // 2 // self.options['channels']
        now = 500.0
        times = SimpleNamespace(
            currentTime=now, inputBufferAdcTime=0.0 if age_s is None else now - age_s
        )
        arguments = (memoryview(data), frames, times, status)
        thread = threading.Thread(target=self.options['callback'], args=arguments)
        thread.start()
        thread.join()


@pytest.fixture
def sounddevice(monkeypatch) -> None:
    Device.made = []
    module = SimpleNamespace(RawInputStream=Device, PortAudioError=PortAudioError)
    monkeypatch.setitem(sys.modules, 'sounddevice', module)


@pytest.fixture
def record(listener, sounddevice, monkeypatch):
    """A microphone whose clock stands at 1000 s; ``run`` ends when nothing is left to publish."""
    made: list[Microphone] = []

    def make(**options) -> Microphone:
        made.append(Microphone(**options))
        now = SimpleNamespace(nanoseconds=1000 * 10**9)
        clock = SimpleNamespace(now=lambda: now)
        monkeypatch.setattr(made[-1], 'get_clock', lambda: clock)
        return made[-1]

    yield make
    for microphone_node in made:
        microphone_node.close()
        microphone_node.destroy_node()


def publish(listener, node: Microphone, count: int) -> list[AudioDataStamped]:
    """Let it publish what was captured."""
    if '/cs3/audio' not in listener.heard:
        listener.listen(AudioDataStamped, '/cs3/audio', QoSProfile(depth=200))
    assert listener.until(lambda: node._audio.get_subscription_count() == 1)
    before = len(listener.heard['/cs3/audio'])
    ended = threading.Thread(target=node.run)
    ended.start()
    assert listener.until(lambda: len(listener.heard['/cs3/audio']) == before + count)
    node.context.shutdown()
    ended.join(5)
    assert not ended.is_alive()
    return listener.heard['/cs3/audio']


def test_the_stamp_is_the_time_of_the_first_sample(listener, record) -> None:
    node = record(rate=16_000, channels=2)
    infos = listener.heard.setdefault('/cs3/audio_info', [])
    listener.listen(AudioInfo, '/cs3/audio_info', LATCHED)
    assert listener.until(lambda: infos), 'audio_info is not latched'
    (device,) = Device.made
    assert device.options['blocksize'] == 320 and device.options['dtype'] == 'int16'
    samples = np.arange(-320, 320, dtype=np.int16)
    device.capture(samples.tobytes(), 0.030)
    device.capture(samples[::-1].tobytes(), 0.010)
    first, second = publish(listener, node, 2)
    assert first.header.frame_id == 'microphone'
    assert (first.header.stamp.sec, first.header.stamp.nanosec) == (999, 970_000_000)
    assert (second.header.stamp.sec, second.header.stamp.nanosec) == (999, 990_000_000)
    chunk = sound_from_data(first, format_from_info(infos[0]))
    assert chunk.rate == 16_000 and chunk.samples.shape == (320, 2)
    assert np.array_equal(chunk.samples.reshape(-1) * 32768, samples)
    assert infos[0].bitrate == 512_000


@pytest.mark.parametrize('age_s', [None, 7000.0, -3.0])
def test_a_host_that_does_not_tell_the_capture_time(listener, record, age_s) -> None:
    """Some hosts give 0 or nonsense: then the block has just ended."""
    node = record(rate=48_000)
    Device.made[0].capture(bytes(1920), age_s)
    (message,) = publish(listener, node, 1)
    stamp = message.header.stamp
    assert (stamp.sec, stamp.nanosec) == (999, 980_000_000)


def test_a_slow_publisher_drops_and_counts(record) -> None:
    node = record()
    for _ in range(103):
        Device.made[0].capture(bytes(1920), 0.02, 'input overflow')
    assert node.dropped == 3


@pytest.mark.parametrize(
    'options, words',
    [
        ({'device': 'nowhere'}, "microphone 'nowhere' at 48000 Hz.*No input device.*lists"),
        ({'rate': 12_345}, 'at 12345 Hz, 1 channel.*Invalid sample rate'),
    ],
)
def test_a_device_that_is_not_there_or_refuses(listener, sounddevice, options, words) -> None:
    with pytest.raises(RuntimeError, match=words):
        Microphone(**options)
    assert not any(device.open for device in Device.made), 'the device stays taken'
    assert listener.until(lambda: not listener.node.count_publishers('/cs3/audio')), 'node stays'


@pytest.mark.parametrize(
    'error, words',
    [
        (OSError('PortAudio library not found'), 'PortAudio .* `apt install libportaudio2`'),
        (ImportError("No module named 'sounddevice'"), '`pip install sounddevice`'),
    ],
)
def test_what_is_not_installed(listener, monkeypatch, error, words) -> None:
    real = builtins.__import__

    def refuse(name, *arguments, **keywords):
        if name == 'sounddevice':
            raise error
        return real(name, *arguments, **keywords)

    monkeypatch.delitem(sys.modules, 'sounddevice', raising=False)
    monkeypatch.setattr(builtins, '__import__', refuse)
    with pytest.raises(RuntimeError, match=words):
        Microphone()
    assert listener.until(lambda: not listener.node.count_publishers('/cs3/audio'))


@pytest.mark.parametrize('given, device', [('3', 3), ('USB', 'USB'), (None, None)])
def test_the_command(domain, sounddevice, monkeypatch, given, device) -> None:
    def interrupted(self) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Microphone, 'run', interrupted)
    options = argparse.Namespace(device=given, rate=44_100, channels=2)
    assert microphone.main(options) == 130
    (made,) = Device.made
    assert not made.open
    assert (made.options['device'], made.options['samplerate']) == (device, 44_100)
