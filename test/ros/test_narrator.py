"""The node's log: one line for each thing that somebody looks for, and no more."""

from __future__ import annotations

import needs

needs.ros()

import logging

import numpy as np
import pytest
from fakes import clip_messages, fake_pipeline, picture_message, sound_messages

from cs3_ros.collision import Candidate, Collision, Frame, Onset, Verdict
from cs3_ros.ros.diagnostics import Snapshot
from cs3_ros.ros.narrator import LOSSES_S, MISSING_S, MOST_EVENTS, REMIND_S, Narrator, RosLogHandler


class Logger:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __getattr__(self, level: str):
        return lambda text: self.lines.append((level, text))

    def new(self) -> list[tuple[str, str]]:
        lines, self.lines = self.lines, []
        return lines


class Teller:
    """A narrator with a clock of its own."""

    def __init__(self) -> None:
        self.now, self.logger = 100.0, Logger()
        self.narrator = Narrator(self.logger, lambda: self.now)
        self.narrator.activated({'/cs3/image': '1 publisher(s), reliable, depth 10'})

    def observe(self, after_s: float, **fields) -> list[tuple[str, str]]:
        self.now += after_s
        self.narrator.observe(Snapshot(state='active', **fields))
        return self.logger.new()


@pytest.fixture
def teller() -> Teller:
    return Teller()


PUBLISHERS = {'image': {'/cs3/image': 0, '/cs3/image/compressed': 1}, 'audio': {'/cs3/audio': 0}}


def test_activation_names_the_topics(teller: Teller) -> None:
    assert teller.logger.new() == [
        ('info', 'listening to /cs3/image (1 publisher(s), reliable, depth 10)')
    ]


def test_a_missing_input_is_named_after_five_seconds_and_again_after_a_minute(teller) -> None:
    teller.logger.new()
    counts, told, frames = {'frames': 0, 'audio_chunks': 0}, [], 0
    for second in range(int(2 * REMIND_S)):
        frames += 30
        counts = {'frames': frames, 'audio_chunks': 0}
        for level, text in teller.observe(1.0, counts=counts, publishers=PUBLISHERS):
            told.append((second + 1, level, text))
    assert [(second, level) for second, level, _ in told] == [
        (MISSING_S, 'warning'),
        (MISSING_S + REMIND_S, 'warning'),
    ]
    assert told[0][2] == (
        'no sound for 5 s: nobody publishes /cs3/audio; start the driver or remap the topic; '
        '`cs3 doctor` tells more'
    )


def test_why_an_input_is_missing(teller: Teller) -> None:
    teller.logger.new()
    refused = {'audio': {'last_refused': "sound coding format 'mp3': ..."}}
    told = teller.observe(MISSING_S, publishers=PUBLISHERS, values=refused)
    assert '/cs3/image/compressed has 1 publisher(s), but nothing arrives' in told[0][1]
    assert "refused: sound coding format 'mp3'" in told[1][1]


def test_nothing_is_said_while_all_is_well_and_a_return_is_said_once(teller: Teller) -> None:
    teller.logger.new()
    teller.narrator.first('image', '640x480, rgb8', None)
    teller.narrator.first('audio', '48000 Hz, 1 ch, S16LE', 0.02)
    teller.narrator.first('audio', 'once only', 0.02)
    assert teller.logger.new() == [
        ('info', 'first pictures: 640x480, rgb8'),
        ('info', 'first sound: 48000 Hz, 1 ch, S16LE, +0.020 s ahead of the pictures'),
    ]
    for second in range(1, 20):
        assert teller.observe(1.0, counts={'frames': second, 'audio_chunks': second}) == []
    still = {'frames': 20, 'audio_chunks': 19}
    assert teller.observe(1.0, counts=still) == []
    assert [level for level, _ in teller.observe(MISSING_S, counts=still)] == ['warning', 'warning']
    assert teller.observe(1.0, counts={'frames': 21, 'audio_chunks': 19}) == [
        ('info', 'pictures again')
    ]


def answer(*labels: str, trace: tuple[str, ...] = ()) -> Collision:
    mask = np.zeros((4, 4), bool)
    mask[1:3, 1:3] = True
    objects = tuple(Candidate(label, mask, 0.5) for label in labels)
    verdict = Verdict(objects, 'closest_pair' if labels else 'none', 2.5 if labels else None, trace)
    frame = Frame.from_rgb(5, np.zeros((4, 4, 3), np.uint8))
    onset = Onset(1_500_000_000, -6.0, 30.0)
    return Collision(onset, frame, verdict, objects, (), None, {'masks': 30.0, 'verify': 2.0}, 'x')


def test_an_event_is_one_line(teller: Teller) -> None:
    teller.logger.new()
    teller.narrator.onset(answer().onset)
    teller.now += 0.153
    teller.narrator.answered(answer('right_hand', 'audio_visual'))
    teller.narrator.answered(answer(trace=('right_hand dropped: its mask is empty.', 'None left.')))
    assert teller.logger.new() == [
        (
            'info',
            'event 1.500000000: right_hand + audio_visual (closest_pair, contact 2.5 px), '
            '153 ms after its onset',
        ),
        (
            'info',
            'event 1.500000000: no object (right_hand dropped: its mask is empty. None left.), '
            '32 ms of work',
        ),
    ]


def test_onsets_that_are_never_answered_are_forgotten(teller: Teller) -> None:
    teller.logger.new()
    for number in range(MOST_EVENTS + 1):
        teller.narrator.onset(Onset(1_500_000_000 + number, 0.0, 0.0))
    teller.narrator.answered(answer('right_hand'))
    assert 'ms of work' in teller.logger.new()[0][1], 'the oldest one is forgotten'


def test_losses_are_told_together_and_not_too_often(teller: Teller) -> None:
    teller.logger.new()
    lines, lost = [], 0
    for second in range(1, 26):
        lost += 2
        counts = {'frames': second, 'audio_chunks': second, 'lost_frames': lost, 'gaps': 1}
        counts['refused_frames'] = second  # has lines of its own, with the reason
        lines += [(second, text) for _, text in teller.observe(1.0, counts=counts)]
    assert lines == [
        (1, 'lost or repaired: lost_frames +2, gaps +1'),
        (1 + LOSSES_S, 'lost or repaired: lost_frames +20'),
        (1 + 2 * LOSSES_S, 'lost or repaired: lost_frames +20'),
    ]


def test_clocks_that_do_not_meet_are_named_once_a_minute(teller: Teller) -> None:
    teller.logger.new()
    lines = []
    for second in range(1, int(REMIND_S) + 3):
        counts = {'frames': second, 'audio_chunks': second}
        values = {'audio': {'clocks': 'sound and pictures do not overlap in time'}}
        told = teller.observe(1.0, counts=counts, values=values)
        lines += [(second, *line) for line in told]
    text = 'sound and pictures do not overlap in time'
    assert lines == [(1, 'warning', text), (1 + REMIND_S, 'warning', text)]


def test_what_the_library_logs_comes_at_its_level() -> None:
    logger = Logger()
    log = logging.getLogger('cs3_ros.test_narrator')
    handler = RosLogHandler(logger)
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    for level in ('debug', 'info', 'warning', 'error'):
        getattr(log, level)('%s said', level)
    log.removeHandler(handler)
    assert logger.lines == [
        (level, f'cs3_ros.test_narrator: {level} said')
        for level in ('debug', 'info', 'warning', 'error')
    ]


def test_a_real_node_tells_what_it_does(rig, monkeypatch) -> None:
    logger = Logger()
    rig = rig(lambda bundle, settings: fake_pipeline())
    monkeypatch.setattr(rig.node, 'get_logger', lambda: logger)
    rig.start()
    rig.send(*clip_messages())
    assert rig.counted(done=1)
    texts = [text for _, text in logger.lines]
    (loaded,) = [text for text in texts if 'is loaded and warm after' in text]
    (listening,) = [text for text in texts if text.startswith('listening to ')]
    assert '/cs3/audio (' in listening and 'publisher(s), reliable, depth 1000' in listening
    (pictures,) = [text for text in texts if text.startswith('first pictures: ')]
    (sound,) = [text for text in texts if text.startswith('first sound: ')]
    height, width = picture_message(0.0).height, picture_message(0.0).width
    assert f'{width}x{height}, rgb8' in pictures and ' Hz, 1 ch, ' in sound
    assert ' s ahead of the ' in pictures + sound, 'one of them came second and knows the skew'
    (event,) = [text for text in texts if text.startswith('event ')]
    assert 'right_hand + left_hand (' in event and event.endswith(' ms after its onset')


def test_a_real_node_names_what_is_missing(rig, monkeypatch) -> None:
    from cs3_ros.ros import narrator

    monkeypatch.setattr(narrator, 'MISSING_S', 0.3)
    logger = Logger()
    rig = rig(lambda bundle, settings: fake_pipeline())
    monkeypatch.setattr(rig.node, 'get_logger', lambda: logger)
    rig.start()
    rig.send(*sound_messages(np.zeros(4800, np.float32)))

    def missing() -> list[str]:
        return [
            text for level, text in logger.lines if level == 'warning' and 'no pictures' in text
        ]

    assert rig.until(missing)
    assert 'nobody publishes /cs3/image/compressed and /cs3/image;' in missing()[0]
