"""The environment variables that ROS wants, so that ``.venv/bin/cs3`` runs without any wrapper."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
"""What Fast DDS 2, the one of Jazzy, and Fast DDS 3, from Kilted on, read."""

USERS_TRANSPORT = (*PROFILE_VARIABLES, 'FASTDDS_BUILTIN_TRANSPORTS')
"""Where one of these is set, the user has chosen a transport and keeps it."""


def fastdds_profile() -> Path:
    """The shipped Fast DDS profile: a large shared-memory segment and quick discovery."""
    return Path(str(files('cs3_ros') / 'ros' / 'fastdds.xml'))


def profile_variable(environment: Mapping[str, str], prefix: Path = Path(sys.prefix)) -> str:
    """Which of ``PROFILE_VARIABLES`` the Fast DDS that is installed reads, by its library's name.

    Both cannot be set: Kilted warns of the old one.

    Args:
        environment: the present variables, for AMENT_PREFIX_PATH.
        prefix: root of the Python environment.
    """
    prefixes = [Path(p) for p in environment.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if p]
    places = ('lib/libfastdds.so*', 'lib/*-linux-gnu/libfastdds.so*')  # the latter on Debian
    found = (path.glob(place) for path in (*prefixes, prefix) for place in places)
    return PROFILE_VARIABLES[any(any(each) for each in found)]


def missing_environment(
    environment: Mapping[str, str], prefix: Path = Path(sys.prefix)
) -> dict[str, str]:
    """What has to be set before ``rclpy.init``, and is not set yet.

    Args:
        environment: the present variables; what is set there, even empty, is kept. Only
            AMENT_PREFIX_PATH is added to, as in a colcon workspace over ROS 2 from wheels.
        prefix: root of the Python environment; ROS 2 from wheels lies in it.
    """
    missing: dict[str, str] = {}
    if not any(name in environment for name in USERS_TRANSPORT):
        missing[profile_variable(environment, prefix)] = str(fastdds_profile())
    if (prefix / 'share/ament_index/resource_index/packages/rcl_interfaces').exists():
        known = [p for p in environment.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if p]
        if str(prefix) not in known:
            missing['AMENT_PREFIX_PATH'] = os.pathsep.join([*known, str(prefix)])
    if 'HOME' not in environment:
        missing['HOME'] = str(prefix)
    return missing


def launched_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a launch file gives the processes of this package in addition, and no others.

    Args:
        environment: of the launch; what is set there is kept.
    """
    wanted = {'RCUTILS_LOGGING_BUFFERED_STREAM': '1'}  # lines arrive whole, in their order
    missing = missing_environment(environment)
    transport = {k: v for k, v in missing.items() if k in PROFILE_VARIABLES}
    return {k: v for k, v in (wanted | transport).items() if k not in environment}


def prepare_environment() -> None:
    """Set what is missing in this process; call it before ``rclpy.init``."""
    os.environ.update(missing_environment(os.environ))


@contextmanager
def ros(arguments: Sequence[str] | None = ()) -> Iterator[None]:
    """Initialise ROS in a prepared environment and shut it down at the end.

    Args:
        arguments: as for ``rclpy.init``; None takes those of the process.

    Raises:
        KeyboardInterrupt: a signal ended ROS, at whatever call it was.
    """
    prepare_environment()
    import rclpy

    rclpy.init(args=None if arguments is None else list(arguments))
    try:
        yield
    except Exception as error:  # rclpy raises many kinds when ROS ends in the middle of a call
        if rclpy.ok():
            raise
        raise KeyboardInterrupt from error
    finally:
        rclpy.try_shutdown()
