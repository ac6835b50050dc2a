"""The bag player: waits, keeps order, bytes, times and QoS."""

from __future__ import annotations

import needs

needs.ros()

import argparse
import signal
from pathlib import Path

import pytest
import rclpy
from audio_common_msgs.msg import AudioDataStamped, AudioInfo
from fakes import ClickRecording
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage

from cs3_ros import cli
from cs3_ros.files.bag_writer import make_bag
from cs3_ros.files.bags import Bag, BagMessage, BagTopic
from cs3_ros.ros import player
from cs3_ros.ros.messages import message_class, stamp_to_ns
from cs3_ros.ros.player import Player

TYPES = {
    '/cs3/image/compressed': CompressedImage,
    '/cs3/audio': AudioDataStamped,
    '/cs3/audio_info': AudioInfo,
}


@pytest.fixture(scope='module')
def bag(tmp_path_factory) -> Bag:
    """0.4 s of frames and sound."""
    recording = ClickRecording((0.2,), 0.4, (32, 16))
    return Bag(make_bag(recording, tmp_path_factory.mktemp('player') / 'bag'))


@pytest.fixture
def play(listener):
    """Makes players that end with the test."""
    players: list[Player] = []

    def make(*arguments, **keywords) -> Player:
        players.append(Player(*arguments, **keywords))
        return players[-1]

    yield make
    for made in players:
        made.destroy_node()


def options(bag: Bag | Path, **changes) -> argparse.Namespace:
    given = dict(bag=bag, rate=1.0, clock=False, loop=False, wait=10.0, ros_arguments=[])
    return argparse.Namespace(**given | changes)


def test_every_message_arrives_in_order_and_whole(play, listener, bag) -> None:
    for topic, message_type in TYPES.items():
        listener.listen(message_type, topic)
    made = play(bag, rate=20.0)
    assert made.wait_for_subscribers(10.0) == []
    steps: list[int] = []
    total = sum(topic.count for topic in bag.topics)
    assert made.play(steps.append) == total == sum(steps)
    assert listener.until(lambda: sum(map(len, listener.heard.values())) == total)
    for topic, message_type in TYPES.items():
        stored = [deserialize_message(m.data, message_type) for m in bag.messages([topic])]
        assert listener.heard[topic] == stored and stored
    made.play()
    assert listener.until(lambda: sum(map(len, listener.heard.values())) == 2 * total)


def test_it_waits_until_every_topic_is_subscribed_to(play, listener, bag) -> None:
    listener.listen(CompressedImage, '/cs3/image/compressed')
    made = play(bag)
    assert sorted(made.wait_for_subscribers(0.3)) == ['/cs3/audio', '/cs3/audio_info']
    listener.listen(AudioDataStamped, '/cs3/audio')
    listener.listen(AudioInfo, '/cs3/audio_info')
    assert made.wait_for_subscribers(10.0) == [] == made.unmatched()


class Paused:
    """A clock that sleeping moves, so that no test waits."""

    def __init__(self, monkeypatch) -> None:
        self.now, self.slept = 50.0, []
        monkeypatch.setattr(player.time, 'monotonic', lambda: self.now)
        monkeypatch.setattr(player.time, 'sleep', self.sleep)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.mark.parametrize('rate', [0.5, 1.0, 4.0])
def test_the_rate_stretches_the_recorded_times(play, monkeypatch, bag, rate: float) -> None:
    made, times = play(bag, rate=rate), []
    clock = Paused(monkeypatch)
    made.play(lambda count: times.append(clock.now - 50.0))
    recorded = [(message.log_ns - bag.start_ns) / 1e9 for message in bag.messages()]
    assert times == pytest.approx([second / rate for second in recorded], abs=1e-6)


@pytest.mark.parametrize('rate', [1.0, 2.0])
def test_the_clock_runs_at_100_hz_and_ends_with_the_bag(
    play, listener, monkeypatch, bag, rate: float
) -> None:
    clocks = listener.heard.setdefault('/clock', [])
    listener.listen(Clock, '/clock', QoSProfile(depth=1000))
    made = play(bag, rate=rate, clock=True)
    assert listener.until(lambda: made._clock_out.get_subscription_count())
    paused = Paused(monkeypatch)
    made.play()
    monkeypatch.undo()
    seconds = (bag.end_ns - bag.start_ns) / 1e9
    expected = int(seconds * 100 / rate) + 1
    assert listener.until(lambda: len(clocks) >= expected, 5.0)
    stamps = [stamp_to_ns(message.clock) for message in clocks]
    assert stamps == [bag.start_ns + round(k * 1e7 * rate) for k in range(expected)]
    assert paused.now - 50.0 == pytest.approx(seconds / rate, abs=0.02)


@pytest.mark.parametrize('rate', [0.0, -1.0, float('nan'), float('inf')])
def test_a_rate_that_is_none(listener, bag, rate: float) -> None:
    with pytest.raises(ValueError, match='rate = .*: expected a positive factor'):
        Player(bag, rate)


class OneTopic:
    """A bag in memory with one kind of message."""

    path = Path('one')
    start_ns = end_ns = 5_000_000_000

    def __init__(self, topic: BagTopic, data: bytes = b'') -> None:
        self.topics = (topic,)
        self._data = data

    def messages(self, topics=()):
        for name in topics or [topic.name for topic in self.topics]:
            (topic,) = (topic for topic in self.topics if topic.name == name)
            yield BagMessage(topic, self.start_ns, self._data)


@pytest.mark.parametrize(
    'msgtype, package',
    [
        ('radar_msgs/msg/RadarScan', 'ros-jazzy-radar-msgs'),
        ('sensor_msgs/msg/Hologram', 'ros-jazzy-sensor-msgs'),
    ],
)
def test_an_unknown_message_type_names_the_package(listener, msgtype: str, package: str) -> None:
    with pytest.raises(ImportError, match=f"'{msgtype}' is not installed: `apt install {package}`"):
        Player(OneTopic(BagTopic('/radar', msgtype, 1)))
    assert message_class('sensor_msgs/msg/CompressedImage') is CompressedImage


@pytest.mark.parametrize('reliability', ['reliable', 'best_effort'])
@pytest.mark.parametrize('durability', ['volatile', 'transient_local'])
def test_qos_is_as_recorded(play, listener, reliability: str, durability: str) -> None:
    topic = BagTopic(
        '/cs3/audio_info', 'audio_common_msgs/msg/AudioInfo', 1, reliability, durability
    )
    play(OneTopic(topic))
    node = listener.node
    assert listener.until(lambda: node.get_publishers_info_by_topic('/cs3/audio_info'))
    (info,) = node.get_publishers_info_by_topic('/cs3/audio_info')
    assert info.qos_profile.reliability == ReliabilityPolicy[reliability.upper()]
    assert info.qos_profile.durability == DurabilityPolicy[durability.upper()]


def test_a_bag_of_nothing_but_a_clock(play) -> None:
    topic = BagTopic('/clock', 'rosgraph_msgs/msg/Clock', 1)
    assert play(OneTopic(topic), clock=True).play() == 0


def test_the_command_plays_unheard_after_its_wait(domain, bag, capsys) -> None:
    assert player.main(options(bag.path, wait=0.0, rate=100.0)) == 0
    printed = capsys.readouterr().err
    assert 'no subscriber for' in printed and '/cs3/audio_info' in printed
    assert not rclpy.ok()


def test_the_command_loops(domain, bag, monkeypatch) -> None:
    turns: list[int] = []

    def three_times(self, progress) -> int:
        turns.append(1)
        if len(turns) == 3:
            raise KeyboardInterrupt
        return 1

    monkeypatch.setattr(Player, 'play', three_times)
    assert player.main(options(bag.path, wait=0.0, loop=True)) == 130
    assert len(turns) == 3


def test_a_bag_for_each_of_two_robots(domain, bag, monkeypatch) -> None:
    """Topics below /cs3 go to the namespace; a remapping and parameters are heard, too."""
    seen: list[tuple[object, ...]] = []

    def look(self, progress) -> int:
        names = sorted(publisher.topic_name for publisher in self._outputs.values())
        seen.append((self.get_fully_qualified_name(), names, self._rate))
        return 0

    monkeypatch.setattr(Player, 'play', look)
    for robot in ('one', 'two'):
        arguments = f'--ros-args -r __ns:=/{robot} -r __node:=tape -r audio:=sound'.split()
        values = ['-p', 'rate:=2.0', '-p', 'wait:=0.0']
        assert cli.main(['bag', 'play', str(bag.path), *arguments, *values]) == 0
    assert seen == [
        (
            f'/{robot}/tape',
            [f'/{robot}/{name}' for name in ('audio_info', 'image/compressed', 'sound')],
            2.0,
        )
        for robot in ('one', 'two')
    ]


def test_a_parameter_of_another_type(domain, bag, capsys) -> None:
    given = ['--ros-args', '-p', 'rate:=2']
    assert cli.main(['bag', 'play', str(bag.path), *given]) == 1
    assert 'such as rate:=1.0' in capsys.readouterr().err and not rclpy.ok()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('wait', ['30', '0'], ids=['waiting', 'playing'])
def test_a_signal_ends_it_without_a_traceback(start, bag, number: int, wait: str) -> None:
    process = start('bag', 'play', str(bag.path), '--rate', '0.01', '--wait', wait)
    before = 'no subscriber' if wait == '0' else ''
    assert process.signal_after(lambda: before in process.text, number) in (0, 130), process.text
    assert 'Traceback' not in process.text
