"""``ros2 launch cs3_ros replay.launch.py``: the bag is played into a node that listens."""

import needs

needs.launch()
needs.hands()

import tempfile
import unittest
from pathlib import Path

import pytest
from fakes import ClickRecording
from launch import LaunchDescription
from launch_testing.actions import ReadyToTest
from launched import included

from cs3_ros.files.bag_writer import make_bag


@pytest.mark.launch_test
def generate_test_description():
    folder = Path(tempfile.mkdtemp(prefix='cs3_replay_'))
    bag = make_bag(ClickRecording((0.8, 1.5), duration_s=2.5), folder / 'bag')
    return LaunchDescription(
        [*included('replay.launch.py', bag=str(bag), bundle='lite', delay='0'), ReadyToTest()]
    )


class TestWhileItRuns(unittest.TestCase):
    def test_pictures_sound_and_collisions_arrive(self, proc_output):
        for line in ('first pictures: 96x64', 'first sound: 48000 Hz', 'event '):
            proc_output.assertWaitFor(line, timeout=60, stream='stderr')
