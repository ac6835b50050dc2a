"""Where ``cs3`` and the other executables begin: in the virtual environment of their workspace.

colcon's scripts, in ``lib/cs3_ros``, name a Python that may lack what pip installed: with
``--symlink-install`` the one that colcon itself runs on, else the first of PATH, which in a new
terminal is the one of the system.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from cs3_ros.files.interrupts import end_at_once
from cs3_ros.packages import is_installed

ENVIRONMENTS = ('.venv', 'venv')
"""Folders of a workspace in which its virtual environment is looked for."""

NEEDED = ('apsw', 'av', 'lz4', 'rosbags')
"""What the base install brings with pip alone, because apt has none of them."""


def cs3() -> int:
    """The command line."""
    _enter()
    from cs3_ros import cli

    return cli.main()


def node() -> NoReturn:
    """The ROS 2 node."""
    end_at_once()
    _enter()
    from cs3_ros import cli

    cli.node()


def mic() -> int:
    """The microphone, for launch files."""
    _enter()
    from cs3_ros import cli

    return cli.mic()


def contact_node() -> int:
    """Contact points from depth, for launch files."""
    _enter()
    from cs3_ros import cli

    return cli.contact_node()


def bag_play() -> int:
    """The player, for launch files."""
    _enter()
    from cs3_ros import cli

    return cli.bag_play()


def environment_of(script: Path, variables: Mapping[str, str]) -> Path | None:
    """The virtual environment that a script of colcon belongs to.

    Args:
        script: absolute, as it was called: below an install space, itself perhaps a link.
        variables: of the process; an activated environment comes first.

    Returns:
        Its folder; None for a script that is not colcon's, or where there is none.
    """
    if script.parts[-3:-1] != ('lib', 'cs3_ros'):
        return None
    if active := variables.get('VIRTUAL_ENV'):
        return Path(active)
    found = (folder / name for folder in script.parents for name in ENVIRONMENTS)
    return next((path for path in found if (path / 'pyvenv.cfg').is_file()), None)


def _enter() -> None:
    """Go on in the environment of the script, or refuse with the fix where packages are lacking."""
    script = Path(sys.argv[0]).absolute()
    environment = environment_of(script, os.environ)
    if environment is not None and environment.resolve() != Path(sys.prefix).resolve():
        python = environment / 'bin' / 'python'
        if not os.access(python, os.X_OK):
            sys.exit(
                f'{script.name}: no Python in {python}: make that environment anew, or leave it'
            )
        os.execv(python, [str(python), *sys.argv])
    if lacking := [name for name in NEEDED if not is_installed(name)]:
        sys.exit(
            f'{script.name}: {sys.executable} lacks {", ".join(lacking)}: activate the virtual '
            'environment that cs3_ros was installed into (source .venv/bin/activate), or make one '
            'as .venv in the workspace, as README.md shows under "On a robot"'
        )
