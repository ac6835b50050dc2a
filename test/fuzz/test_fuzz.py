"""Damaged files of each kind are read as before, told or refused, within bounds of time and memory.

Every try is a process of its own; ``python test/fuzz 300`` tries more.
"""

import needs

needs.opencv()

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from judge import run
from subjects import SUBJECTS

FAILED = {'mp4': (23, 34, 65), 'ts': (55, 61, 80), 'webm': (70, 177), 'parameters.yaml': (32, 34)}
"""Tries beyond the first 20 that were silent or escaped once."""


@pytest.mark.parametrize('name', SUBJECTS)
def test_no_damage_escapes_or_is_silent(name):
    tries = sorted({*range(20), *FAILED.get(name, ())})
    tally = run(SUBJECTS[name], tries)
    assert sum(tally.counts.values()) == len(tries)
    assert tally.failures(SUBJECTS[name].allowed) == []
