"""All that a robot with a camera of its own needs: microphone, node and what shows their topics.

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
from launch_ros.utilities import make_namespace_absolute, prefix_namespace

from cs3_ros.ros.apt import apt_package
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
    DeclareLaunchArgument(
        'rviz',
        default_value='false',
        choices=['auto', *BOOLEAN],
        description='Start RViz with config/cs3.rviz; auto: where it is installed '
        '(`apt install ros-jazzy-rviz2 ros-jazzy-vision-msgs-rviz-plugins`).',
    ),
    DeclareLaunchArgument(
        'qos_file',
        default_value='',
        description='ROS parameter file with qos_overrides for all the nodes; config/cs3_qos.yaml '
        'of the package is an example. Empty: none.',
    ),
    DeclareLaunchArgument(
        'target_frame',
        default_value='',
        description='Frame of contact_point and detections_3d, which RViz then shows. Empty: the '
        'optical frame of the camera; if it is not the one in cs3.rviz, choose it in RViz.',
    ),
]

SHOWN = ('overlay', 'collision_masks', 'tracked_masks', 'contact_point', 'detections_3d')
"""Topics in config/cs3.rviz, there below /cs3."""


def start_beside(context: LaunchContext) -> list:
    """Microphone, bridge and RViz, as asked for.

    Raises:
        RuntimeError: what is asked for is not installed; launch prints it and ends.
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
                parameters=[each for each in (value['qos_file'], {**given, **numbers}) if each],
                additional_env=launched_environment(os.environ),
                output='screen',
            )
        )
    if wanted(value, 'foxglove', 'foxglove_bridge'):
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
    if wanted(value, 'rviz', 'rviz2'):
        layout = PathJoinSubstitution([FindPackageShare('cs3_ros'), 'config', 'cs3.rviz'])
        frame = ['-f', value['target_frame']] if value['target_frame'] else []
        around = context.launch_configurations.get('ros_namespace')
        namespace = make_namespace_absolute(prefix_namespace(around, value['namespace']))
        home = namespace.rstrip('/')
        nodes.append(
            Node(
                package='rviz2',
                executable='rviz2',
                name='cs3_rviz',
                arguments=['-d', layout, *frame],
                remappings=[(f'/cs3/{topic}', f'{home}/{topic}') for topic in SHOWN],
                additional_env=launched_environment(os.environ),
                output='screen',
            )
        )
    return nodes


def wanted(value: dict[str, str], argument: str, package: str) -> bool:
    """Whether an argument asks for what a package starts.

    Raises:
        RuntimeError: it does, and the package is not installed.
    """
    if value[argument] == 'false':
        return False
    try:
        get_package_share_directory(package)
    except PackageNotFoundError:
        if value[argument] == 'auto':
            return False
        raise RuntimeError(
            f'{argument}:=true, but {package} is not installed: `apt install '
            f'{apt_package(package)}`, or {argument}:=auto'
        ) from None
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
