import needs

needs.networks()

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cs3_ros.localisers.heat_map import (
    FALLBACK_AREA,
    MIN_BOX_PX,
    HeatMapConfig,
    blur_matrix,
    cut,
    find_peak,
    paste,
    region_box,
    stands_out,
    window_size,
    window_start,
)
from cs3_ros.networks.audio_visual import MaskScale

sides = st.integers(1, 400)


def blob(size=100, row=30, column=60, spread=6.0, height=1.0):
    rows, columns = np.mgrid[0:size, 0:size]
    distance = (rows - row) ** 2 + (columns - column) ** 2
    return (height * np.exp(-distance / (2 * spread**2))).astype(np.float32)


def peak_of(heat):
    return tuple(find_peak(torch.from_numpy(heat), blur_matrix(len(heat))).tolist())


@pytest.mark.parametrize('size', [1, 2, 32, 352])
def test_the_blur_keeps_means(size):
    blur = blur_matrix(size)
    assert blur.shape == (size, size) and blur.dtype == torch.float32
    torch.testing.assert_close(blur.sum(1), torch.ones(size))


def test_the_blur_at_352_pixels_has_sigma_2():
    weights = blur_matrix(352)[170].double()
    place = torch.arange(352) - 170
    assert float((weights * place**2).sum()) == pytest.approx(4, rel=1e-3)


@pytest.mark.parametrize('row, column', [(0, 0), (351, 0), (13, 300), (351, 351)])
def test_the_peak_is_found(row, column):
    assert peak_of(blob(352, row, column)) == (row, column)


def test_a_single_hot_pixel_is_no_peak():
    heat = blob(352, 200, 100, spread=12, height=0.6)
    heat[20, 300] = 1.0
    row, column = peak_of(heat)
    assert abs(row - 200) <= 1 and abs(column - 100) <= 1


def test_of_equal_peaks_the_first_is_taken():
    assert peak_of(np.full((64, 64), 0.5, np.float32))[0] in range(64)
    heat = np.zeros((64, 64), np.float32)
    heat[10, 50] = heat[40, 20] = 1
    assert peak_of(heat) == (10, 50)


@given(
    frame=st.tuples(sides, sides),
    fraction=st.floats(0.1, 1.0),
    size=st.integers(1, 352),
    place=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
)
def test_the_window_lies_inside_the_frame_and_round_the_peak(frame, fraction, size, place):
    window = window_size(frame, fraction)
    peak = [int(value * size) for value in place]
    start = window_start(torch.tensor(peak), size, frame, window).tolist()
    for axis in (0, 1):
        assert 1 <= window[axis] <= frame[axis]
        assert 0 <= start[axis] <= frame[axis] - window[axis]
        centre = (peak[axis] + 0.5) * frame[axis] / size
        assert start[axis] <= centre <= start[axis] + window[axis]
        if 0 < start[axis] < frame[axis] - window[axis]:
            assert abs(start[axis] + window[axis] / 2 - centre) <= 1


def test_the_window_is_half_the_frame_centred_on_the_peak():
    window = window_size((720, 1280), 0.5)
    assert window == (360, 640)
    start = window_start(torch.tensor([176, 176]), 352, (720, 1280), window)
    assert start.tolist() == [181, 321]  # the centre of pixel 176 of 352 is 361.02 and 641.8


def test_cut_takes_the_window():
    picture = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
    assert torch.equal(cut(picture, torch.tensor([7, 4]), (10, 15)), picture[7:17, 4:19])


def test_paste_puts_the_map_in_its_place_and_zero_elsewhere():
    heat = np.full((8, 8), 0.25, np.float32)
    heat[:, 4:] = 0.75
    full = paste(heat, (10, 30), (20, 40), (60, 100))
    assert full.shape == (60, 100) and full.dtype == np.float32
    inside = full[10:30, 30:70]
    assert np.allclose(inside[:, :15], 0.25) and np.allclose(inside[:, -15:], 0.75)
    assert full.sum() == inside.sum()


def test_paste_of_the_whole_frame_is_a_resize():
    heat = blob(32, 10, 20, 3)
    full = paste(heat, (0, 0), (90, 160), (90, 160))
    row, column = np.unravel_index(full.argmax(), full.shape)
    assert abs(row - 10.5 / 32 * 90) < 2 and abs(column - 20.5 / 32 * 160) < 3


def test_the_box_bounds_the_component_that_holds_the_peak():
    heat = np.zeros((100, 100), np.float32)
    heat[20:40, 50:70] = 1
    heat[60:95, 5:30] = 0.8  # larger, but not the peak's
    heat[20:40, 71:80] = 0.3  # too cold
    config = HeatMapConfig(padding=0.0)
    whole = (0, 0), (200, 400), (200, 400)
    assert region_box(heat, (30, 60), *whole, config) == (200, 40, 280, 80)
    x0, y0, x1, y1 = region_box(heat, (30, 60), *whole)
    assert (x0, y0, x1, y1) == pytest.approx((196, 38, 284, 82))  # 5 % of 80 and of 40
    # the same map of a window
    box = region_box(heat, (30, 60), (100, 50), (100, 200), (720, 1280), config)
    assert box == (150, 120, 190, 140)


def test_pixels_that_touch_at_corners_belong_together():
    heat = np.eye(100, dtype=np.float32)
    box = region_box(heat, (0, 0), (0, 0), (100, 100), (100, 100))
    assert box == (0, 0, 100, 100)


def test_the_threshold_is_relative_to_the_maximum():
    heat = 0.01 * blob(100, 50, 50, spread=15)
    for threshold in (0.3, 0.5, 0.8):
        config = HeatMapConfig(padding=0.0, threshold=threshold)
        x0, _, x1, _ = region_box(heat, (50, 50), (0, 0), (100, 100), (100, 100), config)
        reach = 15 * np.sqrt(-2 * np.log(threshold))
        assert (x1 - x0) / 2 == pytest.approx(reach, abs=1)


def test_a_peak_below_the_threshold_gives_a_square_of_a_tenth_of_the_frame():
    heat = blob(100, 50, 50, spread=9, height=0.3)
    heat[5, 5] = 1
    box = region_box(heat, (50, 50), (0, 0), (200, 400), (200, 400))
    side = (FALLBACK_AREA * 200 * 400) ** 0.5
    assert box == pytest.approx((202 - side / 2, 101 - side / 2, 202 + side / 2, 101 + side / 2))


@given(
    frame=st.tuples(sides, sides),
    hot=st.tuples(*[st.integers(0, 31)] * 4),
    data=st.data(),
)
def test_boxes_lie_inside_the_frame_and_are_never_too_small(frame, hot, data):
    rows, columns = sorted(hot[:2]), sorted(hot[2:])
    heat = np.zeros((32, 32), np.float32)
    heat[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] = 1
    peak = (data.draw(st.integers(0, 31)), data.draw(st.integers(0, 31)))
    window = window_size(frame, 0.5)
    start = tuple(
        data.draw(st.integers(0, whole - part)) for whole, part in zip(frame, window, strict=True)
    )
    x0, y0, x1, y1 = region_box(heat, peak, start, window, frame)
    assert 0 <= x0 < x1 <= frame[1] and 0 <= y0 < y1 <= frame[0]
    assert x1 - x0 >= min(MIN_BOX_PX, frame[1]) - 1e-9
    assert y1 - y0 >= min(MIN_BOX_PX, frame[0]) - 1e-9


def test_rounding_does_not_stand_out():
    assert stands_out(0.0, 1e-9) and stands_out(0.9, 0.91)
    assert not stands_out(0.5, 0.5) and not stands_out(0.0, 0.0)
    assert not stands_out(0.5, float(np.nextafter(np.float32(0.5), np.float32(1))))
    assert not stands_out(float('nan'), float('nan')) and not stands_out(0.1, float('nan'))


def test_the_mask_scale_starts_with_the_papers_values():
    """z = 10 X + 14; heat map sigmoid(X + 1.4) (method.md A5)."""
    mask = MaskScale()
    logits = torch.tensor([-2.4, -1.4, 0.0])
    torch.testing.assert_close(mask(logits), torch.tensor([-10.0, 0.0, 14.0]))
    assert mask.offset.detach().item() == pytest.approx(1.4)
    (mask(logits).sum() + mask.offset).backward()
    assert mask.scale.grad is not None and mask.bias.grad is not None


@pytest.mark.parametrize(
    'settings', [{'threshold': 0.0}, {'crop_size': 1.5}, {'padding': -0.1}, {'crop': 'yes'}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        HeatMapConfig(**settings)
