"""The overlay video of a recording: each event's picture stands for a while."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from cs3_ros.collision import NS_PER_S, Image
from cs3_ros.drawing import lettering
from cs3_ros.drawing.overlay import labelled, of_size
from cs3_ros.drawing.timeline import Timeline
from cs3_ros.files.images import load_image, load_labels
from cs3_ros.files.media import Recording
from cs3_ros.files.pcm import SoundChunk
from cs3_ros.files.progress import Bar
from cs3_ros.files.video_writer import VideoWriter

log = logging.getLogger(__name__)

FLASH_S = 0.15
"""How long the rim of a video lights up at an onset."""

MAX_VIDEO_PIXELS = 2560 * 1440
"""Of the video that is written: to look at, while its coder keeps some fifty frames."""

_FLASH = (255, 225, 60)  # RGB


def write_overlay_video(
    path: str | Path,
    recording: Recording,
    stills: Mapping[int, Path],
    *,
    tracks: Mapping[int, Path] = MappingProxyType({}),
    hold_s: float = 0.7,
    size: tuple[int, int] | None = None,
    heading: str = '',
    onsets: Sequence[int] = (),
    progress: bool = False,
) -> None:
    """The recording with its sound, in which each event's overlay stands for a while.

    Masks belong to one frame, so the event frame stays still while its overlay is shown. A later
    event takes over from an earlier one. Long gaps and jumps of the clock become cuts.

    Args:
        path: the video to write, replaced when it exists.
        recording: what the collisions were found in.
        stills: stamp of an event frame -> picture file that stands from there on.
        tracks: stamp of a frame -> label image of the objects that were carried on to it.
        hold_s: seconds an overlay stands, more than 0.
        size: width and height of the video; None takes those of the recording. More than
            ``MAX_VIDEO_PIXELS`` are scaled down.
        heading: text on a band above every frame; empty for none.
        onsets: stamps at which the rim lights up for ``FLASH_S``.
        progress: show a bar on a terminal.

    Raises:
        OSError: a still cannot be read, or the video cannot be written.
        ValueError: a still is no whole picture.
    """
    size = _playable(size or recording.size)
    band = lettering.heading(size[0], heading) if heading else np.zeros((0, size[0], 3), np.uint8)
    whole = (size[0], size[1] + len(band))
    waiting = sorted(stills)
    standing: Image | None = None
    until_ns = 0
    timeline, last_ns, left_out = Timeline(recording.origin_ns), -1, 0
    total = round(recording.duration_s * recording.frame_rate) or None
    with (
        VideoWriter(path, whole, recording.frame_rate, recording.sound_format) as writer,
        Bar(total=total, unit='frame', disable=None if progress else True) as bar,
    ):
        for item in recording:
            track = 'sound' if isinstance(item, SoundChunk) else 'frames'
            time_ns = timeline.place(track, item.stamp_ns)
            if isinstance(item, SoundChunk):
                if recording.sound_format and item.rate == recording.sound_format.rate:
                    writer.write_sound(SoundChunk(time_ns, item.rate, item.samples))
                continue
            bar.update()
            while waiting and waiting[0] <= item.stamp_ns:
                stamp_ns = waiting.pop(0)
                standing = load_image(stills[stamp_ns])
                until_ns = stamp_ns + round(hold_s * NS_PER_S)
            if standing is not None and item.stamp_ns >= until_ns:
                standing = None
            picture: Image | None
            try:
                if standing is not None:
                    picture = standing
                elif item.stamp_ns in tracks:
                    picture = labelled(item.image, load_labels(tracks[item.stamp_ns]))
                else:
                    picture = item.image
            except ValueError:
                picture = None
            if picture is None or time_ns <= last_ns:
                left_out += 1
                continue
            last_ns = time_ns
            picture = of_size(picture, size)
            if any(0 <= item.stamp_ns - ns < FLASH_S * NS_PER_S for ns in onsets):
                picture = _flashing(picture)
            writer.write(time_ns, np.vstack([band, picture]))
    if left_out:
        log.warning('%s: lacks %d frame(s) that are broken or out of order', path, left_out)


def _playable(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height, scaled down to what players play."""
    scale = min(1.0, (MAX_VIDEO_PIXELS / (size[0] * size[1])) ** 0.5)
    return max(int(size[0] * scale), 1), max(int(size[1] * scale), 1)


def _flashing(image: Image) -> Image:
    """The picture with a bright rim."""
    canvas = image.copy()
    rim = max(2, round(max(canvas.shape) / 70))
    for edge in (canvas[:rim], canvas[-rim:], canvas[:, :rim], canvas[:, -rim:]):
        edge[:] = _FLASH
    return canvas
