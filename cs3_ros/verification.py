"""Which of the candidate masks collided: merge, contact distance, choice (CS3 section 4.3).

The paper says: merge masks with IoU > alpha, take the two closest as the colliding pair, and where
no distance is below beta assume one object, chosen by the priority right hand, left hand, audio.
The rest (ties, units, specks) is settled here (method.md C1, C2, C3), and what was done is written
into the trace of each verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from cs3_ros.collision import LABELS, AudioClip, Candidate, Frame, Mask, Verdict
from cs3_ros.config import setting, validate

CONTACT_PX = 3.0
"""Pixels of one mask at most this far from the other are its contact, reference pixels."""
TIE_PX = 1.0
"""Pairs whose distances differ from the smallest by less than this are tied, reference pixels:
touching masks measure 0 to 1."""
LARGE_AREA = 0.6
"""A mask above this fraction of the image is kept, but noted in the trace."""


@dataclass(frozen=True)
class VerificationConfig:
    """Thresholds of verification; all may change while a node runs."""

    alpha: float = setting(
        0.6, 'Masks with an IoU above this are one object.', minimum=0.0, maximum=1.0, hot=True
    )
    beta: float = setting(
        15.0,
        'Masks nearer than this are in contact, pixels of the reference grid.',
        minimum=0.0,
        maximum=10_000.0,
        hot=True,
    )
    beta_reference: int = setting(
        352,
        'Long side of the grid that distances are measured on, pixels; 0 takes the image as it is.',
        minimum=0,
        maximum=8192,
        hot=True,
    )
    min_area: float = setting(
        0.0005,
        'Masks below this fraction of the image area are dropped.',
        minimum=0.0,
        maximum=1.0,
        hot=True,
    )

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class Pair:
    """Two candidates and how near they come."""

    first: Candidate
    """The one of higher priority."""
    second: Candidate
    """The other."""
    distance: float
    """Least distance of two of their pixels, reference pixels."""
    contact: float
    """Length of their contact, reference pixels."""

    def __str__(self) -> str:
        return f'{self.first.label} and {self.second.label}'


@dataclass(frozen=True)
class ContactConfig:
    """Settings of ``ContactVerifier``; its thresholds are those of ``VerificationConfig``."""


class ContactVerifier:
    """The strategy ``contact``: by distance and priority alone, as the paper has it.

    Args:
        config: has no settings.
    """

    def __init__(self, config: ContactConfig = ContactConfig()) -> None:
        self.config = config

    def encode(self, frame: Frame) -> None:
        """It looks at nothing but the masks."""

    def verify(
        self,
        encoded: None,
        audio: AudioClip,
        candidates: Sequence[Candidate],
        config: VerificationConfig,
    ) -> Verdict:
        """As the function ``verify``; the sound is not heard."""
        return verify(candidates, config)


def verify(
    candidates: Sequence[Candidate], config: VerificationConfig = VerificationConfig()
) -> Verdict:
    """Choose the zero, one or two masks that collided.

    Args:
        candidates: masks in any order. Masks of another size than the first one that is not
            empty are resized to it (nearest neighbour).
        config: thresholds.

    Returns:
        The chosen candidates at native size, higher priority first, and a trace. ``rule`` is
        ``none`` (no candidate), ``only_candidate``, ``single_by_priority`` (no pair touches),
        ``closest_pair``, or, where pairs are tied, ``contact_length`` or ``priority_pair``.
    """
    trace: list[str] = []
    kept = distinct(candidates, config, trace)
    if len(kept) < 2:
        return without_choice(kept, trace)
    touching = touching_pairs(kept, config, trace)
    if not touching:
        trace.append(
            f'No distance is below {config.beta:g} px: one object, {kept[0].label}, by priority.'
        )
        return Verdict((kept[0],), 'single_by_priority', None, tuple(trace))
    pair, rule = closest(touching, trace)
    return Verdict((pair.first, pair.second), rule, pair.distance, tuple(trace))


def distinct(
    candidates: Sequence[Candidate], config: VerificationConfig, trace: list[str]
) -> list[Candidate]:
    """Candidates of one size without specks and doubles, in order of priority.

    Args:
        candidates: as ``verify``.
        config: thresholds.
        trace: gets a line for each that is resized, dropped or merged.
    """
    ordered = sorted(candidates, key=_priority)
    kept = _clean(ordered, _common_size(candidates), config, trace)
    return _merge(kept, config.alpha, trace)


def without_choice(kept: Sequence[Candidate], trace: list[str]) -> Verdict:
    """The verdict on no candidate, or on one alone."""
    if not kept:
        trace.append('No candidate is left: no object.')
        return Verdict((), 'none', None, tuple(trace))
    trace.append(f'{kept[0].label} is the only candidate.')
    return Verdict((kept[0],), 'only_candidate', None, tuple(trace))


def touching_pairs(
    kept: Sequence[Candidate], config: VerificationConfig, trace: list[str]
) -> list[Pair]:
    """The pairs that are in contact, in order of priority.

    Args:
        kept: from ``distinct``.
        config: thresholds.
        trace: gets a line for each pair, in contact or not.
    """
    return [p for p in _pairs(kept, config.beta_reference, trace) if p.distance < config.beta]


def _priority(candidate: Candidate) -> int:
    return LABELS.index(candidate.label)


def _common_size(candidates: Sequence[Candidate]) -> tuple[int, int]:
    """Height and width of the first mask that has any."""
    for candidate in candidates:
        if candidate.mask.size:
            height, width = candidate.mask.shape
            return height, width
    return 0, 0


def _clean(
    candidates: Sequence[Candidate],
    size: tuple[int, int],
    config: VerificationConfig,
    trace: list[str],
) -> list[Candidate]:
    """Bring all to one size, drop what is too small."""
    pixels = size[0] * size[1]
    least = config.min_area * pixels
    kept = []
    for candidate in candidates:
        if candidate.mask.size and candidate.mask.shape != size:
            trace.append(
                f'{candidate.label} resized from {_by(candidate.mask.shape)} to {_by(size)} px.'
            )
            candidate = replace(candidate, mask=_resized(candidate.mask, size))
        if candidate.area == 0:
            trace.append(f'{candidate.label} dropped: its mask is empty.')
        elif candidate.area < least:
            trace.append(f'{candidate.label} dropped: {candidate.area} px, fewer than {least:g}.')
        else:
            kept.append(candidate)
            if candidate.area > LARGE_AREA * pixels:
                share = 100 * candidate.area / pixels
                trace.append(f'{candidate.label} covers {share:.0f} % of the image: kept.')
    return kept


def _by(shape: tuple[int, ...]) -> str:
    """'width x height' of an array's shape."""
    return f'{shape[1]}x{shape[0]}'


def _resized(mask: Mask, size: tuple[int, int]) -> Mask:
    import cv2

    resized = cv2.resize(mask.astype(np.uint8), (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    return resized.astype(bool)


def _merge(candidates: list[Candidate], alpha: float, trace: list[str]) -> list[Candidate]:
    """Unite the pair of largest IoU until none is above alpha; unions are compared again."""
    kept = list(candidates)
    while len(kept) > 1:
        # max() takes the first of equals, and the pairs come in order of priority.
        first, second = max(combinations(kept, 2), key=lambda pair: _iou(*pair))
        iou = _iou(first, second)
        if iou <= alpha:
            break
        trace.append(
            f'{first.label} and {second.label} merged into {first.label}: '
            f'IoU {iou:.3f} > {alpha:g}.'
        )
        union = Candidate(
            first.label, first.mask | second.mask, score=max(first.score, second.score)
        )
        kept = [union if c is first else c for c in kept if c is not second]
    return kept


def _iou(first: Candidate, second: Candidate) -> float:
    common = int(np.count_nonzero(first.mask & second.mask))
    return common / (first.area + second.area - common)


def _pairs(candidates: Sequence[Candidate], reference: int, trace: list[str]) -> list[Pair]:
    """All pairs, measured, in order of priority."""
    import cv2

    grids = [_on_grid(_largest_component(c), reference) for c in candidates]
    # The distance of each grid pixel from a mask is that from the zeros of its complement.
    # OpenCV's last bit differs from run to run, but the squares are whole numbers.
    squares = [
        np.rint(
            cv2.distanceTransform((~grid).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) ** 2
        )
        for grid in grids
    ]
    pairs = []
    for i, j in combinations(range(len(candidates)), 2):
        i_from_j, j_from_i = squares[j][grids[i]], squares[i][grids[j]]
        near = sum(np.count_nonzero(square <= CONTACT_PX**2) for square in (i_from_j, j_from_i))
        pair = Pair(candidates[i], candidates[j], math.sqrt(i_from_j.min()), near / 2)
        trace.append(
            f'{pair}: distance {pair.distance:.1f} px, contact length {pair.contact:g} px.'
        )
        pairs.append(pair)
    return pairs


def _largest_component(candidate: Candidate) -> Mask:
    """The largest 8-connected piece at native size: stray specks would corrupt a minimum.

    Pieces of equal size all stay, so that nothing depends on the order in which they are found.
    """
    import cv2

    x0, y0, x1, y1 = (int(edge) for edge in candidate.box)
    crop = candidate.mask[y0:y1, x0:x1].astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(crop, connectivity=8)
    if count <= 2:
        return candidate.mask
    areas = stats[:, cv2.CC_STAT_AREA]
    areas[0] = 0  # the background
    mask = np.zeros(candidate.mask.shape, bool)
    mask[y0:y1, x0:x1] = (areas == areas.max())[labels]
    return mask


def _on_grid(mask: Mask, reference: int) -> Mask:
    """The mask on the grid whose long side is ``reference``; a cell is on if the mask touches it.

    So a thin tool is not lost between two samples, and distances are right to about 1 px.
    """
    long_side = max(mask.shape)
    if reference in (0, long_side):
        return mask
    rows, columns = (max(1, round(size * reference / long_side)) for size in mask.shape)
    return _rows_touched(_rows_touched(mask, rows).T, columns).T


def _rows_touched(mask: Mask, count: int) -> Mask:
    """Resize the rows: new row k is the union of all old rows that overlap with it."""
    edges = np.arange(count + 1) * len(mask)
    first, last = edges[:-1] // count, -(-edges[1:] // count) - 1
    touched = mask[first]
    for step in range(1, int((last - first).max()) + 1):
        touched |= mask[np.minimum(first + step, last)]
    return touched


def closest(touching: Sequence[Pair], trace: list[str]) -> tuple[Pair, str]:
    """The closest pair and the rule that chose it.

    Ties go to the longer contact, then to the higher priority.
    """
    nearest = min(pair.distance for pair in touching)
    tied = [pair for pair in touching if pair.distance < nearest + TIE_PX]
    if len(tied) == 1:
        trace.append(f'{tied[0]} chosen: the closest pair, {nearest:.1f} px.')
        return tied[0], 'closest_pair'
    longest = max(pair.contact for pair in tied)
    best = [pair for pair in tied if pair.contact == longest]
    if len(best) == 1:
        trace.append(
            f'{best[0]} chosen: {len(tied)} pairs are equally close, '
            f'its contact is the longest, {longest:g} px.'
        )
        return best[0], 'contact_length'
    trace.append(f'{best[0]} chosen by priority: {len(best)} pairs are equally close and long.')
    return best[0], 'priority_pair'
