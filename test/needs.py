"""What a test module needs: it asks before it imports, and where that lacks it is skipped, alone.

Called at the top of a module, never in a conftest: that would take the whole folder along.
"""

from importlib.util import find_spec

import pytest

OPENCV = "apt install python3-opencv, or pip install -c requirements/constraints.txt -e '.[lite]'"


def _packages(advice: str, *names: str) -> None:
    for name in names:
        pytest.importorskip(name, reason=f'no {name}: {advice}')


def ros() -> None:
    """rclpy and the message packages that the node speaks."""
    _packages('make setup, or apt install ros-jazzy-ros-base', 'rclpy')
    _packages('apt install ros-jazzy-audio-common-msgs', 'audio_common_msgs.msg')
    _packages('apt install ros-jazzy-vision-msgs', 'vision_msgs.msg')


def statistics() -> None:
    """The messages of topic statistics."""
    _packages('make setup, or apt install ros-jazzy-statistics-msgs', 'statistics_msgs.msg')


def opencv() -> None:
    """What draws and decodes pictures."""
    _packages(OPENCV, 'cv2')


def hands() -> None:
    """What the bundle lite is made of."""
    _packages("pip install -c requirements/constraints.txt -e '.[lite]'", 'cv2', 'mediapipe')


def networks() -> None:
    """What the bundles with networks are made of."""
    lacking = 'docs/bundles.md says how to install the extra models'
    _packages(lacking, 'torch', 'torchaudio', 'torchvision', 'transformers', 'safetensors', 'sam2')
    opencv()


def training() -> None:
    """The training package and its networks."""
    networks()
    _packages('pip install -e training', 'cs3_training')


def psutil() -> None:
    """What measures processes."""
    _packages('pip install psutil', 'psutil')


with_opencv = pytest.mark.skipif(find_spec('cv2') is None, reason=f'no cv2: {OPENCV}')
"""Marks a test of a module that can do without OpenCV otherwise."""


def launch() -> None:
    """ROS 2's launch, from apt alone, and this package in a workspace that is sourced."""
    ros()
    _packages('apt install ros-jazzy-ros2launch', 'launch_ros')
    _packages('apt install ros-jazzy-launch-testing-ros', 'launch_testing', 'launch_testing_ros')
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

    try:
        get_package_share_directory('cs3_ros')
    except PackageNotFoundError:
        pytest.skip('cs3_ros is in no sourced workspace: colcon build', allow_module_level=True)


def annotate() -> None:
    """What serves the page of cs3-train annotate."""
    training()
    lacking = "pip install -c requirements/constraints.txt -e 'training[annotate]'"
    _packages(lacking, 'starlette', 'uvicorn')
