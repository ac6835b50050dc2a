"""``cs3 run`` with fake stages in a process of its own, which may be ended at any moment."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import resource
import signal
import sys
from multiprocessing import forkserver
from pathlib import Path

from fakes import fake_pipeline

from cs3_ros import cli
from cs3_ros.bundles.bundle import Bundle, load_bundle
from cs3_ros.offline import run as offline

BUNDLE = load_bundle('lite')  # here, as the imports, before the fork

STEPS = ('open', 'os.rename', 'os.remove', 'os.mkdir', 'os.rmdir', 'os.listdir', 'os.scandir')
"""Audit events at which a run may be ended."""

_context = multiprocessing.get_context('forkserver')
_context.set_forkserver_preload(['fake_run'])


def _ready() -> None:
    """Start the server that has imported all of this; Python 3.11 does not hand it sys.path."""
    before = os.environ.get('PYTHONPATH')
    os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, sys.path))
    forkserver.ensure_running()
    if before is None:
        del os.environ['PYTHONPATH']
    else:
        os.environ['PYTHONPATH'] = before


def start(
    arguments: list[str],
    kill_at: int | None = None,
    sign: int = signal.SIGKILL,
    pause_s: float = 0.0,
    most_bytes: int | None = None,
    log: Path | None = None,
) -> multiprocessing.Process:
    """Begin a run.

    Args:
        arguments: of the command line.
        kill_at: number of the step at which it gets a signal.
        sign: the signal.
        pause_s: of the masker in each event.
        most_bytes: largest file that it may write.
        log: file for what it prints.
    """
    process = _context.Process(
        target=_main, args=(arguments, kill_at, sign, pause_s, most_bytes, log)
    )
    process.start()
    return process


def status(process: multiprocessing.Process) -> int:
    """Wait for the end; minus the signal where one killed it."""
    process.join(60)
    assert process.exitcode is not None, 'the run hangs'
    return process.exitcode


def _main(
    arguments: list[str],
    kill_at: int | None,
    sign: int,
    pause_s: float,
    most_bytes: int | None,
    log: Path | None,
) -> None:
    out = os.open(os.devnull if log is None else log, os.O_WRONLY | os.O_CREAT)
    os.dup2(out, 1)
    os.dup2(out, 2)
    offline.load_bundle = lambda name: BUNDLE
    Bundle.build = lambda self, *settings: fake_pipeline(pause_s)  # type: ignore[method-assign]
    if most_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    if kill_at is not None:
        steps = itertools.count()
        folder = arguments[arguments.index('--out') + 1]

        def step(event: str, given: tuple) -> None:
            if event in STEPS and folder in str(given[0]) and next(steps) == kill_at:
                os.kill(os.getpid(), sign)

        sys.addaudithook(step)
    sys.exit(cli.main(arguments))
