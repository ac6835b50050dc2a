"""VISOR, Hands23 and EgoHOS as one detection set; hands found beforehand."""

from __future__ import annotations

import needs

needs.training()

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from shared_data import shared_data

from cs3_ros.collision import HandObject
from cs3_ros.hands import detr
from cs3_ros.hands.hands23_results import Hands23Hand, read_results
from cs3_training import cli
from cs3_training.data.detections import Found, read_detections, write_detections
from cs3_training.hands.detect import of_hands23
from cs3_training.hands.labels import LABELS, LabelledPicture, kept, read_labels, write_labels


def square(x: float, y: float, side: float = 100) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side]]


def picture(path: Path, width: int = 192, height: int = 108) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(path)
    return path


def convert(source: str, labels: Path, pictures: Path, out: Path, *more: str) -> int:
    words = ['hands', 'convert', source, '--labels', str(labels), '--pictures', str(pictures)]
    return cli.main([*words, '--out', str(out), *more])


def test_labels_are_those_of_the_detector() -> None:
    assert LABELS == detr.LABELS


def test_visor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hands = [
        {'id': 'l', 'name': 'left hand', 'class_id': 300, 'in_contact_object': 'pan'},
        {'id': 'r', 'name': 'right hand', 'class_id': 301, 'in_contact_object': 'l'},
        {'id': 'g', 'name': 'glove', 'class_id': 60, 'in_contact_object': 'pan',
         'on_which_hand': ['right hand']},
    ]  # fmt: skip
    outlines = {'l': [square(0, 0)], 'r': [square(400, 0), square(450, 50)], 'g': [square(800, 0)]}
    rows: list[dict[str, Any]] = [hand | {'segments': outlines[hand['id']]} for hand in hands]
    rows.append({'id': 'pan', 'name': 'pan', 'class_id': 5, 'segments': [square(1000, 500, 400)]})
    name = 'P01_01_frame_{:010d}.jpg'
    frames = [
        {'image': {'video': 'P01_01', 'name': name.format(k)}, 'annotations': rows}
        for k in (140, 150)
    ]
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'labels' / 'P01_01.json').write_text(json.dumps({'video_annotations': frames}))
    there = picture(tmp_path / 'frames' / 'P01' / name.format(140))
    out = tmp_path / 'out' / 'visor.jsonl'
    assert convert('visor', tmp_path / 'labels', tmp_path / 'frames', out) == 0
    (found,) = read_labels(out)
    assert found.picture.resolve() == there.resolve() and found.group == 'P01_01'
    assert found.size == (1920, 1080)
    assert sorted(found.boxes) == [
        ('left_hand', (0, 0, 100, 100)),
        ('left_hand_object', (1000, 500, 1400, 900)),
        ('right_hand', (400, 0, 550, 150)),
        ('right_hand', (800, 0, 900, 100)),
        ('right_hand_object', (1000, 500, 1400, 900)),
    ]
    corners, labels = found.targets()
    np.testing.assert_allclose(corners[0], [1000 / 1920, 500 / 1080, 1400 / 1920, 900 / 1080])
    assert labels.tolist()[:2] == [2, 3]
    assert f'1 pictures are not there: {name.format(150)}' in capsys.readouterr().out


def test_hands23(tmp_path: Path) -> None:
    lines = [
        'left_hand | object_contact | 5.5,6,40,40 | 50,50,90,90 | tool_,_held | None | Pow-Pris',
        "right_hand | object_contact | 100,6,140,40 | '50','50','90','90' | tool_,_used | "
        '10,80,60,100 | None',
        'right_hand | self_contact | 150,0,180,20 | 1,1,30,30 | None | None | None',
        'left_hand | no_contact | 150,60,250,150 | None | None | None | None',
        '',
    ]
    for name in ('EK_1.jpg', 'ND_2.jpg', 'AR_3.jpg'):
        (tmp_path / f'{name}.txt').write_text('\n'.join(lines))
    pictures = tmp_path / 'pictures'
    picture(pictures / 'EK_1.jpg'), picture(pictures / 'ND_2.jpg')
    (tmp_path / 'train.list').write_text('ND_2.jpg\nAR_3.jpg\n')
    out = tmp_path / 'hands23.jsonl'
    assert convert('hands23', tmp_path, pictures, out, '--names', str(tmp_path / 'train.list')) == 0
    (found,) = read_labels(out)
    assert found.group == 'ND' and found.size == (192, 108)
    assert sorted(found.boxes) == [
        ('left_hand', (5.5, 6, 40, 40)),
        ('left_hand', (150, 60, 192, 108)),
        ('left_hand_object', (50, 50, 90, 90)),
        ('right_hand', (100, 6, 140, 40)),
        ('right_hand', (150, 0, 180, 20)),
        ('right_hand_object', (50, 50, 90, 90)),
    ]


@pytest.mark.parametrize(
    'line, told',
    [
        ('left_hand | no_contact | 1,2,3,4', '7 fields'),
        ('hand | no_contact | 1,2,3,4 | None | None | None | None', 'left_hand or right_hand'),
        ('left_hand | no_contact | 1,2,x,4 | None | None | None | None', 'x0,y0,x1,y1'),
    ],
)
def test_broken_lines_of_hands23_are_named(
    tmp_path: Path, line: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'a.jpg.txt').write_text(line)
    picture(tmp_path / 'a.jpg')
    assert convert('hands23', tmp_path, tmp_path, tmp_path / 'out') == 1
    said = capsys.readouterr().err
    assert 'a.jpg.txt, line 1' in said and told in said


def test_egohos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.zeros((108, 192), np.uint8)
    for value, x in ((1, 0), (2, 30), (3, 60), (5, 90), (6, 150)):
        values[10:30, x : x + 20] = value
    (tmp_path / 'label').mkdir()
    Image.fromarray(values).save(tmp_path / 'label' / 'a.png')
    picture(tmp_path / 'image' / 'a.jpg')
    out = tmp_path / 'egohos.jsonl'
    assert convert('egohos', tmp_path / 'label', tmp_path / 'image', out) == 0
    (found,) = read_labels(out)
    assert sorted(found.boxes) == [
        ('left_hand', (0, 10, 20, 30)),
        ('left_hand_object', (60, 10, 80, 30)),
        ('left_hand_object', (90, 10, 110, 30)),
        ('right_hand', (30, 10, 50, 30)),
        ('right_hand_object', (90, 10, 110, 30)),
    ]
    values[0, 0] = 9
    Image.fromarray(values).save(tmp_path / 'label' / 'a.png')
    assert convert('egohos', tmp_path / 'label', tmp_path / 'image', out) == 1
    assert 'one value of 0 to 8' in capsys.readouterr().err


def test_boxes_are_cut_and_specks_left_out() -> None:
    boxes = [('left_hand', (-5.0, -5.0, 10.0, 10.0)), ('left_hand', (0.0, 0.0, 3.0, 50.0))]
    assert kept([*boxes, *boxes], (100, 60)) == (('left_hand', (0, 0, 10, 10)),)


@pytest.mark.parametrize(
    'change, told',
    [
        ({'boxes': [['hand', 1, 2, 30, 40]]}, 'boxes[0]'),
        ({'boxes': [['left_hand', 30, 2, 1, 40]]}, 'x0 < x1'),
        ({'boxes': [['left_hand', 1, 2, 30, 400]]}, 'boxes[0] = 400'),
        ({'size': [0, 5]}, 'size = 0'),
        ({'more': 1}, 'unknown key'),
    ],
)
def test_broken_sets_are_named(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    path = tmp_path / 'set.jsonl'
    write_labels(path, [LabelledPicture(tmp_path / 'a.jpg', (100, 60), (), 'g')])
    assert read_labels(path)[0].targets()[0].shape == (0, 4)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match='line 1, ') as caught:
        read_labels(path)
    assert told in str(caught.value)


def test_detections_come_back_as_they_were(tmp_path: Path) -> None:
    points = np.array([[1.1, 2.7], [3.3, 4.9]], np.float32)
    hand = HandObject('right', 0.123456789, (0, 1.5, 2, 3), points, points[:1], (4, 5, 6, 7.25))
    found = {'a': Found((hand, HandObject('left', 0.5, None)), (1, 2, 3, 4)), 'b': Found(())}
    path = tmp_path / 'hands.jsonl'
    assert write_detections(path, 'somebody', True, found.items()) == 2
    read = read_detections(path)
    assert (read.detector, read.second_objects) == ('somebody', True)
    first, second = read.of('a').hands
    assert (first.side, first.score, first.hand_box) == ('right', 0.123456789, (0, 1.5, 2, 3))
    assert first.object_box == (4, 5, 6, 7.25) and first.hand_hull.dtype == np.float32
    np.testing.assert_array_equal(first.hand_hull, points)
    np.testing.assert_array_equal(first.grip_points, points[:1])
    assert len(first.hand_points) == 0 and second.object_box is None
    assert read.of('a').second_box == (1, 2, 3, 4) and read.of('b').second_box is None
    with pytest.raises(ValueError, match="hands.jsonl: id = 'c'"):
        read.of('c')


@pytest.mark.parametrize(
    'line, told',
    [
        ({'id': 'a', 'hands': []}, 'every id once'),
        ({'id': 'b', 'hands': [{'side': 'up', 'score': 1}]}, 'hands[0].side'),
        ({'id': 'b', 'hands': [{'side': 'left', 'score': 2}]}, 'hands[0].score'),
        ({'id': 'b', 'hands': [{'side': 'left', 'score': 1}] * 2}, 'each side once'),
        ({'id': 'b', 'hands': [{'side': 'left', 'score': 1, 'hand_hull': [[1]]}]}, 'hand_hull[0]'),
        ({'id': 'b', 'hands': [], 'second_box': [1, 2, 3, 4]}, 'second_box'),
    ],
)
def test_broken_detections_are_named(tmp_path: Path, line: dict[str, Any], told: str) -> None:
    path = tmp_path / 'hands.jsonl'
    write_detections(path, 'somebody', False, [('a', Found(()))])
    path.write_text(path.read_text() + json.dumps(line))
    with pytest.raises(ValueError, match='line 3') as caught:
        read_detections(path)
    assert told in str(caught.value)


def test_the_second_object_is_that_of_the_hand_that_counts() -> None:
    box = (10.0, 10.0, 50.0, 50.0)

    def hand(score: float, second: float | None, side: Any = 'right', x: float = 0) -> Hands23Hand:
        first = (x, 0.0, x + 40, 40.0)
        return Hands23Hand(
            side, score, first, 'object_contact', box, 0.9,
            None if second is None else (60.0, 60.0, 90.0, 90.0 + x), second,
        )  # fmt: skip

    shape = (108, 192)
    assert of_hands23([hand(0.9, 0.8)], shape).second_box == (60, 60, 90, 90)
    assert of_hands23([hand(0.9, 0.2)], shape).second_box is None, 'below its threshold'
    assert of_hands23([hand(0.9, None), hand(0.8, 0.9, x=5)], shape).second_box is None
    assert of_hands23([hand(0.8, 0.9), hand(0.9, 0.9, x=5)], shape).second_box == (60, 60, 90, 95)
    assert of_hands23([hand(0.9, 0.8, 'left')], shape).second_box is None
    assert of_hands23([hand(0.5, 0.8)], shape).hands == ()


def test_the_demo_of_hands23() -> None:
    """Its own pictures: a right hand uses a tool on something in some of them."""
    folder = shared_data('hands23_demo') / 'example_result'
    seconds = {}
    for name, hands in read_results(folder / 'result.json').items():
        with Image.open(folder.parent / 'example_images' / name) as image:
            found = of_hands23(hands, (image.height, image.width))
        seconds[name] = found.second_box
        assert [hand.side for hand in found.hands] == sorted(
            {h.side for h in hands if h.contact == 'object_contact'}, reverse=True
        )
    print(seconds)
    assert any(seconds.values()) and not all(seconds.values())
