"""Masks over a frame, heat maps in colours, and the overlay video of a recording."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cs3_ros import lettering
from cs3_ros.collision import NS_PER_S, Collision, Image, Mask
from cs3_ros.images import load_image
from cs3_ros.media import Recording
from cs3_ros.pcm import SoundChunk
from cs3_ros.video_writer import VideoWriter

log = logging.getLogger(__name__)

OBJECT_COLOURS = ((255, 140, 0), (0, 160, 255))
"""RGB of object 1 and object 2."""

FLASH_S = 0.15
"""How long the rim of a video lights up at an onset."""

_TINT = 0.45
_PALE = (235, 235, 235)
_FLASH = (255, 225, 60)


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
    line = _line(canvas)
    for number, candidate in enumerate(collision.objects, 1):
        if candidate.mask.shape != (height, width):
            raise ValueError(
                f'mask {number} of event {collision.id} is '
                f'{candidate.mask.shape[1]}x{candidate.mask.shape[0]}: expected {width}x{height}'
            )
    if collision.objects:
        _tint_labels(canvas, collision.label_image())
    for hand in collision.hands:
        if len(hand.hand_hull) >= 3:
            rim = hand.hand_hull
        elif hand.hand_box is not None:
            rim = _corners(hand.hand_box)
        else:
            continue
        cv2.polylines(canvas, [np.rint(rim).astype(np.int32)], True, _PALE, line, cv2.LINE_AA)
    masks = [candidate.mask for candidate in collision.objects]
    for mask, colour in zip(masks, OBJECT_COLOURS, strict=False):
        outline(canvas, mask, colour, 2 * line)
    lettering.tags(canvas, [c.label for c in collision.objects], masks, OBJECT_COLOURS)
    lettering.caption(canvas, _facts(collision, origin_ns))
    return canvas


def answer_picture(
    image: Image,
    labels: NDArray[np.uint8],
    names: Sequence[str],
    caption: Sequence[str],
    truth: Sequence[Mask] = (),
) -> Image:
    """The frame with what the topics say of it: objects tinted and named, a caption.

    Args:
        image: RGB uint8 [H, W, 3].
        labels: uint8 [H, W] as ``collision_masks`` carries it, or of another size.
        names: of the objects, one for each label.
        caption: its parts, at least one.
        truth: masks of what truly collided, bool [H, W] or of another size, outlined thinly in
            white.

    Returns:
        RGB uint8 [H, W, 3], a new picture.
    """
    canvas = image.copy()
    line, size = _line(canvas), (image.shape[1], image.shape[0])
    labels = _of_size(labels, size)
    _tint_labels(canvas, labels)
    masks = [labels == number for number in range(1, len(names) + 1)]
    for mask, colour in zip(masks, OBJECT_COLOURS, strict=False):
        outline(canvas, mask, colour, 2 * line)
    for mask in truth:
        known = _of_size(mask.astype(np.uint8), size) > 0
        outline(canvas, known, (0, 0, 0), 3 * line)
        outline(canvas, known, (255, 255, 255), line)
    lettering.tags(canvas, names, masks, OBJECT_COLOURS)
    lettering.caption(canvas, caption)
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
    size: tuple[int, int] | None = None,
    heading: str = '',
    onsets: Sequence[int] = (),
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
        size: width and height of the video; None takes those of the recording.
        heading: text on a band above every frame; empty for none.
        onsets: stamps at which the rim lights up for ``FLASH_S``.
        progress: show a bar on a terminal.
    """
    from tqdm import tqdm

    size = size or recording.size
    band = lettering.heading(size[0], heading) if heading else np.zeros((0, size[0], 3), np.uint8)
    whole = (size[0], size[1] + len(band))
    waiting = sorted(stills)
    standing: Image | None = None
    until_ns = 0
    last_ns, left_out = recording.origin_ns - 1, 0
    total = round(recording.duration_s * recording.frame_rate) or None
    with (
        VideoWriter(path, whole, recording.frame_rate, recording.sound_format) as writer,
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
            picture = _of_size(picture, size)
            if any(0 <= item.stamp_ns - ns < FLASH_S * NS_PER_S for ns in onsets):
                picture = _flashing(picture)
            writer.write(time_ns, np.vstack([band, picture]))
    if left_out:
        log.warning('%s: lacks %d frame(s) that are broken or out of order', path, left_out)


def as_jpeg(image: Image, quality: int = 85) -> bytes:
    """RGB uint8 [H, W, 3] as the bytes of a JPEG file.

    Raises:
        ValueError: OpenCV could not encode it.
    """
    import cv2

    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    good, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not good:
        raise ValueError(f'picture of {image.shape}: expected one that OpenCV can encode as JPEG')
    return bytes(data)


def _flashing(image: Image) -> Image:
    """The picture with a bright rim."""
    canvas = image.copy()
    rim = max(2, round(max(canvas.shape) / 70))
    for edge in (canvas[:rim], canvas[-rim:], canvas[:, :rim], canvas[:, -rim:]):
        edge[:] = _FLASH
    return canvas


def _of_size(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture resized smoothly, [H, W, 3], or labels, [H, W], as they are."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    import cv2

    kind = cv2.INTER_NEAREST if image.ndim == 2 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=kind), np.uint8)


def _line(canvas: Image) -> int:
    """Width of a thin line, pixels."""
    return max(1, round(max(canvas.shape[:2]) / 500))


def tint(canvas: Image, mask: Mask, colour: tuple[int, int, int]) -> None:
    """Mix an RGB colour into the pixels of a mask, in place."""
    mixed = (1 - _TINT) * canvas[mask] + _TINT * np.asarray(colour)
    canvas[mask] = np.rint(mixed).astype(np.uint8)


def outline(canvas: Image, mask: Mask, colour: tuple[int, int, int], line: int) -> None:
    """Draw the outer contours of a mask, so many pixels wide, in place."""
    import cv2

    contours, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    cv2.drawContours(canvas, contours, -1, colour, line, cv2.LINE_AA)


def _tint_labels(canvas: Image, labels: NDArray[np.uint8]) -> None:
    for number, colour in enumerate(OBJECT_COLOURS, 1):
        tint(canvas, labels == number, colour)


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
