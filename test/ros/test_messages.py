"""Messages to frames and sound and back: round trips, and what is refused."""

from __future__ import annotations

import needs

needs.ros()

from dataclasses import replace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from fakes import (
    audio_stamped,
    blocks,
    info_message,
    jpeg_message,
    picture_message,
    sound_bytes,
    sound_message,
    stamp_ns,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from cs3_ros.collision import Candidate, Collision, Frame, Onset, Verdict, event_id
from cs3_ros.files.message_fields import (
    format_from_info,
    frame_from_message,
    sound_from_audio_stamped,
    sound_from_data,
)
from cs3_ros.files.pcm import SoundFormat
from cs3_ros.ros import messages

STAMPS = st.integers(-(2**31) * 10**9, (2**31) * 10**9 - 1)
PICTURES = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))
MASKS = hnp.arrays(bool, (6, 9))


def over_the_wire(message):
    return deserialize_message(serialize_message(message), type(message))


def collision(masks, picture=None, stamp=5) -> Collision:
    picture = np.zeros((6, 9, 3), np.uint8) if picture is None else picture
    objects = tuple(
        Candidate(label, mask, score)
        for label, mask, score in zip(
            ('right_hand', 'audio_visual'), masks, (0.25, 1), strict=False
        )
    )
    return Collision(
        onset=Onset(stamp, -6.0, 30.0),
        frame=Frame.from_rgb(stamp + 7, picture, 'camera'),
        verdict=Verdict(objects, 'closest_pair', 0.0),
        candidates=objects,
        hands=(),
        heat_map=None,
        timings_ms={},
        bundle='test',
    )


@given(STAMPS)
def test_stamps_survive(stamp: int) -> None:
    time = messages.ns_to_stamp(stamp)
    assert isinstance(time, Time) and 0 <= time.nanosec < 10**9
    assert messages.stamp_to_ns(over_the_wire(time)) == stamp


@given(PICTURES, st.integers(1, 10**18), st.text(st.characters(codec='ascii'), max_size=9))
@settings(max_examples=40)
def test_pictures_survive(picture, stamp: int, frame_id: str) -> None:
    frame_id = frame_id.replace('\0', '')
    sent = messages.image_message(messages.header(stamp, frame_id), picture)
    frame = frame_from_message(over_the_wire(sent))
    assert np.array_equal(frame.image, picture) and frame.image.dtype == np.uint8
    assert (frame.stamp_ns, frame.frame_id) == (stamp, frame_id)
    assert frame.nbytes == picture.nbytes


@given(st.lists(MASKS, min_size=1, max_size=2))
@settings(max_examples=40)
def test_label_images_survive(masks) -> None:
    found = collision(masks)
    stamp = messages.header(found.frame.stamp_ns, 'camera')
    message = over_the_wire(messages.image_message(stamp, found.label_image()))
    assert (message.encoding, message.step, message.is_bigendian) == ('mono8', 9, 0)
    labels = np.frombuffer(message.data, np.uint8).reshape(6, 9)
    assert np.array_equal(labels, found.label_image())
    assert np.array_equal(labels > 0, np.any(masks, axis=0)) and labels.max() <= len(masks)


@given(st.lists(MASKS, max_size=2))
@settings(max_examples=40)
def test_boxes_survive(masks) -> None:
    found = collision(masks)
    message = over_the_wire(
        messages.detections_message(messages.header(found.frame.stamp_ns, 'camera'), found)
    )
    assert len(message.detections) == len(found.objects)
    for detection, candidate in zip(message.detections, found.objects, strict=True):
        centre, box = detection.bbox.center.position, detection.bbox
        assert candidate.box == (
            centre.x - box.size_x / 2,
            centre.y - box.size_y / 2,
            centre.x + box.size_x / 2,
            centre.y + box.size_y / 2,
        )
        assert detection.id == event_id(found.onset.stamp_ns)
        stage, name = (result.hypothesis for result in detection.results)
        assert stage.class_id == candidate.label and name.class_id.endswith('_object')
        assert stage.score == name.score == candidate.score
        assert detection.header == message.header and detection.header.frame_id == 'camera'


def test_slices_of_larger_arrays_become_whole_messages() -> None:
    picture = np.arange(240, dtype=np.uint8).reshape(8, 10, 3)[1:7:2, ::-3]
    message = messages.image_message(messages.header(1, ''), picture)
    assert np.array_equal(frame_from_message(message).image, picture)


def test_a_compressed_picture_is_decoded_only_when_looked_at() -> None:
    message = jpeg_message(0.5)
    frame = frame_from_message(message)
    assert frame.nbytes == len(message.data) and '_decoded' not in frame.__dict__
    assert frame.stamp_ns == stamp_ns(0.5)
    assert np.abs(frame.image.astype(int) - blocks()).mean() < 3


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 3)), elements=st.floats(
        -1, np.float32(0.99), width=32
    )),
    st.sampled_from(['S16LE', 'S32LE', 'F32LE']),
)  # fmt: skip
@settings(max_examples=40)
def test_sound_survives(samples, fmt: str) -> None:
    info = over_the_wire(info_message(16_000, samples.shape[1], fmt))
    sound_format = format_from_info(info)
    assert sound_format == SoundFormat(16_000, samples.shape[1], fmt)
    message = over_the_wire(sound_message(0.25, sound_bytes(samples, fmt)))
    chunk = sound_from_data(message, sound_format)
    assert (chunk.stamp_ns, chunk.rate) == (stamp_ns(0.25), 16_000)
    assert chunk.samples.shape == samples.shape
    assert np.abs(chunk.samples - samples).max() <= {'S16LE': 2**-15}.get(fmt, 2**-23)


@pytest.mark.parametrize('sound_format', [SoundFormat(8_000, 1), SoundFormat(96_000, 3, 'F32LE')])
def test_sound_formats_survive(sound_format) -> None:
    info = over_the_wire(messages.info_message(sound_format))
    assert format_from_info(info) == sound_format
    assert info.bitrate == sound_format.bitrate


@pytest.mark.parametrize(
    'arrays',
    [
        {'float32_data': [0.5, -0.5, 0.25, 0.0]},
        {'int16_data': [16384, -16384, 8192, 0]},
        {'int32_data': [2**30, -(2**30), 2**29, 0]},
        {'int8_data': [64, -64, 32, 0]},
    ],
)
def test_the_other_audio_package(arrays) -> None:
    chunk = sound_from_audio_stamped(audio_stamped(channels=2, rate=16_000, **arrays))
    assert chunk.samples.tolist() == [[0.5, -0.5], [0.25, 0.0]]
    assert chunk.samples.dtype == np.float32
    assert (chunk.stamp_ns, chunk.rate) == (stamp_ns(0), 16_000)


@pytest.mark.parametrize(
    'message, words',
    [
        (audio_stamped(), '0 arrays'),
        (audio_stamped(int16_data=[1], float32_data=[0.1]), '2 arrays'),
        (audio_stamped(int16_data=[1, 2, 3], channels=2), '3 samples, 2 channel'),
        (audio_stamped(int16_data=[1], channels=0), '0 channel'),
        (audio_stamped(int16_data=[1], rate=0), '0 Hz'),
    ],
)
def test_the_other_audio_package_may_be_wrong(message, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sound_from_audio_stamped(message)


@pytest.mark.parametrize('seconds, nanoseconds', [(2**31 - 1, 0), (5, 10**9), (5, 2**32 - 1)])
def test_impossible_stamps_are_refused(seconds: int, nanoseconds: int) -> None:
    stamp = Time(sec=seconds, nanosec=nanoseconds)
    picture, sound, other = picture_message(0), sound_message(0, b''), audio_stamped(int8_data=[1])
    picture.header.stamp = sound.header.stamp = other.header.stamp = stamp
    with pytest.raises(ValueError, match='header stamp .* check the clock'):
        frame_from_message(picture)
    with pytest.raises(ValueError, match='header stamp'):
        sound_from_data(sound, SoundFormat(16_000, 1))
    with pytest.raises(ValueError, match='header stamp'):
        sound_from_audio_stamped(other)


def test_an_unknown_encoding_names_those_that_are_known() -> None:
    with pytest.raises(ValueError, match='nv99.*rgb8.*set the encoding'):
        frame_from_message(Image(encoding='nv99', height=1, width=1, step=1))


def test_a_detection_finds_its_pixels_by_the_names_of_label_info() -> None:
    """Whatever others did to the order: the last class is a name of label_info, that the value."""
    masks = np.zeros((2, 6, 9), bool)  # as large as the picture
    masks[0, 1:4, 1:4] = masks[1, 3:6, 5:8] = True
    found = collision(masks)
    stamp = messages.header(found.frame.stamp_ns, 'camera')
    names = {c.class_name: c.class_id for c in messages.label_info_message(stamp).class_map}
    detections = messages.detections_message(stamp, found).detections[::-1]
    assert len(detections) == 2
    label_image = found.label_image()
    for detection in detections:
        value = names[detection.results[-1].hypothesis.class_id]
        candidate = found.objects[value - 1]
        assert detection.results[0].hypothesis.class_id == candidate.label
        assert candidate.mask[label_image == value].all() and (label_image == value).any()


def test_how_well_an_object_fits_the_sound_is_a_third_hypothesis() -> None:
    found = collision(np.ones((1, 6, 9), bool))
    (silent,) = messages.detections_message(messages.header(1, 'camera'), found).detections
    assert len(silent.results) == 2, 'a bundle that does not ask'
    heard = replace(found.objects[0], sounding=0.75)
    found = replace(found, verdict=replace(found.verdict, objects=(heard,)))
    message = over_the_wire(messages.detections_message(messages.header(1, 'camera'), found))
    (detection,) = message.detections
    label, name, sound = (one.hypothesis for one in detection.results)
    assert (label.class_id, name.class_id) == (heard.label, 'first_object')
    assert (sound.class_id, sound.score) == ('sounding', 0.75)


@pytest.mark.parametrize('peak_dbfs, score', [(0.0, 1.0), (-20.0, 0.1), (3.0, 1.0)])
def test_an_onset_is_a_stamped_class(peak_dbfs, score) -> None:
    message = over_the_wire(messages.onset_message(Onset(7_000_000_003, peak_dbfs, 9.0), 'mic'))
    assert (messages.stamp_to_ns(message.header.stamp), message.header.frame_id) == (
        7_000_000_003,
        'mic',
    )
    (result,) = message.results
    assert result.class_id == 'impact' and result.score == pytest.approx(score)
