"""The annotation files: CS3 for EPIC and Ego4D, EPIC-SOUNDS, Ego4DSounds, and ``curate``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from cs3_ros.files.fields import expect
from cs3_training.data.records import CLASSES, NOISES, Dataset, Segment, collision_name
from cs3_training.data.tables import Row, header, read_table, span_ns

EPIC_COLUMNS = (
    *('annotation_id', 'participant_id', 'video_id', 'start_timestamp', 'stop_timestamp'),
    'class',
)
"""Of CS3 for EPIC and, with ``class_id``, of EPIC-SOUNDS."""
EGO4D_COLUMNS = (
    *('annotation_id', 'video_id', 'start_timestamp', 'stop_timestamp', 'class', 'score'),
)
"""Of CS3 for Ego4D."""
OWN_COLUMNS = (*EGO4D_COLUMNS, 'onset_timestamp', 'description')
"""Of ``cs3-train curate candidates``."""
EGO4D_SOUNDS_COLUMNS = (
    *('video_uid', 'narration_source', 'narration_ind', 'clip_start', 'clip_end'),
)
"""Of Ego4DSounds, a table with tabs."""

EPIC_VIDEO = r'P\d\d_\d{2,3}'
OWN_VIDEO = r'[^/.][^/]{0,159}'
EGO4D_VIDEO = r'(grp-)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'

NEAR_NS = 100_000_000
"""A chosen frame lies within its segment or this close: times are rounded to frames."""


def read_segments(path: Path, dataset: Dataset) -> list[Segment]:
    """The segments of any of the tables, told from each other by their columns.

    Args:
        path: of the table.
        dataset: whose videos it speaks of.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as ``tables.read_table``.
    """
    if dataset == 'own':
        return read_own(path)
    if dataset == 'epic':
        return (read_epic_sounds if 'class_id' in header(path) else read_epic)(path)
    tabs = 'narration_source' in header(path, '\t')
    return (read_ego4d_sounds if tabs else read_ego4d)(path)


def read_epic(path: Path) -> list[Segment]:
    """``epic_train_filtered.csv`` and ``epic_val_filtered.csv`` of CS3; raises as
    ``read_table``."""
    return read_table(path, EPIC_COLUMNS, partial(_epic, label=_collision))


def read_epic_sounds(path: Path) -> list[Segment]:
    """The CSV files of EPIC-SOUNDS, all 44 classes; raises as ``read_table``."""
    return read_table(path, (*EPIC_COLUMNS, 'class_id'), partial(_epic, label=_any_class))


def read_ego4d(path: Path) -> list[Segment]:
    """``ego4d_train_filtered.csv`` and ``ego4d_val_filtered.csv`` of CS3; raises as
    ``read_table``."""
    return read_table(path, EGO4D_COLUMNS, _ego4d)


def read_own(path: Path) -> list[Segment]:
    """The tables of ``cs3-train curate candidates``; raises as ``read_table``."""
    return read_table(path, OWN_COLUMNS, _own)


def read_ego4d_sounds(path: Path) -> list[Segment]:
    """The TSV files of Ego4DSounds, which have no classes; raises as ``read_table``."""
    return read_table(path, EGO4D_SOUNDS_COLUMNS, _ego4d_sounds, '\t')


def _epic(row: Row, label: Callable[[Row], str]) -> Segment:
    video = row.text('video_id', EPIC_VIDEO, 'a video of EPIC-KITCHENS such as P01_01')
    wanted = f'the name of the video and a number, {video}_0'
    name = row.text('annotation_id', rf'{video}_\d{{1,6}}', wanted)
    row.text('participant_id', video[:3], f'{video[:3]}, as in the name of the video')
    return _timed(row, name, 'epic', video, label(row), None)


def _ego4d(row: Row) -> Segment:
    video = row.text('video_id', EGO4D_VIDEO, 'the UID of a video of Ego4D')
    wanted = 'the UID of the video, begin and end: UID_1.00_4.00'
    name = row.text('annotation_id', rf'{video}_\d+\.\d\d_\d+\.\d\d', wanted)
    return _timed(row, name, 'ego4d', video, _collision(row), row.number('score', 0, 1))


def _own(row: Row) -> Segment:
    video = row.text('video_id', OWN_VIDEO, 'the name of a video without its ending')
    wanted = f'the name of the video, begin and end: {video}_1.00_4.00'
    name = row.text('annotation_id', rf'{re.escape(video)}_\d+\.\d\d_\d+\.\d\d', wanted)
    segment = _timed(row, name, 'own', video, _collision(row), row.number('score', 0, 1))
    onset = row.clock_ns('onset_timestamp')
    good = segment.start_ns <= onset <= segment.stop_ns
    expect(good, 'onset_timestamp', row.text('onset_timestamp'), 'a time within the segment')
    return replace(segment, onset_ns=onset)


def _timed(
    row: Row, name: str, dataset: Dataset, video: str, label: str, score: float | None
) -> Segment:
    start, stop = row.clock_ns('start_timestamp'), row.clock_ns('stop_timestamp')
    start, stop = span_ns(row, start, stop, 'stop_timestamp')
    selected = None
    if 'selected_timestamp' in row:
        selected = row.clock_ns('selected_timestamp')
        good = start - NEAR_NS <= selected <= stop + NEAR_NS
        expect(
            good, 'selected_timestamp', row.text('selected_timestamp'), 'a time within the segment'
        )
    text = row.words('description')
    return Segment(name, dataset, video, start, stop, label, score, selected, text)


def _ego4d_sounds(row: Row) -> Segment:
    video = row.text('video_uid', EGO4D_VIDEO, 'the UID of a video of Ego4D')
    source = row.text('narration_source', r'\w{1,60}', 'a name such as narration_pass_1')
    number = row.text('narration_ind', r'\d{1,9}', 'a whole number')
    start, stop = row.seconds_ns('clip_start'), row.seconds_ns('clip_end')
    start, stop = span_ns(row, start, stop, 'clip_end')
    noises = tuple(name for name in NOISES if name in row and row.flag(name))
    return Segment(
        f'{video}_{source}_{number}', 'ego4d', video, start, stop,
        text=row.words('clip_text'), noises=noises,
    )  # fmt: skip


def _collision(row: Row) -> str:
    label = row.text('class')
    expect(label in CLASSES, 'class', label, 'one of the 24 classes such as metal-only-collision')
    return label


def _any_class(row: Row) -> str:
    row.text('class_id', r'[0-9]|[1-3][0-9]|4[0-3]', 'a whole number of 0 to 43')
    label = collision_name(row.text('class'))
    if label.endswith('collision'):
        expect(label in CLASSES, 'class', label, 'one of the 24 collisions or another class')
    return label
