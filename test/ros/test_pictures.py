"""Encodings that only cv_bridge knows, over DDS; it is stood in for where it is not installed."""

from __future__ import annotations

import needs

needs.ros()
needs.opencv()

import array
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from fakes import clip_messages, picture_message
from sensor_msgs.msg import Image

from cs3_ros.ros import pictures
from cs3_ros.ros.pictures import frame_of

STAND_INS = str(Path(__file__).resolve().parents[1] / 'apt_stand_ins')
REAL = find_spec('cv_bridge') is not None
UNKNOWN = '32FC3'
"""Three channels, which cv_bridge takes for colours, and no encoding of the built-in converter."""


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Nothing is known of cv_bridge."""
    pictures._bridge.cache_clear()
    pictures._problems.clear()
    if not REAL:
        monkeypatch.delitem(sys.modules, 'cv_bridge', raising=False)
    yield
    pictures._bridge.cache_clear()
    if not REAL:
        sys.modules.pop('cv_bridge', None)


@pytest.fixture
def bridge(monkeypatch):
    """cv_bridge or its stand-in."""
    if not REAL:
        monkeypatch.syspath_prepend(STAND_INS)


@pytest.fixture
def no_bridge(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)


def floats(picture: Image, padding: int = 0) -> Image:
    """The same rgb8 picture as 32FC3."""
    pixels = np.frombuffer(picture.data, np.uint8).reshape(picture.height, -1).astype('<f4')
    rows = np.pad(pixels.view(np.uint8), ((0, 0), (0, padding)))
    message = Image(header=picture.header, height=picture.height, width=picture.width)
    message.encoding, message.step = UNKNOWN, rows.shape[1]
    message.data = array.array('B', rows.tobytes())
    return message


@pytest.mark.parametrize('padding', [0, 12])
def test_its_pixels_are_those_of_the_picture(bridge, padding):
    picture = picture_message(0.0)
    frame = frame_of(floats(picture, padding))
    assert np.array_equal(frame.image, frame_of(picture).image)
    assert frame.stamp_ns == frame_of(picture).stamp_ns and frame.image.flags['OWNDATA']


def test_the_node_takes_them_and_says_who_reads(bridge, rig):
    rig = rig().start()
    masks = rig.listen(Image, 'collision_masks')
    messages = clip_messages()
    rig.send(*(floats(m) if isinstance(m, Image) else m for m in messages))
    assert rig.until(lambda: masks)
    sent = sum(isinstance(m, Image) for m in messages)
    assert rig.counted(cv_bridge_frames=sent, built_in_frames=0, refused_frames=0)
    rig.send(picture_message(3.0))
    assert rig.counted(cv_bridge_frames=sent, built_in_frames=1)


def test_without_it_they_are_dropped_and_counted_and_the_package_is_named(no_bridge, rig):
    rig = rig().start()
    rig.send(*(floats(picture_message(k / 10)) for k in range(3)))
    assert rig.counted(refused_frames=3, cv_bridge_frames=0, frames=0)
    why = rig.reading('last_refused')
    assert f"'{UNKNOWN}': expected one of rgb8, bgr8" in why
    assert 'apt install ros-jazzy-cv-bridge' in why
    assert rig.next_diagnostics()['image'].message.startswith('nothing')
    rig.send(picture_message(1.0))
    assert rig.counted(built_in_frames=1)


REFUSED = {
    'unknown to it, too': ('rgb9', {}, "'rgb9': .* nor does cv_bridge .*Unrecognized"),
    'no colours': ('32FC1', {}, 'nor does cv_bridge read it as colours'),
    'a long name': ('x' * 5000, {}, 'too long a name'),
    'no name': ('', {}, "image encoding ''"),
    'no rows': (UNKNOWN, {'height': 0}, '32FC3 image of 96x0'),
    'no columns': (UNKNOWN, {'width': 0}, '32FC3 image of 0x64'),
    'too few bytes': (UNKNOWN, {'height': 65}, '32FC3 image of 96x65 with step 1152: expected'),
    'a short step': (UNKNOWN, {'step': 95}, 'step 95'),
    'too many pixels': (UNKNOWN, {'height': 60_000, 'width': 60_000}, 'megapixels'),
    'a wrong stamp': (UNKNOWN, {'nanosec': 2_000_000_000}, 'header stamp'),
}


@pytest.mark.skipif(REAL, reason='the words are those of the stand-in')
@pytest.mark.parametrize('name', REFUSED)
def test_what_cannot_be_read_is_refused_on_arrival(bridge, name):
    encoding, changes, words = REFUSED[name]
    message = floats(picture_message(0.0))
    message.encoding = encoding
    for field, value in changes.items():
        owner = message.header.stamp if field == 'nanosec' else message
        setattr(owner, field, value)
    with pytest.raises(ValueError, match=words):
        frame_of(message)


@pytest.mark.skipif(REAL, reason='the stand-in is broken')
def test_one_that_fails_on_a_picture_or_at_its_import_ends_nothing(bridge, monkeypatch):
    frame = frame_of(floats(picture_message(0.0)))

    def broken(*arguments, **keywords):
        raise RuntimeError('OpenCV(4.6.0) error: (-215:Assertion failed)')

    monkeypatch.setattr(sys.modules['cv_bridge'].CvBridge, 'imgmsg_to_cv2', broken)
    with pytest.raises(ValueError, match='32FC3 image: cv_bridge cannot read it .*-215'):
        assert frame.image is None
    pictures._bridge.cache_clear()
    monkeypatch.setattr(sys.modules['cv_bridge'].CvBridge, '__init__', broken)
    with pytest.raises(ValueError, match='ros-jazzy-cv-bridge.*RuntimeError: OpenCV'):
        frame_of(floats(picture_message(0.0)))


def test_answers_are_remembered_within_bounds(bridge):
    for number in range(200):
        message = floats(picture_message(0.0))
        message.encoding = f'rgb{number + 17}'
        with pytest.raises(ValueError):
            frame_of(message)
    assert len(pictures._problems) <= pictures.MOST_ENCODINGS


def test_it_is_imported_only_where_it_is_needed():
    code = (
        'import sys; import cs3_ros.ros.node, cs3_ros.ros.topics; '
        'from fakes import picture_message; from cs3_ros.ros.pictures import frame_of; '
        "frame_of(picture_message(0.0)).image; assert 'cv_bridge' not in sys.modules"
    )
    environment = {'PYTHONPATH': ':'.join([STAND_INS, *sys.path])}
    done = subprocess.run(
        [sys.executable, '-c', code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
