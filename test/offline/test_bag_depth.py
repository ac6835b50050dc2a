"""Contact points offline: a bag with depth gives what the contact node's functions say."""

from __future__ import annotations

import needs

needs.opencv()

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from depth_bag import CAMERA, DEPTH, INFO, SIZE, depth_image, steps, with_depth
from fakes import click_sound, fake_pipeline
from tiny_media import write_media

from cs3_ros import cli
from cs3_ros.bundles.bundle import Bundle
from cs3_ros.files.bag_writer import make_bag
from cs3_ros.files.bags import Bag
from cs3_ros.offline.bag_depth import BagDepth
from cs3_ros.space.camera import metres
from cs3_ros.space.contact import SpaceConfig
from cs3_ros.space.sight import look

EVENT_NS, MS = 1_000_400_000_000, 1_000_000


@pytest.fixture(scope='module')
def plain(tmp_path_factory) -> Bag:
    folder = tmp_path_factory.mktemp('plain')
    sound = click_sound((0.4,), 0.8)[:, None]
    return Bag(make_bag(write_media(folder / 'clip.mkv', frames=24, sound=sound), folder / 'bag'))


@pytest.fixture
def bag(plain, tmp_path):
    """Makes the bag with depth: (log time in ns, depth image) of each."""

    def made(depths, info: bool = True) -> Path:
        infos = [EVENT_NS - 300 * MS] if info else []
        return with_depth(plain, tmp_path / 'bag', depths, infos)

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
