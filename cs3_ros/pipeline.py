"""The way of the data: one collision clip in, the masks of the colliding objects out.

``Pipeline.prepare`` does all that needs no sound, ``Pipeline.finish`` the rest; its half after the
localiser is ``Pipeline.decide``::

    frames ──> hands.detect ─────────┐
           ├─> localiser.encode ──┐  │
           ├─> objects.propose │──│──┤
           ├─> masker.encode ──┐  │  │            (prepare: while sound still arrives)
           └─> verifier.encode │  │  │
                     │         │  │  │
    audio ──> localiser.locate <──┘  │            (finish)
      │              │         │  │  │
      │       masker.segment <─┴──┴──┘  boxes and points -> candidate masks  (decide)
      │              │
      └────> verifier.verify (CS3 section 4.3)  candidates -> the one or two colliding objects

A stage never reaches into another; this module is the only one that knows all of them.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Protocol, TypeVar

import numpy as np

from cs3_ros.collision import (
    AudioClip,
    Candidate,
    Collision,
    CollisionClip,
    Frame,
    HandObject,
    Image,
    Localisation,
    Mask,
    Onset,
    Prompt,
    Proposal,
    Tracked,
    Verdict,
)
from cs3_ros.prompting import prompts_of
from cs3_ros.runtime import free_gpu_memory, is_out_of_memory, warming_up
from cs3_ros.verification import ContactVerifier, VerificationConfig

T = TypeVar('T')


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


class ObjectProposer(Protocol):
    """Which objects are in the picture, whatever they have to do with the collision."""

    def propose(self, image: Image) -> tuple[Proposal, ...]:
        """Objects on one RGB image [H, W, 3], boxes in its pixels; no persons, no hands."""


class Masker(Protocol):
    """Boxes or points to masks."""

    def encode(self, image: Image) -> Any:
        """Everything that is shared by all prompts on one RGB image [H, W, 3]."""

    def segment(self, encoded: Any, prompts: Sequence[Prompt]) -> list[Mask]:
        """One bool mask [H, W] per prompt; all False where nothing can be cut out."""


class Verifier(Protocol):
    """Which candidates collided."""

    def encode(self, frame: Frame) -> Any:
        """Everything that needs neither sound nor candidates."""

    def verify(
        self,
        encoded: Any,
        audio: AudioClip,
        candidates: Sequence[Candidate],
        config: VerificationConfig,
    ) -> Verdict:
        """The zero, one or two that collided, by the thresholds of ``config``, and why."""


class Tracker(Protocol):
    """Where the objects of an event are in the frames after it."""

    def begin(self, frame: Frame, masks: Sequence[Mask]) -> Any:
        """A track of one event: its frame, and one bool mask [H, W] per object."""

    def follow(self, state: Any, frame: Frame) -> Sequence[Tracked | None]:
        """The objects in the next frame, in their order; changes the state.

        None where one has left or was lost, from then on for good: nothing is invented.
        """


@dataclass(frozen=True, eq=False)
class Prepared:
    """What ``Pipeline.prepare`` leaves for ``Pipeline.finish``."""

    frame: Frame
    hands: tuple[HandObject, ...]
    localiser_state: Any
    masker_state: Any
    timings_ms: dict[str, float]
    verifier_state: Any = None
    objects: tuple[Proposal, ...] = ()


class Pipeline:
    """The stages, timed.

    Args:
        name: name of the bundle, kept in every Collision.
        masker: boxes and points to masks.
        hands: hand-object detector, or None.
        localiser: sounding-region localiser, or None.
        verification: thresholds of CS3 section 4.3.
        verifier: the strategy that chooses among candidates; None for ``contact``.
        objects: proposes objects, to which hands and the sounding place snap; or None.
        tracker: carries the masks of an event on to later frames, or None; see ``tracking.py``.
        counts: where the stages count what happens to them, such as ``Runtime.counts``.

    Attributes:
        counts: ``out_of_memory``, stages that ran again after the GPU memory was full, and
            ``not_accelerated``, as ``Runtime`` has it.

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
        verifier: Verifier | None = None,
        objects: ObjectProposer | None = None,
        tracker: Tracker | None = None,
        counts: Counter[str] | None = None,
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
        self.verifier: Verifier = verifier or ContactVerifier()
        self.objects = objects
        self.tracker = tracker
        self.counts: Counter[str] = Counter() if counts is None else counts
        for name in ('out_of_memory', 'not_accelerated'):
            self.counts.setdefault(name, 0)
        self._turns: defaultdict[str, Lock] = defaultdict(Lock)

    def __call__(self, clip: CollisionClip) -> Collision:
        """Run both halves on a complete clip."""
        return self.finish(self.prepare(clip.frames, clip.event_index), clip)

    def warm_up(self, audio_s: float = 1.0) -> None:
        """Run every stage once on an empty picture and silence, so that no event pays for it.

        What the settings of a ``Runtime`` ask to compile or to record is done here, and only here.

        Args:
            audio_s: length of the sound that the bundle asks for, seconds.
        """
        frame = Frame.from_rgb(1, np.full((720, 1280, 3), 127, np.uint8))
        count = max(round(audio_s * 48_000), 1)
        silence = AudioClip(1, 48_000, np.zeros(count, np.float32), np.ones(count, bool))
        clip = CollisionClip(Onset(1, -20.0, 20.0), (frame,), 0, silence)
        with warming_up():
            prepared = self.prepare(clip.frames, clip.event_index)
            self.finish(prepared, clip)
            # Where nothing is found nothing is cut out either: so once for a box that is given.
            box = Prompt((320.0, 180.0, 960.0, 540.0))
            self._run({}, 'masks', self.masker.segment, prepared.masker_state, [box])

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
        image = self._run(timings, 'decode', lambda: frame.image)
        hands: tuple[HandObject, ...] = ()
        localiser_state = None
        # Hands last: their boxes come to the host, which would wait before the others had begun.
        if self.localiser is not None:
            localiser_state = self._run(
                timings, 'localiser_encode', self.localiser.encode, frames, index
            )
        masker_state = self._run(timings, 'masker_encode', self.masker.encode, image)
        verifier_state = None
        if not isinstance(self.verifier, ContactVerifier):
            verifier_state = self._run(timings, 'verifier_encode', self.verifier.encode, frame)
        objects: tuple[Proposal, ...] = ()
        if self.objects is not None:
            objects = self._run(timings, 'objects', self.objects.propose, image)
        if self.hands is not None:
            hands = self._run(timings, 'hands', self.hands.detect, frames, index)
        return Prepared(
            frame, hands, localiser_state, masker_state, timings, verifier_state, objects
        )

    def finish(self, prepared: Prepared, clip: CollisionClip) -> Collision:
        """Locate the sound, cut out the candidates and choose the colliding ones.

        Args:
            prepared: from ``prepare`` on the same frames.
            clip: the complete clip; its sound and onset are used here.
        """
        if self.localiser is None:
            return self.decide(prepared, None, clip)
        timings = dict(prepared.timings_ms)
        localisation = self._run(
            timings,
            'localiser_locate',
            self.localiser.locate,
            prepared.localiser_state,
            clip.audio,
        )
        return self.decide(replace(prepared, timings_ms=timings), localisation, clip)

    def decide(
        self, prepared: Prepared, localisation: Localisation | None, clip: CollisionClip
    ) -> Collision:
        """Cut out the candidates and choose the colliding ones, wherever the sound was located.

        Args:
            prepared: from ``prepare`` on the same frames.
            localisation: the sounding region, from whatever localiser; None where there is none.
            clip: its onset and its sound are used here.
        """
        timings = dict(prepared.timings_ms)
        labels, scores, prompts = prompts_of(
            prepared.hands,
            localisation,
            prepared.objects,
            searched=self.localiser is not None,
            size=_size(prepared.frame.image) if prepared.objects else None,
        )
        masks: list[Mask] = []
        if prompts:
            masks = self._run(timings, 'masks', self.masker.segment, prepared.masker_state, prompts)
        candidates = tuple(
            Candidate(label, mask, score)
            for label, mask, score in zip(labels, masks, scores, strict=True)
        )
        verdict: Verdict = self._run(
            timings,
            'verify',
            self.verifier.verify,
            prepared.verifier_state,
            clip.audio,
            candidates,
            self.verification,
        )
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

    def _run(self, timings: dict[str, float], stage: str, call: Callable[..., T], *args: Any) -> T:
        """One stage, timed; once more where the GPU memory was full.

        Threads take turns at a stage: MediaPipe's graph and the hook of ``embed_prompt`` serve one.
        """
        with self._turns[stage]:
            start = time.perf_counter()
            full = False
            try:
                result = call(*args)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                full = True
            if full:  # here, where the error no longer holds what was being computed
                self.counts['out_of_memory'] += 1
                free_gpu_memory()
                result = call(*args)
            timings[stage] = (time.perf_counter() - start) * 1e3
            return result


def _size(image: Image) -> tuple[int, int]:
    """Height and width."""
    return image.shape[0], image.shape[1]
