"""What the launch files rely on: what the node tells of its transitions, and its own log level."""

from __future__ import annotations

import needs

needs.ros()

import re

import pytest
from lifecycle_msgs.msg import Transition, TransitionEvent
from lifecycle_msgs.srv import ChangeState

EVENTS = '/cs3/cs3/transition_event'


def transitions(listener) -> list[tuple[str, str]]:
    return [(e.start_state.label, e.goal_state.label) for e in listener.heard[EVENTS]]


def test_the_launch_is_told_that_the_node_is_active(start, listener) -> None:
    """At once by a line of the log, and by the transition where the launch is known by then."""
    listener.listen(TransitionEvent, EVENTS, 10)  # as LifecycleNode of launch_ros does
    node = start('fake_node')
    assert listener.until(lambda: ': listening to ' in node.text), node.text
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
        request = ChangeState.Request(transition=Transition(id=transition))
        assert listener.call(ChangeState, '/cs3/cs3/change_state', request).success
    assert listener.until(lambda: ('activating', 'active') in transitions(listener)), node.text


def test_the_launch_is_told_that_configure_failed(start, listener) -> None:
    """At once by a line of the log, and by the transition where the launch is known by then."""
    listener.listen(TransitionEvent, EVENTS, 10)
    node = start('node', '--bundle', 'nobody')
    assert listener.until(lambda: 'configure failed: ' in node.text), node.text
    configure = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    assert not listener.call(ChangeState, '/cs3/cs3/change_state', configure).success
    assert listener.until(lambda: ('configuring', 'unconfigured') in transitions(listener))


@pytest.mark.parametrize('logger, floods', [('cs3.cs3:=', False), ('', True)])
def test_a_log_level_of_its_own_leaves_the_middleware_quiet(start, listener, logger, floods):
    level = f'{logger}debug'
    node = start('node', '--bundle', 'nobody', '--ros-args', '--log-level', level)
    assert listener.until(lambda: 'configure failed' in node.text), node.text
    assert bool(re.search(r'\[(rcl|rmw)', node.text)) is floods
