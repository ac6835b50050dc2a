"""All that a robot with a camera of its own needs: microphone, node and, if there is one, Foxglove.

`ros2 launch cs3_ros robot.launch.py image_topic:=/camera/image_raw`; arguments that are not listed
here go to cs3.launch.py.
"""

import os

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from cs3_ros.ros.environment import launched_environment

BOOLEAN = ['true', 'false']

ARGUMENTS = [
    DeclareLaunchArgument(
        'namespace', default_value='cs3', description='Namespace of the nodes and their topics.'
    ),
    DeclareLaunchArgument(
        'microphone',
        default_value='true',
        choices=BOOLEAN,
        description='Publish a microphone of this computer as audio and audio_info; false where '
        'another node does.',
    ),
    DeclareLaunchArgument(
        'device',
        default_value='',
        description='The microphone, by name or index as `python3 -m sounddevice` lists them. '
        'Empty: the default one.',
    ),
    DeclareLaunchArgument(
        'rate', default_value='48000', description='Samples per second of the microphone.'
    ),
    DeclareLaunchArgument('channels', default_value='1', description='Channels of the microphone.'),
    DeclareLaunchArgument(
        'foxglove',
        default_value='auto',
        choices=['auto', *BOOLEAN],
        description='Start foxglove_bridge; auto: where it is installed '
        '(`apt install ros-jazzy-foxglove-bridge`). The layout is config/cs3_foxglove.json.',
    ),
    DeclareLaunchArgument(
        'foxglove_address',
        default_value='127.0.0.1',
        description='Where the bridge listens. 0.0.0.0 lets everybody on the network look and '
        'publish.',
    ),
    DeclareLaunchArgument('foxglove_port', default_value='8765', description='Port of the bridge.'),
]


def start_beside(context: LaunchContext) -> list:
    """Microphone and bridge, as asked for.

    Raises:
        RuntimeError: a bridge is asked for and not installed; launch prints it and ends.
    """
    value = {a.name: LaunchConfiguration(a.name).perform(context) for a in ARGUMENTS}
    nodes = []
    if value['microphone'] == 'true':
        given = {'device': value['device']} if value['device'] else {}
        numbers = {name: int(value[name]) for name in ('rate', 'channels')}
        nodes.append(
            Node(
                package='cs3_ros',
                executable='mic',
                name='cs3_microphone',
                namespace=value['namespace'],
                parameters=[{**given, **numbers}],
                additional_env=launched_environment(os.environ),
                output='screen',
            )
        )
    if value['foxglove'] == 'true' or (value['foxglove'] == 'auto' and has_bridge()):
        if not has_bridge():
            raise RuntimeError(
                'foxglove:=true, but foxglove_bridge is not installed: '
                '`apt install ros-jazzy-foxglove-bridge`, or leave foxglove at auto'
            )
        where = {'address': value['foxglove_address'], 'port': int(value['foxglove_port'])}
        nodes.append(
            Node(
                package='foxglove_bridge',
                executable='foxglove_bridge',
                name='foxglove_bridge',
                parameters=[where],
                output='screen',
            )
        )
    return nodes


def has_bridge() -> bool:
    """Whether foxglove_bridge is installed."""
    try:
        get_package_share_directory('foxglove_bridge')
    except PackageNotFoundError:
        return False
    return True


def generate_launch_description() -> LaunchDescription:
    """Arguments, microphone and bridge, and the node by its own launch file."""
    launch_file = PathJoinSubstitution([FindPackageShare('cs3_ros'), 'launch', 'cs3.launch.py'])
    return LaunchDescription(
        [
            *ARGUMENTS,
            OpaqueFunction(function=start_beside),
            # Arguments that are not named here reach cs3.launch.py as they were given.
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(launch_file),
                launch_arguments={'namespace': LaunchConfiguration('namespace')}.items(),
            ),
        ]
    )
