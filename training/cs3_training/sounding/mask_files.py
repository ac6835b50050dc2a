"""Masks of the objects of a clip on disk, in the released ``.npz`` layout (method.md F).

``frame_indices`` numbers the frames that have masks; ``object_idx_masks`` [F, 2] says which of the
two objects are there; ``mask_{frame}_{object}`` holds the bits of one mask, with ``_shape`` and
``_dtype`` beside it. Other names pass through. Distractors, which the released data keeps in
pickles of their own, lie here as ``pool_{number}`` in the same packing, at the frame
``pool_frame``: readers of the layout pass them by. Pickled members are never read.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from cs3_ros.collision import MAX_PIXELS
from cs3_ros.files.atomic import replacing
from cs3_ros.files.fields import expect
from cs3_ros.files.regular import check_regular

OBJECTS = 2
"""Most objects of a clip."""
POOL = 15
"""Most distractors."""
MAX_FRAMES = 100_000
"""Largest number of frames, and of a frame: an hour at 27 frames per second."""
MAX_BYTES = 1 << 30
"""Most bytes of all members unpacked: 3 s of 4K video, every third frame, take 50 MB."""
MAX_MEMBERS = 1_000_000
_MASK, _POOL = re.compile(r'mask_(\d{1,9})_(\d{1,3})'), re.compile(r'pool_(\d{1,3})')
_KNOWN = ('frame_indices', 'object_idx_masks', 'pool_frame')


@dataclass(frozen=True, eq=False)
class ClipMasks:
    """The masks of a clip.

    Raises:
        ValueError: shapes that do not fit, too many objects or distractors, or frames that do not
            rise.
    """

    frames: tuple[int, ...]
    """Numbers of the frames that have masks, rising."""
    masks: NDArray[np.bool_]
    """Of the objects, [F, 2, H, W]; empty where one is not there."""
    valid: NDArray[np.bool_]
    """Which objects are there, [F, 2]."""
    pool: NDArray[np.bool_]
    """Of anything else in one frame, [P, H, W]; P is 0 where none were looked for."""
    pool_frame: int = 0
    """Number of that frame."""
    extra: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """What else is told, such as ``is_sounding_action``."""
    left_out: tuple[str, ...] = ()
    """Names of members that were pickled, and therefore not read."""

    def __post_init__(self) -> None:
        count, size = len(self.frames), self.masks.shape[2:]
        for name, found, wanted in (
            ('masks', self.masks.shape, (count, OBJECTS, *size)),
            ('valid', self.valid.shape, (count, OBJECTS)),
            ('pool', self.pool.shape, (len(self.pool), *size)),
        ):
            expect(len(size) == 2 and found == wanted, f'ClipMasks.{name}', found, f'{wanted}')
        for name, array in (('masks', self.masks), ('valid', self.valid), ('pool', self.pool)):
            expect(array.dtype == bool, f'ClipMasks.{name}', array.dtype, 'bool')
        expect(len(self.pool) <= POOL, 'ClipMasks.pool', len(self.pool), f'at most {POOL} masks')
        rising = all(a < b for a, b in zip(self.frames, self.frames[1:], strict=False))
        good = 0 < count <= MAX_FRAMES and rising and 0 <= self.frames[0]
        good = good and self.frames[-1] <= MAX_FRAMES
        expect(good, 'ClipMasks.frames', self.frames, f'rising numbers from 0 to {MAX_FRAMES}')

    def at(self, frame: int) -> NDArray[np.bool_]:
        """Masks of the objects in the frame, or else the one nearest to it that has masks (a tie
        takes the earlier), [2, H, W]; empty where one is not there."""
        row = int(np.argmin([abs(number - frame) for number in self.frames]))
        return self.masks[row] & self.valid[row, :, None, None]


def write_masks(path: Path, clip: ClipMasks) -> None:
    """Write a file, whole or not at all.

    Raises:
        OSError: it cannot be written.
        ValueError: a name of ``extra`` belongs to the layout.
    """
    members: dict[str, Any] = {
        'frame_indices': np.array(clip.frames, np.int64),
        'object_idx_masks': clip.valid,
    }
    for number, frame in enumerate(clip.frames):
        for one in range(OBJECTS):
            members |= _packed(f'mask_{frame}_{one}', clip.masks[number, one])
    for number, mask in enumerate(clip.pool):
        members |= _packed(f'pool_{number}', mask)
    if len(clip.pool):
        members['pool_frame'] = np.int64(clip.pool_frame)
    if taken := sorted(name for name in clip.extra if name in members or name in _KNOWN):
        raise ValueError(f'extra {", ".join(taken)}: these names belong to the layout')
    with replacing(path) as part, part.open('wb') as file:
        np.savez_compressed(file, **members, **clip.extra)


def read_masks(path: Path) -> ClipMasks:
    """Read a file; nothing in it is executed.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, claims more than the bounds allow, or its members do not fit
            together; names the file and the member.
    """
    check_regular(path, 'file of masks')
    try:
        members, left_out = _members(path)
        return _clip(members, left_out)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f'{path}: no .npz file, or damaged ({error}); bring it again') from error
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def _packed(name: str, mask: NDArray[np.bool_]) -> dict[str, Any]:
    shape = np.array(mask.shape, np.int64)
    return {name: np.packbits(mask), f'{name}_shape': shape, f'{name}_dtype': np.array('bool')}


def _members(path: Path) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Arrays by name, and the names of those that are pickled."""
    found: dict[str, NDArray[Any]] = {}
    left_out = []
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        size = sum(info.file_size for info in infos)
        expect(len(infos) <= MAX_MEMBERS, 'members', len(infos), f'at most {MAX_MEMBERS}')
        expect(size <= MAX_BYTES, 'bytes of its members', size, f'at most {MAX_BYTES}')
        for info in infos:
            name = info.filename.removesuffix('.npy')
            array = _array(archive.read(info), name)
            if array is None:
                left_out.append(name)
            else:
                found[name] = array
    return found, tuple(left_out)


def _array(data: bytes, name: str) -> NDArray[Any] | None:
    """An array in the .npy format; None where it is pickled."""
    stream = BytesIO(data)
    version = npy.read_magic(stream)
    expect(version in ((1, 0), (2, 0)), f'{name}: version', version, '(1, 0) or (2, 0)')
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        return None
    # what the header claims is allocated before it is read
    claimed, there = dtype.itemsize, len(data) - stream.tell()
    for side in shape:
        claimed *= side
    expect(claimed == there, f'{name}: bytes that its shape asks for', claimed, f'{there}')
    stream.seek(0)
    array: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
    return array


def _clip(members: dict[str, NDArray[Any]], left_out: tuple[str, ...]) -> ClipMasks:
    for name in ('frame_indices', 'object_idx_masks'):
        expect(name in members, 'members', sorted(members)[:5], f'one named {name}')
    numbers, there = members['frame_indices'], members['object_idx_masks']
    good = numbers.ndim == 1 and numbers.dtype.kind in 'iu' and 0 < len(numbers) <= MAX_FRAMES
    expect(good, 'frame_indices', numbers.shape, f'1 to {MAX_FRAMES} whole numbers')
    frames = tuple(int(number) for number in numbers)
    good = there.shape == (len(frames), OBJECTS) and there.dtype.kind in 'biuf'
    expect(good, 'object_idx_masks', there.shape, f'[{len(frames)}, {OBJECTS}] flags')
    masks, pool = _found(members, _MASK), _found(members, _POOL)
    sizes = {mask.shape for mask in (*masks.values(), *pool.values())}
    expect(len(sizes) == 1, 'sizes of the masks', sorted(sizes)[:5], 'masks of one size')
    size = sizes.pop()
    total = len(frames) * OBJECTS * size[0] * size[1]
    expect(total <= MAX_BYTES, 'pixels of all masks', total, f'at most {MAX_BYTES}')
    every = np.zeros((len(frames), OBJECTS, *size), bool)
    rows = {frame: row for row, frame in enumerate(frames)}
    for (frame, one), mask in masks.items():
        expect(frame in rows, f'mask_{frame}_{one}', frame, 'a frame of frame_indices')
        expect(one < OBJECTS, f'mask_{frame}_{one}', one, f'objects 0 to {OBJECTS - 1}')
        every[rows[frame], one] = mask
    expect(sorted(pool) == [(k,) for k in range(len(pool))], 'pool', sorted(pool), 'pool_0 on')
    distractors = np.stack([pool[(k,)] for k in range(len(pool))]) if pool else every[:0, 0]
    place = members.get('pool_frame', np.array(frames[0]))
    expect(place.shape == () and place.dtype.kind in 'iu', 'pool_frame', place, 'a whole number')
    extra = {
        name: array
        for name, array in members.items()
        if name not in _KNOWN and not re.match(r'(mask|pool)_\d', name)
    }
    flags = there.astype(bool)
    return ClipMasks(frames, every, flags, distractors, int(place), extra, left_out)


def _found(
    members: dict[str, NDArray[Any]], pattern: re.Pattern[str]
) -> dict[tuple[int, ...], NDArray[np.bool_]]:
    """Unpacked masks by the numbers in their names."""
    found = {}
    for name, bits in members.items():
        match = pattern.fullmatch(name)
        if match is None:
            continue
        shape, kind = members.get(f'{name}_shape'), members.get(f'{name}_dtype')
        good = shape is not None and shape.ndim == 1 and shape.dtype.kind in 'iu'
        sides = tuple(int(side) for side in shape) if good and shape is not None else ()
        if len(sides) == 3 and sides[0] == 1:
            sides = sides[1:]
        good = len(sides) == 2 and min(sides) > 0 and sides[0] * sides[1] <= MAX_PIXELS
        expect(good, f'{name}_shape', shape, 'height and width of a picture')
        wanted = kind is None or (kind.shape == () and str(kind) in ('bool', 'uint8', '|b1', '|u1'))
        expect(wanted, f'{name}_dtype', kind, 'bool or uint8')
        count = sides[0] * sides[1]
        good = bits.dtype == np.uint8 and bits.shape == (-(-count // 8),)
        expect(good, name, (bits.dtype, bits.shape), f'{-(-count // 8)} bytes of bits')
        numbers = tuple(int(number) for number in match.groups())
        found[numbers] = np.unpackbits(bits, count=count).reshape(sides).astype(bool)
    return found
