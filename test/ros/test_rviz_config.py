"""config/cs3.rviz names topics that the nodes publish, with displays of their types."""

from __future__ import annotations

import needs

needs.ros()
needs.opencv()

import ast
from pathlib import Path

import pytest
import yaml
from rclpy.lifecycle import LifecycleNode

from cs3_ros.ros import contact_node
from cs3_ros.ros.outputs import Outputs

LAYOUT = Path(__file__).resolve().parents[2] / 'config' / 'cs3.rviz'
TYPES = {
    'rviz_default_plugins/Image': 'Image',
    'rviz_default_plugins/PointStamped': 'PointStamped',
    'vision_msgs_rviz_plugins/Detection3DArray': 'Detection3DArray',
}
OF_THE_NODE = {'/cs3/overlay', '/cs3/collision_masks', '/cs3/tracked_masks'}
OF_THE_CONTACT_NODE = {'/cs3/contact_point', '/cs3/detections_3d'}


@pytest.fixture
def displays() -> dict[str, str]:
    """Topic -> type of message that its display takes."""
    found = yaml.safe_load(LAYOUT.read_text())['Visualization Manager']['Displays']
    with_topic = [each for each in found if 'Topic' in each]
    assert {each['Class'] for each in with_topic} == set(TYPES)
    return {each['Topic']['Value']: TYPES[each['Class']] for each in with_topic}


def test_its_topics_and_types_are_those_of_the_nodes(displays, listener, monkeypatch):
    assert set(displays) == OF_THE_NODE | OF_THE_CONTACT_NODE
    node = LifecycleNode('cs3', namespace='cs3')
    try:
        Outputs(node)
        published = {p.topic_name: p.msg_type.__name__ for p in node.publishers}
    finally:
        node.destroy_node()
    made: dict[str, str] = {}

    def publisher(node, message_type, topic, profile=10):
        made[node.resolve_topic_name(topic)] = message_type.__name__

    monkeypatch.setattr(contact_node.qos, 'publisher', publisher)
    monkeypatch.syspath_prepend(LAYOUT.parents[1] / 'test' / 'apt_stand_ins')
    contact_node.ContactNode().destroy_node()
    assert {topic: kind for topic, kind in (published | made).items() if topic in displays} == (
        displays
    )


def test_the_launch_file_remaps_what_it_shows(displays):
    launched = (LAYOUT.parents[1] / 'launch' / 'robot.launch.py').read_text()
    shown = next(line for line in launched.splitlines() if line.startswith('SHOWN = '))
    names = ast.literal_eval(shown.removeprefix('SHOWN = '))
    assert {f'/cs3/{name}' for name in names} == set(displays)
