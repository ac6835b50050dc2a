"""Plays a bag into the node and, if asked to, records what it finds.

`ros2 launch cs3_ros replay.launch.py bag:=/path/to/bag record:=/path/to/result`
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

RESULTS = 'onset|collision_masks|label_info|detections|overlay|heatmap'


def play_and_record(context: LaunchContext) -> list:
    """The player and, when a folder was given, the recorder."""
    value = {
        name: LaunchConfiguration(name).perform(context)
        for name in ('namespace', 'bag', 'rate', 'delay', 'record')
    }
    player = ExecuteProcess(
        cmd=['ros2', 'bag', 'play', value['bag'], '--clock', '--rate', value['rate']]
        + ['--delay', value['delay'], '--disable-keyboard-controls'],
        name='player',
        output='screen',
    )
    if not value['record']:
        return [player]
    topics = f'^/{value["namespace"].strip("/")}/({RESULTS})$|^/diagnostics$'
    recorder = ExecuteProcess(
        cmd=['ros2', 'bag', 'record', '--regex', topics, '--output', value['record']]
        + ['--storage', 'mcap', '--use-sim-time', '--disable-keyboard-controls'],
        name='recorder',
        output='screen',
    )
    return [recorder, player]


def generate_launch_description() -> LaunchDescription:
    """The node on simulated time, the player and the recorder; stop with Ctrl-C."""
    launch_file = PathJoinSubstitution([FindPackageShare('cs3_ros'), 'launch', 'cs3.launch.py'])
    return LaunchDescription(
        [
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
                default_value='5.0',
                description='Seconds before the player starts: the node loads its bundle in them.',
            ),
            DeclareLaunchArgument(
                'record',
                default_value='',
                description='New folder for a bag of all results. Empty: nothing is recorded.',
            ),
            # Arguments that are not named here reach cs3.launch.py as they were given.
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(launch_file),
                launch_arguments={
                    'namespace': LaunchConfiguration('namespace'),
                    'use_sim_time': 'true',
                }.items(),
            ),
            OpaqueFunction(function=play_and_record),
        ]
    )
