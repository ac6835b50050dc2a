"""Pictures of messages: every encoding, padding, byte order, broken files."""

import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cs3_ros.files.images import ENCODINGS, decode_compressed, decode_image


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
    stored = {
        'rgb8': rgb,
        'bgr8': rgb[:, :, ::-1],
        '8UC3': rgb[:, :, ::-1],
        'rgba8': np.concatenate([rgb, alpha], 2),
        'bgra8': np.concatenate([rgb[:, :, ::-1], alpha], 2),
    }
    for encoding, pixels in stored.items():
        data, step = padded(pixels.reshape(len(rgb), -1), pad)
        got = decode_image(encoding, *rgb.shape[:2], step, 0, data)
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


@pytest.mark.parametrize(
    ('encoding', 'pattern'),
    [
        ('bayer_rggb8', 'rggb'),
        ('bayer_bggr8', 'bggr'),
        ('bayer_gbrg8', 'gbrg'),
        ('bayer_grbg8', 'grbg'),
    ],
)
def test_bayer_of_a_plain_colour_is_that_colour(encoding, pattern):
    colour = {'r': 200, 'g': 120, 'b': 30}
    tile = np.array([colour[letter] for letter in pattern], np.uint8).reshape(2, 2)
    data, step = padded(np.tile(tile, (5, 4)), 3)
    got = decode_image(encoding, 10, 8, step, 0, data)
    assert (got == [200, 120, 30]).all()


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


PARITY = sorted(set(ENCODINGS) - {'mono16', '8UC1', '8UC3', '16UC1'})


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
        (('nv12', 2, 2, 6, 0, bytes(12)), "'nv12': expected one of rgb8, bgr8"),
        (('', 2, 2, 6, 0, bytes(12)), "'': expected one of"),
        (('rgb8', 0, 0, 0, 0, b''), '0x0: expected at least 1x1'),
        (('rgb8', 2, 0, 0, 0, b''), '0x2: expected at least 1x1'),
        (('rgb8', 2, 2, 5, 0, bytes(12)), 'step 5: expected at least 6'),
        (('rgb8', 2, 2, 6, 0, bytes(11)), 'expected 12 bytes, got 11'),
        (('yuv422', 2, 3, 6, 0, bytes(12)), 'expected an even width'),
        (('bayer_rggb8', 2, 2, 2, 0, bytes(4)), 'expected at least 4x4'),
    ],
)
def test_bad_images_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        decode_image(*arguments)


def picture():
    """A smooth picture with all three channels different."""
    y, x = np.mgrid[:48, :64]
    return np.stack([x * 4, y * 5, (x + y) * 2], 2).astype(np.uint8)


def jpeg(rgb, *options):
    return cv2.imencode('.jpg', rgb[:, :, ::-1], list(options))[1].tobytes()


def test_jpeg_keeps_its_colours():
    got = decode_compressed('rgb8; jpeg compressed bgr8', jpeg(picture()))
    assert np.abs(got.astype(int) - picture()).mean() < 3


def test_png_is_exact_and_16_bit_png_keeps_the_upper_byte():
    data = cv2.imencode('.png', picture()[:, :, ::-1])[1]
    np.testing.assert_array_equal(decode_compressed('png', data), picture())
    grey = (picture()[:, :, 0].astype(np.uint16) << 8) + 17
    data = cv2.imencode('.png', grey)[1].tobytes()
    np.testing.assert_array_equal(decode_compressed('mono16; png', data)[:, :, 1], grey >> 8)


def with_exif(data, orientation, thumbnail=b''):
    """The JPEG with an EXIF segment that asks for a turn and may hold a thumbnail."""
    tiff = b'MM\0*\0\0\0\x08' + struct.pack('>H', 1)
    tiff += struct.pack('>HHIHH', 0x0112, 3, 1, orientation, 0) + bytes(4) + thumbnail
    body = b'Exif\0\0' + tiff
    return data[:2] + b'\xff\xe1' + struct.pack('>H', len(body) + 2) + body + data[2:]


def test_exif_orientation_does_not_turn_the_picture():
    data = with_exif(jpeg(picture()), 6)
    turned = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert turned.shape == (64, 48, 3), 'the EXIF segment of this test is not read by OpenCV'
    assert decode_compressed('jpeg', data).shape == (48, 64, 3)


@pytest.mark.parametrize('progressive', [0, 1])
@pytest.mark.parametrize('keep', [0.05, 0.5, 0.9, 0.999])
def test_cut_off_jpeg_is_refused(keep, progressive):
    data = jpeg(picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    assert decode_compressed('jpeg', data).shape == (48, 64, 3)
    with pytest.raises(ValueError, match='cut off'):
        decode_compressed('jpeg', data[: int(len(data) * keep)])


def test_a_whole_thumbnail_does_not_hide_a_cut_off_picture():
    data = with_exif(jpeg(picture()), 1, thumbnail=jpeg(picture()[:8, :8]))
    decode_compressed('jpeg', data)
    with pytest.raises(ValueError, match='cut off'):
        decode_compressed('jpeg', data[:-40])


def test_padding_after_the_end_is_harmless():
    assert decode_compressed('jpeg', jpeg(picture()) + bytes(100)).shape == (48, 64, 3)


def test_cut_off_png_is_refused():
    data = cv2.imencode('.png', picture())[1].tobytes()
    with pytest.raises(ValueError, match='cut off'):
        decode_compressed('png', data[:-9])


@given(st.binary(max_size=60))
def test_any_rubbish_is_a_value_error(tail):
    for head in (b'', b'\xff\xd8', b'\x89PNG\r\n\x1a\n'):
        with pytest.raises(ValueError, match="format 'jpeg'"):
            decode_compressed('jpeg', head + tail)
    with pytest.raises(ValueError, match='cannot be decoded'):
        decode_compressed('jpeg', b'\xff\xd8\xff\xda\0\x02' + bytes(len(tail)) + b'\xff\xd9')


def test_other_files_are_named():
    with pytest.raises(ValueError, match=r"'16UC1; compressedDepth'.*got 00 00 00 00"):
        decode_compressed('16UC1; compressedDepth', bytes(20))
