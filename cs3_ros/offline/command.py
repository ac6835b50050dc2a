"""``cs3 run`` and ``cs3 replay``: their options. Light to import."""

from __future__ import annotations

import argparse
from pathlib import Path

from cs3_ros.files.output_folder import add_force


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the commands."""
    run = commands.add_parser(
        'run',
        help='find the collisions in a video file',
        description='Find the collisions in a video file.',
    )
    run.add_argument('video', type=Path, help='mp4, mkv, mov, ... with a sound track')
    _add_options(run)
    run.add_argument('--start', type=float, default=1000.0, help='time stamp of media time 0, s')
    replay = commands.add_parser(
        'replay',
        help='find the collisions in a rosbag, offline and deterministic',
        description='Find the collisions in a rosbag, offline and deterministic.',
    )
    replay.add_argument('bag', type=Path, help='folder of a rosbag2 bag (MCAP or sqlite3)')
    _add_options(replay)
    for name in ('image', 'audio', 'info'):
        replay.add_argument(f'--{name}-topic', default='', help='found by its type when not given')
    replay.add_argument(
        '--depth-topic', default='', help='depth registered to the camera: adds contact points'
    )
    replay.add_argument(
        '--camera-info-topic', default='', help='of that camera; found by its type when not given'
    )
    replay.add_argument(
        '--contact',
        dest='space',
        action='append',
        default=[],
        metavar='NAME=VALUE',
        help='a parameter of the contact node, such as max_gap_m=0.05; may be repeated',
    )


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--bundle', help='bundle name or .yaml path; default as in --params, or lite'
    )
    parser.add_argument('--out', type=Path, default=Path('cs3_out'), help='output folder')
    parser.add_argument('--params', type=Path, help='ROS parameter file with settings')
    parser.add_argument(
        '--set',
        dest='settings',
        action='append',
        default=[],
        metavar='NAME=VALUE',
        help='a parameter of config/cs3.yaml, over --params; may be repeated',
    )
    parser.add_argument(
        '--track',
        action='store_true',
        help='carry the masks on for tracking.seconds: into tracks/ and the overlay',
    )
    parser.add_argument('--no-overlay', action='store_true', help='do not write overlay.mp4')
    add_force(parser)
    parser.add_argument(
        '--strict', action='store_true', help='exit status 1 when anything was lost or repaired'
    )


def run(options: argparse.Namespace) -> int:
    """Run one of the commands; 1 where an event failed, or for ``--strict`` anything was lost."""
    from cs3_ros.offline.run import replay, run_video

    return run_video(options) if options.command == 'run' else replay(options)
