"""The SROS2 policy: well formed, and it names what the nodes open, no more and no less."""

from __future__ import annotations

import needs

needs.ros()
needs.opencv()

from pathlib import Path
from xml.etree import ElementTree

import pytest
import rclpy
from fakes import fake_pipeline

from cs3_ros.ros.node import Cs3Node

POLICY = Path(__file__).resolve().parents[2] / 'config' / 'sros2' / 'cs3.policy.xml'
KINDS = {'topics': {'publish', 'subscribe'}, 'services': {'reply', 'request'}}
NOT_HERE = {'/clock', '/bond', '/tf', '/tf_static', '/statistics'}
"""Opened with ``use_sim_time``, a Nav2 lifecycle manager, ``target_frame``, ``statistics_period_s``
alone."""


def allowed() -> dict[str, dict[str, set[str]]]:
    """Node -> ``publish``, ``subscribe``, ``reply`` -> full names."""
    found: dict[str, dict[str, set[str]]] = {}
    root = ElementTree.parse(POLICY).getroot()
    assert root.tag == 'policy' and root.get('version') == '0.2.0'
    for enclave in root.iterfind('enclaves/enclave'):
        assert enclave.get('path', '').startswith('/cs3')
        for profile in enclave.iterfind('profiles/profile'):
            namespace, node = profile.get('ns'), profile.get('node')
            names = found.setdefault(f'{namespace}/{node}', {})
            for group in profile:
                ((how, verdict),) = group.attrib.items()
                assert how in KINDS[group.tag] and verdict == 'ALLOW'
                home, own = f'{namespace}/', f'{namespace}/{node}'
                texts = [each.text or '' for each in group]
                names[how] = {
                    own + text[1:] if text[0] == '~' else text if text[0] == '/' else home + text
                    for text in texts
                }
    return found


def test_every_node_has_a_profile():
    assert set(allowed()) == {
        '/cs3/cs3',
        '/cs3/cs3_microphone',
        '/cs3/cs3_player',
        '/cs3/cs3_contact',
    }


def opened(node, peer, executor, wanted) -> dict[str, set[str]]:
    """What the graph shows of a node, once it shows what is wanted."""
    found: dict[str, set[str]] = {}
    place = node.get_name(), node.get_namespace()
    for _ in range(200):
        executor.spin_once(timeout_sec=0.02)
        found = {
            'publish': {n for n, _ in peer.get_publisher_names_and_types_by_node(*place)},
            'subscribe': {n for n, _ in peer.get_subscriber_names_and_types_by_node(*place)},
            'reply': {n for n, _ in peer.get_service_names_and_types_by_node(*place)},
        }
        if all(found[how] >= names - NOT_HERE for how, names in wanted.items()):
            break
    return found


def test_the_node_opens_what_its_profile_names(domain):
    rclpy.init()
    node = Cs3Node(lambda bundle, settings: fake_pipeline())
    peer = rclpy.create_node('peer')
    executor = rclpy.executors.SingleThreadedExecutor()
    executor.add_node(node)
    executor.add_node(peer)
    try:
        node.autostart()
        for _ in range(500):
            executor.spin_once(timeout_sec=0.02)
            if node.state == 'active':
                break
        assert node.state == 'active', node.problem
        wanted = allowed()['/cs3/cs3']
        found = opened(node, peer, executor, wanted)
        for how, names in wanted.items():
            assert found[how] - NOT_HERE == names - NOT_HERE, how
    finally:
        executor.shutdown()
        node.close()
        node.destroy_node()
        peer.destroy_node()
        rclpy.try_shutdown()


@pytest.mark.parametrize('topic', ['/cs3/contact_point', '/cs3/detections_3d', '/statistics'])
def test_the_contact_node_may_publish(topic):
    assert topic in allowed()['/cs3/cs3_contact']['publish']
