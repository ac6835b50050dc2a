"""The demo's pictures and report of a run that was not live, and its table."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from fakes import ClickRecording

from cs3_ros.bundles.bundle import Bundle
from cs3_ros.demo import pictures
from cs3_ros.demo.pictures import MOST_SHOWN, look_at, shown_size
from cs3_ros.demo.report import losses_of, table_of, text_table, write_report
from cs3_ros.demo.score import compare
from cs3_ros.files.images import as_jpeg, load_image, save_image
from cs3_ros.files.truth import ClipTruth, TrueEvent, TrueFrame, runs_of
from cs3_ros.ros.live_run import LiveEvent, LiveRun
from cs3_ros.trigger.assembler import ClipConfig

SECOND = 1_000_000_000
SIZE = (96, 64)
MASK = np.zeros((64, 96), bool)
MASK[16:48, 24:60] = True
BUNDLE = Bundle(
    name='tiny',
    description='A <b>bundle</b>.',
    warning='It knows ONLY & nothing.',
    clip=ClipConfig(audio_after_s=0.5),
    stages={},
    weights=(),
    folder=Path(),
)


def truth() -> ClipTruth:
    def event(second: int) -> TrueEvent:
        frame = TrueFrame(second * SECOND, (runs_of(MASK),))
        return TrueEvent(second * SECOND, ('a <cup>',), (frame,))

    return ClipTruth('two clicks', *SIZE, (event(1), event(2)))


def live() -> LiveRun:
    """The click at 1 s was answered, at 1.5 s nothing was found, the one at 2 s was missed."""
    picture = as_jpeg(np.full((64, 96, 3), 90, np.uint8))
    labels = MASK.astype(np.uint8)
    answered = LiveEvent(SECOND + 2_000_000, 5.0, 5.7, SECOND, ('left_hand',), labels)
    return LiveRun(
        [answered, LiveEvent(SECOND * 3 // 2, 6.0)],
        {SECOND: picture, SECOND * 3 // 2: picture},
        {SECOND: picture},
        {SECOND + 2_000_000: {'masks': 12.4, 'verify': 0.2}},
        {'frames': 90, 'with_objects': 1, 'without_objects': 1, 'no_frame': 3},
    )


def made(folder: Path, known: ClipTruth | None, run: LiveRun):
    recording = ClickRecording((1.0, 2.0), size=SIZE)
    rows = compare(run.events, 0, known)

    def save(name, image):
        save_image(folder / name, image)
        return folder / name

    look = look_at(recording, rows, run, save, BUNDLE.name)
    write_report(folder / 'report.html', BUNDLE, Path('my <clip>.mp4'), rows, run, look, known)
    return rows, look, Page((folder / 'report.html').read_text('utf-8'))


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ''
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_report_says_what_it_is_and_loads_nothing(tmp_path):
    _, _, page = made(tmp_path, truth(), live())
    for words in ('A <b>bundle</b>.', 'It knows ONLY & nothing.', 'my <clip>.mp4', 'a <cup>'):
        assert words in page.text
    assert 'two clicks' in page.text and 'missed' in page.text and '0.5 s' in page.text
    assert 'truth are other impacts that the node heard, rebounds, or false alarms' in page.text
    assert '3 without a frame' in page.text
    for tag, attributes in page.tags:
        assert tag not in {'script', 'link', 'iframe', 'object', 'base'}
        for name, value in attributes.items():
            assert not name.startswith('on') and name not in {'href', 'srcset'}
            assert name != 'src' or (value or '').startswith('data:image/jpeg;base64,')
    shown = [attributes['alt'] for tag, attributes in page.tags if tag == 'img']
    all_five = ['frame', 'sound', 'heat map', 'published', 'masks received']
    without_heat = ['frame', 'sound', 'published', 'masks received']
    assert shown == all_five + without_heat + ['frame', 'sound', 'masks received']


def test_without_truth_the_report_names_no_score(tmp_path):
    rows, _, page = made(tmp_path, None, live())
    assert len(rows) == 2 and 'IoU' not in page.text and 'onset error' not in page.text
    assert 'outlines' not in page.text and 'is not known here' in page.text


def test_the_files_for_video_and_readme(tmp_path):
    _, look, _ = made(tmp_path, truth(), live())
    assert set(look.stills) == {SECOND} and set(look.strips) == {0}
    still, strip = load_image(look.stills[SECOND]), load_image(look.strips[0])
    width, height = shown_size(SIZE)
    assert still.shape == (height, width, 3) and strip.shape == (height, 3 * width + 16, 3)
    inside, outside = still[height // 2, width // 2].astype(int), still[height // 2, 5].astype(int)
    assert inside[0] - inside[2] > outside[0] - outside[2] + 50, 'orange'
    assert len(look.levels) > 100 and max(level for _, level in look.levels) > 0.1


@pytest.mark.parametrize(
    'size, factor', [((352, 352), 2), ((96, 64), 7), ((1280, 720), 1), ((4000, 20), 1)]
)
def test_small_pictures_are_enlarged(size, factor):
    assert shown_size(size) == (size[0] * factor, size[1] * factor)


def test_a_long_recording_does_not_make_a_huge_report(tmp_path):
    run = live()
    events = [LiveEvent(SECOND + k, 5.0) for k in range(MOST_SHOWN + 3)]
    many = LiveRun(events, run.overlays, {}, {}, {})
    rows, look, page = made(tmp_path, None, many)
    assert len(rows) == MOST_SHOWN + 3 and len(look.pictures) == MOST_SHOWN
    assert f'The first {MOST_SHOWN} are shown' in page.text


def test_an_event_without_masks_is_shown_on_the_overlay_at_its_onset():
    run = live()
    assert [run.picture_ns(event) for event in run.events] == [SECOND, SECOND * 3 // 2]
    assert run.picture_ns(LiveEvent(SECOND * 3, 1.0)) == 0, 'its overlay never came'


def test_a_run_without_events_has_a_report(tmp_path):
    _, look, page = made(tmp_path, None, LiveRun([], {}, {}, {}, {}))
    assert not look.pictures and '0 event(s)' in page.text


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


def test_a_caption_says_no_more_than_the_truth_does(tmp_path, monkeypatch):
    captions = []
    draw = pictures.answer_picture
    monkeypatch.setattr(
        pictures,
        'answer_picture',
        lambda image, labels, names, caption, masks: (
            captions.append(caption) or draw(image, labels, names, caption, masks)
        ),
    )
    made(tmp_path, truth(), live())
    assert [caption[-1] for caption in captions] == [
        'IoU 1.00',
        'no collision in the truth',
        'IoU 0.00',
    ]
