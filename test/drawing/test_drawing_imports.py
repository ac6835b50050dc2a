"""What may draw one day, but does not yet, has not loaded OpenCV."""

import subprocess
import sys

import needs
import pytest


@pytest.mark.parametrize(
    'module', ['cs3_ros.offline.results', 'cs3_ros.ros.outputs', 'cs3_ros.ros.node']
)
def test_opencv_is_loaded_to_draw_and_not_before(module):
    """In a process of its own: this one has loaded it."""
    if module.startswith('cs3_ros.ros'):
        needs.ros()
    script = f'import sys, {module}; print("cv2" in sys.modules, "jinja2" in sys.modules)'
    done = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ['False', 'False']
