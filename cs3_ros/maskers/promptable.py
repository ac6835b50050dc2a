"""What SAM 2 and its kin have in common: how a prompt is asked, and which masks cannot be right."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from cs3_ros.collision import Box, Mask, Points, Prompt
from cs3_ros.config import setting, validate
from cs3_ros.metrics import iou
from cs3_ros.networks.prompt_labels import BOTTOM_RIGHT, NEGATIVE, POSITIVE, TOP_LEFT

log = logging.getLogger(__name__)

NEAR_FULL = 0.6
"""Share of the picture above which a mask is suspicious; it is kept (method.md C3)."""
LEAST_SIDE = 2.0
"""Width and height below which a box within the picture is not asked for, pixels."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Which masks from points alone are rejected; settings of every such masker."""

    max_hand_iou: float = setting(
        0.5,
        'A mask from points alone with a larger IoU with a hand is rejected: it is the hand.',
        minimum=0.0,
        maximum=1.0,
    )
    max_point_share: float = setting(
        0.4,
        'A mask from points alone that covers a larger share of the picture is rejected.',
        minimum=0.0,
        maximum=1.0,
    )

    def __post_init__(self) -> None:
        validate(self)


def asked_of(
    prompt: Prompt, height: int, width: int, name: str, points_in_box: bool = False
) -> tuple[Points, list[int]] | None:
    """What the network is asked: points [K, 2] in pixels and their labels; None if none is visible.

    Of a prompt with a box only the box is used, as in the paper, unless it is a guess: then the
    points on the object, and off it the middle of each hand.

    Args:
        prompt: with a box or positive points.
        height: of the picture, pixels.
        width: of the picture, pixels.
        name: of the network, for the message.
        points_in_box: also use the points of a prompt with a box.

    Raises:
        ValueError: the prompt has neither, or coordinates that are not finite.
    """
    limit = np.array([width, height], np.float32)
    groups, labels = [np.zeros((0, 2), np.float32)], list[int]()
    box = _box_of(prompt)
    if box is not None:
        corners = np.array(box, np.float32).reshape(2, 2)
        _finite(corners)
        corners = np.clip(corners, 0, limit)
        if (corners[1] - corners[0] < LEAST_SIDE).any():
            return None
        groups, labels = [corners], [TOP_LEFT, BOTTOM_RIGHT]
        if not points_in_box:
            return corners, labels
    elif not len(prompt.positive_points):
        raise ValueError(
            f'{name} needs a box or at least one positive point, the prompt has neither: leave out '
            'prompts of empty hands'
        )
    off = prompt.negative_points
    if box is None and prompt.guessed and not len(off) and prompt.exclude:
        off = np.stack([hand.mean(0) for hand in prompt.exclude]).astype(np.float32)
    for group, label in ((prompt.positive_points, POSITIVE), (off, NEGATIVE)):
        _finite(group)
        inside = group[((group >= 0) & (group < limit)).all(1)]
        if label == POSITIVE and box is None and not len(inside):
            return None
        groups.append(inside)
        labels += [label] * len(inside)
    return np.concatenate(groups).astype(np.float32), labels


def judged(mask: Mask, prompt: Prompt, limits: Limits, name: str) -> Mask:
    """The mask, or what stands in for it where it cannot be right.

    Args:
        mask: bool [H, W], what the network found.
        prompt: what it was asked.
        limits: which masks from points are rejected.
        name: of the network, for the log.
    """
    share = np.count_nonzero(mask) / mask.size
    if share > NEAR_FULL:
        log.warning('%s: a mask covers %.0f %% of the picture', name, 100 * share)
    if (box := _box_of(prompt)) is not None:
        if share == 0:
            log.info('%s: nothing found in the box %s, which stands in for it', name, box)
            return _filled(box, *mask.shape)
        return mask
    if share > limits.max_point_share:
        log.info('%s: a mask from points covers %.0f %%: rejected', name, 100 * share)
        return np.zeros_like(mask)
    for polygon in prompt.exclude:
        if _iou_with(polygon, mask) > limits.max_hand_iou:
            log.info('%s: a mask from points is the hand: rejected', name)
            return np.zeros_like(mask)
    return mask


def _box_of(prompt: Prompt) -> Box | None:
    """The box that a prompt is asked by; None where its points are."""
    return None if prompt.guessed and len(prompt.positive_points) else prompt.box


def _finite(points: Points) -> None:
    if not np.isfinite(points).all():
        raise ValueError(f'prompt at {points.tolist()}: expected finite pixels')


def _filled(box: Box, height: int, width: int) -> Mask:
    """bool [height, width]: the pixels that a box touches."""
    mask = np.zeros((height, width), bool)
    (x0, y0), (x1, y1) = np.floor(box[:2]), np.ceil(box[2:])
    mask[max(int(y0), 0) : max(int(y1), 0), max(int(x0), 0) : max(int(x1), 0)] = True
    return mask


def _iou_with(polygon: Points, mask: Mask) -> float:
    """Intersection over union of a polygon [K, 2] and a mask [H, W]."""
    import cv2

    if len(polygon) < 3:
        return 0.0
    filled = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(filled, [np.round(polygon).astype(np.int32)], (1,))
    return iou(mask, filled > 0)
