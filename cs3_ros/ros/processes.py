"""Processes of the demo and the benchmarks: in a ROS domain of their own, never left behind."""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path


class Child:
    """A process of this package whose output is kept and whose cost can be read.

    It hears SIGINT, even where this process ignores it, and is interrupted when this one ends.

    Args:
        module: what ``python -m`` runs.
        arguments: its arguments.
        log: file for its output.

    Attributes:
        name: what it runs.
        pid: its process id.
    """

    def __init__(self, module: str, arguments: Sequence[str], log: Path) -> None:
        self.name = ' '.join((module.rpartition('.')[2], *arguments))
        self._log = log
        # The wheels' bootstrap marks its process; a child has to find its libraries itself.
        inherited = {k: v for k, v in os.environ.items() if k != '_ROS_WHEELS_BOOTSTRAP_COMPLETE'}
        with log.open('wb') as output:
            self._process = subprocess.Popen(
                [sys.executable, '-m', module, *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=inherited,
                preexec_fn=partial(_end_with_parent, os.getpid()),
            )
        self.pid = self._process.pid

    @property
    def text(self) -> str:
        """What it has written."""
        return self._log.read_text('utf-8', 'replace')

    def last_json(self) -> dict[str, int]:
        """The figures in its last line.

        Raises:
            RuntimeError: it ended before it could write them.
        """
        try:
            figures: dict[str, int] = json.loads(self.text.splitlines()[-1])
        except (IndexError, ValueError) as error:
            raise RuntimeError(f'{self.name} left no figures:\n{self.text}') from error
        return figures

    def check(self) -> None:
        """Raise RuntimeError where the process has ended."""
        if self.ended:
            raise RuntimeError(f'{self.name} ended ({self._process.returncode}):\n{self.text}')

    def cost(self) -> tuple[float, float]:
        """CPU seconds so far, user and system, and resident megabytes now."""
        import psutil

        self.check()
        usage = psutil.Process(self.pid)
        times = usage.cpu_times()
        return times.user + times.system, usage.memory_info().rss / 1e6

    @property
    def ended(self) -> bool:
        """True once it has ended."""
        return self._process.poll() is not None

    def signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if not self.ended:
            self._process.send_signal(number)

    def wait(self, timeout_s: float = 60.0) -> int:
        """Its exit status, negative where a signal ended it.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        return self._process.wait(timeout_s)

    def stop(self) -> int:
        """Interrupt it as Ctrl-C does and wait; kill it where that does not help.

        Returns:
            Its exit status, -9 where it was killed.
        """
        self.signal(signal.SIGINT)
        try:
            return self.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self.wait()


def _end_with_parent(parent: int) -> None:
    """In the child: have the kernel interrupt it when its parent ends, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell ignores it for what runs behind an &
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)
    if os.getppid() != parent:  # it has ended already
        os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def children() -> Iterator[Callable[..., Child]]:
    """A function that starts children; they end with the context.

    From here on SIGINT raises KeyboardInterrupt, even where a shell has it ignored: ROS would
    listen to it from its start on, and one that came a little earlier would be lost.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    started: list[Child] = []
    with tempfile.TemporaryDirectory(prefix='cs3_children_') as folder:

        def start(module: str, *arguments: str) -> Child:
            started.append(Child(module, arguments, Path(folder) / f'{len(started)}.log'))
            return started[-1]

        try:
            yield start
        finally:
            for child in started:
                child.signal(signal.SIGINT)
            for child in started:
                child.stop()


@contextmanager
def own_domain() -> Iterator[None]:
    """A random domain that nobody else is in, on this machine only, for this process and its
    children."""
    busy = _busy_ports()
    free = [n for n in range(1, 101) if not busy & set(range(7400 + 250 * n, 7650 + 250 * n))]
    mine = {
        'ROS_DOMAIN_ID': str(random.choice(free or range(1, 101))),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }
    before = dict(os.environ)
    os.environ.update(mine)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _busy_ports() -> set[int]:
    """UDP ports in use on this machine; none where Linux's table is not there."""
    try:
        lines = Path('/proc/net/udp').read_text().splitlines()[1:]
    except OSError:
        return set()
    return {int(line.split()[1].rpartition(':')[2], 16) for line in lines}
