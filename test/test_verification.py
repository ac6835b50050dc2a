"""Verification against its corner-case table (method.md C3), brute force and invariants."""

from dataclasses import replace

import needs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs3_ros.collision import LABELS, Candidate, Label
from cs3_ros.verification import VerificationConfig, verify

SIZE = (64, 64)
NATIVE = VerificationConfig(beta_reference=0, min_area=0.0)
R: Label = 'right_hand'
L: Label = 'left_hand'
A: Label = 'audio_visual'


def rectangle(x0, y0, x1, y1, size=SIZE):
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def candidate(label, *box, size=SIZE):
    return Candidate(label, rectangle(*box, size=size))


def labels(verdict):
    return [chosen.label for chosen in verdict.objects]


def same(first, second):
    return len(first) == len(second) and all(
        a.label == b.label and np.array_equal(a.mask, b.mask)
        for a, b in zip(first, second, strict=True)
    )


# One row of the table each: candidates, expected labels, expected rule. Boxes of 10 x 10 pixels
# at x: distance between neighbours 15 px apart is 6, below beta; 40 px apart it is 31, above.
TABLE = {
    'audio only': ([(A, 0, 0, 10, 10)], [A], 'only_candidate'),
    'one hand and audio, near': ([(L, 0, 0, 10, 10), (A, 15, 0, 25, 10)], [L, A], 'closest_pair'),
    'one hand and audio, far': ([(L, 0, 0, 10, 10), (A, 40, 0, 50, 10)], [L], 'single_by_priority'),
    'both hands, near': ([(R, 0, 0, 10, 10), (L, 15, 0, 25, 10)], [R, L], 'closest_pair'),
    'both hands, far': ([(R, 0, 0, 10, 10), (L, 40, 0, 50, 10)], [R], 'single_by_priority'),
    'same box, then near audio': (
        [(R, 0, 0, 10, 10), (L, 0, 0, 10, 10), (A, 15, 0, 25, 10)],
        [R, A],
        'closest_pair',
    ),
    'same box, nothing else': (
        [(R, 0, 0, 10, 10), (L, 0, 0, 10, 10)],
        [R],
        'only_candidate',
    ),
    'audio merges with right, left near': (
        [(R, 0, 0, 10, 10), (A, 0, 0, 10, 9), (L, 15, 0, 25, 10)],
        [R, L],
        'closest_pair',
    ),
    'audio merges with right, left far': (
        [(R, 0, 0, 10, 10), (A, 0, 0, 10, 9), (L, 40, 0, 50, 10)],
        [R],
        'single_by_priority',
    ),
    'all three merge': (
        [(R, 0, 0, 10, 10), (L, 0, 0, 10, 9), (A, 0, 0, 9, 10)],
        [R],
        'only_candidate',
    ),
    # R-A 0.67, A-L 0.67, but the union of R and A overlaps L by 0.56 only.
    'a chain does not run away': (
        [(R, 0, 0, 10, 10), (A, 2, 0, 12, 10), (L, 4, 0, 14, 10)],
        [R, L],
        'closest_pair',
    ),
    'nothing': ([], [], 'none'),
    'nothing but an empty mask': ([(R, 0, 0, 0, 0)], [], 'none'),
    'near-full-image mask is kept': ([(A, 0, 0, 60, 60)], [A], 'only_candidate'),
    'iou exactly alpha is not merged': (
        [(R, 0, 0, 8, 10), (L, 2, 0, 10, 10)],  # 60 / 100
        [R, L],
        'closest_pair',
    ),
    'distance exactly beta is no contact': (
        [(R, 0, 0, 10, 10), (L, 24, 0, 34, 10)],
        [R],
        'single_by_priority',
    ),
    'distance just below beta is contact': (
        [(R, 0, 0, 10, 10), (L, 23, 0, 33, 10)],
        [R, L],
        'closest_pair',
    ),
}


@needs.with_opencv
@pytest.mark.parametrize('name', TABLE)
def test_corner_cases(name):
    boxes, expected, rule = TABLE[name]
    candidates = [candidate(*box) for box in boxes]
    for order in (candidates, candidates[::-1]):
        verdict = verify(order, NATIVE)
        assert (labels(verdict), verdict.rule) == (expected, rule)
        assert (verdict.contact_px is not None) == (len(expected) == 2)
        assert verdict.trace and all(line.endswith('.') for line in verdict.trace)


def test_a_merge_is_the_union_with_the_better_score_and_label():
    right = Candidate(R, rectangle(0, 0, 10, 10), 0.4)
    audio = Candidate(A, rectangle(0, 1, 10, 11), 0.7)
    (merged,) = verify([audio, right], NATIVE).objects
    assert (merged.label, merged.score) == (R, 0.7)
    assert np.array_equal(merged.mask, rectangle(0, 0, 10, 11))


@needs.with_opencv
def test_the_largest_iou_is_merged_first():
    # R-L 0.67, L-A 0.74: L and A merge, and R stays below alpha with their union. The other way
    # round all three would merge.
    boxes = [(R, 0, 0, 20, 10), (L, 4, 0, 24, 10), (A, 7, 0, 27, 10)]
    verdict = verify([candidate(*box) for box in boxes], NATIVE)
    assert labels(verdict) == [R, L]
    assert np.array_equal(verdict.objects[1].mask, rectangle(4, 0, 27, 10))
    assert 'left_hand and audio_visual merged into left_hand: IoU 0.739 > 0.6.' in verdict.trace


@needs.with_opencv
def test_the_closest_of_three_pairs_wins_over_priority():
    boxes = [(R, 0, 0, 10, 10), (L, 20, 0, 30, 10), (A, 34, 0, 44, 10)]
    verdict = verify([candidate(*box) for box in boxes], NATIVE)
    assert (labels(verdict), verdict.rule, verdict.contact_px) == ([L, A], 'closest_pair', 5.0)
    assert 'left_hand and audio_visual: distance 5.0 px, contact length 0 px.' in verdict.trace


@needs.with_opencv
def test_equally_close_pairs_are_told_apart_by_contact_length():
    # Both touch R; A along a longer side.
    boxes = [(R, 20, 20, 40, 40), (L, 40, 20, 50, 25), (A, 20, 40, 40, 50)]
    verdict = verify([candidate(*box) for box in boxes], NATIVE)
    assert (labels(verdict), verdict.rule) == ([R, A], 'contact_length')


@needs.with_opencv
def test_equal_contact_is_decided_by_priority():
    boxes = [(A, 20, 20, 40, 40), (R, 40, 20, 50, 40), (L, 10, 20, 20, 40)]
    verdict = verify([candidate(*box) for box in boxes], NATIVE)
    assert (labels(verdict), verdict.rule) == ([R, A], 'priority_pair')


def test_small_masks_are_dropped_below_the_limit_only():
    config = VerificationConfig(min_area=100 / 64**2)
    assert labels(verify([candidate(R, 0, 0, 10, 10)], config)) == [R]
    verdict = verify([candidate(R, 0, 0, 9, 11)], config)
    assert verdict.rule == 'none'
    assert verdict.trace[0] == 'right_hand dropped: 99 px, fewer than 100.'


@needs.with_opencv
def test_specks_do_not_shorten_the_distance_but_stay_in_the_mask():
    speckled = rectangle(0, 0, 10, 10)
    speckled[5, 49] = True
    verdict = verify([Candidate(R, speckled), candidate(L, 50, 0, 60, 10)], NATIVE)
    assert verdict.rule == 'single_by_priority'
    assert verdict.objects[0].mask is speckled


@needs.with_opencv
def test_distance_is_measured_on_the_reference_grid():
    size = (360, 704)  # twice the reference
    near = [candidate(R, 0, 0, 50, 50, size=size), candidate(L, 70, 0, 120, 50, size=size)]
    verdict = verify(near)
    assert (labels(verdict), verdict.contact_px) == ([R, L], 11.0)
    assert verify(near, VerificationConfig(beta_reference=0)).rule == 'single_by_priority'


@needs.with_opencv
def test_thin_tools_survive_the_reference_grid():
    size = (1080, 1920)
    handle = rectangle(0, 400, 200, 500, size=size)
    handle[451, 200:700] = True  # one of 5.5 native pixels that make up one of the grid
    verdict = verify([Candidate(R, handle), candidate(L, 701, 400, 900, 500, size=size)])
    assert verdict.contact_px is not None and verdict.contact_px <= 1


@needs.with_opencv
def test_masks_of_another_size_are_resized_to_the_first():
    first = candidate(R, 0, 0, 10, 10)
    other = candidate(L, 22, 0, 40, 20, size=(128, 128))
    verdict = verify([first, other], NATIVE)
    assert labels(verdict) == [R, L]
    assert np.array_equal(verdict.objects[1].mask, rectangle(11, 0, 20, 10))
    assert 'left_hand resized from 128x128 to 64x64 px.' in verdict.trace


def test_masks_without_pixels_do_no_harm():
    empty = Candidate(R, np.zeros((0, 0), bool))
    assert verify([empty]).rule == 'none'
    assert labels(verify([empty, candidate(L, 0, 0, 10, 10)])) == [L]


def test_large_masks_are_noted():
    verdict = verify([candidate(A, 0, 0, 64, 48)])
    assert verdict.trace[0] == 'audio_visual covers 75 % of the image: kept.'


@pytest.mark.parametrize('field, value', [('alpha', 1.1), ('beta', -1.0), ('beta_reference', 1.5)])
def test_bad_thresholds_are_refused(field, value):
    with pytest.raises(ValueError, match=f'VerificationConfig.{field}'):
        VerificationConfig(**{field: value})


# --- invariants ---


@st.composite
def triples(draw, size=48):
    """Up to three masks, each of one or two rectangles inside the middle of the image."""
    candidates = []
    for label in draw(st.lists(st.sampled_from(LABELS), unique=True, max_size=3)):
        mask = np.zeros((size, size), bool)
        for _ in range(draw(st.integers(1, 2))):
            x, y = (draw(st.integers(8, size - 20)) for _ in range(2))
            w, h = (draw(st.integers(1, 12)) for _ in range(2))
            mask[y : y + h, x : x + w] = True
        candidates.append(Candidate(label, mask))
    return candidates


def brute_distance(first, second):
    p, q = np.argwhere(first), np.argwhere(second)
    return float(np.sqrt(((p[:, None] - q[None]) ** 2).sum(-1)).min())


def largest_component(mask):
    """Flood fill, 8 neighbours; pieces of equal size all stay."""
    left, pieces = {tuple(point) for point in np.argwhere(mask)}, []
    while left:
        piece, edge = [], [left.pop()]
        while edge:
            y, x = edge.pop()
            piece.append((y, x))
            around = {(y + j, x + i) for j in (-1, 0, 1) for i in (-1, 0, 1)} & left
            left -= around
            edge += around
        pieces.append(piece)
    filled = np.zeros_like(mask)
    for piece in pieces:
        if len(piece) == max(map(len, pieces)):
            filled[tuple(np.array(piece).T)] = True
    return filled


def iou(first, second):
    return np.count_nonzero(first & second) / np.count_nonzero(first | second)


@needs.with_opencv
@settings(max_examples=60, deadline=None)
@given(triples(), st.integers(1, 30))
def test_distance_of_a_chosen_pair_is_the_brute_force_minimum(candidates, beta):
    verdict = verify(candidates, replace(NATIVE, beta=float(beta)))
    if verdict.contact_px is not None:
        first, second = (largest_component(chosen.mask) for chosen in verdict.objects)
        assert verdict.contact_px == pytest.approx(brute_distance(first, second), abs=1e-3)
        assert verdict.contact_px < beta
    elif verdict.rule == 'single_by_priority':
        assert verdict.objects[0].label == min((c.label for c in candidates), key=LABELS.index)


@needs.with_opencv
@settings(max_examples=40, deadline=None)
@given(triples(), st.sampled_from([20, 31, 48, 100]))
def test_the_reference_grid_is_right_to_a_pixel(candidates, reference):
    config = replace(NATIVE, alpha=1.0, beta=10_000.0, beta_reference=reference)
    verdict = verify(candidates, config)
    if verdict.contact_px is not None:
        scale = reference / 48
        first, second = (largest_component(chosen.mask) for chosen in verdict.objects)
        # Each end lies, along each axis, half a cell and half a pixel from where it is put.
        assert abs(verdict.contact_px - brute_distance(first, second) * scale) <= (
            np.sqrt(2) * (1 + scale)
        )


@needs.with_opencv
@settings(max_examples=60, deadline=None)
@given(triples())
def test_never_more_than_two_and_all_from_the_candidates(candidates):
    verdict = verify(candidates, NATIVE)
    assert len(verdict.objects) == (
        0 if not candidates else 2 if verdict.contact_px is not None else 1
    )
    priorities = [LABELS.index(chosen.label) for chosen in verdict.objects]
    assert priorities == sorted(priorities)
    everything = np.any([c.mask for c in candidates], axis=0) if candidates else None
    for chosen in verdict.objects:
        assert not np.any(chosen.mask & ~everything)


@needs.with_opencv
@settings(max_examples=60, deadline=None)
@given(triples())
def test_label_swap_changes_priority_only(candidates):
    swap = {R: L, L: R, A: A}
    verdict = verify(candidates, NATIVE)
    swapped = verify([replace(c, label=swap[c.label]) for c in candidates], NATIVE)
    assert len(swapped.objects) == len(verdict.objects)
    priority_decided = {'single_by_priority', 'priority_pair'}
    ious = [iou(a.mask, b.mask) for i, a in enumerate(candidates) for b in candidates[:i]]
    tied_merge = len(set(ious)) < len(ious)
    if verdict.rule not in priority_decided and not tied_merge:
        assert swapped.rule == verdict.rule
        key = {chosen.mask.tobytes() for chosen in verdict.objects}
        assert {chosen.mask.tobytes() for chosen in swapped.objects} == key


@needs.with_opencv
@settings(max_examples=60, deadline=None)
@given(triples(), st.integers(-8, 8), st.integers(-8, 8))
def test_translation_moves_the_answer(candidates, dx, dy):
    def moved(c):
        return replace(c, mask=np.roll(c.mask, (dy, dx), (0, 1)))

    verdict = verify(candidates, NATIVE)
    shifted = verify([moved(c) for c in candidates], NATIVE)
    assert same(shifted.objects, [moved(c) for c in verdict.objects])
    assert (shifted.rule, shifted.contact_px) == (verdict.rule, verdict.contact_px)


@needs.with_opencv
@settings(max_examples=60, deadline=None)
@given(triples(), st.sampled_from([20, 96, 352]))
def test_scaling_by_two_changes_nothing(candidates, reference):
    def doubled(c):
        return replace(c, mask=c.mask.repeat(2, 0).repeat(2, 1))

    config = VerificationConfig(beta_reference=reference, min_area=0.002)
    verdict = verify(candidates, config)
    scaled = verify([doubled(c) for c in candidates], config)
    assert same(scaled.objects, [doubled(c) for c in verdict.objects])
    assert (scaled.rule, scaled.contact_px) == (verdict.rule, verdict.contact_px)


@needs.with_opencv
@settings(max_examples=60, deadline=None)
@given(triples())
def test_removing_a_mask_never_adds_an_object(candidates):
    # A mask can be the bridge over which two others merge: those are left out here.
    bridges = {
        id(c)
        for c in candidates
        for other in candidates
        if c is not other and iou(c.mask, other.mask) > 0.3
    }
    count = len(verify(candidates, NATIVE).objects)
    for removed in candidates:
        if id(removed) not in bridges:
            rest = [c for c in candidates if c is not removed]
            assert len(verify(rest, NATIVE).objects) <= count
