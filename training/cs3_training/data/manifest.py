"""Evaluation frames with their masks, wherever they lie: a manifest of JSON lines names them.

    {"id": "P01_14_37", "video": "P01_14.MP4", "onset_s": 135.7, "frame_s": 135.85,
     "masks": ["masks/P01_14_37_1.png", "masks/P01_14_37_2.png"], "group": "P01_14"}

Times are seconds of media time, paths are relative to the manifest. A line may leave out
``onset_s`` (then the frame's time) and ``group`` (then the name of the video), may name one file of
``masks`` that holds both, and may say more, of which ``dataset``, ``label`` and ``duration_s`` are
read.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import MAX_PIXELS, NS_PER_S, Mask
from cs3_ros.files.fields import expect, items, mapping, number, one_of, text
from cs3_ros.files.jsonfile import load_json
from cs3_ros.files.regular import check_regular
from cs3_training.data.records import Dataset
from cs3_training.data.tables import LATEST_S, LINE_BYTES, LONGEST_S, MOST_ROWS, TOLD

MOST_MASKS = 2
"""Objects of a collision."""


@dataclass(frozen=True)
class EvaluationFrame:
    """A frame that is scored."""

    id: str
    """Unique in the manifest: that of its annotation."""
    video: Path
    """The video, which need not be there."""
    onset_ns: int
    """Media time at which the collision is heard."""
    frame_ns: int
    """Media time of the frame."""
    masks: tuple[Path, ...]
    """Its mask files, 1 or 2: a PNG for each object, or one file that holds both (a PNG with the
    values 1 and 2, an npz)."""
    group: str
    """Frames of one group are not independent: bootstrap and splits keep them together."""
    dataset: str = ''
    """``epic`` or ``ego4d`` where it is a frame of CS3; '' of other data."""
    label: str = ''
    """Class of the sound, such as ``metal-only-collision``; '' where it is not known."""
    duration_s: float | None = None
    """Length of the segment in which the sound is heard; None where it is not known."""

    def load_masks(self) -> tuple[Mask, ...]:
        """The one or two masks, bool [H, W], of one size.

        Raises:
            FileNotFoundError: a file is not there.
            ValueError: a file holds no masks, or they are empty, too many or of several sizes.
        """
        if len(self.masks) == 1:
            found = masks_of(self.masks[0])
        else:
            # each file is one object, whatever its values
            found = [np.any(masks_of(path), 0) for path in self.masks]
        sizes = {mask.shape for mask in found}
        where = f'{self.id}: masks {", ".join(path.name for path in self.masks)}'
        expect(1 <= len(found) <= MOST_MASKS, where, len(found), 'one or two objects')
        expect(len(sizes) == 1, where, sorted(sizes), 'one size')
        expect(all(mask.any() for mask in found), where, 'an empty mask', 'pixels in each')
        return tuple(found)


def load_prediction(paths: Sequence[Path], size: tuple[int, int]) -> list[Mask]:
    """What another method answered for a frame: at most two masks, empty ones left out.

    Args:
        paths: its files, as ``find_masks`` finds them; none for no answer.
        size: height and width of the annotation; masks of another size are resized, nearest.

    Raises:
        ValueError: a file holds no masks, or there are more than two.
    """
    if len(paths) == 1:
        found = masks_of(paths[0])
    else:
        found = [np.any(masks_of(path), 0) for path in paths]
    where = f'prediction {", ".join(map(str, paths))}'
    expect(len(found) <= MOST_MASKS, where, len(found), 'at most two masks')
    return [resized(mask, size) for mask in found if mask.any()]


def resized(mask: Mask, size: tuple[int, int]) -> Mask:
    """A mask at another height and width, nearest neighbour; itself where it has them."""
    if mask.shape == size:
        return mask
    import cv2

    other = cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return other.astype(bool)


def read_manifest(path: Path) -> list[EvaluationFrame]:
    """The frames of a manifest, in its order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: lines are bad: says how many, and file, line and value of the first few.
    """
    check_regular(path, 'manifest')
    frames: list[EvaluationFrame] = []
    lines: dict[str, int] = {}
    told: list[str] = []
    bad = 0
    with path.open('rb') as file:
        for line in range(1, MOST_ROWS):
            if not (data := file.readline(LINE_BYTES + 1)):
                break
            if len(data) > LINE_BYTES:
                raise ValueError(f'{path}, line {line}: longer than the {LINE_BYTES} bytes read')
            if not data.strip():
                continue
            try:
                frame = _frame(load_json(data.decode('utf-8-sig')), path.parent)
                first = lines.setdefault(frame.id, line)
                expect(first == line, 'id', frame.id, f'one that line {first} does not have')
                frames.append(frame)
            except ValueError as error:
                bad += 1
                if len(told) < TOLD:
                    told.append(f'line {line}, {error}')
    if bad:
        raise ValueError(f'{path}: {bad} bad line(s): {"; ".join(told)}')
    expect(bool(frames), f'{path}', '', 'a JSON object on each line')
    return frames


def find_masks(folder: Path, ids: Collection[str]) -> dict[str, tuple[Path, ...]]:
    """The mask files of annotations, in any of the usual layouts.

    ``ID_1.png`` and ``ID_2.png``, ``ID/1.png`` and ``ID/2.png``, ``ID.png`` or ``ID.npz``, in the
    folder or below.

    Args:
        folder: where to look.
        ids: of the annotations.

    Returns:
        Id -> files in the order of their numbers, for those that have any.

    Raises:
        ValueError: an annotation has masks in several places or layouts.
    """
    wanted = set(ids)
    found: dict[str, dict[tuple[str, int], Path]] = {}
    for path in sorted(folder.rglob('*')):
        if path.suffix.lower() not in ('.png', '.npz') or not path.is_file():
            continue
        numbered = re.fullmatch(r'(.+)_(\d{1,3})', path.stem)
        if path.stem in wanted:
            name, layout, number_ = path.stem, 'ID.png', 0
        elif path.parent.name in wanted and path.stem.isdecimal():
            name, layout, number_ = path.parent.name, 'ID/1.png', int(path.stem)
        elif numbered and numbered[1] in wanted:
            name, layout, number_ = numbered[1], 'ID_1.png', int(numbered[2])
        else:
            continue
        others = found.setdefault(name, {})
        place = f'{layout} in {path.parent}'
        expect(
            all(before == place for before, _ in others), f'{folder}: masks of {name}',
            [str(other) for other in others.values()] + [str(path)], 'one layout in one place',
        )  # fmt: skip
        others[place, number_] = path
    return {name: tuple(path for _, path in sorted(paths.items())) for name, paths in found.items()}


def _frame(value: Any, folder: Path) -> EvaluationFrame:
    data = mapping(value, 'frame', ('id', 'video', 'frame_s', 'masks'), None)
    video = folder / text(data['video'], 'video')
    masks = [data['masks']] if isinstance(data['masks'], str) else items(data['masks'], 'masks', 1)
    expect(len(masks) <= MOST_MASKS, 'masks', masks, 'one or two files')
    frame_s = number(data['frame_s'], 'frame_s', 0, LATEST_S)
    onset_s = number(data.get('onset_s', frame_s), 'onset_s', 0, LATEST_S)
    duration_s = data.get('duration_s')
    return EvaluationFrame(
        text(data['id'], 'id'),
        video,
        round(onset_s * NS_PER_S),
        round(frame_s * NS_PER_S),
        tuple(folder / text(mask, f'masks[{k}]') for k, mask in enumerate(masks)),
        text(data.get('group', video.stem), 'group'),
        one_of(data.get('dataset', ''), 'dataset', ('', *get_args(Dataset))),
        text(data.get('label', ''), 'label', blank=True),
        None if duration_s is None else number(duration_s, 'duration_s', 0, LONGEST_S),
    )


def masks_of(path: Path) -> list[Mask]:
    """The objects of one file, bool [H, W] each.

    A PNG with the values 1 and 2 and an npz of several arrays hold several, others one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no masks.
    """
    check_regular(path, 'mask')
    try:
        array = _from_npz(path) if path.suffix.lower() == '.npz' else _from_picture(path)
    except Exception as error:  # of damaged files their readers raise anything
        raise ValueError(
            f'{path}: no mask can be read ({type(error).__name__}: {error})'
        ) from error
    if array.ndim == 3:
        return list(array > 0)
    values = np.unique(array[array > 0])
    if set(values.tolist()) == {1, 2}:
        return [array == 1, array == 2]
    return [array > 0]


def _from_picture(path: Path) -> NDArray[Any]:
    """Grey or palette values [H, W]; of colours, those that are not black are 1."""
    from PIL import Image

    with Image.open(path, formats=('PNG',)) as picture:
        expect(picture.width * picture.height <= MAX_PIXELS, 'pixels', picture.size, 'fewer')
        if picture.mode not in ('1', 'L', 'P', 'I', 'I;16'):
            return np.asarray(picture.convert('RGB')).any(2)
        array = np.asarray(picture)
    return array


def _from_npz(path: Path) -> NDArray[Any]:
    """The arrays of a file, [H, W] or [N, H, W], one after the other: [N, H, W]."""
    with zipfile.ZipFile(path) as archive:
        size = sum(info.file_size for info in archive.infolist())
    expect(size <= MOST_MASKS * 8 * MAX_PIXELS, 'bytes', size, 'fewer')
    with np.load(path, allow_pickle=False) as file:
        arrays = [np.atleast_3d(file[name].T).T for name in sorted(file.files)]
    return np.concatenate(arrays)
