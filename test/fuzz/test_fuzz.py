"""Damaged files of each kind are read as before, told or refused, within bounds of time and memory.

Every try is a process of its own; ``python test/fuzz 300`` tries more.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from judge import run  # noqa: E402
from subjects import SUBJECTS  # noqa: E402


@pytest.mark.parametrize('name', SUBJECTS)
def test_no_damage_escapes_or_is_silent(name):
    tally = run(SUBJECTS[name], 20)
    assert sum(tally.counts.values()) == 20
    assert tally.failures(SUBJECTS[name].allowed) == []
