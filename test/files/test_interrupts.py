"""Signals end a command even where Python drops the exception of their handler."""

import signal
import sys
import time

import pytest

from cs3_ros.files.interrupts import Terminated, interruptible


class Rings:
    """Sends a signal while it is deleted."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        signal.raise_signal(self.number)


@pytest.mark.parametrize(
    'number, ends', [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_signal_in_a_callback_is_not_lost(number, ends):
    hook = sys.unraisablehook
    with pytest.raises(ends), interruptible():
        Rings(number)
        time.sleep(10)
    assert sys.unraisablehook is hook
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_dropped_exceptions_are_told_as_ever(monkeypatch):
    told = []
    monkeypatch.setattr(sys, 'unraisablehook', told.append)

    class Breaks:
        def __del__(self):
            raise ValueError

    with interruptible():
        Breaks()
    assert [each.exc_type for each in told] == [ValueError]
