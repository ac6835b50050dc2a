"""VISOR's outlines, read one frame at a time, and the times of its frames."""

from __future__ import annotations

import needs

needs.training()

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs3_training.data import json_stream
from cs3_training.data.json_stream import entries
from cs3_training.data.visor import NO_OBJECT, read_frame_times, read_visor


def frame(number: int, **more: Any) -> dict[str, Any]:
    name = f'P01_01_frame_{number:010d}.jpg'
    square = [[10, 10], [19, 10], [19, 19], [10, 19]]
    image = {'image_path': f'P01_01/{name}', 'name': name, 'subsequence': 's', 'video': 'P01_01'}
    pan = {'id': 'a', 'name': 'pan', 'class_id': 5, 'exhaustive': 'y'}
    hand = {'id': 'b', 'name': 'left hand', 'class_id': 300, 'in_contact_object': 'a'}
    other = {'id': 'c', 'name': 'right hand', 'class_id': 301, 'in_contact_object': NO_OBJECT[0]}
    glove = {'id': 'd', 'name': 'glove', 'class_id': 60, 'in_contact_object': None}
    segments = [square, [[15, 15], [29.5, 15], [29.5, 29]], []]
    return {
        'image': image,
        'annotations': [
            pan | {'segments': segments},
            hand | {'segments': [square]},
            other | {'segments': []},
            glove | {'segments': [square], 'on_which_hand': ['right hand']},
        ],
        **more,
    }


def written(tmp_path: Path, data: Any) -> Path:
    path = tmp_path / 'P01_01.json'
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_sparse_and_interpolated_frames(tmp_path: Path) -> None:
    frames = [frame(140), frame(141, type=0, interpolation=3), frame(142, type=1, interpolation=3)]
    data = {'info': {'video_annotations': 'not these'}, 'video_annotations': frames}
    found = list(read_visor(written(tmp_path, data)))
    assert [one.interpolated for one in found] == [False, True, False]
    first = found[0]
    assert (first.video, first.name) == ('P01_01', 'P01_01_frame_0000000140.jpg')
    pan, hand, other, glove = first.objects
    assert first.touched(hand) is pan and first.touched(other) is None
    assert first.touched(glove) is None and glove.on_which_hand == ('right hand',)
    mask = pan.mask(64, 48)
    assert mask.shape == (48, 64) and mask[12, 12] and mask[17, 17] and mask[16, 25]
    assert not mask[25, 12] and len(pan.polygons) == 2
    assert not other.mask(64, 48).any()


@pytest.mark.parametrize(
    'change, told',
    [
        (lambda f: f['image'].update(video='P1'), "image.video = 'P1': expected a video"),
        (lambda f: f['image'].update(name='../x.jpg'), 'image.name'),
        (lambda f: f['annotations'][0].pop('segments'), 'annotations[0]: missing segments'),
        (lambda f: f['annotations'][1].update(id='a'), "annotations[1].id = 'a'"),
        (
            lambda f: f['annotations'][0].update(segments=[[[1]]]),
            'segments[0][0] = [1]: expected x',
        ),
        (lambda f: f['annotations'][0].update(segments=[[[1, 1e9]]]), 'segments[0][0] = '),
        (lambda f: f['annotations'][1].update(in_contact_object=7), 'in_contact_object = 7'),
        (lambda f: f['annotations'][0].update(class_id='x'), "class_id = 'x'"),
    ],
)
def test_what_is_broken_is_named(tmp_path: Path, change: Any, told: str) -> None:
    second = frame(141)
    change(second)
    frames = read_visor(written(tmp_path, {'video_annotations': [frame(140), second]}))
    assert next(frames).name.endswith('140.jpg')
    with pytest.raises(ValueError, match=r'P01_01.json') as caught:
        next(frames)
    assert 'video_annotations[1]' in str(caught.value) and told in str(caught.value)


@pytest.mark.parametrize(
    'text, told',
    [
        ('', 'the end'),
        ('[]', "expected '{'"),
        ('{"a": 1}', "the list 'video_annotations'"),
        ('{"video_annotations": 3}', "expected '['"),
        ('{"video_annotations": [{}', "expected ','"),
        ('{"video_annotations": [{"image"', 'no JSON'),
        ('{"video_annotations": [' + '[' * 99_999, 'nested too deeply|no JSON'),
    ],
)
def test_no_such_json(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ValueError, match='P01_01.json') as caught:
        list(entries(written(tmp_path, text), 'video_annotations'))
    assert any(each in str(caught.value) for each in told.split('|'))


@given(
    data=st.lists(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=9)),
    block=st.integers(1, 40),
)
def test_entries_are_those_of_the_whole_file(
    tmp_path_factory: pytest.TempPathFactory, data: list[Any], block: int
) -> None:
    path = tmp_path_factory.getbasetemp() / 'entries.json'
    path.write_text(json.dumps({'x': [1.5, 'ä'], 'y': data, 'z': 0}, ensure_ascii=False), 'utf-8')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, '_BLOCK', block)
        assert [value for _, value in entries(path, 'y')] == data


def test_an_entry_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, '_BLOCK', 64)
    monkeypatch.setattr(json_stream, 'ENTRY_BYTES', 1000)
    with pytest.raises(ValueError, match='a value of more than 1000 bytes'):
        list(read_visor(written(tmp_path, {'video_annotations': ['x' * 5000]})))


def test_times_of_frames(tmp_path: Path) -> None:
    name = 'P01_01_frame_0000000140.jpg'
    path = written(tmp_path, {'timestamps': {'P01': {'P01_01': {name: 2.335, 'x': 'y'}}}})
    assert read_frame_times(path) == {name: 2_335_000_000}
    for bad in ({name: 'soon'}, {name: -1}, {'a': {}}):
        with pytest.raises(ValueError, match='P01_01.json'):
            read_frame_times(written(tmp_path, bad))
