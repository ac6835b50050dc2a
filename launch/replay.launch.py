"""Plays a bag into the node and, if asked to, records what it finds.

`ros2 launch cs3_ros replay.launch.py bag:=/path/to/bag record:=/path/to/result`
"""

import os

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
    TimerAction,
)
from launch.event import Event
from launch.event_handlers import OnProcessIO
from launch.events.process import ProcessExited, ProcessIO
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import StateTransition
from launch_ros.substitutions import FindPackageShare
from launch_ros.utilities import make_namespace_absolute, prefix_namespace

from cs3_ros.ros.environment import launched_environment

BOOLEAN = ['true', 'false']
RESULTS = 'onset|collision_masks|label_info|detections|overlay|heatmap'
ACTIVE = b': listening to '
"""So the node logs it, too: one that loads quickly is active before DDS has found this launch."""

ARGUMENTS = [
    DeclareLaunchArgument(
        'namespace',
        default_value='cs3',
        description='Namespace of the node and of the topics in the bag; `cs3 bag make` '
        'writes /cs3/...',
    ),
    DeclareLaunchArgument('bag', description='Folder of the rosbag2 bag to play.'),
    DeclareLaunchArgument(
        'rate', default_value='1.0', description='Speed of the player; 1.0 is real time.'
    ),
    DeclareLaunchArgument(
        'delay',
        default_value='1.0',
        description='Seconds that the player waits with its topics open, after the node has become '
        'active: so long all who listen may take to find them.',
    ),
    DeclareLaunchArgument(
        'record',
        default_value='',
        description='New folder for a bag of all results. Empty: nothing is recorded.',
    ),
    DeclareLaunchArgument(
        'end_with_bag',
        default_value='false',
        choices=BOOLEAN,
        description='End the launch when the bag has been played and `linger` has passed.',
    ),
    DeclareLaunchArgument(
        'linger',
        default_value='5.0',
        description='Seconds that the node has for the last collisions of the bag.',
    ),
    DeclareLaunchArgument(
        'end_on_failure',
        default_value='true',
        choices=BOOLEAN,
        description='End the launch, with status 1, when the node or the player fails; see '
        'cs3.launch.py.',
    ),
]


def play_and_record(context: LaunchContext) -> list:
    """The player, once the node is active, and, when a folder was given, the recorder."""
    value = {a.name: LaunchConfiguration(a.name).perform(context) for a in ARGUMENTS}
    around = context.launch_configurations.get('ros_namespace')
    namespace = make_namespace_absolute(prefix_namespace(around, value['namespace'])).rstrip('/')
    environment = launched_environment(os.environ)

    def of_the_node(event: Event) -> bool:
        return getattr(event.action, 'node_name', '') == f'{namespace}/cs3'

    def is_active(event: Event) -> bool:
        return (
            isinstance(event, StateTransition)
            and event.goal_state == 'active'
            and of_the_node(event)
        )

    def play_if_told(event: ProcessIO) -> list | None:
        return play() if of_the_node(event) and ACTIVE in event.text else None

    def play(*_: object) -> list | None:
        return None if waiting.pop('player', None) is None else [player]

    def bag_ended(event: ProcessExited, context: LaunchContext) -> list | None:
        if context.is_shutdown:
            return None
        if event.returncode and value['end_on_failure'] == 'true':
            raise RuntimeError(
                f'the player ended with status {event.returncode}: its lines above say why'
            )
        if value['end_with_bag'] == 'true':
            end = Shutdown(reason='the bag has been played')
            return [TimerAction(period=float(value['linger']), actions=[end])]
        return None

    # `ros2 bag play` refuses a delay of 0
    delay = ['--delay', value['delay']] if float(value['delay']) > 0 else []
    player = ExecuteProcess(
        cmd=['ros2', 'bag', 'play', value['bag'], '--clock', '--rate', value['rate']]
        + [*delay, '--disable-keyboard-controls'],
        name='player',
        additional_env=environment,
        on_exit=bag_ended,
        output='screen',
    )
    waiting = {'player': player}  # it starts once, however often the node is activated
    handlers = [
        OnStateTransition(matcher=is_active, entities=[OpaqueFunction(function=play)]),
        OnProcessIO(on_stdout=play_if_told, on_stderr=play_if_told),
    ]
    actions: list = [*map(RegisterEventHandler, handlers)]
    if value['record']:
        topics = f'^{namespace}/({RESULTS})$|^/diagnostics$'
        recorder = ExecuteProcess(
            cmd=['ros2', 'bag', 'record', '--regex', topics, '--output', value['record']]
            + ['--storage', 'mcap', '--use-sim-time', '--disable-keyboard-controls'],
            name='recorder',
            additional_env=environment,
            output='screen',
        )
        actions.append(recorder)
    return actions


def generate_launch_description() -> LaunchDescription:
    """The node on simulated time, the player and the recorder; stop with Ctrl-C."""
    launch_file = PathJoinSubstitution([FindPackageShare('cs3_ros'), 'launch', 'cs3.launch.py'])
    return LaunchDescription(
        [
            *ARGUMENTS,
            OpaqueFunction(function=play_and_record),  # its handler is there before the node is
            # Arguments that are not named here reach cs3.launch.py as they were given.
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(launch_file),
                launch_arguments={
                    'namespace': LaunchConfiguration('namespace'),
                    'end_on_failure': LaunchConfiguration('end_on_failure'),
                    'use_sim_time': 'true',
                }.items(),
            ),
        ]
    )
