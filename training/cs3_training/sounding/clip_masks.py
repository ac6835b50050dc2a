"""Masks for clips that have none: hands and what they hold, followed through the clip.

In a few pictures round the action a detector of hands gives boxes of what they hold. These are
followed through the clip; doubles fall away, the best two stay. What else is in the picture that
evaluation looks at becomes the pool of distractors.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import Box, Frame
from cs3_ros.config import setting, validate
from cs3_ros.files.jsonfile import read_json, write_json
from cs3_ros.files.media import VideoFile
from cs3_ros.files.progress import Bar
from cs3_ros.pipeline import HandDetector
from cs3_training.evaluation.sounding import LEAST_PIXELS, SAME_IOU
from cs3_training.sounding.clips import FIRST, LAST, ClipRow
from cs3_training.sounding.mask_files import OBJECTS, POOL, ClipMasks, write_masks
from cs3_training.sounding.propagation import Propagator
from cs3_training.sounding.selection import choose_objects, choose_pool

SETTINGS = 'settings.json'
"""What the masks of a folder were made with."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipMasksConfig:
    """How masks are made.

    Raises:
        ValueError: a setting is outside its range.
    """

    frame_step: int = setting(3, 'Every so many frames get masks.', minimum=1)
    looks: int = setting(3, 'Pictures in which hands are looked for.', minimum=1)
    objects: int = setting(2, 'Most objects of a clip.', minimum=1, maximum=OBJECTS)
    pool: int = setting(15, 'Most distractors; 0 looks for none.', minimum=0, maximum=POOL)
    same_iou: float = setting(
        SAME_IOU, 'Masks of a larger overlap are one.', minimum=0.0, maximum=1.0
    )

    def __post_init__(self) -> None:
        validate(self)


def make_masks(
    frames: Sequence[Frame],
    hands: HandDetector,
    propagator: Propagator,
    config: ClipMasksConfig = ClipMasksConfig(),
) -> ClipMasks:
    """The masks of a clip.

    Args:
        frames: all of its pictures, of one size.
        hands: detector of hands and of what they hold.
        propagator: follows boxes, and finds distractors.
        config: how.

    Raises:
        ValueError: no pictures, or one that cannot be decoded.
    """
    if not frames:
        raise ValueError('a clip without pictures has no masks')
    numbers = range(0, len(frames), config.frame_step)
    chosen = [frames[k] for k in numbers]
    pictures = [frame.image for frame in chosen]
    tracks: list[NDArray[np.bool_]] = []
    scores: list[float] = []
    for index in _looks(len(frames), numbers, config.looks):
        held: list[tuple[Box, float]] = [
            (one.object_box, one.score)
            for one in hands.detect(chosen, index)
            if one.object_box is not None
        ]
        if held:
            boxes = [box for box, _ in held]
            tracks += list(propagator.propagate(pictures, index, boxes))  # each [F, H, W]
            scores += [score for _, score in held]
    kept = choose_objects(tracks, scores, config.objects, config.same_iou)
    size = pictures[0].shape[:2]
    masks = np.zeros((len(numbers), OBJECTS, *size), bool)
    for place, number in enumerate(kept):
        masks[:, place] = tracks[number]
    place = _looks(len(frames), numbers, 1)[0]
    pool = np.zeros((0, *size), bool)
    if config.pool:
        found, quality = propagator.propose(pictures[place])
        objects = [mask for mask in masks[place] if mask.any()]
        least = round(LEAST_PIXELS * size[0] * size[1] / 224**2)
        taken = choose_pool(list(found), quality, objects, config.pool, config.same_iou, least)
        pool = found[taken]
    valid = masks.any((2, 3))
    return ClipMasks(tuple(numbers), masks, valid, pool, numbers[place])


def _looks(count: int, numbers: range, looks: int) -> list[int]:
    """Places in ``numbers`` of evenly spread pictures round the action, the first at a third."""
    wanted = np.linspace(int(count * FIRST), int(count * LAST), looks)
    places = [int(np.argmin(np.abs(np.array(numbers) - one))) for one in wanted]
    return sorted(set(places))


def mask_clips(
    rows: Sequence[ClipRow],
    hands: HandDetector,
    propagator: Propagator,
    folder: Path,
    config: ClipMasksConfig,
    about: dict[str, Any],
) -> int:
    """Make the masks that are not there yet.

    Args:
        rows: the clips.
        hands: as ``make_masks``.
        propagator: as ``make_masks``.
        folder: where the masks go.
        config: how.
        about: what they are made with, as JSON data.

    Returns:
        How many clips could not be read; the log says why.

    Raises:
        ValueError: the folder holds masks that were made otherwise.
    """
    path, settings = folder / SETTINGS, {'config': asdict(config), 'about': about}
    folder.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        if read_json(path, f'{path}') != settings:
            raise ValueError(
                f'{folder} holds masks that were made with other settings: name other clips, or '
                'remove it'
            )
    else:
        write_json(path, settings)
    left = [row for row in rows if not row.masks.is_file()]
    unread = 0
    with Bar(total=len(rows), initial=len(rows) - len(left), desc='masks', disable=None) as bar:
        for row in left:
            try:
                write_masks(row.masks, make_masks(_frames(row.video), hands, propagator, config))
            except (ValueError, FileNotFoundError) as error:
                unread += 1
                log.warning('%s: no masks: %s', row.video, error)
            bar.update()
    return unread


def _frames(video: Path) -> list[Frame]:
    return list(VideoFile(video).frames())
