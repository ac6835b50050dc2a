"""The strategy ``sounding``: contact and how well each candidate fits the sound decide together.

Candidates are merged as by ``contact`` (CS3 section 4.3), then scored against the sound (Clink!
Chop! Thud!). Three numbers say how much the scores count; at ``gap=1, reach=0, lead=1`` they count
nothing, and the answer is that of ``contact``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cs3_ros.collision import AudioClip, Candidate, Frame, Verdict
from cs3_ros.config import setting, validate
from cs3_ros.localisers.sounding import EncodedPatches, SoundingScorer, SoundingScorerConfig
from cs3_ros.runtime import Runtime
from cs3_ros.verification import (
    Pair,
    VerificationConfig,
    closest,
    distinct,
    touching_pairs,
    without_choice,
)


@dataclass(frozen=True)
class Weighing:
    """How much the scores, which lie in [0, 1], count beside contact and priority.

    Raises:
        ValueError: a number is outside its range.
    """

    gap: float = setting(
        1.0,
        'A candidate that scores lower than the best by more than this did not sound; 1 keeps all.',
        minimum=0.0,
        maximum=1.0,
    )
    reach: float = setting(
        0.0,
        'A pair in contact comes nearer by this times its mean score, reference pixels.',
        minimum=0.0,
        maximum=10_000.0,
    )
    lead: float = setting(
        1.0,
        'Where no pair is in contact, a candidate of lower priority has to score higher than the '
        'first by more than this; 1 always takes the first.',
        minimum=0.0,
        maximum=1.0,
    )

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class SoundingVerifierConfig(Weighing, SoundingScorerConfig):
    """Settings of ``SoundingVerifier``: weights of the scorer, and how much its scores count.

    Raises:
        ValueError: a setting is outside its range.
    """


class SoundingVerifier:
    """Chooses by contact and sound.

    Args:
        config: names the weights and says how much the scores count.
        runtime: what the network runs on.

    Raises:
        ValueError: weights are not named, damaged, or do not belong together.
        OSError: a file cannot be read.
    """

    def __init__(self, config: SoundingVerifierConfig, runtime: Runtime) -> None:
        self.config = config
        self.scorer = SoundingScorer(config, runtime)

    def encode(self, frame: Frame) -> EncodedPatches:
        """What the network sees of a picture.

        Raises:
            ValueError: the frame cannot be decoded.
        """
        return self.scorer.encode(frame)

    def verify(
        self,
        encoded: EncodedPatches,
        audio: AudioClip,
        candidates: Sequence[Candidate],
        config: VerificationConfig,
    ) -> Verdict:
        """Choose the zero, one or two masks that collided.

        Args:
            encoded: from ``encode``.
            audio: sound as ``SoundingScorer.score`` takes it.
            candidates: masks at the size of the picture.
            config: thresholds of contact.

        Returns:
            The chosen candidates with their scores; rules as ``weigh``.
        """
        trace: list[str] = []
        return weigh(
            self.scored(encoded, audio, candidates, config, trace), config, self.config, trace
        )

    def scored(
        self,
        encoded: EncodedPatches,
        audio: AudioClip,
        candidates: Sequence[Candidate],
        config: VerificationConfig,
        trace: list[str],
    ) -> list[Candidate]:
        """The distinct candidates in order of priority, each with its score.

        Args:
            encoded: from ``encode``.
            audio: sound as ``SoundingScorer.score`` takes it.
            candidates: masks at the size of the picture.
            config: thresholds of contact.
            trace: as ``verification.distinct``; gets each score, too.
        """
        kept = distinct(candidates, config, trace)
        if not kept:
            return []
        cosines = self.scorer.score(encoded, audio, [one.mask for one in kept]).cosine  # [M]
        found = [
            replace(one, sounding=score_of(float(cosine)))
            for one, cosine in zip(kept, cosines, strict=True)
        ]
        trace += [f'{one.label} fits the sound by {one.sounding:.3f}.' for one in found]
        return found


def score_of(cosine: float) -> float:
    """A cosine as a score in [0, 1]; 0.5 says nothing."""
    return min(max((1 + cosine) / 2, 0.0), 1.0)


def weigh(
    scored: Sequence[Candidate],
    config: VerificationConfig,
    by: Weighing,
    trace: list[str],
    measured: Sequence[Pair] | None = None,
) -> Verdict:
    """Choose among scored candidates.

    Args:
        scored: in order of priority, each with ``sounding``.
        config: thresholds of contact.
        by: how much the scores count.
        trace: what was done so far; goes into the verdict.
        measured: pairs of ``scored`` in contact, where they are known already.

    Returns:
        ``rule`` is one of those of ``verification.verify``, or ``single_by_sound``: no pair
        touches, and the sound spoke for another one than priority did.
    """
    best = max((_score(one) for one in scored), default=0.0)
    kept = [one for one in scored if _score(one) >= best - by.gap]
    trace += [
        f'{one.label} dropped: more than {by.gap:g} below the best, {best:.3f}.'
        for one in scored
        if one not in kept
    ]
    if len(kept) < 2:
        return without_choice(kept, trace)
    if measured is None:
        pairs = touching_pairs(kept, config, trace)
    else:
        pairs = [pair for pair in measured if pair.first in kept and pair.second in kept]
    if pairs:
        pair, rule = closest([_drawn(pair, by.reach, trace) for pair in pairs], trace)
        true = next(p for p in pairs if (p.first, p.second) == (pair.first, pair.second))
        return Verdict((pair.first, pair.second), rule, true.distance, tuple(trace))
    first, loudest = kept[0], max(kept, key=_score)  # the first of equals
    apart = f'No distance is below {config.beta:g} px: one object'
    if _score(loudest) - _score(first) > by.lead:
        trace.append(
            f'{apart}, {loudest.label}, by the sound: more than {by.lead:g} above {first.label}.'
        )
        return Verdict((loudest,), 'single_by_sound', None, tuple(trace))
    trace.append(f'{apart}, {first.label}, by priority.')
    return Verdict((first,), 'single_by_priority', None, tuple(trace))


def _score(candidate: Candidate) -> float:
    return 0.0 if candidate.sounding is None else candidate.sounding


def _drawn(pair: Pair, reach: float, trace: list[str]) -> Pair:
    """The pair with the distance that its scores leave."""
    if not reach:
        return pair
    left = pair.distance - reach * (_score(pair.first) + _score(pair.second)) / 2
    trace.append(f'{pair}: the sound brings them to {left:.1f} px.')
    return replace(pair, distance=left)
