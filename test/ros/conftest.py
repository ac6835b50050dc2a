"""ROS for tests: a domain of their own, processes that end with the test, a listening node."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cs3_ros.ros.environment import prepare_environment
from cs3_ros.ros.processes import Child, own_domain

prepare_environment()
with suppress(ModuleNotFoundError):  # the modules that use it are skipped then: needs.ros()
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray

    from cs3_ros.ros.spin import spin_until


@pytest.fixture
def domain() -> Iterator[None]:
    """A domain on this machine only that nobody else is in."""
    with own_domain():
        yield


class Process(Child):
    """A child that must end as it should."""

    def catches_signals(self) -> bool:
        """ROS, or the node, has put its handlers in place; or it has ended."""
        try:
            status = Path(f'/proc/{self.pid}/status').read_text()
        except OSError:
            return True
        return bool(int(status.split('SigCgt:')[1].split()[0], 16) >> (signal.SIGTERM - 1) & 1)

    def signal_after(self, condition: Callable[[], bool], number: int) -> int:
        """Send a signal once it would be caught and the condition holds; the exit status."""
        deadline = time.monotonic() + 30
        while not (self.catches_signals() and condition()) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.signal(number)
        return self.wait(30)

    def stop(self) -> int:
        status = super().stop()
        assert status != -signal.SIGKILL, f'did not end on SIGINT:\n{self.text}'
        return status


@pytest.fixture
def start(
    domain: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Process]]:
    """Starts ``cs3 ...`` or, with ``fake_node`` or ``slow_node`` first, one with fake stages."""
    processes: list[Process] = []
    tests = str(Path(__file__).resolve().parents[1])
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([tests, os.environ.get('PYTHONPATH', '')]))

    def start_process(*arguments: str) -> Process:
        modules = {'fake_node': 'cs3_ros.bench.node_peers', 'slow_node': 'slow_node'}
        module = modules.get(arguments[0], 'cs3_ros.cli')
        if module == 'slow_node':
            arguments = arguments[1:]
        processes.append(Process(module, arguments, tmp_path / f'process_{len(processes)}.log'))
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
        return spin_until(self.node, condition, timeout_s)

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
    rclpy.try_shutdown()


def executor() -> Any:
    """The executor that the node runs on: rclpy's events executor where there is one."""
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError:
        return rclpy.executors.SingleThreadedExecutor()
    return EventsExecutor()


class Rig:
    """The node under test and a peer that plays camera, microphone and user, in one process.

    Args:
        factory: makes the pipeline; without it a fake one.
        namespace: of both nodes.
        arguments: command-line arguments of the node.
        parameters: overrides of the node's parameters.
    """

    def __init__(
        self,
        factory: Callable[..., Any] | None = None,
        namespace: str = 'cs3',
        arguments: Sequence[str] = (),
        **parameters: Any,
    ) -> None:
        from fakes import fake_pipeline

        from cs3_ros.ros.node import Cs3Node

        depths = {} if arguments else {'image_depth': 1000, 'audio_depth': 1000}
        values = depths | {name.replace('__', '.'): value for name, value in parameters.items()}
        self.node = Cs3Node(
            factory or (lambda bundle, settings: fake_pipeline()),
            namespace=namespace,
            cli_args=list(arguments),
            parameter_overrides=[rclpy.Parameter(name, value=v) for name, v in values.items()],
        )
        self.peer = rclpy.create_node('peer', namespace=namespace)
        self.executor = executor()
        self.executor.add_node(self.node)
        self.executor.add_node(self.peer)
        self.heard: dict[str, list[Any]] = {}
        self._publishers: dict[str, Any] = {}
        self._clients: dict[str, Any] = {}
        self.peer.create_subscription(DiagnosticArray, '/diagnostics', self._diagnosed, 10)
        self.diagnosed = 0
        self.status: dict[str, Any] = {}
        self.warned: list[str] = []

    def close(self) -> None:
        self.executor.remove_node(self.node)
        self.executor.remove_node(self.peer)
        self.node.close()
        self.node.destroy_node()
        self.peer.destroy_node()
        self.executor.shutdown()

    # ---- the node's life ------------------------------------------------------------------

    @property
    def state(self) -> str:
        return self.node.state

    def start(self) -> Rig:
        self.node.autostart()
        self.until(lambda: self.state == 'active' or self.node.problem)
        assert self.state == 'active', self.node.problem
        return self

    def until(self, condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
        """Spin until the condition holds; its last value."""
        deadline = time.monotonic() + timeout_s
        while not (value := condition()) and time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.02)
        return value

    def call(self, service_type: Any, name: str, request: Any = None) -> Any:
        client = self._clients.get(name) or self.peer.create_client(service_type, name)
        self._clients[name] = client
        assert self.until(client.service_is_ready), f'no service {name}'
        future = client.call_async(request or service_type.Request())
        assert self.until(future.done), f'no answer from {name}'
        return future.result()

    # ---- what it is given -----------------------------------------------------------------

    def publisher(self, message_type: Any, topic: str, qos: Any = None, matched: int = 1) -> Any:
        """A publisher that the node has found."""
        if topic not in self._publishers:
            deep = rclpy.qos.QoSProfile(depth=1000)
            self._publishers[topic] = self.peer.create_publisher(message_type, topic, qos or deep)
        publisher = self._publishers[topic]
        assert self.until(lambda: publisher.get_subscription_count() >= matched), topic
        return publisher

    def send(self, *messages: Any) -> None:
        """Publish images, sound and audio_info on their topics."""
        topics = {
            'Image': 'image',
            'CompressedImage': 'image/compressed',
            'AudioDataStamped': 'audio',
            'AudioInfo': 'audio_info',
        }
        for message in messages:
            self.publisher(type(message), topics[type(message).__name__]).publish(message)

    # ---- what it says ---------------------------------------------------------------------

    def listen(self, message_type: Any, topic: str, qos: Any = 1000) -> list[Any]:
        """What is heard on a topic from now on; waits for its publisher."""
        messages = self.heard.setdefault(topic, [])
        self.peer.create_subscription(message_type, topic, messages.append, qos)
        assert self.until(lambda: self.peer.count_publishers(topic)), f'nobody publishes {topic}'
        return messages

    def reading(self, key: str) -> str:
        """A value of the newest diagnostics, empty where there is none."""
        values = {v.key: v.value for status in self.status.values() for v in status.values}
        return values.get(key, '')

    def counted(self, timeout_s: float = 10.0, **expected: int) -> bool:
        """Wait until the diagnostics show these counters."""
        texts = {key: str(value) for key, value in expected.items()}
        shown = self.until(
            lambda: all(self.reading(key) == text for key, text in texts.items()), timeout_s
        )
        return bool(shown)

    def next_diagnostics(self) -> dict[str, Any]:
        """The statuses of the next message, by their short names."""
        last = self.diagnosed
        assert self.until(lambda: self.diagnosed >= last + 2), 'no diagnostics'
        return self.status

    def _diagnosed(self, message: Any) -> None:
        prefix = self.node.get_fully_qualified_name().lstrip('/') + ': '
        mine = [status for status in message.status if status.name.startswith(prefix)]
        if mine:
            self.diagnosed += 1
            self.status = {status.name.removeprefix(prefix): status for status in mine}
            self.warned += [s.message for s in mine if s.level != s.OK]


@pytest.fixture
def rig(domain: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Rig]]:
    """Makes ``Rig`` objects whose node keeps house and diagnoses ten times as often."""
    from cs3_ros.ros import node

    monkeypatch.setattr(node, 'DIAGNOSTICS_S', 0.1)
    monkeypatch.setattr(node, 'HOUSEKEEPING_S', 0.02)
    rclpy.init(args=[])
    rigs: list[Rig] = []

    def make(*arguments: Any, **keywords: Any) -> Rig:
        rigs.append(Rig(*arguments, **keywords))
        return rigs[-1]

    yield make
    for made in rigs:
        made.close()
    rclpy.shutdown()
