"""Packages of ROS 2 that come from apt alone."""

from __future__ import annotations

import importlib
import os
from typing import Any


def apt_package(name: str) -> str:
    """The apt package of a ROS package, of the distribution that is sourced, else of Jazzy."""
    return f'ros-{os.environ.get("ROS_DISTRO", "jazzy")}-{name.replace("_", "-")}'


def from_apt(module: str, who: str) -> Any:
    """A Python module that comes from apt alone.

    Args:
        module: its name, which is that of its package.
        who: what needs it, for the error.

    Raises:
        ImportError: names the package that has to be installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f'{who} needs {module} ({error}): `apt install {apt_package(module)}`, and source '
            f'/opt/ros/{os.environ.get("ROS_DISTRO", "jazzy")}/setup.bash'
        ) from error
