"""``cs3 bench``: which benchmarks there are. Light to import; each declares its own options."""

from __future__ import annotations

import argparse
import importlib

BENCHES = {
    'onset': 'cs3_ros.bench.onset',
    'ear': 'cs3_ros.bench.ear',
    'lite': 'cs3_ros.bench.lite',
    'live': 'cs3_ros.bench.live',
    'node': 'cs3_ros.bench.node',
    'pipeline': 'cs3_ros.bench.pipeline',
    'precision': 'cs3_ros.bench.precision',
    'soak': 'cs3_ros.bench.soak',
    'track': 'cs3_ros.bench.track',
}
"""Modules with ``add_arguments(parser)`` and ``main(options)``, which import what they measure."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    text = 'measure: cs3 bench onset|ear|lite|live|node|pipeline|precision|soak|track --help'
    parser = commands.add_parser('bench', help=text, description=f'M{text[1:]}.')
    parser.add_argument('name', choices=BENCHES)
    parser.add_argument('arguments', nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Run a benchmark."""
    module = importlib.import_module(BENCHES[options.name])
    return int(module.main(make_parser(options.name).parse_args(options.arguments)) or 0)


def make_parser(name: str) -> argparse.ArgumentParser:
    """The parser of one benchmark."""
    module = importlib.import_module(BENCHES[name])
    parser = argparse.ArgumentParser(prog=f'cs3 bench {name}', description=module.__doc__)
    module.add_arguments(parser)
    return parser
