"""Clips close by stamps alone, whatever the interleaving of sound and frames."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs3_ros.collision import NS_PER_S, Frame, Onset
from cs3_ros.trigger.assembler import ClipAssembler, ClipConfig, WaitConfig
from cs3_ros.trigger.buffers import AudioBuffer, AudioConfig, FrameBuffer, FrameConfig

RATE = 8000
START = 1_000 * NS_PER_S


def at(seconds):
    return START + round(seconds * NS_PER_S)


def frame(seconds):
    return Frame.from_rgb(at(seconds), np.zeros((2, 2, 3), np.uint8), 'camera')


class Bench:
    """An assembler with its buffers, fed in seconds."""

    def __init__(self, audio_config=AudioConfig(), **spans):
        self.frames = FrameBuffer(FrameConfig(buffer_s=30.0))
        self.audio = AudioBuffer(RATE, audio_config)
        self.counts = Counter()
        self.assembler = ClipAssembler(ClipConfig(**spans), self.frames, self.counts)

    def hear(self, begin, end):
        first, stop = round(begin * RATE), round(end * RATE)
        self.audio.push(at(first / RATE), np.linspace(0.1, 0.2, stop - first, dtype=np.float32))
        return self.assembler.poll(self.audio)

    def see(self, *seconds):
        for second in seconds:
            self.frames.push(frame(second))
        return self.assembler.poll(self.audio)

    def onset(self, seconds):
        self.assembler.add(Onset(at(seconds), -3.0, 30.0))


def stamps(event):
    return [round((f.stamp_ns - START) / NS_PER_S, 3) for f in event.frames]


def test_frames_are_offered_once_and_before_the_sound_is_there():
    bench = Bench(audio_after_s=0.5, audio_before_s=0.25)
    bench.see(0.9)
    bench.hear(0, 1.2)
    bench.onset(1.0)
    assert bench.assembler.poll(bench.audio).ready == ()
    progress = bench.see(1.04)
    (event,) = progress.ready
    assert stamps(event) == [1.04] and not progress.complete
    with pytest.raises(ValueError, match='no sound yet'):
        _ = event.clip
    assert bench.hear(1.2, 1.4).complete == ()
    progress = bench.hear(1.4, 1.5)
    assert progress.ready == () and progress.complete == (event,)
    clip = event.clip
    assert (clip.frame.stamp_ns, clip.audio.start_ns) == (at(1.04), at(0.75))
    assert clip.audio.present.all() and clip.audio.samples.size == 0.75 * RATE
    assert bench.hear(1.5, 2.0) == bench.see(2.0) == type(progress)((), ())


def test_sound_is_cut_out_while_frames_are_awaited():
    bench = Bench(AudioConfig(buffer_s=2.0), audio_after_s=0.5)
    bench.onset(1.0)
    for second in np.arange(0, 2.8, 0.1):
        bench.hear(second, second + 0.1)
    (event,) = bench.see(1.0).complete
    assert event.clip.audio.present.all()


def test_a_bundle_that_needs_no_sound_is_complete_with_its_frame():
    bench = Bench()
    bench.hear(0, 1.2)
    bench.onset(1.0)
    progress = bench.see(0.97, 1.0)
    assert progress.ready == progress.complete
    clip = progress.complete[0].clip
    assert clip.audio.samples.size == 0 and len(clip.frames) == 1


@pytest.mark.parametrize(
    'before, after, expected, index',
    [
        (0.0, 0.0, [1.0], 0),
        (0.1, 0.0, [0.9, 0.95, 1.0], 2),
        (0.1, 0.1, [0.9, 0.95, 1.0, 1.05, 1.1], 2),
        (0.0, 0.05, [1.0, 1.05], 0),
    ],
)
def test_neighbours_within_the_span(before, after, expected, index):
    bench = Bench(frames_before_s=before, frames_after_s=after)
    bench.hear(0, 2)
    bench.onset(1.0)
    (event,) = bench.see(*np.arange(0.5, 1.5, 0.05)).complete
    assert stamps(event) == expected and event.event_index == index


def test_the_later_of_two_equally_near_frames():
    bench = Bench()
    bench.hear(0, 2)
    bench.onset(1.0)
    assert stamps(bench.see(0.98, 1.02).complete[0]) == [1.02]


def test_the_event_frame_is_taken_in_from_beyond_the_span():
    bench = Bench(frames_before_s=0.02)
    bench.hear(0, 2)
    bench.onset(1.0)
    (event,) = bench.see(0.7, 0.9, 1.2).complete
    assert stamps(event) == [0.9] and event.clip.frame.stamp_ns == at(0.9)


def test_frames_are_copies():
    bench = Bench()
    bench.hear(0, 2)
    bench.onset(1.0)
    (event,) = bench.see(1.0).complete
    assert event.clip.frame.image.shape == (2, 2, 3) and event.clip.frame.frame_id == 'camera'
    assert 'image' not in vars(bench.frames.latest)


def test_onsets_without_a_frame_nearby_are_counted():
    bench = Bench()
    bench.hear(0, 2)
    bench.onset(1.0)
    assert bench.see(1.501) == type(bench.see())((), ())
    assert bench.counts == {'no_frame': 1} and len(bench.assembler) == 0


def test_closing_pads_and_marks_what_is_missing():
    bench = Bench(audio_before_s=0.1, audio_after_s=0.5, frames_after_s=0.3)
    bench.see(0.95)
    bench.hear(0, 1.1)
    bench.onset(1.0)
    bench.onset(9.0)
    progress = bench.assembler.close_all(bench.audio)
    (event,) = progress.complete
    assert progress.ready == (event,) and stamps(event) == [0.95]
    assert event.clip.audio.present.tolist() == [True] * 1600 + [False] * 3200
    assert bench.counts == {'no_frame': 1} and len(bench.assembler) == 0


def test_settled_sound_still_waits_for_frames():
    bench = Bench(audio_after_s=0.5)
    bench.hear(0, 1.1)
    bench.onset(1.0)
    bench.assembler.settle_audio(bench.audio)
    (event,) = bench.see(1.01).complete
    assert np.count_nonzero(event.clip.audio.present) == 0.1 * RATE


def test_sound_without_video_does_not_pile_up():
    bench = Bench(AudioConfig(buffer_s=2.0))
    for second in range(20):
        bench.hear(second, second + 1)
        bench.onset(second + 0.5)
        assert len(bench.assembler) <= 4
    assert bench.counts['no_frame'] >= 16


def test_an_event_now_has_the_newest_sound():
    bench = Bench(audio_before_s=0.5, audio_after_s=0.5)
    assert bench.assembler.event_now(Onset(START, 0, 0), bench.audio) is None
    bench.see(1.0)
    assert not bench.assembler.event_now(Onset(at(1.0), 0, 0), bench.audio).clip.audio.present.any()
    bench.hear(0, 1.2)
    clip = bench.assembler.event_now(Onset(at(1.0), 0, 0), bench.audio).clip
    assert clip.audio.start_ns == at(0.2) and clip.audio.present.all()
    assert clip.audio.samples.size == RATE


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0.0, 4.0), max_size=4, unique=True).map(sorted),
    st.lists(st.booleans(), min_size=80, max_size=160),
    st.sampled_from([0.0, 0.07]),
    st.sampled_from([0.0, 0.5]),
)
def test_interleaving_makes_no_difference(onsets, order, frame_span, audio_span):
    """A coin decides whether sound or frames come next; onsets are heard up to 100 ms late."""

    def clips(coins):
        bench = Bench(
            frames_before_s=frame_span,
            frames_after_s=frame_span,
            audio_before_s=audio_span,
            audio_after_s=audio_span,
        )
        heard, seen, waiting, events = 0.0, 0.0, list(onsets), []
        coins = list(coins)
        while heard < 5.0 or seen < 5.0:
            if heard < 5.0 and (seen >= 5.0 or (coins.pop() if coins else True)):
                while waiting and waiting[0] <= heard:
                    bench.onset(waiting.pop(0))
                events += bench.hear(heard, heard + 0.1).complete
                heard = round(heard + 0.1, 6)
            else:
                events += bench.see(seen).complete
                seen += 1 / 15
        events += bench.assembler.close_all(bench.audio).complete
        return [event.clip for event in events]

    one, other = clips(order), clips([])
    assert len(one) == len(other) == len(onsets)
    for a, b in zip(one, other, strict=True):
        assert a.onset == b.onset and a.event_index == b.event_index
        assert [f.stamp_ns for f in a.frames] == [f.stamp_ns for f in b.frames]
        assert a.audio.start_ns == b.audio.start_ns
        assert np.array_equal(a.audio.samples, b.audio.samples)
        assert np.array_equal(a.audio.present, b.audio.present)


def test_the_wait_of_a_bundle_can_be_shortened_and_not_overrun():
    bundle = ClipConfig(audio_before_s=1.0, audio_after_s=1.0)
    assert WaitConfig().of(bundle) is bundle
    assert WaitConfig(0.25).of(bundle) == ClipConfig(audio_before_s=1.0, audio_after_s=0.25)
    assert WaitConfig(0.0).of(ClipConfig()) == ClipConfig()
    for wrong in (0.01, 1.5):
        with pytest.raises(ValueError, match='takes 0.05 to 1 s'):
            WaitConfig(wrong).of(bundle)
    with pytest.raises(ValueError, match='takes 0 to 0 s'):
        WaitConfig(0.3).of(ClipConfig())
    with pytest.raises(ValueError, match='expected -1'):
        WaitConfig(-0.5)


def test_a_bundle_may_be_made_for_more_than_it_waits_for():
    bundle = ClipConfig(audio_before_s=1.0, audio_after_s=0.25, audio_after_most_s=1.0)
    assert WaitConfig().of(bundle) is bundle
    assert [WaitConfig(s).of(bundle).audio_after_s for s in (0.05, 0.5, 1.0)] == [0.05, 0.5, 1.0]
    for wrong in (0.01, 1.5):
        with pytest.raises(ValueError, match='takes 0.05 to 1 s, or -1 for its own 0.25 s'):
            WaitConfig(wrong).of(bundle)
