"""Sound in chunks: nothing depends on how it was packed, gaps and overlaps keep their times."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cs3_ros.collision import NS_PER_S
from cs3_ros.files.sound_cutter import SoundCutter


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_chunks_do_not_depend_on_the_packets(sizes, random):
    samples = np.arange(sum(sizes), dtype=np.int16)[:, None]
    cutter, first, chunks = SoundCutter(44100, 1, 5 * NS_PER_S, 0), 0, []
    for size in sizes:
        jitter_ns = random.randint(-2_000_000, 2_000_000) if first else 0
        stamp_ns = round(first * NS_PER_S / 44100) + jitter_ns
        chunks += cutter.push(stamp_ns, samples[first : first + size])
        first += size
    chunks += cutter.flush()
    np.testing.assert_array_equal(
        np.concatenate([c.samples for c in chunks]), samples / np.float32(32768)
    )
    assert [c.stamp_ns - 5 * NS_PER_S for c in chunks] == [
        k * 20_000_000 for k in range(len(chunks))
    ]


@given(st.lists(st.tuples(st.integers(-400, 2000), st.integers(0, 500)), min_size=1, max_size=10))
def test_gaps_and_overlaps_against_a_naive_model(packets):
    # one sample a millisecond; each packet is (distance from the end of the one before, length)
    cutter, chunks, end = SoundCutter(1000, 1, 0, 0), [], 0
    want: dict[int, int] = {}
    for number, (distance, length) in enumerate(packets, 1):
        distance = 0 if abs(distance) <= 5 else distance
        chunks += cutter.push((end + distance) * 1_000_000, np.full((length, 1), number, np.int16))
        for place in range(end + distance, end + distance + length):
            if place >= end:
                want[place] = number
        end = max(end + distance + length, end + distance if distance > 0 else end)
    chunks += cutter.flush()
    got: dict[int, int] = {}
    for chunk in chunks:
        for offset, value in enumerate(chunk.samples[:, 0]):
            place = chunk.stamp_ns // 1_000_000 + offset
            assert place not in got
            got[place] = round(value * 32768)
    assert got == want
