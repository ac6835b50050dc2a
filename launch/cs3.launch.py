"""Starts the node that turns heard collisions into masks; `-s` after the file lists arguments."""

import os

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.substitutions import FindPackageShare

from cs3_ros.ros.environment import PROFILE_VARIABLE, missing_environment

BOOLEAN = ['true', 'false']

# Empty means: as the parameter file says.
ARGUMENTS = [
    DeclareLaunchArgument(
        'namespace', default_value='cs3', description='Namespace of the node and its topics.'
    ),
    DeclareLaunchArgument(
        'params_file',
        default_value=PathJoinSubstitution([FindPackageShare('cs3_ros'), 'config', 'cs3.yaml']),
        description='ROS parameter file with every setting of the node.',
    ),
    DeclareLaunchArgument(
        'bundle',
        default_value='',
        description='What finds the objects: the name of a bundle (lite, zero_shot, cs3; nano '
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
        description='Least severe message that is logged.',
    ),
    DeclareLaunchArgument(
        'autostart',
        default_value='',
        choices=['', *BOOLEAN],
        description='Configure and activate at start-up; false leaves that to a lifecycle '
        'manager. Empty: as in params_file.',
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
    return [
        LifecycleNode(
            package='cs3_ros',
            executable='cs3_node',
            name='cs3',
            namespace=value['namespace'],
            parameters=[value['params_file'], *([overrides] if overrides else [])],
            remappings=remappings,
            ros_arguments=['--log-level', value['log_level']],
            output='screen',
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Environment, arguments and the node."""
    environment = {'RCUTILS_LOGGING_BUFFERED_STREAM': '1'}
    missing = missing_environment(os.environ)
    if PROFILE_VARIABLE in missing:
        environment[PROFILE_VARIABLE] = missing[PROFILE_VARIABLE]
    return LaunchDescription(
        [
            *(SetEnvironmentVariable(name, value) for name, value in environment.items()),
            *ARGUMENTS,
            OpaqueFunction(function=start_node),
        ]
    )
