"""The message packages of test/interfaces are the public ones on the wire."""

import importlib
import json
from pathlib import Path

import needs
import pytest

from cs3_ros.ros.environment import prepare_environment

INTERFACES = Path(__file__).resolve().parents[1] / 'interfaces'

PUBLIC = {
    'audio_common_msgs/msg/AudioData': 'a9742fba1567e649bbdba6ae034a72c7'
    'ef129b97c7a4da50fd2f3e1bfd8ffa86',
    'audio_common_msgs/msg/AudioDataStamped': '6fc679d5a868ed68e4d301f1ef42abec'
    'c86140afb57d255656ff2d9e476ea9e3',
    'audio_common_msgs/msg/AudioInfo': 'b3494d204e513d2cceefae1888e5be3d'
    'a7c8c8ca31eb277f7b5b62f364bcb1fb',
    'vision_msgs/msg/Classification': 'f74db28d0eaef3afb78f48bf2161cd70'
    '9a1383a0309d3454383b25be11345143',
    'vision_msgs/msg/VisionClass': '1e4a11f0fed50b5623cb8ff26ca0e379'
    '52a48a9c074d16f804b44e9164c2037a',
    'vision_msgs/msg/LabelInfo': '3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783',
    'vision_msgs/msg/Detection2DArray': '214274120007f4a683866481336b7031'
    '0268cfa107aebe9d594a6acf75bda968',
    'vision_msgs/msg/Detection3DArray': '793f5eab9595ac1c0da07873cc859db4'
    '2eae51f0ee76056db8562515d830e018',
    'statistics_msgs/msg/MetricsMessage': '36a67fb499fc2a11b8b9ff9ac735ed76'
    'e8d5a1f7775d6d5b97b625188ec68e20',
    'statistics_msgs/msg/StatisticDataType': '840d83bd5dc660e0c6e996f9e1ab80be'
    'c3c5a91976360a40d6cc579a37a8c959',
}
"""Type hashes in the code generated from ros-drivers/audio_common and ros-perception/vision_msgs,
and those of statistics_msgs in ROS 2.

A hash covers the nested types, so that these ten pin all nineteen definitions.
"""


@pytest.fixture(scope='module')
def typestore():
    """rosbags' types of Jazzy and those defined in test/interfaces."""
    rosbags = pytest.importorskip('rosbags.typesys')
    store = rosbags.get_typestore(rosbags.Stores.ROS2_JAZZY)
    for path in sorted(INTERFACES.glob('*/msg/*.msg')):
        name = f'{path.parts[-3]}/msg/{path.stem}'
        store.register(rosbags.get_types_from_msg(path.read_text('utf-8'), name))
    return store


@pytest.mark.parametrize('name', PUBLIC)
def test_definitions_hash_as_the_public_ones(typestore, name):
    assert typestore.hash_rihs01(name) == f'RIHS01_{PUBLIC[name]}'


@pytest.mark.parametrize('name', PUBLIC)
def test_installed_messages_hash_as_the_public_ones(name):
    needs.ros()
    from ament_index_python.packages import get_package_share_directory

    prepare_environment()
    package, _, message = name.split('/')
    share = Path(get_package_share_directory(package))
    description = json.loads((share / 'msg' / f'{message}.json').read_text('utf-8'))
    hashes = {entry['type_name']: entry['hash_string'] for entry in description['type_hashes']}
    assert hashes[name] == f'RIHS01_{PUBLIC[name]}'


def examples():
    """One filled message of each topic type."""
    from audio_common_msgs.msg import AudioDataStamped, AudioInfo
    from vision_msgs.msg import (
        Classification,
        Detection2D,
        Detection2DArray,
        LabelInfo,
        ObjectHypothesis,
        ObjectHypothesisWithPose,
        VisionClass,
    )

    audio = AudioDataStamped()
    audio.header.stamp.sec = 7
    audio.audio.data = bytes(range(256))
    info = AudioInfo(channels=2, sample_rate=48000, sample_format='S16LE', coding_format='WAVE')
    hypothesis = ObjectHypothesisWithPose()
    hypothesis.hypothesis.class_id, hypothesis.hypothesis.score = 'right_hand', 0.75
    detection = Detection2D(results=[hypothesis], id='1000.5')
    detection.bbox.center.position.x, detection.bbox.size_y = 12.5, 40.0
    classes = [VisionClass(class_id=1, class_name='right_hand')]
    return [
        audio,
        info,
        Classification(results=[ObjectHypothesis(class_id='impact', score=0.5)]),
        Detection2DArray(detections=[detection, Detection2D()]),
        LabelInfo(class_map=classes, threshold=0.5),
    ]


def test_messages_survive_the_wire_and_rosbags_reads_them(typestore):
    needs.ros()
    from rclpy import serialization

    for message in examples():
        wire = bytes(serialization.serialize_message(message))
        assert serialization.deserialize_message(wire, type(message)) == message
        package = type(message).__module__.split('.')[0]
        name = f'{package}/msg/{type(message).__name__}'
        # not the bytes: rclpy leaves the padding uninitialised
        rewritten = bytes(typestore.serialize_cdr(typestore.deserialize_cdr(wire, name), name))
        assert serialization.deserialize_message(rewritten, type(message)) == message


def test_every_definition_is_importable():
    needs.ros()
    for path in INTERFACES.glob('*/msg/*.msg'):
        assert hasattr(importlib.import_module(f'{path.parts[-3]}.msg'), path.stem)
