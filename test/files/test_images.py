"""JPEG and PNG: written, read, whole or refused."""

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs3_ros.files.images import as_jpeg, decode_compressed, load_image, save_image


def picture():
    """A smooth picture with all three channels different."""
    y, x = np.mgrid[:48, :64]
    return np.stack([x * 4, y * 5, (x + y) * 2], 2).astype(np.uint8)


def test_what_is_saved_is_loaded(tmp_path):
    grey = picture()[:, :, 0]
    for name, image in (('a.png', picture()), ('b.png', grey)):
        save_image(tmp_path / name, image)
    np.testing.assert_array_equal(load_image(tmp_path / 'a.png'), picture())
    np.testing.assert_array_equal(load_image(tmp_path / 'b.png')[:, :, 1], grey)
    save_image(tmp_path / 'c.jpg', picture())
    assert (tmp_path / 'c.jpg').read_bytes() == as_jpeg(picture(), 95)


def test_a_jpeg_has_the_quality_that_is_asked_for():
    sizes = [len(as_jpeg(picture(), quality)) for quality in (30, 85, 95)]
    assert sizes == sorted(set(sizes)) and as_jpeg(picture()) == as_jpeg(picture(), 85)
    for data in (as_jpeg(picture()), as_jpeg(picture()[:, :, 0])):
        assert decode_compressed('jpeg', data).shape == (48, 64, 3)


def test_a_picture_that_cannot_be_saved_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match='none'):
        save_image(tmp_path / 'none' / 'a.png', picture())


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
