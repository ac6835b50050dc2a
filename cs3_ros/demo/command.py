"""``cs3 demo``: its options. Light to import."""

from __future__ import annotations

import argparse
from pathlib import Path

from cs3_ros.files.output_folder import add_force


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        'demo',
        help='a clip through bag, node and topics to a video and a report',
        description='A clip through bag, node and topics to a video and a report.',
    )
    parser.add_argument(
        'clip', nargs='?', type=Path, help='your video; without it a synthetic clip'
    )
    parser.add_argument(
        '--truth', type=Path, help='what is true of your video (cs3_ros/files/truth.py)'
    )
    parser.add_argument(
        '--bundle', help='bundle name or .yaml path; nano for the synthetic clip, lite for yours'
    )
    parser.add_argument('--out', type=Path, default=Path('demo'), help='output folder')
    add_force(parser)


def run(options: argparse.Namespace) -> int:
    """Run the demo."""
    from cs3_ros.demo import run as demo

    return demo.main(options)
