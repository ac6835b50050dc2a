"""Odd input and faults through the node's topics: converted, repaired or refused, and counted.

Masks are tracked throughout, as in every bundle of ours.
"""

from __future__ import annotations

import needs

needs.ros()
needs.opencv()

import re
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from fakes import (
    audio_stamped,
    blocks,
    bright_pipeline,
    click_sound,
    clip_messages,
    fake_pipeline,
    info_message,
    jpeg_message,
    picture_message,
    sound_bytes,
    sound_message,
    sound_messages,
    stamp_ns,
)
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger
from vision_msgs.msg import Classification

from cs3_ros.files.encodings import ENCODINGS
from cs3_ros.ros import active, node
from cs3_ros.ros.messages import stamp_to_ns
from cs3_ros.trackers.flow import FlowTracker
from cs3_ros.trigger.onset import DetectedOnset, OnsetConfig
from cs3_ros.trigger.stream import CollisionStream

RATE = 48_000


def onset_times(onsets: list[Classification]) -> list[float]:
    return [(stamp_to_ns(onset.header.stamp) - stamp_ns(0)) / 1e9 for onset in onsets]


@pytest.fixture
def rig(rig):
    """Makes rigs whose nodes track."""

    def make(factory: Callable[..., Any] | None = None, **parameters: Any) -> Any:
        def tracking(bundle: Any, settings: Any) -> Any:
            pipeline = factory(bundle, settings) if factory else fake_pipeline()
            pipeline.tracker = FlowTracker()
            return pipeline

        return rig(tracking, **parameters)

    yield make
    threads = [thread.name for thread in threading.enumerate()]
    assert threads.count('cs3_tracking') <= 1, 'one that was deactivated goes on'


def lives(rig, start_s: float = 100.0) -> bool:
    """The node still answers a click, and tracks, no matter what it was given before."""
    topics = ('collision_masks', 'tracked_masks')
    heard = [rig.heard.get(topic) or rig.listen(Image, topic) for topic in topics]
    compressed = rig.peer.count_publishers('image/compressed') > 0
    picture = jpeg_message if compressed else picture_message
    rig.send(*clip_messages(start_s=start_s, picture=picture))
    due = stamp_ns(start_s), stamp_ns(start_s + 0.7)

    def newest(messages: list[Image]) -> int:
        return stamp_to_ns(messages[-1].header.stamp) if messages else 0

    return bool(rig.until(lambda: all(map(lambda m, ns: newest(m) >= ns, heard, due))))


# ---- pictures that are converted ------------------------------------------------------------


def raw(picture: Any, encoding: str, padding: int = 0, big: bool = False) -> Image:
    """sensor_msgs/Image of an array [H, W] or [H, W, C] of the encoding's own type."""
    height, width = picture.shape[:2]
    rows = np.ascontiguousarray(picture).view(np.uint8).reshape(height, -1)
    message = Image(height=height, width=width, encoding=encoding, is_bigendian=int(big))
    message.step = rows.shape[1] + padding
    message.data = np.pad(rows, ((0, 0), (0, padding)), constant_values=77).tobytes()
    return message


def planar(grey: Any, encoding: str) -> Image:
    """sensor_msgs/Image of a luma plane [H, W] with chroma planes that hold no colour."""
    message = raw(grey, encoding)
    message.data.extend(bytes([128]) * (grey.size * 2 if encoding == 'nv24' else grey.size // 2))
    return message


def same_pictures() -> dict[str, Image]:
    """One grey picture in every encoding, and padded."""
    rgb = blocks()
    grey = rgb[:, :, 0].copy()
    rgba = np.dstack([rgb, np.full(grey.shape, 9, np.uint8)])
    wide = grey.astype(np.uint16) << 8 | 0x35
    chroma = np.full_like(grey, 128)
    pictures = {
        **{name: raw(rgb, name) for name in ('rgb8', 'bgr8', '8UC3')},
        **{name: raw(rgba, name) for name in ('rgba8', 'bgra8', '8UC4')},
        **{name: raw(rgb.astype('<u2') << 8, name) for name in ('rgb16', 'bgr16', '16UC3')},
        **{name: raw(rgba.astype('<u2') << 8, name) for name in ('rgba16', 'bgra16', '16UC4')},
        **{name: raw(grey, name) for name in ('mono8', '8UC1') if name in ENCODINGS},
        **{name: raw(wide.astype('<u2'), name) for name in ('mono16', '16UC1')},
        **{name: raw(grey, name) for name in ENCODINGS if re.fullmatch('bayer_....8', name)},
        **{name: raw(wide, name) for name in ENCODINGS if re.fullmatch('bayer_....16', name)},
        **{name: planar(grey, name) for name in ('nv12', 'nv21', 'nv24', 'i420', 'yuv420')},
        **{name: raw(np.dstack([chroma, grey]), name) for name in ('yuv422', 'uyvy')},
        **{name: raw(np.dstack([grey, chroma]), name) for name in ('yuv422_yuy2', 'yuyv')},
    }
    assert set(pictures) == set(ENCODINGS)
    padded = {
        'rgb8 padded': raw(rgb, 'rgb8', 5),
        'mono8 padded': raw(grey, 'mono8', 32),
        'mono16 big-endian': raw(wide.astype('>u2'), 'mono16', 0, True),
        'mono16 big-endian padded': raw(wide.astype('>u2'), 'mono16', 6, True),
        'yuv422 padded': raw(np.dstack([chroma, grey]), 'yuv422', 8),
    }
    return pictures | padded


def test_every_encoding_gives_the_same_masks(rig) -> None:
    rig = rig(lambda bundle, settings: bright_pipeline()).start()
    masks = rig.listen(Image, 'collision_masks')
    found: dict[str, bytes] = {}
    cases = same_pictures() | {'jpeg': jpeg_message(0.0)}
    for number, (name, message) in enumerate(cases.items(), 1):
        message.header = picture_message(number / 10).header
        rig.send(message)
        assert rig.counted(frames=number), f'{name} was refused: {rig.reading("last_refused")}'
        assert rig.call(Trigger, 'cs3/segment_now').success
        assert rig.until(lambda n=number: len(masks) == n), name
        assert masks[-1].header == message.header
        found[name] = bytes(masks[-1].data)
    expected = np.frombuffer(found['rgb8'], np.uint8)
    assert set(expected) == {0, 1, 2} and 300 < np.count_nonzero(expected) < 2500
    assert [name for name, mask in found.items() if mask != found['rgb8']] == []
    assert rig.reading('refused_frames') == '0' and rig.reading('duplicate_frames') == '0'


def test_colours_keep_their_places(rig) -> None:
    """A red picture is red for the stages, whatever the order of its channels."""
    seen: list[tuple[int, ...]] = []

    def factory(bundle, settings):
        pipeline = fake_pipeline()
        encode = pipeline.masker.encode
        pipeline.masker.encode = lambda image: seen.append(tuple(image[0, 0])) or encode(image)
        return pipeline

    rig = rig(factory).start()
    red = np.zeros((64, 96, 4), np.uint8)
    red[:, :] = (200, 0, 0, 50)
    blue_first = red[:, :, [2, 1, 0, 3]]
    cases = [
        raw(red[:, :, :3], 'rgb8'),
        raw(blue_first[:, :, :3], 'bgr8'),
        raw(red, 'rgba8'),
        raw(blue_first, 'bgra8'),
    ]
    del seen[:]  # the picture of the warm-up
    for number, message in enumerate(cases, 1):
        message.header = picture_message(number / 10).header
        rig.send(message)
        assert rig.counted(frames=number)
        assert rig.call(Trigger, 'cs3/segment_now').success
        assert rig.until(lambda n=number: len(seen) == n)
    assert seen == [(200, 0, 0)] * 4


# ---- pictures that are refused ----------------------------------------------------------------


def truncated() -> CompressedImage:
    message = jpeg_message(0.0)
    message.data = bytes(message.data)[:-200]
    return message


def text_file() -> CompressedImage:
    message = jpeg_message(0.0)
    message.data = b'<html>404</html>'
    return message


def bomb() -> CompressedImage:
    message = jpeg_message(0.0)
    data = bytearray(message.data)
    size = data.index(b'\xff\xc0') + 5
    data[size : size + 4] = (30_000).to_bytes(2, 'big') * 2
    message.data = bytes(data)
    return message


BAD_PICTURES: dict[str, tuple[Callable[[], Any], str]] = {
    'truncated JPEG': (truncated, 'cut off'),
    'no picture at all': (text_file, 'expected JPEG or PNG'),
    'empty file': (lambda: CompressedImage(format='jpeg'), 'expected JPEG or PNG'),
    'unknown encoding': (lambda: raw(blocks(), '32FC1'), "'32FC1'"),
    'zero size': (lambda: Image(encoding='rgb8'), '0x0'),
    'too few bytes': (lambda: Image(encoding='rgb8', height=4, width=4, step=12), '48 bytes'),
    'too short a step': (
        lambda: Image(encoding='rgb8', height=4, width=4, step=1, data=bytes(48)),
        'step 1',
    ),
    'a step and height whose product is huge': (
        lambda: Image(encoding='mono8', height=9, width=4, step=2**32 - 1, data=bytes(9)),
        'bytes',
    ),
    'a JPEG that claims 900 megapixels': (bomb, '30000x30000 pixels: expected at most 50'),
    'a raw picture that claims them': (
        lambda: Image(encoding='mono8', height=30000, width=30000, step=30000, data=bytes(9)),
        '30000x30000 pixels: expected at most 50',
    ),
    'data of another height': (
        lambda: Image(encoding='mono8', height=1, width=640, step=640, data=bytes(640 * 480)),
        'another picture',
    ),
}


@pytest.mark.parametrize('name', BAD_PICTURES)
def test_a_bad_picture_is_refused_counted_and_shown(rig, name: str) -> None:
    make, words = BAD_PICTURES[name]
    rig = rig().start()
    message = make()
    message.header = picture_message(0.0).header
    rig.send(message)
    assert rig.counted(refused_frames=1, frames=0)
    assert words in rig.reading('last_refused')
    (shown,) = (text for text in rig.warned if 'refused_frames +1' in text)
    assert words in shown and 'nothing usable' in shown
    assert lives(rig)


def test_a_jpeg_damaged_inside_costs_one_event(rig) -> None:
    """Its end is there, so that only decoding shows the damage."""
    rig = rig().start()
    message = jpeg_message(0.0)
    data = bytearray(message.data)
    size = data.index(b'\xff\xc0') + 5
    data[size : size + 4] = bytes(4)  # zero rows, zero columns
    message.data = bytes(data)
    rig.send(message)
    assert rig.counted(frames=1, refused_frames=0)
    assert rig.call(Trigger, 'cs3/segment_now').success
    assert rig.counted(failed=1)
    assert any('cannot be decoded' in text for text in rig.warned), 'shown as an error'
    assert lives(rig)


# ---- sound that is converted ------------------------------------------------------------------

FORMATS = [
    (16_000, 1, 'S16LE'),
    (22_050, 2, 'S16LE'),
    (44_100, 1, 'S32LE'),
    (48_000, 6, 'F32LE'),
    (96_000, 2, 'S32LE'),
    (192_000, 1, 'S16LE'),
]


@pytest.mark.parametrize('rate, channels, fmt', FORMATS)
def test_the_same_clicks_in_any_format(rig, rate: int, channels: int, fmt: str) -> None:
    clicks_s = (0.4, 0.9)
    rig = rig().start()
    onsets = rig.listen(Classification, 'onset')
    mono = click_sound(clicks_s, 1.2, rate)
    sound = np.repeat(mono[:, None], channels, axis=1)
    rig.send(info_message(rate, channels, fmt), *sound_messages(sound, 0.0, rate, fmt))
    assert rig.until(lambda: len(onsets) == 2), rig.reading('last_refused')
    assert np.allclose(onset_times(onsets), clicks_s, atol=1e-3)
    assert [onset.header.frame_id for onset in onsets] == ['microphone'] * 2
    assert rig.counted(audio_chunks=60, refused_audio=0, bad_chunks=0, clipped_chunks=0)


def test_the_format_may_come_from_parameters(rig) -> None:
    rig = rig(audio_rate=16_000, audio_channels=2, audio_sample_format='F32LE').start()
    onsets = rig.listen(Classification, 'onset')
    assert rig.peer.count_subscribers('audio_info') == 0
    sound = np.repeat(click_sound((0.5,), 0.8, 16_000)[:, None], 2, axis=1)
    rig.send(*sound_messages(sound, 0.0, 16_000, 'F32LE'))
    assert rig.until(lambda: onsets) and abs(onset_times(onsets)[0] - 0.5) < 1e-3


def test_stamps_may_mean_the_last_sample(rig) -> None:
    rig = rig(audio__stamp_refers_to='last_sample').start()
    onsets = rig.listen(Classification, 'onset')
    sound = sound_messages(click_sound((0.5,), 0.8), 0.02 - 1 / RATE)
    rig.send(info_message(), *sound)
    assert rig.until(lambda: onsets) and abs(onset_times(onsets)[0] - 0.5) < 1e-3


def test_the_other_audio_package_through_its_adapter(rig, monkeypatch) -> None:
    """AudioStamped has no wheel: the message class is made of AudioDataStamped's wire format."""
    from audio_common_msgs.msg import AudioDataStamped

    from cs3_ros.files import message_fields
    from cs3_ros.ros import inputs, messages

    monkeypatch.setattr(messages, 'message_class', lambda name: AudioDataStamped)
    read = message_fields.sound_from_audio_stamped

    def from_bytes(message: Any) -> Any:
        samples = np.frombuffer(message.audio.data, '<i2')
        fake = audio_stamped(int16_data=samples.tolist(), channels=1, rate=RATE)
        fake.header = message.header
        return read(fake)

    monkeypatch.setattr(inputs, 'sound_from_audio_stamped', from_bytes)
    rig = rig(audio_message='AudioStamped').start()
    onsets = rig.listen(Classification, 'onset')
    rig.send(*sound_messages(click_sound((0.5,), 0.8)))
    assert rig.until(lambda: onsets) and abs(onset_times(onsets)[0] - 0.5) < 1e-3


def test_two_clocks_are_told(rig) -> None:
    """Sound by the time since the microphone started, pictures by the time of day."""
    rig = rig().start()
    rig.send(picture_message(1.7e9), info_message(), *sound_messages(click_sound((0.5,), 0.8), 9.0))
    assert rig.until(lambda: 'do not overlap in time' in rig.reading('clocks'))
    assert rig.until(lambda: any('do not overlap in time' in text for text in rig.warned))


# ---- sound that is repaired or refused ----------------------------------------------------------


def quiet(count: int = 40) -> list[Any]:
    """Chunks of 20 ms without any click."""
    return sound_messages(click_sound((), count * 0.02))


def with_values(message: Any, value: float) -> Any:
    samples = np.zeros(960, np.float32)
    samples[100:110] = value
    message.audio.data = sound_bytes(samples, 'F32LE')
    return message


def as_float(messages: list[Any]) -> list[Any]:
    for message in messages:
        samples = np.frombuffer(message.audio.data, '<i2') / np.float32(32768)
        message.audio.data = samples.astype('<f4').tobytes()
    return messages


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(rig, value: float) -> None:
    rig = rig().start()
    onsets = rig.listen(Classification, 'onset')
    sound = as_float(sound_messages(click_sound((0.5,), 0.8)))
    sound[5] = with_values(sound[5], value)
    rig.send(info_message(fmt='F32LE'), *sound)
    assert rig.counted(audio_chunks=40, nonfinite_samples=10)
    assert any('nonfinite_samples +10' in text for text in rig.warned)
    assert rig.until(lambda: onsets) and abs(onset_times(onsets)[0] - 0.5) < 1e-3


def test_clipped_sound_is_counted_and_heard(rig) -> None:
    rig = rig().start()
    onsets = rig.listen(Classification, 'onset')
    loud = np.clip(click_sound((0.5,), 0.8) * 20, -1, 1)
    rig.send(info_message(), *sound_messages(loud))
    assert rig.until(lambda: rig.reading('clipped_chunks') not in ('', '0'))
    assert rig.until(lambda: onsets) and abs(onset_times(onsets)[0] - 0.5) < 2e-3
    assert any('clipped_chunks +' in text for text in rig.warned)


def test_an_odd_number_of_bytes(rig) -> None:
    rig = rig().start()
    sound = quiet()
    sound[13].audio.data = bytes(sound[13].audio.data)[:-1]
    sound[17].audio.data = b''
    rig.send(info_message(), *sound)
    assert rig.counted(refused_audio=1, bad_chunks=1, audio_chunks=38, gaps=2, missing_samples=1920)
    assert '1919 bytes' in rig.reading('last_refused')
    assert lives(rig)


@pytest.mark.parametrize(
    'info, words',
    [
        (info_message(coding='mp3'), ("'mp3'", 'format:=wave')),
        (info_message(fmt='S8'), ("'S8'", 'S16LE')),
        (info_message(rate=0), ('0 samples per second',)),
        (info_message(rate=7_999), ('sound of 7999 Hz', '8000 to 768000')),
        (info_message(rate=768_001), ('sound of 768001 Hz', '8000 to 768000')),
        (info_message(rate=4_000_000_000), ('4000000000 Hz',)),
        (info_message(channels=0), ('0 channels',)),
    ],
)
def test_sound_that_cannot_be_read_is_refused_with_the_fix(rig, info, words) -> None:
    rig = rig().start()
    rig.send(info)
    rig.send(*quiet(5))
    assert rig.counted(refused_audio=6, audio_chunks=0)
    for word in words:
        assert word in rig.reading('last_refused')
    assert lives(rig), 'a good audio_info mends it'


def test_mp3_in_mid_stream_is_not_taken_for_samples(rig) -> None:
    rig = rig().start()
    rig.send(info_message(), *quiet(10))
    assert rig.counted(audio_chunks=10)
    rig.send(info_message(coding='mp3'))
    assert rig.counted(refused_audio=1)
    rig.send(sound_message(0.3, b'\xff\xfb' * 400))
    assert rig.counted(refused_audio=2, audio_chunks=10)


@pytest.mark.parametrize('rate, channels', [(16_000, 1), (48_000, 2)])
def test_rate_and_channels_may_change_in_mid_stream(rig, rate: int, channels: int) -> None:
    rig = rig().start()
    onsets = rig.listen(Classification, 'onset')
    rig.send(*clip_messages())
    assert rig.counted(onsets=1, audio_chunks=40)
    rig.send(info_message(rate, channels))
    sound = np.repeat(click_sound((0.5,), 0.8, rate)[:, None], channels, axis=1)
    assert rig.until(lambda: rig.reading('format').count(str(rate)))  # QoS keeps no order of topics
    rig.send(*sound_messages(sound, 0.8, rate))
    assert rig.counted(onsets=2, audio_chunks=80, rate_changes=1)
    assert np.allclose(onset_times(onsets), (0.5, 1.3), atol=1e-3)
    assert any('rate_changes +1' in text for text in rig.warned)


def gap(sound: list[Any]) -> list[Any]:
    return sound[:20] + sound[25:]


def overlap(sound: list[Any]) -> list[Any]:
    data = bytes(sound[10].audio.data) + bytes(sound[11].audio.data)[:960]
    sound[10].audio.data = data
    return sound


def duplicate(sound: list[Any]) -> list[Any]:
    return sound[:20] + sound[17:]


def out_of_order(sound: list[Any]) -> list[Any]:
    return [*sound[:18], sound[19], sound[18], *sound[20:]]


@pytest.mark.parametrize(
    'disorder, counts',
    [
        (gap, {'gaps': 1, 'missing_samples': 4800, 'audio_chunks': 35}),
        (overlap, {'overlaps': 1, 'dropped_samples': 480, 'audio_chunks': 40}),
        (duplicate, {'duplicates': 3, 'dropped_samples': 2880, 'audio_chunks': 40}),
        (out_of_order, {'out_of_order': 1, 'missing_samples': 0, 'audio_chunks': 39}),
    ],
)
def test_chunks_in_disorder(rig, disorder, counts) -> None:
    rig = rig().start()
    onsets = rig.listen(Classification, 'onset')
    rig.send(info_message(), *disorder(sound_messages(click_sound((0.6,), 0.8))))
    assert rig.counted(**counts), rig.status['audio']
    for counter in {name for name, count in counts.items() if count} - {'audio_chunks'}:
        assert any(f'{counter} +{counts[counter]}' in text for text in rig.warned)
    assert rig.until(lambda: onsets) and abs(onset_times(onsets)[0] - 0.6) < 1e-3
    assert lives(rig)


# ---- two transports at once ------------------------------------------------------------------


def test_of_two_transports_that_were_there_before_only_one_is_heard(rig, monkeypatch) -> None:
    monkeypatch.setattr(node, 'HOUSEKEEPING_S', 1000.0)
    rig = rig()
    raw = rig.publisher(Image, 'image', matched=0)
    compressed = rig.publisher(CompressedImage, 'image/compressed', matched=0)
    found = rig.node.count_publishers
    assert rig.until(lambda: found('/cs3/image') and found('/cs3/image/compressed'))
    rig.start()
    assert rig.until(compressed.get_subscription_count)
    for k in range(3):
        raw.publish(picture_message(k / 10))
        compressed.publish(jpeg_message(k / 10))
    assert rig.counted(frames=3, duplicate_frames=0)
    assert rig.until(lambda: raw.get_subscription_count() == 0)


# ---- one of the two is missing ---------------------------------------------------------------


def test_audio_without_video(rig) -> None:
    rig = rig(audio_timeout_s=0.2).start()
    onsets = rig.listen(Classification, 'onset')
    rig.send(info_message(), *sound_messages(click_sound((0.5,), 0.8)))
    assert rig.counted(onsets=1, no_frame=1), 'the event has to close without a frame'
    assert abs(onset_times(onsets)[0] - 0.5) < 1e-3
    image = rig.status['image']
    assert image.level == image.WARN and 'nothing received' in image.message
    assert lives(rig)


def test_video_without_audio(rig) -> None:
    rig = rig().start()
    rig.send(*(picture_message(k / 10) for k in range(20)))
    assert rig.counted(frames=20)
    status = rig.next_diagnostics()['audio']
    assert status.level == status.WARN and 'nothing received; publishers: /cs3/audio' in (
        status.message
    )
    masks = rig.listen(Image, 'collision_masks')
    answer = rig.call(Trigger, 'cs3/segment_now')
    assert answer.success and answer.message == '1001.900000000'
    assert rig.until(lambda: masks)
    assert lives(rig)


def test_sound_whose_format_never_comes_is_bounded(rig, monkeypatch) -> None:
    from cs3_ros.ros import inputs

    monkeypatch.setattr(inputs, 'UNREAD_CHUNKS', 10)
    rig = rig().start()
    rig.send(*quiet(15))
    assert rig.counted(refused_audio=5)
    assert 'audio_info' in rig.reading('last_refused') and 'audio_rate' in rig.reading(
        'last_refused'
    )
    rig.send(info_message())
    assert rig.counted(audio_chunks=10), 'the newest ten were kept'


def test_an_event_closes_when_the_sound_stops(rig) -> None:
    """The bundle wants sound after the onset that never comes."""
    rig = rig(audio_timeout_s=0.2).start()
    masks = rig.listen(Image, 'collision_masks')
    rig.send(*clip_messages((0.5,), 0.52))  # the detector itself still waits for more
    assert rig.until(lambda: masks) and rig.counted(onsets=1, done=1)


# ---- clocks -------------------------------------------------------------------------------------


def test_a_bag_that_loops(rig) -> None:
    rig = rig().start()
    masks, onsets = rig.listen(Image, 'collision_masks'), rig.listen(Classification, 'onset')
    for turn in range(1, 4):
        rig.send(*clip_messages((0.6, 1.4), 1.8))
        assert rig.until(lambda n=2 * turn: len(masks) == n), (turn, rig.status)
        assert rig.counted(frames=19 * turn, audio_chunks=90 * turn)
    assert np.allclose(onset_times(onsets), (0.6, 1.4) * 3, atol=1e-3)
    assert rig.until(lambda: int(rig.reading('resets')) >= 2)
    assert any('resets +' in text for text in rig.warned)


def test_a_clock_that_jumps_forward(rig) -> None:
    rig = rig().start()
    masks, onsets = rig.listen(Image, 'collision_masks'), rig.listen(Classification, 'onset')
    for number, start_s in enumerate((0.0, 3600.0, 400_000.0), 1):
        rig.send(*clip_messages(start_s=start_s))
        assert rig.until(lambda n=number: len(masks) == n), (start_s, rig.status)
    assert np.allclose(onset_times(onsets), (0.5, 3600.5, 400_000.5), atol=1e-3)
    assert rig.counted(jumps_forward=2)


def test_stamps_that_were_never_set(rig) -> None:
    rig = rig().start()
    picture, sound = picture_message(0.0), quiet(3)
    for message in (picture, *sound):
        message.header.stamp.sec = message.header.stamp.nanosec = 0
    rig.send(picture, info_message(), *sound)
    assert rig.counted(bad_stamps=4, frames=0, audio_chunks=0)
    assert lives(rig)


@pytest.mark.parametrize(
    'seconds, nanoseconds', [(-5, 0), (2**31 - 1, 999_999_999), (2**31 - 1, 2**32 - 1)]
)
def test_stamps_at_the_end_of_time(rig, seconds: int, nanoseconds: int) -> None:
    """What a broken driver writes must not end in an onset that no header can hold."""
    rig = rig(audio_timeout_s=0.2).start()
    picture, sound = picture_message(0.0), quiet(1)[0]
    sound.audio.data = sound_bytes(click_sound((0.5,), 0.8), 'S16LE')
    for message in (picture, sound):
        message.header.stamp.sec, message.header.stamp.nanosec = seconds, nanoseconds
    rig.send(picture, info_message(), sound)
    assert rig.until(
        lambda: (
            rig.reading('bad_stamps') == '2'
            or rig.reading('refused_audio') == rig.reading('refused_frames') == '1'
        )
    ), rig.status
    assert lives(rig)


# ---- stages ------------------------------------------------------------------------------------


def test_a_stage_that_raises(rig) -> None:
    failing = [False]
    rig = rig(lambda bundle, settings: fake_pipeline(fail=lambda: failing[0])).start()
    failing[0] = True
    rig.send(*clip_messages())
    assert rig.counted(failed=1)
    shown = 'event 1000.500000000 failed: this stage was told to fail'
    assert rig.until(lambda: any(shown in text for text in rig.warned))
    failing[0] = False
    assert lives(rig)


def test_gpu_memory_that_is_full(rig) -> None:
    torch = pytest.importorskip('torch', reason='the extra models is not installed')
    full = [0]

    def fail() -> bool:
        if full[0]:
            full[0] -= 1
            raise torch.OutOfMemoryError('CUDA out of memory')
        return False

    rig = rig(lambda bundle, settings: fake_pipeline(fail=fail)).start()
    masks = rig.listen(Image, 'collision_masks')
    full[0] = 1
    rig.send(*clip_messages())
    assert rig.counted(out_of_memory=1, done=1) and rig.until(lambda: len(masks) == 1)
    assert rig.until(lambda: any('out_of_memory +1' in text for text in rig.warned))
    full[0] = 2
    rig.send(*clip_messages(start_s=50.0))
    assert rig.counted(out_of_memory=2, failed=1)
    assert lives(rig)


class Peaks:
    """A detector without any dead time: every rise above 0.45 is an onset."""

    def __init__(self, rate: int, config: OnsetConfig) -> None:
        self.position, self.last = 0, 0.0

    def push(self, samples: Any) -> list[DetectedOnset]:
        before = np.concatenate([[self.last], samples[:-1]])
        rises = np.flatnonzero((samples > 0.45) & (before < 0.1)) + self.position
        self.position, self.last = self.position + samples.size, samples[-1]
        return [DetectedOnset(int(rise), -6.0, 40.0) for rise in rises]

    def skip(self, count: int) -> None:
        self.position += count

    def flush(self) -> list[DetectedOnset]:
        return []

    def turned_away(self) -> list[DetectedOnset]:
        return []

    def reset(self) -> None:
        self.position, self.last = 0, 0.0


def test_events_faster_than_the_pipeline(rig, monkeypatch) -> None:
    """20 per second against a stage of 200 ms: the newest win, the others are counted."""
    monkeypatch.setattr(active, 'CollisionStream', partial(CollisionStream, make_detector=Peaks))
    clicks_s = [0.5 + k / 20 for k in range(40)]
    rig = rig(lambda bundle, settings: fake_pipeline(0.2), queue_size=2).start()
    masks, onsets = rig.listen(Image, 'collision_masks'), rig.listen(Classification, 'onset')
    rig.send(*clip_messages(clicks_s, 3.0))
    assert rig.until(lambda: len(onsets) == 40), len(onsets)
    assert rig.until(
        lambda: (
            rig.reading('queue') == '0'
            and int(rig.reading('done')) + int(rig.reading('dropped')) == len(onsets)
        )
    ), rig.status['events']
    assert int(rig.reading('dropped')) > 10 and any('dropped +' in text for text in rig.warned)
    assert rig.until(lambda: len(masks) == int(rig.reading('done')))
    last_s = (stamp_to_ns(masks[-1].header.stamp) - stamp_ns(0)) / 1e9
    assert abs(last_s - onset_times(onsets)[-1]) < 0.1, 'the newest event is answered'
    assert lives(rig)


def test_deactivating_while_a_stage_runs(rig) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def hold() -> bool:
        entered.set()
        return not go_on.wait(10)

    go_on.set()
    rig = rig(lambda bundle, settings: fake_pipeline(fail=hold)).start()
    go_on.clear(), entered.clear()
    rig.send(picture_message(0.0), picture_message(0.1))
    assert rig.counted(frames=2)
    for _ in range(2):
        assert rig.call(Trigger, 'cs3/segment_now').success
    assert entered.wait(10)
    threading.Timer(0.1, go_on.set).start()
    rig.node.trigger_deactivate()
    assert rig.state == 'inactive' and rig.counted(done=1, dropped=1)


def test_no_object_no_mask(rig) -> None:
    """The event is counted, nothing is published about it."""
    rig = rig(lambda bundle, settings: bright_pipeline()).start()
    masks = rig.listen(Image, 'collision_masks')
    rig.send(picture_message(0.0, np.zeros((64, 96, 3), np.uint8)))
    assert rig.counted(frames=1)
    assert rig.call(Trigger, 'cs3/segment_now').success
    assert rig.counted(done=1, without_objects=1, with_objects=0)
    rig.send(picture_message(0.1))
    assert rig.counted(frames=2)
    assert rig.call(Trigger, 'cs3/segment_now').success
    assert rig.until(lambda: masks) and rig.counted(with_objects=1)
    assert [stamp_to_ns(m.header.stamp) for m in masks] == [stamp_ns(0.1)]
