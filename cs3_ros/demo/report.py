"""The demo's table and its report, one HTML file for people who have read nothing else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from cs3_ros.bundles.bundle import Bundle
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
from cs3_ros.demo.score import ClipMeans, EventRow, summarise
from cs3_ros.drawing.overlay import OBJECT_COLOURS
from cs3_ros.drawing.page import figure, page, patch, table
from cs3_ros.files.truth import ClipTruth
from cs3_ros.ros.live_run import LiveRun

_WIDE, _HIGH = 1100, 120  # of the picture of the whole sound, pixels
_BARS = 550


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
    look: EventPictures,
    truth: ClipTruth | None,
) -> None:
    """Write the file.

    Args:
        path: the file, replaced where it exists.
        bundle: that ran.
        clip: that was played.
        rows: the events in the order of their times.
        live: what was heard.
        look: the pictures.
        truth: of the clip, or None.
    """
    head, cells = table_of(rows, truth)
    parts = [
        _about(bundle, clip, truth),
        '<h2>The whole sound</h2>',
        _sound(rows, look),
        '<h2>Events</h2>',
        table(head, cells),
        f'<p>{escape(latency_note(bundle))} {escape(losses_of(live.counts, len(live.events)))}</p>',
        *([] if truth is None else [_reading(summarise(rows))]),
        '<h2>Pictures</h2>',
        _legend(bundle, truth),
        *(_event(row, look.pictures.get(index, {})) for index, row in enumerate(rows[:MOST_SHOWN])),
        *([f'<p>The first {MOST_SHOWN} are shown.</p>'] if len(rows) > MOST_SHOWN else []),
        '<h2>Time of the stages</h2>',
        _stages(rows, live),
    ]
    path.write_text(page('cs3_ros: what hit what?', '\n'.join(parts)), 'utf-8')


def _about(bundle: Bundle, clip: Path, truth: ClipTruth | None) -> str:
    known = (
        'What truly happens in this clip is not known here, so nothing below says whether the '
        'answers are right.'
        if truth is None
        else f'What truly happens in it is known, so the answers can be scored: {truth.about}.'
    )
    warning = f'<p class="note"><b>{escape(bundle.warning)}</b></p>' if bundle.warning else ''
    return (
        '<p>A robot with a camera and a microphone hears that something hit something. Which '
        'objects were they? The ROS 2 node of cs3_ros listens for impacts, looks at the frame of '
        'that moment and publishes the masks of the one or two objects that collided.</p>'
        f'<p>Here the clip <b>{escape(clip.name)}</b> was turned into a rosbag and played, at its '
        'own speed, into a node in a process of its own. The answers below were received from its '
        f'topics. {escape(known)}</p>'
        f'<p>Bundle <b>{escape(bundle.name)}</b>: {escape(bundle.description)}</p>{warning}'
    )


def _sound(rows: Sequence[EventRow], look: EventPictures) -> str:
    """The level of the sound over the whole clip, with ticks where something was heard or is."""
    if not look.levels:
        return '<p>No sound.</p>'
    end_s = max(time_s for time_s, _ in look.levels) or 1.0
    bars = [0.0] * _BARS
    for time_s, level in look.levels:
        column = min(max(int(time_s / end_s * _BARS), 0), _BARS - 1)
        bars[column] = max(bars[column], level)
    middle, step = _HIGH / 2, _WIDE / _BARS
    wave = ''.join(
        f'M{(k + 0.5) * step:.1f} {middle - level * middle:.1f}V{middle + level * middle:.1f}'
        for k, level in enumerate(bars)
    )

    def ticks(times_s: Iterable[float], low: float, high: float) -> str:
        return ''.join(f'M{time_s / end_s * _WIDE:.1f} {low}V{high}' for time_s in times_s)

    heard = ticks((row.time_s for row in rows if row.heard is not None), 0, 26)
    true = [row.true.time_ns / 1e9 for row in rows if row.true is not None]
    known = ' and, from below, each true collision (green)' if true else ''
    return (
        f'<svg viewBox="0 0 {_WIDE} {_HIGH}" width="100%" role="img" aria-label="sound level">'
        f'<path d="{wave}" class="wave"/><path d="{heard}" class="heard"/>'
        f'<path d="{ticks(true, _HIGH - 26, _HIGH)}" class="known"/></svg>'
        f'<p><small>{end_s:.1f} s. Ticks from above show each impact that the node heard (orange)'
        f'{known}.</small></p>'
    )


def _reading(mean: ClipMeans) -> str:
    return (
        '<p>The onset error is the time of the loudest sample less that of the contact; its mean '
        'is that of the absolute errors. IoU is the overlap of an answered and a true mask divided '
        'by their union, 1 at best, with the answered masks assigned to the true ones as fits '
        f'best. The mean, {_number(mean.score, ".2f")}, is over the true collisions that the truth '
        'shows in the answered frame; a missing, a needless mask and a collision that was missed '
        'count as 0. Events without truth are other impacts that the node heard, rebounds, or '
        'false alarms; they are not scored.</p>'
    )


def _legend(bundle: Bundle, truth: ClipTruth | None) -> str:
    names = ' '.join(patch(colour, f'object {k}') for k, colour in enumerate(OBJECT_COLOURS, 1))
    outlines = '' if truth is None else ' Thin white outlines: what truly collided.'
    return (
        f'<p>{names}. Their labels say which stage proposed them: a hand that holds something, or '
        f'the sound (audio_visual).{outlines} Heat map: where {escape(bundle.name)} believes that '
        'the sound was made, from blue to red. Published: /cs3/overlay, hands outlined in pale. '
        f'Sound: {2 * SOUND_S:g} s, time to the right, frequency upwards, ticks at the onset.</p>'
    )


def _event(row: EventRow, pictures: Mapping[str, bytes]) -> str:
    if row.true is not None:
        what = ' and '.join(row.true.objects)
        title = f'{row.time_s:.3f} s: {what}{"" if row.heard else " - missed"}'
    else:
        title = f'{row.time_s:.3f} s'
    if not pictures:
        body = '<p>Its frame is not there.</p>'
    else:
        order = [name for name in (FRAME, SOUND, HEAT, PUBLISHED, ANSWER) if name in pictures]
        body = f'<div class="row">{"".join(figure(pictures[name], name) for name in order)}</div>'
    return f'<section><h4>{escape(title)}</h4>{body}</section>'


def _stages(rows: Sequence[EventRow], live: LiveRun) -> str:
    timed = [
        (row.time_s, live.timings_ms[row.heard.onset_ns])
        for row in rows
        if row.heard is not None and row.heard.onset_ns in live.timings_ms
    ]
    if not timed:
        return '<p>The diagnostics told of no event.</p>'
    names = list(timed[0][1])
    cells = (
        [f'{time_s:.3f} s', *(_number(times.get(name, math.nan), '.0f') for name in names)]
        for time_s, times in timed
    )
    return (
        '<p>Milliseconds, from /diagnostics, which tells of the last event once per second.</p>'
        + table(['event', *(name.replace('_', ' ') for name in names)], cells)
    )


def _cells(row: EventRow, with_truth: bool) -> list[str]:
    heard = row.heard
    event = f'{row.time_s:.3f} s'
    answered = heard is not None and heard.label_image is not None
    objects = ' + '.join(heard.labels) if heard is not None and answered else 'no masks'
    latency = _number(math.nan if heard is None else heard.latency_ms, '.0f')
    if not with_truth:
        masks = [] if heard is None else _areas(row)
        return [event, objects, ' + '.join(masks) or '-', latency]
    if heard is None:
        objects = 'missed'
    blank = 'not scored' if answered and row.true is not None and row.score is None else '-'
    ious = ' '.join(f'{iou:.2f}' for iou in row.ious) or blank
    error = 'no collision' if row.true is None else _number(row.error_ms, '+.1f')
    return [event, error, objects, ious, latency]


def _areas(row: EventRow) -> list[str]:
    heard = row.heard
    if heard is None or heard.label_image is None:
        return []
    return [str(int((heard.label_image == k + 1).sum())) for k in range(len(heard.labels))]


def _number(value: float, form: str) -> str:
    return '-' if math.isnan(value) else f'{value:{form}}'
