"""``cs3-train``: training and evaluation from the command line. Heavy imports wait."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from cs3_ros.files.interrupts import Terminated, interruptible

COMMANDS = {
    'synth': 'cs3_training.synth.command',
    'extract': 'cs3_training.data.command',
    'curate': 'cs3_training.curate.command',
    'annotate': 'cs3_training.curate.annotate_command',
    'manifest': 'cs3_training.data.manifest_command',
    'hands': 'cs3_training.hands.command',
    'train': 'cs3_training.localiser.command',
    'evaluate': 'cs3_training.evaluation.command',
    'nano': 'cs3_training.nano.command',
    'ear': 'cs3_training.ear.command',
    'sounding': 'cs3_training.sounding.command',
    'ablation': 'cs3_training.nano.ablation_command',
    'bench': 'cs3_training.bench.command',
}
"""Modules with ``add_parser(commands)`` and ``run(options)``, light to import."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (2 wrong call, 1 failure, 130 or 143 signal)."""
    options = make_parser().parse_args(arguments)
    try:
        with interruptible():
            return int(importlib.import_module(COMMANDS[options.command]).run(options))
    except (ValueError, ArithmeticError, OSError, ImportError, RuntimeError) as error:
        print(f'cs3-train {options.command}: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print('interrupted', file=sys.stderr)
        return 143 if isinstance(error, Terminated) else 130


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog='cs3-train', description='Training and evaluation of cs3_ros, and its synthetic world.'
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for module in COMMANDS.values():
        importlib.import_module(module).add_parser(commands)
    return parser


if __name__ == '__main__':
    sys.exit(main())
