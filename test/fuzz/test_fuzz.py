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

FAILED = {
    ('mp4', 0): (23, 34, 65),
    ('mp4', 3): (144,),
    ('mp4', 4): (178,),
    ('ts', 0): (55, 61, 80),
    ('webm', 0): (70, 177),
    ('webm', 1): (191, 207),
    ('webm', 2): (73, 166),
    ('webm', 3): (103,),
    ('webm', 7): (132,),
    ('parameters.yaml', 0): (32, 34),
}
"""Subject and seed -> tries that were silent or escaped once."""


@pytest.mark.parametrize('name, seed', sorted({*((name, 0) for name in SUBJECTS), *FAILED}))
def test_no_damage_escapes_or_is_silent(name, seed):
    first = 0 if seed else 20
    tries = sorted({*range(first), *FAILED.get((name, seed), ())})
    tally = run(SUBJECTS[name], tries, seed)
    assert sum(tally.counts.values()) == len(tries)
    assert tally.failures(SUBJECTS[name].allowed) == []
