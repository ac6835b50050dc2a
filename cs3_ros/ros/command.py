"""``cs3 node``, ``mic``, ``contact``, ``bag``: their options. Light to import, and without ROS."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the commands."""
    _add_bag(commands)
    node = commands.add_parser(
        'node',
        help='run the ROS 2 node; --ros-args ... are handed on',
        description='Run the ROS 2 node; --ros-args ... are handed on.',
    )
    node.add_argument('--bundle', help='bundle name or .yaml path (parameter bundle)')
    node.add_argument('--params', type=Path, help='ROS parameter file')
    node.add_argument('--no-autostart', action='store_true', help='wait for lifecycle transitions')
    mic = commands.add_parser(
        'mic',
        help='publish a microphone as audio and audio_info; --ros-args ... are handed on',
        description='Publish a microphone as audio and audio_info; --ros-args ... are handed on.',
    )
    mic.add_argument('--device', help='name or index of `python -m sounddevice`; default device')
    mic.add_argument('--rate', type=int, help='samples per second (parameter rate)')
    mic.add_argument('--channels', type=int, help='channels to record (parameter channels)')
    commands.add_parser(
        'contact',
        help='contact points in space from masks and depth; --ros-args ... are handed on',
        description='Publish where in space two objects touched, from the masks of the node and a '
        'registered depth image; --ros-args ... are handed on.',
    )


def _add_bag(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    bag = commands.add_parser(
        'bag',
        help='make a rosbag of a video, or play a rosbag',
        description='Make a rosbag of a video, or play a rosbag.',
    ).add_subparsers(dest='bag_command', required=True, metavar='make|play')
    make = bag.add_parser(
        'make',
        help='video -> rosbag2',
        description='Write the frames and the sound of a video as a bag that ROS 2 Jazzy plays.',
    )
    make.add_argument('video', type=Path, help='mp4, mkv, mov, ...')
    make.add_argument('out', type=Path, help='folder of the new bag; must not exist')
    make.add_argument('--image', choices=('compressed', 'raw'), default='compressed')
    make.add_argument('--storage', choices=('mcap', 'sqlite3'), default='mcap')
    make.add_argument('--start', type=float, default=1000.0, help='time stamp of media time 0, s')
    make.add_argument('--quality', type=int, default=95, help='JPEG quality, 1 to 100')
    play = bag.add_parser(
        'play',
        help='rosbag2 -> topics; --ros-args ... are handed on',
        description='Publish a bag over ROS, once every topic has a subscriber; --ros-args ... are '
        'handed on.',
    )
    play.add_argument('bag', type=Path, help='folder of a rosbag2 bag')
    play.add_argument('--rate', type=float, default=1.0, help='speed; 1 is as recorded')
    play.add_argument('--clock', action='store_true', help='publish /clock (use_sim_time)')
    play.add_argument('--loop', action='store_true', help='play again and again')
    play.add_argument('--wait', type=float, default=30.0, help='seconds to wait for subscribers')


def run(options: argparse.Namespace) -> int:
    """Run one of the commands."""
    if options.command == 'node':
        from cs3_ros.ros import node

        return node.main(node_arguments(options))
    if options.command == 'mic':
        from cs3_ros.ros import microphone

        return microphone.main(options)
    if options.command == 'contact':
        from cs3_ros.ros import contact_node

        return contact_node.main(before_given([], options.ros_arguments))
    if options.bag_command == 'play':
        from cs3_ros.ros import player

        return player.main(options)
    from cs3_ros.files.bag_writer import make_bag

    folder = make_bag(
        options.video,
        options.out,
        start_s=options.start,
        image=options.image,
        storage=options.storage,
        jpeg_quality=options.quality,
        progress=True,
    )
    print(folder)
    return 0


def node_arguments(options: argparse.Namespace) -> list[str]:
    """The ROS arguments that the options of ``cs3 node`` stand for, before those the user gave."""
    short = []
    if options.params:
        short += ['--params-file', str(options.params)]
    if options.bundle:
        short += ['-p', f'bundle:={options.bundle}']
    if options.no_autostart:
        short += ['-p', 'autostart:=false']
    return before_given(short, options.ros_arguments)


def before_given(short: Sequence[str], given: Sequence[str]) -> list[str]:
    """ROS arguments in front of those that a user gave, who thereby overrules them.

    Args:
        short: without ``--ros-args``.
        given: ``--ros-args ...`` or nothing.
    """
    if '--ros-args' in given:
        at = given.index('--ros-args')
        given = [*given[:at], *given[at + 1 :]]
    return ['--ros-args', *short, *given]
