"""``cs3-train synth``: pictures, clips and statistics of the world."""

from __future__ import annotations

import argparse
from pathlib import Path

from cs3_ros.files.jsonfile import add_json
from cs3_ros.files.output_folder import OutputFolder, add_force, claim


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the commands."""
    parser = commands.add_parser('synth', help='the synthetic collision world')
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    preview = actions.add_parser('preview', help='a contact sheet and clips to look at')
    preview.add_argument(
        '--out', type=Path, required=True, metavar='DIR', help='folder to write to'
    )
    preview.add_argument(
        '--seeds', type=_seeds, default=range(0, 8), metavar='A-B',
        help='scenes of the sheet, both ends included (default 0-7, of the test set)',
    )  # fmt: skip
    preview.add_argument(
        '--clips',
        type=_count,
        default=3,
        metavar='N',
        help='clips of the first N seeds (default 3)',
    )
    clip = actions.add_parser(
        'clip', help='one clip of several scenes with its truth, for cs3 demo; left if it is there'
    )
    clip.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder to write to')
    clip.add_argument(
        '--seeds', type=_seeds, default=range(0, 4), metavar='A-B',
        help='one scene of 3 s each, both ends included (default 0-3: the first four of the test '
        'split, whatever comes of them)',
    )  # fmt: skip
    annotated = actions.add_parser(
        'annotated', help='clips with masks in every frame, for cs3 bench track'
    )
    annotated.add_argument(
        '--out', type=Path, required=True, metavar='DIR', help='folder to write to'
    )
    annotated.add_argument(
        '--seeds', type=_seeds, default=range(0, 8), metavar='A-B',
        help='one clip each, both ends included (default 0-7)',
    )  # fmt: skip
    for one in (preview, clip, annotated):
        add_force(one)
    make = actions.add_parser(
        'make', help='write scenes to a folder, for training; goes on if cut off'
    )
    make.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder to write to')
    make.add_argument('--split', choices=('train', 'validation', 'test'), required=True)
    make.add_argument('--scenes', type=_count, required=True, metavar='N', help='how many')
    make.add_argument(
        '--first', type=_count, default=0, metavar='N',
        help='number of the first one in its split (default 0; nano learned from the first 20 000 '
        'of train and chose on the first 400 of validation)',
    )  # fmt: skip
    make.add_argument('--size', type=_count, default=352, metavar='PIXELS', help='default 352')
    make.add_argument(
        '--silent', type=float, default=0.0, metavar='SHARE',
        help='share of scenes whose action makes no sound (default 0)',
    )  # fmt: skip
    make.add_argument(
        '--workers', type=_count, default=1, metavar='N', help='processes (default 1)'
    )
    add_force(make, replaces=False)
    stats = actions.add_parser('stats', help='is the test set as hard as it has to be?')
    stats.add_argument('--scenes', type=_count, default=2000, metavar='N', help='default 2000')
    stats.add_argument(
        '--seed0', type=_count, default=0, metavar='N',
        help='seed of the first scene (default 0, where the test set begins)',
    )  # fmt: skip
    stats.add_argument(
        '--workers', type=_count, default=1, metavar='N', help='processes (default 1)'
    )
    add_json(stats, 'write the figures here, too')


def run(options: argparse.Namespace) -> int:
    """Run one of them; 1 where a figure is out of its bounds."""
    commands = {
        'preview': _preview,
        'clip': _clip,
        'annotated': _annotated,
        'make': _make,
        'stats': _stats,
    }
    return commands[options.action](options)


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f'{text}: expected 0 or more')
    return value


def _seeds(text: str) -> range:
    first, _, last = text.partition('-')
    try:
        seeds = range(int(first), int(last or first) + 1)
    except ValueError:
        seeds = range(0)
    if not seeds:
        raise argparse.ArgumentTypeError(f'{text!r}: expected A-B with A up to B, such as 0-7')
    return seeds


def _preview(options: argparse.Namespace) -> int:
    from cs3_ros.files.progress import Bar
    from cs3_training.synth.config import WorldConfig
    from cs3_training.synth.preview import write_sheet
    from cs3_training.synth.video_clip import make_clip, write_clip

    config = WorldConfig()
    names = (r'sheet\.png', r'clip_-?\d+\.(json|npz|mp4)')
    with OutputFolder(options.out, 'synth preview', names, force=options.force) as output:
        with output.replacing('sheet.png') as part:
            write_sheet(config, options.seeds, part)
        print(options.out / 'sheet.png')
        for seed in Bar(options.seeds[: options.clips], 'clips', disable=None):
            path = options.out / f'clip_{seed}.mp4'
            write_clip(make_clip(config, seed), path, output)
            Bar.write(str(path))
    return 0


def _clip(options: argparse.Namespace) -> int:
    from cs3_training.synth.config import WorldConfig
    from cs3_training.synth.joined import TRUTH, joined_clip

    video, made = joined_clip(WorldConfig(), options.seeds, options.out, options.force)
    print(f'{video}, {options.out / TRUTH}: {"made" if made else "there already"}')
    return 0


def _annotated(options: argparse.Namespace) -> int:
    from cs3_training.synth.annotated import write_annotated
    from cs3_training.synth.config import WorldConfig

    write_annotated(WorldConfig(), options.seeds, options.out, options.force)
    print(f'{options.out}: {len(options.seeds)} clips')
    return 0


def _make(options: argparse.Namespace) -> int:
    from cs3_training.synth.config import WorldConfig, split_seeds
    from cs3_training.synth.store import make_scenes

    if options.scenes < 1 or options.workers < 1:
        raise ValueError('--scenes and --workers: expected at least 1')
    if not (options.out / 'store.json').exists():  # which is checked on its own
        claim(options.out, 'synth make', force=options.force)
    seeds = split_seeds(options.split, options.first, options.scenes)
    world = WorldConfig(size=options.size, silent=options.silent)
    scenes = make_scenes(options.out, world, seeds, options.workers)
    print(f'{options.out}: {len(scenes)} scenes, SHA-256 {scenes.digest}')
    return 0


def _stats(options: argparse.Namespace) -> int:
    from cs3_ros.files.jsonfile import prepare_json, write_json
    from cs3_ros.files.progress import Bar
    from cs3_training.synth.config import WorldConfig
    from cs3_training.synth.statistics import difficulty, further, measure_all

    if options.scenes < 1 or options.workers < 1:
        raise ValueError('--scenes and --workers: expected at least 1')
    prepare_json(options.json, options.force)
    seeds = range(options.seed0, options.seed0 + options.scenes)
    work = measure_all(WorldConfig(), seeds, options.workers)
    facts = list(Bar(work, 'scenes', total=len(seeds), disable=None))
    rows, more = difficulty(facts), further(facts)
    print(f'{len(seeds)} scenes, seeds {seeds[0]}-{seeds[-1]}')
    for row in rows:
        bounds = f'{row.low:g} to {row.high:g}' if row.high < float('inf') else f'>= {row.low:g}'
        print(f'{row.name:52} {row.value:8.2f}  {bounds:10} {"ok" if row.good else "NOT OK"}')
    for name, value in more.items():
        print(f'{name:52} {value:8.2f}')
    figures = {row.name: {'value': row.value, 'ok': row.good} for row in rows}
    write_json(
        options.json,
        {'scenes': len(seeds), 'seed0': options.seed0, 'required': figures, 'further': more},
    )
    return 0 if all(row.good for row in rows) else 1
