"""Media time of the overlay video: as the recording's, but for gaps that nobody wants to watch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cs3_ros.drawing.timeline import CUT_NS, LONGEST_GAP_NS, Timeline

S = 1_000_000_000
START = 1_000 * S


def test_a_usual_recording_keeps_its_times():
    timeline = Timeline(START)
    for step in range(200):
        assert timeline.place('frames', START + step * S // 30) == step * S // 30
        assert timeline.place('sound', START + step * S // 30 + 5) == step * S // 30 + 5
    late = Timeline(START)
    assert late.place('sound', START + S // 2) == S // 2, 'a late beginning is kept'


def test_a_pause_of_the_recorder_becomes_a_cut_in_both_tracks():
    timeline = Timeline(START)
    for tick in range(10):
        timeline.place('frames', START + tick * S // 10)
        timeline.place('sound', START + tick * S // 10)
    after = START + 3_600 * S
    first = timeline.place('frames', after)
    assert first == 9 * S // 10 + CUT_NS
    assert timeline.place('sound', after + S // 100) == first + S // 100, 'they stay together'


def test_clocks_that_have_nothing_in_common_run_side_by_side():
    timeline, day = Timeline(9 * S), 1_700_000_000 * S
    for tick in range(100):
        sound = timeline.place('sound', 9 * S + tick * S // 50)
        frame = timeline.place('frames', day + tick * S // 50)
        assert sound == tick * S // 50 and abs(frame - sound) <= CUT_NS


def test_an_origin_in_the_far_past_and_one_late_chunk():
    timeline = Timeline(1)
    assert timeline.place('sound', START) == 0
    assert timeline.place('frames', START + S) == S
    ten_years = START + 315_360_000 * S
    assert timeline.place('sound', ten_years) == S + CUT_NS
    assert timeline.place('frames', START + 2 * S) == 2 * S, 'the other track is not moved'


@given(st.lists(st.tuples(st.sampled_from(['frames', 'sound']), st.integers(0, 10**19))))
def test_no_time_is_far_from_the_one_before(items):
    timeline, now = Timeline(0), 0
    for track, stamp in items:
        time = timeline.place(track, stamp)
        assert abs(time - now) <= LONGEST_GAP_NS and time >= -LONGEST_GAP_NS
        now = max(now, time)
