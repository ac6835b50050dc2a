"""The overlay video: stills stand, sound goes on, odd frames are left out."""

import needs

needs.opencv()

import logging

import numpy as np
import pytest
from tiny_media import impulses, sample_times_s, split, write_media

from cs3_ros.collision import NS_PER_S, Frame
from cs3_ros.drawing.overlay_video import write_overlay_video
from cs3_ros.files.images import save_image
from cs3_ros.files.media import VideoFile
from cs3_ros.files.pcm import SoundFormat


def grey(width, height):
    return np.full((height, width, 3), 128, np.uint8)


@pytest.mark.parametrize('size', [(64, 48), (65, 49)])
def test_overlay_stands_after_the_event_and_sound_goes_on(tmp_path, size):
    source = write_media(
        tmp_path / 'in.mkv',
        frames=45,
        size=size,
        sound=impulses(1.5, 48000, [0.5]),
        picture=lambda index, size: grey(*size),
        video_codec='ffv1',
    )
    video = VideoFile(source, origin_ns=7 * NS_PER_S)
    still = tmp_path / 'still.png'
    save_image(still, np.broadcast_to(np.uint8([255, 140, 0]), (*video.size[::-1], 3)))
    stills = {video.origin_ns + NS_PER_S // 2: still}
    write_overlay_video(tmp_path / 'out.mp4', video, stills, hold_s=0.4)
    frames, chunks = split(VideoFile(tmp_path / 'out.mp4'))
    assert len(frames) == 45
    coloured = [np.ptp(f.image.astype(int).mean((0, 1))) > 5 for f in frames]
    shown = [f.stamp_ns / NS_PER_S for f, flag in zip(frames, coloured, strict=True) if flag]
    assert shown[0] == pytest.approx(0.5, abs=1e-3)
    assert shown[-1] == pytest.approx(0.9 - 1 / 30, abs=1e-3) and len(shown) == 12
    assert sample_times_s(chunks, 0.3) == pytest.approx([0.5], abs=1e-3)


def test_a_video_with_a_heading_and_a_flash(tmp_path):
    source = write_media(
        tmp_path / 'in.mkv', frames=12, picture=lambda index, size: grey(*size), video_codec='ffv1'
    )
    write_overlay_video(
        tmp_path / 'out.mp4',
        VideoFile(source),
        {},
        size=(192, 144),
        heading='what hit what?',
        onsets=[NS_PER_S // 6],
    )
    video = VideoFile(tmp_path / 'out.mp4')
    band = video.size[1] - 144
    assert video.size[0] == 192 and 8 <= band < 40
    images = [frame.image.astype(int) for frame in video.frames()]
    assert np.abs(images[0][band + 20 : -20, 20:-20] - 128).max() < 8, 'the picture is whole'
    assert all((image[:band].max() > 150) and np.median(image[:band]) < 60 for image in images)
    yellow = [image[-1, :, 0].mean() - image[-1, :, 2].mean() > 60 for image in images]
    assert yellow == [5 <= k < 10 for k in range(12)], '0.15 s from the onset on'


class Odd:
    """Frames of changing size, a broken one and one out of order."""

    path = None
    origin_ns = 0
    duration_s = 0.2
    frame_rate = 30.0
    size = (64, 48)
    sound_format = SoundFormat(8000, 1)

    def __iter__(self):
        yield Frame.from_rgb(0, grey(64, 48))
        yield Frame.from_rgb(40_000_000, grey(32, 24))
        yield Frame(80_000_000, b'', self.refuse)
        yield Frame.from_rgb(20_000_000, grey(64, 48))
        yield Frame.from_rgb(120_000_000, grey(64, 48))

    @staticmethod
    def refuse(payload):
        raise ValueError('broken')


def test_odd_frames_do_not_end_the_video(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        write_overlay_video(tmp_path / 'out.mp4', Odd(), {})
    frames = list(VideoFile(tmp_path / 'out.mp4').frames())
    assert [f.stamp_ns for f in frames] == [0, 40_000_000, 120_000_000]
    assert 'lacks 2 frame(s)' in caplog.text


def test_a_large_recording_becomes_a_video_that_players_play(tmp_path, monkeypatch):
    monkeypatch.setattr('cs3_ros.drawing.overlay_video.MAX_VIDEO_PIXELS', 64 * 48 // 4)
    source = VideoFile(write_media(tmp_path / 'in.mp4', frames=3))
    write_overlay_video(tmp_path / 'out.mp4', source, {})
    assert source.size == (64, 48) and VideoFile(tmp_path / 'out.mp4').size == (32, 24)
