"""ROS for tests: a domain of their own, processes that end with the test, a listening node."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cs3_ros.ros.environment import prepare_environment

prepare_environment()
rclpy = pytest.importorskip('rclpy', reason='ROS 2 is not installed: make setup')
pytest.importorskip('audio_common_msgs', reason='apt install ros-jazzy-audio-common-msgs')
pytest.importorskip('vision_msgs', reason='apt install ros-jazzy-vision-msgs')

HERE = Path(__file__).parent


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random domain on this machine only."""
    monkeypatch.setenv('ROS_DOMAIN_ID', str(random.randrange(1, 100)))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')


class Process:
    """A child whose output is kept; ``stop`` interrupts it as Ctrl-C would."""

    def __init__(self, arguments: list[str], log: Path, **variables: str) -> None:
        self.log = log
        # The wheels' bootstrap marks its process; a child has to find its libraries itself.
        inherited = {k: v for k, v in os.environ.items() if k != '_ROS_WHEELS_BOOTSTRAP_COMPLETE'}
        with log.open('wb') as output:
            self._process = subprocess.Popen(
                arguments,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=inherited | variables,
            )

    @property
    def text(self) -> str:
        return self.log.read_text('utf-8', 'replace')

    def wait(self, timeout_s: float = 60.0) -> int:
        return self._process.wait(timeout_s)

    def stop(self) -> int:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f'did not end on SIGINT:\n{self.text}') from None


@pytest.fixture
def start(domain: None, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts ``cs3 ...`` or, with ``fake_node`` first, the node with fake stages."""
    processes: list[Process] = []

    def start_process(*arguments: str, **variables: str) -> Process:
        if arguments[0] == 'fake_node':
            command = [sys.executable, str(HERE / 'fake_node.py'), *arguments[1:]]
        else:
            command = [sys.executable, '-m', 'cs3_ros.cli', *arguments]
        processes.append(Process(command, tmp_path / f'process_{len(processes)}.log', **variables))
        return processes[-1]

    yield start_process
    for process in processes:
        process.stop()


class Listener:
    """A node of the test process that keeps what it hears."""

    def __init__(self) -> None:
        self.node = rclpy.create_node('listener')
        self.heard: dict[str, list[Any]] = {}

    def listen(self, message_type: Any, topic: str, qos: Any = 100) -> None:
        messages = self.heard.setdefault(topic, [])
        self.node.create_subscription(message_type, topic, messages.append, qos)

    def until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> bool:
        deadline = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline:
            rclpy.spin_once(self.node, timeout_sec=0.05)
        return condition()

    def call(self, service_type: Any, name: str, request: Any, timeout_s: float = 30.0) -> Any:
        client = self.node.create_client(service_type, name)
        assert client.wait_for_service(timeout_s), f'no service {name}'
        future = client.call_async(request)
        rclpy.spin_until_future_complete(self.node, future, timeout_sec=timeout_s)
        assert future.done(), f'no answer from {name}'
        return future.result()


@pytest.fixture
def listener(domain: None) -> Iterator[Listener]:
    rclpy.init()
    listener = Listener()
    yield listener
    listener.node.destroy_node()
    rclpy.shutdown()
