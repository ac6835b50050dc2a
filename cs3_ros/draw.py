"""Pictures for people: masks over a frame, heat maps, and the overlay video of a recording."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import NS_PER_S, Collision, Image
from cs3_ros.images import load_image
from cs3_ros.media import Recording
from cs3_ros.pcm import SoundChunk
from cs3_ros.video_writer import VideoWriter

log = logging.getLogger(__name__)

OBJECT_COLOURS = ((255, 140, 0), (0, 160, 255))
"""RGB of object 1 and object 2."""

_TINT = 0.45
_PALE = (235, 235, 235)


def overlay(image: Image, collision: Collision, origin_ns: int = 0) -> Image:
    """The frame with the colliding objects tinted, named and explained.

    Object 1 is orange, object 2 blue, each with its contour and its label; hands are outlined
    thinly. A caption gives the rule, the contact distance, the onset time and the total time.

    Args:
        image: RGB uint8 [H, W, 3] of the size of the masks.
        collision: what to draw.
        origin_ns: stamp of media time 0, from which the onset in the caption counts.

    Returns:
        RGB uint8 [H, W, 3], a new picture.

    Raises:
        ValueError: a mask has another size than the image.
    """
    import cv2

    canvas = image.copy()
    height, width = image.shape[:2]
    line = max(1, round(max(height, width) / 500))
    for number, candidate in enumerate(collision.objects, 1):
        if candidate.mask.shape != (height, width):
            raise ValueError(
                f'mask {number} of event {collision.id} is '
                f'{candidate.mask.shape[1]}x{candidate.mask.shape[0]}: expected {width}x{height}'
            )
    labels = collision.label_image() if collision.objects else np.zeros((height, width), np.uint8)
    for number, colour in enumerate(OBJECT_COLOURS, 1):
        inside = labels == number
        tinted = (1 - _TINT) * canvas[inside] + _TINT * np.asarray(colour)
        canvas[inside] = np.rint(tinted).astype(np.uint8)
    for hand in collision.hands:
        if len(hand.hand_hull) >= 3:
            outline = hand.hand_hull
        elif hand.hand_box is not None:
            outline = _corners(hand.hand_box)
        else:
            continue
        cv2.polylines(canvas, [np.rint(outline).astype(np.int32)], True, _PALE, line, cv2.LINE_AA)
    for candidate, colour in zip(collision.objects, OBJECT_COLOURS, strict=False):
        contours, _ = cv2.findContours(
            candidate.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        cv2.drawContours(canvas, contours, -1, colour, 2 * line, cv2.LINE_AA)
    _tags(canvas, collision)
    _caption(canvas, _facts(collision, origin_ns))
    return canvas


def heat_map_image(heat: NDArray[np.float32]) -> Image:
    """A heat map in colours, from dark blue (0) to dark red (1).

    Args:
        heat: float [H, W]; values outside [0, 1] are clipped and NaN counts as 0.

    Returns:
        RGB uint8 [H, W, 3].
    """
    import cv2

    level = np.rint(np.clip(np.nan_to_num(heat, nan=0.0), 0, 1) * 255).astype(np.uint8)
    bgr = cv2.applyColorMap(level, cv2.COLORMAP_TURBO)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def write_overlay_video(
    path: str | Path,
    recording: Recording,
    stills: Mapping[int, Path],
    *,
    hold_s: float = 0.7,
    progress: bool = False,
) -> None:
    """The recording with its sound, in which each event's overlay stands for a while.

    Masks belong to one frame, so the event frame stays still while its overlay is shown. A later
    event takes over from an earlier one.

    Args:
        path: the video to write, replaced when it exists.
        recording: what the collisions were found in.
        stills: stamp of an event frame -> picture file that stands from there on.
        hold_s: seconds an overlay stands, more than 0.
        progress: show a bar on a terminal.
    """
    from tqdm import tqdm

    waiting = sorted(stills)
    standing: Image | None = None
    until_ns = 0
    last_ns, left_out = recording.origin_ns - 1, 0
    total = round(recording.duration_s * recording.frame_rate) or None
    with (
        VideoWriter(path, recording.size, recording.frame_rate, recording.sound_format) as writer,
        tqdm(total=total, unit='frame', disable=None if progress else True) as bar,
    ):
        for item in recording:
            time_ns = item.stamp_ns - recording.origin_ns
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
                picture = item.image if standing is None else standing
            except ValueError:
                picture = None
            if picture is None or item.stamp_ns <= last_ns:
                left_out += 1
                continue
            last_ns = item.stamp_ns
            writer.write(time_ns, _of_size(picture, recording.size))
    if left_out:
        log.warning('%s: lacks %d frame(s) that are broken or out of order', path, left_out)


def _of_size(image: Image, size: tuple[int, int]) -> Image:
    if (image.shape[1], image.shape[0]) == size:
        return image
    import cv2

    return np.asarray(cv2.resize(image, size), np.uint8)


def _corners(box: Sequence[float]) -> NDArray[np.float32]:
    x0, y0, x1, y1 = box
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)


def _facts(collision: Collision, origin_ns: int) -> list[str]:
    """The parts of the caption."""
    contact = collision.verdict.contact_px
    return [
        'no object' if not collision.objects else collision.verdict.rule,
        *([] if contact is None else [f'contact {contact:.1f} px']),
        f'onset {(collision.onset.stamp_ns - origin_ns) / NS_PER_S:.3f} s',
        f'{sum(collision.timings_ms.values()):.0f} ms ({collision.bundle})',
    ]


class _Pen:
    """Writes text that can be read on a picture of this size."""

    def __init__(self, canvas: Image) -> None:
        self.canvas = canvas
        self.scale = max(0.4, max(canvas.shape[:2]) / 1200)
        self.thickness = max(1, round(1.6 * self.scale))

    def measure(self, text: str) -> tuple[int, int, int]:
        """Width, height above and height below the base line in pixels."""
        import cv2

        font = cv2.FONT_HERSHEY_SIMPLEX
        (width, above), below = cv2.getTextSize(text, font, self.scale, self.thickness)
        return width, above, below

    def fit(self, text: str, width: float) -> None:
        """Make the text small enough for this width."""
        needed = self.measure(text)[0]
        if needed > width:
            self.scale *= width / needed
            self.thickness = max(1, round(1.6 * self.scale))

    def write(self, text: str, x: int, base: int, colour: tuple[int, int, int]) -> None:
        """Put the text with its left end at ``x`` on the base line."""
        import cv2

        font = cv2.FONT_HERSHEY_SIMPLEX
        at, line = (x, base), cv2.LINE_AA
        cv2.putText(self.canvas, text, at, font, self.scale, colour, self.thickness, line)


def _tags(canvas: Image, collision: Collision) -> None:
    """Number and label of each object on a plate of its colour, above its mask where it fits."""
    height, width = canvas.shape[:2]
    pen = _Pen(canvas)
    plates: list[tuple[int, int, int, int]] = []
    for number, candidate in enumerate(collision.objects, 1):
        rows, columns = np.nonzero(candidate.mask)
        if rows.size == 0:
            continue
        text = f'{number} {candidate.label}'
        pen.fit(text, 0.9 * width)
        wide, above, below = pen.measure(text)
        margin = below // 2
        wide, high = wide + 2 * margin, above + below + 2 * margin
        x = int(np.clip(columns.mean() - wide / 2, 0, max(width - wide, 0)))
        y = int(np.clip(rows.min() - 1.5 * high, 0, max(height - high, 0)))
        for x0, y0, x1, y1 in plates:
            if x < x1 and x0 < x + wide and y < y1 and y0 < y + high:
                y = y1 if y1 + high <= height else max(y0 - high, 0)
        plates.append((x, y, x + wide, y + high))
        canvas[y : y + high, x : x + wide] = OBJECT_COLOURS[number - 1]
        pen.write(text, x + margin, y + margin + above, (0, 0, 0))


def _caption(canvas: Image, parts: Sequence[str]) -> None:
    """The parts on a darkened band at the bottom, in as many lines as they need."""
    pen = _Pen(canvas)
    width = canvas.shape[1]
    pen.fit(max(parts, key=len), 0.94 * width)
    lines = [parts[0]]
    for part in parts[1:]:
        longer = f'{lines[-1]}  |  {part}'
        if pen.measure(longer)[0] <= 0.94 * width:
            lines[-1] = longer
        else:
            lines.append(part)
    _, above, below = pen.measure(lines[0])
    pitch = above + 2 * below
    top = max(canvas.shape[0] - pitch * len(lines) - below, 0)
    canvas[top:] = canvas[top:] // 4
    for index, text in enumerate(lines):
        base = top + below + above + index * pitch
        pen.write(text, round(0.03 * width), base, (255, 255, 255))
