"""Pixels to rays, camera_info of many kinds, depth of both encodings; quaternions."""

import needs

needs.opencv()

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from cs3_ros.space.camera import Camera, camera_of, metres
from cs3_ros.space.turns import quaternion_of, rotation_matrix

PLAIN = Camera(640, 480, 600.0, 610.0, 320.0, 240.0)


def info(**changes):
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    fields = dict(
        width=640, height=480, distortion_model='plumb_bob', d=[0.0] * 5, binning_x=0, binning_y=0,
        k=[600.0, 0, 320, 0, 610, 240, 0, 0, 1], p=[500.0, 0, 310, 0, 0, 505, 230, 0, 0, 0, 1, 0],
        roi=roi,
    )  # fmt: skip
    return SimpleNamespace(**{**fields, **changes})


def test_rays_by_hand():
    rays = PLAIN.rays(np.array([[320.0, 240.0], [920.0, 850.0]]))
    assert rays.tolist() == [[0, 0, 1], [1, 1, 1]]
    assert PLAIN.rays(np.zeros((0, 2))).shape == (0, 3)


@pytest.mark.parametrize(
    ('model', 'distortion'),
    [
        ('plumb_bob', (-0.2, 0.05, 0.001, -0.002, 0.0)),
        ('rational_polynomial', (0.3, -0.1, 0.001, 0.0, 0.01, 0.2, -0.05, 0.01)),
        ('equidistant', (0.05, -0.01, 0.002, 0.0)),
    ],
)
def test_distortion_is_taken_back(model, distortion):
    camera = Camera(640, 480, 600.0, 610.0, 320.0, 240.0, model, distortion)
    points = np.array([[0.1, -0.2, 1.0], [-0.3, 0.25, 1.0]])
    matrix = np.array([[600.0, 0, 320], [0, 610, 240], [0, 0, 1]])
    project = cv2.fisheye.projectPoints if model == 'equidistant' else cv2.projectPoints
    pixels, _ = project(points[:, None], np.zeros(3), np.zeros(3), matrix, np.array(distortion))
    assert camera.rays(pixels.reshape(-1, 2)) == pytest.approx(points, abs=1e-3)


def test_scaled_rays_are_the_same():
    half = PLAIN.scaled(320, 240)
    # the middle between four pixels is that of the one that they become
    assert half.rays(np.array([[10.0, 20.0]])) == pytest.approx(
        PLAIN.rays(np.array([[20.5, 40.5]]))
    )
    with pytest.raises(ValueError, match='same shape'):
        PLAIN.scaled(320, 320)


def test_camera_info():
    assert camera_of(info()) == PLAIN
    assert camera_of(info(), rectified=True) == Camera(640, 480, 500.0, 505.0, 310.0, 230.0)
    roi = SimpleNamespace(x_offset=100, y_offset=40, width=200, height=100)
    assert camera_of(info(roi=roi)) == Camera(200, 100, 600.0, 610.0, 220.0, 200.0)
    binned = camera_of(info(binning_x=2, binning_y=2))
    assert (binned.width, binned.height, binned.fx) == (320, 240, 300.0)
    bent = camera_of(info(d=[0.1, 0, 0, 0, 0]))
    assert (bent.model, bent.distortion[0]) == ('plumb_bob', 0.1)


@pytest.mark.parametrize(
    ('changes', 'problem'),
    [
        (dict(k=[0.0] * 9), 'calibrate'),
        (dict(k=[600.0] * 4), '4 numbers'),
        (dict(width=0), 'positive'),
        (dict(d=[float('nan')]), 'finite'),
        (dict(distortion_model='spline', d=[0.1]), 'rectify'),
    ],
)
def test_what_is_no_camera_is_refused(changes, problem):
    with pytest.raises(ValueError, match=problem):
        camera_of(info(**changes))


def test_depth_of_both_encodings():
    assert metres(np.array([[0, 700]], np.uint16), '16UC1') == pytest.approx(
        np.array([[np.nan, 0.7]]), nan_ok=True
    )
    given = np.array([[np.inf, np.nan, -1.0, 0.0, 2.5]], np.float32)
    assert metres(given, '32FC1') == pytest.approx(
        np.array([[np.nan, np.nan, np.nan, np.nan, 2.5]]), nan_ok=True
    )
    with pytest.raises(ValueError, match='32FC1'):
        metres(np.zeros((2, 2, 3), np.uint8), 'rgb8')


def test_quaternions_and_matrices():
    rng = np.random.default_rng(0)
    for quaternion in [*rng.normal(size=(50, 4)), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 0, 1)]:
        matrix = rotation_matrix(quaternion)
        assert matrix @ matrix.T == pytest.approx(np.eye(3))
        assert rotation_matrix(quaternion_of(matrix)) == pytest.approx(matrix)
    quarter = rotation_matrix((0, 0, np.sqrt(0.5), np.sqrt(0.5)))  # x to y about z
    assert quarter @ (1, 0, 0) == pytest.approx((0, 1, 0), abs=1e-9)
    with pytest.raises(ValueError, match='length 1'):
        rotation_matrix((0, 0, 0, 0))
