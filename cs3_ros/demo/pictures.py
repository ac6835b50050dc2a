"""The pictures of the demo's events, made in one pass over the recording."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import NS_PER_S, AudioClip, Image
from cs3_ros.demo.score import EventRow
from cs3_ros.drawing.overlay import answer_picture
from cs3_ros.drawing.report import over_grey, sound_picture
from cs3_ros.files.images import as_jpeg, decode_compressed
from cs3_ros.files.media import Recording
from cs3_ros.files.pcm import SoundChunk
from cs3_ros.files.truth import SAME_FRAME_NS
from cs3_ros.ros.live_run import LiveRun
from cs3_ros.trigger.buffers import AudioBuffer

LEAST_SIDE = 704
"""Small pictures are enlarged by a whole factor up to this length of their longer side, or less."""
SOUND_S = 1.0
"""Seconds of sound before and after an onset that are shown."""
MOST_SHOWN = 40
"""Events of which the report shows pictures."""
FRAME, SOUND, HEAT, PUBLISHED, ANSWER = 'frame', 'sound', 'heat map', 'published', 'masks received'
"""Captions of the pictures of an event."""

_REPORT_SIDE = 480  # longer side of pictures in the report, at most
_GAP = 8  # between the pictures of a strip, pixels
_SOUND_SIDE = 352


@dataclass(frozen=True, eq=False)
class EventPictures:
    """What one pass over a recording gave."""

    jpegs: Mapping[int, Mapping[str, bytes]]
    """Index of a row -> caption -> JPEG, of the first ``MOST_SHOWN`` rows; rows whose frame is not
    there have none."""
    stills: Mapping[int, Path]
    """Frame stamp -> file with the answer on it, for the overlay video."""
    strips: Mapping[int, Path]
    """Index of a row with masks -> file: frame, heat map and answer side by side."""
    levels: Sequence[tuple[float, float]]
    """Media time in seconds and peak of every chunk of sound, in [0, 1]."""


def make_pictures(
    recording: Recording,
    rows: Sequence[EventRow],
    live: LiveRun,
    save: Callable[[str, Image], Path],
    bundle: str,
) -> EventPictures:
    """Make the pictures of every row.

    Args:
        recording: what was played.
        rows: in the order of their times.
        live: what the node published.
        save: writes a picture to a name and returns its path; gets the stills as ``K.jpg`` and the
            strips as ``K_strip.jpg``, K from 1.
        bundle: its name, for the captions.

    Raises:
        OSError: a picture cannot be written, or the recording cannot be read.
    """
    jpegs: dict[int, dict[str, bytes]] = {}
    stills, strips = {}, {}
    size = shown_size(recording.size)
    waiting = {index: _frame_ns(row, live) for index, row in enumerate(rows)}
    sounds = _Sounds(rows)
    for item in recording:
        if isinstance(item, SoundChunk):
            sounds.add(item, recording.origin_ns)
            continue
        distances = {index: abs(ns - item.stamp_ns) for index, ns in waiting.items()}
        for index, distance_ns in distances.items():
            # What was published has the very stamp; a truth may have been rounded otherwise.
            if distance_ns > (0 if rows[index].detected else SAME_FRAME_NS):
                continue
            if (image := item.image_or_none) is None:
                continue
            del waiting[index]
            shown = _shown(image, size, rows[index], item.stamp_ns, live, bundle)
            if (detected := rows[index].detected) is not None and detected.labels:
                stills[item.stamp_ns] = save(f'{index + 1}.jpg', shown[ANSWER])
                parts = [shown[name] for name in (FRAME, HEAT, ANSWER) if name in shown]
                strips[index] = save(f'{index + 1}_strip.jpg', _side_by_side(parts))
            if index < MOST_SHOWN:
                jpegs[index] = {name: as_jpeg(_small(part)) for name, part in shown.items()}
    for index, found in jpegs.items():
        if (sound := sounds.picture(index)) is not None:
            found[SOUND] = as_jpeg(sound)
    return EventPictures(jpegs, stills, strips, sounds.levels)


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the video and the pictures, for a recording of this width and height."""
    factor = max(LEAST_SIDE // max(size), 1)
    return (size[0] * factor, size[1] * factor)


def _frame_ns(row: EventRow, live: LiveRun) -> int:
    """Stamp of the frame that shows a row."""
    if row.detected is not None:
        return live.picture_ns(row.detected)
    return row.origin_ns + (0 if row.true is None else row.true.nearest.time_ns)


def _shown(
    image: Image, size: tuple[int, int], row: EventRow, stamp_ns: int, live: LiveRun, bundle: str
) -> dict[str, Image]:
    """Caption -> RGB uint8 [H, W, 3] of this size."""
    large = _resized(image, size)
    shown = {FRAME: large}
    if row.detected is not None:
        if stamp_ns in live.heat_maps:
            heat = decode_compressed('jpeg', live.heat_maps[stamp_ns])
            shown[HEAT] = over_grey(large, _resized(heat, size))
        if stamp_ns in live.overlays:
            shown[PUBLISHED] = _resized(decode_compressed('jpeg', live.overlays[stamp_ns]), size)
    shown[ANSWER] = _answer(large, row, bundle)
    return shown


class _Sounds:
    """Cuts the sound of the rows out of a recording and keeps its level.

    Args:
        rows: in the order of their times.

    Attributes:
        levels: as ``EventPictures.levels``.
    """

    def __init__(self, rows: Sequence[EventRow]) -> None:
        self.levels: list[tuple[float, float]] = []
        self._waiting = [
            (index, row.origin_ns + round(row.time_s * NS_PER_S)) for index, row in enumerate(rows)
        ]
        self._cut: dict[int, AudioClip] = {}
        self._buffer: AudioBuffer | None = None

    def add(self, chunk: SoundChunk, origin_ns: int) -> None:
        mono = chunk.samples.mean(1)
        if not mono.size:
            return
        self.levels.append(((chunk.stamp_ns - origin_ns) / NS_PER_S, float(np.abs(mono).max())))
        if self._buffer is None or self._buffer.rate != chunk.rate:
            self._buffer = AudioBuffer(chunk.rate)
        self._buffer.push(chunk.stamp_ns, mono)
        while self._waiting and chunk.stamp_ns > self._waiting[0][1] + SOUND_S * NS_PER_S:
            self._take()

    def picture(self, index: int) -> Image | None:
        while self._waiting:  # at the end of the recording
            self._take()
        clip = self._cut.get(index)
        if clip is None or not clip.present.any():
            return None
        return sound_picture(clip.samples, len(clip.samples) // 2, _SOUND_SIDE, _SOUND_SIDE)

    def _take(self) -> None:
        index, stamp_ns = self._waiting.pop(0)
        if self._buffer is not None:
            span_ns = round(SOUND_S * NS_PER_S)
            self._cut[index] = self._buffer.window(stamp_ns - span_ns, stamp_ns + span_ns)


def _answer(image: Image, row: EventRow, bundle: str) -> Image:
    detected = row.detected
    if detected is None:
        caption = [f'collision {row.time_s:.3f} s', 'missed']
    else:
        caption = [f'onset {row.time_s:.3f} s', bundle if detected.labels else 'no object found']
    if row.judged and row.true is None:
        caption.append('no collision in the truth')
    if row.ious:
        caption.append('IoU ' + ' and '.join(f'{iou:.2f}' for iou in row.ious))
    labels: NDArray[np.uint8] = np.zeros(image.shape[:2], np.uint8)
    names: Sequence[str] = ()
    if detected is not None and detected.label_image is not None:
        labels, names = detected.label_image, detected.labels
    return answer_picture(image, labels, names, caption, row.masks)


def _side_by_side(parts: Sequence[Image]) -> Image:
    white = np.full((parts[0].shape[0], _GAP, 3), 255, np.uint8)
    return np.hstack([piece for part in parts for piece in (part, white)][:-1])


def _resized(image: Image, size: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def _small(image: Image) -> Image:
    """The picture for the report, its longer side at most ``_REPORT_SIDE``."""
    factor = _REPORT_SIDE / max(image.shape)
    if factor >= 1:
        return image
    smaller = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, np.uint8)
