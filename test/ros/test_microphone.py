"""The microphone as topics, with a fake sounddevice."""

from __future__ import annotations

import needs

needs.ros()

import builtins
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
from audio_common_msgs.msg import AudioDataStamped, AudioInfo
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from cs3_ros import cli
from cs3_ros.files.message_fields import format_from_info, sound_from_data
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
        values = [rclpy.Parameter(name, value=value) for name, value in options.items()]
        made.append(Microphone(parameter_overrides=values))
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
        values = [rclpy.Parameter(name, value=value) for name, value in options.items()]
        Microphone(parameter_overrides=values)
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


@pytest.mark.parametrize(
    'options, words',
    [
        ({'rate': 0}, 'rate = 0: expected a positive number'),
        ({'block_s': float('nan')}, 'block_s = nan'),
        ({'rate': 'fast'}, 'rate'),
        ({'device': [1, 2]}, 'device = .*expected a name or an index'),
        ({'qos_overrides./cs3/audio.publisher.depth': 0}, r'/cs3/audio.publisher.depth = 0'),
    ],
)
def test_a_parameter_that_is_none(listener, sounddevice, options, words) -> None:
    values = [rclpy.Parameter(name, value=value) for name, value in options.items()]
    with pytest.raises(ValueError, match=words):
        Microphone(parameter_overrides=values)
    assert not Device.made
    assert listener.until(lambda: 'cs3_microphone' not in listener.node.get_node_names())


def test_qos_overrides(listener, record) -> None:
    names = (
        'qos_overrides./cs3/audio.publisher.reliability',
        'qos_overrides./cs3/audio_info.publisher.depth',
    )
    node = record(**dict(zip(names, ('best_effort', 2), strict=True)))
    heard = listener.node.get_publishers_info_by_topic
    assert listener.until(lambda: heard('/cs3/audio') and heard('/cs3/audio_info'))
    (audio,), (info,) = heard('/cs3/audio'), heard('/cs3/audio_info')
    assert audio.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert node._info.qos_profile.depth == 2


COMMANDS = [
    ([], None, 48_000, 1),
    (['--device', '3', '--rate', '44100'], 3, 44_100, 1),
    (['--device', 'USB', '--channels', '2'], 'USB', 48_000, 2),
    (['--ros-args', '-p', 'device:=3', '-p', 'rate:=16000'], 3, 16_000, 1),
    (['--rate', '44100', '--ros-args', '-p', 'rate:=16000'], None, 16_000, 1),
]


@pytest.mark.parametrize('arguments, device, rate, channels', COMMANDS)
def test_the_command(domain, sounddevice, monkeypatch, arguments, device, rate, channels) -> None:
    def interrupted(self) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Microphone, 'run', interrupted)
    assert cli.main(['mic', *arguments]) == 130
    (made,) = Device.made
    assert not made.open
    given = made.options
    assert (given['device'], given['samplerate'], given['channels']) == (device, rate, channels)
    monkeypatch.setattr(sys, 'argv', ['mic', *arguments])
    monkeypatch.setattr(cli, 'ignore_signals', lambda: None)
    assert cli.mic() == 0, 'a launch file would take it for a failure'


def test_two_robots_have_a_microphone_each(domain, sounddevice, monkeypatch) -> None:
    """Node name, namespace, remapping and frame_id, as a launch file gives them."""
    seen: list[tuple[str, ...]] = []

    def look(self) -> None:
        info = self._info.topic_name
        seen.append((self.get_fully_qualified_name(), self._audio.topic_name, info, self._frame_id))

    monkeypatch.setattr(Microphone, 'run', look)
    for robot in ('one', 'two'):
        arguments = f'--ros-args -r __ns:=/{robot} -r __node:=ears -r audio:=sound'.split()
        assert cli.main(['mic', *arguments, '-p', f'frame_id:={robot}/ear']) == 0
    assert seen == [
        (f'/{robot}/ears', f'/{robot}/sound', f'/{robot}/audio_info', f'{robot}/ear')
        for robot in ('one', 'two')
    ]
