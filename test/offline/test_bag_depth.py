"""Contact points offline: a bag with depth gives what the contact node's functions say."""

from __future__ import annotations

import needs

needs.opencv()

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import click_sound, fake_pipeline
from rosbags.rosbag2 import StoragePlugin, Writer
from tiny_media import write_media

from cs3_ros import cli
from cs3_ros.bundles.bundle import Bundle
from cs3_ros.files.bag_writer import make_bag
from cs3_ros.files.bags import Bag, typestore
from cs3_ros.offline.bag_depth import BagDepth
from cs3_ros.space.camera import Camera, metres
from cs3_ros.space.contact import SpaceConfig
from cs3_ros.space.sight import look

T = typestore().types
EVENT_NS, MS = 1_000_400_000_000, 1_000_000
SIZE = (48, 64)
CAMERA = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)
DEPTH, INFO = '/camera/depth', '/camera/camera_info'


def header(stamp_ns: int):
    stamp = T['builtin_interfaces/msg/Time'](stamp_ns // 10**9, stamp_ns % 10**9)
    return T['std_msgs/msg/Header'](stamp, 'optical')


def depth_image(stamp_ns: int, values: np.ndarray, big: bool = False, pad: int = 0):
    """16UC1 or 32FC1, with so many bytes after each row."""
    stored = values.astype(values.dtype.newbyteorder('>' if big else '<'))
    rows = stored.view(np.uint8).reshape(len(values), -1)
    rows = np.pad(rows, ((0, 0), (0, pad)))
    encoding = {'u': '16UC1', 'f': '32FC1'}[values.dtype.kind]
    height, width = values.shape
    return T['sensor_msgs/msg/Image'](
        header(stamp_ns), height, width, encoding, int(big), rows.shape[1], rows.ravel()
    )


def camera_info(stamp_ns: int):
    c, none = CAMERA, np.zeros(12)
    k = np.array([c.fx, 0, c.cx, 0, c.fy, c.cy, 0, 0, 1.0])
    roi = T['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    return T['sensor_msgs/msg/CameraInfo'](
        header(stamp_ns), c.height, c.width, '', none[:0], k, np.eye(3).ravel(), none, 0, 0, roi
    )  # fmt: skip


@pytest.fixture(scope='module')
def plain(tmp_path_factory) -> Bag:
    folder = tmp_path_factory.mktemp('plain')
    sound = click_sound((0.4,), 0.8)[:, None]
    return Bag(make_bag(write_media(folder / 'clip.mkv', frames=24, sound=sound), folder / 'bag'))


@pytest.fixture
def bag(plain, tmp_path):
    """Makes the bag with depth: (log time in ns, depth image) of each."""

    def made(depths, info: bool = True) -> Path:
        path, store = tmp_path / 'bag', typestore()
        messages = [(m.log_ns, m.topic.name, m.topic.msgtype, m.data) for m in plain.messages()]
        own = [(at, DEPTH, 'sensor_msgs/msg/Image', one) for at, one in depths]
        if info:
            own.append((EVENT_NS - 300 * MS, INFO, 'sensor_msgs/msg/CameraInfo', camera_info(1)))
        for at, topic, msgtype, one in own:
            messages.append((at, topic, msgtype, bytes(store.serialize_cdr(one, msgtype))))
        with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            kinds = {topic: msgtype for _, topic, msgtype, _ in messages}
            connections = {
                topic: writer.add_connection(topic, msgtype, typestore=store)
                for topic, msgtype in kinds.items()
            }
            for at, topic, _, data in sorted(messages, key=lambda each: each[0]):
                writer.write(connections[topic], at, data)
        return path

    return made


@pytest.fixture
def entry(monkeypatch, tmp_path):
    """The only event of a bag."""
    monkeypatch.setattr(Bundle, 'build', lambda self, *settings: fake_pipeline())

    def found(bag: Path, *words: str):
        out = tmp_path / 'out'
        given = ['replay', str(bag), '--out', str(out), '--no-overlay', '--force']
        assert cli.main([*given, *words]) == 0
        (one,) = json.loads((out / 'events.json').read_text())
        return one, out

    return found


def steps() -> np.ndarray:
    """Half a metre on the left, a little more on the right, in metres."""
    return np.where(np.arange(SIZE[1])[None] < 32, 0.5, 0.52).repeat(SIZE[0], 0).astype(np.float32)


@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
def test_an_event_has_its_point_and_boxes(bag, entry, encoding, big):
    values = steps() if encoding == '32FC1' else np.rint(1000 * steps()).astype(np.uint16)
    far = values * values.dtype.type(2)
    depths = [
        (EVENT_NS + k * 30 * MS, depth_image(EVENT_NS + k * 30 * MS, far if k else values, big, 6))
        for k in range(-5, 6)
    ]
    path = bag(depths)
    one, out = entry(path, '--depth-topic', DEPTH)
    labels = cv2.imread(str(out / one['label_image']), cv2.IMREAD_UNCHANGED)
    expected = look(labels, metres(values, encoding), CAMERA, SpaceConfig())
    np.testing.assert_allclose(one['contact']['point'], expected.contact.point, atol=1e-6)
    assert 0.45 < one['contact']['point'][2] < 0.55 and one['no_contact'] is None
    assert one['camera_frame'] == 'optical'
    for each, extent in zip(one['objects'], expected.extents, strict=True):
        np.testing.assert_allclose(each['extent']['size'], extent.size, atol=1e-6)
        np.testing.assert_allclose(each['extent']['centre'], extent.centre, atol=1e-6)
    with_cross = cv2.imread(str(out / one['overlay']))
    without = cv2.imread(str(entry(path)[1] / one['overlay']))
    assert (with_cross != without).any()


def test_nothing_changes_where_nobody_asks(bag, entry):
    one, _ = entry(bag([(EVENT_NS, depth_image(EVENT_NS, steps()))]))
    assert 'contact' not in one and 'extent' not in one['objects'][0]


@pytest.mark.parametrize(
    'why, offset_ms, fill', [('no_depth_image', 60, 0.5), ('no_depth', 0, np.nan)]
)
def test_why_there_is_no_point(bag, entry, why, offset_ms, fill):
    stamp_ns = EVENT_NS + offset_ms * MS
    image = depth_image(stamp_ns, np.full(SIZE, fill, np.float32))
    one, _ = entry(bag([(stamp_ns, image)]), '--depth-topic', DEPTH)
    assert one['contact'] is None and one['no_contact'] == why


def test_masks_of_another_shape_and_what_cannot_be_read_are_told(bag, entry, capsys):
    wide = depth_image(EVENT_NS, np.full((48, 96), 0.5, np.float32))
    broken = depth_image(EVENT_NS, steps())
    broken.step = 3
    one, _ = entry(bag([(EVENT_NS, wide), (EVENT_NS + 1, broken)]), '--depth-topic', DEPTH)
    assert one['no_contact'] == 'other_shape'
    assert 'left out' in capsys.readouterr().err


def test_parameters_of_the_contact_node(bag, entry):
    path = bag([(EVENT_NS + 60 * MS, depth_image(EVENT_NS + 60 * MS, steps()))])
    one, _ = entry(path, '--depth-topic', DEPTH, '--contact', 'max_offset_s=0.1')
    assert one['contact'] is not None


@pytest.mark.parametrize(
    'words, text',
    [
        (['--contact', 'max_offset=1'], 'unknown key'),
        (['--contact', 'max_gap_m'], 'expected NAME=VALUE'),
        (['--depth-topic', '/elsewhere'], 'has no topic'),
        (['--depth-topic', INFO], 'expected sensor_msgs/msg/Image'),
        ([], 'has none of sensor_msgs/msg/CameraInfo'),
    ],
)
def test_what_cannot_be_is_refused(bag, tmp_path, capsys, words, text):
    path = bag([(EVENT_NS, depth_image(EVENT_NS, steps()))], info=bool(words))
    given = ['--out', str(tmp_path / 'out'), '--depth-topic', DEPTH, *words]
    assert cli.main(['replay', str(path), *given]) == 1
    assert text in capsys.readouterr().err


def test_little_of_the_depth_is_held(bag):
    """However long the recording: a second of it, and what memory allows."""
    stamps = [EVENT_NS + k * 10 * MS for k in range(300)]
    depths = [(stamp, depth_image(stamp, steps())) for stamp in stamps]
    depth = BagDepth(Bag(bag(depths)), DEPTH)
    labels = np.ones(SIZE, np.uint8)
    for stamp in stamps[:290:10]:
        depth.look(stamp, labels)
        assert len(depth._kept) <= 102
