"""The numbers of the strategy ``sounding``, chosen on validation scenes.

Every scene is looked at once; then each combination of the numbers decides on the same scored
candidates, and the one of the best mean score is taken. The tests see none of these scenes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import Candidate, Label, Mask
from cs3_ros.files.progress import Bar
from cs3_ros.metrics import sample_score
from cs3_ros.pipeline import Pipeline
from cs3_ros.verification import Pair, VerificationConfig, touching_pairs
from cs3_ros.verifiers.sounding import SoundingVerifier, Weighing, weigh
from cs3_training.evaluation.intervals import Difference, compare
from cs3_training.evaluation.samples import Sample, SyntheticSamples

GAPS = (1.0, 0.4, 0.3, 0.25, 0.2, 0.15)
REACHES = (0.0, 10.0, 20.0, 40.0, 80.0)
LEADS = (1.0, 0.3, 0.2, 0.1, 0.05)
"""What is tried; those that count nothing come first and win where nothing is better."""


@dataclass(frozen=True, eq=False)
class Scored:
    """A scene with its candidates and their scores under one sound."""

    truth: tuple[Mask, ...]
    """What collided, bool [H, W]."""
    candidates: Sequence[Candidate]
    """Distinct ones, with ``sounding``."""
    pairs: Sequence[Pair]
    """Those in contact."""
    known: dict[tuple[Label, ...], float] = field(default_factory=dict)
    """Scores of the answers so far: few differ, and masks take long to compare."""

    def score(self, config: VerificationConfig, by: Weighing) -> float:
        """Score under some numbers, in [0, 1]."""
        objects = weigh(self.candidates, config, by, [], self.pairs).objects
        answer = tuple(one.label for one in objects)
        if answer not in self.known:
            self.known[answer] = sample_score(self.truth, [one.mask for one in objects])
        return self.known[answer]


@dataclass(frozen=True)
class Calibration:
    """The chosen numbers and what they are worth on the scenes that chose them; in percent."""

    chosen: Weighing
    contact: float
    """mIoU of contact alone."""
    sounding: float
    """mIoU of the chosen numbers."""
    shuffled: float
    """mIoU of the same numbers with the sound of another scene."""
    gain: Difference
    """Of the numbers over contact."""
    by_sound: Difference
    """Of the own sound over that of another scene."""


def look(pipeline: Pipeline, sample: Sample) -> tuple[Scored, Scored]:
    """Candidates of a sample, scored against its own sound and that of another sample.

    Raises:
        ValueError: the pipeline has no strategy ``sounding``.
    """
    verifier = pipeline.verifier
    if not isinstance(verifier, SoundingVerifier):
        raise ValueError(
            f'bundle {pipeline.name!r} chooses without the sound: expected verifier: {{type: '
            'sounding, ...}} in its YAML'
        )
    prepared = pipeline.prepare(sample.clip.frames, sample.clip.event_index)
    candidates = pipeline.finish(prepared, sample.clip).candidates
    config, found = pipeline.verification, []
    for audio in (sample.clip.audio, sample.other):
        scored = verifier.scored(prepared.verifier_state, audio, candidates, config, [])
        pairs = touching_pairs(scored, config, []) if len(scored) > 1 else []
        found.append(Scored(sample.truth, scored, pairs))
    return found[0], found[1]


def combinations() -> Iterator[Weighing]:
    """All that are tried."""
    for gap, reach, lead in product(GAPS, REACHES, LEADS):
        yield Weighing(gap, reach, lead)


def calibrate(pipeline: Pipeline, samples: SyntheticSamples, indices: range) -> Calibration:
    """Choose the numbers.

    Args:
        pipeline: of a bundle with the strategy ``sounding``; its own numbers are not looked at.
        samples: of the split validation.
        indices: which of them, an even first one and an even number.

    Raises:
        ValueError: as ``look``.
    """
    looked = [look(pipeline, samples[k]) for k in Bar(indices, 'scenes', disable=None)]
    own, other = [one for one, _ in looked], [one for _, one in looked]
    config = pipeline.verification
    scores = {by: _scores(own, config, by) for by in combinations()}
    best = max(scores, key=lambda by: scores[by].mean())  # the first of equals
    contact, chosen = scores[Weighing()], scores[best]
    shuffled = _scores(other, config, best)
    groups = [k // 2 for k in indices]  # partners share their sounds
    return Calibration(
        chosen=best,
        contact=100 * float(contact.mean()),
        sounding=100 * float(chosen.mean()),
        shuffled=100 * float(shuffled.mean()),
        gain=compare(list(chosen), list(contact), groups),
        by_sound=compare(list(chosen), list(shuffled), groups),
    )


def _scores(
    scenes: Sequence[Scored], config: VerificationConfig, by: Weighing
) -> NDArray[np.float64]:
    return np.array([scene.score(config, by) for scene in scenes])
