"""Pictures of the world for people: contact sheets and clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from cs3_ros.collision import Image
from cs3_ros.drawing.overlay import OBJECT_COLOURS
from cs3_ros.drawing.report import spectrogram
from cs3_training.synth.config import WorldConfig
from cs3_training.synth.scene import Scene
from cs3_training.synth.world import make_scene

_HAND_COLOUR = (120, 255, 120)
_STRIP = 76  # height of the spectrogram, pixels
_TEXT = 38  # height of the words, pixels
_GAP = 6


def truth_image(scene: Scene) -> Image:
    """The picture with the outlines of both objects, the boxes of hands and the contact point.

    Returns:
        RGB uint8 [H, W, 3].
    """
    canvas = scene.image.copy()
    for hand in scene.hands:
        for box in (hand.box, hand.object_box):
            cv2.rectangle(canvas, box[:2], (box[2] - 1, box[3] - 1), _HAND_COLOUR, 1)
    for mask, colour in zip(scene.masks, OBJECT_COLOURS, strict=False):
        contours, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(canvas, contours, -1, colour, 2, cv2.LINE_AA)
    x, y = (round(value) for value in scene.contact)
    cv2.drawMarker(canvas, (x, y), (255, 255, 255), cv2.MARKER_CROSS, 11, 3)
    cv2.drawMarker(canvas, (x, y), (220, 0, 0), cv2.MARKER_CROSS, 9, 1)
    return canvas


def panel(scene: Scene) -> Image:
    """Picture beside truth, the sound below, and what it is in words.

    Returns:
        RGB uint8 [H + strips, 2 W, 3] of a picture [H, W, 3].
    """
    pair = np.hstack([scene.image, truth_image(scene)])
    width = pair.shape[1]
    strip = spectrogram(scene.sound, width, _STRIP)
    onset = round(scene.onset / len(scene.sound) * width)
    cv2.line(strip, (onset, 0), (onset, 7), (255, 255, 255), 1)
    cv2.line(strip, (onset, _STRIP - 8), (onset, _STRIP - 1), (255, 255, 255), 1)
    words = np.full((_TEXT, width, 3), 24, np.uint8)
    names = [f'{i.caption}{f" ({i.hand} hand)" if i.hand else ""}' for i in scene.colliding]
    if len(names) == 1:
        names.append(f'a {scene.table} table')
    lines = (
        f'{scene.seed}: {names[0]}',
        f'on {names[1]}' if len(scene.colliding) == 1 else names[1],
    )
    for k, text in enumerate(lines):
        place = (6, 15 + 16 * k)
        cv2.putText(words, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (230,) * 3, 1, cv2.LINE_AA)
    return np.vstack([pair, strip, words])


def contact_sheet(scenes: Sequence[Scene], columns: int = 2) -> Image:
    """Panels side by side, RGB uint8 [H, W, 3]."""
    panels = [panel(scene) for scene in scenes]
    height, width = panels[0].shape[:2]
    blank = np.full((height, width, 3), 255, np.uint8)
    panels += [blank] * (-len(panels) % columns)
    edge = ((0, _GAP), (0, _GAP), (0, 0))
    framed = [np.pad(picture, edge, constant_values=255) for picture in panels]
    rows = [np.hstack(framed[k : k + columns]) for k in range(0, len(framed), columns)]
    return np.vstack(rows)


def write_sheet(config: WorldConfig, seeds: Sequence[int], path: Path) -> None:
    """Make scenes and write their contact sheet as a PNG.

    Raises:
        OSError: the file cannot be written.
    """
    sheet = contact_sheet([make_scene(config, seed) for seed in seeds])
    if not cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise OSError(f'{path}: the picture could not be written; name a folder of yours')
