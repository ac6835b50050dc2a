"""Videos whose tracks have different clocks: read in their own time, told once, never endless."""

from __future__ import annotations

import logging

import pytest
from tiny_media import impulses, sample_times_s, split, write_media

from cs3_ros.files.media import VideoFile

SOUND = impulses(0.5, 16_000, (0.25,))


@pytest.mark.parametrize('suffix', ['mkv', 'mov'])
@pytest.mark.parametrize('late_s', [30.0, 86_400.0])
def test_sound_far_behind_the_pictures(tmp_path, caplog, suffix, late_s):
    path = write_media(
        tmp_path / f'a.{suffix}', frames=15, sound=SOUND, sound_at_s=late_s, rate=16_000
    )
    video = VideoFile(path, origin_ns=10**12)
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert f'lie {late_s - 0.5:.0f} s apart' in record.getMessage()
    frames, sound = split(video)
    assert len(frames) == 15 and video.duration_s == pytest.approx(0.5, abs=0.1)
    assert sample_times_s(sound) == pytest.approx([1000.25], abs=1e-3)


def test_pictures_far_behind_the_sound(tmp_path, caplog):
    stamps_s = [1_749_000_000 + index / 30 for index in range(15)]
    path = write_media(tmp_path / 'a.mkv', frames=15, stamps_s=stamps_s, sound=SOUND, rate=16_000)
    frames, sound = split(VideoFile(path))
    assert 'apart' in caplog.text
    assert frames[0].stamp_ns == 0 and frames[-1].stamp_ns == pytest.approx(14 / 30 * 1e9, abs=2e6)
    assert sample_times_s(sound) == pytest.approx([0.25], abs=1e-3)


@pytest.mark.parametrize('sound_at_s', [0.0, 0.4, 2.0])
def test_sound_that_begins_a_little_later_stays_where_it_is(tmp_path, caplog, sound_at_s):
    path = write_media(
        tmp_path / 'a.mkv', frames=15, sound=SOUND, sound_at_s=sound_at_s, rate=16_000
    )
    _, sound = split(VideoFile(path))
    assert sample_times_s(sound) == pytest.approx([0.25 + sound_at_s], abs=2e-3)
    assert 'apart' not in caplog.text


def test_sound_that_begins_late_in_a_long_video_stays_where_it_is(tmp_path, caplog):
    """It was switched on later: both tracks end together."""
    path = write_media(tmp_path / 'a.mkv', frames=300, sound=SOUND, sound_at_s=9.0, rate=16_000)
    _, sound = split(VideoFile(path))
    assert sample_times_s(sound) == pytest.approx([9.25], abs=2e-3) and 'apart' not in caplog.text
