"""Bags read back: topics found or refused, odd content left out, damaged files."""

import needs

needs.opencv()

import logging
import re
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import ClickRecording, fake_pipeline
from hypothesis import given
from hypothesis import strategies as st
from rosbags.rosbag2 import StoragePlugin, Writer
from tiny_media import split

from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.collision import NS_PER_S, Frame
from cs3_ros.files.bags import (
    AUDIO,
    COMPRESSED,
    INFO,
    ORIGIN_KEY,
    RAW,
    Bag,
    BagMessage,
    BagRecording,
    BagTopic,
    typestore,
)
from cs3_ros.files.message_fields import format_from_info, frame_from_message, sound_from_data
from cs3_ros.files.pcm import SoundFormat, encode
from cs3_ros.offline.run import Run
from cs3_ros.settings import Settings

TYPES = typestore().types
MONO = SoundFormat(8000, 1)


def header(stamp_ns, frame_id='cam'):
    sec, nanosec = divmod(stamp_ns, NS_PER_S)
    stamp = TYPES['builtin_interfaces/msg/Time'](sec=sec, nanosec=nanosec)
    return TYPES['std_msgs/msg/Header'](stamp=stamp, frame_id=frame_id)


def raw_image(stamp_ns, encoding='bgr8', step=20, data=None, size=(6, 2)):
    pixels = np.zeros((2, 20), np.uint8) if data is None else data
    return RAW, TYPES[RAW](
        header=header(stamp_ns),
        height=size[1],
        width=size[0],
        encoding=encoding,
        is_bigendian=0,
        step=step,
        data=pixels.reshape(-1),
    )


def jpeg_image(stamp_ns, cut=0):
    data = cv2.imencode('.jpg', np.full((8, 16, 3), 90, np.uint8))[1].reshape(-1)
    message = TYPES[COMPRESSED](
        header=header(stamp_ns), format='jpeg', data=data[: len(data) - cut]
    )
    return COMPRESSED, message


def sound(stamp_ns, data=bytes(8)):
    audio = TYPES['audio_common_msgs/msg/AudioData'](data=np.frombuffer(data, np.uint8))
    return AUDIO, TYPES[AUDIO](header=header(stamp_ns), audio=audio)


def info(rate=8000, channels=1, sample_format='S16LE', coding_format='wave'):
    return INFO, TYPES[INFO](
        channels=channels,
        sample_rate=rate,
        sample_format=sample_format,
        bitrate=0,
        coding_format=coding_format,
    )


def write_bag(path, messages, storage=StoragePlugin.MCAP):
    """Write (topic, log time, (type, message)) as a bag without custom data."""
    store = typestore()
    with Writer(path, version=9, storage_plugin=storage) as writer:
        connections = {}
        for topic, log_ns, (msgtype, message) in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, msgtype, typestore=store)
            writer.write(connections[topic], log_ns, store.serialize_cdr(message, msgtype))
    return path


def test_topics_of_any_name_are_found(tmp_path):
    path = write_bag(
        tmp_path / 'bag',
        [
            ('/cam/image_raw', 1005, raw_image(2000)),
            ('/mic/audio', 1010, sound(1990)),
            ('/mic/audio_info', 1011, info()),
            ('/cam/image_raw', 1030, raw_image(2030)),
        ],
    )
    recording = BagRecording(path)
    assert recording.image_topic.name == '/cam/image_raw'
    assert recording.sound_format == MONO
    assert recording.origin_ns == 1990, 'without custom data: the first header stamp'
    frames, chunks = split(recording)
    assert [f.stamp_ns for f in frames] == [2000, 2030]
    assert [c.stamp_ns for c in chunks] == [1990], 'AudioInfo that comes late counts from the start'
    assert frames[0].frame_id == 'cam'


def test_padded_bgr_image_is_decoded_when_asked_for(tmp_path):
    rows = np.arange(40, dtype=np.uint8).reshape(2, 20)
    path = write_bag(tmp_path / 'bag', [('/image', 5, raw_image(5, data=rows))])
    frame = next(iter(BagRecording(path)))
    assert 'image' not in vars(frame) and frame.nbytes == 40
    np.testing.assert_array_equal(frame.image, rows[:, :18].reshape(2, 6, 3)[:, :, ::-1])


def test_log_order_rules_over_writing_order(tmp_path):
    messages = [('/image', log, raw_image(log)) for log in (30, 10, 20)]
    for storage in StoragePlugin:
        path = write_bag(tmp_path / storage.name, messages, storage)
        assert [m.log_ns for m in Bag(path).messages()] == [10, 20, 30]


def test_a_single_file_of_a_bag_can_be_read(tmp_path):
    path = write_bag(tmp_path / 'bag', [('/image', 5, raw_image(5))])
    assert BagRecording(path / 'bag.mcap').size == (6, 2)


@pytest.mark.parametrize('storage', StoragePlugin)
def test_a_folder_without_metadata_is_read_by_its_only_file(tmp_path, caplog, storage):
    stored = [('/i', 5, raw_image(5)), ('/n', 5, info()), ('/a', 6, sound(6))]
    path = write_bag(tmp_path / 'bag', stored, storage)
    want = [item.stamp_ns for item in BagRecording(path)]
    (path / 'metadata.yaml').unlink()
    (path / 'notes.txt').touch()
    with caplog.at_level(logging.WARNING):
        recording = BagRecording(path)
        assert [item.stamp_ns for item in recording] == want == [5, 6]
    assert recording.path == path and recording.sound_format == MONO
    assert [record.getMessage() for record in caplog.records] == [
        f'{path}: has no metadata.yaml; its only file, {next(path.glob("bag.*")).name}, is read'
    ]


def test_several_files_without_metadata_are_named_with_the_fix(tmp_path):
    path = write_bag(tmp_path / 'bag', [('/i', 5, raw_image(5))])
    (path / 'metadata.yaml').unlink()
    (path / 'bag.mcap').rename(path / 'bag_1.mcap')
    (path / 'bag_0.db3').touch()
    with pytest.raises(ValueError, match=r'has bag_0.db3, bag_1.mcap and no metadata') as refused:
        Bag(path)
    assert f'`ros2 bag reindex {path}`' in str(refused.value)
    assert BagRecording(path / 'bag_1.mcap').size == (6, 2)


def planes_of(encoding, rgb):
    """The bytes of a picture of one colour, and the bytes of a luma row."""
    height, width = rgb.shape[:2]
    planar = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    luma, (u, v) = planar[: height * width], (planar[height * width], planar[-1])
    count = height * width // (1 if encoding == 'nv24' else 4)
    chroma = [u] * count + [v] * count
    if encoding.startswith('nv'):
        chroma = [v, u] * count if encoding == 'nv21' else [u, v] * count
    return np.concatenate([luma, np.array(chroma, np.uint8)]), width


@pytest.mark.parametrize('encoding', ['nv12', 'nv21', 'nv24', 'i420', 'yuv420'])
def test_a_click_is_found_in_a_bag_of_planar_pictures(tmp_path, encoding):
    clicks = ClickRecording([0.7], duration_s=1.3, rate=16_000)
    stored, colours = [('/n', NS_PER_S, info(16_000))], []
    for item in clicks:
        stamp_ns = NS_PER_S + item.stamp_ns
        if isinstance(item, Frame):
            colours.append(item.image[0, 0])
            data, step = planes_of(encoding, item.image)
            picture = raw_image(stamp_ns, encoding, step, data, clicks.size)
            stored.append(('/i', stamp_ns, picture))
        else:
            stored.append(('/a', stamp_ns, sound(stamp_ns, encode(item.samples))))
    recording = BagRecording(write_bag(tmp_path / 'bag', stored))
    assert recording.size == clicks.size
    (found,) = Run(recording, load_bundle('lite'), fake_pipeline(), Settings())
    assert found.frame_index == 21
    image = found.collision.frame.image.astype(int)
    assert np.abs(image - colours[found.frame_index]).max() <= 3


def test_several_topics_need_a_name(tmp_path):
    path = write_bag(
        tmp_path / 'bag',
        [('/left/image', 1, raw_image(1)), ('/right/image/compressed', 2, jpeg_image(2))],
    )
    with pytest.raises(ValueError, match=r'several fitting topics \(/left/image, .*image_topic'):
        BagRecording(path)
    assert BagRecording(path, image_topic='/right/image/compressed').size == (16, 8)
    with pytest.raises(ValueError, match="no topic '/up/image'; it has /left/image, /right"):
        BagRecording(path, image_topic='/up/image')
    with pytest.raises(ValueError, match='is a sensor_msgs/msg/Image: expected audio_common_msgs'):
        BagRecording(path, image_topic='/left/image', audio_topic='/left/image')


def test_own_names_go_before_others(tmp_path):
    path = write_bag(
        tmp_path / 'bag',
        [('/cs3/image', 1, raw_image(1)), ('/depth/image', 2, raw_image(2, '16UC1'))],
    )
    assert BagRecording(path).image_topic.name == '/cs3/image'


def test_of_two_transports_the_compressed_one_is_taken(tmp_path):
    raw, compressed = ('/cs3/image', 1, raw_image(1)), ('/cs3/image/compressed', 1, jpeg_image(1))
    for name, stored in {'one': [raw, compressed], 'two': [compressed, raw]}.items():
        path = write_bag(tmp_path / name, stored)
        assert BagRecording(path).image_topic.name == '/cs3/image/compressed', 'as the node does'
        assert BagRecording(path, image_topic='/cs3/image').size == (6, 2)


@pytest.mark.parametrize(
    'damage, expected', [('picture', 1990), ('sound', 2000), ('both', 2010), ('unset', 2000)]
)
def test_the_origin_is_the_first_stamp_that_can_be_used(tmp_path, damage, expected):
    picture, heard = raw_image(2000), sound(1990)
    if damage in ('picture', 'both'):
        picture[1].header.stamp.nanosec = 2**32 - 1
    if damage in ('sound', 'both'):
        heard[1].header.stamp.nanosec = NS_PER_S
    if damage == 'unset':
        heard[1].header.stamp.nanosec = 0
    stored = [('/i', 5, picture), ('/a', 6, heard), ('/n', 7, info())]
    stored += [('/i', 8, raw_image(2030)), ('/a', 9, sound(2010))]
    recording = BagRecording(write_bag(tmp_path / 'bag', stored))
    assert recording.origin_ns == expected


def test_a_cut_off_first_message_does_not_end_a_replay(tmp_path, caplog):
    path, store = tmp_path / 'bag', typestore()
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/i', RAW, typestore=store)
        whole = bytes(store.serialize_cdr(raw_image(2000)[1], RAW))
        writer.write(connection, 5, whole[:10])
        writer.write(connection, 6, whole)
    recording = BagRecording(path)
    assert recording.origin_ns == 2000
    with caplog.at_level(logging.WARNING):
        assert [frame.stamp_ns for frame in split(recording)[0]] == [2000]
    assert '10 bytes cannot be read' in caplog.text


def test_an_origin_that_is_no_number_names_the_bag(tmp_path):
    path = tmp_path / 'bag'
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        writer.set_custom_data(ORIGIN_KEY, 'noon')
        connection = writer.add_connection('/i', RAW, typestore=typestore())
        writer.write(connection, 5, typestore().serialize_cdr(raw_image(5)[1], RAW))
    with pytest.raises(ValueError, match="bag: cs3.media_time_0_ns .* is 'noon': expected nanosec"):
        BagRecording(path)


@pytest.mark.parametrize('sec, nanosec', [(5, 10**9), (5, 2**32 - 1), (2**31 - 1, 0)])
def test_stamps_that_the_node_refuses_are_left_out(tmp_path, caplog, sec, nanosec):
    stored = [('/i', 1, raw_image(1)), ('/n', 1, info()), ('/a', 2, sound(2))]
    for topic, message in (('/i', raw_image(3)), ('/a', sound(3))):
        message[1].header.stamp.sec, message[1].header.stamp.nanosec = sec, nanosec
        stored.append((topic, 3, message))
    with caplog.at_level(logging.WARNING):
        frames, chunks = split(BagRecording(write_bag(tmp_path / 'bag', stored)))
    assert [item.stamp_ns for item in (*frames, *chunks)] == [1, 2]
    assert '2 message(s) left out: header stamp of' in caplog.text


def test_no_pictures_is_refused(tmp_path):
    path = write_bag(tmp_path / 'bag', [('/audio', 1, sound(1))])
    with pytest.raises(ValueError, match=r'expected a topic of .*has /audio \(audio_common'):
        BagRecording(path)


def test_sound_without_a_format_needs_one(tmp_path):
    path = write_bag(tmp_path / 'bag', [('/i', 1, raw_image(1)), ('/a', 1, sound(1))])
    with pytest.raises(ValueError, match='/a comes without a topic of .*AudioInfo') as refused:
        BagRecording(path)
    assert '--set audio_rate=48000 --set audio_channels=1' in str(refused.value)
    fmt = SoundFormat(16000, 2, 'F32LE')
    recording = BagRecording(path, sound_format=fmt)
    assert recording.sound_format == fmt
    assert split(recording)[1][0].samples.shape == (1, 2)


@pytest.mark.parametrize('rate, channels', [(16_000, 1), (44_100, 1), (48_000, 1), (48_000, 2)])
def test_the_proposed_format_fits_the_bytes(tmp_path, rate, channels):
    chunk = bytes(2 * channels * (rate // 50))
    stored = [('/a', at, sound(at, chunk)) for at in range(10**9, 2 * 10**9, 20_000_000)]
    path = write_bag(tmp_path / 'bag', [('/i', 1, raw_image(1)), *stored])
    with pytest.raises(ValueError, match='fits its bytes per second') as refused:
        BagRecording(path)
    proposed = f'--set audio_rate={rate} --set audio_channels={channels} --set audio_sample_format='
    assert proposed in str(refused.value)


def test_mp3_is_refused_with_the_fix(tmp_path):
    path = write_bag(
        tmp_path / 'bag',
        [('/i', 1, raw_image(1)), ('/a', 1, sound(1)), ('/n', 1, info(coding_format='mp3'))],
    )
    with pytest.raises(ValueError, match=r"/n: sound coding format 'mp3'.*format:=wave"):
        BagRecording(path)


def test_unreadable_sound_is_left_out_and_reported(tmp_path, caplog):
    messages = [
        ('/i', 1, raw_image(1)),
        ('/n', 1, info()),
        ('/a', 2, sound(2)),
        ('/a', 3, sound(3, bytes(7))),
        ('/a', 4, sound(4)),
        ('/n', 5, info(sample_format='OPUS')),
        ('/a', 6, sound(6)),
        ('/n', 7, info(channels=2)),
        ('/a', 8, sound(8)),
    ]
    recording = BagRecording(write_bag(tmp_path / 'bag', messages))
    with caplog.at_level(logging.WARNING):
        _, chunks = split(recording)
    assert [(c.stamp_ns, c.samples.shape) for c in chunks] == [
        (2, (4, 1)),
        (4, (4, 1)),
        (8, (2, 2)),
    ]
    assert '7 bytes of sound' in caplog.text and "'OPUS'" in caplog.text
    assert 'the last AudioInfo cannot be used' in caplog.text


def test_broken_pictures_are_left_out_and_reported(tmp_path, caplog):
    messages = [('/i', 1, jpeg_image(1, cut=30)), ('/i', 2, jpeg_image(2))]
    recording = BagRecording(write_bag(tmp_path / 'bag', messages))
    assert recording.size == (16, 8)
    with caplog.at_level(logging.WARNING):
        frames, _ = split(recording)
    assert [frame.stamp_ns for frame in frames] == [2] and frames[0].image.shape == (8, 16, 3)
    assert '1 message(s) left out' in caplog.text and 'cut off' in caplog.text


def test_pictures_that_claim_too_much_are_counted_with_one_reason(tmp_path, caplog):
    messages = [('/i', stamp, jpeg_image(stamp)) for stamp in range(1, 6)]
    for _, _, (_, message) in messages[:4]:
        at = message.data.tobytes().find(b'\xff\xc0') + 5
        message.data[at : at + 4] = [117, 48, 117, 48]  # 30000, 30000
    recording = BagRecording(write_bag(tmp_path / 'bag', messages))
    with caplog.at_level(logging.WARNING):
        frames, _ = split(recording)
    assert [frame.stamp_ns for frame in frames] == [5] and recording.refused_frames == 4
    assert '4 message(s) left out' in caplog.text and '30000x30000 pixels' in caplog.text
    with pytest.raises(ValueError, match='not one of 5 pictures .*30000x30000 pixels: expected'):
        BagRecording(recording.path, max_pixels=100)


def test_only_broken_pictures_are_refused(tmp_path):
    path = write_bag(tmp_path / 'bag', [('/i', 1, raw_image(1, 'weird'))])
    with pytest.raises(ValueError, match="not one of 1 pictures can be .* 'weird'"):
        BagRecording(path)


def test_missing_and_damaged_bags_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere: no such bag'):
        Bag(tmp_path / 'nowhere')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'a.mcap').write_bytes(b'hello')
    (tmp_path / 'a.db3').write_bytes(b'hello, this is no database file' * 20)
    (tmp_path / 'a.mp4').write_bytes(b'hello')
    path = write_bag(tmp_path / 'bag', [('/i', 1, raw_image(1))])
    (path / 'metadata.yaml').write_text('rosbag2_bagfile_information: {version: 9}')
    for name in ('empty', 'a.mcap', 'a.db3', 'a.mp4', 'bag'):
        with pytest.raises(ValueError, match=f'{name}: cannot be read as a bag'):
            Bag(tmp_path / name)


def edit_metadata(path: Path, old: str, new: str) -> None:
    text = (path / 'metadata.yaml').read_text()
    assert old in text
    (path / 'metadata.yaml').write_text(text.replace(old, new))


@pytest.mark.parametrize(
    'old, new',
    [
        ('/image', '[1]'),
        ('message_count: 1', 'message_count: many'),
        ('storage_identifier: mcap', 'storage_identifier: ' + '[' * 1000),
        ('version: 9', 'version: &v 9\n  again: *v'),
        ('nanoseconds_since_epoch: 5', 'nanoseconds_since_epoch: {}'),
        ('custom_data:', 'custom_data: [1]\n  other:'),
    ],
)
def test_odd_metadata_is_refused(tmp_path, old, new):
    path = write_bag(tmp_path / 'bag', [('/image', 5, raw_image(5))])
    edit_metadata(path, old, new)
    with pytest.raises(ValueError, match='bag: '):
        list(Bag(path).messages())


@pytest.mark.parametrize(
    'old, new, said',
    [
        ('name: /a', 'name: /b', 'none'),
        ('AudioDataStamped', 'AudioDataStampee', '1 of .*Stampee'),
        ('message_count: 1', 'message_count: 0', '0 of '),
    ],
)
def test_metadata_that_hides_messages_is_told(tmp_path, caplog, old, new, said):
    stored = [('/a', 5, sound(5)), ('/i', 5, raw_image(5)), ('/i', 6, raw_image(6))]
    path = write_bag(tmp_path / 'bag', stored)
    edit_metadata(path, old, new)
    problems = Bag(path).problems
    assert len(problems) == len(caplog.messages) == 1
    assert re.match(rf'has 1 messages of {AUDIO} on /a; its metadata.yaml: {said}', problems[0])


def test_an_origin_of_another_kind_names_the_bag(tmp_path):
    path = write_bag(tmp_path / 'bag', [('/i', 5, raw_image(5))])
    edit_metadata(path, 'custom_data:', f'custom_data: {{{ORIGIN_KEY}: [1]}}\n  other:')
    with pytest.raises(ValueError, match=r"is '\[1\]': expected nanosec"):
        BagRecording(path)


@given(st.data())
def test_a_damaged_file_is_read_or_refused(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / 'damaged'
    if not folder.exists():
        write_bag(folder, [('/i', k, raw_image(k)) for k in range(1, 4)])
        (folder / 'metadata.yaml').unlink()
    whole = (folder / 'damaged.mcap').read_bytes()
    content = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / 'damaged.mcap'
    path.write_bytes(content)
    try:
        list(Bag(path).messages())
    except ValueError:
        assert content != whole


def test_an_empty_bag_has_no_topics(tmp_path):
    bag = Bag(write_bag(tmp_path / 'bag', []))
    assert bag.topics == () and list(bag.messages()) == []
    assert (bag.start_ns, bag.end_ns) == (0, 0)


@given(st.integers(0, 400))
def test_cut_off_messages_are_value_errors(keep):
    store = typestore()
    for topic in (raw_image(5), jpeg_image(5), sound(5), info()):
        msgtype, message = topic
        data = bytes(store.serialize_cdr(message, msgtype))[:keep]
        stored = BagMessage(BagTopic('/t', msgtype, 1), 5, data)
        readers = {INFO: format_from_info, AUDIO: partial(sound_from_data, sound_format=MONO)}
        read = readers.get(msgtype, frame_from_message)
        whole = len(data) == len(store.serialize_cdr(message, msgtype))
        try:
            read(stored.content())
        except ValueError:
            assert not whole
        else:
            assert whole, f'{msgtype} cut to {keep} bytes was taken'


# --- sound without stamps ---


def unstamped_bag(path, *more):
    rng, messages = np.random.default_rng(0), [('/audio_info', 0, info())]
    kind = 'audio_common_msgs/msg/AudioData'
    for k in range(20):
        messages.append(('/image', 1000 + k * 10**8, raw_image(10**9 + k * 10**8)))
        data = rng.integers(0, 255, 1600, np.uint8)  # 100 ms, recorded when it is complete
        recorded_ns = 10**9 + (k + 1) * 10**8
        messages.append(('/audio', recorded_ns, (kind, TYPES[kind](data=data))))
    return write_bag(path, sorted([*messages, *more], key=lambda each: each[1]))


def test_sound_without_stamps_is_taken_at_its_record_where_that_is_allowed(tmp_path, caplog):
    bag = unstamped_bag(tmp_path / 'bag')
    refused = BagRecording(bag)
    assert refused.sound_format is None
    for words in ('/audio is audio_common_msgs/msg/AudioData', 'AudioDataStamped', 'stamps'):
        assert words in refused.refused_sound
    assert 'allow_unstamped' in refused.refused_sound and not caplog.records
    for name in ('', '/audio'):
        recording = BagRecording(bag, audio_topic=name, allow_unstamped=True)
        chunks = [item for item in recording if not isinstance(item, Frame)]
        assert [chunk.stamp_ns for chunk in chunks] == [10**9 + k * 10**8 for k in range(20)]
        assert (recording.origin_ns, recording.refused_sound) == (10**9, '')
    assert 'onsets are as late as what delays the sound' in caplog.text
    with pytest.raises(ValueError, match='--set audio_rate=8000'):
        BagRecording(without_topic(bag, tmp_path / 'other', '/audio_info'), allow_unstamped=True)


def without_topic(bag, out, name):
    topics = [topic for topic in Bag(bag).topics if topic.name != name]
    messages = Bag(bag).messages([topic.name for topic in topics])
    return write_bag(
        out, [(m.topic.name, m.log_ns, (m.topic.msgtype, m.content())) for m in messages]
    )


def test_stamped_sound_goes_before_unstamped(tmp_path):
    bag = unstamped_bag(tmp_path / 'bag', ('/stamped', 5, sound(7 * 10**9)))
    for allowed in (False, True):
        recording = BagRecording(bag, allow_unstamped=allowed)
        assert recording.audio_topic.name == '/stamped' and not recording.refused_sound
    assert BagRecording(bag, audio_topic='/audio').refused_sound
