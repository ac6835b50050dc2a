"""Truth files: what was written is read; anything else is refused with its place."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cs3_ros.files.truth import (
    FORMAT,
    MOST_BYTES,
    MOST_PIXELS,
    ClipTruth,
    TrueEvent,
    TrueFrame,
    read_truth,
    runs_of,
    write_truth,
)

LEFT, RIGHT = np.zeros((2, 3, 4), bool)
LEFT[:, 0] = True
RIGHT[1, 2:] = True


def truth(**changes) -> ClipTruth:
    frames = tuple(
        TrueFrame(1_000_000_000 + k * 33_333_333, (runs_of(LEFT), runs_of(RIGHT))) for k in range(3)
    )
    known = ClipTruth('a test', 4, 3, (TrueEvent(1_033_000_000, ('a cup', 'a "pot"'), frames),))
    return replace(known, **changes)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / 'truth.json'
    write_truth(path, truth())
    assert read_truth(path) == truth()
    assert [file.name for file in tmp_path.iterdir()] == ['truth.json']


def test_masks_of_a_frame():
    (event,) = truth().events
    masks = truth().masks_at(event, 1_033_000_000)
    assert masks is not None
    np.testing.assert_array_equal(masks, [LEFT, RIGHT])
    assert truth().masks_at(event, 1_015_000_000) is None, 'between two frames'
    assert truth().masks_at(event, 1_100_000_000) is None, 'after the last'


@settings(deadline=None, max_examples=25)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_runs_hold_any_mask(mask):
    frame = TrueFrame(5, (runs_of(mask),))
    event = TrueEvent(5, ('a thing',), (frame,))
    known = ClipTruth('', mask.shape[1], mask.shape[0], (event,))
    (again,) = known.masks_at(event, 5) or ()
    np.testing.assert_array_equal(again, mask)


def test_an_example_that_people_read():
    assert runs_of(np.array([[0, 1, 1, 0], [0, 0, 0, 0]], bool)) == (1, 2, 5)
    assert runs_of(np.zeros((2, 4), bool)) == (8,) and runs_of(np.ones((2, 4), bool)) == (0, 8)


def edited(change) -> str:
    frame = {'time_ns': 7, 'masks': [[8]]}
    event = {'time_ns': 7, 'objects': ['x'], 'frames': [frame]}
    data = {'format': FORMAT, 'about': '', 'width': 4, 'height': 2, 'events': [event]}
    change(data, event, frame)
    return json.dumps(data)


@pytest.mark.parametrize(
    'change, reason',
    [
        (lambda d, e, f: d.update(format='cs3-clip-truth-0'), "expected 'cs3-clip-truth-1'"),
        (lambda d, e, f: d.update(more=1), r'unknown key\(s\) more; known: about, events'),
        (lambda d, e, f: d.pop('about'), 'the file: missing about: expected about, events'),
        (lambda d, e, f: d.update(about=3), 'about = 3: expected a text'),
        (lambda d, e, f: d.update(width=4.0), 'width = 4.0: expected a whole number of 1 to 16384'),
        (lambda d, e, f: d.update(width=True), 'width = True: expected a whole number'),
        (lambda d, e, f: d.update(height=10**9), 'height = 1000000000: expected'),
        (lambda d, e, f: d.update(events={}), 'events: expected a list, got {}'),
        (lambda d, e, f: d['events'].append(e), r'events\[1\].time_ns = 7: expected later'),
        (lambda d, e, f: e.update(time_ns=-1), r'events\[0\].time_ns = -1: expected'),
        (lambda d, e, f: e.update(time_ns=float('nan')), '= nan: expected a whole'),
        (lambda d, e, f: e.update(objects=[]), 'expected one or two names'),
        (lambda d, e, f: e.update(objects=['x', 'y', 'z']), 'expected one or two names'),
        (lambda d, e, f: e.update(objects=[None]), '= None: expected a text'),
        (lambda d, e, f: e.update(objects=['x', 'y']), 'masks = 1: expected 2, as objects'),
        (lambda d, e, f: e.update(frames=[]), r'frames = \(\): expected at least one'),
        (lambda d, e, f: e['frames'].append(f), r'frames\[1\].time_ns = 7: expected later'),
        (lambda d, e, f: f.update(masks=[[7]]), 'masks = 7: expected runs of 8 pixels together'),
        (lambda d, e, f: f.update(masks=[[9, -1]]), 'expected a whole number of 0 to 8'),
        (lambda d, e, f: f.update(masks=['8']), "expected a list, got '8'"),
        (lambda d, e, f: f.update(masks=[[8 * [8]]]), 'expected a whole number'),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, change, reason):
    path = tmp_path / 'truth.json'
    path.write_text(edited(change))
    with pytest.raises(ValueError, match=reason) as error:
        read_truth(path)
    assert str(error.value).startswith(f'{path}: ') and len(str(error.value)) < 400


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@settings(deadline=None, max_examples=100)
@given(ANYTHING, st.sampled_from(['width', 'about', 'events', 'time_ns', 'objects', 'masks']))
def test_whatever_stands_in_a_file_is_read_or_refused(tmp_path_factory, value, where):
    def change(data, event, frame):
        for part in (data, event, frame):
            if where in part:
                part[where] = value

    path = tmp_path_factory.getbasetemp() / 'anything.json'
    path.write_text(edited(change))
    try:
        read = read_truth(path)
    except ValueError as error:
        assert str(error).startswith(f'{path}: ')
    else:
        assert all(read.masks_at(event, event.time_ns) for event in read.events)


@pytest.mark.parametrize(
    'content',
    [b'', b'[]', b'null', b'{', b'\xff\xfe', b'PK\x03\x04', b'[' * 100_000, b'1' * 10_000],
    ids=['empty', 'list', 'null', 'cut', 'no text', 'zip', 'deep', 'long number'],
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / 'truth.json'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='truth.json.*: '):
        read_truth(path)


def test_a_small_file_does_not_take_much_memory(tmp_path):
    """Masks are unpacked one frame at a time, when they are asked for."""
    side = MOST_PIXELS
    frames = [{'time_ns': k, 'masks': [[side * side]]} for k in range(500)]
    event = {'time_ns': 0, 'objects': ['x'], 'frames': frames}
    data = {'format': FORMAT, 'about': '', 'width': side, 'height': side, 'events': [event]}
    path = tmp_path / 'truth.json'
    path.write_text(json.dumps(data))
    assert len(read_truth(path).events[0].frames) == 500


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / 'truth.json'
    with path.open('wb') as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(ValueError, match=f'truth.json is longer than the {MOST_BYTES} bytes'):
        read_truth(path)
