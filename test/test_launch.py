"""The launch files, run against a strict stand-in for the launch API."""

import dataclasses
import os
from pathlib import Path

import launch_stub
import pytest

from cs3_ros.ros.environment import USERS_TRANSPORT, fastdds_profile
from cs3_ros.settings import NodeConfig

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = str(ROOT / 'config' / 'cs3.yaml')


@pytest.fixture
def start(monkeypatch):
    launch_stub.install(monkeypatch)
    for name in USERS_TRANSPORT:
        monkeypatch.delenv(name, raising=False)
    return launch_stub.start


def node_of(context):
    (node,) = [p for p in context.processes if isinstance(p, launch_stub.LifecycleNode)]
    return node


def command_of(context, name):
    (process,) = [p for p in context.processes if p.name == name]
    return process.cmd


@pytest.mark.parametrize(
    ('launch_file', 'arguments'), [('cs3.launch.py', {}), ('replay.launch.py', {'bag': 'b'})]
)
def test_every_argument_says_what_it_is(start, launch_file, arguments):
    for argument in start(launch_file, **arguments).arguments:
        assert argument.description.endswith('.'), argument.name


def test_without_arguments_nothing_is_overridden(start):
    context = start('cs3.launch.py')
    node = node_of(context)
    assert (node.package, node.executable) == ('cs3_ros', 'cs3_node')
    assert (node.namespace, node.node_name) == ('cs3', 'cs3')
    assert node.parameters == [PARAMETERS]
    assert node.remappings == {}
    assert node.output == 'screen'
    assert Path(PARAMETERS).is_file()
    assert context.environment == {
        'FASTRTPS_DEFAULT_PROFILES_FILE': str(fastdds_profile()),
        'RCUTILS_LOGGING_BUFFERED_STREAM': '1',
    }


def test_given_arguments_reach_the_node(start):
    node = node_of(
        start(
            'cs3.launch.py',
            namespace='left_arm',
            params_file='/etc/mine.yaml',
            bundle='zero_shot',
            image_topic='/camera/image_raw',
            audio_topic='/audio/audio_stamped',
            audio_info_topic='/audio/audio_info',
            transport='raw',
            use_sim_time='true',
            log_level='debug',
            autostart='false',
        )
    )
    assert node.namespace == 'left_arm'
    assert node.parameters == [
        '/etc/mine.yaml',
        {'bundle': 'zero_shot', 'image_transport': 'raw', 'use_sim_time': True, 'autostart': False},
    ]
    assert node.remappings == {
        'image': '/camera/image_raw',
        'image/compressed': '/camera/image_raw/compressed',
        'audio': '/audio/audio_stamped',
        'audio_info': '/audio/audio_info',
    }
    assert node.ros_arguments == ['--log-level', 'debug']


def test_overrides_are_parameters_that_the_node_has(start):
    node = node_of(start('cs3.launch.py', bundle='x', transport='raw', autostart='true'))
    fields = {field.name: field for field in dataclasses.fields(NodeConfig)}
    assert set(node.parameters[1]) <= set(fields)
    context = start('cs3.launch.py')
    (transport,) = [a for a in context.arguments if a.name == 'transport']
    assert transport.choices == ['', *fields['image_transport'].metadata['choices']]


@pytest.mark.parametrize(
    'wrong', [{'transport': 'mpeg'}, {'autostart': 'yes'}, {'use_sim_time': '1'}]
)
def test_wrong_choice_is_refused(start, wrong):
    with pytest.raises(RuntimeError, match=next(iter(wrong))):
        start('cs3.launch.py', **wrong)


@pytest.mark.parametrize('variable', USERS_TRANSPORT)
def test_the_users_transport_is_kept(start, monkeypatch, variable):
    monkeypatch.setenv(variable, 'mine')
    assert start('cs3.launch.py').environment == {'RCUTILS_LOGGING_BUFFERED_STREAM': '1'}
    assert os.environ[variable] == 'mine'


def test_replay_plays_the_bag_on_its_own_clock(start):
    context = start('replay.launch.py', bag='/tmp/my bag', bundle='lite', rate='0.5')
    assert node_of(context).parameters == [PARAMETERS, {'bundle': 'lite', 'use_sim_time': True}]
    player = command_of(context, 'player')
    assert player[:5] == ['ros2', 'bag', 'play', '/tmp/my bag', '--clock']
    assert player[player.index('--rate') + 1] == '0.5'
    assert len(context.processes) == 2


def test_replay_records_the_results_of_its_namespace(start):
    context = start('replay.launch.py', bag='b', record='/tmp/out', namespace='/left/')
    recorder = command_of(context, 'recorder')
    assert recorder[recorder.index('--output') + 1] == '/tmp/out'
    assert recorder[recorder.index('--regex') + 1].startswith('^/left/(onset|collision_masks|')
    assert node_of(context).namespace == '/left/'


def test_replay_needs_a_bag(start):
    with pytest.raises(RuntimeError, match="'bag'"):
        start('replay.launch.py')


def test_the_stub_refuses_what_launch_refuses():
    with pytest.raises(TypeError, match='parameter'):
        launch_stub.LifecycleNode(executable='x', name='a', namespace='b', parameter=[])
    with pytest.raises(TypeError, match='namespace'):
        launch_stub.LifecycleNode(executable='x', name='a')
    with pytest.raises(TypeError, match='shel'):
        launch_stub.ExecuteProcess(cmd=['x'], shel=True)


@pytest.mark.parametrize('launch_file', ['cs3.launch.py', 'replay.launch.py'])
def test_the_real_launch_accepts_the_files(launch_file):
    pytest.importorskip('launch_ros', reason='launch_ros comes from apt, on a robot')
    assert launch_stub.load(ROOT / 'launch' / launch_file).entities
