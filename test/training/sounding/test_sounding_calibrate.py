"""The numbers of the strategy are those that score best, and count nothing where nothing helps."""

from __future__ import annotations

import needs

needs.training()

from types import SimpleNamespace

import numpy as np
import pytest
from evaluation_fakes import known_pipeline, known_sample

from cs3_ros.collision import LABELS, Candidate
from cs3_ros.verification import VerificationConfig, touching_pairs
from cs3_ros.verifiers.sounding import SoundingVerifier, Weighing
from cs3_training.sounding.calibrate import Scored, calibrate, combinations, look

CONFIG = VerificationConfig()


def square(x: int) -> np.ndarray:
    mask = np.zeros((352, 352), bool)
    mask[100:140, x : x + 40] = True
    return mask


def scene(scores: tuple[float, ...], *true: int) -> Scored:
    """Three squares apart from each other; those of these numbers collided."""
    masks = [square(x) for x in (0, 150, 300)]
    made = [
        Candidate(label, mask, sounding=value)
        for label, mask, value in zip(LABELS, masks, scores, strict=True)
    ]
    return Scored(tuple(masks[k] for k in true), made, touching_pairs(made, CONFIG, []))


def test_numbers_are_scored_by_what_they_choose():
    scenes = [scene((0.4, 0.6, 0.5), 1), scene((0.8, 0.2, 0.7), 0)]
    assert [one.score(CONFIG, Weighing()) for one in scenes] == [0, 1]
    assert [one.score(CONFIG, Weighing(lead=0.1)) for one in scenes] == [1, 1]
    assert [one.score(CONFIG, Weighing()) for one in scenes] == [0, 1], 'what is known is not mixed'


def test_those_that_count_nothing_come_first():
    tried = list(combinations())
    assert tried[0] == Weighing() and len(set(tried)) == len(tried) == 150


class Verifier(SoundingVerifier):
    """Loud sounds fit the second candidate, quiet ones the first."""

    def __init__(self) -> None:
        self.config = Weighing()

    def encode(self, frame):
        return None

    def scored(self, encoded, audio, candidates, config, trace):
        loud = audio.samples.max() > 0.3
        scores = (0.3, 0.7, 0.3) if loud else (0.9, 0.1, 0.1)
        return [
            Candidate(one.label, one.mask, sounding=value)
            for one, value in zip(candidates, scores, strict=True)
        ]


def test_the_sound_that_helps_is_used_and_told_from_another():
    pipeline = known_pipeline()
    with pytest.raises(ValueError, match="bundle 'known' chooses without the sound"):
        look(pipeline, known_sample())
    pipeline.verifier = Verifier()
    masks = look(pipeline, known_sample())[0].candidates
    truth = (masks[1].mask,)  # what the left hand holds, which contact does not choose alone
    samples = {
        k: SimpleNamespace(**{**vars(known_sample(index=k)), 'truth': truth}) for k in (0, 1)
    }
    found = calibrate(pipeline, samples, range(2))
    assert found.chosen.gap == 0.3 and found.sounding == 100
    assert found.contact < 100 and found.shuffled == 0
    assert found.gain.mean == pytest.approx(100 - found.contact)
    assert found.by_sound.mean == pytest.approx(100)
