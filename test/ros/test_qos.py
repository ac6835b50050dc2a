"""``qos_overrides`` over DDS: on every endpoint, from a file, refused where they make no sense."""

from __future__ import annotations

import needs

needs.ros()
needs.opencv()

from pathlib import Path

import pytest
import rclpy
import yaml
from fakes import ClickRecording
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from cs3_ros.files.bag_writer import make_bag
from cs3_ros.files.bags import Bag
from cs3_ros.ros import qos
from cs3_ros.ros.player import Player
from cs3_ros.ros.subscription import FollowingSubscription

SHIPPED = Path(__file__).resolve().parents[2] / 'config' / 'cs3_qos.yaml'
OF_ROS = {'/parameter_events', '/rosout', '/cs3/cs3/transition_event'}
"""What rclpy and rcl open for every node, without overrides."""
INPUTS = ('/cs3/image/compressed', '/cs3/image', '/cs3/audio', '/cs3/audio_info')
BEST_EFFORT, LATCHED = ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.TRANSIENT_LOCAL


def overrides(**values) -> list[rclpy.Parameter]:
    """``publisher__depth=3`` for ``/cs3/audio``; other topics by the full name."""
    names = {name: name.replace('__', '.') for name in values}
    return [
        rclpy.Parameter(f'{qos.PREFIX}/cs3/audio.{names[name]}', value=value)
        for name, value in values.items()
    ]


def profile(rig, topic: str, kind: str = 'publishers') -> QoSProfile:
    """QoS of the node's endpoint as others see it."""
    look = getattr(rig.peer, f'get_{kind}_info_by_topic')

    def mine():
        return [each for each in look(topic) if each.node_name == 'cs3']

    assert rig.until(mine), topic
    return mine()[0].qos_profile


def test_the_shipped_file_takes_effect(rig):
    rig = rig(arguments=['--ros-args', '--params-file', str(SHIPPED)]).start()
    for topic in ('/cs3/collision_masks', '/cs3/detections'):
        assert profile(rig, topic).durability == LATCHED
    for topic in ('/cs3/overlay', '/cs3/tracked_masks'):
        assert profile(rig, topic).reliability == BEST_EFFORT
    assert profile(rig, '/cs3/heatmap').reliability == ReliabilityPolicy.RELIABLE
    rig.publisher(CompressedImage, 'image/compressed')  # reliable, and not followed
    assert profile(rig, INPUTS[0], 'subscriptions').reliability == BEST_EFFORT
    assert profile(rig, INPUTS[1], 'subscriptions').reliability == ReliabilityPolicy.RELIABLE
    given = rig.node.get_parameter('qos_overrides./cs3/image/compressed.subscription.depth')
    assert given.value == 5


def test_the_shipped_file_makes_sense_for_every_node_in_it():
    for node, below in yaml.safe_load(SHIPPED.read_text()).items():
        for topic, endpoints in below['ros__parameters']['qos_overrides'].items():
            for kind, policies in endpoints.items():
                for policy, value in policies.items():
                    name = f'{qos.PREFIX}{topic}.{kind}.{policy}'
                    assert qos.problem_of(name, value) == '', node


def test_every_endpoint_of_the_node_has_overrides(rig, capfd):
    given = {f'{qos.PREFIX}{topic}.subscription.depth': 7 for topic in INPUTS}
    rig = rig(**given, statistics_period_s=1.0).start()
    opened = {p.topic_name for p in rig.node.publishers} - OF_ROS
    assert {'/statistics', '/diagnostics', '/cs3/onset', '/cs3/label_info'} < opened
    for topic in opened:
        for policy in ('history', 'depth', 'reliability', 'durability'):
            name = f'{qos.PREFIX}{topic}.publisher.{policy}'
            assert rig.node.has_parameter(name), name
    depths = {s.topic_name: s.qos_profile.depth for s in rig.node.subscriptions}
    assert {topic: depths[topic] for topic in INPUTS} == dict.fromkeys(INPUTS, 7)
    assert 'no effect' not in capfd.readouterr().err


def test_a_latched_override_serves_who_comes_late(rig):
    """A publisher of the node, its last message and a subscriber of after that."""
    name = f'{qos.PREFIX}/cs3/overlay.publisher.durability'
    rig = rig(**{name: 'transient_local'}).start()
    out = next(p for p in rig.node.publishers if p.topic_name == '/cs3/overlay')
    out.publish(Image(width=3))
    late = QoSProfile(depth=1, durability=LATCHED)
    heard = rig.listen(Image, '/cs3/overlay', late)
    assert rig.until(lambda: heard) and heard[0].width == 3


def test_depth_parameters_hold_where_no_override_is_given(rig):
    """Once declared a policy would stay what it was at first: so it is declared where given."""
    rig = rig(image_depth=3).start()
    for depth in (3, 4):
        found = [s.qos_profile for s in rig.node.subscriptions if s.topic_name == INPUTS[1]]
        assert [each.depth for each in found] == [depth]
        rig.node.trigger_deactivate()
        rig.node.trigger_cleanup()
        rig.node.set_parameters([rclpy.Parameter('image_depth', value=4)])
        rig.node.trigger_configure()
        rig.node.trigger_activate()


def test_what_is_given_stays_while_the_rest_follows(domain):
    rclpy.init(args=[])
    name = f'{qos.PREFIX}/topic.subscription.history'
    node = rclpy.create_node('n', parameter_overrides=[rclpy.Parameter(name, value='keep_all')])
    peer = rclpy.create_node('peer')
    try:
        ears = FollowingSubscription(node, Image, '/topic', lambda message: None, 3, print)
        assert ears.describe() == '0 publisher(s), reliable, all kept'
        peer.create_publisher(Image, '/topic', QoSProfile(depth=1, reliability=BEST_EFFORT))
        for _ in range(200):
            rclpy.spin_once(node, timeout_sec=0.02)
            ears.update()
            if ears.publishers and 'best' in ears.describe():
                break
        assert ears.describe() == '1 publisher(s), best effort, all kept'
        (endpoint,) = node.subscriptions
        assert endpoint.qos_profile.history == HistoryPolicy.KEEP_ALL
        ears.update()
        assert list(node.subscriptions) == [endpoint], 'nothing changed: the same subscription'
    finally:
        node.destroy_node()
        peer.destroy_node()
        rclpy.try_shutdown()


def test_a_publisher_that_an_override_keeps_out_is_told_once(rig, capfd):
    name = f'{qos.PREFIX}/cs3/image.subscription.reliability'
    rig = rig(**{name: 'reliable'}, image_transport='raw').start()
    sensor = QoSProfile(depth=1, reliability=BEST_EFFORT)
    camera = rig.peer.create_publisher(Image, 'image', sensor)
    assert rig.until(lambda: rig.node.count_publishers('image'))
    rig.until(lambda: False, 0.5)
    text = capfd.readouterr().err
    assert text.count('/cs3/image: a publisher is not heard because of qos_overrides') == 1
    assert (
        'reliab' in text.partition('because of')[2].lower() and camera.get_subscription_count() == 0
    )


SENSELESS = [
    ('publisher.depth', 0, r'depth = 0: expected a whole number in \[1, 10000\]'),
    ('publisher.depth', -1, 'depth = -1'),
    ('subscription.depth', 10_001, 'depth = 10001'),
    ('publisher.depth', 2.5, r'depth = 2\.5'),
    ('publisher.depth', True, 'depth = True'),
    ('publisher.depth', 'ten', "depth = 'ten'"),
    ('subscription.history', 'all', "history = 'all': expected keep_last or keep_all"),
    ('publisher.reliability', 'maybe', 'expected reliable or best_effort'),
    ('publisher.reliability', 1, 'reliability = 1'),
    ('publisher.durability', 'system_default', 'expected volatile or transient_local'),
    ('publisher.deadline', 5, 'one of the policies history, depth, reliability, durability'),
    ('publisher', 3, 'expected qos_overrides.<full topic name>.publisher or .subscription'),
    ('both.depth', 3, 'publisher or .subscription'),
]


@pytest.mark.parametrize('name, value, words', SENSELESS)
def test_what_makes_no_sense_fails_configure_and_says_so(rig, name, value, words):
    full = f'{qos.PREFIX}/cs3/onset.{name}'
    rig = rig(**{full: value, f'{qos.PREFIX}/diagnostics.publisher.depth': 0})
    rig.node.autostart()
    assert rig.until(lambda: rig.node.problem) and rig.state == 'unconfigured'
    assert pytest.raises(ValueError, qos.check, rig.node).match(words)
    assert full in rig.node.problem and '/diagnostics.publisher.depth = 0' in rig.node.problem
    assert rig.next_diagnostics()['node'].message == rig.node.problem


def test_an_override_of_nothing_is_told(rig, capfd):
    rig(**{f'{qos.PREFIX}/cs3/imagge.subscription.depth': 5}).start()
    text = capfd.readouterr().err
    assert '/cs3/imagge.subscription.depth has no effect: the node has no such endpoint' in text


@pytest.fixture(scope='module')
def bag(tmp_path_factory) -> Bag:
    recording = ClickRecording((0.2,), 0.4, (32, 16))
    return Bag(make_bag(recording, tmp_path_factory.mktemp('qos') / 'bag'))


def test_the_player_takes_them_and_refuses_them(listener, bag):
    player = Player(bag, clock=True, parameter_overrides=overrides(publisher__depth=3))
    try:
        depths = {p.topic_name: p.qos_profile.depth for p in player.publishers}
        assert depths['/cs3/audio'] == 3 and depths['/cs3/image/compressed'] == 200
        for topic in depths.keys() - OF_ROS:
            assert player.has_parameter(f'{qos.PREFIX}{topic}.publisher.reliability'), topic
    finally:
        player.destroy_node()
    with pytest.raises(ValueError, match=r'/cs3/audio.publisher.depth = 0'):
        Player(bag, parameter_overrides=overrides(publisher__depth=0))
