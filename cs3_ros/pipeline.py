"""The way of the data: one collision clip in, the masks of the colliding objects out.

``Pipeline.prepare`` does all that needs no sound, ``Pipeline.finish`` the rest::

    frames ──> hands.detect ─────────┐
           ├─> localiser.encode ──┐  │
           └─> masker.encode ──┐  │  │            (prepare: while sound still arrives)
                               │  │  │
    audio ──> localiser.locate <──┘  │            (finish)
                               │  │  │
              masker.segment <─┴──┴──┘  boxes and points -> candidate masks
                   │
              verify (CS3 section 4.3)  candidates -> the one or two colliding objects

A stage never reaches into another; this module is the only one that knows all four.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cs3_ros.collision import (
    AudioClip,
    Candidate,
    Collision,
    CollisionClip,
    Frame,
    HandObject,
    Image,
    Label,
    Localisation,
    Mask,
    Onset,
    Prompt,
    Verdict,
)
from cs3_ros.verification import VerificationConfig, verify


class Localiser(Protocol):
    """Which region made this sound."""

    def encode(self, frames: Sequence[Frame], index: int) -> Any:
        """Everything that needs no sound; frames[index] is the event frame."""

    def locate(self, encoded: Any, audio: AudioClip) -> Localisation | None:
        """The sounding region at the event frame's size, or None when nothing stands out."""


class HandDetector(Protocol):
    """What each of the wearer's hands holds."""

    def detect(self, frames: Sequence[Frame], index: int) -> tuple[HandObject, ...]:
        """At most one HandObject per side; neighbours of frames[index] may be searched.

        Geometry is given in pixels of the event frame, frames[index].
        """


class Masker(Protocol):
    """Boxes or points to masks."""

    def encode(self, image: Image) -> Any:
        """Everything that is shared by all prompts on one RGB image [H, W, 3]."""

    def segment(self, encoded: Any, prompts: Sequence[Prompt]) -> list[Mask]:
        """One bool mask [H, W] per prompt; all False where nothing can be cut out."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """What ``Pipeline.prepare`` leaves for ``Pipeline.finish``."""

    frame: Frame
    hands: tuple[HandObject, ...]
    localiser_state: Any
    masker_state: Any
    timings_ms: dict[str, float]


class Pipeline:
    """The four stages, timed.

    Args:
        name: name of the bundle, kept in every Collision.
        masker: boxes and points to masks.
        hands: hand-object detector, or None.
        localiser: sounding-region localiser, or None.
        verification: thresholds of CS3 section 4.3.

    Raises:
        ValueError: neither hands nor a localiser was given, so there could be no candidate.
    """

    def __init__(
        self,
        name: str,
        masker: Masker,
        hands: HandDetector | None = None,
        localiser: Localiser | None = None,
        verification: VerificationConfig = VerificationConfig(),
    ) -> None:
        if hands is None and localiser is None:
            raise ValueError(
                f'pipeline {name!r}: expected hands, a localiser or both, got neither; '
                'name at least one of them in the bundle'
            )
        self.name = name
        self.masker = masker
        self.hands = hands
        self.localiser = localiser
        self.verification = verification

    def __call__(self, clip: CollisionClip) -> Collision:
        """Run both halves on a complete clip."""
        return self.finish(self.prepare(clip.frames, clip.event_index), clip)

    def warm_up(self) -> None:
        """Run every stage once on an empty picture and silence, so that no event pays for it."""
        frame = Frame.from_rgb(1, np.full((480, 640, 3), 127, np.uint8))
        silence = AudioClip(1, 16_000, np.zeros(16_000, np.float32), np.ones(16_000, bool))
        self(CollisionClip(Onset(1, -20.0, 20.0), (frame,), 0, silence))

    def prepare(self, frames: Sequence[Frame], index: int) -> Prepared:
        """All that needs no sound.

        Args:
            frames: frames round the onset in time order.
            index: the event frame in ``frames``.

        Raises:
            ValueError: the event frame cannot be decoded.
        """
        timings: dict[str, float] = {}
        frame = frames[index]
        with _timed(timings, 'decode'):
            image = frame.image
        hands: tuple[HandObject, ...] = ()
        localiser_state = None
        if self.hands is not None:
            with _timed(timings, 'hands'):
                hands = self.hands.detect(frames, index)
        if self.localiser is not None:
            with _timed(timings, 'localiser_encode'):
                localiser_state = self.localiser.encode(frames, index)
        with _timed(timings, 'masker_encode'):
            masker_state = self.masker.encode(image)
        return Prepared(frame, hands, localiser_state, masker_state, timings)

    def finish(self, prepared: Prepared, clip: CollisionClip) -> Collision:
        """Locate the sound, cut out the candidates and choose the colliding ones.

        Args:
            prepared: from ``prepare`` on the same frames.
            clip: the complete clip; its sound and onset are used here.
        """
        timings = dict(prepared.timings_ms)
        localisation = None
        if self.localiser is not None:
            with _timed(timings, 'localiser_locate'):
                localisation = self.localiser.locate(prepared.localiser_state, clip.audio)
        labels, scores, prompts = _prompts(prepared.hands, localisation)
        with _timed(timings, 'masks'):
            masks = self.masker.segment(prepared.masker_state, prompts) if prompts else []
        candidates = tuple(
            Candidate(label, mask, score)
            for label, mask, score in zip(labels, masks, scores, strict=True)
        )
        with _timed(timings, 'verify'):
            verdict: Verdict = verify(candidates, self.verification)
        return Collision(
            onset=clip.onset,
            frame=prepared.frame,
            verdict=verdict,
            candidates=candidates,
            hands=prepared.hands,
            heat_map=None if localisation is None else localisation.heat_map,
            timings_ms=timings,
            bundle=self.name,
        )


def _prompts(
    hands: Sequence[HandObject], localisation: Localisation | None
) -> tuple[list[Label], list[float], list[Prompt]]:
    """One prompt per hand that holds something, one for the localisation, in priority order."""
    labels: list[Label] = []
    scores: list[float] = []
    prompts: list[Prompt] = []
    hulls = tuple(hand.hand_hull for hand in hands if len(hand.hand_hull) >= 3)
    for hand in sorted(hands, key=lambda hand: hand.side != 'right'):
        if hand.object_box is None and len(hand.grip_points) == 0:
            continue
        labels.append('right_hand' if hand.side == 'right' else 'left_hand')
        scores.append(hand.score)
        prompts.append(Prompt(hand.object_box, hand.grip_points, exclude=hulls))
    if localisation is not None:
        labels.append('audio_visual')
        scores.append(localisation.score)
        prompts.append(Prompt(localisation.box, exclude=hulls))
    return labels, scores, prompts


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[stage] = (time.perf_counter() - start) * 1e3
