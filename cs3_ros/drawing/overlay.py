"""Masks over a frame, named and explained, and heat maps in colours."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import NS_PER_S, Candidate, Collision, Image, Mask
from cs3_ros.drawing import lettering
from cs3_ros.drawing.lettering import BLACK, WHITE, Colour

OBJECT_COLOURS: tuple[Colour, Colour] = ((255, 140, 0), (0, 160, 255))
"""RGB of object 1 and object 2."""

_TINT = 0.45  # share of an object's colour over the picture
_PALE = (235, 235, 235)  # of the hands


def overlay(image: Image, collision: Collision, origin_ns: int = 0) -> Image:
    """The frame with the colliding objects tinted, named and explained.

    Object 1 is orange, object 2 blue, each with its contour, its label and, where the bundle asks,
    how well it fits the sound; hands are outlined thinly. A caption gives the rule, the contact
    distance, the onset time and the total time.

    Args:
        image: RGB uint8 [H, W, 3] of the size of the masks.
        collision: what to draw.
        origin_ns: stamp of media time 0, from which the onset in the caption counts.

    Returns:
        RGB uint8 [H, W, 3], a new picture.

    Raises:
        ValueError: a mask has another size than the image.
    """
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
    lettering.tags(canvas, [_named(c) for c in collision.objects], masks, OBJECT_COLOURS)
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
    size = (image.shape[1], image.shape[0])
    labels = of_size(labels, size)
    canvas = labelled(image, labels)
    line = _line(canvas)
    masks = [labels == number for number in range(1, len(names) + 1)]
    for mask in truth:
        known = of_size(mask.astype(np.uint8), size) > 0
        outline(canvas, known, BLACK, 3 * line)
        outline(canvas, known, WHITE, line)
    lettering.tags(canvas, names, masks, OBJECT_COLOURS)
    lettering.caption(canvas, caption)
    return canvas


def cross(canvas: Image, at: tuple[float, float]) -> None:
    """A cross into a picture, where two objects touched.

    Args:
        canvas: RGB uint8 [H, W, 3], drawn into.
        at: column and row; outside the picture nothing is drawn.
    """
    line = _line(canvas)
    place = round(at[0]), round(at[1])
    for colour, thickness in ((BLACK, 3 * line), (WHITE, line)):
        cv2.drawMarker(canvas, place, colour, cv2.MARKER_CROSS, 14 * line, thickness)


def labelled(image: Image, labels: NDArray[np.uint8]) -> Image:
    """The frame with the objects of a label image tinted and outlined.

    Args:
        image: RGB uint8 [H, W, 3].
        labels: uint8 [H, W].

    Returns:
        RGB uint8 [H, W, 3], a new picture.
    """
    canvas = image.copy()
    _tint_labels(canvas, labels)
    for number, colour in enumerate(OBJECT_COLOURS, 1):
        outline(canvas, labels == number, colour, 2 * _line(canvas))
    return canvas


def heat_map_image(heat: NDArray[np.float32]) -> Image:
    """A heat map in colours, from dark blue (0) to dark red (1).

    Args:
        heat: float [H, W]; values outside [0, 1] are clipped and NaN counts as 0.

    Returns:
        RGB uint8 [H, W, 3].
    """
    level = np.rint(np.clip(np.nan_to_num(heat, nan=0.0), 0, 1) * 255).astype(np.uint8)
    bgr = cv2.applyColorMap(level, cv2.COLORMAP_TURBO)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def of_size(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture resized smoothly, or labels without new values between them.

    Args:
        image: uint8, a picture [H, W, 3] or labels [H, W].
        size: width and height to come.

    Returns:
        uint8 of that size; ``image`` itself where it has that size.
    """
    if (image.shape[1], image.shape[0]) == size:
        return image
    kind = cv2.INTER_NEAREST if image.ndim == 2 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=kind), np.uint8)


def tint(canvas: Image, mask: Mask, colour: Colour) -> None:
    """Mix a colour into the pixels of a mask, bool [H, W], in place."""
    for channel, level in enumerate(colour):
        # by a table: floats of all the pixels would take eight times the memory
        table = np.rint((1 - _TINT) * np.arange(256) + _TINT * level).astype(np.uint8)
        plane = canvas[..., channel]
        plane[mask] = table[plane[mask]]


def outline(canvas: Image, mask: Mask, colour: Colour, line: int) -> None:
    """Draw the outer contours of a mask, bool [H, W], ``line`` pixels wide, in place."""
    contours, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    cv2.drawContours(canvas, contours, -1, colour, line, cv2.LINE_AA)


def _line(canvas: Image) -> int:
    """Width of a thin line, pixels."""
    return max(1, round(max(canvas.shape[:2]) / 500))


def _tint_labels(canvas: Image, labels: NDArray[np.uint8]) -> None:
    for number, colour in enumerate(OBJECT_COLOURS, 1):
        tint(canvas, labels == number, colour)


def _corners(box: Sequence[float]) -> NDArray[np.float32]:
    x0, y0, x1, y1 = box
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)


def _named(candidate: Candidate) -> str:
    """Label of an object, with its score against the sound where it has one."""
    if candidate.sounding is None:
        return candidate.label
    return f'{candidate.label}, sound {candidate.sounding:.2f}'


def _facts(collision: Collision, origin_ns: int) -> list[str]:
    """The parts of the caption."""
    contact = collision.verdict.contact_px
    return [
        'no object' if not collision.objects else collision.verdict.rule,
        *([] if contact is None else [f'contact {contact:.1f} px']),
        f'onset {(collision.onset.stamp_ns - origin_ns) / NS_PER_S:.3f} s',
        f'{sum(collision.timings_ms.values()):.0f} ms ({collision.bundle})',
    ]
