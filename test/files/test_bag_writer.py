"""Bags made of videos: topics, stamps, QoS, metadata, refusals."""

import errno
import sqlite3
from pathlib import Path

import needs
import numpy as np
import pytest
import yaml
from tiny_media import impulses, split, write_media

from cs3_ros.collision import NS_PER_S, Frame
from cs3_ros.files import bag_writer
from cs3_ros.files.bag_writer import make_bag
from cs3_ros.files.bags import Bag, BagRecording, typestore
from cs3_ros.files.media import VideoFile
from cs3_ros.files.pcm import SoundChunk, SoundFormat

INTERFACES = Path(__file__).parents[1] / 'interfaces' / 'audio_common_msgs' / 'msg'


@pytest.fixture
def clip(tmp_path):
    """Half a second of video with a click at 0.2 s in stereo."""
    return write_media(tmp_path / 'clip.mkv', sound=impulses(0.5, 44100, [0.2], 2), rate=44100)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_raw_bag_holds_the_very_pixels_and_samples(tmp_path, clip, storage):
    out = make_bag(clip, tmp_path / 'bag', image='raw', storage=storage, start_s=12.5)
    recording = BagRecording(out)
    video = VideoFile(clip, origin_ns=12_500_000_000)
    assert recording.origin_ns == video.origin_ns
    assert recording.size == video.size
    assert recording.sound_format == SoundFormat(44100, 2)
    assert recording.frame_rate == pytest.approx(30, rel=0.1)
    frames, chunks = split(recording)
    want_frames, want_chunks = split(video)
    assert [f.stamp_ns for f in frames] == [f.stamp_ns for f in want_frames]
    for frame, want in zip(frames, want_frames, strict=True):
        np.testing.assert_array_equal(frame.image, want.image)
        assert frame.frame_id == want.frame_id
    assert [c.stamp_ns for c in chunks] == [c.stamp_ns for c in want_chunks]
    for chunk, want in zip(chunks, want_chunks, strict=True):
        np.testing.assert_array_equal(chunk.samples, want.samples)
        assert chunk.rate == want.rate


@needs.with_opencv
def test_bag_and_video_give_one_order(tmp_path, clip):
    out = make_bag(clip, tmp_path / 'bag')
    order = [(type(item), item.stamp_ns) for item in BagRecording(out)]
    assert order == [(type(i), i.stamp_ns) for i in VideoFile(clip, origin_ns=1000 * NS_PER_S)]


@needs.with_opencv
def test_compressed_bag_is_close_and_its_topics_are_as_documented(tmp_path, clip):
    out = make_bag(clip, tmp_path / 'bag')
    bag = Bag(out)
    assert [(t.name, t.msgtype, t.count, t.reliability, t.durability) for t in bag.topics] == [
        ('/cs3/audio', 'audio_common_msgs/msg/AudioDataStamped', 25, 'reliable', 'volatile'),
        ('/cs3/audio_info', 'audio_common_msgs/msg/AudioInfo', 1, 'reliable', 'transient_local'),
        ('/cs3/image/compressed', 'sensor_msgs/msg/CompressedImage', 15, 'reliable', 'volatile'),
    ]
    frames, _ = split(BagRecording(out))
    for frame, want in zip(frames, VideoFile(clip).frames(), strict=True):
        assert np.abs(frame.image.astype(int) - want.image).mean() < 3


@needs.with_opencv
def test_metadata_is_what_jazzy_reads(tmp_path, clip):
    out = make_bag(clip, tmp_path / 'bag')
    metadata = yaml.safe_load((out / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
    assert metadata['version'] == 9
    assert metadata['storage_identifier'] == 'mcap'
    assert metadata['relative_file_paths'] == ['bag.mcap']
    assert metadata['custom_data'] == {'cs3.media_time_0_ns': '1000000000000'}
    assert metadata['starting_time'] == {'nanoseconds_since_epoch': 1_000_000_000_000}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith('.')] == []


@needs.with_opencv
def test_messages_are_stamped_and_announced(tmp_path, clip):
    store = typestore()
    messages = list(Bag(make_bag(clip, tmp_path / 'bag')).messages())
    assert [m.log_ns for m in messages] == sorted(m.log_ns for m in messages)
    seen = set()
    for message in messages:
        content = store.deserialize_cdr(message.data, message.topic.msgtype)
        seen.add(message.topic.name)
        if message.topic.name == '/cs3/audio_info':
            assert '/cs3/audio' not in seen
            assert (content.channels, content.sample_rate) == (2, 44100)
            assert (content.sample_format, content.coding_format) == ('S16LE', 'wave')
            assert content.bitrate == 44100 * 32
            continue
        stamp = content.header.stamp
        assert stamp.sec * NS_PER_S + stamp.nanosec == message.log_ns
        if message.topic.name == '/cs3/audio':
            assert content.header.frame_id == 'microphone'
        else:
            assert content.header.frame_id == 'camera'
            assert content.format == 'rgb8; jpeg compressed bgr8'


@needs.with_opencv
def test_a_video_without_sound_makes_a_bag_without_sound(tmp_path):
    out = make_bag(write_media(tmp_path / 'a.mp4'), tmp_path / 'bag')
    assert [topic.name for topic in Bag(out).topics] == ['/cs3/image/compressed']
    recording = BagRecording(out)
    assert recording.sound_format is None
    assert all(isinstance(item, Frame) for item in recording)


class Long:
    """Seven seconds of sound whose rate changes after six, and one frame."""

    path = Path('long')
    origin_ns = 0
    duration_s = 7.0
    frame_rate = 1.0
    size = (4, 4)
    sound_format = SoundFormat(8000, 1)

    def __iter__(self):
        yield Frame.from_rgb(0, np.zeros((4, 4, 3), np.uint8))
        for second in range(6):
            yield SoundChunk(second * NS_PER_S, 8000, np.zeros((8000, 1), np.float32))
        yield SoundChunk(6 * NS_PER_S, 16000, np.zeros((16000, 2), np.float32))


@needs.with_opencv
def test_audio_info_is_repeated_and_follows_the_sound(tmp_path):
    out = make_bag(Long(), tmp_path / 'bag', start_s=1)
    infos = [m.log_ns / NS_PER_S for m in Bag(out).messages(['/cs3/audio_info'])]
    assert infos == [1, 6, 7]
    _, chunks = split(BagRecording(out))
    assert [(c.rate, c.samples.shape) for c in chunks[-2:]] == [
        (8000, (8000, 1)),
        (16000, (16000, 2)),
    ]


def test_an_existing_folder_is_left_alone(tmp_path, clip):
    (tmp_path / 'bag').mkdir()
    with pytest.raises(FileExistsError, match='bag: exists already; remove it or name another'):
        make_bag(clip, tmp_path / 'bag')


@needs.with_opencv
def test_nothing_is_left_of_a_bag_that_fails(tmp_path):
    class Broken(Long):
        def __iter__(self):
            yield from super().__iter__()
            raise ValueError('the disc has a scratch')

    with pytest.raises(ValueError, match='scratch'):
        make_bag(Broken(), tmp_path / 'bag')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'image': 'png'}, "image 'png': expected compressed or raw"),
        ({'storage': 'bag'}, "storage 'bag': expected mcap or sqlite3"),
        ({'start_s': 0.0}, 'start_s 0.0: expected seconds above 0'),
        ({'start_s': float('nan')}, 'start_s nan: expected seconds'),
        ({'start_s': 2**31 - 2.0}, 'expected seconds above 0 and at most 2147480047'),
        ({'jpeg_quality': 0}, 'jpeg_quality 0: expected 1 to 100'),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_bag(Long(), tmp_path / 'bag', **arguments)


def test_message_types_are_those_of_the_interfaces():
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    names = [
        f'audio_common_msgs/msg/{name}' for name in ('AudioData', 'AudioDataStamped', 'AudioInfo')
    ]
    for name in names:
        text = (INTERFACES / f'{name.rsplit("/", 1)[1]}.msg').read_text()
        store.register(get_types_from_msg(text, name))
    for name in names:
        assert typestore().hash_rihs01(name) == store.hash_rihs01(name)


@needs.with_opencv
def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path, clip):
    left = tmp_path / '.cs3_bag_bag.abcd_123'
    (left / 'bag').mkdir(parents=True)
    for name in ('bag.mcap', 'bag.db3', 'metadata.yaml'):
        (left / 'bag' / name).touch()
    users = tmp_path / '.cs3_bag_bag.mine0000'
    (users / 'bag').mkdir(parents=True)
    (users / 'bag' / 'notes.txt').touch()
    (tmp_path / '.cs3_bag_bag.abcd_124').symlink_to(users)
    (tmp_path / '.cs3_bag_other.abcd_123').mkdir()
    make_bag(clip, tmp_path / 'bag')
    assert not left.exists() and (users / 'bag' / 'notes.txt').exists()
    assert (tmp_path / '.cs3_bag_bag.abcd_124').is_symlink()
    assert (tmp_path / '.cs3_bag_other.abcd_123').is_dir()


@needs.with_opencv
def test_two_processes_do_not_make_one_bag(tmp_path, clip):
    class Slow(VideoFile):
        def __iter__(self):
            with pytest.raises(BlockingIOError, match='another process is making this bag'):
                make_bag(clip, tmp_path / 'bag')
            return super().__iter__()

    make_bag(Slow(clip), tmp_path / 'bag')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['bag', clip.name]


def test_a_link_to_nowhere_exists_already(tmp_path, clip):
    (tmp_path / 'bag').symlink_to(tmp_path / 'nowhere')
    with pytest.raises(FileExistsError, match='exists already'):
        make_bag(clip, tmp_path / 'bag')


@needs.with_opencv
@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_full_disk_leaves_nothing(tmp_path, clip, storage, monkeypatch):
    def full(*given, **more):
        raise sqlite3.OperationalError('database or disk is full')

    def no_space(*given, **more):
        raise OSError(errno.ENOSPC, 'No space left on device')

    fails = full if storage == 'sqlite3' else no_space
    monkeypatch.setattr(bag_writer.Writer, 'write', fails)
    with pytest.raises(OSError, match='full|No space'):
        make_bag(clip, tmp_path / 'bag', storage=storage)
    assert [path.name for path in tmp_path.iterdir()] == [clip.name]
