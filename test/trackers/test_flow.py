"""``FlowTracker`` on drawn pictures: what moves is followed, what leaves is dropped."""

from __future__ import annotations

import needs

needs.opencv()

import cv2
import numpy as np
import pytest

from cs3_ros.collision import Frame
from cs3_ros.files.images import as_jpeg, compressed_frame
from cs3_ros.metrics import iou
from cs3_ros.trackers.flow import FlowConfig, FlowTracker

SIZE = (320, 240)
FRAME_NS = 33_333_333


def texture(seed: int, size: tuple[int, int], colour: tuple[int, int, int]) -> np.ndarray:
    """Smooth noise round a colour, RGB."""
    noise = np.random.default_rng(seed).normal(0, 60, (size[1], size[0], 1)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 2)[..., None] * 4
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


TABLE = texture(1, (640, 480), (120, 110, 100))
FIRST = texture(2, (90, 90), (190, 90, 50))
SECOND = texture(3, (90, 90), (60, 90, 180))


class Scene:
    """Two discs on a table under a moving camera."""

    def __init__(self, first, second, camera=lambda k: (0, 0)) -> None:
        self.paths, self.camera = (first, second), camera

    def at(self, k: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """Picture and the two masks of frame k."""
        x, y = self.camera(k)
        picture = TABLE[120 + y : 120 + y + SIZE[1], 150 + x : 150 + x + SIZE[0]].copy()
        masks = []
        for path, disc in zip(self.paths, (FIRST, SECOND), strict=True):
            mask = np.zeros(picture.shape[:2], np.uint8)
            centre = tuple(int(a - b) for a, b in zip(path(k), (x, y), strict=True))
            cv2.circle(mask, centre, 30, 1, -1)
            patch = np.zeros((SIZE[1] + 200, SIZE[0] + 200, 3), np.uint8)
            left, top = centre[0] + 55, centre[1] + 55
            if 0 <= left < SIZE[0] + 110 and 0 <= top < SIZE[1] + 110:
                patch[top : top + 90, left : left + 90] = disc
            picture[mask > 0] = patch[100:-100, 100:-100][mask > 0]
            for earlier in masks:
                earlier[mask > 0] = False
            masks.append(mask > 0)
        return picture, masks


def follow(scene: Scene, count: int, tracker: FlowTracker | None = None):
    """The last picture's truth and what was found in each frame."""
    tracker = tracker or FlowTracker()
    picture, masks = scene.at(0)
    state = tracker.begin(Frame.from_rgb(1, picture), masks)
    found = []
    for k in range(1, count):
        picture, masks = scene.at(k)
        found.append(tracker.follow(state, Frame.from_rgb(1 + k * FRAME_NS, picture)))
    return masks, found


def still(x: int, y: int):
    return lambda k: (x, y)


def test_what_moves_is_followed_under_a_moving_camera() -> None:
    scene = Scene(
        lambda k: (80 + 4 * k, 90), lambda k: (220 - 2 * k, 160), lambda k: (3 * k, -2 * k)
    )
    truth, found = follow(scene, 25)
    start = scene.at(0)[1]
    for mask, tracked, before in zip(truth, found[-1], start, strict=True):
        assert tracked is not None
        assert iou(tracked.mask, mask) > 0.85 > 0.4 > iou(before, mask)
        assert 0.6 < tracked.confidence <= 1
    first, second = (tracked.mask for tracked in found[-1])
    assert not (first & second).any()


def test_an_object_that_leaves_is_dropped_for_good() -> None:
    out_and_back = lambda k: (80 - 8 * k if k < 20 else 80 - 8 * (40 - k), 120)  # noqa: E731
    _, found = follow(Scene(out_and_back, still(230, 120)), 40)
    there = [frame[0] is not None for frame in found]
    assert there[0] and not any(there[18:])
    assert there == sorted(there, reverse=True)  # it comes back to the picture, not to the track
    assert all(frame[1] is not None for frame in found)


def test_an_object_that_is_covered_loses_confidence() -> None:
    """The second disc slides over the first one and stays there."""
    scene = Scene(still(160, 120), lambda k: (max(260 - 5 * k, 165), 120))
    truth, found = follow(scene, 35)
    assert found[3][0].confidence > 0.8
    covered = found[-1][0]
    assert covered is None or covered.confidence < 0.5
    assert iou(found[-1][1].mask, truth[1]) > 0.7


def test_the_same_frames_give_the_same_masks_whatever_was_decoded_before() -> None:
    scene = Scene(lambda k: (80 + 4 * k, 90), still(220, 160))
    tracker = FlowTracker(FlowConfig(working_pixels=10_000))

    def masks(look: bool) -> list[bytes]:
        state, found = None, []
        for k in range(6):
            picture, truth = scene.at(k)
            frame = compressed_frame(1 + k, '', 'jpeg', as_jpeg(picture))
            if look:
                assert frame.image.shape == (240, 320, 3)
            if state is None:
                state = tracker.begin(frame, truth)
            else:
                found += [each.mask.tobytes() for each in tracker.follow(state, frame)]
        return found

    assert masks(False) == masks(True)


def test_a_large_jpeg_is_decoded_at_the_size_that_is_needed() -> None:
    picture = cv2.resize(TABLE, (1280, 720))
    frame = compressed_frame(1, '', 'jpeg', as_jpeg(picture))
    assert frame.small(1280 * 720).shape == (720, 1280, 3)
    assert frame.small(426 * 240).shape == (360, 640, 3)
    assert frame.small(1).shape == (90, 160, 3)
    assert Frame.from_rgb(1, picture).small(1).shape == (720, 1280, 3)


def test_frames_of_another_size_and_bad_masks_are_refused() -> None:
    picture, masks = Scene(still(80, 90), still(220, 160)).at(0)
    tracker = FlowTracker()
    state = tracker.begin(Frame.from_rgb(1, picture), masks)
    with pytest.raises(ValueError, match='320x240: expected frames of one size'):
        tracker.follow(state, Frame.from_rgb(2, picture[:100]))
    assert all(tracker.follow(state, Frame.from_rgb(3, picture)))  # as if it had not come
    with pytest.raises(ValueError, match='all of one size'):
        tracker.begin(Frame.from_rgb(1, picture), [masks[0], masks[1][:50]])
    with pytest.raises(ValueError, match='expected at least one'):
        tracker.begin(Frame.from_rgb(1, picture), [])


def test_an_empty_mask_is_lost_and_the_whole_picture_is_none() -> None:
    picture, masks = Scene(still(80, 90), still(220, 160)).at(0)
    tracker = FlowTracker()
    state = tracker.begin(
        Frame.from_rgb(1, picture), [masks[0], np.zeros_like(masks[0]), np.ones_like(masks[0])]
    )
    found = tracker.follow(state, Frame.from_rgb(2, picture))
    assert iou(found[0].mask, masks[0]) > 0.95
    assert found[1] is None and found[2] is None


def test_blank_and_tiny_pictures_do_not_break_it() -> None:
    blank = np.full((16, 24, 3), 127, np.uint8)
    mask = np.zeros((16, 24), bool)
    mask[4:12, 6:16] = True
    tracker = FlowTracker()
    state = tracker.begin(Frame.from_rgb(1, blank), [mask])
    (found,) = tracker.follow(state, Frame.from_rgb(2, blank))
    assert found is not None and iou(found.mask, mask) > 0.8
