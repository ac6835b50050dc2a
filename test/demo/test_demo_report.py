"""The demo's report and its table, of a run that was not live."""

from __future__ import annotations

import needs

needs.opencv()

from dataclasses import replace

from demo_run import BUNDLE, SECOND, live, report_of, truth
from html_page import HOSTILE

from cs3_ros.demo.pictures import MOST_SHOWN
from cs3_ros.demo.report import losses_of, table_of, text_table
from cs3_ros.demo.score import compare
from cs3_ros.ros.live_run import LiveEvent, LiveRun


def test_the_report_says_what_it_is_and_loads_nothing(tmp_path):
    _, _, page = report_of(tmp_path, truth(), live())
    page.check_that_nothing_is_loaded()
    for words in ('A <b>bundle</b>.', 'It knows ONLY & nothing.', 'my <clip>.mp4', 'a <cup>'):
        assert words in page.text
    assert 'two clicks' in page.text and 'missed' in page.text and '0.5 s' in page.text
    assert 'truth are other impacts that the node heard, rebounds, or false alarms' in page.text
    assert '3 without a frame' in page.text
    shown = [image['alt'] for image in page.of('img')]
    all_five = ['frame', 'sound', 'heat map', 'published', 'masks received']
    without_heat = ['frame', 'sound', 'published', 'masks received']
    assert shown == all_five + without_heat + ['frame', 'sound', 'masks received']


def test_hostile_texts_stay_texts_in_every_place(tmp_path):
    """Of the bundle, the clip, its truth, the labels and the names of the stages."""
    places = ('name', 'description', 'warning', 'clip', 'about', 'thing', 'label', 'stage')
    texts = {place: f'{place} {HOSTILE}' for place in places}
    bundle = replace(BUNDLE, **{name: texts[name] for name in ('name', 'description', 'warning')})
    known = truth(texts['about'], texts['thing'])
    run = live(texts['label'], texts['stage'])
    # A path has no name with a slash.
    _, _, page = report_of(tmp_path, known, run, bundle, texts['clip'].replace('/', ''))
    page.check_that_nothing_is_loaded()
    counts = {place: page.text.count(text.replace('_', ' ')) for place, text in texts.items()}
    assert counts | {'clip': page.text.count(texts['clip'].replace('/', ''))} == {
        'name': 3,  # at the bundle, at the latency and at the heat map
        'description': 1,
        'warning': 1,
        'clip': 1,
        'about': 1,
        'thing': 2,
        'label': 1,
        'stage': 1,
    }
    assert {image['alt'] for image in page.of('img')} <= {
        'frame',
        'sound',
        'heat map',
        'published',
        'masks received',
    }


def test_without_truth_the_report_names_no_score(tmp_path):
    rows, _, page = report_of(tmp_path, None, live())
    assert len(rows) == 2 and 'IoU' not in page.text and 'onset error' not in page.text
    assert 'outlines' not in page.text and 'is not known here' in page.text


def test_ticks_are_where_something_was_heard_or_is(tmp_path):
    _, pictures, page = report_of(tmp_path, truth(), live())
    lines = {path['class']: path['d'] for path in page.of('path')}
    length_s = max(time_s for time_s, _ in pictures.levels)
    detected = ''.join(f'M{time_s / length_s * 1100:.1f} 0V26' for time_s in (1.002, 1.5))
    true = ''.join(f'M{time_s / length_s * 1100:.1f} 94V120' for time_s in (1, 2))
    assert lines['detected'] == detected and lines['true'] == true
    levels = [float(piece.split('V')[1]) for piece in lines['wave'].split('M')[1:]]
    assert len(levels) == 550
    loudest = [(k + 0.5) / 550 * length_s for k, level in enumerate(levels) if level > 65]
    assert loudest and all(min(abs(time_s - 1), abs(time_s - 2)) < 0.05 for time_s in loudest)


def test_a_long_recording_does_not_make_a_huge_report(tmp_path):
    run = live()
    events = [LiveEvent(SECOND + k, 5.0) for k in range(MOST_SHOWN + 3)]
    many = LiveRun(events, run.overlays, {}, {}, {})
    rows, pictures, page = report_of(tmp_path, None, many)
    assert len(rows) == MOST_SHOWN + 3 and len(pictures.jpegs) == MOST_SHOWN
    assert len(page.of('section')) == MOST_SHOWN
    assert f'The first {MOST_SHOWN} are shown' in page.text


def test_a_run_without_events_has_a_report(tmp_path):
    _, pictures, page = report_of(tmp_path, None, LiveRun([], {}, {}, {}, {}))
    assert not pictures.jpegs and '0 event(s)' in page.text
    assert 'The diagnostics told of no event.' in page.text and 'are shown' not in page.text


def test_the_table():
    head, cells = table_of(compare(live().events, 0, truth()), truth())
    assert cells == [
        ['1.002 s', '+2.0', 'left_hand', '1.00', '700'],
        ['1.500 s', 'no collision', 'no masks', '-', '-'],
        ['2.000 s', '-', 'missed', '0.00', '-'],
        ['mean', '2.0', '', '0.50', '700'],
    ]
    lines = text_table(head, cells).splitlines()
    assert len(lines) == 5 and lines[0].index('objects') == lines[1].index('left_hand')
    _, cells = table_of(compare(live().events, 0, None), None)
    assert cells == [
        ['1.002 s', 'left_hand', str(32 * 36), '700'],
        ['1.500 s', 'no masks', '-', '-'],
    ]


def test_an_answer_on_a_frame_that_the_truth_lacks_is_told():
    run = live()
    late = replace(run.events[0], frame_ns=SECOND + 33_000_000)
    _, cells = table_of(compare([late], 0, truth()), truth())
    assert [line[3] for line in cells] == ['not scored', '0.00', '0.00']
    (row, _) = compare([LiveEvent(SECOND, 5.0)], 0, truth())
    assert table_of([replace(row, ious=(), score=None)], truth())[1][0][3] == '-', 'no answer'


def test_every_onset_is_in_the_sentence():
    counts = dict(with_objects=1, without_objects=2, dropped=3, failed=4, no_frame=5)
    words = losses_of(counts, 15).partition('.')[0]
    assert [int(word) for word in words.split() if word.isdigit()] == [15, 1, 2, 3, 4, 5]
