"""``cs3``: the command line. Heavy imports wait until a command needs them."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

BENCHES = {
    'onset': 'cs3_ros.bench.onset',
    'lite': 'cs3_ros.bench.lite',
    'live': 'cs3_ros.bench.live',
    'node': 'cs3_ros.bench.node',
    'pipeline': 'cs3_ros.bench.pipeline',
    'precision': 'cs3_ros.bench.precision',
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (2 for a wrong call, 1 for a failure)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    bench = arguments[1] if arguments[:1] == ['bench'] and len(arguments) > 1 else ''
    if bench in BENCHES:
        return _report_failure(f'bench {bench}', lambda: _bench(bench, arguments[2:]))
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and (options.command != 'node' or rest[0] != '--ros-args'):
        parser.error(f'unrecognized arguments: {" ".join(rest)}')
    name = f'bag {options.bag_command}' if options.command == 'bag' else options.command
    return _report_failure(name, lambda: _run(options, rest))


def _report_failure(name: str, run: Callable[[], int]) -> int:
    """Run a command; its failure is told in one line."""
    try:
        return run()
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f'cs3 {name}: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    match options.command:
        case 'run':
            from cs3_ros import offline

            return offline.run(options)
        case 'replay':
            from cs3_ros import offline

            return offline.replay(options)
        case 'bag' if options.bag_command == 'make':
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
        case 'bag':
            from cs3_ros.ros import player

            return player.main(options)
        case 'node':
            from cs3_ros.ros import node

            return node.main(_node_arguments(options, rest))
        case 'mic':
            from cs3_ros.ros import microphone

            return microphone.main(options)
        case 'fetch':
            from cs3_ros.bundles import fetch

            return fetch.main(options)
        case 'bundles':
            from cs3_ros.bundles import inventory

            return inventory.main(options)
        case 'doctor':
            from cs3_ros import doctor

            return doctor.main(options)
        case 'demo':
            from cs3_ros.demo import command

            return command.main(options)
    raise ValueError(f'command {options.command!r}: expected one of those that --help lists')


def _bench(name: str, arguments: list[str]) -> int:
    module = importlib.import_module(BENCHES[name])
    parser = argparse.ArgumentParser(prog=f'cs3 bench {name}', description=module.__doc__)
    module.add_arguments(parser)
    return int(module.main(parser.parse_args(arguments)) or 0)


def _node_arguments(options: argparse.Namespace, rest: list[str]) -> list[str]:
    """The ROS arguments that the short options stand for, before those the user gave."""
    given = list(rest)
    if '--ros-args' in given:
        at = given.index('--ros-args')
        given = given[:at] + given[at + 1 :]
    short = []
    if options.params:
        short += ['--params-file', str(options.params)]
    if options.bundle:
        short += ['-p', f'bundle:={options.bundle}']
    if options.no_autostart:
        short += ['-p', 'autostart:=false']
    return ['--ros-args', *short, *given]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='cs3',
        description='Hears a collision and finds the masks of the one or two colliding objects.',
        epilog='Every command has its own --help, for example: cs3 run --help',
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + '.',
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )

    run = command('run', 'find the collisions in a video file')
    run.add_argument('video', type=Path, help='mp4, mkv, mov, ... with a sound track')
    _offline_options(run)
    run.add_argument('--start', type=float, default=1000.0, help='time stamp of media time 0, s')

    replay = command('replay', 'find the collisions in a rosbag, offline and deterministic')
    replay.add_argument('bag', type=Path, help='folder of a rosbag2 bag (MCAP or sqlite3)')
    _offline_options(replay)
    for name in ('image', 'audio', 'info'):
        replay.add_argument(f'--{name}-topic', default='', help='found by its type when not given')

    bag = command('bag', 'make a rosbag of a video, or play a rosbag').add_subparsers(
        dest='bag_command', required=True, metavar='make|play'
    )
    make = bag.add_parser(
        'make',
        help='video -> rosbag2',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
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
        help='rosbag2 -> topics',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description='Publish a bag over ROS, once every topic has a subscriber.',
    )
    play.add_argument('bag', type=Path, help='folder of a rosbag2 bag')
    play.add_argument('--rate', type=float, default=1.0, help='speed; 1 is as recorded')
    play.add_argument('--clock', action='store_true', help='publish /clock (use_sim_time)')
    play.add_argument('--loop', action='store_true', help='play again and again')
    play.add_argument('--wait', type=float, default=30.0, help='seconds to wait for subscribers')

    node = command('node', 'run the ROS 2 node; --ros-args ... are handed on')
    node.add_argument('--bundle', help='bundle name or .yaml path (parameter bundle)')
    node.add_argument('--params', type=Path, help='ROS parameter file')
    node.add_argument('--no-autostart', action='store_true', help='wait for lifecycle transitions')

    mic = command('mic', 'publish a microphone as audio and audio_info')
    mic.add_argument('--device', help='name or index of `python -m sounddevice`; default device')
    mic.add_argument('--rate', type=int, default=48_000, help='samples per second')
    mic.add_argument('--channels', type=int, default=1, help='channels to record')

    fetch = command('fetch', 'bring the weights of a bundle into CS3_HOME (~/.cache/cs3_ros)')
    fetch.add_argument('bundle', help='bundle name or .yaml path')
    fetch.add_argument('--mirror', default='', help='base URL that has the files, for all of them')
    fetch.add_argument(
        '--from',
        dest='from_dir',
        metavar='DIR',
        type=Path,
        help='copy them from this folder, without internet',
    )

    bundles = command('bundles', 'what each bundle needs, and what of it is missing')
    bundles.add_argument('--check', action='store_true', help='verify the SHA-256 of every file')
    bundles.add_argument('--json', type=Path, help='also write the table to this file')

    doctor = command('doctor', 'check this machine: one line of advice for each problem')
    doctor.add_argument('--seconds', type=float, default=2.0, help='how long to listen to topics')
    doctor.add_argument('--namespace', default='/cs3', help='namespace of the topics')
    doctor.add_argument('--json', type=Path, help='also write the findings to this file')

    bench = command('bench', 'measure: cs3 bench onset|lite|live|node|pipeline|precision --help')
    bench.add_argument('name', choices=BENCHES)

    demo = command('demo', 'a clip through bag, node and topics to a video and a report')
    demo.add_argument('clip', nargs='?', type=Path, help='your video; without it a synthetic clip')
    demo.add_argument('--truth', type=Path, help='what is true of your video (cs3_ros/truth.py)')
    demo.add_argument(
        '--bundle', help='bundle name or .yaml path; nano for the synthetic clip, lite for yours'
    )
    demo.add_argument('--out', type=Path, default=Path('demo'), help='output folder')
    return parser


def _offline_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--bundle', help='bundle name or .yaml path; default as in --params, or lite'
    )
    parser.add_argument('--out', type=Path, default=Path('cs3_out'), help='output folder')
    parser.add_argument('--params', type=Path, help='ROS parameter file with settings')
    parser.add_argument('--no-overlay', action='store_true', help='do not write overlay.mp4')


if __name__ == '__main__':
    sys.exit(main())
