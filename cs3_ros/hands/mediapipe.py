"""The wearer's hands from MediaPipe's bundled network: no download, real images, a CPU.

MediaPipe was made for whole hands in selfies. Egocentric hands are cut by the image border, small
or blurred, and nobody mirrors the picture. Hence: several views of a frame are looked at and their
detections joined, frames round the onset are searched where the event frame shows no hand,
sides are swapped and checked against where the forearm comes from, and hands that cannot be the
wearer's (hanging from above, tiny) are dropped.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cs3_ros.collision import NS_PER_S, SIDES, Frame, HandObject, Image, Points, Side
from cs3_ros.config import setting, validate
from cs3_ros.packages import LITE

log = logging.getLogger(__name__)

WRIST, THUMB_TIP, INDEX_BASE, INDEX_TIP, MIDDLE_BASE, PINKY_BASE = 0, 4, 5, 8, 9, 17
TIPS = (4, 8, 12, 16, 20)
PALM = (WRIST, INDEX_BASE, MIDDLE_BASE, 13, PINKY_BASE)
MIN_VIEW = 16
"""Side below which a view shows no hand, pixels."""
MAX_VIEW = 4096
"""Long side above which a view is scaled down, pixels; the network sees 192."""
OBJECT_REACH = 1.7
"""Half the side of the box guessed round a held object, hand sizes (wrist to middle knuckle)."""


@dataclass(frozen=True)
class MediaPipeConfig:
    """Settings of ``MediaPipeHands``."""

    min_confidence: float = setting(
        0.2, 'Palm score in [0, 1] from which on a hand counts.', minimum=0.05, maximum=1.0
    )
    search_s: float = setting(
        0.4, 'Frames up to this far from the event frame are searched, s.', minimum=0.0, maximum=2.0
    )
    search_frames: int = setting(
        8, 'Most frames searched besides the event frame.', minimum=0, maximum=30
    )
    prompt: str = setting(
        'box',
        'What the masker is told of the held object: box guesses its box; points gives a point '
        'beyond the finger tips and, as points that are not the object, wrist and palm (for SAM2).',
        choices=('box', 'points'),
    )

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, eq=False)
class Detection:
    """One hand as the network saw it, joined over the views that showed it."""

    landmarks: Points
    """float32 [21, 2], pixels of the whole frame, MediaPipe's order (0 is the wrist)."""
    score: float
    """Handedness score of the best view, in [0, 1]."""
    rightness: float
    """Sum over the views of +score where it looks like a right hand, -score for a left one."""
    votes: int = 1
    """Number of views that showed it."""


class MediaPipeHands:
    """HandDetector on mediapipe's legacy hands solution, whose networks come with the package.

    Every picture is looked at on its own (``static_image_mode``), so the answer depends on nothing
    but the frames given.

    Raises:
        ImportError: mediapipe is not installed; the message names the extra.
    """

    def __init__(self, config: MediaPipeConfig = MediaPipeConfig()) -> None:
        self.config = config
        with _quiet_stderr():
            self._solution = _load(config.min_confidence)
            # The first picture makes the graph print and is slow: better here than at an event.
            self._solution.process(np.zeros((64, 64, 3), np.uint8))
        # Unless it is closed its threads and 80 MB stay for ever, and each configure adds more.
        weakref.finalize(self, self._solution.close).atexit = False

    def detect(self, frames: Sequence[Frame], index: int) -> tuple[HandObject, ...]:
        """At most one hand per side, right hand first, in pixels of ``frames[index]``.

        The event frame is looked at first. Where it shows no hand its neighbours follow, nearest
        first, until one does; damaged ones are passed over. A second hand is not searched for: it
        measurably harms.
        """
        image = frames[index].image
        height, width = image.shape[:2]
        found: dict[Side, Detection] = {}
        for position in search_order(frames, index, self.config):
            picture = frames[position].image_or_none
            if picture is not None and picture.shape == image.shape:
                found = wearers(self.look(picture), (height, width))
            if found:
                break
        return tuple(
            hand_object(side, found[side], (height, width), self.config.prompt)
            for side in SIDES
            if side in found
        )

    def look(self, image: Image) -> list[Detection]:
        """All hands of one RGB picture [H, W, 3], joined over its views."""
        seen: list[Detection] = []
        for x0, y0, x1, y1 in views(image.shape[0], image.shape[1]):
            view = _at_most(np.ascontiguousarray(image[y0:y1, x0:x1]), MAX_VIEW)
            result = self._solution.process(view)
            for marks, sides in zip(
                result.multi_hand_landmarks or (), result.multi_handedness or (), strict=True
            ):
                size = np.array([x1 - x0, y1 - y0], np.float32)
                unit = np.array([(mark.x, mark.y) for mark in marks.landmark], np.float32)
                landmarks = (unit * size + np.array([x0, y0], np.float32)).astype(np.float32)
                side = sides.classification[0]
                # Labels are those of a mirrored selfie: 'Left' is the wearer's right hand.
                sign = 1.0 if side.label == 'Left' else -1.0
                seen.append(Detection(landmarks, float(side.score), sign * float(side.score)))
        return join(seen)


def views(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """What the network is shown: the picture, and overlapping squares over its lower two thirds.

    The squares show small hands larger; the wearer's hands come from below. Slivers of a picture,
    which show no hand, are not divided.
    """
    side = min(height, width) * 2 // 3
    if side < MIN_VIEW:
        return [(0, 0, width, height)]
    count = max(3, round(1.5 * (width - side) / side) + 1)
    lefts = np.linspace(0, width - side, count).round().astype(int).tolist()
    squares = [(left, height - side, left + side, height) for left in lefts]
    return [(0, 0, width, height), *squares]


def search_order(frames: Sequence[Frame], index: int, config: MediaPipeConfig) -> list[int]:
    """Positions of the frames to look at: the event frame, then its neighbours, nearest first."""
    stamp = frames[index].stamp_ns
    ages = [(abs(frame.stamp_ns - stamp), k) for k, frame in enumerate(frames)]
    limit = int(config.search_s * NS_PER_S)
    near = [k for age, k in sorted(ages) if age <= limit and k != index]
    return [index, *near[: config.search_frames]]


def _at_most(view: Image, side: int) -> Image:
    """The picture, scaled down where it is longer than ``side``: MediaPipe copies it twice."""
    scale = side / max(view.shape[:2])
    if scale >= 1:
        return view
    import cv2

    size = tuple(max(round(length * scale), 1) for length in view.shape[1::-1])
    return np.asarray(cv2.resize(view, size, interpolation=cv2.INTER_AREA), np.uint8)


def join(seen: Sequence[Detection]) -> list[Detection]:
    """Join detections of one hand in several views; the best view gives the landmarks."""
    groups: list[list[Detection]] = []
    for detection in sorted(seen, key=lambda one: -one.score):
        for group in groups:
            if overlap(group[0].landmarks, detection.landmarks) > 0.3:
                group.append(detection)
                break
        else:
            groups.append([detection])
    return [
        Detection(
            group[0].landmarks, group[0].score, sum(one.rightness for one in group), len(group)
        )
        for group in groups
    ]


def overlap(first: Points, second: Points) -> float:
    """Intersection of the boxes of two hands over the smaller of them, in [0, 1]."""
    low = np.maximum(first.min(0), second.min(0))
    high = np.minimum(first.max(0), second.max(0))
    common = np.prod(np.maximum(high - low, 0))
    smaller = min(np.prod(np.ptp(first, 0)), np.prod(np.ptp(second, 0)))
    return float(common / max(smaller, 1e-6))


def wearers(detections: Sequence[Detection], shape: tuple[int, int]) -> dict[Side, Detection]:
    """The wearer's hands among all that were seen, at most one for each side.

    Args:
        detections: all hands of one picture.
        shape: height and width of the picture.
    """
    own = [one for one in detections if plausibility(one, shape) > 0]
    own = sorted(own, key=lambda one: -plausibility(one, shape))[:2]
    own.sort(key=lambda one: lean(one, shape))
    if len(own) == 2:
        return {'left': own[0], 'right': own[1]}
    return {('right' if lean(one, shape) >= 0 else 'left'): one for one in own}


def plausibility(detection: Detection, shape: tuple[int, int]) -> float:
    """How likely a hand is the wearer's: seen in many views, large, low; 0 where it cannot be."""
    height, width = shape
    marks = detection.landmarks
    size = hand_size(marks) / min(height, width)
    forward = marks[MIDDLE_BASE] - marks[WRIST]
    hangs = forward[1] > 0.5 * np.hypot(*forward)
    middle = marks.mean(0)
    if size < 0.05 or (hangs and middle[1] < 0.5 * height):
        return 0.0
    return float(detection.votes * detection.score * size * (0.5 + middle[1] / height))


def hand_size(landmarks: Points) -> float:
    """Length scale of a hand in pixels: wrist to middle knuckle or palm width, the larger."""
    length = np.hypot(*(landmarks[MIDDLE_BASE] - landmarks[WRIST]))
    palm = np.hypot(*(landmarks[INDEX_BASE] - landmarks[PINKY_BASE]))
    return float(max(length, 1.2 * palm))


def lean(detection: Detection, shape: tuple[int, int]) -> float:
    """Evidence for a right hand, > 0, or a left one, < 0.

    The forearm of the right hand enters the picture from the right; the network's own label, which
    is often wrong on hands seen from behind or cut off, counts a quarter.
    """
    height, width = shape
    marks = detection.landmarks
    back = marks[WRIST] - marks[MIDDLE_BASE]
    back = back / max(float(np.hypot(*back)), 1e-6)
    # Where the forearm would cross the border, at most half a picture away.
    entry = marks[WRIST][0] + back[0] * 0.5 * height
    label = detection.rightness / max(detection.votes, 1)
    return float(2 * entry / width - 1 + 0.25 * label)


def hand_object(
    side: Side, detection: Detection, shape: tuple[int, int], prompt: str = 'box'
) -> HandObject:
    """A hand and the object that it holds, by the hand's landmarks.

    Args:
        side: whose hand it is.
        detection: the hand.
        shape: height and width of the picture.
        prompt: ``box`` guesses the object's box; ``points`` leaves it out and gives the points of
            wrist and palm that lie in the picture (method.md B4).
    """
    height, width = shape
    marks = detection.landmarks
    limit = np.array([width, height], np.float32)
    low, high = np.clip(marks.min(0), 0, limit), np.clip(marks.max(0), 0, limit)
    tips = marks[list(TIPS)]
    pinch = (marks[THUMB_TIP] + marks[INDEX_TIP]) / 2
    forward = marks[MIDDLE_BASE] - marks[WRIST]
    forward = forward / max(float(np.hypot(*forward)), 1e-6)
    size = hand_size(marks)
    grip = (pinch + tips.mean(0)) / 2
    reach = OBJECT_REACH * size
    # What is held sticks out beyond the finger tips, away from the wrist.
    centre, point = grip + 0.5 * size * forward, grip + 0.35 * size * forward
    object_box, hand_points = None, np.zeros((0, 2), np.float32)
    if prompt == 'box':
        x0, y0 = np.clip(centre - reach, 0, limit).tolist()
        x1, y1 = np.clip(centre + reach, 0, limit).tolist()
        object_box = (x0, y0, x1, y1) if min(x1 - x0, y1 - y0) >= 2 else None
    else:
        palm = marks[list(PALM)]
        hand_points = palm[((palm >= 0) & (palm <= limit - 1)).all(1)]
    return HandObject(
        side=side,
        score=detection.score,
        hand_box=(float(low[0]), float(low[1]), float(high[0]), float(high[1])),
        hand_hull=hull(marks, shape),
        grip_points=np.clip(point[None], 0, limit - 1).astype(np.float32),
        hand_points=hand_points,
        object_box=object_box,
        guessed=object_box is not None,
    )


def hull(landmarks: Points, shape: tuple[int, int]) -> Points:
    """Convex polygon [K, 2] round a hand, with room for the flesh round the joints."""
    import cv2

    margin = 0.15 * hand_size(landmarks)
    ring = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)], np.float32) * margin
    spread = (landmarks[:, None] + ring[None]).reshape(-1, 2).astype(np.float32)
    limit = np.array([shape[1] - 1, shape[0] - 1], np.float32)
    return np.clip(cv2.convexHull(spread)[:, 0], 0, limit).astype(np.float32)


def _load(min_confidence: float) -> Any:
    """The network; imported late because mediapipe takes seconds."""
    if not log.isEnabledFor(logging.DEBUG):
        os.environ.setdefault('GLOG_minloglevel', '2')
        os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    try:
        import mediapipe
    except ImportError as error:
        raise ImportError(
            f'the hand detector mediapipe needs the package mediapipe ({error}): {LITE}'
        ) from error
    return mediapipe.solutions.hands.Hands(
        static_image_mode=True,
        max_num_hands=4,
        model_complexity=1,
        min_detection_confidence=min_confidence,
    )


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep what native code says while the graph is built off the terminal, unless debugging."""
    if log.isEnabledFor(logging.DEBUG):
        yield
        return
    sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # a daemon without a terminal has nothing to keep quiet
        yield
        return
    try:
        with open(os.devnull, 'w') as sink:
            os.dup2(sink.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
