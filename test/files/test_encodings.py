"""Raw pictures of messages: every encoding, padding, byte order, refusals."""

import needs

needs.opencv()

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cs3_ros.files.encodings import ENCODINGS, check_image, decode_image


def padded(rows, pad):
    """The bytes of [H, row] uint8 with ``pad`` bytes of rubbish after each row, and the step."""
    rows = np.ascontiguousarray(rows)
    rows = rows.view(np.uint8).reshape(len(rows), -1)
    filled = np.pad(rows, ((0, 0), (0, pad)), constant_values=0xAB)
    return filled.tobytes(), filled.shape[1]


small_rgb = hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3)))


@given(small_rgb, st.integers(0, 5))
def test_colour_encodings_give_the_same_picture(rgb, pad):
    alpha = np.full((*rgb.shape[:2], 1), 7, np.uint8)
    bgr = rgb[:, :, ::-1]
    stored = {
        'rgb': rgb,
        'bgr': bgr,
        '{}UC3': bgr,
        'rgba': np.concatenate([rgb, alpha], 2),
        'bgra': np.concatenate([bgr, alpha], 2),
        '{}UC4': np.concatenate([bgr, alpha], 2),
    }
    for name, pixels in stored.items():
        rows = pixels.reshape(len(rgb), -1)
        for bits, order in ((8, 'u1'), (16, '<u2'), (16, '>u2')):
            encoding = name.format(bits) if '{}' in name else f'{name}{bits}'
            wide = rows if bits == 8 else (rows.astype(np.uint16) << 8 | 0x35).astype(order)
            data, step = padded(wide, pad)
            got = decode_image(encoding, *rgb.shape[:2], step, order == '>u2', data)
            np.testing.assert_array_equal(got, rgb)
            assert got.dtype == np.uint8 and got.flags.c_contiguous and got.flags.writeable


@given(
    hnp.arrays(np.uint16, st.tuples(st.integers(1, 6), st.integers(1, 6))),
    st.booleans(),
    st.integers(0, 3),
)
def test_mono_encodings(grey, big, pad):
    want = np.repeat((grey >> 8).astype(np.uint8)[:, :, None], 3, 2)
    for encoding in ('mono16', '16UC1'):
        data, step = padded(grey.astype('>u2' if big else '<u2'), pad)
        np.testing.assert_array_equal(decode_image(encoding, *grey.shape, step, big, data), want)
    for encoding in ('mono8', '8UC1'):
        data, step = padded((grey >> 8).astype(np.uint8), pad)
        np.testing.assert_array_equal(decode_image(encoding, *grey.shape, step, big, data), want)


BAYER = ('rggb', 'bggr', 'gbrg', 'grbg')


@pytest.mark.parametrize('pattern', BAYER)
def test_bayer_of_a_plain_colour_is_that_colour(pattern):
    colour = {'r': 200, 'g': 120, 'b': 30}
    tile = np.array([colour[letter] for letter in pattern], np.uint8).reshape(2, 2)
    tiles = np.tile(tile, (5, 4))
    data, step = padded(tiles, 3)
    got = decode_image(f'bayer_{pattern}8', 10, 8, step, 0, data)
    assert (got == [200, 120, 30]).all()
    for big in (False, True):
        wide = (tiles.astype(np.uint16) << 8 | 0x35).astype('>u2' if big else '<u2')
        data, step = padded(wide, 6)
        got = decode_image(f'bayer_{pattern}16', 10, 8, step, big, data)
        assert (got == [200, 120, 30]).all()


@pytest.mark.parametrize('pattern', BAYER)
def test_wide_bayer_is_the_narrow_one_but_for_rounding(pattern):
    narrow = np.random.default_rng(3).integers(0, 256, (8, 10), np.uint8)
    wide = (narrow.astype(np.uint16) << 8).astype('<u2')
    got = decode_image(f'bayer_{pattern}16', 8, 10, 20, 0, wide.tobytes())
    want = decode_image(f'bayer_{pattern}8', 8, 10, 10, 0, narrow.tobytes())
    assert np.abs(got.astype(int) - want).max() <= 1


@pytest.mark.parametrize(
    ('encoding', 'order'),
    [('yuv422', 'uyvy'), ('uyvy', 'uyvy'), ('yuv422_yuy2', 'yuyv'), ('yuyv', 'yuyv')],
)
def test_yuv_of_a_plain_colour_is_that_colour(encoding, order):
    value = {'y': 81, 'u': 90, 'v': 240}  # red in BT.601 limited range
    row = np.array([value[letter] for letter in order] * 3, np.uint8)
    data, step = padded(np.tile(row, (4, 1)), 2)
    got = decode_image(encoding, 4, 6, step, 0, data)
    assert np.abs(got.astype(int) - [255, 0, 0]).max() <= 2


PARITY = ['rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8', *(f'bayer_{name}8' for name in BAYER)]
PARITY += ['yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv']


@pytest.mark.parametrize('encoding', PARITY)
def test_agrees_with_rosbags_image(encoding):
    rosbags_image = pytest.importorskip('rosbags.image')
    channels = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4}.get(encoding, 1)
    channels = 2 if encoding.startswith(('yuv', 'uyvy', 'yuyv')) else channels
    raw = np.random.default_rng(3).integers(0, 256, (8, 10 * channels), np.uint8)
    message = SimpleNamespace(
        encoding=encoding, height=8, width=10, is_bigendian=0, data=raw.reshape(-1)
    )
    want = rosbags_image.message_to_cvimage(message, 'rgb8')
    got = decode_image(encoding, 8, 10, raw.shape[1], 0, raw.tobytes())
    np.testing.assert_array_equal(got, want)


# --- planar YUV -----------------------------------------------------------------------------------


def colours(height, width, seed=0):
    """A smooth picture with all three channels different."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def encoded(encoding, rgb, pad=0):
    """The bytes of a picture in a 4:2:0 encoding, padded, and its step."""
    height, width = rgb.shape[:2]
    planar = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    luma, u, v = np.split(planar, [height * width, height * width * 5 // 4])
    luma = luma.reshape(height, width)
    u, v = u.reshape(height // 2, width // 2), v.reshape(height // 2, width // 2)
    if encoding in ('i420', 'yuv420'):
        planes, pads = [luma, u, v], [pad, pad // 2, pad // 2]
    else:
        first, second = (u, v) if encoding == 'nv12' else (v, u)
        planes, pads = [luma, np.stack([first, second], 2).reshape(height // 2, width)], [pad, pad]
    data = b''.join(padded(plane, each)[0] for plane, each in zip(planes, pads, strict=True))
    return data, width + pad


PLANAR = ('nv12', 'nv21', 'i420', 'yuv420')
halves = st.integers(1, 9)


@given(halves, halves, st.sampled_from([0, 2, 32]), st.sampled_from(PLANAR))
def test_planar_colours_are_those_of_opencv(half_height, half_width, pad, encoding):
    rgb = np.random.default_rng(7).integers(0, 256, (2 * half_height, 2 * half_width, 3), np.uint8)
    want = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), cv2.COLOR_YUV2RGB_I420)
    data, step = encoded(encoding, rgb, pad)
    for given_step in (step,) if pad else (step, 0, step * 3 // 2, 2 * step):
        got = decode_image(encoding, *rgb.shape[:2], given_step, 0, data)
        np.testing.assert_array_equal(got, want)
    tail = decode_image(encoding, *rgb.shape[:2], step, 0, data + bytes(99))
    np.testing.assert_array_equal(tail, want)


@pytest.mark.parametrize('encoding', PLANAR)
def test_planar_colours_are_right(encoding):
    rgb = colours(48, 64)
    data, step = encoded(encoding, rgb, 16)
    got = decode_image(encoding, 48, 64, step, 0, data)
    assert np.abs(got.astype(int) - rgb).mean() < 4


def test_full_chroma_is_the_shared_chroma_where_pixels_share_it():
    rgb = colours(8, 12)
    data, _ = encoded('nv12', rgb)
    luma, chroma = np.split(np.frombuffer(data, np.uint8), [8 * 12])
    want = decode_image('nv12', 8, 12, 12, 0, data)
    chroma = chroma.reshape(4, 6, 2).repeat(2, 0).repeat(2, 1)
    dense = luma.tobytes() + chroma.tobytes()
    np.testing.assert_array_equal(decode_image('nv24', 8, 12, 12, 0, dense), want)
    wide = padded(luma.reshape(8, 12), 5)[0] + padded(chroma.reshape(8, 24), 10)[0]
    np.testing.assert_array_equal(decode_image('nv24', 8, 12, 17, 0, wide), want)
    odd = np.concatenate([luma.reshape(8, 12)[:7, :5].reshape(-1), chroma[:7, :5].reshape(-1)])
    got = decode_image('nv24', 7, 5, 5, 0, odd)
    np.testing.assert_array_equal(got, want[:7, :5])


def test_full_chroma_of_a_plain_colour_is_that_colour():
    red = bytes([81]) * 15 + bytes([90, 240]) * 15  # BT.601, limited range
    got = decode_image('nv24', 3, 5, 5, 0, red)
    assert np.abs(got.astype(int) - [255, 0, 0]).max() <= 2


@given(
    st.sampled_from(ENCODINGS),
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 50),
    st.binary(max_size=300),
    st.booleans(),
)
def test_any_message_is_decoded_or_refused(encoding, height, width, step, data, big):
    try:
        check_image(encoding, height, width, step, len(data))
    except ValueError as error:
        assert encoding in str(error)
        with pytest.raises(ValueError):
            decode_image(encoding, height, width, step, big, data)
    else:
        got = decode_image(encoding, height, width, step, big, data)
        assert got.shape == (height, width, 3) and got.dtype == np.uint8


# --- padding and refusals -------------------------------------------------------------------------


def test_last_row_may_lack_its_padding():
    rgb = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    data, step = padded(rgb.reshape(2, -1), 5)
    np.testing.assert_array_equal(decode_image('rgb8', 2, 4, step, 0, data[:-5]), rgb)


def test_the_picture_is_a_copy():
    data = np.zeros((2, 2, 3), np.uint8)
    decode_image('rgb8', 2, 2, 6, 0, data.reshape(-1))[:] = 9
    assert not data.any()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('h264', 2, 2, 6, 0, bytes(12)), "'h264': expected one of rgb8, bgr8"),
        (('', 2, 2, 6, 0, bytes(12)), "'': expected one of"),
        (('rgb8', 0, 0, 0, 0, b''), '0x0: expected at least 1x1'),
        (('rgb8', 2, 0, 0, 0, b''), '0x2: expected at least 1x1'),
        (('rgb8', 2, 2, 5, 0, bytes(12)), 'step 5: expected at least 6'),
        (('rgb8', 2, 2, 6, 0, bytes(11)), 'expected 12 bytes, got 11'),
        (('yuv422', 2, 3, 6, 0, bytes(12)), 'expected an even width'),
        (('bayer_rggb8', 2, 2, 2, 0, bytes(4)), 'expected at least 4x4'),
        (('bayer_rggb16', 4, 4, 7, 0, bytes(32)), 'step 7: expected at least 8'),
        (('rgb16', 2, 2, 6, 0, bytes(24)), 'step 6: expected at least 12'),
        (('nv12', 3, 4, 4, 0, bytes(18)), '4x3: expected an even width and height'),
        (('nv21', 4, 3, 4, 0, bytes(18)), '3x4: expected an even width and height'),
        (('i420', 2, 4, 5, 0, bytes(18)), 'step 5: expected an even one'),
        (('nv12', 2, 4, 3, 0, bytes(18)), 'step 3: expected at least 4'),
        (('nv12', 4, 4, 4, 0, bytes(16)), 'expected 24 bytes, got 16, luma and chroma; its height'),
        (('nv12', 4, 4, 8, 0, bytes(43)), 'step 8: expected 44 bytes, got 43'),
        (('i420', 4, 4, 8, 0, bytes(45)), 'step 8: expected 46 bytes, got 45'),
        (('nv24', 4, 4, 4, 0, bytes(32)), 'expected 48 bytes, got 32'),
        (('mono8', 30000, 30000, 30000, 0, b''), '30000x30000 pixels: expected at most 50 megapix'),
        (('mono8', 9, 2**32 - 1, 0, 0, b''), '4294967295x9 pixels: expected at most 50 megapixels'),
        (('rgb8', 2, 2, 6, 0, bytes(12), 3), '2x2 pixels: expected at most 3e-06 megapixels'),
        (('mono8', 10, 10, 2**31, 0, bytes(100)), 'step 2147483648: expected 19327352842 bytes'),
        (
            ('mono8', 1, 640, 640, 0, bytes(640 * 480)),
            'expected 640 bytes, got 307200, which is an',
        ),
        (('nv12', 2, 640, 640, 0, bytes(640 * 720)), 'expected 1920 bytes, got 460800'),
    ],
)
def test_bad_images_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        decode_image(*arguments)


@pytest.mark.parametrize('encoding', ['yuyv', 'nv12'])
def test_rows_of_macroblocks_and_whole_pages_are_no_other_picture(encoding):
    """Hardware hands out 1088 rows for 1080, and pages of memory."""
    step = 1920 * (2 if encoding == 'yuyv' else 1)
    rows = 1088 if encoding == 'yuyv' else 1088 * 3 // 2
    check_image(encoding, 1080, 1920, step, step * rows + 4095)
