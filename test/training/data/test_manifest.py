"""Evaluation manifests, and masks in whatever layout."""

from __future__ import annotations

import needs

needs.training()

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cs3_training.data.manifest import find_masks, read_manifest

LINE = {'id': 'a', 'video': 'v/P01_14.MP4', 'frame_s': 1.25, 'masks': ['a_1.png', 'a_2.png']}


def written(tmp_path: Path, *lines: Any) -> Path:
    path = tmp_path / 'manifest.jsonl'
    path.write_text('\n'.join(x if isinstance(x, str) else json.dumps(x) for x in lines))
    return path


def square(first: int) -> np.ndarray:
    mask = np.zeros((20, 30), np.uint8)
    mask[2:9, first : first + 6] = 1
    return mask


def test_a_line_may_say_less_and_more(tmp_path: Path) -> None:
    more = LINE | {'id': 'b', 'onset_s': 1, 'group': 'kitchen', 'masks': 'b.png', 'x': [1]}
    first, second = read_manifest(written(tmp_path, LINE, '', more))
    assert first.video == tmp_path / 'v' / 'P01_14.MP4' and first.group == 'P01_14'
    assert first.frame_ns == first.onset_ns == 1_250_000_000
    assert first.masks == (tmp_path / 'a_1.png', tmp_path / 'a_2.png')
    assert (second.onset_ns, second.group, len(second.masks)) == (1_000_000_000, 'kitchen', 1)


@pytest.mark.parametrize(
    'change, told',
    [
        ({'id': 'a'}, "line 2, id = 'a': expected one that line 1 does not have"),
        ({'id': 3}, 'line 2, id = 3'),
        ({'frame_s': 'soon'}, "line 2, frame_s = 'soon'"),
        ({'onset_s': -1}, 'line 2, onset_s = -1'),
        ({'masks': []}, 'line 2, masks'),
        ({'masks': ['a', 'b', 'c']}, 'line 2, masks'),
        ({'video': ''}, "line 2, video = ''"),
    ],
)
def test_what_is_broken_is_named(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    path = written(tmp_path, LINE, LINE | {'id': 'b'} | change)
    with pytest.raises(ValueError, match='manifest.jsonl: 1 bad line') as caught:
        read_manifest(path)
    assert told in str(caught.value)


def test_no_json_and_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='line 1'):
        read_manifest(written(tmp_path, '{"id": '))
    with pytest.raises(ValueError, match='a JSON object on each line'):
        read_manifest(written(tmp_path, ''))
    with pytest.raises(FileNotFoundError):
        read_manifest(tmp_path / 'none')


def layouts(folder: Path, layout: str) -> None:
    folder.mkdir()
    both = square(3) + 2 * square(15)
    if layout == 'ID_1.png':
        Image.fromarray(255 * square(3)).save(folder / 'P01_14_37_1.png')
        Image.fromarray(np.repeat(square(15)[..., None] * 200, 3, 2)).save(
            folder / 'P01_14_37_2.png'
        )
    elif layout == 'ID/1.png':
        (folder / 'P01_14_37').mkdir()
        Image.fromarray(2 * square(3)).save(folder / 'P01_14_37' / '1.png')
        Image.fromarray(square(15)).save(folder / 'P01_14_37' / '2.png')
    elif layout == 'palette':
        picture = Image.fromarray(both, 'P')
        picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        picture.save(folder / 'P01_14_37.png')
    else:
        np.savez(folder / 'P01_14_37.npz', a=square(3), b=square(15))


@pytest.mark.parametrize('layout', ['ID_1.png', 'ID/1.png', 'palette', 'npz'])
def test_masks_of_every_layout(tmp_path: Path, layout: str) -> None:
    layouts(tmp_path / 'masks', layout)
    found = find_masks(tmp_path, ['P01_14_37', 'P01_14_38', 'P01_14'])
    assert list(found) == ['P01_14_37']
    masks = [str(path.relative_to(tmp_path)) for path in found['P01_14_37']]
    (frame,) = read_manifest(written(tmp_path, LINE | {'masks': masks}))
    first, second = frame.load_masks()
    np.testing.assert_array_equal(first, square(3) > 0)
    np.testing.assert_array_equal(second, square(15) > 0)


def test_masks_that_are_none(tmp_path: Path) -> None:
    Image.fromarray(square(3)).save(tmp_path / 'a_1.png')
    (frame,) = read_manifest(written(tmp_path, LINE))
    with pytest.raises(FileNotFoundError, match='a_2.png'):
        frame.load_masks()
    (tmp_path / 'a_2.png').write_bytes(b'none')
    with pytest.raises(ValueError, match='no mask can be read'):
        frame.load_masks()
    Image.fromarray(square(3)[:9]).save(tmp_path / 'a_2.png')
    with pytest.raises(ValueError, match='expected one size'):
        frame.load_masks()
    Image.fromarray(0 * square(3)).save(tmp_path / 'a_2.png')
    with pytest.raises(ValueError, match='an empty mask'):
        frame.load_masks()
    layouts(tmp_path / 'x', 'palette')
    layouts(tmp_path / 'y', 'npz')
    with pytest.raises(ValueError, match='masks of P01_14_37'):
        find_masks(tmp_path, ['P01_14_37'])
