"""Clips in the released layout: a table, videos of 3 s and their masks.

    DIR/NAME.csv                    clip_file, clip_text and what makes the id; tabs or commas
    DIR/NAME_clips/CLIP_FILE        the video with its sound, the action in the middle
    DIR/NAME_masks/ID.npz           its masks (``mask_files``)

ID is ``{video_uid}_{narration_source}_{narration_ind}`` where the table has these columns, as for
Ego4D, else the ``narration_id``, as for EPIC-KITCHENS, else the name of the video.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import NS_PER_S, AudioClip
from cs3_ros.files.media import VideoFile
from cs3_ros.networks.beats import RATE
from cs3_ros.networks.sound import waveform
from cs3_training.sounding.data import Sample
from cs3_training.sounding.mask_files import OBJECTS, read_masks

FIRST, LAST = 1 / 3, 2.5 / 3
"""Part of a clip that pictures are taken from: 0.5 s before to 1 s after the action."""


@dataclass(frozen=True)
class ClipRow:
    """A row of the table."""

    video: Path
    masks: Path
    text: str
    """What is done."""


class ClipSet:
    """The clips of a table that are there.

    Args:
        folder: DIR.
        name: NAME, such as ego4d_train.
        frame_step: every so many frames have masks.

    Attributes:
        missing: rows whose video or masks are not there.

    Raises:
        OSError: the table cannot be read.
        ValueError: it lacks a column, or none of its clips is there.
    """

    def __init__(self, folder: Path, name: str, frame_step: int = 3) -> None:
        self._step = frame_step
        table, rows = folder / f'{name}.csv', read_table(folder, name)
        self.rows = [row for row in rows if row.video.is_file() and row.masks.is_file()]
        self.missing = len(rows) - len(self.rows)
        if not self.rows:
            raise ValueError(
                f'{table}: none of its {self.missing} clips is there; expected videos in '
                f'{folder / f"{name}_clips"} and masks in {folder / f"{name}_masks"}'
            )
        digest = hashlib.sha256(table.read_bytes())
        for found in self.rows:
            digest.update(f'{found.video.stat().st_size} {found.masks.stat().st_size}'.encode())
        self.digest = f'{digest.hexdigest()} (table and sizes of {len(self.rows)} clips)'

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, index: int, frames: int, objects: int, rng: np.random.Generator) -> Sample:
        """As ``SoundingSet``; pictures are drawn from those that have masks, in their order.

        Raises:
            ValueError: the video or the masks are damaged, or fewer pictures have masks.
        """
        row = self.rows[index]
        video, clip = VideoFile(row.video), read_masks(row.masks)
        seen = list(video.frames())
        low, high = int(len(seen) * FIRST), int(len(seen) * LAST)
        free = [k for k in clip.frames if low <= k <= min(high, len(seen) - 1)]
        free = [k for k in free if k % self._step == 0]
        if len(free) < frames:
            raise ValueError(
                f'{row.masks}: {len(free)} pictures from {low} to {high} have masks, expected at '
                f'least {frames}'
            )
        chosen = sorted(int(k) for k in rng.choice(free, frames, replace=False))
        pictures = [seen[k].image for k in chosen]
        size = (pictures[0].shape[0], pictures[0].shape[1])
        masks = np.zeros((frames, objects, *size), bool)
        for number, k in enumerate(chosen):
            masks[number, :OBJECTS] = _at_size(clip.at(k)[:objects], size)
        others = np.zeros((frames, len(clip.pool), *size), bool)
        if clip.pool_frame in chosen:  # the distractors of the other pictures are not known
            others[chosen.index(clip.pool_frame)] = _at_size(clip.pool, size)
        return Sample(pictures, masks, _sound(video), row.text, others)


def read_table(folder: Path, name: str) -> list[ClipRow]:
    """The clips of a table, whether they are there or not.

    Args:
        folder: DIR.
        name: NAME.

    Raises:
        OSError: it cannot be read.
        ValueError: it lacks a column, or names a file outside of the folder.
    """
    table = folder / f'{name}.csv'
    lines = table.read_text('utf-8').splitlines()
    tabs = bool(lines) and '\t' in lines[0]  # as Ego4D; EPIC-KITCHENS has commas
    reader = csv.DictReader(lines, delimiter='\t' if tabs else ',')
    return [
        _row(row, folder, name, f'{table}, line {number}') for number, row in enumerate(reader, 2)
    ]


def _row(row: dict[str, str], folder: Path, name: str, where: str) -> ClipRow:
    narrated = ('video_uid', 'narration_source', 'narration_ind')
    text = row.get('clip_text') or row.get('narration')
    identity = row.get('narration_id')
    file = row.get('clip_file') or (f'{identity}.mp4' if identity else None)
    if not text or not file:
        raise ValueError(f'{where}: expected columns clip_file and clip_text, got {sorted(row)}')
    video = Path(file).with_suffix('.mp4')
    if all(row.get(part) for part in narrated):
        identity = '_'.join(row[part] for part in narrated)
    for part in (str(video), identity or ''):
        if Path(part).is_absolute() or '..' in Path(part).parts:
            raise ValueError(f'{where}: {part!r} leads out of the folder')
    masks = folder / f'{name}_masks' / f'{identity or video.stem}.npz'
    return ClipRow(folder / f'{name}_clips' / video, masks, text)


def _sound(video: VideoFile) -> NDArray[np.float32]:
    """Mono at 16 kHz, [samples]; gaps are silent; silence where there is no sound."""
    chunks = list(video.sound())
    if not chunks:
        return np.zeros(round(video.duration_s * RATE), np.float32)
    rate = chunks[0].rate
    places = [round(chunk.stamp_ns * rate / NS_PER_S) for chunk in chunks]
    whole = np.zeros(places[-1] + len(chunks[-1].samples), np.float32)
    for place, chunk in zip(places, chunks, strict=True):
        whole[place : place + len(chunk.samples)] = chunk.samples.mean(1)
    return waveform(AudioClip(0, rate, whole, np.ones(len(whole), bool)), RATE).numpy()


def _at_size(masks: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Masks [M, h, w] at the size of the picture: the nearest pixel."""
    rows = np.arange(size[0]) * masks.shape[1] // size[0]
    columns = np.arange(size[1]) * masks.shape[2] // size[1]
    return masks[:, rows][:, :, columns]
