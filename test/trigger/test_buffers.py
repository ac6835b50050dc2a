"""Audio and frame buffers against naive models."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs3_ros.collision import NS_PER_S, Frame
from cs3_ros.trigger.buffers import AudioBuffer, AudioConfig, FrameBuffer, FrameConfig

START = 1_000 * NS_PER_S
RATE = 8000
MS = RATE // 1000


def ramp(first, count):
    """Samples that say where they come from."""
    return ((np.arange(first, first + count) % 7919 + 1) / 8000).astype(np.float32)


def at(index, rate=RATE):
    return START + round(index * NS_PER_S / rate)


def filled(seconds, config=AudioConfig(), chunk=160, rate=RATE):
    buffer = AudioBuffer(rate, config)
    for first in range(0, round(seconds * rate), chunk):
        buffer.push(at(first, rate), ramp(first, chunk))
    return buffer


# --- sound: times ---


@pytest.mark.parametrize('rate', [8000, 44_100, 48_000])
def test_samples_come_back_at_their_time(rate):
    buffer = filled(1.0, chunk=rate // 50, rate=rate)
    clip = buffer.window(at(1000, rate), at(1500, rate))
    assert clip.start_ns == at(1000, rate) and clip.rate == rate
    assert np.array_equal(clip.samples, ramp(1000, 500)) and clip.present.all()
    assert buffer.time_ns(321) == at(321, rate) and buffer.end_ns == at(rate, rate)


def test_a_stamp_of_the_last_sample_is_converted():
    first = filled(0.5)
    last = AudioBuffer(RATE, AudioConfig(stamp_refers_to='last_sample'))
    for index in range(0, RATE // 2, 160):
        last.push(at(index + 159), ramp(index, 160))
    assert last.time_ns(0) == START
    assert np.array_equal(
        last.window(START, at(4000)).samples, first.window(START, at(4000)).samples
    )


def test_jittered_stamps_do_not_tear_the_sound():
    rng = np.random.default_rng(0)
    buffer = AudioBuffer(48_000)
    for first in range(0, 10 * 48_000, 960):
        stamp = at(first, 48_000) + int(rng.integers(-10_000_000, 10_000_001))
        assert buffer.push(stamp, ramp(first, 960)).outcome == 'appended'
    assert abs(buffer.time_ns(9 * 48_000) - at(9 * 48_000, 48_000)) < 2_000_000


def test_the_oldest_samples_leave():
    buffer = filled(3.0, AudioConfig(buffer_s=2.0))
    clip = buffer.window(START, at(3 * RATE))
    assert not clip.present[:RATE].any() and not clip.samples[:RATE].any()
    assert clip.present[RATE:].all()
    assert np.array_equal(clip.samples[RATE:], ramp(RATE, 2 * RATE))


def test_a_chunk_longer_than_the_buffer_leaves_its_end():
    buffer = AudioBuffer(RATE, AudioConfig(buffer_s=2.0))
    buffer.push(START, ramp(0, 5 * RATE))
    clip = buffer.window(at(3 * RATE), at(5 * RATE))
    assert clip.present.all() and np.array_equal(clip.samples, ramp(3 * RATE, 2 * RATE))


def test_windows_are_padded_and_marked():
    clip = filled(0.1).window(at(-80), at(1600))
    assert clip.samples.size == 1680 and clip.start_ns == at(-80)
    assert clip.present.tolist() == [False] * 80 + [True] * 800 + [False] * 800
    assert not clip.samples[~clip.present].any()


def test_an_empty_buffer_gives_silence_and_no_times():
    buffer = AudioBuffer(RATE)
    clip = buffer.window(START, START + NS_PER_S)
    assert clip.samples.size == RATE and not clip.present.any()
    assert buffer.end_ns is buffer.newest_stamp_ns is None
    with pytest.raises(ValueError, match='push a chunk'):
        buffer.time_ns(0)


# --- sound: what goes wrong ---


def test_a_gap_is_marked():
    buffer = filled(0.5)
    push = buffer.push(at(4000 + 1200), ramp(5200, 160))
    assert (push.outcome, push.missing, push.samples.size) == ('gap', 1200, 160)
    clip = buffer.window(at(3900), at(5360))
    assert clip.present.tolist() == [True] * 100 + [False] * 1200 + [True] * 160
    assert np.array_equal(clip.samples[1300:], ramp(5200, 160))
    assert buffer.end_ns == at(5360)


def test_one_lost_short_chunk_is_seen_when_stamps_are_exact():
    buffer = filled(0.5, chunk=10 * MS)
    assert buffer.push(at(4000 + 10 * MS), ramp(0, 10 * MS)).missing == 10 * MS


def test_a_jittered_stream_notices_gaps_beyond_its_jitter():
    rng = np.random.default_rng(1)
    buffer = AudioBuffer(RATE)
    for first in range(0, 5 * RATE, 160):
        buffer.push(at(first) + int(rng.integers(-5_000_000, 5_000_001)), ramp(first, 160))
    push = buffer.push(at(5 * RATE + 800), ramp(0, 160))
    assert push.outcome == 'gap' and abs(push.missing - 800) < 2 * MS
    after = [buffer.push(at(5 * RATE + 800 + n * 160), ramp(0, 160)) for n in range(1, 100)]
    assert all(push.outcome == 'appended' for push in after)


def test_overlap_is_trimmed():
    buffer = filled(0.5)
    push = buffer.push(at(3900), ramp(3900, 160))
    assert (push.outcome, push.dropped) == ('overlap', 100)
    assert np.array_equal(push.samples, ramp(4000, 60))
    assert np.array_equal(buffer.window(at(3800), at(4060)).samples, ramp(3800, 260))


@pytest.mark.parametrize(
    'index, outcome', [(3840, 'duplicate'), (3680, 'duplicate'), (3700, 'out_of_order')]
)
def test_what_was_there_already_is_dropped(index, outcome):
    buffer = filled(0.5)
    push = buffer.push(at(index), ramp(index, 160))
    assert (push.outcome, push.dropped, push.samples.size) == (outcome, 160, 0)
    assert buffer.end_ns == at(4000)


@pytest.mark.parametrize('index', [3840, 3680, 3700, 3900])
def test_other_sound_at_an_early_stamp_is_kept_for_it_can_be_the_next(index):
    buffer = filled(0.5)
    push = buffer.push(at(index), -ramp(9, 160))
    assert (push.outcome, push.dropped, push.missing) == ('appended', 0, 0)
    for first in range(4160, 8000, 160):
        assert buffer.push(at(first), ramp(first, 160)).outcome == 'appended'
    clip = buffer.window(buffer.time_ns(3000), buffer.time_ns(8000))
    assert clip.present.all()
    assert np.array_equal(clip.samples[:1000], ramp(3000, 1000))
    assert np.array_equal(clip.samples[1000:1160], -ramp(9, 160))


def test_one_late_stamp_is_no_loss():
    buffer = filled(2.0)
    late = buffer.push(at(16_000 + 480), ramp(16_000, 160))
    assert late.missing == 480
    back = buffer.push(at(16_160), ramp(16_160, 160))
    assert (back.outcome, back.revision.samples, back.revision.gaps) == ('appended', -480, -1)
    clip = buffer.window(buffer.time_ns(15_000), buffer.time_ns(15_000) + at(1000) - START)
    assert clip.present.all() and np.array_equal(clip.samples, ramp(15_000, 1000))
    assert abs(buffer.end_ns - at(16_320)) < 2_000_000


def test_a_chunk_that_was_overtaken_goes_into_its_gap():
    buffer = filled(0.5)
    assert buffer.push(at(4160), ramp(4160, 160)).missing == 160
    late = buffer.push(at(4000), ramp(4000, 160))
    assert (late.outcome, late.dropped, late.samples.size) == ('out_of_order', 0, 0)
    assert (late.revision.samples, late.revision.gaps) == (-160, -1)
    assert buffer.push(at(4320), ramp(4320, 160)).outcome == 'appended'
    assert buffer.push(at(4000), ramp(4000, 160)).outcome == 'out_of_order'
    clip = buffer.window(START, at(4480))
    assert clip.present.all() and np.array_equal(clip.samples, ramp(0, 4480))


def test_chunks_of_one_stamp_are_one_read():
    buffer = AudioBuffer(RATE)
    for first in range(0, 4 * RATE, 160):
        push = buffer.push(at(first // 1600 * 1600), ramp(first, 160))
        assert push.outcome == 'appended'
    clip = buffer.window(START, at(4 * RATE))
    assert clip.present.all() and np.array_equal(clip.samples, ramp(0, 4 * RATE))
    lost = buffer.push(at(4 * RATE + 1600), ramp(0, 160))  # the next read is lost
    assert (lost.outcome, lost.missing) == ('gap', 1600)
    assert buffer.push(at(4 * RATE + 1600), np.zeros(160, np.float32)).outcome == 'appended'
    assert buffer.push(at(4 * RATE + 1600), np.zeros(160, np.float32)).outcome == 'appended'
    assert buffer.push(at(4 * RATE + 1600), ramp(0, 160)).outcome == 'duplicate'


def test_a_stamp_that_never_changes_does_no_harm():
    buffer = AudioBuffer(RATE)
    outcomes = [buffer.push(START, ramp(first, 160)).outcome for first in range(0, 9 * RATE, 160)]
    assert outcomes[:50] == ['appended'] * 50
    assert set(outcomes) <= {'appended', 'jump_back', 'out_of_order'}


def test_jumps_are_left_to_the_caller():
    buffer = filled(1.5)
    back = buffer.push(START, ramp(0, 160))
    forward = buffer.push(at(30 * RATE), ramp(0, 160))
    assert (back.outcome, forward.outcome) == ('jump_back', 'jump_forward')
    assert back.samples.size == forward.samples.size == 0 and buffer.end_ns == at(12_000)
    buffer.clear()
    assert buffer.push(START, ramp(0, 160)).outcome == 'appended'
    assert (buffer.time_ns(0), buffer.end_ns) == (START, at(160))


def test_a_step_back_of_exactly_a_second_is_no_jump():
    buffer = filled(1.5)
    newest = buffer.newest_stamp_ns
    assert buffer.push(newest - NS_PER_S + 1, ramp(7, 8)).outcome == 'out_of_order'
    assert buffer.push(newest - NS_PER_S - 1, ramp(0, 8)).outcome == 'jump_back'


def test_what_is_not_finite_is_missing_and_clipping_is_counted():
    samples = np.array([0.5, np.nan, np.inf, -np.inf, 1.0, -0.9995, 0.99], np.float32)
    buffer = AudioBuffer(RATE)
    push = buffer.push(START, samples)
    assert (push.nonfinite, push.clipped) == (3, 2)
    clip = buffer.window(START, at(7))
    assert clip.present.tolist() == [True, False, False, False, True, True, True]
    assert clip.samples[:4].tolist() == [0.5, 0, 0, 0]
    assert np.isnan(samples[1]), 'the caller keeps his samples as they were'


@pytest.mark.parametrize('shape', [(0,), (4, 2)])
def test_chunks_of_the_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match='expected'):
        AudioBuffer(RATE).push(START, np.zeros(shape, np.float32))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3000), st.integers(0, 6)), min_size=1, max_size=20))
def test_audio_buffer_equals_a_plain_array(chunks):
    """Chunks of any length, with gaps of a multiple of 200 ms and overlaps between them."""
    buffer = AudioBuffer(RATE, AudioConfig(buffer_s=2.0))
    samples, present = np.zeros(100_000, np.float32), np.zeros(100_000, bool)
    end = 0
    for length, step in chunks:
        first = end + 1600 * (step - 1) if end and step != 1 else end
        if first < 0 or not present[first:end].all():  # what lies in a gap is no overlap
            first = end
        push = buffer.push(at(first), ramp(first, length))
        if first + length <= end:
            assert push.dropped == length
            continue
        new = slice(max(first, end), first + length)
        samples[new], present[new] = ramp(new.start, new.stop - new.start), True
        assert push.missing == max(0, first - end) and push.dropped == max(0, end - first)
        end = first + length
    assert buffer.end_ns == buffer.time_ns(end)
    clip = buffer.window(START, at(end + 100))
    kept = max(0, end - 2 * RATE)
    present[:kept] = False
    assert np.array_equal(clip.present, present[: end + 100])
    assert np.array_equal(clip.samples, np.where(present, samples, 0)[: end + 100])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 2000), min_size=1, max_size=30))
def test_the_way_of_cutting_makes_no_difference(lengths):
    cut, whole = AudioBuffer(44_100), AudioBuffer(44_100)
    first = 0
    for length in lengths:
        cut.push(at(first, 44_100), ramp(first, length))
        first += length
    whole.push(START, ramp(0, first))
    a, b = (buffer.window(at(-5, 44_100), at(first + 5, 44_100)) for buffer in (cut, whole))
    assert a.start_ns == b.start_ns and np.array_equal(a.samples, b.samples)
    assert np.array_equal(a.present, b.present)
    assert [cut.time_ns(i) for i in range(first)] == [whole.time_ns(i) for i in range(first)]


# --- frames ---


def frame(stamp_ns, size=10):
    return Frame(stamp_ns, bytes(size), lambda payload: np.zeros((1, 1, 3), np.uint8))


def ms(time):
    return START + round(time * 1_000_000)


def test_nearest_takes_the_later_of_two():
    buffer = FrameBuffer()
    assert buffer.nearest(START) is None and buffer.latest is None
    for stamp in (100, 200, 300):
        buffer.push(frame(ms(stamp)))
    for asked, found in [(0, 100), (149, 100), (150, 200), (151, 200), (250, 300), (999, 300)]:
        assert buffer.nearest(ms(asked)).stamp_ns == ms(found)
    assert [f.stamp_ns for f in buffer.window(ms(100), ms(200))] == [ms(100), ms(200)]
    assert buffer.window(ms(101), ms(199)) == ()


def test_frames_are_sorted_and_duplicates_refused():
    buffer = FrameBuffer()
    outcomes = [buffer.push(frame(ms(stamp))).outcome for stamp in (0, 200, 100, 200, 300)]
    assert outcomes == ['appended', 'appended', 'out_of_order', 'duplicate', 'appended']
    stamps = [f.stamp_ns for f in buffer.window(ms(0), ms(300))]
    assert stamps == [ms(0), ms(100), ms(200), ms(300)] and len(buffer) == 4


def test_frame_jumps_are_left_to_the_caller():
    buffer = FrameBuffer()
    buffer.push(frame(ms(5000)))
    assert buffer.push(frame(ms(4000))).outcome == 'out_of_order'
    assert buffer.push(frame(ms(3999))).outcome == 'jump_back'
    assert len(buffer) == 2
    buffer.clear()
    assert (len(buffer), buffer.nbytes) == (0, 0)


def test_too_many_bytes_push_the_oldest_out_with_the_next_frame():
    buffer = FrameBuffer(FrameConfig(buffer_mb=1.0))
    pushes = [buffer.push(frame(ms(n), 400_000)) for n in range(5)]
    assert [push.evicted for push in pushes] == [0, 0, 0, 1, 1]
    assert len(buffer) == 3 and buffer.nbytes == 1_200_000
    buffer.push(frame(ms(5), 5_000_000))
    assert buffer.latest.nbytes == 5_000_000, 'the newest is kept whatever its size'


def test_a_leap_ahead_keeps_the_old_frames_until_the_next_one():
    buffer = FrameBuffer(FrameConfig(buffer_s=1.0))
    for stamp in (0, 100, 60_000):
        assert buffer.push(frame(ms(stamp))).expired == 0
    assert buffer.nearest(ms(90)).stamp_ns == ms(100)
    assert buffer.push(frame(ms(60_100))).expired == 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 400)), max_size=40))
def test_frame_buffer_equals_a_plain_list(frames):
    buffer = FrameBuffer(FrameConfig(buffer_s=1.5, buffer_mb=1.0))
    model: dict[int, int] = {}
    for stamp, kilobytes in frames:
        push = buffer.push(frame(ms(stamp), kilobytes * 1000))
        newest = max(model, default=stamp)
        if stamp < newest - 1000:
            assert push.outcome == 'jump_back'
        elif stamp in model:
            assert push.outcome == 'duplicate'
        else:
            expired = [s for s in model if s < newest - 1500]
            for old in expired:
                del model[old]
            evicted = 0
            while sum(model.values()) > 1000:
                del model[min(model)]
                evicted += 1
            model[stamp] = kilobytes
            assert push.outcome == ('appended' if stamp >= newest else 'out_of_order')
            assert (push.expired, push.evicted) == (len(expired), evicted)
        stamps = [f.stamp_ns for f in buffer.window(0, ms(10_000))]
        assert stamps == [ms(s) for s in sorted(model)]
        assert buffer.nbytes == 1000 * sum(model.values())
        if model:
            asked = stamp + kilobytes
            best = min(model, key=lambda s: (abs(s - asked), -s))
            assert buffer.nearest(ms(asked)).stamp_ns == ms(best)
