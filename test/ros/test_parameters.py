"""Parameters of the node: what they say of themselves, who may change them and when."""

from __future__ import annotations

import needs

needs.ros()

from pathlib import Path

import pytest
import rclpy
from fakes import clip_messages, fake_pipeline, picture_message
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import DescribeParameters, ListParameters, SetParameters
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from vision_msgs.msg import Classification, Detection2DArray

from cs3_ros.settings import NodeConfig, Settings, field_of, load_parameters, parameter_names

CONFIG = Path(__file__).resolve().parents[2] / 'config' / 'cs3.yaml'


def set_parameter(rig, name: str, value):
    """As ``ros2 param set`` does."""
    message = rclpy.Parameter(name, value=value).to_parameter_msg()
    request = SetParameters.Request(parameters=[message])
    return rig.call(SetParameters, 'cs3/set_parameters', request).results[0]


def change(rig, name: str) -> bool:
    """As ``ros2 lifecycle set`` does."""
    request = ChangeState.Request(transition=Transition(label=name))
    return rig.call(ChangeState, 'cs3/change_state', request).success


def test_every_parameter_describes_itself(rig) -> None:
    rig = rig()
    names = parameter_names()
    listed = set(rig.call(ListParameters, 'cs3/list_parameters').result.names)
    assert set(names) <= listed
    request = DescribeParameters.Request(names=names)
    answer = rig.call(DescribeParameters, 'cs3/describe_parameters', request)
    for name, descriptor in zip(names, answer.descriptors, strict=True):
        field = field_of(name)
        meta = field.metadata
        assert descriptor.description.startswith(meta['doc']), name
        assert not descriptor.read_only, name
        assert ('cleanup' in descriptor.description) != meta['hot'], name
        for choice in meta['choices']:
            assert choice in descriptor.additional_constraints
        ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
        bounds = [(r.from_value, r.to_value) for r in ranges]
        bounded = meta['minimum'] is not None and meta['maximum'] is not None
        bounded = bounded and not isinstance(field.default, tuple)
        assert bounds == ([(meta['minimum'], meta['maximum'])] if bounded else []), name
        kind = type(field.default)
        if kind is tuple:  # an empty list has no type in ROS
            assert descriptor.dynamic_typing and '[0, 255]' in descriptor.additional_constraints
            continue
        assert descriptor.type == rclpy.Parameter(name, value=kind(field.default)).type_.value


def test_the_defaults_of_the_node_are_those_of_the_library(rig) -> None:
    node = rig().node
    from cs3_ros.ros.parameters import read

    config, settings = read(node)
    assert (config.queue_size, config.bundle) == (NodeConfig().queue_size, 'lite')
    assert settings == Settings()


def test_the_node_with_the_shipped_file(rig) -> None:
    rig = rig(arguments=['--ros-args', '--params-file', str(CONFIG)])
    from cs3_ros.ros.parameters import read, unknown_overrides

    assert unknown_overrides(rig.node) == []
    given = set(rig.node._parameter_overrides)
    assert given == set(parameter_names())
    assert read(rig.node) == (NodeConfig(), Settings())
    rig.start()


FILES = {
    'any node': '/**: {ros__parameters: {verification.beta: 20.0}}',
    'any namespace': '/**/cs3: {ros__parameters: {verification: {beta: 20.0}}}',
    'one namespace': '/*/cs3: {ros__parameters: {verification: {beta: 20.0}}}',
    'any name': '/cs3/**: {ros__parameters: {verification: {beta: 20.0}}}',
    'the node': '/cs3/cs3: {ros__parameters: {verification: {beta: 20.0}, autostart: no}}',
    'without a slash': 'cs3/cs3: {ros__parameters: {queue_size: 9}}',
    'nested': '/cs3: {cs3: {ros__parameters: {queue_size: 9}}}',
    'nested without a slash': 'cs3: {cs3: {ros__parameters: {queue_size: 9}}}',
    'nested below any': '/**: {cs3: {ros__parameters: {queue_size: 9}}}',
    'others beside it': """
/camera: {ros__parameters: {queue_size: 2, rate: 3}}
cs3: {ros__parameters: {queue_size: 3}}
/**: {ros__parameters: {audio_depth: 60}}
/robot/cs3: {ros__parameters: {queue_size: 5}}""",
    'from common to special': """
/**: {ros__parameters: {queue_size: 2, image_depth: 3, verification.beta: 11.0, bundle: a}}
/**/cs3: {ros__parameters: {image_depth: 4, verification: {beta: 12.0}, audio_depth: 60}}
/cs3/cs3: {ros__parameters: {audio_depth: 70, verification.beta: 13.0}}""",
    'from special to common': """
/cs3/cs3: {ros__parameters: {audio_depth: 70, verification.beta: 13.0}}
/**/cs3: {ros__parameters: {image_depth: 4, verification: {beta: 12.0}, audio_depth: 60}}
/**: {ros__parameters: {queue_size: 2, image_depth: 3, verification.beta: 11.0, bundle: a}}""",
    'one node in two ways': """
/cs3/cs3: {ros__parameters: {queue_size: 2}}
/**: {ros__parameters: {queue_size: 3}}
/cs3: {cs3: {ros__parameters: {queue_size: 4}}}""",
}


@pytest.mark.parametrize('name', FILES)
def test_a_file_means_the_same_with_and_without_ros(rig, tmp_path, name: str) -> None:
    from cs3_ros.ros.parameters import read

    path = tmp_path / 'my.yaml'
    path.write_text(FILES[name])
    node = rig(arguments=['--ros-args', '--params-file', str(path)]).node
    assert node._refused == {}
    given = load_parameters(path)
    assert read(node) == given and given != (NodeConfig(), Settings())


@pytest.mark.parametrize(
    'text, words',
    [
        ('verification.beta: 15', 'write 15.0'),
        ('queue_size: 4.0', 'expected int'),
        ('queue_size: 0', 'queue_size = 0'),
        ('bundle: 3', 'bundle = 3'),
        (
            'audio_rate: 4000, audio_channels: 1',
            r'audio_rate = 4000: expected 0 or a value in \[8000',
        ),
        ('audio_rate: 800000, audio_channels: 1', 'audio_rate = 800000'),
    ],
)
def test_a_file_that_one_door_refuses_the_other_refuses_too(rig, tmp_path, text, words) -> None:
    path = tmp_path / 'my.yaml'
    path.write_text(f'/**: {{ros__parameters: {{{text}}}}}')
    with pytest.raises(ValueError, match=words):
        load_parameters(path)
    rig = rig(arguments=['--ros-args', '--params-file', str(path)])
    rig.node.autostart()
    rig.until(lambda: rig.node.problem)
    name = text.partition(':')[0]
    assert rig.state == 'unconfigured' and name in rig.node.problem


def test_a_higher_threshold_takes_effect_at_once(rig) -> None:
    rig = rig().start()
    onsets = rig.listen(Classification, 'onset')
    rig.send(*clip_messages(start_s=0.0))
    assert rig.counted(onsets=1, audio_chunks=40)
    assert set_parameter(rig, 'onset.minimum_dbfs', 0.0).successful
    rig.send(*clip_messages(start_s=0.8))
    assert rig.counted(audio_chunks=80)
    assert set_parameter(rig, 'onset.minimum_dbfs', -70.0).successful
    rig.send(*clip_messages(start_s=1.6))
    assert rig.until(lambda: len(onsets) == 2)
    assert onsets[1].header.stamp.sec == 1002 and rig.counted(onsets=2)


def test_a_hot_threshold_of_verification_takes_effect_at_once(rig) -> None:
    def factory(bundle, settings):
        pipeline = fake_pipeline()
        pipeline.verification = settings.verification
        return pipeline

    rig = rig(factory, verification__beta=5.0).start()
    detections = rig.listen(Detection2DArray, 'detections')
    rig.send(picture_message(0.0))
    assert rig.counted(frames=1)
    numbers = []
    for min_area in (0.0, 0.9):
        assert set_parameter(rig, 'verification.min_area', min_area).successful
        assert rig.call(Trigger, 'cs3/segment_now').success
        assert rig.counted(done=len(numbers) + 1)
        numbers.append(sum(len(d.detections) for d in detections))
    assert rig.node.pipeline.verification.beta == 5.0
    assert numbers == [2, 2], 'masks below the area are no objects any more'
    assert rig.counted(with_objects=1, without_objects=1)


@pytest.mark.parametrize(
    'name, value, words',
    [
        ('bundle', 'nano', 'bundle: the node is active; cleanup'),
        ('queue_size', 8, 'set, configure'),
        ('frames.buffer_s', 5.0, 'the node is active'),
        ('onset.refractory_s', -1.0, 'onset.refractory_s'),
        ('onset.refractory_s', 'often', 'Wrong parameter type'),
        ('verification.beta_reference', 10**6, 'beta_reference'),
        ('verification.beta', float('nan'), 'verification.beta'),
    ],
)
def test_what_may_not_be_changed_is_refused_and_says_so(rig, name, value, words) -> None:
    rig = rig().start()
    before = rig.node.get_parameter(name).value
    result = set_parameter(rig, name, value)
    assert not result.successful and words in result.reason
    assert rig.node.get_parameter(name).value == before
    assert rig.node.settings == Settings()


def test_what_needs_configure_is_set_between_cleanup_and_configure(rig) -> None:
    """As the reason of the refusal says, over the real services."""
    bundles: list[str] = []

    def factory(bundle, settings):
        bundles.append(bundle.name)
        return fake_pipeline()

    rig = rig(factory)
    assert set_parameter(rig, 'bundle', 'nano').successful, 'before the first configure'
    assert set_parameter(rig, 'bundle', 'lite').successful
    rig.start()
    assert set_parameter(rig, 'bundle', 'lite').successful, 'the same value is no change'
    for state, step in (('active', 'deactivate'), ('inactive', 'cleanup')):
        result = set_parameter(rig, 'bundle', 'nano')
        assert not result.successful and result.reason == (
            f'bundle: the node is {state}; cleanup (after deactivate, if it is active), set, '
            'configure'
        )
        assert change(rig, step)
    refused = set_parameter(rig, 'queue_size', 65)
    assert not refused.successful and 'queue_size' in refused.reason
    assert set_parameter(rig, 'bundle', 'nano').successful
    assert set_parameter(rig, 'queue_size', 2).successful
    assert change(rig, 'configure') and bundles == ['lite', 'nano']
    rig.next_diagnostics()
    assert rig.reading('bundle') == 'nano' and rig.node._config.queue_size == 2


def test_a_refused_start_value_can_be_set_right(rig) -> None:
    rig = rig(queue_size='four')
    assert not change(rig, 'configure')
    assert set_parameter(rig, 'queue_size', 4).successful
    assert change(rig, 'configure')


def test_the_old_onset_for_one_release(rig, capfd) -> None:
    rig = rig(onset_message='Header').start()
    onsets = rig.listen(Header, 'onset')
    rig.send(*clip_messages(start_s=0.0))
    assert rig.until(lambda: onsets) and onsets[0].stamp.sec == 1000
    assert 'Header is for this release only' in capfd.readouterr().err


def test_a_misspelt_parameter_is_reported(rig, capfd) -> None:
    rig(onset__treshold_db=3.0, use_sim_time=False, audio_rat=3)
    printed = capfd.readouterr().err
    assert "'onset.treshold_db' is not known" in printed and "'audio_rat'" in printed
    assert 'use_sim_time' not in printed


def test_sim_time_without_a_clock_still_diagnoses_and_answers(rig) -> None:
    rig = rig(use_sim_time=True).start()
    masks = rig.listen(Image, 'collision_masks')
    status = rig.next_diagnostics()
    assert status['node'].message == 'active'
    rig.send(*clip_messages())
    assert rig.until(lambda: masks) and rig.counted(done=1)
