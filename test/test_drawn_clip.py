"""The drawn clip: its truth agrees with its pixels and its sound."""

import needs

needs.opencv()

import numpy as np
import pytest
from drawn_clip import FRAME_RATE, HEIGHT, SECONDS, WIDTH, make_drawn_clip
from tiny_media import split

from cs3_ros.collision import NS_PER_S
from cs3_ros.files.media import VideoFile


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    return make_drawn_clip(tmp_path_factory.mktemp('drawn') / 'clip.mp4')


@pytest.fixture(scope='module')
def content(clip):
    return split(VideoFile(clip.path))


def test_it_is_a_clip_as_any_other(clip, content):
    video = VideoFile(clip.path)
    assert video.size == (WIDTH, HEIGHT) and video.frame_rate == FRAME_RATE
    assert len(content[0]) == SECONDS * FRAME_RATE


def test_clicks_are_where_it_says(clip, content):
    chunks = content[1]
    samples = np.abs(np.concatenate([chunk.samples for chunk in chunks]))[:, 0]
    rate = chunks[0].rate
    for time_s, frame in zip(clip.click_times_s, clip.click_frames, strict=True):
        assert frame == round(time_s * FRAME_RATE)
        first = round((time_s - 0.3) * rate)
        loudest = (first + samples[first : first + round(0.6 * rate)].argmax()) / rate
        assert loudest == pytest.approx(time_s, abs=1e-3)
        before = samples[first : round((time_s - 0.01) * rate)]
        assert samples[round(loudest * rate)] > 20 * np.sqrt((before**2).mean())


def test_masks_show_the_objects_in_contact(clip, content):
    red_blue = []
    for frame, (right, left) in zip(clip.click_frames, clip.masks, strict=True):
        assert right.shape == left.shape == (HEIGHT, WIDTH) and not (right & left).any()
        assert right.sum() > 4000 and left.sum() > 4000
        gap = np.flatnonzero(right.any(0))[0] - np.flatnonzero(left.any(0))[-1]
        assert gap == 1, 'the right one begins where the left one ends'
        image = content[0][frame].image.astype(int)
        red_blue.append([(image[mask][:, 0] - image[mask][:, 2]).mean() for mask in (right, left)])
    assert (np.array(red_blue) > [30, -1000]).all() and (np.array(red_blue) < [1000, -30]).all()


def test_objects_are_apart_between_the_clicks(clip, content):
    right, _ = clip.masks[0]
    image = content[0][(clip.click_frames[0] + clip.click_frames[1]) // 2].image.astype(int)
    inner = np.flatnonzero(right.any(0))[:30]
    rows = np.flatnonzero(right.any(1))
    patch = image[rows[0] : rows[-1], inner[0] : inner[-1]]
    assert np.abs(patch[:, :, 0] - patch[:, :, 2]).mean() < 30, 'table, not tin'


def test_the_stamps_count_from_zero(content):
    assert content[0][0].stamp_ns == 0 and content[1][0].stamp_ns == 0
    assert content[0][30].stamp_ns == NS_PER_S
