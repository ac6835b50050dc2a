"""``ros2 launch cs3_ros cs3.launch.py``: the node becomes active, and ends with 0 on Ctrl-C."""

import needs

needs.launch()
needs.hands()

import unittest

import launch_testing
import pytest
from launch import LaunchDescription
from launch_testing.actions import ReadyToTest
from launch_testing.asserts import assertExitCodes
from launched import included


@pytest.mark.launch_test
def generate_test_description():
    started = included('cs3.launch.py', namespace='left', bundle='lite', log_level='debug')
    return LaunchDescription([*started, ReadyToTest()])


class TestWhileItRuns(unittest.TestCase):
    def test_the_node_becomes_active(self, proc_output):
        line = '[left.cs3]: listening to /left/image/compressed'
        proc_output.assertWaitFor(line, timeout=60, stream='stderr')


@launch_testing.post_shutdown_test()
class TestAfterCtrlC(unittest.TestCase):
    def test_it_ends_with_0(self, proc_info):
        assertExitCodes(proc_info)

    def test_the_middleware_was_quiet(self, proc_output):
        text = b''.join(output.text for output in proc_output)
        assert b'[DEBUG]' in text and b'[rcl' not in text and b'[rmw' not in text
