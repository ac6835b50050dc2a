"""Where people said that something happens: narrations, and what is known of whole videos.

Three kinds of files: the tables of Ego4DSounds (with tabs), the CSV files of EPIC-KITCHENS-100
(``narration_timestamp``), and Ego4D's ``narration.json``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cs3_ros.collision import NS_PER_S
from cs3_ros.files.fields import expect, items, mapping, number, text
from cs3_ros.files.jsonfile import read_json
from cs3_ros.files.regular import check_regular, one_line
from cs3_training.data.annotations import EPIC_VIDEO, OWN_VIDEO, read_ego4d_sounds
from cs3_training.data.tables import LATEST_S, Row, header, read_table

JSON_BYTES = 1 << 30
"""Longest JSON file of narrations or metadata that is read."""
EPIC_COLUMNS = ('narration_id', 'video_id', 'narration_timestamp', 'narration')
SOCIAL = r'talk|convers|party|social|meeting|board game|card game|playing cards|religio|festival'
"""Scenarios of Ego4D in which people are heard more than things (CS3 leaves social ones out)."""


@dataclass(frozen=True)
class Narration:
    """Something that people wrote about a moment."""

    id: str
    """Unique in its file."""
    video: str
    """Name of the video file without its ending."""
    time_ns: int
    """Media time."""
    text: str
    """What they wrote."""
    noises: tuple[str, ...] = ()
    """What else is heard, of ``records.NOISES``, where the file says it."""


def read_narrations(path: Path) -> list[Narration]:
    """The narrations of any of the three kinds of files, in its order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is of none of these kinds, or damaged; names the place.
    """
    check_regular(path, 'file of narrations')
    if path.suffix.lower() == '.json':
        return list(_of_ego4d(read_json(path, f'narrations {str(path)!r}', JSON_BYTES)))
    if 'narration_source' in header(path, '\t'):
        return [
            Narration(s.id, s.video, (s.start_ns + s.stop_ns) // 2, s.text, s.noises)
            for s in read_ego4d_sounds(path)
        ]
    return read_table(path, EPIC_COLUMNS, _of_epic)


def _of_epic(row: Row) -> Narration:
    video = row.text('video_id', EPIC_VIDEO, 'a video of EPIC-KITCHENS such as P01_01')
    time_ns = row.clock_ns('narration_timestamp')
    return Narration(row.text('narration_id'), video, time_ns, row.words('narration'))


def _of_ego4d(value: Any) -> Iterator[Narration]:
    data = mapping(value, 'narrations', others=None)
    for video, passes in mapping(data.get('videos', data), 'videos', others=None).items():
        expect(re.fullmatch(OWN_VIDEO, video) is not None, 'videos', video, 'names of videos')
        for name, one in mapping(passes, video, others=None).items():
            if not name.startswith('narration_pass'):
                continue
            where = f'{video}.{name}'
            found = items(mapping(one, where, ('narrations',), None)['narrations'], where)
            for k, each in enumerate(found):
                here = f'{where}.narrations[{k}]'
                each = mapping(each, here, ('timestamp_sec', 'narration_text'), None)
                time_s = number(each['timestamp_sec'], f'{here}.timestamp_sec', 0, LATEST_S)
                said = one_line(text(each['narration_text'], here, blank=True))
                yield Narration(f'{video}_{name}_{k}', video, round(time_s * NS_PER_S), said)


def social_videos(path: Path, pattern: str = SOCIAL) -> set[str]:
    """The videos whose scenarios in Ego4D's ``ego4d.json`` match a regular expression.

    Raises:
        ValueError: it is no such file, or no such expression.
    """
    try:
        social = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f'{pattern!r}: no regular expression ({error})') from error
    where = f'metadata {str(path)!r}'
    data = mapping(read_json(path, where, JSON_BYTES), where, ('videos',), None)
    found = set()
    for k, each in enumerate(items(data['videos'], 'videos')):
        each = mapping(each, f'videos[{k}]', ('video_uid', 'scenarios'), None)
        scenarios = items(each['scenarios'] or [], f'videos[{k}].scenarios')
        if any(social.search(str(scenario)) for scenario in scenarios):
            found.add(text(each['video_uid'], f'videos[{k}].video_uid'))
    return found
