"""``cs3 fetch`` and ``cs3 bundles``: their options. Light to import."""

from __future__ import annotations

import argparse
from pathlib import Path

from cs3_ros.files.jsonfile import add_json


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the commands."""
    fetch = commands.add_parser(
        'fetch',
        help='bring the weights of a bundle into CS3_HOME (~/.cache/cs3_ros)',
        description='Bring the weights of a bundle into CS3_HOME (~/.cache/cs3_ros).',
    )
    fetch.add_argument('bundle', help='bundle name or .yaml path')
    fetch.add_argument('--mirror', default='', help='base URL that has the files, for all of them')
    fetch.add_argument(
        '--from',
        dest='from_dir',
        metavar='DIR',
        type=Path,
        help='copy them from this folder, without internet',
    )
    bundles = commands.add_parser(
        'bundles',
        help='what each bundle needs, and what of it is missing',
        description='What each bundle needs, and what of it is missing.',
    )
    bundles.add_argument('--check', action='store_true', help='verify the SHA-256 of every file')
    add_json(bundles, 'also write the table to this file')


def run(options: argparse.Namespace) -> int:
    """Run one of the commands; 1 where a file has another SHA-256 than it should."""
    from cs3_ros.bundles import fetch, inventory

    return fetch.main(options) if options.command == 'fetch' else inventory.main(options)
