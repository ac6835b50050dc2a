"""Masks of clips: the released layout there and back, refusals, and which of them are kept."""

from __future__ import annotations

import needs

needs.training()

import zipfile
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from trap import Trap

from cs3_training.sounding.mask_files import ClipMasks, read_masks, write_masks
from cs3_training.sounding.selection import choose_objects, choose_pool, suppress


def clip(**changes) -> ClipMasks:
    rng = np.random.default_rng(1)
    masks = rng.random((3, 2, 5, 7)) < 0.5
    valid = np.array([[True, True], [True, False], [False, False]])
    pool = rng.random((4, 5, 7)) < 0.5
    extra = {'is_sounding_action': np.array(1), 'object_labels': np.array(['pan', 'spoon'])}
    given = dict(
        frames=(0, 3, 6), masks=masks & valid[..., None, None], valid=valid, pool=pool,
        pool_frame=3, extra=extra,
    )  # fmt: skip
    return ClipMasks(**{**given, **changes})


def same(first: ClipMasks, second: ClipMasks) -> bool:
    arrays = ('masks', 'valid', 'pool')
    assert all(np.array_equal(getattr(first, name), getattr(second, name)) for name in arrays)
    assert first.extra.keys() == second.extra.keys()
    assert all(np.array_equal(value, second.extra[name]) for name, value in first.extra.items())
    return (first.frames, first.pool_frame) == (second.frames, second.pool_frame)


@pytest.mark.parametrize('changes', [{}, {'pool': np.zeros((0, 5, 7), bool), 'pool_frame': 0}])
def test_there_and_back(tmp_path, changes):
    write_masks(tmp_path / 'a.npz', clip(**changes))
    assert same(read_masks(tmp_path / 'a.npz'), clip(**changes))
    assert [path.name for path in tmp_path.iterdir()] == ['a.npz'], 'no part is left'


def test_the_layout_is_the_released_one(tmp_path):
    """Read again by hand, member by member, as the released code does it."""
    write_masks(tmp_path / 'a.npz', clip())
    found = np.load(tmp_path / 'a.npz', allow_pickle=False)
    assert found['frame_indices'].tolist() == [0, 3, 6]
    assert found['object_idx_masks'].astype(int).tolist() == [[1, 1], [1, 0], [0, 0]]
    for row, frame in enumerate((0, 3, 6)):
        for one in range(2):
            name = f'mask_{frame}_{one}'
            shape = tuple(found[f'{name}_shape'])
            kind = np.dtype(found[f'{name}_dtype'].item())
            bits = np.unpackbits(found[name])[: np.prod(shape)].reshape(shape).astype(kind)
            assert np.array_equal(bits, clip().masks[row, one])


def test_masks_of_a_frame():
    found = clip()
    assert np.array_equal(found.at(0), found.masks[0])
    assert found.at(3).any((1, 2)).tolist() == [True, False] and not found.at(99).any()
    assert np.array_equal(found.at(1), found.masks[0]), 'the nearest'
    seen = clip(masks=np.ones((3, 2, 5, 7), bool))
    assert not seen.at(6).any(), 'not there, whatever its mask says'


def members(**changes) -> dict[str, np.ndarray]:
    """A file of one frame as the released data has it, with height and width behind a one."""
    bits = np.packbits(np.ones((4, 6), bool))
    found = {
        'frame_indices': np.array([3]), 'object_idx_masks': np.array([[1, 0]]),
        'mask_3_0': bits, 'mask_3_0_shape': np.array([1, 4, 6]), 'mask_3_0_dtype': np.array('bool'),
    }  # fmt: skip
    return {name: value for name, value in {**found, **changes}.items() if value is not None}


def test_one_object_may_be_all(tmp_path):
    np.savez(tmp_path / 'a.npz', **members())
    found = read_masks(tmp_path / 'a.npz')
    assert found.masks[0, 0].all() and not found.masks[0, 1].any() and not len(found.pool)


def test_pickles_are_left_out_and_named(tmp_path):
    trap = np.array([None, Trap(tmp_path / 'sprung')], object)
    np.savez(tmp_path / 'a.npz', **members(object_labels=trap))
    found = read_masks(tmp_path / 'a.npz')
    assert found.left_out == ('object_labels',) and 'object_labels' not in found.extra
    assert not (tmp_path / 'sprung').exists()


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'frame_indices': None}, 'one named frame_indices'),
        ({'frame_indices': np.array([0.5])}, 'whole numbers'),
        ({'frame_indices': np.array([-3])}, 'rising numbers from 0|a frame of frame_indices'),
        ({'frame_indices': np.array([4])}, 'mask_3_0 = 3: expected a frame of frame_indices'),
        ({'object_idx_masks': np.array([[1, 0, 1]])}, r'object_idx_masks = .*\[1, 2\] flags'),
        ({'mask_3_0': np.zeros(2, np.uint8)}, 'mask_3_0 = .*3 bytes of bits'),
        ({'mask_3_0': np.zeros(3)}, '3 bytes of bits'),
        ({'mask_3_0_shape': None}, 'mask_3_0_shape = None'),
        ({'mask_3_0_shape': np.array([10**9, 10**9])}, 'height and width of a picture'),
        ({'mask_3_0_shape': np.array([-4, -6])}, 'height and width of a picture'),
        ({'mask_3_0_dtype': np.array('float64')}, 'bool or uint8'),
        ({'mask_3_7': np.zeros(3, np.uint8), 'mask_3_7_shape': np.array([4, 6])}, 'objects 0 to 1'),
        ({'pool_0': np.zeros(1, np.uint8), 'pool_0_shape': np.array([2, 2])}, 'masks of one size'),
        ({'pool_1': np.zeros(3, np.uint8), 'pool_1_shape': np.array([4, 6])}, 'pool_0 on'),
        ({'pool_frame': np.array('x')}, 'pool_frame = .*a whole number'),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, changes, reason):
    np.savez(tmp_path / 'a.npz', **members(**changes))
    with pytest.raises(ValueError, match=rf'a\.npz: .*({reason})'):
        read_masks(tmp_path / 'a.npz')


def header(shape: str, count: int) -> bytes:
    """A .npy file that claims a shape."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + '\n'
    return b'\x93NUMPY\x01\x00' + len(text).to_bytes(2, 'little') + text.encode() + bytes(count)


@pytest.mark.parametrize('shape', ['(1000000000000,)', '(1000000, 1000000)', '(3,)'])
def test_a_member_that_claims_more_than_it_has_is_refused(tmp_path, shape):
    with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as archive:
        archive.writestr('frame_indices.npy', header(shape, 8))
    with pytest.raises(ValueError, match='bytes that its shape asks for'):
        read_masks(tmp_path / 'a.npz')


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr('cs3_training.sounding.mask_files.MAX_BYTES', 10_000)
    np.savez_compressed(tmp_path / 'a.npz', zeros=np.zeros(20_000, np.uint8))
    with pytest.raises(ValueError, match='bytes of its members'):
        read_masks(tmp_path / 'a.npz')


def test_damaged_files_are_refused(tmp_path):
    path, whole = tmp_path / 'a.npz', BytesIO()
    np.savez(whole, **members())
    data = whole.getvalue()
    middle = data.index(b'\n\xff\xff\xff') + 1  # the bits
    for damaged in (b'', b'PK no zip', data[:200], data[:middle] + b'x' + data[middle + 1 :]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r'a\.npz'):
            read_masks(path)
    with pytest.raises(OSError, match='nowhere'):
        read_masks(tmp_path / 'nowhere.npz')


def test_a_clip_checks_itself(tmp_path):
    for changes, reason in (
        ({'frames': (0, 6, 3)}, 'rising'),
        ({'frames': (0, 3)}, 'ClipMasks.masks'),
        ({'valid': np.ones((3, 1), bool)}, 'ClipMasks.valid'),
        ({'pool': np.ones((16, 5, 7), bool)}, 'at most 15 masks'),
        ({'pool': np.ones((2, 5, 8), bool)}, 'ClipMasks.pool'),
        ({'masks': np.ones((3, 2, 5, 7))}, 'bool'),
    ):
        with pytest.raises(ValueError, match=reason):
            clip(**changes)
    with pytest.raises(ValueError, match='extra frame_indices: these names belong'):
        write_masks(tmp_path / 'a.npz', replace(clip(), extra={'frame_indices': np.array(1)}))


def square(top: int, left: int, side: int, size: int = 40) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_doubles_are_suppressed_by_score():
    masks = [square(0, 0, 10), square(0, 1, 10), square(20, 20, 10), square(0, 9, 10)]
    assert suppress(masks, [0.5, 0.9, 0.1, 0.4]) == [1, 3, 2]
    assert suppress(masks, [0.9, 0.9, 0.1, 0.4]) == [0, 3, 2], 'of equal ones the earlier'
    assert suppress(masks, [0.5, 0.9, 0.1, 0.4], same=0.9) == [1, 0, 3, 2]
    assert suppress([], []) == []
    with pytest.raises(ValueError, match='4 masks, 3 scores'):
        suppress(masks, [1, 2, 3])


def test_an_overlap_of_the_limit_is_none():
    masks = [square(0, 0, 10), square(0, 0, 10)]
    masks[1][:4] = False  # 60 of 100
    assert suppress(masks, [1, 0.5]) == [0, 1] and suppress(masks, [1, 0.5], 0.59) == [0]


def test_the_order_does_not_matter():
    rng = np.random.default_rng(2)
    masks = [square(*rng.integers(0, 12, 2), 14) for _ in range(12)]
    scores, order = rng.random(12), rng.permutation(12)
    turned = suppress([masks[k] for k in order], scores[order])
    assert [int(order[k]) for k in turned] == suppress(masks, scores)


def test_tracks_are_compared_through_the_clip():
    still = np.stack([square(0, 0, 10)] * 2)
    leaves = np.stack([square(0, 0, 10), square(20, 20, 10)])  # the same in the first frame
    assert suppress([still, leaves], [1, 0.5]) == [0, 1]
    assert suppress([still, still.copy()], [1, 0.5]) == [0]


def test_at_most_two_objects_and_fifteen_distractors():
    masks = [square(k // 5 * 8, k % 5 * 8, 8) for k in range(25)]
    assert choose_objects(masks[:4], [0.1, 0.4, 0.3, 0.2]) == [1, 2]
    empty = np.zeros((40, 40), bool)
    assert choose_objects([empty, masks[0]], [0.9, 0.1]) == [1]
    scores = np.arange(25)
    found = choose_pool(masks, scores, [masks[24]], least=60)
    assert found == list(range(23, 8, -1)), 'the best fifteen without the object'
    assert choose_pool(masks, scores, [], least=65) == []
