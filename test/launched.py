"""For tests with the real launch: a file of launch/ as it is installed, in a domain of its own."""

from __future__ import annotations

import os
from typing import Any

from launch.actions import IncludeLaunchDescription, SetEnvironmentVariable
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from cs3_ros.ros.processes import own_domain

DOMAIN = ('ROS_DOMAIN_ID', 'ROS_AUTOMATIC_DISCOVERY_RANGE')


def included(launch_file: str, **arguments: str) -> list[Any]:
    """Actions that include the file; the nodes hear nobody else."""
    with own_domain():
        domain = {name: os.environ[name] for name in DOMAIN}
    path = PathJoinSubstitution([FindPackageShare('cs3_ros'), 'launch', launch_file])
    return [
        *(SetEnvironmentVariable(name, value) for name, value in domain.items()),
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(path), launch_arguments=arguments.items()
        ),
    ]
