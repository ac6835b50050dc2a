"""Ctrl-C at any moment, once and twice; what is asked of the node while its bundle loads."""

from __future__ import annotations

import needs

needs.ros()

import signal
import threading
import time

import pytest
import rclpy
from fakes import fake_pipeline
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters
from std_srvs.srv import Trigger

from cs3_ros.ros.managed import Loading

FAST_S = 2.0
"""Launch files send SIGTERM after 5 s; who presses Ctrl-C waits less."""


def transition(name: str) -> ChangeState.Request:
    number = getattr(Transition, f'TRANSITION_{name.upper()}')
    return ChangeState.Request(transition=Transition(id=number))


class Gate:
    """A factory that loads until it is opened."""

    def __init__(self, *errors: Exception) -> None:
        self.open, self.began, self.pipelines = threading.Event(), threading.Event(), 0
        self.errors = list(errors)

    def __call__(self, bundle, settings):
        self.began.set()
        assert self.open.wait(30)
        if self.errors:
            raise self.errors.pop()
        self.pipelines += 1
        made = fake_pipeline()
        made.verification = settings.verification
        return made


@pytest.fixture
def gate():
    """Opened at the end, whatever the test does."""
    gate = Gate()
    yield gate
    gate.open.set()


def ask(rig, name: str):
    """Ask for a transition without waiting for the answer."""
    clients = rig._clients
    client = clients.setdefault('asked', rig.peer.create_client(ChangeState, 'cs3/change_state'))
    assert rig.until(client.service_is_ready)
    return client.call_async(transition(name))


def asked_while_it_loads(rig, *names: str):
    futures = [ask(rig, 'configure')]
    assert rig.until(lambda: rig.state == 'configuring')
    for name in names:
        futures.append(ask(rig, name))
        rig.until(lambda: False, 0.1)  # its request has arrived
    return futures


def test_everything_else_is_answered_while_it_loads(rig, gate) -> None:
    rig = rig(gate)
    (configured,) = asked_while_it_loads(rig)
    before = time.monotonic()
    state = rig.call(GetState, 'cs3/get_state').current_state
    assert state.label == 'configuring' and rig.state == 'configuring'
    request = GetParameters.Request(names=['bundle'])
    assert rig.call(GetParameters, 'cs3/get_parameters', request).values[0].string_value == 'lite'
    assert time.monotonic() - before < FAST_S
    assert rig.next_diagnostics()['node'].message == 'configuring'
    (hot, cold) = rig.node.set_parameters(
        [
            rclpy.Parameter('verification.beta', value=21.0),
            rclpy.Parameter('queue_size', value=9),
        ]
    )
    assert hot.successful and not cold.successful
    assert 'queue_size: the node is configuring' in cold.reason
    assert not configured.done()
    gate.open.set()
    assert rig.until(configured.done) and configured.result().success
    assert rig.state == 'inactive'
    assert rig.node.pipeline.verification.beta == 21.0, 'set while it loaded'


def test_further_transitions_wait_for_their_turn(rig, gate) -> None:
    rig = rig(gate)
    futures = asked_while_it_loads(rig, 'activate', 'configure', 'deactivate', 'cleanup')
    assert not any(future.done() for future in futures) and rig.state == 'configuring'
    gate.open.set()
    assert rig.until(lambda: all(future.done() for future in futures))
    assert [f.result().success for f in futures] == [True, True, False, True, True]
    assert rig.state == 'unconfigured' and gate.pipelines == 1


def test_what_waited_for_a_failed_load_is_refused_or_tried(rig, gate) -> None:
    gate.errors = [RuntimeError('no such weights')]
    rig = rig(gate)
    futures = asked_while_it_loads(rig, 'activate', 'configure', 'activate')
    gate.open.set()
    assert rig.until(lambda: all(future.done() for future in futures))
    assert [f.result().success for f in futures] == [False, False, True, True]
    assert rig.state == 'active' and not rig.node.problem


@pytest.mark.parametrize('name', ['unconfigured', 'inactive', 'active'])
def test_a_shutdown_gives_the_loading_up(rig, gate, name: str) -> None:
    rig = rig(gate)
    configured, activated, shut = asked_while_it_loads(rig, 'activate', f'{name}_shutdown')
    assert rig.until(shut.done) and shut.result().success and rig.state == 'finalized'
    assert rig.until(lambda: configured.done() and activated.done())
    assert not configured.result().success and not activated.result().success
    assert rig.node.still_loading
    gate.open.set()
    assert rig.until(lambda: not rig.node.still_loading)
    assert rig.node.pipeline is None and rig.state == 'finalized'


def test_a_transition_of_the_state_machine_itself_is_no_way_out(rig, gate) -> None:
    """``ros2 lifecycle set /cs3/cs3 transition_success`` would end configure without stages."""
    rig = rig(gate)
    assert rig.until(lambda: asked_while_it_loads(rig))
    client = rig._clients['asked']
    forced = client.call_async(
        ChangeState.Request(transition=Transition(label='transition_success'))
    )
    rig.until(lambda: False, 0.2)
    assert rig.state == 'configuring' and not forced.done()
    gate.open.set()
    assert rig.until(forced.done) and not forced.result().success
    assert rig.state == 'inactive' and rig.node.pipeline is not None


def test_autostart_that_fails_leaves_a_node_that_can_be_configured(rig, gate) -> None:
    gate.errors = [RuntimeError('no such weights')]
    gate.open.set()
    rig = rig(gate)
    rig.node.autostart()
    assert rig.until(lambda: 'no such weights' in rig.node.problem)
    assert rig.state == 'unconfigured'
    rig.start()
    assert not rig.call(Trigger, 'cs3/segment_now').success  # no frame yet, but it is there


def test_a_loading_keeps_its_error() -> None:
    def fail() -> None:
        raise KeyError('weights')

    loading = Loading(fail)
    loading._thread.join(5)
    with pytest.raises(KeyError, match='weights'):
        loading.result()


# ---- signals ------------------------------------------------------------------------------------


def ends(process, times: int, number: int = signal.SIGINT) -> float:
    """Signal it; how long it takes. Its status is 0."""
    before = time.monotonic()
    for _ in range(times):
        process.signal(number)
        time.sleep(0.05)
    assert process.wait(30) == 0, process.text
    assert 'Traceback' not in process.text
    return time.monotonic() - before


def wait_for(process, words: str) -> None:
    deadline = time.monotonic() + 60
    while words not in process.text and time.monotonic() < deadline:
        time.sleep(0.02)
    assert words in process.text


@pytest.mark.parametrize('times', [1, 2])
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_while_python_imports_the_node(start, number: int, times: int) -> None:
    process = start('node')
    deadline = time.monotonic() + 30
    while not process.catches_signals() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert ends(process, times, number) < FAST_S


@pytest.mark.parametrize('times', [1, 2])
def test_while_a_bundle_loads(start, times: int) -> None:
    process = start('slow_node', 'loading')
    wait_for(process, 'loading ...')
    assert ends(process, times) < FAST_S


def test_while_nano_loads(start, listener) -> None:
    pytest.importorskip('torch')
    process = start('node', '--bundle', 'nano')
    request = GetState.Request()
    state = listener.call(GetState, '/cs3/cs3/get_state', request).current_state
    assert state.label == 'configuring', process.text
    time.sleep(1.0)  # in the middle of the imports
    assert ends(process, 2) < FAST_S


@pytest.mark.parametrize('times', [1, 2])
def test_while_it_cleans_up(start, times: int) -> None:
    process = start('slow_node', 'cleanup')
    wait_for(process, 'listening to')
    process.signal(signal.SIGINT)
    wait_for(process, 'cleanup ...')
    assert ends(process, times) < FAST_S


@pytest.mark.parametrize('times', [1, 2])
def test_while_it_is_active(start, times: int) -> None:
    process = start('slow_node', 'never')
    wait_for(process, 'listening to')
    assert ends(process, times) < FAST_S
