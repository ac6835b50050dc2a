"""What the live node costs: CPU and memory while nothing happens, memory over many events.

Without options, the node (bundle lite, ``cs3 node``) hears steady faint noise and gets 720p30 JPEG
for a minute, beside a plain rclpy node that decodes every frame. With ``--events N`` the node, with
stages that cost nothing, hears N clicks as fast as it keeps up. Everything runs in processes of its
own, in a ROS domain of its own.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PEERS = 'cs3_ros.bench.node_peers'
START_S = 60.0
"""A process that is not there after this long is given up."""
MB = 1e6


class Child:
    """A process of this package whose output is kept and whose cost can be read.

    Args:
        module: what ``python -m`` runs.
        arguments: its arguments.
        log: file for its output.
    """

    def __init__(self, module: str, arguments: Sequence[str], log: Path) -> None:
        import psutil

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
                preexec_fn=_end_with_parent,
            )
        self._usage = psutil.Process(self._process.pid)

    @property
    def text(self) -> str:
        """What it has written."""
        return self._log.read_text('utf-8', 'replace')

    def check(self) -> None:
        """Raise RuntimeError where the process has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f'{self.name} ended ({self._process.returncode}):\n{self.text}')

    def cost(self) -> tuple[float, float]:
        """CPU seconds so far, user and system, and resident megabytes now."""
        self.check()
        times = self._usage.cpu_times()
        return times.user + times.system, self._usage.memory_info().rss / MB

    def stop(self) -> None:
        """Interrupt it as Ctrl-C does; kill it where that does not help."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _end_with_parent() -> None:
    """In the child: have the kernel interrupt it when the benchmark ends, however it ends."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)


@contextmanager
def _children() -> Iterator[Any]:
    """A function that starts children; they end with the context."""
    children: list[Child] = []
    with tempfile.TemporaryDirectory(prefix='cs3_bench_') as folder:

        def start(module: str, *arguments: str) -> Child:
            children.append(Child(module, arguments, Path(folder) / f'{len(children)}.log'))
            return children[-1]

        try:
            yield start
        finally:
            for child in children:
                child.stop()
