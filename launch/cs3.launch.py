"""Starts the node that turns heard collisions into masks; `-s` after the file lists arguments."""

import os
import re

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessIO
from launch.events.process import ProcessExited, ProcessIO
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.utilities import make_namespace_absolute, prefix_namespace

from cs3_ros.ros.environment import launched_environment

BOOLEAN = ['true', 'false']
RESPAWN_DELAY_S = 2.0
FAILURES = {
    'configured': [('configuring', 'unconfigured'), ('configuring', 'errorprocessing')],
    'activated': [('activating', 'inactive'), ('activating', 'errorprocessing')],
}
"""What could not be done -> states that the node then goes from and to."""
FAILED = re.compile(rb'(configure|activate) failed: ')
"""So the node logs it, too: a bundle that is not there fails before DDS has found this launch."""

# Empty means: as the parameter file says or, without one, the node's default.
ARGUMENTS = [
    DeclareLaunchArgument(
        'namespace', default_value='cs3', description='Namespace of the node and its topics.'
    ),
    DeclareLaunchArgument(
        'params_file',
        default_value='',
        description='ROS parameter file; config/cs3.yaml of the package lists every setting. '
        'Empty: none, so that SetParameter of a launch file around this one holds.',
    ),
    DeclareLaunchArgument(
        'qos_file',
        default_value='',
        description='ROS parameter file with qos_overrides for the node and the contact node; '
        'config/cs3_qos.yaml of the package is an example. Empty: none.',
    ),
    DeclareLaunchArgument(
        'bundle',
        default_value='',
        description='What finds the objects: the name of a bundle (lite, zero_shot, acl, cs3; nano '
        'knows only its synthetic world) or the path of a bundle file. Empty: as in params_file.',
    ),
    DeclareLaunchArgument(
        'image_topic',
        default_value='',
        description='Topic of the raw images, such as /camera/image_raw; the compressed ones are '
        'taken from its /compressed. Empty: image in the namespace.',
    ),
    DeclareLaunchArgument(
        'audio_topic',
        default_value='',
        description='Topic of the sound (audio_common_msgs/AudioDataStamped), such as '
        '/audio/audio_stamped. Empty: audio in the namespace.',
    ),
    DeclareLaunchArgument(
        'audio_info_topic',
        default_value='',
        description='Topic that tells the format of the sound (audio_common_msgs/AudioInfo). '
        'Empty: audio_info in the namespace.',
    ),
    DeclareLaunchArgument(
        'depth_topic',
        default_value='',
        description='Topic of depth images registered to the camera (32FC1 or 16UC1), such as '
        '/camera/aligned_depth_to_color/image_raw. Given, a second node publishes contact_point '
        'and detections_3d; it needs message_filters and cv_bridge from apt. Empty: no such node.',
    ),
    DeclareLaunchArgument(
        'camera_info_topic',
        default_value='',
        description='Topic of the calibration (sensor_msgs/CameraInfo) of that depth. '
        'Empty: camera_info in the namespace.',
    ),
    DeclareLaunchArgument(
        'target_frame',
        default_value='',
        description='Frame that contact_point and detections_3d are given in, through tf2. '
        'Empty: the optical frame of the camera.',
    ),
    DeclareLaunchArgument(
        'transport',
        default_value='',
        choices=['', 'auto', 'compressed', 'raw'],
        description='Which of the two image topics to use. Empty: as in params_file.',
    ),
    DeclareLaunchArgument(
        'use_sim_time',
        default_value='',
        choices=['', *BOOLEAN],
        description='Take the time from /clock: for simulation and bags. Empty: as in params_file.',
    ),
    DeclareLaunchArgument(
        'log_level',
        default_value='info',
        choices=['debug', 'info', 'warn', 'error', 'fatal'],
        description='Least severe message of this node that is logged; rcl and rmw keep theirs.',
    ),
    DeclareLaunchArgument(
        'autostart',
        default_value='',
        choices=['', *BOOLEAN],
        description='Configure and activate at start-up; false leaves that to a lifecycle '
        'manager. Empty: as in params_file.',
    ),
    DeclareLaunchArgument(
        'respawn',
        default_value='false',
        choices=BOOLEAN,
        description=f'Start the node again {RESPAWN_DELAY_S:g} s after its process has ended.',
    ),
    DeclareLaunchArgument(
        'end_on_failure',
        default_value='false',
        choices=BOOLEAN,
        description='End the launch, with status 1, when the node cannot be configured or '
        'activated, or when its process ends and is not respawned. Otherwise the node stays, '
        '/diagnostics say why, and a lifecycle manager may try again.',
    ),
]


def start_node(context: LaunchContext) -> list:
    """The node with the arguments that were given, and nothing overridden by those that were not.

    Done here rather than with substitutions, because an empty argument must leave no trace.
    """
    value = {a.name: LaunchConfiguration(a.name).perform(context) for a in ARGUMENTS}
    overrides: dict = {}
    if value['bundle']:
        overrides['bundle'] = value['bundle']
    if value['transport']:
        overrides['image_transport'] = value['transport']
    overrides |= {
        name: value[name] == 'true' for name in ('use_sim_time', 'autostart') if value[name]
    }

    remappings = []
    if value['image_topic']:
        remappings += [
            ('image', value['image_topic']),
            ('image/compressed', f'{value["image_topic"]}/compressed'),
        ]
    remappings += [
        (name, value[f'{name}_topic']) for name in ('audio', 'audio_info') if value[f'{name}_topic']
    ]
    # The name that launch_ros gives the node, and so its logger.
    around = context.launch_configurations.get('ros_namespace')
    namespace = make_namespace_absolute(prefix_namespace(around, value['namespace']))
    logger = f'{namespace}/cs3'.strip('/').replace('/', '.')

    respawn, end_on_failure = (value[name] == 'true' for name in ('respawn', 'end_on_failure'))
    node = LifecycleNode(
        package='cs3_ros',
        executable='cs3_node',
        name='cs3',
        namespace=value['namespace'],
        parameters=[g for g in (value['params_file'], value['qos_file'], overrides) if g],
        remappings=remappings,
        ros_arguments=['--log-level', f'{logger}:={value["log_level"]}'],
        additional_env=launched_environment(os.environ),
        respawn=respawn,
        respawn_delay=RESPAWN_DELAY_S,
        on_exit=end_with_node if end_on_failure and not respawn else None,
        output='screen',
    )
    beside = contact_node(value)
    if not end_on_failure:
        return [node, *beside]

    def end_if_told(event: ProcessIO) -> None:
        if failed := FAILED.search(event.text):
            end(context, f'could not be {failed[1].decode()}d')

    handlers = [
        OnStateTransition(
            target_lifecycle_node=node,
            start_state=before,
            goal_state=after,
            entities=[OpaqueFunction(function=end, args=[f'could not be {what}'])],
        )
        for what, transitions in FAILURES.items()
        for before, after in transitions
    ]
    handlers.append(OnProcessIO(target_action=node, on_stdout=end_if_told, on_stderr=end_if_told))
    return [*map(RegisterEventHandler, handlers), node, *beside]


def contact_node(value: dict[str, str]) -> list:
    """The node that turns masks and depth into points, where there is a topic of depth."""
    if not value['depth_topic']:
        return []
    given = {k: v for k, v in (('target_frame', value['target_frame']),) if v}
    if value['use_sim_time']:
        given['use_sim_time'] = value['use_sim_time'] == 'true'
    remappings = [('depth', value['depth_topic'])]
    if value['camera_info_topic']:
        remappings.append(('camera_info', value['camera_info_topic']))
    return [
        Node(
            package='cs3_ros',
            executable='contact_node',
            name='cs3_contact',
            namespace=value['namespace'],
            parameters=[each for each in (value['qos_file'], given) if each],
            remappings=remappings,
            additional_env=launched_environment(os.environ),
            respawn=value['respawn'] == 'true',
            respawn_delay=RESPAWN_DELAY_S,
            output='screen',
        )
    ]


def end(context: LaunchContext, problem: str) -> None:
    """End the launch with status 1, unless it is ending.

    Raises:
        RuntimeError: launch prints it, ends what runs, and returns 1; after Shutdown it returns 0.
    """
    if not context.is_shutdown:
        raise RuntimeError(f'the node {problem}: its lines above say why')


def end_with_node(event: ProcessExited, context: LaunchContext) -> None:
    """End the launch when the process of the node has ended by itself."""
    end(context, f'ended with status {event.returncode}')


def generate_launch_description() -> LaunchDescription:
    """Arguments and the node."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start_node)])
