"""Processes of the demo and the benchmarks: their domain, their end, what they leave."""

from __future__ import annotations

import os
import signal

import pytest

from cs3_ros.ros import processes
from cs3_ros.ros.processes import children, own_domain


def test_a_domain_that_nobody_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = {7400 + 250 * n + 11 for n in range(1, 101) if n != 42}
    monkeypatch.setattr(processes, '_busy_ports', lambda: ports)
    monkeypatch.setenv('ROS_DOMAIN_ID', '7')
    with own_domain():
        assert os.environ['ROS_DOMAIN_ID'] == '42'
        assert os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    assert os.environ['ROS_DOMAIN_ID'] == '7'
    ports.add(7400 + 250 * 42)
    with own_domain():
        assert 1 <= int(os.environ['ROS_DOMAIN_ID']) <= 100


def test_children_end_with_their_context_even_where_interrupts_are_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with children() as start:
            child = start('http.server', '0', '--bind', '127.0.0.1')
            assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
            assert not child.ended
            child.check()
        assert child.ended and child.wait() != -signal.SIGKILL
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_child_that_ended_says_what_it_wrote() -> None:
    with children() as start:
        child = start('json.tool', '/no/such/file')
        assert child.wait() != 0
        with pytest.raises(RuntimeError, match='tool /no/such/file ended'):
            child.check()
        with pytest.raises(RuntimeError, match='left no figures'):
            child.last_json()
