"""What the masker is asked to cut out: the hands, the place and the proposals brought together.

A hand detector without labels guesses the box of what is held, and a localiser knows a place, not
a thing. Where a bundle proposes objects both snap to a proposal: of several that fit, the one with
the largest score for its area, because a held thing lies in front of larger ones, and what is sure
beats what is small. A guess that neither a proposal nor the heat map supports is no candidate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from cs3_ros.collision import Box, HandObject, Label, Localisation, Prompt, Proposal

TOUCH = 0.1
"""A grip this far outside of a proposal still touches it, fraction of the hand's size."""
LEAST_PLACE = 0.04
"""A place snaps to nothing smaller than this fraction of the picture: hands propose what is small,
the place what they hit."""
MOST_HELD = 0.5
"""No hand holds a proposal larger than this fraction of the picture: a table, say, that is seen
under it."""
_NO_POINTS = np.zeros((0, 2), np.float32)
SAME = 0.6
"""Boxes of a larger IoU are of one thing."""
SUPPORT = 0.5
"""A guess is supported where its mean heat is at least this share of the picture's."""


def prompts_of(
    hands: Sequence[HandObject],
    localisation: Localisation | None,
    proposals: Sequence[Proposal] = (),
    searched: bool = True,
    size: tuple[int, int] | None = None,
) -> tuple[list[Label], list[float], list[Prompt]]:
    """One prompt per hand that holds something, one for the localisation, in priority order.

    Args:
        hands: what the hands hold.
        localisation: the moving or sounding place; its heat map supports guessed boxes.
        proposals: objects of the picture, hands and persons not among them; may be empty.
        searched: whether a localiser looked for the place; without one nothing could support a
            guess, and all are kept.
        size: height and width of the picture, to which proposals are compared; None where they
            are not.

    Returns:
        Label, score and prompt of each candidate.
    """
    labels: list[Label] = []
    scores: list[float] = []
    prompts: list[Prompt] = []
    held: list[Box] = []
    most = math.inf if size is None else MOST_HELD * size[0] * size[1]
    holdable = [proposal for proposal in proposals if _area(proposal.box) <= most]
    hulls = tuple(hand.hand_hull for hand in hands if len(hand.hand_hull) >= 3)
    for hand in sorted(hands, key=lambda hand: hand.side != 'right'):
        box, guessed = hand.object_box, hand.guessed
        points, off = hand.grip_points, hand.hand_points
        if (box is None or guessed) and (found := _in_hand(hand, holdable)) is not None:
            box, guessed = found.box, False
            points = off = _NO_POINTS
            held.append(box)
        if box is None and len(points) == 0:
            continue
        if guessed and searched and not _supported(box, localisation):
            continue
        labels.append('right_hand' if hand.side == 'right' else 'left_hand')
        scores.append(hand.score)
        prompts.append(Prompt(box, points, off, hulls, guessed))
    if localisation is not None:
        found = _at_place(localisation, proposals, held)
        labels.append('audio_visual')
        scores.append(localisation.score)
        prompts.append(Prompt(localisation.box if found is None else found.box, exclude=hulls))
    return labels, scores, prompts


def _in_hand(hand: HandObject, proposals: Sequence[Proposal]) -> Proposal | None:
    """The proposal that a grip lies in, else one that it touches; None where there is none."""
    size = 0.0 if hand.hand_box is None else math.sqrt(_area(hand.hand_box))
    for reach in (0.0, TOUCH * size):
        near = [
            proposal
            for proposal in proposals
            if any(_distance(proposal.box, x, y) <= reach for x, y in hand.grip_points.tolist())
        ]
        if near:
            return _densest(near)
    return None


def _at_place(
    localisation: Localisation, proposals: Sequence[Proposal], held: Sequence[Box]
) -> Proposal | None:
    """The proposal that holds the place and is in no hand; None where there is none."""
    height, width = localisation.heat_map.shape
    box = localisation.box
    x, y = localisation.centre or ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    return _densest(
        proposal
        for proposal in proposals
        if _distance(proposal.box, x, y) == 0
        and _area(proposal.box) >= LEAST_PLACE * height * width
        and all(box_iou(proposal.box, other) <= SAME for other in held)
    )


def _supported(box: Box | None, localisation: Localisation | None) -> bool:
    """Whether the heat in a box is not far below the picture's average."""
    if box is None or localisation is None:
        return False
    heat = localisation.heat_map
    left, top = (max(math.floor(edge), 0) for edge in box[:2])
    right, bottom = (max(math.ceil(edge), 0) for edge in box[2:])
    inside = heat[top:bottom, left:right]
    mean = heat.mean(dtype=np.float64)
    return bool(inside.size and mean > 0 and inside.mean(dtype=np.float64) >= SUPPORT * mean)


def _densest(proposals: Iterable[Proposal]) -> Proposal | None:
    """The one with the largest score for its area; of equals the first."""
    return max(proposals, key=lambda one: one.score / max(_area(one.box), 1.0), default=None)


def _area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def _distance(box: Box, x: float, y: float) -> float:
    """How far a point lies outside of a box, pixels."""
    return math.hypot(max(box[0] - x, 0.0, x - box[2]), max(box[1] - y, 0.0, y - box[3]))


def box_iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    left, top = max(first[0], second[0]), max(first[1], second[1])
    common = _area((left, top, min(first[2], second[2]), min(first[3], second[3])))
    union = _area(first) + _area(second) - common
    return common / union if union > 0 else 0.0
