"""Written videos: times, odd sizes, gaps in the sound, refusals."""

import numpy as np
import pytest
from tiny_media import brightness, grey_ramp, impulses, split

from cs3_ros.collision import NS_PER_S
from cs3_ros.files.media import VideoFile
from cs3_ros.files.pcm import SoundChunk, SoundFormat
from cs3_ros.files.video_writer import VideoWriter


@pytest.mark.parametrize('ending', ['mp4', 'mkv', 'mov'])
@pytest.mark.parametrize('size', [(65, 49), (64, 48)])
def test_writer_round_trip(tmp_path, ending, size):
    path = tmp_path / f'out.{ending}'
    sound = impulses(0.5, 44100, [0.25], 2)
    with VideoWriter(path, size, 30.0, SoundFormat(44100, 2)) as writer:
        for index in range(15):
            writer.write(round(index * NS_PER_S / 30), grey_ramp(index, size))
            chunk = sound[index * 1470 : (index + 1) * 1470]
            writer.write_sound(SoundChunk(round(index * NS_PER_S / 30), 44100, chunk))
    video = VideoFile(path)
    assert video.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    frames, chunks = split(video)
    assert [f.stamp_ns / NS_PER_S for f in frames] == pytest.approx(np.arange(15) / 30, abs=1e-3)
    np.testing.assert_allclose([brightness(f) for f in frames], np.arange(15) * 8, atol=6)
    samples = np.concatenate([c.samples for c in chunks])[:, 0]
    assert chunks[0].stamp_ns / NS_PER_S + np.abs(samples).argmax() / 44100 == pytest.approx(
        0.25, abs=1e-3
    )


def test_writer_fills_gaps_and_takes_any_rate_and_channels(tmp_path):
    path = tmp_path / 'out.mp4'
    click = np.zeros((220, 4), np.float32)
    click[100] = 0.9
    with VideoWriter(path, (64, 48), 15.0, SoundFormat(22000, 4)) as writer:
        for index in range(8):
            writer.write(round(index * NS_PER_S / 15), grey_ramp(index))
        for start_s in (0.1, 0.1, 0.4):  # the second one overlaps and is dropped
            writer.write_sound(SoundChunk(round(start_s * NS_PER_S), 22000, click))
    chunks = list(VideoFile(path).sound())
    samples = np.concatenate([c.samples for c in chunks])[:, 0]
    loud = np.flatnonzero(np.abs(samples) > 0.3) / chunks[0].rate
    assert {round(time, 2) for time in loud} == {0.1, 0.4}


def test_writer_refuses_what_was_not_announced(tmp_path):
    with VideoWriter(tmp_path / 'out.mp4', (64, 48)) as writer:
        writer.write(0, grey_ramp(0))
        with pytest.raises(ValueError, match='frame of 32x48: expected 64x48'):
            writer.write(1, grey_ramp(0, (32, 48)))
        with pytest.raises(ValueError, match='sound of 8000 Hz: expected none'):
            writer.write_sound(SoundChunk(0, 8000, np.zeros((10, 1), np.float32)))
