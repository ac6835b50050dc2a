"""The launch files, run against a strict stand-in for the launch API."""

import dataclasses
import os
import re
import sys
import types
from pathlib import Path

import launch_stub
import pytest

from cs3_ros.ros.environment import USERS_TRANSPORT, fastdds_profile, profile_variable
from cs3_ros.settings import NodeConfig

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {
    profile_variable(os.environ): str(fastdds_profile()),
    'RCUTILS_LOGGING_BUFFERED_STREAM': '1',
}


@pytest.fixture
def start(monkeypatch):
    launch_stub.install(monkeypatch)
    for name in (*USERS_TRANSPORT, 'RCUTILS_LOGGING_BUFFERED_STREAM'):
        monkeypatch.delenv(name, raising=False)
    return launch_stub.start


def node_of(context):
    (node,) = [p for p in context.processes if isinstance(p, launch_stub.LifecycleNode)]
    return node


def process_of(context, name):
    (process,) = [p for p in context.processes if p.name == name]
    return process


def told(node, start_state, goal_state):
    return launch_stub.StateTransition(node, start_state, goal_state)


def activated(context):
    """The context after its node has become active."""
    context.emit(told(node_of(context), 'unconfigured', 'configuring'))
    context.emit(told(node_of(context), 'activating', 'active'))
    return context


@pytest.mark.parametrize(
    ('launch_file', 'arguments'),
    [('cs3.launch.py', {}), ('replay.launch.py', {'bag': 'b'}), ('robot.launch.py', {})],
)
def test_every_argument_says_what_it_is(start, installed, launch_file, arguments):
    for argument in start(launch_file, **arguments).arguments:
        assert argument.description.endswith('.'), argument.name


def test_without_arguments_nothing_is_overridden(start):
    node = node_of(start('cs3.launch.py'))
    assert (node.package, node.executable) == ('cs3_ros', 'cs3_node')
    assert node.node_name == '/cs3/cs3'
    assert node.parameters == []
    assert node.remappings == {}
    assert node.output == 'screen' and not node.respawn and node.on_exit is None


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
    assert node.node_name == '/left_arm/cs3'
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
    assert node.ros_arguments == ['--log-level', 'left_arm.cs3:=debug']


@pytest.mark.parametrize(
    'around, namespace, logger',
    [
        ([], 'cs3', 'cs3.cs3'),
        ([], '/', 'cs3'),
        ([], '', 'cs3'),
        ([], '/robot/left/', 'robot.left.cs3'),
        (['robot'], 'cs3', 'robot.cs3.cs3'),
        (['robot', 'left'], 'cs3', 'robot.left.cs3.cs3'),
        (['robot'], '/cs3', 'cs3.cs3'),
    ],
)
def test_the_log_level_is_that_of_this_node_alone(start, around, namespace, logger):
    pushed = [launch_stub.PushRosNamespace(name) for name in around]
    node = node_of(start('cs3.launch.py', *pushed, namespace=namespace, log_level='debug'))
    assert node.ros_arguments == ['--log-level', f'{logger}:=debug']
    assert node.node_name == '/' + logger.replace('.', '/')


def test_what_is_set_around_the_file_holds_unless_a_file_is_given(start):
    around = launch_stub.SetParameter('queue_size', 7)
    assert node_of(start('cs3.launch.py', around)).parameters == [('queue_size', 7)]
    node = node_of(start('cs3.launch.py', around, params_file='mine.yaml', bundle='nano'))
    assert node.parameters == [('queue_size', 7), 'mine.yaml', {'bundle': 'nano'}]


def test_respawn(start):
    node = node_of(start('cs3.launch.py', respawn='true', end_on_failure='true'))
    assert node.respawn and node.respawn_delay > 0 and node.on_exit is None


FAILURES = [
    ('configuring', 'unconfigured', 'configured'),
    ('configuring', 'errorprocessing', 'configured'),
    ('activating', 'inactive', 'activated'),
    ('activating', 'errorprocessing', 'activated'),
]


@pytest.mark.parametrize('before, after, what', FAILURES)
def test_a_failed_transition_ends_the_launch_if_asked_to(start, before, after, what):
    context = start('cs3.launch.py', end_on_failure='true')
    activated(context).emit(told(node_of(context), 'deactivating', 'inactive'))
    context.emit(told(object(), before, after))  # of another node
    assert not context.is_shutdown
    context.emit(told(node_of(context), before, after))
    assert context.return_code == 1 and f'could not be {what}' in context.problem
    patient = start('cs3.launch.py')
    patient.emit(told(node_of(patient), before, after))
    assert not patient.is_shutdown


@pytest.mark.parametrize('stream', ['stdout', 'stderr'])
def test_a_failure_before_dds_knows_the_launch_ends_it_too(start, stream):
    def line(context, text):
        node = node_of(context)
        return launch_stub.ProcessIO(node, stream, f'[INFO]\n[ERROR] [cs3.cs3]: {text}\n'.encode())

    context = start('cs3.launch.py', end_on_failure='true')
    context.emit(line(context, 'event 1.0: failed: told to'))
    assert not context.is_shutdown
    context.emit(line(context, 'configure failed: no such bundle'))
    assert context.return_code == 1 and 'could not be configured' in context.problem
    patient = start('cs3.launch.py')
    patient.emit(line(patient, 'configure failed: no such bundle'))
    assert not patient.is_shutdown


def test_a_node_that_ends_by_itself_ends_the_launch_if_asked_to(start):
    context = start('cs3.launch.py', end_on_failure='true')
    context.emit(launch_stub.ProcessExited(node_of(context), -9))
    assert context.return_code == 1 and 'ended with status -9' in context.problem
    stopped = start('cs3.launch.py', end_on_failure='true')
    stopped.is_shutdown = True  # Ctrl-C
    stopped.emit(launch_stub.ProcessExited(node_of(stopped), 0))
    assert stopped.return_code == 0


def test_overrides_are_parameters_that_the_node_has(start):
    node = node_of(start('cs3.launch.py', bundle='x', transport='raw', autostart='true'))
    fields = {field.name: field for field in dataclasses.fields(NodeConfig)}
    (overrides,) = node.parameters
    assert set(overrides) <= set(fields)
    context = start('cs3.launch.py')
    (transport,) = [a for a in context.arguments if a.name == 'transport']
    assert transport.choices == ['', *fields['image_transport'].metadata['choices']]


@pytest.mark.parametrize(
    'wrong',
    [
        {'transport': 'mpeg'},
        {'autostart': 'yes'},
        {'use_sim_time': '1'},
        {'respawn': 'yes'},
        {'end_on_failure': '1'},
    ],
)
def test_wrong_choice_is_refused(start, wrong):
    with pytest.raises(RuntimeError, match=next(iter(wrong))):
        start('cs3.launch.py', **wrong)


def test_the_environment_is_of_these_processes_alone(start):
    before = dict(os.environ)
    context = activated(start('replay.launch.py', bag='b', record='out'))
    assert [p.additional_env for p in context.processes] == [ENVIRONMENT] * 3
    assert os.environ == before


@pytest.mark.parametrize('variable', USERS_TRANSPORT)
def test_the_users_transport_is_kept(start, monkeypatch, variable):
    monkeypatch.setenv(variable, 'mine')
    node = node_of(start('cs3.launch.py'))
    assert node.additional_env == {'RCUTILS_LOGGING_BUFFERED_STREAM': '1'}
    assert os.environ[variable] == 'mine'


def test_replay_plays_the_bag_on_its_own_clock(start):
    context = start('replay.launch.py', bag='/tmp/my bag', bundle='lite', rate='0.5')
    assert node_of(context).parameters == [{'bundle': 'lite', 'use_sim_time': True}]
    assert [p.name for p in context.processes] == [None], 'the node loads its bundle'
    player = process_of(activated(context), 'player').cmd
    assert player[:5] == ['ros2', 'bag', 'play', '/tmp/my bag', '--clock']
    assert player[player.index('--rate') + 1] == '0.5'
    assert player[player.index('--delay') + 1] == '1.0'
    assert len(context.processes) == 2


def test_replay_starts_the_player_once_and_on_its_own_node(start):
    context = start('replay.launch.py', bag='b')
    node = node_of(context)
    other = launch_stub.LifecycleNode(executable='x', package='y', name='cs3', namespace='other')
    other.execute(context)
    context.emit(told(other, 'activating', 'active'))
    context.emit(launch_stub.ProcessExited(other, 0))
    context.emit(told(node, 'configuring', 'inactive'))
    context.emit(launch_stub.ProcessIO(node, 'stderr', b'[INFO] [cs3.cs3]: bundle lite is loaded'))
    context.emit(launch_stub.ProcessIO(other, 'stderr', b'[INFO] [x]: listening to /other/cs3'))
    assert 'player' not in [p.name for p in context.processes]
    for _ in range(2):
        context.emit(told(node, 'activating', 'active'))
        context.emit(told(node, 'deactivating', 'inactive'))
    assert process_of(context, 'player') and not context.is_shutdown


@pytest.mark.parametrize('stream', ['stdout', 'stderr'])
def test_replay_starts_the_player_where_dds_has_lost_the_transition(start, stream):
    context = start('replay.launch.py', bag='b')
    line = launch_stub.ProcessIO(node_of(context), stream, b'[cs3.cs3]: listening to /cs3/image\n')
    context.emit(line)
    activated(context).emit(line)
    assert process_of(context, 'player') and not context.is_shutdown


@pytest.mark.parametrize('delay', ['0', '0.0'])
def test_replay_without_delay(start, delay):
    """`ros2 bag play` refuses --delay 0."""
    context = activated(start('replay.launch.py', bag='b', delay=delay))
    assert '--delay' not in process_of(context, 'player').cmd


def test_replay_ends_with_its_bag_if_asked_to(start):
    context = activated(start('replay.launch.py', bag='b', end_with_bag='true', linger='3'))
    context.emit(launch_stub.ProcessExited(process_of(context, 'player'), 0))
    (timer,) = context.timers
    assert timer.period == 3.0 and not context.is_shutdown, 'the last event is still worked on'
    context.run(timer.actions)
    assert context.is_shutdown and context.return_code == 0
    endless = activated(start('replay.launch.py', bag='b'))
    endless.emit(launch_stub.ProcessExited(process_of(endless, 'player'), 0))
    assert not endless.timers and not endless.is_shutdown


def test_replay_ends_when_node_or_player_fail(start):
    context = start('replay.launch.py', bag='b')
    context.emit(told(node_of(context), 'configuring', 'unconfigured'))
    assert context.return_code == 1
    context = activated(start('replay.launch.py', bag='b'))
    context.emit(launch_stub.ProcessExited(process_of(context, 'player'), 2))
    assert context.return_code == 1 and 'player ended with status 2' in context.problem
    patient = activated(start('replay.launch.py', bag='b', end_on_failure='false'))
    patient.emit(launch_stub.ProcessExited(process_of(patient, 'player'), 2))
    patient.emit(told(node_of(patient), 'configuring', 'unconfigured'))
    assert not patient.is_shutdown


@pytest.mark.parametrize(
    'around, namespace, topics',
    [
        ([], 'cs3', '^/cs3/('),
        ([], '/left/', '^/left/('),
        ([], '/robot/left', '^/robot/left/('),
        ([], '/', '^/('),
        ([], '', '^/('),
        (['robot'], 'cs3', '^/robot/cs3/('),
    ],
)
def test_replay_records_the_results_of_its_namespace(start, around, namespace, topics):
    pushed = [launch_stub.PushRosNamespace(name) for name in around]
    context = start('replay.launch.py', *pushed, bag='b', record='/tmp/out', namespace=namespace)
    recorder = process_of(context, 'recorder').cmd
    assert recorder[recorder.index('--output') + 1] == '/tmp/out'
    expression = recorder[recorder.index('--regex') + 1]
    assert expression.startswith(f'{topics}onset|collision_masks|')
    published = f'{node_of(context).node_name.removesuffix("cs3")}detections'
    assert re.search(expression, published) and not re.search(expression, f'/x{published}')
    assert process_of(activated(context), 'player')


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


def test_depth_brings_the_contact_node(start):
    assert len(start('cs3.launch.py').processes) == 1
    arguments = dict(depth_topic='/camera/depth', camera_info_topic='/camera/info')
    context = start(
        'cs3.launch.py', **arguments, target_frame='base_link', use_sim_time='true', respawn='true'
    )
    contact = of_depth(context)
    assert contact.package == 'cs3_ros' and contact.node_name == '/cs3/cs3_contact'
    assert contact.remappings == {'depth': '/camera/depth', 'camera_info': '/camera/info'}
    assert contact.parameters == [{'target_frame': 'base_link', 'use_sim_time': True}]
    assert contact.respawn and contact.additional_env == ENVIRONMENT
    plain = of_depth(start('cs3.launch.py', depth_topic='/depth'))
    assert (plain.parameters, plain.remappings) == ([], {'depth': '/depth'})


def of_depth(context):
    (process,) = [p for p in context.processes if p.cmd[:1] == ['contact_node']]
    return process


@pytest.fixture
def installed(monkeypatch):
    """Which packages ament knows; tests add to them."""
    packages = types.ModuleType('ament_index_python.packages')
    names: set[str] = set()

    class PackageNotFoundError(KeyError):
        pass

    def share(name):
        if name not in names:
            raise PackageNotFoundError(name)
        return f'/opt/ros/jazzy/share/{name}'

    packages.PackageNotFoundError = PackageNotFoundError
    packages.get_package_share_directory = share
    monkeypatch.setitem(sys.modules, 'ament_index_python', types.ModuleType('ament_index_python'))
    monkeypatch.setitem(sys.modules, 'ament_index_python.packages', packages)
    return names


def test_a_robot_gets_microphone_and_node(start, installed):
    context = start('robot.launch.py', image_topic='/camera/image_raw', device='USB', channels='4')
    assert [p.cmd[0] for p in context.processes] == ['mic', 'cs3_node']
    microphone, node = context.processes
    assert microphone.parameters == [{'device': 'USB', 'rate': 48_000, 'channels': 4}]
    assert microphone.node_name == '/cs3/cs3_microphone' and node.node_name == '/cs3/cs3'
    assert node.remappings['image'] == '/camera/image_raw'
    without = start('robot.launch.py', microphone='false', namespace='left')
    assert [p.node_name for p in without.processes] == ['/left/cs3']


def test_foxglove_is_started_where_it_is_installed(start, installed):
    words = 'foxglove:=true, but .* `apt install ros-jazzy-foxglove-bridge`, or foxglove:=auto'
    with pytest.raises(RuntimeError, match=words):
        start('robot.launch.py', foxglove='true')
    installed.add('foxglove_bridge')
    bridge = start('robot.launch.py').processes[1]
    assert bridge.cmd == ['foxglove_bridge']
    assert bridge.parameters == [{'address': '127.0.0.1', 'port': 8765}]
    assert len(start('robot.launch.py', foxglove='false').processes) == 2


def test_rviz_is_started_where_it_is_asked_for(start, installed):
    with pytest.raises(
        RuntimeError, match='rviz:=true, but rviz2 .* `apt install ros-jazzy-rviz2`'
    ):
        start('robot.launch.py', rviz='true')
    assert len(start('robot.launch.py', rviz='auto').processes) == 2
    installed.add('rviz2')
    assert len(start('robot.launch.py').processes) == 2, 'a window only where somebody wants it'
    rviz = start('robot.launch.py', rviz='auto', namespace='left').processes[1]
    assert rviz.cmd == ['rviz2', '-d', str(ROOT / 'config' / 'cs3.rviz')]
    assert rviz.remappings['/cs3/overlay'] == '/left/overlay'
    assert rviz.additional_env == ENVIRONMENT
    arguments = dict(rviz='true', target_frame='base_link', depth_topic='/depth')
    context = start('robot.launch.py', **arguments)
    assert context.processes[1].cmd[3:] == ['-f', 'base_link']
    assert of_depth(context).parameters == [{'target_frame': 'base_link'}]
    shown = {f'/cs3/{topic}' for topic in ('overlay', 'contact_point', 'detections_3d')}
    assert shown < set(rviz.remappings)


def test_one_file_of_qos_overrides_reaches_every_node(start, installed):
    context = start('robot.launch.py', qos_file='/q.yaml', depth_topic='/depth', bundle='lite')
    microphone, node, contact = context.processes
    assert microphone.parameters == ['/q.yaml', {'rate': 48_000, 'channels': 1}]
    assert node.parameters == ['/q.yaml', {'bundle': 'lite'}]
    assert contact.parameters == ['/q.yaml']
