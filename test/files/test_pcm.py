"""Sound bytes: formats, round trips and refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cs3_ros.files.pcm import FORMATS, SoundFormat, decode, encode

int16_sound = hnp.arrays(
    np.int16, st.tuples(st.integers(0, 40), st.integers(1, 6)), elements=st.integers(-32768, 32767)
)


@given(int16_sound)
def test_int16_survives_the_round_trip_exactly(values):
    fmt = SoundFormat(48000, values.shape[1])
    samples = decode(values.astype('<i2').tobytes(), fmt)
    assert samples.dtype == np.float32 and samples.shape == values.shape
    np.testing.assert_array_equal(samples, values / np.float32(32768))
    assert encode(samples) == values.astype('<i2').tobytes()


@given(int16_sound)
def test_all_formats_carry_the_same_sound(values):
    channels = values.shape[1]
    wide = values.astype(np.int64)
    stored = {
        'S16LE': values.astype('<i2').tobytes(),
        'S24LE': (wide << 8).astype('<i4').reshape(-1).view(np.uint8).reshape(-1, 4)[:, :3],
        'S32LE': (wide << 16).astype('<i4').tobytes(),
        'F32LE': (values / np.float32(32768)).astype('<f4').tobytes(),
    }
    assert tuple(stored) == FORMATS
    want = values / np.float32(32768)
    for name, data in stored.items():
        data = data if isinstance(data, bytes) else data.tobytes()
        np.testing.assert_array_equal(decode(data, SoundFormat(16000, channels, name)), want)


@given(
    hnp.arrays(
        np.float32,
        st.integers(0, 50),
        elements=st.floats(-4, 4, width=32, allow_nan=False),
    )
)
def test_encode_rounds_and_clips(values):
    back = decode(encode(values), SoundFormat(8000, 1))[:, 0]
    want = np.clip(values, -1, 32767 / 32768)
    assert np.abs(back - want).max(initial=0) <= 0.5 / 32768


def test_full_scale_stays_in_range():
    data = np.array([-(2**31), 2**31 - 1], '<i4').tobytes()
    assert decode(data, SoundFormat(1, 1, 'S32LE')).ravel().tolist() == [-1.0, 1.0]


def test_float_is_handed_on_untouched():
    data = np.array([np.nan, np.inf, -3.0], '<f4').tobytes()
    samples = decode(data, SoundFormat(1, 3, 'F32LE'))
    np.testing.assert_array_equal(samples, [[np.nan, np.inf, -3.0]])


def test_takes_numpy_bytes_as_rosbags_gives_them():
    assert decode(np.array([0, 64], np.uint8), SoundFormat(1, 1)).tolist() == [[0.5]]


@pytest.mark.parametrize(
    ('size', 'channels', 'name'), [(3, 1, 'S16LE'), (6, 2, 'S16LE'), (4, 1, 'S24LE')]
)
def test_torn_samples_are_refused(size, channels, name):
    with pytest.raises(ValueError, match=rf'{size} bytes of sound: expected a multiple of'):
        decode(bytes(size), SoundFormat(48000, channels, name))


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        (dict(coding_format='mp3'), "'mp3'.*format:=wave"),
        (dict(sample_format='s16le'), "'s16le': expected one of S16LE"),
        (dict(sample_format='U8'), "'U8': expected one of"),
        (dict(channels=0), '0 channels: expected at least 1'),
        (dict(rate=0), '0 samples per second'),
    ],
)
def test_bad_formats_are_refused_with_the_fix(fields, message):
    with pytest.raises(ValueError, match=message):
        SoundFormat(**{'rate': 48000, 'channels': 1, **fields})


def test_coding_format_is_read_in_any_case():
    assert SoundFormat(48000, 2, coding_format='WAVE').bitrate == 48000 * 2 * 16


def test_nan_is_not_written():
    with pytest.raises(ValueError, match='NaN or Inf'):
        encode([0.0, np.nan])
