"""The demo's table and its report, one HTML file for people who have read nothing else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cs3_ros.bundles.bundle import Bundle
from cs3_ros.collision import NS_PER_S
from cs3_ros.demo.pictures import (
    ANSWER,
    FRAME,
    HEAT,
    MOST_SHOWN,
    PUBLISHED,
    SOUND,
    SOUND_S,
    EventPictures,
)
from cs3_ros.demo.score import EventRow, summarise
from cs3_ros.drawing.page import render
from cs3_ros.files.atomic import write_text
from cs3_ros.files.truth import ClipTruth
from cs3_ros.ros.live_run import LiveRun

_WIDTH, _HEIGHT = 1100, 120  # of the picture of the whole sound
_BARS, _TICK = 550, 26  # how many levels it shows, and how long its ticks are


def table_of(
    rows: Sequence[EventRow], truth: ClipTruth | None
) -> tuple[list[str], list[list[str]]]:
    """Head and cells, plain texts; with a truth onset errors, IoUs and the means."""
    head = ['event', 'objects', 'mask pixels', 'latency ms']
    if truth is not None:
        head = ['event', 'onset error ms', 'objects', 'IoU per object', 'latency ms']
    cells = [_cells(row, truth is not None) for row in rows]
    if truth is not None and rows:
        mean = summarise(rows)
        error, latency = _number(mean.error_ms, '.1f'), _number(mean.latency_ms, '.0f')
        cells.append(['mean', error, '', _number(mean.score, '.2f'), latency])
    return head, cells


def text_table(head: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """The table for a terminal."""
    lines = [head, *cells]
    wide = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return '\n'.join(
        '  '.join(text.ljust(width) for text, width in zip(line, wide, strict=True)).rstrip()
        for line in lines
    )


def losses_of(counts: Mapping[str, int], events: int) -> str:
    """What became of the events and messages, in a sentence each."""
    count = Counter(counts)
    lost = count['lost_frames'] + count['lost_audio']
    return (
        f'{events} event(s): {count["with_objects"]} with masks, {count["without_objects"]} '
        f'without, {count["dropped"]} dropped because the pipeline was busy, '
        f'{count["failed"]} failed, {count["no_frame"]} without a frame. {count["frames"]} frames '
        f'and {count["audio_chunks"]} chunks of sound received, {lost} lost.'
    )


def latency_note(bundle: Bundle) -> str:
    """What the latency is made of."""
    wait_s = max(bundle.clip.audio_after_s, bundle.clip.frames_after_s)
    note = 'Latency: from the message on /cs3/onset to the masks.'
    if wait_s:
        note += f' {bundle.name} takes in {wait_s:g} s after the onset; that wait is part of it.'
    return note


def write_report(
    path: Path,
    bundle: Bundle,
    clip: Path,
    rows: Sequence[EventRow],
    live: LiveRun,
    pictures: EventPictures,
    truth: ClipTruth | None,
) -> None:
    """Write the file.

    Args:
        path: the file, replaced where it exists.
        bundle: that ran.
        clip: that was played.
        rows: the events in the order of their times.
        live: what the node published.
        pictures: of the rows.
        truth: of the clip, or None.

    Raises:
        OSError: the file cannot be written.
    """
    page = render(
        'cs3_ros.demo',
        'report.html',
        bundle=bundle,
        clip=clip.name,
        truth=truth,
        sound=_sound(rows, pictures.levels),
        event_table=table_of(rows, truth),
        latency_note=latency_note(bundle),
        losses=losses_of(live.counts, len(live.events)),
        mean_score=_number(summarise(rows).score, '.2f'),
        sound_s=2 * SOUND_S,
        events=[
            {'title': _title(row), 'pictures': _in_order(pictures.jpegs.get(index, {}))}
            for index, row in enumerate(rows[:MOST_SHOWN])
        ],
        left_out=len(rows) > MOST_SHOWN,
        stage_table=_stages(rows, live),
    )
    write_text(path, page)


def _sound(
    rows: Sequence[EventRow], levels: Sequence[tuple[float, float]]
) -> dict[str, object] | None:
    """The level over the whole clip, with ticks at the onsets and the collisions, as SVG paths.

    Args:
        rows: the events.
        levels: as ``EventPictures.levels``.

    Returns:
        None where there is no sound.
    """
    if not levels:
        return None
    length_s = max(time_s for time_s, _ in levels) or 1.0
    bars = [0.0] * _BARS
    for time_s, level in levels:
        column = min(max(int(time_s / length_s * _BARS), 0), _BARS - 1)
        bars[column] = max(bars[column], level)
    middle, step = _HEIGHT / 2, _WIDTH / _BARS
    wave = ''.join(
        f'M{(k + 0.5) * step:.1f} {middle - level * middle:.1f}V{middle + level * middle:.1f}'
        for k, level in enumerate(bars)
    )

    def ticks(times_s: Iterable[float], low: float, high: float) -> str:
        return ''.join(f'M{time_s / length_s * _WIDTH:.1f} {low}V{high}' for time_s in times_s)

    onsets_s = (row.time_s for row in rows if row.detected is not None)
    true_s = (row.true.time_ns / NS_PER_S for row in rows if row.true is not None)
    return {
        'length_s': length_s,
        'width': _WIDTH,
        'height': _HEIGHT,
        'wave': wave,
        'detected': ticks(onsets_s, 0, _TICK),
        'true': ticks(true_s, _HEIGHT - _TICK, _HEIGHT),
    }


def _title(row: EventRow) -> str:
    title = f'{row.time_s:.3f} s'
    if row.true is not None:
        missed = '' if row.detected else ' - missed'
        title += f': {" and ".join(row.true.objects)}{missed}'
    return title


def _in_order(jpegs: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    """Caption and picture, as they are read."""
    order = (FRAME, SOUND, HEAT, PUBLISHED, ANSWER)
    return [(caption, jpegs[caption]) for caption in order if caption in jpegs]


def _stages(rows: Sequence[EventRow], live: LiveRun) -> tuple[list[str], list[list[str]]]:
    """Head and cells of the times of the stages; no cells where the diagnostics had none."""
    timed = [
        (row.time_s, live.timings_ms[row.detected.onset_ns])
        for row in rows
        if row.detected is not None and row.detected.onset_ns in live.timings_ms
    ]
    names = list(timed[0][1]) if timed else []
    cells = [
        [f'{time_s:.3f} s', *(_number(times.get(name, math.nan), '.0f') for name in names)]
        for time_s, times in timed
    ]
    return ['event', *(name.replace('_', ' ') for name in names)], cells


def _cells(row: EventRow, with_truth: bool) -> list[str]:
    detected = row.detected
    event = f'{row.time_s:.3f} s'
    answered = detected is not None and detected.label_image is not None
    objects = ' + '.join(detected.labels) if detected is not None and answered else 'no masks'
    latency = _number(math.nan if detected is None else detected.latency_ms, '.0f')
    if not with_truth:
        masks = [] if detected is None else _areas(row)
        return [event, objects, ' + '.join(masks) or '-', latency]
    if detected is None:
        objects = 'missed'
    blank = 'not scored' if answered and row.true is not None and row.score is None else '-'
    ious = ' '.join(f'{iou:.2f}' for iou in row.ious) or blank
    error = 'no collision' if row.true is None else _number(row.error_ms, '+.1f')
    return [event, error, objects, ious, latency]


def _areas(row: EventRow) -> list[str]:
    detected = row.detected
    if detected is None or detected.label_image is None:
        return []
    return [str(int((detected.label_image == k + 1).sum())) for k in range(len(detected.labels))]


def _number(value: float, form: str) -> str:
    return '-' if math.isnan(value) else f'{value:{form}}'
