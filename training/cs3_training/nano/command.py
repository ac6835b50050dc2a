"""``cs3-train nano``: the nano recipe from the command line. Heavy imports wait."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from cs3_ros.files.output_folder import add_force, claim
from cs3_training.options import add_device, add_threads


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        'nano', help='make scenes, train the tiny system on them, write the bundle nano'
    )
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR',
        help='folder of the run, continued where one lies there; DIR/nano will be the bundle',
    )  # fmt: skip
    parser.add_argument(
        '--preset', choices=('default', 'smoke'), default='default',
        help='default: some four hours on 2 cores; smoke: a minute, learns nothing',
    )  # fmt: skip
    parser.add_argument(
        '--settings', type=Path, metavar='YAML', help='settings that differ from the preset'
    )
    parser.add_argument(
        '--minutes-scale', type=float, default=1.0, metavar='S',
        help='so many times the steps in every training (default 1)',
    )  # fmt: skip
    parser.add_argument(
        '--stages', nargs='+', metavar='STAGE',
        help='only these (default all): scenes clip clipseg audio hands masks weak bundle; two '
        'processes may run different stages of one DIR at the same time',
    )  # fmt: skip
    parser.add_argument(
        '--from', dest='taken', metavar='BUNDLE',
        help='take all stages but the last from this bundle, one that this command made, and train '
        'the last one further; needs no scenes with truth but those of validation',
    )  # fmt: skip
    add_device(parser)
    parser.add_argument(
        '--precision', choices=('auto', 'float32', 'bfloat16'), default='auto',
        help='of the networks; default: bfloat16 with CUDA and on CPUs with AMX, else float32',
    )  # fmt: skip
    add_threads(parser, 'CPU threads of the networks and processes that make scenes')
    parser.add_argument(
        '--loaders', type=int, default=None, metavar='N',
        help='processes that make batches (default 1, with CUDA up to 8; 0: none)',
    )  # fmt: skip
    add_force(parser, replaces=False)


def run(options: argparse.Namespace) -> int:
    """Run the recipe.

    Raises:
        ValueError: an option is out of its range, or as ``Recipe.run``.
    """
    from cs3_training.nano.config import STAGES, make_config

    config = make_config(options.preset, options.settings).scaled(options.minutes_scale)
    if options.threads < 0 or (options.loaders or 0) < 0:
        raise ValueError('--threads and --loaders: expected 0 or more')
    from cs3_ros.runtime import Runtime, RuntimeConfig
    from cs3_training.nano.loop import machine_of
    from cs3_training.nano.recipe import Recipe
    from cs3_training.nano.taken import Taken

    runtime = Runtime(RuntimeConfig(device=options.device, threads=options.threads))
    half = options.precision == 'bfloat16'
    if options.precision == 'auto':
        half = runtime.on_gpu or 'amx_bf16' in _cpu_flags()
    machine = machine_of(runtime, options.loaders, half)
    workers = options.threads or len(os.sched_getaffinity(0))
    if not list(options.out.glob('stages/*/done.json')):  # these are checked on their own
        claim(options.out, 'nano', force=options.force)
    taken = Taken(options.taken) if options.taken else None
    recipe = Recipe(config, options.out, machine, workers, taken)
    folder = recipe.run(options.stages or STAGES)
    print(folder)
    return 0


def _cpu_flags() -> str:
    """What the CPU can do, in Linux' words; nothing where the system does not tell."""
    path = Path('/proc/cpuinfo')
    return path.read_text('utf-8') if path.is_file() else ''
