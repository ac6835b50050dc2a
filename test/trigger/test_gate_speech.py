"""A minute of human speech, and the impacts in it."""

from __future__ import annotations

import numpy as np
import pytest
from human_speech import human_speech

from cs3_ros.bench.ear import loudest, recorded, with_impacts
from cs3_ros.bench.onset import compare, detect
from cs3_ros.bench.sounds import impact
from cs3_ros.trigger.onset import OnsetConfig

WITHOUT = OnsetConfig(gate=0.0)


@pytest.fixture(scope='module')
def minute(tmp_path_factory):
    folder = human_speech(tmp_path_factory.mktemp('speech'))
    return recorded(folder)(np.random.default_rng(4), 60.0)


def test_a_minute_of_human_speech_has_hardly_an_onset(minute):
    sound, rate = minute
    assert sound.size == 60 * rate
    assert len(detect(sound, rate, config=WITHOUT)) >= 15
    assert len(detect(sound, rate)) <= 4


def test_impacts_in_it_are_still_heard(minute):
    sound, rate = minute
    rng = np.random.default_rng(5)
    level = loudest(sound, rate)
    mixed, peaks = with_impacts(sound, rate, level, impact, rng)
    without = compare(detect(mixed, rate, config=WITHOUT), peaks)
    assert compare(detect(mixed, rate), peaks).recall >= without.recall - 0.08
