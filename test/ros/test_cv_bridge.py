"""The own converter and cv_bridge see the same picture, where a robot has a working cv_bridge."""

from __future__ import annotations

import needs

needs.ros()

import array

import numpy as np
import pytest
from sensor_msgs.msg import Image

from cs3_ros.files.encodings import decode_image

cv_bridge = pytest.importorskip('cv_bridge', reason='apt install ros-jazzy-cv-bridge')
pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8', 'bayer_rggb8'])
def test_cv_bridge_gives_the_same_rgb(encoding: str) -> None:
    channels = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4}.get(encoding, 1)
    pixels = np.random.default_rng(5).integers(0, 256, (16, 24 * channels), np.uint8)
    message = Image(height=16, width=24, encoding=encoding, step=24 * channels)
    message.data = array.array('B', pixels.tobytes())
    expected = cv_bridge.CvBridge().imgmsg_to_cv2(message, 'rgb8')
    image = decode_image(encoding, 16, 24, message.step, 0, message.data)
    # Bayer patterns are interpolated by OpenCV either way, from whichever version is installed.
    assert np.abs(image.astype(int) - expected).max() <= (1 if 'bayer' in encoding else 0)
