"""The topics of the node: QoS that follows, transports, names, lazy pictures; doctor's look."""

from __future__ import annotations

import needs

needs.ros()

import array
import random
import re
import threading
import time
from collections.abc import Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError

import pytest
import rclpy
from audio_common_msgs.msg import AudioData, AudioDataStamped, AudioInfo
from fakes import (
    blocks,
    click_sound,
    clip_messages,
    fake_pipeline,
    info_message,
    jpeg_message,
    picture_message,
    sound_messages,
)
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from vision_msgs.msg import Classification

from cs3_ros.drawing import overlay as draw
from cs3_ros.files.encodings import decode_image
from cs3_ros.ros import topics
from cs3_ros.ros.messages import ns_to_stamp, stamp_to_ns
from cs3_ros.ros.subscription import matching_qos

BEST_EFFORT = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=1000)
WORDS = ('jitter', 'drift')
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def reliability(rig, topic: str) -> list[ReliabilityPolicy]:
    """What the node subscribes with, as others see it."""
    infos = rig.peer.get_subscriptions_info_by_topic(rig.peer.resolve_topic_name(topic))
    return [info.qos_profile.reliability for info in infos]


# ---- QoS ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'offered, wanted',
    [
        ([], ReliabilityPolicy.RELIABLE),
        ([RELIABLE], ReliabilityPolicy.RELIABLE),
        ([BEST_EFFORT], ReliabilityPolicy.BEST_EFFORT),
        ([RELIABLE, BEST_EFFORT], ReliabilityPolicy.BEST_EFFORT),
    ],
)
def test_matching_reliability(offered, wanted) -> None:
    qos = matching_qos(offered, 7)
    assert (qos.reliability, qos.depth) == (wanted, 7)
    assert qos.durability == DurabilityPolicy.VOLATILE


def test_latched_only_where_all_are() -> None:
    assert matching_qos([LATCHED, LATCHED], 1).durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert matching_qos([LATCHED, RELIABLE], 1).durability == DurabilityPolicy.VOLATILE


@pytest.mark.parametrize('late', [False, True], ids=['before activation', 'after activation'])
@pytest.mark.parametrize('qos', [BEST_EFFORT, RELIABLE], ids=['best effort', 'reliable'])
def test_the_reliability_of_the_camera_is_followed(rig, qos, late: bool) -> None:
    rig = rig()
    if late:
        rig.start()
    camera = rig.publisher(Image, 'image', qos, matched=0)
    if not late:
        assert rig.until(lambda: rig.node.count_publishers('image'))
        rig.start()
    assert rig.until(lambda: reliability(rig, 'image') == [qos.reliability])
    assert rig.until(lambda: camera.get_subscription_count() == 1)
    camera.publish(picture_message(0.0))
    assert rig.counted(frames=1)


def test_a_reliable_and_a_best_effort_camera_are_both_heard(rig) -> None:
    rig = rig().start()
    first = rig.publisher(Image, 'image', RELIABLE)
    first.publish(picture_message(0.0))
    assert rig.counted(frames=1)
    second = rig.peer.create_publisher(Image, 'image', BEST_EFFORT)
    assert rig.until(lambda: reliability(rig, 'image') == [ReliabilityPolicy.BEST_EFFORT])
    for publisher in (first, second):
        assert rig.until(lambda p=publisher: p.get_subscription_count() == 1)
    first.publish(picture_message(0.1))
    second.publish(picture_message(0.2))
    assert rig.counted(frames=3)
    rig.peer.destroy_publisher(second)
    assert rig.until(lambda: reliability(rig, 'image') == [ReliabilityPolicy.RELIABLE])


def test_a_latched_audio_info_reaches_a_late_node(rig) -> None:
    rig = rig()
    rig.publisher(AudioInfo, 'audio_info', LATCHED, matched=0).publish(info_message(16_000))
    rig.start()
    assert rig.until(lambda: '16000' in rig.reading('format'))


def test_sound_before_its_audio_info_is_not_lost(rig) -> None:
    rig = rig().start()
    onsets = rig.listen(Classification, 'onset')
    rig.send(*sound_messages(click_sound((0.5,), 0.8)))
    rig.next_diagnostics()
    assert rig.reading('audio_chunks') == '0' and not onsets
    rig.send(info_message())
    assert rig.counted(audio_chunks=40, gaps=0, refused_audio=0)
    assert rig.until(lambda: onsets)
    assert abs(stamp_to_ns(onsets[0].header.stamp) - 1_000_500_000_000) < 1_000_000


@pytest.fixture
def driver(domain) -> Iterator[Node]:
    """A node of a participant of its own: in one, a topic has one type."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('driver', namespace='cs3', context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_sound_without_stamps_is_refused_with_both_ways_out(driver, rig) -> None:
    driver.create_publisher(AudioData, 'audio', 10)
    rig = rig().start()
    assert rig.until(lambda: 'which has no stamps' in rig.reading('last_refused'))
    assert 'AudioDataStamped' in rig.reading('last_refused')
    assert 'audio.allow_unstamped' in rig.reading('last_refused')


def test_doctor_tells_both_ways_out_too(driver) -> None:
    driver.create_publisher(AudioData, 'audio', 10)
    (audio,) = (each for each in topics.observe(0.2) if each.topic == 'audio')
    assert 'audio.allow_unstamped' in audio.problem and audio.publishers == 1


def test_sound_without_stamps_has_the_time_of_its_arrival(driver, rig) -> None:
    rig = rig(arguments=['--ros-args', '-p', 'audio.allow_unstamped:=true']).start()
    onsets = rig.listen(Classification, 'onset')
    sender = driver.create_publisher(AudioData, 'audio', 100)
    assert rig.until(lambda: sender.get_subscription_count() == 1)
    rig.send(info_message())
    assert rig.until(lambda: '48000' in rig.reading('format'))
    began = time.time_ns()
    for message in sound_messages(click_sound((0.5,), 0.8)):
        if isinstance(message, AudioDataStamped):
            sender.publish(message.audio)
    assert rig.counted(audio_chunks=40, gaps=0) and rig.until(lambda: onsets)
    assert abs(stamp_to_ns(onsets[0].header.stamp) - began) < 3e9


def test_channels_that_are_not_there_are_told(rig) -> None:
    rig = rig(arguments=['--ros-args', '-p', 'audio.channels:=[1]']).start()
    rig.send(info_message(), *sound_messages(click_sound((0.5,), 0.8)))
    assert rig.until(lambda: 'the sound has 1 channel' in rig.reading('last_refused'))


# ---- transports -------------------------------------------------------------------------------


def test_of_two_transports_the_compressed_one_wins(rig) -> None:
    rig = rig().start()
    raw = rig.publisher(Image, 'image')
    raw.publish(picture_message(0.0))
    assert rig.counted(frames=1)
    compressed = rig.publisher(CompressedImage, 'image/compressed')
    assert rig.until(lambda: raw.get_subscription_count() == 0), 'both transports are listened to'
    for k in range(1, 4):
        raw.publish(picture_message(k / 10))
        compressed.publish(jpeg_message(k / 10))
    assert rig.counted(frames=4, duplicate_frames=0)
    assert isinstance(rig.node.active.stream.frames.latest.payload, array.array | bytes)
    assert rig.node.active.stream.frames.latest.nbytes < 3000


def test_the_raw_transport_comes_back_when_the_compressed_one_goes(rig) -> None:
    rig = rig().start()
    raw = rig.publisher(Image, 'image')
    compressed = rig.publisher(CompressedImage, 'image/compressed')
    assert rig.until(lambda: raw.get_subscription_count() == 0)
    rig.peer.destroy_publisher(compressed)
    assert rig.until(lambda: raw.get_subscription_count() == 1), 'nobody listens any more'
    raw.publish(picture_message(0.0))
    assert rig.counted(frames=1)


@pytest.mark.parametrize('transport, other', [('raw', 'image/compressed'), ('compressed', 'image')])
def test_a_transport_may_be_demanded(rig, transport: str, other: str) -> None:
    rig = rig(image_transport=transport).start()
    rig.send(picture_message(0.0) if transport == 'raw' else jpeg_message(0.0))
    assert rig.counted(frames=1)
    assert rig.peer.count_subscribers(other) == 0


# ---- what is published -------------------------------------------------------------------------


def test_segment_now_says_what_it_can_do(rig) -> None:
    rig = rig()
    rig.node.trigger_configure()
    answer = rig.call(Trigger, 'cs3/segment_now')
    assert not answer.success and 'not active' in answer.message
    rig.node.trigger_activate()
    answer = rig.call(Trigger, 'cs3/segment_now')
    assert not answer.success and 'no frame' in answer.message
    rig.send(picture_message(0.25))
    assert rig.counted(frames=1)
    masks = rig.listen(Image, 'collision_masks')
    answer = rig.call(Trigger, 'cs3/segment_now')
    assert answer.success and answer.message == '1000.250000000'
    assert rig.until(lambda: masks) and masks[0].header == picture_message(0.25).header


def test_pictures_are_drawn_only_while_somebody_looks(rig, monkeypatch) -> None:
    drawn: list[str] = []

    def counting(name, function, *arguments):
        drawn.append(name)
        return function(*arguments)

    for name in ('overlay', 'heat_map_image'):
        monkeypatch.setattr(draw, name, partial(counting, name, getattr(draw, name)))
    rig = rig(lambda bundle, settings: fake_pipeline(heat_map=True)).start()
    rig.send(picture_message(0.0))
    assert rig.counted(frames=1)

    def event() -> None:
        before = int(rig.reading('done'))
        assert rig.call(Trigger, 'cs3/segment_now').success
        assert rig.counted(done=before + 1)

    event()
    assert drawn == []
    overlays = rig.listen(Image, 'overlay')
    assert rig.until(lambda: rig.node.count_subscribers('overlay'))
    event()
    assert drawn == ['overlay'] and rig.until(lambda: overlays)
    heat_maps = rig.listen(Image, 'heatmap')
    assert rig.until(lambda: rig.node.count_subscribers('heatmap'))
    event()
    assert drawn == ['overlay', 'overlay', 'heat_map_image'] and rig.until(lambda: heat_maps)
    message = overlays[0]
    assert (message.encoding, message.width, message.height) == ('rgb8', 96, 64)
    assert message.header == picture_message(0.0).header == heat_maps[0].header
    picture = decode_image('rgb8', 64, 96, message.step, 0, message.data)
    assert 0.1 < (picture != blocks()).any(axis=2).mean() <= 1


def test_namespace_and_remappings(rig) -> None:
    arguments = ['--ros-args', '-r', 'image:=/camera/color', '-r', 'collision_masks:=masks']
    arguments += ['-r', '__node:=ears']
    rig = rig(namespace='robot/left', arguments=arguments).start()
    assert rig.node.get_fully_qualified_name() == '/robot/left/ears'
    masks = rig.listen(Image, '/robot/left/masks')
    camera = rig.publisher(Image, '/camera/color')
    info, *stamped = clip_messages()
    rig.send(info)
    for message in stamped:
        if isinstance(message, Image):
            camera.publish(message)
        else:
            rig.send(message)
    assert rig.until(lambda: masks)
    assert rig.until(lambda: '/camera/color 1' in rig.next_diagnostics()['image'].message)
    assert rig.until(lambda: rig.call(Trigger, 'ears/segment_now').success)


def test_two_nodes_side_by_side(rig) -> None:
    left, right = rig(namespace='left'), rig(namespace='right')
    masks = {}
    for one in (left, right):
        one.start()
        masks[one] = one.listen(Image, 'collision_masks')
    assert [t.name for t in threading.enumerate()].count('cs3_worker') == 2
    left.send(*clip_messages(start_s=0.0))
    right.send(*clip_messages(start_s=5.0))
    assert left.until(lambda: masks[left]) and right.until(lambda: masks[right])
    assert [m.header.stamp.sec for m in masks[left] + masks[right]] == [1000, 1005]
    assert left.counted(done=1) and right.counted(done=1)
    assert left.status['node'].name == 'left/cs3: node'
    left.node.trigger_deactivate()
    right.send(*clip_messages(start_s=10.0))
    assert right.until(lambda: len(masks[right]) == 2), 'the other one goes on'


# ---- doctor's look ------------------------------------------------------------------------------


@pytest.fixture
def talker(domain):
    """Publishes in a context and thread of its own, because ``observe`` initialises ROS itself."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('talker', namespace='/cs3', context=context)
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def talk(*sent, qos=RELIABLE):
        names = {Image: 'image', AudioDataStamped: 'audio', AudioInfo: 'audio_info'}
        publishers = [
            (node.create_publisher(type(message), topic or names[type(message)], qos), message)
            for message, topic in sent
        ]

        def run():
            while not stop.wait(0.02):
                for publisher, message in publishers:
                    publisher.publish(message)

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    yield talk
    stop.set()
    for thread in threads:
        thread.join()
    node.destroy_node()
    context.shutdown()


def observed(monkeypatch, *published: str) -> dict[str, topics.TopicReport]:
    """What is seen once these topics have been found; again and again on a busy machine."""
    monkeypatch.setattr(topics, 'DISCOVERY_S', 0.3)
    for _ in range(20):
        seen = {report.topic: report for report in topics.observe(0.3)}
        if all(seen[topic].rate_hz or seen[topic].other_types for topic in published):
            break
    assert [report.name for report in seen.values()] == [f'/cs3/{topic}' for topic in seen]
    return seen


def test_observe_sees_rates_formats_and_qos(talker, monkeypatch) -> None:
    talk = talker
    talk((picture_message(0.0), None), qos=BEST_EFFORT)
    talk((info_message(44_100, 2), None), (sound_messages(click_sound((), 0.02))[0], None))
    names = ('image', 'audio', 'audio_info')
    seen = observed(monkeypatch, *names)
    image, audio, info = (seen[name] for name in names)
    assert (image.publishers, image.qos, image.format) == (1, 'best effort', 'rgb8 96x64')
    assert image.rate_hz > 0 and audio.rate_hz > 0 and audio.qos == 'reliable'
    assert info.format == '44100 Hz, 2 ch, S16LE' and not info.problem
    assert seen['image/compressed'].publishers == 0 == seen['image/compressed'].rate_hz


def test_jitter_drift_and_losses_of_live_sound_are_measured() -> None:
    sound = [m for m in sound_messages(click_sound((), 8.0)) if isinstance(m, AudioDataStamped)]
    late = random.Random(0)
    for message in sound:
        stamp_ns = stamp_to_ns(message.header.stamp)
        stamp_ns += round((stamp_ns - 10**12) * 1e-3) + late.randrange(20_000_000)
        message.header.stamp = ns_to_stamp(stamp_ns)
    text, problem = topics._clock_of(sound, info_message())
    jitter, drift = (float(re.search(rf'{name} (-?[0-9.]+) ', text)[1]) for name in WORDS)
    assert problem == '' and 'missing' not in text and 'stamps of 8.0 s' in text
    assert jitter == pytest.approx(20, abs=1) and drift == pytest.approx(1000, abs=300)
    lossy, _ = topics._clock_of(sound[:200] + sound[225:], info_message())
    assert re.search(r', 0\.(49|50|51)\d s missing', lossy)
    assert topics._clock_of(sound, info_message(coding='mp3')) == ('', '')
    assert 'expected a multiple' in topics._clock_of(sound, info_message(channels=7))[1]


def test_observe_names_what_the_node_would_refuse(talker, monkeypatch) -> None:
    picture = picture_message(0.0)
    picture.encoding = '32FC1'
    talker((picture, None), (info_message(coding='mp3'), None), (Header(), 'audio'))
    seen = observed(monkeypatch, 'image', 'audio', 'audio_info')
    assert '32FC1' in seen['image'].problem
    assert 'format:=wave' in seen['audio_info'].problem
    assert 'std_msgs/msg/Header is published' in seen['audio'].problem
    assert 'expected audio_common_msgs/msg/AudioDataStamped' in seen['audio'].problem
    assert 'audio_message' not in seen['audio'].problem


def test_observe_names_a_picture_that_is_too_large(talker, monkeypatch) -> None:
    picture = picture_message(0.0)
    picture.height = picture.width = 30_000
    talker((picture, None))
    image = observed(monkeypatch, 'image')['image']
    assert image.format == 'rgb8 30000x30000'
    assert '30000x30000 pixels: expected at most 50 megapixels' in image.problem


def test_observe_knows_the_other_audio_package(talker, monkeypatch) -> None:
    monkeypatch.setattr(topics, 'AUDIO_STAMPED', 'std_msgs/msg/Header')  # it is not installed
    talker((Header(), 'audio'))
    assert observed(monkeypatch, 'audio')['audio'].problem.endswith('audio_message: AudioStamped')


def test_describe_names_the_middleware_and_the_domain(domain, monkeypatch) -> None:
    monkeypatch.setenv('ROS_DOMAIN_ID', '42')
    assert topics.describe().endswith(', rmw_fastrtps_cpp, domain 42')
    monkeypatch.setenv('ROS_DISTRO', 'rolling')
    assert topics.describe().startswith('rolling, ')
    monkeypatch.delenv('ROS_DISTRO')
    wheels = {'ros-kilted-rclpy': '9.1.2'}

    def version(name: str) -> str:
        if name not in wheels:
            raise PackageNotFoundError(name)
        return wheels[name]

    monkeypatch.setattr(topics, 'version', version)
    assert topics.describe().startswith('kilted (wheels), ')
    wheels.clear()
    assert topics.describe().startswith('unknown distribution, ')
