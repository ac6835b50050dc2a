"""Options that several commands have: where they compute, and with how much of the machine."""

from __future__ import annotations

import argparse
import os


def add_device(parser: argparse.ArgumentParser) -> None:
    """Declare ``--device``: of a ``RuntimeConfig``."""
    parser.add_argument(
        '--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='default: CUDA if there'
    )


def add_threads(parser: argparse.ArgumentParser, what: str = 'CPU threads') -> None:
    """Declare ``--threads``: of a ``RuntimeConfig``, 0 for all cores.

    Args:
        parser: of the command.
        what: what they are, for the help.
    """
    parser.add_argument(
        '--threads', type=int, default=0, metavar='N', help=f'{what} (default: all cores)'
    )


def add_workers(
    parser: argparse.ArgumentParser, what: str = 'processes, each with one thread'
) -> None:
    """Declare ``--workers``: as many as the cores that this process may use, else at least 1.

    Args:
        parser: of the command.
        what: what they are, for the help.
    """
    parser.add_argument(
        '--workers', type=positive, default=len(os.sched_getaffinity(0)), metavar='N',
        help=f'{what} (default: one for each core)',
    )  # fmt: skip


def positive(text: str) -> int:
    """The type of an option that is a whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'{text}: expected at least 1')
    return number
