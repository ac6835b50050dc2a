"""The vocabulary: what the stages hand to each other, from a heard onset to a seen collision.

Conventions used everywhere: time is int nanoseconds of the message headers; images are RGB uint8
``[H, W, 3]``; masks are bool ``[H, W]``; a box is ``(x0, y0, x1, y1)`` in pixels with the far edge
exclusive; points are float ``[K, 2]`` in ``(x, y)`` pixels.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Points = NDArray[np.float32]
Side = Literal['right', 'left']
Label = Literal['right_hand', 'left_hand', 'audio_visual']

SIDES: tuple[Side, ...] = ('right', 'left')
"""The wearer's hands in the order in which they are told."""
LABELS: tuple[Label, ...] = ('right_hand', 'left_hand', 'audio_visual')
"""Candidate labels in the order of their priority (CS3 section 4.3)."""

NS_PER_S = 1_000_000_000

LAST_STAMP_NS = (2**31 - 1 - 3600) * NS_PER_S
"""Latest stamp that is taken in: the seconds of a ROS stamp are an int32, and what follows from a
message (an onset, the rest of a recording) may lie later than its stamp."""

MAX_PIXELS = 50_000_000
"""Height times width of the largest picture that is taken in, unless a setting says otherwise."""
KEPT_BYTES = 256_000_000
"""Bytes of decoded pictures that all frames keep together: ten of 4K. Older ones are decoded
anew where they are asked for again."""


def _no_points() -> Points:
    return np.zeros((0, 2), np.float32)


@dataclass(frozen=True, eq=False)
class Frame:
    """One video frame, kept as it arrived and decoded only when an event looks at it."""

    stamp_ns: int
    """Time of the frame, nanoseconds of its header."""
    payload: Any
    """What arrived: encoded bytes, a serialised message or an RGB array."""
    decode: Callable[[Any], Image]
    """Turns the payload into RGB uint8 [H, W, 3]; raises ValueError on a broken payload."""
    frame_id: str = ''
    """Coordinate frame of the source header."""
    decode_small: Callable[[Any, int], Image] | None = None
    """Turns the payload into a picture of 1, 1/2, 1/4 or 1/8 of its size, the smallest that has at
    least so many pixels, where that costs less than ``decode``; None where it does not."""

    @cached_property
    def _decoded(self) -> Image | ValueError:
        try:
            image = self.decode(self.payload)
        except ValueError as error:  # kept, too: several stages may look at a broken frame
            return error
        _KEPT.add(self, image.nbytes)
        return image

    @property
    def image(self) -> Image:
        """The decoded picture, RGB uint8 [H, W, 3]; decoded, or refused, once per Frame object,
        unless more than ``KEPT_BYTES`` were decoded since.

        Raises:
            ValueError: the payload is broken.
        """
        decoded = self._decoded
        if isinstance(decoded, ValueError):
            raise decoded.with_traceback(None)
        return decoded

    def small(self, least_pixels: int) -> Image:
        """The picture, or a smaller one where that is cheaper, whatever was decoded before.

        Args:
            least_pixels: height times width that it has at least, as far as the frame itself has.

        Returns:
            RGB uint8 [h, w, 3].

        Raises:
            ValueError: the payload is broken.
        """
        if self.decode_small is None:
            return self.image
        return self.decode_small(self.payload, least_pixels)

    @property
    def image_or_none(self) -> Image | None:
        """The decoded picture; None where the payload is broken, for frames that may be missing."""
        try:
            return self.image
        except ValueError:
            return None

    @property
    def nbytes(self) -> int:
        """Size of the stored payload in bytes."""
        nbytes = getattr(self.payload, 'nbytes', None)
        return len(self.payload) if nbytes is None else int(nbytes)

    def forget(self) -> None:
        """Let the decoded picture go; it is decoded anew when it is asked for."""
        self.__dict__.pop('_decoded', None)

    @classmethod
    def from_rgb(cls, stamp_ns: int, image: Image, frame_id: str = '') -> Frame:
        """A frame whose payload is already RGB uint8 [H, W, 3]."""
        # A view is an object of its own: a camera's buffer that is filled anew is a new picture.
        return cls(stamp_ns, image.view(), lambda payload: payload, frame_id)


class _Kept:
    """Which frames hold a decoded picture, oldest first, and how many bytes that is."""

    def __init__(self) -> None:
        self._frames: deque[tuple[weakref.ref[Frame], int]] = deque()
        self._nbytes = 0
        self._lock = threading.Lock()

    def add(self, frame: Frame, nbytes: int) -> None:
        """The frame was decoded; the oldest ones forget their pictures until all fit."""
        with self._lock:
            self._frames.append((weakref.ref(frame), nbytes))
            self._nbytes += nbytes
            while self._nbytes > KEPT_BYTES and len(self._frames) > 1:
                oldest, gone = self._frames.popleft()
                self._nbytes -= gone
                if (old := oldest()) is not None:
                    old.forget()


_KEPT = _Kept()


@dataclass(frozen=True, eq=False)
class AudioClip:
    """A stretch of mono sound."""

    start_ns: int
    """Time of the first sample."""
    rate: int
    """Samples per second."""
    samples: NDArray[np.float32]
    """float32 [N] in [-1, 1]; zero where missing."""
    present: NDArray[np.bool_]
    """bool [N], False where no sample arrived and zeros stand in."""


@dataclass(frozen=True)
class Onset:
    """The amplitude peak of one impact."""

    stamp_ns: int
    """Time of the peak sample."""
    peak_dbfs: float
    """Level of the peak, dB relative to full scale."""
    prominence_db: float
    """Level of the peak above the running noise floor, dB."""
    probability: float | None = None
    """How probable a struck object is, 0 to 1; None where nobody asked (``onset.gate``)."""


@dataclass(frozen=True, eq=False)
class CollisionClip:
    """Everything the pipeline needs for one event."""

    onset: Onset
    """When something hit something."""
    frames: tuple[Frame, ...]
    """Frames round the onset in time order, at least one."""
    event_index: int
    """Index in ``frames`` of the event frame, the one nearest the onset."""
    audio: AudioClip
    """Sound round the onset, as much as the bundle asks for; may be empty."""

    @property
    def frame(self) -> Frame:
        """The event frame: masks are drawn on it."""
        return self.frames[self.event_index]


@dataclass(frozen=True, eq=False)
class HandObject:
    """A hand and what is known of the object it holds."""

    side: Side
    """The wearer's right or left hand."""
    score: float
    """Confidence in [0, 1]."""
    hand_box: Box | None
    """Box of the hand; None where only its object was found."""
    hand_hull: Points = field(default_factory=_no_points)
    """Polygon round the hand, [K, 2]; empty when only a box is known."""
    grip_points: Points = field(default_factory=_no_points)
    """Points expected on the held object, [K, 2]; may be empty."""
    object_box: Box | None = None
    """Box of the held object; None when only points are known."""
    hand_points: Points = field(default_factory=_no_points)
    """Points on the hand itself, so not on the object, [K, 2]; may be empty."""
    guessed: bool = False
    """Whether ``object_box`` is guessed from the hand alone, so that something must support it."""


@dataclass(frozen=True)
class Proposal:
    """An object that a detector saw, whatever it has to do with the collision."""

    box: Box
    """Its box, within the picture."""
    score: float
    """Confidence in [0, 1]."""
    name: str
    """Name of its class, as the detector has it."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """What a masker is asked to cut out."""

    box: Box | None = None
    """Region that holds the object."""
    positive_points: Points = field(default_factory=_no_points)
    """Points on the object, [K, 2]."""
    negative_points: Points = field(default_factory=_no_points)
    """Points off the object, [K, 2]."""
    exclude: tuple[Points, ...] = ()
    """Polygons (hand hulls) that are not the object, each [K, 2]."""
    guessed: bool = False
    """Whether the box is a guess, so that points on the object tell more than it does."""


@dataclass(frozen=True, eq=False)
class Localisation:
    """Where a localiser believes the sound was made."""

    heat_map: NDArray[np.float32]
    """float32 [H, W] in [0, 1] at the frame's size."""
    box: Box
    """Box of the component that holds the peak."""
    score: float
    """Confidence in [0, 1]."""
    centre: tuple[float, float] | None = None
    """The place itself, (x, y) in pixels; None where the middle of the box is as good."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A mask that may be one of the colliding objects."""

    label: Label
    """Which stage proposed it."""
    mask: Mask
    """bool [H, W] at the frame's size."""
    score: float = 1.0
    """Confidence in [0, 1]."""
    sounding: float | None = None
    """How well it fits the sound, in [0, 1]; None where the bundle does not ask."""

    @cached_property
    def area(self) -> int:
        """Number of mask pixels."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def box(self) -> Box:
        """Tight box of the mask; all zero for an empty mask."""
        return box_of(self.mask)


@dataclass(frozen=True, eq=False)
class Tracked:
    """Where an object of an event is in a later frame."""

    mask: Mask
    """bool [H, W] at the frame's size."""
    confidence: float
    """How far it is to be trusted, in [0, 1]; it falls as an object is covered or changes."""


@dataclass(frozen=True)
class Verdict:
    """What verification decided and why (CS3 section 4.3)."""

    objects: tuple[Candidate, ...]
    """The zero, one or two colliding objects, higher priority first."""
    rule: str
    """Name of the rule that decided; ``verification.verify`` lists them."""
    contact_px: float | None
    """Distance of the chosen pair in reference pixels; None without a pair."""
    trace: tuple[str, ...] = ()
    """Human-readable steps: what was dropped, merged, measured and chosen."""


@dataclass(frozen=True, eq=False)
class Collision:
    """The answer for one event, with its provenance."""

    onset: Onset
    """What was heard."""
    frame: Frame
    """The event frame the masks are drawn on."""
    verdict: Verdict
    """The chosen objects and the reason."""
    candidates: tuple[Candidate, ...]
    """All that were considered."""
    hands: tuple[HandObject, ...]
    """Hands found round the onset."""
    heat_map: NDArray[np.float32] | None
    """float32 [H, W] in [0, 1], or None without a localiser."""
    timings_ms: Mapping[str, float]
    """Milliseconds of each stage."""
    bundle: str
    """Name of the bundle that ran."""

    @property
    def objects(self) -> tuple[Candidate, ...]:
        """The colliding objects: none, one or two; ``objects[k]`` is label k + 1."""
        return self.verdict.objects

    @property
    def id(self) -> str:
        """Event id, derived from the onset stamp."""
        return event_id(self.onset.stamp_ns)

    def label_image(self) -> Image:
        """uint8 [H, W]: 0 background, 1 and 2 the objects; overlap goes to the smaller one."""
        labels = np.zeros(self.frame.image.shape[:2], np.uint8)
        by_area = sorted(enumerate(self.objects, 1), key=lambda item: -item[1].area)
        for value, candidate in by_area:
            labels[candidate.mask] = value
        return labels


def box_of(mask: Mask) -> Box:
    """Tight box of a mask bool [H, W]; all zero for an empty one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if rows.size == 0:
        return (0.0, 0.0, 0.0, 0.0)
    return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def event_id(stamp_ns: int) -> str:
    """The id of the event whose onset has this stamp, ``seconds.nanoseconds``."""
    return f'{stamp_ns // NS_PER_S}.{stamp_ns % NS_PER_S:09d}'


def onset_of(identifier: str) -> int:
    """The stamp of the onset that ``event_id`` made an id of."""
    seconds, _, nanoseconds = identifier.partition('.')
    return int(seconds) * NS_PER_S + int(nanoseconds)
