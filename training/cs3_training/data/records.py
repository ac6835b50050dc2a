"""What the annotation files say, whichever of them said it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Dataset = Literal['epic', 'ego4d', 'own']
"""Whose videos: ``own`` for those that ``cs3-train curate`` looked through."""

CLASSES = (
    'metal-only-collision',
    'plastic-only-collision',
    'metal-wood-collision',
    'metal-ceramic-collision',
    'metal-plastic-collision',
    'ceramic-only-collision',
    'paper-only-collision',
    'metal-glass-collision',
    'glass-only-collision',
    'wood-only-collision',
    'plastic-paper-collision',
    'metal-paper-collision',
    'metal-cloth-collision',
    'plastic-ceramic-collision',
    'plastic-wood-collision',
    'ceramic-glass-collision',
    'metal-marble-collision',
    'plastic-marble-collision',
    'plastic-glass-collision',
    'ceramic-wood-collision',
    'cloth-only-collision',
    'ceramic-marble-collision',
    'glass-marble-collision',
    'wood-glass-collision',
)
"""The 24 classes of CS3, the most frequent first: the collisions among the 44 of EPIC-SOUNDS."""

NOISES = ('speech', 'background_music', 'traffic_noise', 'wind_noise')
"""What else Ego4DSounds says is heard in a clip."""


@dataclass(frozen=True)
class Segment:
    """A stretch of a video in which something is heard. Times are media time in nanoseconds.

    Sample columns of the files are never read: they count at a rate that the videos do not have.
    """

    id: str
    """Unique in its file: ``P01_01_0``, ``{video}_{start}_{stop}``; of Ego4DSounds
    ``{video}_{narration source}_{narration number}``; of ``own`` as of Ego4D-CS3."""
    dataset: Dataset
    """Whose video it is."""
    video: str
    """Name of the video file without its ending: ``P01_01``, a UID of Ego4D, any of ``own``."""
    start_ns: int
    """Begin, at least 0."""
    stop_ns: int
    """End, after the begin and at most ``tables.LONGEST_S`` later."""
    label: str = ''
    """Class: one of ``CLASSES``, or another class of EPIC-SOUNDS as it stands there; '' where the
    file has none."""
    score: float | None = None
    """Confidence of the class, 0 to 1; None where people gave it."""
    selected_ns: int | None = None
    """Time of the frame that was chosen for the evaluation; None in training files."""
    text: str = ''
    """What people wrote about it: the description or the narration."""
    noises: tuple[str, ...] = ()
    """Which of ``NOISES`` are heard, too."""
    onset_ns: int | None = None
    """Time of the impact where one was found in the sound; None in official files."""

    @property
    def collides(self) -> bool:
        """Whether its class is one of the 24."""
        return self.label in CLASSES


def collision_name(label: str) -> str:
    """A class of EPIC-SOUNDS as CS3 writes it: ``metal / wood collision`` ->
    ``metal-wood-collision``; others as they are."""
    if not label.endswith(' collision'):
        return label
    return label.replace(' / ', '-').replace(' ', '-')
