"""Sound from drivers whose stamps jitter, drift, come in bursts and lose: no sample goes."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs3_ros.collision import NS_PER_S, Frame
from cs3_ros.trigger.assembler import ClipConfig
from cs3_ros.trigger.stream import CollisionStream

START = 1_000 * NS_PER_S


@dataclass(frozen=True)
class Driver:
    """What makes stamps of times."""

    rate: int = 16_000
    chunk_s: float = 0.02
    jitter_s: float = 0.0
    two_sided: bool = False
    drift_ppm: float = 0.0
    burst_s: float = 0.0
    """Chunks of one read have one stamp, as far as jitter leaves it."""
    losses: tuple[tuple[float, float], ...] = ()
    """Begin and length, seconds of sound."""
    seed: int = 0

    def messages(self, sound):
        """(true time of the first sample in seconds, stamp, samples) of each chunk."""
        rng, size = np.random.default_rng(self.seed), round(self.chunk_s * self.rate)
        for first in range(0, sound.size - size + 1, size):
            seconds = first / self.rate
            low = -self.jitter_s if self.two_sided else 0.0
            late = rng.uniform(low, self.jitter_s)
            if any(begin <= seconds + 1e-9 < begin + length for begin, length in self.losses):
                continue
            true = seconds * (1 + self.drift_ppm * 1e-6)
            read = first // size
            if self.burst_s:
                read -= read % max(1, round(self.burst_s / self.chunk_s))
            stamp = (read * size / self.rate) * (1 + self.drift_ppm * 1e-6) + late
            yield true, START + round(stamp * NS_PER_S), sound[first : first + size]


def noise(seconds, rate=16_000, clicks=()):
    rng = np.random.default_rng(7)
    sound = 1e-3 * rng.standard_normal(round(seconds * rate))
    ring = np.exp(-np.arange(round(0.08 * rate)) / (0.012 * rate))
    for click in clicks:
        begin = round(click * rate)
        sound[begin : begin + ring.size] += 0.5 * ring * rng.choice([-1, 1], ring.size)
    return sound.astype(np.float32)


@dataclass
class Heard:
    """What became of the messages of a driver."""

    counts: dict
    onsets_s: list
    errors_s: list
    """Time of each chunk less its true time, as known at the end."""
    stream: CollisionStream


def hear(driver, sound):
    stream, chunks, onsets = CollisionStream(ClipConfig(audio_after_s=0.3)), [], []
    for true, stamp_ns, samples in driver.messages(sound):
        onsets += stream.push_audio(stamp_ns, samples, driver.rate).onsets
        chunks.append((true, stream.audio, stream.audio._end - samples.size))
    onsets += stream.flush().onsets
    kept = [chunk for chunk in chunks if chunk[1] is stream.audio]
    errors = [(audio.time_ns(i) - START) / NS_PER_S - true for true, audio, i in kept]
    counts = {name: count for name, count in stream.counts.items() if count}
    return Heard(counts, [(o.stamp_ns - START) / NS_PER_S for o in onsets], errors, stream)


drivers = st.builds(
    Driver,
    rate=st.sampled_from([8000, 16_000]),
    chunk_s=st.sampled_from([0.01, 0.02, 0.064, 0.1]),
    jitter_s=st.floats(0, 0.06),
    two_sided=st.booleans(),
    drift_ppm=st.floats(-2000, 2000),
    burst_s=st.sampled_from([0, 0, 0.1, 0.2, 0.5]),
    seed=st.integers(0, 10**6),
)


@settings(max_examples=25, deadline=None)
@given(drivers)
def test_without_losses_no_sample_is_lost_whatever_the_stamps(driver):
    heard = hear(driver, noise(8, driver.rate))
    assert set(heard.counts) <= {'audio_chunks', 'onsets', 'no_frame'}
    assert heard.stream.audio._end == round(8 / driver.chunk_s + 1e-9) // 1 * round(
        driver.chunk_s * driver.rate
    )


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(-60, 60), min_size=1, max_size=40), st.integers(-2000, 2000))
def test_any_pattern_of_jitter_loses_nothing(pattern, drift_ppm):
    """Not only random jitter: whatever pattern of up to 60 ms comes again and again."""
    sound, stream = noise(8), CollisionStream()
    for n, first in enumerate(range(0, sound.size, 320)):
        late_ms = 20 * n * (1 + drift_ppm * 1e-6) + pattern[n % len(pattern)]
        stamp_ns = START + round(late_ms * 1e6)
        stream.push_audio(stamp_ns, sound[first : first + 320], 16_000)
    counts = {name: count for name, count in stream.counts.items() if count}
    assert counts.keys() <= {'audio_chunks', 'onsets', 'no_frame'}


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0, 0.05), st.booleans(), st.floats(-2000, 2000), st.integers(0, 99), st.floats(2, 7)
)
def test_onsets_have_the_right_time_under_jitter(jitter_s, two_sided, drift_ppm, seed, click):
    driver = Driver(jitter_s=jitter_s, two_sided=two_sided, drift_ppm=drift_ppm, seed=seed)
    heard = hear(driver, noise(8, clicks=[click]))
    true = click * (1 + drift_ppm * 1e-6)
    assert min(abs(onset - true) for onset in heard.onsets_s) < 0.03


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([0.02, 0.064, 0.1]),
    st.floats(0, 0.06),
    st.booleans(),
    st.floats(-2000, 2000),
    st.integers(0, 10**6),
    st.sampled_from([0.2, 0.34, 0.8, 2.5]),
    st.floats(6, 8),
)
def test_a_loss_is_marked_at_its_place(chunk_s, jitter_s, two_sided, ppm, seed, length, begin):
    begin, length = (round(value / chunk_s) * chunk_s for value in (begin, length))
    driver = Driver(
        chunk_s=chunk_s,
        jitter_s=jitter_s,
        two_sided=two_sided,
        drift_ppm=ppm,
        losses=((begin, length),),
        seed=seed,
    )
    heard = hear(driver, noise(14))
    assert heard.counts['missing_samples'] / 16_000 == pytest.approx(length, abs=0.02)
    # Jitter is the same before and after: what differs is an error of the gap.
    errors = np.array(heard.errors_s)
    sizes = np.array([true for true, _, _ in driver.messages(noise(14))])
    before = np.median(errors[sizes < begin])
    after = np.median(errors[sizes > begin + length])
    assert abs(after - before) < 0.02
    off = np.abs(errors - np.where(sizes < begin, before, after)) > 0.02
    assert off.sum() <= np.ceil(0.02 / chunk_s)
    assert not heard.counts.get('dropped_samples')


@pytest.mark.parametrize('stamped', ['exact', 'fast', 'one read'])
def test_a_single_lost_chunk_is_seen_at_once_where_stamps_are_steady(stamped):
    driver = {
        'exact': Driver(losses=((5.0, 0.02),)),
        'fast': Driver(losses=((5.0, 0.02),), drift_ppm=2000),
        'one read': Driver(losses=((5.0, 0.2),), burst_s=0.2),
    }[stamped]
    heard = hear(driver, noise(8))
    assert (
        heard.counts['gaps'] == 1
        and max(map(abs, heard.errors_s)) < 0.2 * (stamped == 'one read') + 0.001
    )
    assert heard.counts['missing_samples'] == pytest.approx(driver.losses[0][1] * 16_000, abs=1)


def test_a_lost_chunk_within_the_jitter_is_seen_after_seconds():
    heard = hear(Driver(jitter_s=0.06, losses=((8.0, 0.04),)), noise(14))
    assert heard.counts['gaps'] == 1
    assert heard.counts['missing_samples'] / 16_000 == pytest.approx(0.04, abs=0.01)


def test_a_splice_does_not_ring():
    """Sound that begins with a bang where some was lost: only the gap, found later, tells."""
    sound = noise(10, clicks=[3.0, 6.3])
    driver = Driver(jitter_s=0.05, losses=((6.0, 0.3),))
    heard = hear(driver, sound)
    assert [round(onset, 1) for onset in heard.onsets_s] == [3.0]
    assert heard.counts['splices'] == heard.counts['gaps'] == 1


def test_one_hiccup_of_an_exact_driver_costs_nothing():
    sound, stream = noise(8, clicks=[4.0]), CollisionStream(ClipConfig(audio_after_s=0.3))
    onsets = []
    for n, first in enumerate(range(0, sound.size, 320)):
        late_s = max(0.0, 0.5 - (n - 150) * 0.02) if n >= 150 else 0.0  # a queue that empties
        stamp_ns = START + round((first / 16_000 + late_s) * NS_PER_S)
        onsets += stream.push_audio(stamp_ns, sound[first : first + 320], 16_000).onsets
    assert stream.counts['gaps'] == stream.counts['missing_samples'] == 0
    assert stream.counts['audio_chunks'] == 400
    assert (onsets[0].stamp_ns - START) / NS_PER_S == pytest.approx(4.0, abs=0.03)


def test_memory_and_clips_stay_bounded_under_endless_jitter():
    driver = Driver(rate=8000, jitter_s=0.06, losses=tuple((s, 0.2) for s in range(3, 58, 3)))
    stream = CollisionStream(ClipConfig())
    for true, stamp_ns, samples in driver.messages(noise(60, 8000)):
        stream.push_frame(Frame(START + round(true * NS_PER_S), b'', lambda payload: payload))
        stream.push_audio(stamp_ns, samples, 8000)
    assert stream.counts['gaps'] == 19
    clock = stream.audio._clock
    assert len(clock._gaps) <= 5 and len(clock.seams) <= 9 and len(clock._history) <= 1300
    clip = stream.audio.window(stream.audio.end_ns - 3 * NS_PER_S, stream.audio.end_ns)
    assert clip.present.sum() == pytest.approx(2.8 * 8000, abs=0.05 * 8000)
