"""How launches end by themselves: status 1 on failure, status 0 after the bag, with its results."""

from __future__ import annotations

import needs

needs.launch()

from pathlib import Path

from fakes import ClickRecording
from launch import LaunchDescription, LaunchService
from launched import included

from cs3_ros.files.bag_writer import make_bag
from cs3_ros.files.bags import Bag


def run(launch_file: str, **arguments: str) -> int:
    """The status that ``ros2 launch`` would end with."""
    service = LaunchService(noninteractive=True)
    service.include_launch_description(LaunchDescription(included(launch_file, **arguments)))
    return service.run()


def test_a_node_that_cannot_be_configured_ends_the_launch():
    assert run('cs3.launch.py', bundle='nobody', end_on_failure='true') == 1


def test_a_bag_that_is_not_there_ends_the_launch():
    needs.hands()
    assert run('replay.launch.py', bag='/nowhere', bundle='lite') == 1


def test_the_results_of_a_bag_are_recorded(tmp_path: Path):
    needs.hands()
    bag = make_bag(ClickRecording((0.8, 1.5), duration_s=2.5), tmp_path / 'bag')
    record = tmp_path / 'results'
    status = run(
        'replay.launch.py', bag=str(bag), bundle='lite', record=str(record), end_with_bag='true'
    )
    assert status == 0
    assert len(list(Bag(record).messages(['/cs3/onset']))) == 2
