"""JPEG and PNG: written, read, whole or refused."""

import needs

needs.opencv()

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs3_ros.files.images import (
    MAX_SCANS,
    as_jpeg,
    check_compressed,
    compressed_size,
    decode_compressed,
    load_image,
    save_image,
)


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


# --- pictures that say that they are larger than they can be -------------------------------------


def claiming(data, width, height, marker=None):
    """The JPEG with another size, and another kind of frame, in its header."""
    at = max(data.find(b'\xff\xc0'), data.find(b'\xff\xc2'))
    kind = data[at + 1] if marker is None else marker
    size = struct.pack('>HH', height, width)
    return data[: at + 1] + bytes([kind]) + data[at + 2 : at + 5] + size + data[at + 9 :]


def png(width, height, bits=1, colour=0, pixels=b''):
    """A whole PNG of these fields; its pixels need not fit."""

    def chunk(kind, body):
        return (
            struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
        )

    header = struct.pack('>IIBBBBB', width, height, bits, colour, 0, 0, 0)
    parts = (b'IHDR', header), (b'IDAT', zlib.compress(pixels, 9)), (b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunk(*part) for part in parts)


@pytest.fixture
def never_decoded(monkeypatch):
    def fail(*arguments):
        raise AssertionError('decoded')

    monkeypatch.setattr(cv2, 'imdecode', fail)


SOF = [kind for kind in range(0xC0, 0xD0) if kind not in (0xC4, 0xC8, 0xCC)]


@pytest.mark.parametrize('progressive', [0, 1])
@pytest.mark.parametrize('marker', [None, *SOF])
def test_a_jpeg_is_refused_by_the_size_in_its_header(never_decoded, marker, progressive):
    small = jpeg(picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    hidden = with_exif(claiming(small, 30000, 30000, marker), 1, thumbnail=jpeg(picture()[:8, :8]))
    for data in (claiming(small, 30000, 30000, marker), hidden):
        with pytest.raises(ValueError, match='30000x30000 pixels: expected at most 50 megapixels'):
            decode_compressed('jpeg', data)


def test_a_large_thumbnail_is_no_large_picture():
    bomb = claiming(jpeg(picture()), 30000, 30000)
    assert decode_compressed('jpeg', with_exif(jpeg(picture()), 1, bomb)).shape == (48, 64, 3)


@pytest.mark.parametrize('smuggled', [b'\xff\x01', b'\xff\xd0', b'\xff\xff\xff'])
def test_markers_without_a_segment_hide_no_header(never_decoded, smuggled):
    """What follows them is no length: else the header would lie within a segment."""
    small, bomb = jpeg(picture()), claiming(jpeg(picture()), 30000, 30000)
    header = bomb[bomb.find(b'\xff\xc0') :][:19]
    rest = bytes(0xFFC0) + small[2:]
    with pytest.raises(ValueError, match='30000x30000'):
        decode_compressed('jpeg', b'\xff\xd8' + smuggled + header + rest)


def test_a_jpeg_has_one_frame_header(never_decoded):
    small = jpeg(picture())
    at = small.find(b'\xff\xc0')
    header = small[at : at + 19]
    for data in (small[:at] + header + small[at:], small[:at] + b'\xff\xc0\0\x02' + small[at:]):
        with pytest.raises(ValueError, match='one frame header'):
            decode_compressed('jpeg', data)


def test_a_jpeg_cannot_claim_more_than_its_bytes_hold(never_decoded):
    data = claiming(jpeg(picture()), 7000, 7000)
    with pytest.raises(ValueError, match=r'49 megapixels in \d+ bytes'):
        decode_compressed('jpeg', data)


@pytest.mark.parametrize('progressive', [0, 1])
@pytest.mark.parametrize('colour', [True, False])
def test_the_emptiest_picture_is_none_that_claims_too_much(progressive, colour):
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    flags += [cv2.IMWRITE_JPEG_QUALITY, 1]
    black = np.zeros((2000, 3000, 3) if colour else (2000, 3000), np.uint8)
    check_compressed('jpeg', cv2.imencode('.jpg', black, flags)[1])
    check_compressed('png', cv2.imencode('.png', black, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1])


def test_a_jpeg_of_very_many_scans_is_refused(never_decoded):
    data = jpeg(picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    last = data.rfind(b'\xff\xda')
    scans = data.count(b'\xff\xda')
    assert 1 < scans < 20
    many = data[:last] + data[last:-2] * (MAX_SCANS + 1 - scans + 1) + data[-2:]
    with pytest.raises(ValueError, match='of 101 scans: expected at most 100'):
        decode_compressed('jpeg', many)


def test_a_png_is_refused_by_its_header(never_decoded):
    data = png(20000, 20000, 1, 0, bytes(20000 * 2501))
    assert len(data) < 60_000, 'this is the small file that takes 2 GB'
    with pytest.raises(ValueError, match='20000x20000 pixels: expected at most 50 megapixels'):
        decode_compressed('png', data)
    with pytest.raises(ValueError, match='7000x7000 pixels in .* bytes'):
        decode_compressed('png', png(7000, 7000, 16, 6))
    with pytest.raises(ValueError, match='4294967295x4294967295'):
        decode_compressed('png', png(2**32 - 1, 2**32 - 1))


def test_the_bound_is_that_of_the_caller():
    for data in (jpeg(picture()), png(64, 48, 1, 0, bytes(48 * 9))):
        assert decode_compressed('x', data, 64 * 48).shape == (48, 64, 3)
        with pytest.raises(ValueError, match='64x48 pixels: expected at most 0.003071 megapixels'):
            decode_compressed('x', data, 64 * 48 - 1)


def test_millions_of_fill_bytes_are_no_picture(never_decoded):
    small = jpeg(picture())
    check_compressed('jpeg', small[:2] + b'\xff' * 100 + small[2:])
    with pytest.raises(ValueError, match='cut off'):
        decode_compressed('jpeg', small[:2] + b'\xff' * 100_000 + small[2:])


def test_a_scan_of_all_components_is_the_last_that_is_read():
    """So a plain JPEG may have whatever it likes behind it."""
    data = jpeg(picture())
    want = decode_compressed('jpeg', data)
    np.testing.assert_array_equal(decode_compressed('jpeg', data + b'\xff\xda' * 1000), want)


@pytest.mark.parametrize('ending', ['.jpg', '.png'])
def test_the_size_is_read_from_the_header(ending):
    image = np.random.default_rng(0).integers(0, 256, (37, 61, 3), np.uint8)
    good, data = cv2.imencode(ending, image)
    assert good and compressed_size('any', data) == (61, 37)
