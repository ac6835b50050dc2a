"""``cs3``: the command line. Heavy imports wait until a command needs them."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import NoReturn

from cs3_ros.files.interrupts import Terminated, end_at_once, ignore_signals, interruptible, leave
from cs3_ros.packages import explained

COMMANDS = {
    'run': 'cs3_ros.offline.command',
    'replay': 'cs3_ros.offline.command',
    'bag': 'cs3_ros.ros.command',
    'node': 'cs3_ros.ros.command',
    'mic': 'cs3_ros.ros.command',
    'contact': 'cs3_ros.ros.command',
    'fetch': 'cs3_ros.bundles.command',
    'bundles': 'cs3_ros.bundles.command',
    'doctor': 'cs3_ros.doctor.command',
    'bench': 'cs3_ros.bench.command',
    'demo': 'cs3_ros.demo.command',
}
"""Command -> its module with ``add_parser(commands)`` and ``run(options)``, light to import."""
_NODES = ('node', 'mic', 'contact', 'bag play')
"""Commands that are ROS nodes: they take ``--ros-args ...``, and ROS takes the signals."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (2 wrong call, 1 failure, 130 or 143 signal)."""
    if arguments is None and sys.argv[1:2] == ['node']:
        end_at_once()
        leave(_run(sys.argv[1:]))
    return _run(sys.argv[1:] if arguments is None else arguments)


def _run(arguments: Sequence[str]) -> int:
    given = list(arguments)
    at = given.index('--ros-args') if '--ros-args' in given else len(given)
    parser = make_parser()
    options, rest = parser.parse_args(given[:at]), given[at:]
    if rest and _name(options) not in _NODES:
        parser.error(f'unrecognized arguments: {" ".join(rest)}')
    options.ros_arguments = rest
    try:
        with nullcontext() if _name(options) in _NODES else interruptible():
            return int(importlib.import_module(COMMANDS[options.command]).run(options))
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f'cs3 {_name(options)}: {explained(error)}', file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print('interrupted', file=sys.stderr)
        return 143 if isinstance(error, Terminated) else 130


def node() -> NoReturn:
    """``ros2 run cs3_ros cs3_node``: as ``cs3 node``, with ROS arguments alone."""
    end_at_once()
    from cs3_ros.ros.node import main as run_node

    leave(run_node())


def mic() -> int:
    """``ros2 run cs3_ros mic``: as ``cs3 mic``."""
    return _as_node(['mic', *sys.argv[1:]])


def contact_node() -> int:
    """``ros2 run cs3_ros contact_node``: as ``cs3 contact``."""
    return _as_node(['contact', *sys.argv[1:]])


def bag_play() -> int:
    """``ros2 run cs3_ros bag_play``: as ``cs3 bag play``."""
    return _as_node(['bag', 'play', *sys.argv[1:]])


def _as_node(arguments: Sequence[str]) -> int:
    """Run a command; a launch file takes any status but 0 for a failure, so Ctrl-C gives 0."""
    status = main(arguments)
    ignore_signals()
    return 0 if status in (130, 143) else status


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog='cs3',
        description='Hears a collision and finds the masks of the one or two colliding objects.',
        epilog='Every command has its own --help, for example: cs3 run --help',
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for module in dict.fromkeys(COMMANDS.values()):
        importlib.import_module(module).add_parser(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """Its help tells every default; so do the parsers of its commands, which are made by it."""

    def __init__(self, **options: object) -> None:
        super().__init__(formatter_class=argparse.ArgumentDefaultsHelpFormatter, **options)  # type: ignore[arg-type]


def _name(options: argparse.Namespace) -> str:
    """The words that name a command."""
    words = {'bag': 'bag_command', 'bench': 'name'}
    more = words.get(options.command)
    return options.command if more is None else f'{options.command} {getattr(options, more)}'


if __name__ == '__main__':
    sys.exit(main())
