"""Video files: true times, upright pixels, exact sound, and refusals that say why."""

import gc
import json
import logging
import os
import struct
import zlib

import av
import needs
import numpy as np
import pytest
from shared_data import shared_data
from tiny_media import brightness, grey_ramp, impulses, sample_times_s, split, write_media

from cs3_ros.collision import NS_PER_S
from cs3_ros.files.images import as_jpeg
from cs3_ros.files.media import VideoFile
from cs3_ros.files.pcm import SoundChunk, SoundFormat


@pytest.mark.parametrize('ending', ['mp4', 'mov', 'mkv'])
def test_frames_and_sound_have_their_times(tmp_path, ending):
    codec = dict(sound_codec='aac', sound_format='fltp') if ending == 'mp4' else {}
    sound = impulses(0.5, 44100, [0.2], channels=2)
    path = write_media(tmp_path / f'a.{ending}', sound=sound, rate=44100, **codec)
    video = VideoFile(path)
    assert video.size == (64, 48) and video.frame_rate == pytest.approx(30)
    assert video.sound_format == SoundFormat(44100, 2)
    assert video.duration_s == pytest.approx(0.5, abs=0.05)
    frames, chunks = split(video)
    tick = 1e-3 if ending == 'mkv' else 1e-9  # Matroska rounds times to milliseconds
    assert [f.stamp_ns / NS_PER_S for f in frames] == pytest.approx(np.arange(15) / 30, abs=tick)
    np.testing.assert_allclose([brightness(f) for f in frames], np.arange(15) * 8, atol=4)
    assert {len(c.samples) for c in chunks[:-1]} == {882}
    assert np.diff([c.stamp_ns for c in chunks]).tolist() == [20_000_000] * (len(chunks) - 1)
    times = np.concatenate([c.samples for c in chunks])
    assert abs(np.abs(times[:, 0]).argmax() / 44100 - 0.2) < 1e-4
    if ending != 'mp4':
        np.testing.assert_array_equal(np.rint(times * 32768)[: len(sound)], np.rint(sound * 32767))


def test_one_stream_in_time_order(tmp_path):
    path = write_media(tmp_path / 'a.mkv', sound=impulses(0.5, 48000, [0.1]))
    stamps = [(item.stamp_ns, isinstance(item, SoundChunk)) for item in VideoFile(path)]
    assert stamps == sorted(stamps)


def test_variable_frame_rate_keeps_true_times(tmp_path):
    stamps_s = [0, 0.01, 0.2, 0.25, 0.7, 0.75]
    path = write_media(tmp_path / 'a.mp4', frames=6, stamps_s=stamps_s)
    frames = list(VideoFile(path).frames())
    assert [f.stamp_ns / NS_PER_S for f in frames] == pytest.approx(stamps_s, abs=1e-6)


@pytest.mark.parametrize('degrees', [0, 90, 180, 270])
@pytest.mark.parametrize('mirror', [False, True])
def test_rotated_video_is_shown_upright(tmp_path, degrees, mirror):
    path = write_media(tmp_path / 'a.mp4', frames=2, rotation=(degrees, mirror))
    want = np.rot90(grey_ramp(1), degrees // 90)
    want = want[:, ::-1] if mirror else want
    video = VideoFile(path)
    image = list(video.frames())[1].image
    assert image.shape == want.shape and video.size == (want.shape[1], want.shape[0])
    assert np.abs(image.astype(int) - want).mean() < 6
    assert image.flags.c_contiguous


def test_no_sound_is_no_error(tmp_path):
    video = VideoFile(write_media(tmp_path / 'a.mp4'))
    assert video.sound_format is None
    frames, chunks = split(video)
    assert len(frames) == 15 and chunks == []


@pytest.mark.parametrize(
    ('codec', 'sound_format'), [('pcm_f32le', 'flt'), ('pcm_u8', 'u8'), ('flac', 's32')]
)
def test_sound_of_any_sample_format_becomes_16_bit(tmp_path, codec, sound_format):
    path = write_media(
        tmp_path / 'a.mkv',
        sound=impulses(0.2, 16000, [0.1], 2),
        rate=16000,
        sound_codec=codec,
        sound_format=sound_format,
    )
    samples = np.concatenate([c.samples for c in VideoFile(path).sound()])
    assert samples.dtype == np.float32 and samples.shape == (3200, 2)
    assert samples[1600] == pytest.approx(0.9, abs=0.01)
    assert np.abs(np.delete(samples, 1600, 0)).max() < 0.01
    np.testing.assert_array_equal(samples * 32768, np.rint(samples * 32768))


def test_sound_that_starts_late(tmp_path):
    path = write_media(tmp_path / 'a.mkv', sound=impulses(0.3, 48000, [0.0]), sound_at_s=0.125)
    chunks = list(VideoFile(path).sound())
    assert chunks[0].stamp_ns == 125_000_000
    assert sample_times_s(chunks) == pytest.approx([0.125])


def test_video_that_starts_late_keeps_its_distance_to_the_sound(tmp_path):
    stamps_s = np.arange(5) / 30 + 0.25
    path = write_media(
        tmp_path / 'a.mkv', frames=5, stamps_s=stamps_s, sound=impulses(0.5, 48000, [0.3])
    )
    frames, chunks = split(VideoFile(path))
    assert frames[0].stamp_ns == 250_000_000
    assert sample_times_s(chunks) == pytest.approx([0.3])


def test_a_common_late_start_is_media_time_0(tmp_path):
    stamps_s = np.arange(5) / 30 + 2.0
    path = write_media(
        tmp_path / 'a.mkv',
        frames=5,
        stamps_s=stamps_s,
        sound=impulses(0.2, 48000, [0.1]),
        sound_at_s=2.04,
    )
    frames, chunks = split(VideoFile(path))
    assert frames[0].stamp_ns == 0
    assert sample_times_s(chunks) == pytest.approx([0.14])


def test_a_gap_in_the_sound_stays_a_gap_and_is_told(tmp_path):
    first, second = impulses(0.1, 48000, [0.05]), impulses(0.1, 48000, [0.05])
    path = write_media(tmp_path / 'a.mkv', sound=[(0, first), (0.3, second)])
    video = VideoFile(path)
    chunks = list(video.sound())
    assert sample_times_s(chunks) == pytest.approx([0.05, 0.35], abs=1e-3)
    assert video.problems == ['1 gap(s) in its sound, 0.200 s in all']
    gaps = [
        b.stamp_ns - a.stamp_ns - len(a.samples) * NS_PER_S / a.rate
        for a, b in zip(chunks, chunks[1:], strict=False)
    ]
    assert sorted(gaps)[-1] == pytest.approx(0.2 * NS_PER_S, abs=1e6)
    assert sorted(gaps)[-2] == 0


def test_priming_before_time_0_is_cut_away(tmp_path):
    # AAC starts 1024 samples before its first sound; mp4 says so, and the click stays in place
    path = tmp_path / 'a.mp4'
    sound = impulses(0.5, 48000, [0.1])
    write_media(path, sound=sound, sound_codec='aac', sound_format='fltp')
    chunks = list(VideoFile(path).sound())
    assert chunks[0].stamp_ns == 0
    samples = np.concatenate([c.samples for c in chunks])[:, 0]
    assert np.abs(samples).argmax() == 4800


def test_a_frame_goes_with_its_last_reference(tmp_path):
    path = write_media(tmp_path / 'a.mp4', frames=8, rotation=(90, False))
    gc.disable()
    try:
        count = sum(frame.image.any() for frame in VideoFile(path).frames())
        kept = [each for each in gc.get_objects() if isinstance(each, av.VideoFrame)]
        assert count == 8 and len(kept) <= 2
    finally:
        gc.enable()


def test_frames_are_decoded_one_after_the_other(tmp_path):
    video = VideoFile(write_media(tmp_path / 'a.mp4', frames=30))
    frame = next(iter(video))
    assert 'image' not in vars(frame)
    assert frame.nbytes >= 64 * 48 * 3 // 2
    assert frame.frame_id == 'camera'


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.mp4: no such video file'):
        VideoFile(tmp_path / 'nowhere.mp4')


@pytest.mark.parametrize('content', [b'', b'hello', bytes(5000)])
def test_rubbish_is_refused(tmp_path, content):
    path = tmp_path / 'a.mp4'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='a.mp4: cannot be read .*expected a media file'):
        VideoFile(path)


def test_sound_only_is_refused(tmp_path):
    path = write_media(tmp_path / 'a.mkv', frames=0, sound=impulses(0.2, 48000, [0.1]))
    with pytest.raises(ValueError, match='has no video track'):
        VideoFile(path)


def test_a_cut_off_file_gives_what_it_holds(tmp_path, caplog):
    path = write_media(tmp_path / 'a.mkv', frames=60, size=(320, 240))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        frames = list(VideoFile(path).frames())
    assert 10 < len(frames) < 60


def test_broken_packets_are_left_out_and_reported(tmp_path, caplog):
    path = write_media(tmp_path / 'a.mov', frames=30, video_codec='png')
    data = bytearray(path.read_bytes())
    start = data.find(b'\x89PNG', len(data) // 2)
    data[start : start + 60] = bytes(60)
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        frames = list(VideoFile(path).frames())
    assert len(frames) == 29
    assert '1 broken video packet(s) left out' in caplog.text


def test_a_video_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = write_media(tmp_path / 'a.mkv')
    assert VideoFile(path, max_pixels=64 * 48).size == (64, 48)
    monkeypatch.setattr(VideoFile, 'frames', None)
    with pytest.raises(ValueError, match='a.mkv: video of 64x48 pixels: expected at most 0.003071'):
        VideoFile(path, max_pixels=64 * 48 - 1)


def test_a_container_that_lies_about_the_size_is_not_believed(tmp_path):
    """Its header says 64x48, the pictures inside are as large as 2 GB would hold."""
    path = write_media(tmp_path / 'a.mov', frames=3, video_codec='png')
    data = path.read_bytes()
    start = data.find(b'\x89PNG')
    header = data[start + 12 : start + 29]  # IHDR and its fields
    claim = b'IHDR' + struct.pack('>II', 30_000, 30_000) + header[12:]
    checked = [part + struct.pack('>I', zlib.crc32(part)) for part in (header, claim)]
    assert data.count(checked[0]) == 3
    path.write_bytes(data.replace(*checked))
    with pytest.raises(
        ValueError, match='not one frame can be decoded.* 50 megapixels .frames.max'
    ):
        VideoFile(path)


@needs.with_opencv
def test_pictures_that_grow_in_the_middle_are_left_out_and_counted(tmp_path, caplog):
    small, large = (as_jpeg(np.full((*size, 3), 90, np.uint8)) for size in [(48, 64), (2048, 2560)])
    path = tmp_path / 'a.mjpeg'
    path.write_bytes(small * 4 + large * 4 + small * 4)
    video = VideoFile(path, max_pixels=5_000_000)
    with caplog.at_level(logging.WARNING):
        assert len(list(video.frames())) == 8
    assert video.refused_frames == 4
    assert '4 frame(s) left out, damaged or of more than 5 megapixels' in caplog.text
    assert len(list(VideoFile(path).frames())) == 12


def test_real_clips_have_their_times():
    for folder in sorted(shared_data('real_clips').iterdir()):
        facts = json.loads((folder / 'clip.json').read_text())
        frames, chunks = split(VideoFile(folder / 'clip.mp4'))
        assert [f.stamp_ns for f in frames] == [round(k * NS_PER_S / 30) for k in range(69)]
        samples = np.abs(np.concatenate([c.samples for c in chunks])).max(1)
        # The files do not declare the 1024 samples of AAC priming (their edit list starts at 0),
        # so every player and decoder gives the sound this much later than the source had it.
        delay_s = 1024 / facts['audio_rate']
        peak_s = samples.argmax() / facts['audio_rate']
        assert peak_s - delay_s == pytest.approx(facts['audio_peak_s'], abs=2e-3), folder.name


def recorded(folder, ending):
    """A clip of 60 frames and two seconds of sound in a container."""
    codecs = {
        'webm': dict(video_codec='libvpx', sound_codec='libopus', sound_format='flt'),
        'ts': dict(video_codec='libx264', sound_codec='aac', sound_format='fltp'),
        'mp4': dict(video_codec='libx265', sound_codec='aac', sound_format='fltp'),
    }
    sound = impulses(2.0, 48000, [0.5])
    return write_media(folder / f'a.{ending}', frames=60, sound=sound, **codecs.get(ending, {}))


@pytest.mark.parametrize('ending', ['mp4', 'mov', 'mkv', 'webm', 'avi', 'ts'])
def test_containers_are_alike(tmp_path, caplog, ending):
    video = VideoFile(recorded(tmp_path, ending))
    frames, chunks = split(video)
    assert len(frames) == 60 and video.sound_format == SoundFormat(48000, 1)
    assert sum(len(c.samples) for c in chunks) == pytest.approx(96_000, abs=2048), (
        'a coder of sound fills its last packet'
    )
    assert video.problems == [] and caplog.messages == []


def test_a_raw_stream_has_frames(tmp_path):
    video = VideoFile(write_media(tmp_path / 'a.hevc', video_codec='libx265'))
    assert len(split(video)[0]) == 15 and video.problems == []


@pytest.mark.parametrize('share', [0.3, 0.6, 0.9])
@pytest.mark.parametrize('ending', ['mkv', 'webm', 'ts'])
def test_a_file_cut_short_is_told(tmp_path, caplog, ending, share):
    path = recorded(tmp_path, ending)
    path.write_bytes(path.read_bytes()[: round(path.stat().st_size * share) // 188 * 188 + 50])
    video = VideoFile(path)
    frames, _ = split(video)
    assert any(problem.startswith('cut off: ') for problem in video.problems)
    if ending != 'ts':  # which declares no end
        assert f'ends early: {len(frames)} of 60 frames' in video.problems
    assert caplog.messages == [f'{path}: {problem}' for problem in video.problems]
    list(video)
    assert len(set(video.problems)) == len(video.problems), 'told once'


def test_tables_that_do_not_fit_are_told(tmp_path):
    path = recorded(tmp_path, 'mp4')
    data = bytearray(path.read_bytes())
    place = data.find(b'stsz') + 15
    data[place] -= 30
    path.write_bytes(data)
    video = VideoFile(path)
    list(video)
    assert any('of its 30 samples' in problem for problem in video.problems)


def test_a_wrong_checksum_of_matroska_is_told(tmp_path):
    path = recorded(tmp_path, 'mkv')
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    video = VideoFile(path)
    list(video)
    assert any('checksum' in problem for problem in video.problems)


def test_claimed_samples_are_bounded(tmp_path):
    path = recorded(tmp_path, 'mp4')
    data = bytearray(path.read_bytes())
    place = data.find(b'stsz') + 8
    data[place : place + 8] = bytes([0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF])
    path.write_bytes(data)
    with pytest.raises(ValueError, match='a.mp4: .*claims 4294967295 samples'):
        VideoFile(path)


@pytest.mark.parametrize(
    'name, text',
    [
        ('a.ffconcat', 'ffconcat version 1.0\nfile {clip}\n'),
        ('a.mp4', 'ffconcat version 1.0\nfile {clip}\n'),
        ('a.m3u8', '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{clip}\n'),
        ('a.sdp', 'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 5000 RTP/AVP 96\n'),
    ],
)
def test_playlists_are_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text.format(clip=write_media(tmp_path / 'clip.mkv').name))
    with pytest.raises(ValueError, match=f'{name}: cannot be read'):
        VideoFile(tmp_path / name)


def test_only_regular_files_with_names_that_are_text(tmp_path):
    os.mkfifo(tmp_path / 'pipe.mp4')
    (tmp_path / 'zero.mp4').symlink_to('/dev/zero')
    (tmp_path / 'loop.mp4').symlink_to('loop.mp4')
    odd = tmp_path / os.fsdecode(b'odd\xff.mp4')
    write_media(tmp_path / 'a.mp4').rename(odd)
    for path, reason in {
        tmp_path / 'pipe.mp4': 'is no regular file',
        tmp_path / 'zero.mp4': 'is no regular file',
        tmp_path: 'is no regular file',
        tmp_path / 'loop.mp4': 'is no video file',
        odd: 'no UTF-8',
    }.items():
        with pytest.raises(ValueError, match=reason):
            VideoFile(path)
