"""``cs3 doctor``: its options. Light to import."""

from __future__ import annotations

import argparse

from cs3_ros.files.jsonfile import add_json


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        'doctor',
        help='check this machine: one line of advice for each problem',
        description='Check this machine: one line of advice for each problem.',
    )
    parser.add_argument('--seconds', type=float, default=2.0, help='how long to listen to topics')
    parser.add_argument('--namespace', default='/cs3', help='namespace of the topics')
    add_json(parser, 'also write the findings to this file')


def run(options: argparse.Namespace) -> int:
    """Print the findings; 1 when something fails."""
    from cs3_ros.doctor import examine

    return examine.main(options)
