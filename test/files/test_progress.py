"""A bar may be interrupted in each line of its making."""

from __future__ import annotations

import gc
import io
import sys

import pytest
from tqdm import tqdm

from cs3_ros.files.progress import Bar, QuietBar


def interrupted_at(line: int, kind: type[tqdm]) -> bool:
    """Make a bar and interrupt its constructor in its nth line; whether it had so many."""
    left = line

    def trace(frame, event, argument):
        nonlocal left
        if frame.f_code.co_qualname != 'tqdm.__init__' or event not in ('call', 'line'):
            return None
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        kind(total=3, file=io.StringIO())
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def complaints(kind: type[tqdm], monkeypatch) -> tuple[int, list[str]]:
    """Lines of the constructor, and what was raised where nobody can catch it."""
    told: list[str] = []
    monkeypatch.setattr(sys, 'unraisablehook', lambda u: told.append(repr(u.exc_value)))
    line = 0
    while interrupted_at(line, kind):
        gc.collect()
        line += 1
    return line, told


@pytest.mark.parametrize('kind', [Bar, QuietBar])
def test_an_interrupted_bar_leaves_no_traceback(kind, monkeypatch) -> None:
    lines, told = complaints(kind, monkeypatch)
    assert lines > 20 and told == []


def test_the_plain_one_does(monkeypatch) -> None:
    assert complaints(tqdm, monkeypatch)[1]


def test_the_end_is_shown() -> None:
    shown = io.StringIO()
    with Bar(total=3, file=shown) as bar:
        bar.update(3)
    assert '3/3' in shown.getvalue()
