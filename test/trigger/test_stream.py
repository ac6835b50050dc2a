"""The engine: what comes out on good data, and what is counted on bad."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs3_ros.collision import NS_PER_S, Frame
from cs3_ros.trigger.assembler import ClipConfig
from cs3_ros.trigger.buffers import AudioConfig, FrameConfig
from cs3_ros.trigger.decimation import make_detector
from cs3_ros.trigger.onset import INPUT_RATES, DetectedOnset, OnsetConfig
from cs3_ros.trigger.stream import COUNTS, CollisionStream

RATE = 8000
START = 1_000 * NS_PER_S


class Clicks:
    """A detector for which every sample above 0.5 is an onset, reported 800 samples later."""

    made: list['Clicks'] = []

    def __init__(self, rate, config):
        self.rate, self.config = rate, config
        Clicks.made.append(self)
        self.reset()

    def reset(self):
        self.position, self.waiting, self.away = 0, [], []

    def push(self, samples):
        for index in np.flatnonzero(samples > 0.5):
            self.waiting.append(DetectedOnset(self.position + int(index), -1.0, 40.0, 0.9))
        for index in np.flatnonzero(samples < -0.5):
            self.away.append(DetectedOnset(self.position + int(index), -1.0, 40.0, 0.1))
        self.position += samples.size
        told = [onset for onset in self.waiting if onset.sample + 800 <= self.position]
        self.waiting = self.waiting[len(told) :]
        return told

    def skip(self, count):
        self.position += count

    def flush(self):
        told, self.waiting = self.waiting, []
        return told

    def turned_away(self):
        away, self.away = self.away, []
        return away

    def reconfigure(self, config):
        self.config = config


class Bench:
    """A stream fed in seconds, with a click wherever asked."""

    def __init__(self, clicks=(), make_detector=Clicks, audio=AudioConfig(), **spans):
        self.clicks = clicks
        self.noise = 0.0
        self.stream = CollisionStream(
            ClipConfig(**spans),
            audio_config=audio,
            frame_config=FrameConfig(buffer_s=30.0),
            make_detector=make_detector,
        )
        self.onsets, self.ready, self.complete = [], [], []

    def take(self, update):
        self.onsets += update.onsets
        self.ready += update.ready
        self.complete += update.complete

    def sound(self, begin, end, rate=RATE):
        first, stop = round(begin * rate), round(end * rate)
        noise = np.random.default_rng(0).uniform(-self.noise, self.noise, 4 * rate)
        samples = noise[:0] if stop > 4 * rate else noise[first:stop]
        samples = np.resize(samples.astype(np.float32), stop - first)
        for index in (round(click * rate) - first for click in self.clicks):
            if 0 <= index < samples.size:
                samples[index] = 0.9
        return samples

    def hear(self, begin, end, rate=RATE, chunk=0.1):
        for n in range(round((end - begin) / chunk)):
            first = begin + n * chunk
            samples = self.sound(first, first + chunk, rate)
            self.take(self.stream.push_audio(at(first), samples, rate))

    def see(self, *seconds):
        for second in seconds:
            self.take(self.stream.push_frame(frame(second)))

    def close(self):
        self.take(self.stream.flush())

    def counted(self):
        return {name: count for name, count in self.stream.counts.items() if count}


def at(seconds):
    return START + round(seconds * NS_PER_S)


def frame(seconds):
    return Frame(at(seconds), b'jpeg', lambda payload: np.zeros((2, 2, 3), np.uint8))


def frames(begin, end, rate=10):
    return [begin + n / rate for n in range(round((end - begin) * rate))]


def onset_times(bench):
    return [round((onset.stamp_ns - START) / NS_PER_S, 4) for onset in bench.onsets]


def clip_frames(bench):
    return [round((e.clip.frame.stamp_ns - START) / NS_PER_S, 4) for e in bench.complete]


def test_a_click_becomes_a_clip():
    bench = Bench([1.03], audio_before_s=0.2, audio_after_s=0.3)
    bench.see(*frames(0, 2))
    bench.hear(0, 1.2)
    assert onset_times(bench) == [1.03], 'the onset is told at once'
    assert len(bench.ready) == 1 and not bench.complete, 'and its frames, before the sound is there'
    bench.hear(1.2, 2)
    (event,) = bench.complete
    assert event is bench.ready[0] and clip_frames(bench) == [1.0]
    assert event.clip.audio.samples[1600] == np.float32(0.9) and event.clip.audio.present.all()
    assert bench.counted() == {'frames': 20, 'audio_chunks': 20, 'onsets': 1, 'clips': 1}


def test_the_end_closes_what_is_open():
    bench = Bench([1.95], audio_after_s=0.5)
    bench.see(*frames(0, 2))
    bench.hear(0, 2)
    assert not bench.onsets
    bench.close()
    assert onset_times(bench) == [1.95] and clip_frames(bench) == [1.9]
    present = bench.complete[0].clip.audio.present
    assert present.size == 4000 and present.tolist() == [True] * 400 + [False] * 3600


def test_sound_goes_on_after_a_flush():
    bench = Bench([0.5, 2.5])
    bench.hear(0, 1)
    bench.close()
    bench.hear(2, 3)
    bench.see(*frames(0, 3))
    bench.close()
    assert onset_times(bench) == [0.5, 2.5] and bench.stream.counts['missing_samples'] == RATE


@pytest.mark.parametrize('gap', [0.1, 0.9, 1.5, 7.0])
def test_onset_times_are_right_behind_a_gap(gap):
    bench = Bench([0.5, 0.98, 1.3 + gap])
    bench.see(*frames(0, 2 + gap))
    bench.hear(0, 1)
    bench.hear(1 + gap, 2 + gap)
    assert onset_times(bench) == [0.5, 0.98, pytest.approx(1.3 + gap)]
    assert len(bench.complete) == 3
    assert bench.stream.counts['gaps'] == 1
    assert bench.stream.counts['missing_samples'] == round(gap * RATE)


def test_dropped_and_trimmed_chunks_do_not_shift_onsets():
    bench = Bench([1.25])
    bench.see(*frames(0, 2))
    bench.noise = 0.01
    bench.hear(0, 1)
    bench.hear(0.8, 1.0)  # both there already
    bench.take(bench.stream.push_audio(at(0.85), bench.sound(0.85, 0.95), RATE))
    bench.take(bench.stream.push_audio(at(0.95), bench.sound(0.95, 1.1), RATE))
    bench.hear(1.1, 2)
    assert onset_times(bench) == [1.25]
    counts = bench.stream.counts
    assert (counts['duplicates'], counts['out_of_order'], counts['overlaps']) == (2, 1, 1)
    assert counts['dropped_samples'] == 3 * 800 + 400 and counts['audio_chunks'] == 20


def test_channels_are_averaged():
    bench = Bench()
    mono = np.linspace(-0.4, 0.4, 800, dtype=np.float32)
    bench.stream.push_audio(at(0), np.stack([mono * 2, mono * 0], 1), RATE)
    np.testing.assert_allclose(bench.stream.audio.window(at(0), at(0.1)).samples, mono)


def test_channels_are_picked_and_what_is_not_there_is_refused():
    three = np.stack([np.full(800, v, np.float32) for v in (0.1, 0.2, 0.6)], 1)
    for channels, mean in {(): 0.3, (0,): 0.1, (1, 2): 0.4, (2, 1): 0.4}.items():
        bench = Bench(audio=AudioConfig(channels=channels))
        bench.stream.push_audio(at(0), three, RATE)
        heard = bench.stream.audio.window(at(0), at(0.1)).samples
        np.testing.assert_allclose(heard, mean, rtol=1e-6)
    bench = Bench(audio=AudioConfig(channels=(0, 3)))
    bench.stream.push_audio(at(0), three, RATE)
    assert bench.counted() == {'bad_chunks': 1}
    with pytest.raises(ValueError, match=r'channels = \[0, 3\]: the sound has 3 channel.*0 to 2'):
        AudioConfig(channels=[0, 3]).check_channels(3)
    for wrong in ([-1], [0, 0], [1.0], [True], 2, '0'):
        with pytest.raises(ValueError, match='AudioConfig.channels'):
            AudioConfig(channels=wrong)


def test_a_looping_bag_gives_the_same_events_again():
    bench = Bench([1.03, 2.9], audio_after_s=0.3)
    for _ in range(3):
        for n in range(30):
            bench.see(n / 10)
            bench.hear(n / 10, (n + 1) / 10)
    bench.close()
    assert onset_times(bench) == [1.03, 2.9] * 3 and clip_frames(bench) == [1.0, 2.9] * 3
    assert bench.stream.counts['resets'] == 2
    assert bench.stream.counts['no_frame'] == 0


@pytest.mark.parametrize('first', ['sound', 'frames'])
def test_a_straggler_of_the_old_time_does_not_cost_new_sound(first):
    bench = Bench([0.05])
    bench.see(*frames(5, 8))
    bench.hear(5, 8)
    if first == 'sound':
        bench.hear(0, 0.1)
        bench.see(8.0)
        bench.see(*frames(0, 1))
    else:
        bench.see(0.0)
        bench.hear(8.0, 8.1)
        bench.hear(0, 0.1)
        bench.see(*frames(0.1, 1))
    bench.hear(0.1, 1)
    assert onset_times(bench) == [0.05] and clip_frames(bench) == [0.1]
    assert bench.stream.audio.time_ns(0) == at(0) and bench.stream.frames.latest.stamp_ns == at(0.9)
    assert bench.stream.counts['resets'] == 2


def test_a_clock_that_leaps_ahead():
    bench = Bench([0.95, 100.5], audio_before_s=0.1, audio_after_s=0.3)
    bench.see(*frames(0, 1))
    bench.hear(0, 1)
    bench.hear(100, 101)
    bench.see(*frames(100, 102))
    assert onset_times(bench) == [0.95, 100.5] and clip_frames(bench) == [0.9, 100.5]
    assert np.count_nonzero(bench.complete[0].clip.audio.present) == 0.15 * RATE
    assert bench.stream.counts['jumps_forward'] == 1 and bench.stream.counts['no_frame'] == 0


@pytest.mark.parametrize('rate, channels', [(16_000, 1), (RATE, 2)])
def test_another_kind_of_sound_starts_anew(rate, channels):
    Clicks.made.clear()
    bench = Bench([0.95, 1.5], audio_after_s=0.5)
    bench.hear(0, 1)
    for first in np.arange(1, 3, 0.1):
        samples = np.repeat(bench.sound(first, first + 0.1, rate)[:, None], channels, 1)
        bench.take(bench.stream.push_audio(at(first), samples, rate))
    bench.see(*frames(0, 3))
    assert onset_times(bench) == [0.95, 1.5] and len(bench.complete) == 2
    assert bench.stream.counts['rate_changes'] == 1 and len(Clicks.made) == 2
    assert bench.stream.audio.rate == rate


def test_bad_data_is_refused_and_counted():
    bench = Bench()
    stream, good = bench.stream, np.zeros(80, np.float32)
    for stamp in (0, -5):
        bench.take(stream.push_audio(stamp, good, RATE))
        bench.take(stream.push_frame(Frame(stamp, b'', lambda payload: payload)))
    for samples, rate in [
        (good[:0], RATE),
        (np.zeros((0, 2), np.float32), RATE),
        (np.zeros((2, 2, 2), np.float32), RATE),
        (good, 0),
        (good, INPUT_RATES[0] - 1),
        (good, INPUT_RATES[1] + 1),
    ]:
        bench.take(stream.push_audio(at(0), samples, rate))
    assert bench.counted() == {'bad_stamps': 4, 'bad_chunks': 6}


def test_repaired_sound_is_counted():
    stream = Bench().stream
    stream.push_audio(at(0), np.array([0, np.nan, np.inf, 0], np.float32), RATE)
    stream.push_audio(at(4 / RATE), np.array([[np.inf, -np.inf], [1, 1]], np.float32), RATE)
    assert stream.counts['nonfinite_samples'] == 3
    assert stream.counts['clipped_chunks'] == 1
    assert stream.counts['rate_changes'] == 1


def test_frames_are_counted_by_their_fate():
    stream = CollisionStream(frame_config=FrameConfig(buffer_mb=1.0), make_detector=Clicks)
    for second in (1.0, 1.2, 1.1, 1.2):
        stream.push_frame(frame(second))
    for second in (1.3, 1.4, 1.5):
        stream.push_frame(Frame(at(second), bytes(1_200_000), lambda payload: payload))
    counts = stream.counts
    assert (counts['frames'], counts['duplicate_frames'], counts['out_of_order_frames']) == (
        6,
        1,
        1,
    )
    assert counts['evicted_frames'] == 5 and len(stream.frames) == 1


@pytest.mark.parametrize('missing', ['sound', 'video'])
def test_one_stream_alone_does_no_harm(missing):
    bench = Bench(np.arange(0.5, 60, 1))
    if missing == 'video':
        bench.hear(0, 60)
        bench.close()
        assert bench.stream.counts['no_frame'] == bench.stream.counts['onsets'] == 60
    else:
        bench.see(*frames(0, 60))
        bench.close()
        assert len(bench.stream.frames) <= 302
    assert not bench.complete


def test_onset_thresholds_change_at_once_and_for_later_detectors():
    Clicks.made.clear()
    bench, config = Bench(), OnsetConfig(refractory_s=0.3)
    bench.hear(0, 0.1)
    bench.stream.reconfigure(config)
    assert Clicks.made[-1].config is config
    bench.hear(0.1, 0.2, rate=16_000)
    assert len(Clicks.made) == 2 and Clicks.made[-1].config is config


def test_an_event_now_is_on_the_newest_frame():
    bench = Bench(audio_before_s=0.5)
    assert bench.stream.event_now() is None
    bench.see(1.0, 1.1)
    assert not bench.stream.event_now().clip.audio.present.any()
    bench.hear(0, 1.5)
    clip = bench.stream.event_now().clip
    assert clip.onset.stamp_ns == clip.frame.stamp_ns == at(1.1) and np.isnan(clip.onset.peak_dbfs)
    assert clip.audio.start_ns == at(0.6) and clip.audio.present.all()
    assert not bench.counted().get('onsets')


def test_buffers_too_short_for_the_clips_are_refused():
    with pytest.raises(ValueError, match='audio.buffer_s = 2: .* at least 3 s'):
        CollisionStream(ClipConfig(audio_before_s=1, audio_after_s=1), audio_config=AudioConfig(2))
    with pytest.raises(ValueError, match='frames.buffer_s = 1: .* at least 1.5 s'):
        CollisionStream(ClipConfig(frames_before_s=0.5), frame_config=FrameConfig(buffer_s=1))


def test_every_counter_is_there_from_the_start_and_counts_and_there_is_no_other():
    stream = CollisionStream(
        audio_config=AudioConfig(buffer_s=2.0),
        frame_config=FrameConfig(buffer_mb=1.0),
        make_detector=Clicks,
    )
    assert stream.counts == dict.fromkeys(COUNTS, 0)
    click, quiet = np.random.default_rng(0).uniform(-0.1, 0.1, (2, 800)).astype(np.float32)
    click[0], click[700] = 0.9, -0.9
    stream.push_frame(Frame(0, b'', lambda payload: payload))  # bad_stamps
    for second in (1.0, 1.2, 1.1, 1.2):  # out_of_order_frames, duplicate_frames
        stream.push_frame(frame(second))
    for second in (1.3, 1.4):  # evicted_frames
        stream.push_frame(Frame(at(second), bytes(1_200_000), lambda payload: payload))
    for second in (0.7, 0.8, 0.9):
        stream.push_audio(at(second), quiet, RATE)
    update = stream.push_audio(at(1.0), click, RATE)  # gated; onsets and clips with what follows
    assert [onset.probability for onset in update.gated] == [0.1]
    stream.push_audio(at(1.1), quiet, RATE)
    stream.push_audio(at(1.1), quiet, RATE)  # duplicates, dropped_samples
    both = np.concatenate([click, quiet, quiet])
    stream.push_audio(at(1.15), both[1200:2000], RATE)  # overlaps
    stream.push_audio(at(1.05), both[400:1200], RATE)  # out_of_order
    stream.push_audio(at(1.5), np.array([1, np.nan], np.float32), RATE)  # gaps and bad samples
    stream.push_audio(at(1.6), quiet[:0], RATE)  # bad_chunks
    stream.push_audio(at(10.0), click, RATE)  # jumps_forward, no_frame
    stream.flush()
    stream.push_audio(at(10.1), quiet, 2 * RATE)  # rate_changes
    stream.push_frame(frame(0.1))  # resets
    assert set(stream.counts) == set(COUNTS)
    elsewhere = {'splices'}  # test_stamps.py
    assert {name for name, count in stream.counts.items() if count < 1} == elsewhere


@pytest.mark.parametrize('rate', INPUT_RATES)
def test_the_real_detector_takes_the_rates_that_are_let_in(rate):
    bench = Bench([], make_detector)
    samples = np.random.default_rng(0).normal(0, 1e-3, 3 * rate).astype(np.float32)
    decay = np.exp(-np.arange(rate // 5) / (0.02 * rate))
    samples[rate * 2 : rate * 2 + decay.size] += (
        np.random.default_rng(1).uniform(-0.5, 0.5, decay.size) * decay
    ).astype(np.float32)
    bench.see(*frames(0, 3))
    for first in range(0, samples.size, rate // 10):
        chunk = samples[first : first + rate // 10]
        bench.take(bench.stream.push_audio(at(first / rate), chunk, rate))
    bench.close()
    assert [time for time in onset_times(bench) if 1 < time] == [pytest.approx(2.0, abs=0.02)]
    assert clip_frames(bench)[-1] == 2.0


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(-12_000, 60_000), st.integers(1, 4000)), max_size=40
    )
)
def test_nothing_raises_and_nothing_is_lost_silently(pushes):
    """Sound and frames at any stamps: every onset ends as a clip or is counted."""
    bench = Bench(audio_before_s=0.1, audio_after_s=0.2, audio=AudioConfig(buffer_s=2.0))
    given_samples = 0
    for is_sound, milliseconds, length in pushes:
        if is_sound:
            samples = np.zeros(length, np.float32)
            samples[length // 2] = 0.9
            given_samples += length
            bench.take(bench.stream.push_audio(at(milliseconds / 1000), samples, RATE))
        else:
            bench.see(milliseconds / 1000)
    bench.close()
    counts = bench.stream.counts
    assert set(counts) == set(COUNTS)
    assert counts['onsets'] == counts['clips'] + counts['no_frame']
    assert len(bench.complete) == counts['clips'] and bench.ready == bench.complete
    fates = ('audio_chunks', 'duplicates', 'out_of_order')
    assert sum(counts[fate] for fate in fates) == sum(is_sound for is_sound, _, _ in pushes)
    assert counts['frames'] + counts['duplicate_frames'] == sum(not s for s, _, _ in pushes)
    assert counts['dropped_samples'] <= given_samples
    audio = bench.stream.audio
    if audio is not None and audio.end_ns is not None:
        assert audio.time_ns(Clicks.made[-1].position) == audio.end_ns


def test_a_small_jump_back_is_followed_and_disorder_is_not():
    rate, chunk = 16_000, np.zeros(320, np.float32)
    stream = CollisionStream()
    stamps = [NS_PER_S + k * 20_000_000 for k in range(40)]
    for stamp_ns in stamps:
        stream.push_audio(stamp_ns, chunk, rate)
    for stamp_ns in (stamps[30], stamps[20], stamps[10]) * 5:  # late, but not one after the other
        stream.push_audio(stamp_ns, chunk, rate)
    assert stream.counts['resets'] == 0
    for stamp_ns in stamps:  # a loop of 0.8 s
        stream.push_audio(stamp_ns, chunk, rate)
    assert stream.counts['resets'] == 1
    assert stream.audio is not None and stream.audio.end_ns == stamps[-1] + 20_000_000


def test_a_channel_is_named_once():
    with pytest.raises(ValueError, match=r'channels = \[1, 1\]: expected each channel once'):
        AudioConfig(channels=(1, 1))
