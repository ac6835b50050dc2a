"""``cs3-train ear``: the gate behind the onset detector, from the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from cs3_ros.files.output_folder import add_force, claim


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        'ear', help='train the gate that tells impacts from speech and other sudden sounds'
    )
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR',
        help='folder of the run, continued where one lies there; DIR/gate.safetensors and '
        'DIR/GATE_CARD.md are for cs3_ros/trigger',
    )  # fmt: skip
    parser.add_argument(
        '--speech', type=Path, nargs='+', default=[], metavar='DIR',
        help='folders of recorded speech to learn from, one per speaker or language, beside '
        'what espeak-ng speaks',
    )  # fmt: skip
    parser.add_argument(
        '--judges', type=Path, nargs='+', default=[], metavar='DIR',
        help='other such folders, whose scenes choose the weights (default: espeak-ng alone)',
    )  # fmt: skip
    parser.add_argument(
        '--impacts', type=Path, nargs='+', default=[], metavar='DIR',
        help='folders of recordings with one impact each, beside the computed ones',
    )  # fmt: skip
    parser.add_argument('--settings', type=Path, metavar='YAML', help='settings that differ')
    parser.add_argument(
        '--workers', type=int, default=2, metavar='N', help='processes that make scenes (default 2)'
    )
    add_force(parser, replaces=False)


def run(options: argparse.Namespace) -> int:
    """Make the scenes, train to the last step, write weights and card.

    Raises:
        ValueError: an option is out of its range, a folder has no recordings, or the folder of the
            run belongs to another one.
        FileNotFoundError: espeak-ng is not installed.
    """
    if options.workers < 1:
        raise ValueError(f'--workers {options.workers}: expected 1 or more')
    from cs3_training.ear.recipe import make_gate
    from cs3_training.ear.train import EarConfig, load_config

    config = load_config(options.settings) if options.settings else EarConfig()
    if not (options.out / 'state.pt').exists():  # which is checked on its own
        claim(options.out, 'ear', force=options.force)
    names = ('speech', 'impacts', 'judges')
    folders = {name: getattr(options, name) for name in names}
    print(make_gate(config, options.out, folders, options.workers))
    return 0
