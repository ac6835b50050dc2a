"""The end by a signal: half-written files are cleared away, and what is left is true."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as SIGINT does."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` on SIGINT and ``Terminated`` on SIGTERM; a second one kills.

    Where Python drops what a handler raises (in a ``__del__``, a callback of C), the signal comes
    again 10 ms later. Signals that the caller of the process ignores stay ignored. Does nothing in
    other threads than the main one.
    """
    before: dict[int, Any] = {}
    hook = sys.unraisablehook
    process = os.getpid()

    def stop(number: int, frame: Any) -> None:
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        if number == signal.SIGTERM and os.getpid() != process:  # a forked worker has no files
            os.kill(os.getpid(), number)
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    def dropped(unraisable: sys.UnraisableHookArgs) -> None:
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            hook(unraisable)
            return
        for each in before:
            signal.signal(each, stop)
        terminated = isinstance(unraisable.exc_value, Terminated)
        number = signal.SIGTERM if terminated else signal.SIGINT
        threading.Timer(0.01, os.kill, (os.getpid(), number)).start()

    try:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    before[number] = signal.signal(number, stop)
        if before:
            sys.unraisablehook = dropped
        yield
    finally:
        if before:
            sys.unraisablehook = hook
        for each, handler in before.items():
            signal.signal(each, handler)


def end_at_once() -> None:
    """From here on SIGINT and SIGTERM end this process with status 0, at whatever import it is.

    For a process that is a node, as its first call: it has nothing yet to clear away, or, after its
    own handlers, nothing any more.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os._exit(0))


def leave(status: int) -> NoReturn:
    """End the process without Python's own end.

    That waits for threads that load, and takes torch and MediaPipe apart for up to two seconds, in
    which a second Ctrl-C would have a signal's default effect.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def ignore_signals() -> None:
    """For a process that ends: a second Ctrl-C must not change its status any more."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
