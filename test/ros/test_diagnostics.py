"""What /diagnostics tells: rates, losses, problems; nothing that is lost stays unsaid."""

from __future__ import annotations

import needs

needs.ros()

import platform
import time

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fakes import clip_messages, picture_message
from std_msgs.msg import Header

from cs3_ros.ros import diagnostics
from cs3_ros.ros.diagnostics import LOSSES, Diagnostics, Snapshot
from cs3_ros.trigger.stream import COUNTS

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
GOOD = {
    'frames',
    'built_in_frames',
    'cv_bridge_frames',
    'audio_chunks',
    'gated',
    'onsets',
    'clips',
    'done',
    'with_objects',
    'without_objects',
}
"""Counters that may rise while all is well."""
COUNTER = {'image': 'frames', 'audio': 'audio_chunks', 'events': 'onsets'}


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(diagnostics.time, 'monotonic', lambda: now[0])
    return now


def statuses(message: DiagnosticArray) -> dict[str, DiagnosticStatus]:
    return {status.name.partition(': ')[2]: status for status in message.status}


def values(status: DiagnosticStatus) -> dict[str, str]:
    return {value.key: value.value for value in status.values}


def active(**fields) -> Snapshot:
    fields['counts'] = {'frames': 30, 'audio_chunks': 50} | fields.get('counts', {})
    return Snapshot(state='active', **fields)


def test_every_counter_of_a_loss_is_shown(rig) -> None:
    """The counters of the engine, of the worker and of the inputs, whatever they are called."""
    shown = {name for names in LOSSES.values() for name in names}
    rig = rig().start()
    rig.send(*clip_messages())
    assert rig.counted(done=1)
    node = rig.node
    counted = {*COUNTS, *node.active.counts, *node.pipeline.counts}
    counted |= {'failed', 'dropped', 'failed_tracks', 'dropped_track_frames'}
    counted |= {'lost_frames', 'lost_audio', 'refused_frames', 'refused_audio'}
    assert counted - GOOD == shown
    for status, names in LOSSES.items():
        assert set(names) <= set(values(rig.status[status]))


@pytest.mark.parametrize('status, loss', [(s, loss) for s in LOSSES for loss in LOSSES[s]])
def test_a_rise_is_a_warning_once(clock, status: str, loss: str) -> None:
    told = Diagnostics('/cs3/cs3')
    counts = dict.fromkeys(COUNTER.values(), 10)
    for number, expected in ((0, OK), (3, WARN), (3, OK)):
        clock[0] += 1
        counts = {name: count + 10 for name, count in counts.items()} | {loss: number}
        found = statuses(told.message(Header(), active(counts=counts)))
        assert found[status].level == expected
        assert (f'{loss} +3' in found[status].message) == (expected == WARN)
        assert values(found[status])[loss] == str(number)
        assert all(found[other].level == OK for other in found if other != status)


def test_rates(clock) -> None:
    told = Diagnostics('/robot/cs3')
    clock[0] += 2
    message = told.message(Header(), active(hardware={'image': 'left_camera'}))
    assert [s.name for s in message.status] == [
        f'robot/cs3: {name}' for name in ('node', 'image', 'audio', 'events')
    ]
    # what the status is about: a sensor, where one has spoken, else this computer
    computer = platform.node()
    assert [s.hardware_id for s in message.status] == [computer, 'left_camera', computer, computer]
    found = statuses(message)
    assert found['image'].message == '15.0 per s' and found['audio'].message == '25.0 per s'
    assert values(found['image'])['rate_hz'] == '15.00' and values(found['image'])['frames'] == '30'
    clock[0] += 1
    again = statuses(told.message(Header(), active(counts={'frames': 60})))
    assert again['image'].message == '30.0 per s'


def test_silence_names_the_publishers_of_its_own_topics(clock) -> None:
    """Remapped topics need not be called image and audio."""
    publishers = {'image': {'/camera/color': 0}, 'audio': {'/image_mic': 2, '/mic_info': 1}}
    told = Diagnostics('/cs3/cs3')
    found = statuses(told.message(Header(), Snapshot('active', publishers=publishers)))
    assert found['image'].message == 'nothing received; publishers: /camera/color 0'
    assert found['audio'].message == 'nothing received; publishers: /image_mic 2, /mic_info 1'
    assert (found['image'].level, found['events'].level) == (WARN, OK)


def test_what_cannot_be_used_is_not_called_silence(clock) -> None:
    refused = active(
        counts={'frames': 0, 'refused_frames': 4}, values={'image': {'last_refused': 'nv21?'}}
    )
    found = statuses(Diagnostics('/cs3/cs3').message(Header(), refused))
    assert found['image'].message == 'nothing usable; refused_frames +4; nv21?'
    assert found['image'].level == WARN


def test_before_activation_nothing_is_expected(clock) -> None:
    found = statuses(Diagnostics('/cs3/cs3').message(Header(), Snapshot('inactive')))
    assert {s.level for s in found.values()} == {OK}
    assert {s.message for s in found.values()} == {'inactive'}


def test_a_failed_configure_is_an_error(clock) -> None:
    snapshot = Snapshot('unconfigured', problem='configure failed: no bundle')
    found = statuses(Diagnostics('/cs3/cs3').message(Header(), snapshot))
    assert (found['node'].level, found['node'].message) == (ERROR, 'configure failed: no bundle')


def test_a_failed_event_is_an_error_while_it_is_new(clock) -> None:
    told = Diagnostics('/cs3/cs3')
    snapshot = active(counts={'failed': 1}, problem='event 1.5 failed: no memory')
    found = statuses(told.message(Header(), snapshot))
    assert (found['events'].level, found['events'].message) == (ERROR, snapshot.problem)
    assert (found['node'].level, found['node'].message) == (OK, 'active')
    again = statuses(told.message(Header(), snapshot))
    assert again['events'].level == OK and again['node'].message == 'active'


def test_counters_that_begin_anew_are_no_negative_rate(clock) -> None:
    told = Diagnostics('/cs3/cs3')
    told.message(Header(), active(counts={'frames': 1000, 'gaps': 7}))
    clock[0] += 1
    found = statuses(told.message(Header(), active(counts={'frames': 5, 'audio_chunks': 60})))
    assert values(found['image'])['rate_hz'] == '0.00' and found['audio'].level == OK


def test_the_node_tells_ages_skew_stages_and_queue(rig) -> None:
    rig = rig().start()
    rig.send(*clip_messages())
    assert rig.counted(done=1)
    events, audio = values(rig.status['events']), values(rig.status['audio'])
    assert events['last_answered'] == '1000.500000000' and events['last_rule'] == 'closest_pair'
    assert {'hands_ms', 'masks_ms', 'verify_ms'} <= set(events) and events['queue'] == '0'
    assert '48000' in audio['format'] and 'S16LE' in audio['format']
    age = time.time() - 1000.8
    assert abs(float(audio['age_s']) - age) < 60
    assert abs(float(values(rig.status['image'])['age_s']) - age) < 60
    assert abs(float(audio['ahead_of_image_s'])) < 0.11


def test_the_rate_falls_when_the_camera_stops(rig) -> None:
    rig = rig().start()
    rig.send(*(picture_message(k / 30) for k in range(9)))
    assert rig.until(lambda: rig.reading('frames') == '9')
    assert rig.until(lambda: 'nothing received' in rig.status['image'].message)
    assert '/cs3/image 1' in rig.status['image'].message
