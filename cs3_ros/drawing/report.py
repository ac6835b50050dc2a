"""Pictures for reports: outlines, tints, heat over a picture, spectrograms."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import Image, Mask
from cs3_ros.drawing.lettering import WHITE, Colour
from cs3_ros.drawing.overlay import OBJECT_COLOURS, outline, tint
from cs3_ros.metrics import best_assignment, iou_matrix

_HEAT = 0.55  # share of the heat map's colours over the picture
_DECIBELS = 70  # from dark to bright in a spectrogram


def outlined(
    image: Image,
    masks: Sequence[Mask],
    colours: Sequence[Colour],
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
        outline(canvas, mask, colour, line * unit)
    return canvas


def tinted(
    image: Image, masks: Sequence[Mask], colours: Sequence[Colour] = OBJECT_COLOURS
) -> Image:
    """The picture with each mask filled and outlined in its colour, a new RGB uint8 [H, W, 3].

    Args:
        image: RGB uint8 [H, W, 3].
        masks: bool [H, W].
        colours: at least one for each.
    """
    canvas = image.copy()
    for mask, colour in zip(masks, colours, strict=False):
        tint(canvas, mask, colour)
    return outlined(canvas, masks, colours)


def answer_colours(truth: Sequence[Mask], answer: Sequence[Mask]) -> list[Colour]:
    """The colours of the true objects that the answered ones are matched with; others are left.

    Args:
        truth: one or two masks, bool [H, W]; the first is orange, the second blue.
        answer: zero to two masks of that size.

    Returns:
        RGB of each mask of the answer.

    Raises:
        ValueError: the masks differ in size.
    """
    pairs = best_assignment(iou_matrix(truth, answer))
    order = {column: OBJECT_COLOURS[row] for row, column in pairs}
    free = [colour for colour in OBJECT_COLOURS if colour not in order.values()]
    return [order.get(index) or free.pop(0) for index in range(len(answer))]


def over_grey(image: Image, heat: Image | None) -> Image:
    """The colours of a heat map over the picture in grey; the grey alone where there is none.

    Args:
        image: RGB uint8 [H, W, 3].
        heat: RGB uint8 [H, W, 3], from ``overlay.heat_map_image``.
    """
    grey = np.repeat(image.mean(2, keepdims=True), 3, 2)
    mixed = grey if heat is None else (1 - _HEAT) * grey + _HEAT * heat
    return np.rint(mixed).astype(np.uint8)


def spectrogram(sound: NDArray[np.float32], width: int, height: int) -> Image:
    """Level over time and frequency, low frequencies at the bottom, 70 dB from dark to bright.

    Args:
        sound: [N], at least one sample.
        width: pixels; the whole sound.
        height: pixels; frequency to the half of the rate, its root.

    Returns:
        RGB uint8 [height, width, 3].
    """
    window, hop = 512, max(len(sound) // width, 1)
    padded = np.pad(sound, (window // 2, window))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][:width]
    power = np.abs(np.fft.rfft(pieces * np.hanning(window), axis=1)) ** 2
    level = 10 * np.log10(power + 1e-12).T
    rows = 3 + (np.linspace(1, 0, height) ** 2 * (len(level) - 4)).astype(int)
    scaled = (level[rows] - level.max() + _DECIBELS) / _DECIBELS
    grey = (np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    colour = cv2.applyColorMap(cv2.resize(grey, (width, height)), cv2.COLORMAP_MAGMA)
    return np.asarray(cv2.cvtColor(colour, cv2.COLOR_BGR2RGB), np.uint8)


def sound_picture(sound: NDArray[np.float32], onset: int, width: int, height: int) -> Image:
    """The spectrogram with two ticks at sample number ``onset``, RGB uint8 [height, width, 3].

    Args:
        sound: [N], at least one sample.
        onset: in [0, N].
        width: pixels.
        height: pixels.
    """
    strip = np.ascontiguousarray(spectrogram(sound, width, height))
    x = round(onset / len(sound) * width)
    for first, last in ((0, 9), (height - 10, height - 1)):
        cv2.line(strip, (x, first), (x, last), WHITE, 2)
    return strip
