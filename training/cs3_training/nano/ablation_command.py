"""``cs3-train ablation``: variants of CS3's training from the command line. Heavy imports wait."""

from __future__ import annotations

import argparse
from pathlib import Path

from cs3_ros.files.output_folder import add_force, claim
from cs3_training.options import add_device, add_threads, add_workers


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        'ablation', help='train the last stage of a nano run again without each of its parts'
    )
    parser.add_argument(
        '--run', type=Path, required=True, metavar='DIR',
        help='a finished run of cs3-train nano; DIR/ablation is written, and continued',
    )  # fmt: skip
    parser.add_argument(
        '--variants', nargs='+', default=[], metavar='VARIANT',
        help='no_image_loss no_feature_loss no_area_loss beats_frozen (default all); two processes '
        'may run different ones of one DIR at the same time',
    )  # fmt: skip
    parser.add_argument(
        '--scenes', type=int, default=2000, metavar='N', help='test scenes (default 2000)'
    )
    add_device(parser)
    add_threads(parser, 'CPU threads of the training')
    add_workers(parser, 'processes that score, each with one thread')
    add_force(parser, replaces=False)


def run(options: argparse.Namespace) -> int:
    """Train, score, print and write the table.

    Raises:
        ValueError: an option is out of its range, an unknown variant, or no finished run.
    """
    if options.scenes < 1:
        raise ValueError('--scenes: expected 1 or more')
    from cs3_ros.runtime import Runtime, RuntimeConfig
    from cs3_training.nano.ablation import (
        FULL,
        VARIANTS,
        Ablation,
        as_markdown,
        check_names,
        tabulate,
        write_table,
    )
    from cs3_training.nano.loop import machine_of

    names = check_names(options.variants)
    runtime = Runtime(RuntimeConfig(device=options.device, threads=options.threads))
    ablation, out = Ablation(options.run, machine_of(runtime)), options.run / 'ablation'
    if not any((out / name).is_dir() for name in VARIANTS):  # these are checked on their own
        claim(out, 'ablation', force=options.force)
    for name in names:  # all of them first: scoring computes with one thread
        print(f'training: {VARIANTS[name].title}', flush=True)
        ablation.train(name)
    for name in (FULL, *names):
        print(f'scoring: {VARIANTS[name].title}', flush=True)
        ablation.score(name, options.scenes, options.workers, options.device)
    rows = tabulate(ablation.scored(options.scenes, options.device))
    write_table(out, rows)
    print(f'\n{options.scenes} synthetic test scenes\n\n{as_markdown(rows)}')
    if lacking := [name for name in VARIANTS if name not in rows]:
        print(f'\nnot there yet: {", ".join(lacking)}')
    return 0
