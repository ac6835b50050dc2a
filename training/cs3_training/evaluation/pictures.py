"""Pictures of one sample for the report: truth, heat map, sound, candidates, answer."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from cs3_ros.collision import AudioClip, Collision, Image, Label, Mask
from cs3_ros.draw import OBJECT_COLOURS, heat_map_image
from cs3_ros.metrics import iou_matrix
from cs3_training.evaluation.rows import THRESHOLD
from cs3_training.evaluation.samples import Sample
from cs3_training.synth.preview import spectrogram

QUALITY = 85
"""Of the JPEGs."""
CANDIDATE_COLOURS: Mapping[Label, tuple[int, int, int]] = {
    'right_hand': (255, 70, 70),
    'left_hand': (90, 230, 90),
    'audio_visual': (255, 60, 255),
}
"""RGB of each candidate's outline."""

_HEAT = 0.55  # share of the heat map's colours over the picture
_TINT = 0.45
_SOUND_HEIGHT = 176
_WHITE = (255, 255, 255)


def outlined(
    image: Image,
    masks: Sequence[Mask],
    colours: Sequence[tuple[int, int, int]],
    lines: Sequence[int] = (1, 1, 1),
) -> Image:
    """The picture with the outline of each mask in its colour, a new RGB uint8 [H, W, 3].

    Args:
        image: RGB uint8 [H, W, 3].
        masks: bool [H, W], drawn in their order.
        colours: one for each.
        lines: how strong each outline is; stronger ones first stay visible under the same again.
    """
    canvas = image.copy()
    unit = max(1, round(max(image.shape) / 176))
    for mask, colour, line in zip(masks, colours, lines, strict=False):
        contours, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(canvas, contours, -1, colour, line * unit, cv2.LINE_AA)
    return canvas


def tinted(
    image: Image, masks: Sequence[Mask], colours: Sequence[tuple[int, int, int]] = OBJECT_COLOURS
) -> Image:
    """The picture with each mask filled and outlined in its colour."""
    canvas = image.copy()
    for mask, colour in zip(masks, colours, strict=False):
        mixed = (1 - _TINT) * canvas[mask] + _TINT * np.asarray(colour)
        canvas[mask] = np.rint(mixed).astype(np.uint8)
    return outlined(canvas, masks, colours)


def answer_colours(truth: Sequence[Mask], answer: Sequence[Mask]) -> list[tuple[int, int, int]]:
    """The colours of the true objects that the answered ones are matched with; others are left."""
    rows, columns = linear_sum_assignment(-iou_matrix(truth, answer))
    order = {int(column): OBJECT_COLOURS[row] for row, column in zip(rows, columns, strict=True)}
    free = [colour for colour in OBJECT_COLOURS if colour not in order.values()]
    return [order.get(place) or free.pop(0) for place in range(len(answer))]


def heat_picture(image: Image, collision: Collision) -> Image:
    """The heat map over the picture, its mask outlined in white; grey where there is none."""
    grey = np.repeat(image.mean(2, keepdims=True), 3, 2)
    heat = collision.heat_map
    if heat is None:
        return np.rint(grey).astype(np.uint8)
    mixed = (1 - _HEAT) * grey + _HEAT * heat_map_image(heat)
    return outlined(np.rint(mixed).astype(np.uint8), [heat >= THRESHOLD], [_WHITE])


def sound_picture(audio: AudioClip, onset_ns: int, width: int) -> Image:
    """The spectrogram with two ticks at the onset; low frequencies at the bottom."""
    strip = np.ascontiguousarray(spectrogram(audio.samples, width, _SOUND_HEIGHT))
    place = round((onset_ns - audio.start_ns) * 1e-9 * audio.rate / len(audio.samples) * width)
    for first, last in ((0, 9), (_SOUND_HEIGHT - 10, _SOUND_HEIGHT - 1)):
        cv2.line(strip, (place, first), (place, last), _WHITE, 2)
    return strip


def pictures_of(sample: Sample, collision: Collision) -> list[tuple[str, Image]]:
    """Caption and picture, in the order in which they are read."""
    image = collision.frame.image
    width = image.shape[1]
    answer = [c.mask for c in collision.objects]
    candidates = [c for c in collision.candidates if c.area]
    colours = [CANDIDATE_COLOURS[c.label] for c in candidates]
    pictures = [
        ('scene', image),
        ('truth', tinted(image, sample.truth)),
        ('heat map', heat_picture(image, collision)),
        ('candidates', outlined(image, [c.mask for c in candidates], colours, (3, 2, 1))),
        ('answer', tinted(image, answer, answer_colours(sample.truth, answer))),
    ]
    if len(sample.clip.audio.samples):
        sound = sound_picture(sample.clip.audio, sample.clip.onset.stamp_ns, width)
        pictures.insert(2, ('sound', sound))
    return pictures


def as_data_uri(image: Image) -> str:
    """The picture as a JPEG inside of a URI.

    Raises:
        ValueError: OpenCV could not encode it.
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    good, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not good:
        raise ValueError(f'picture of {image.shape}: expected one that OpenCV can encode as JPEG')
    return f'data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}'
