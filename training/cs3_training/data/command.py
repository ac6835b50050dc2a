"""``cs3-train extract``: shards of sounds and pictures from a lab's own videos."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from cs3_ros.files.output_folder import add_force
from cs3_training.data.records import Dataset
from cs3_training.options import add_workers

TOLD = 5
"""So many of a list are printed; the report has all."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        'extract',
        help='cut the segments of EPIC-KITCHENS, Ego4D or own videos into shards; goes on if '
        'cut off',
    )
    parser.add_argument('dataset', choices=get_args(Dataset), help='whose videos and annotations')
    parser.add_argument(
        '--videos', type=Path, required=True, metavar='DIR',
        help='folder with the videos under their official names, in it or below',
    )  # fmt: skip
    parser.add_argument(
        '--annotations', type=Path, required=True, metavar='FILE',
        help='CSV of CS3 or EPIC-SOUNDS, TSV of Ego4DSounds, CSV of curate candidates',
    )  # fmt: skip
    parser.add_argument(
        '--out', type=Path, required=True, metavar='SHARDS', help='folder to write to'
    )
    parser.add_argument(
        '--pictures-per-s', type=float, default=8.0, metavar='R',
        help='pictures for a second of a segment, at least one (default 8); a chosen frame of an '
        'evaluation file is the only one of its segment',
    )  # fmt: skip
    parser.add_argument(
        '--most-pictures', type=int, default=24, metavar='N', help='of one segment (default 24)'
    )
    parser.add_argument(
        '--side', type=int, default=387, metavar='PIXELS',
        help='shorter side of the pictures (default 387, of which the training cuts 352); 0 keeps '
        'them as they are',
    )  # fmt: skip
    parser.add_argument(
        '--quality', type=int, default=90, metavar='Q', help='of the JPEG files (default 90)'
    )
    parser.add_argument(
        '--samples', type=int, default=256, metavar='N',
        help='segments after which a new shard begins (default 256); a video is never parted',
    )  # fmt: skip
    add_workers(parser)
    parser.add_argument(
        '--ray', default='', metavar='ADDRESS',
        help='let a Ray cluster do it, HOST:PORT, auto or local (extra cluster); each of its '
        'machines sees DIR and SHARDS under the same names',
    )  # fmt: skip
    add_force(parser, replaces=False)


def run(options: argparse.Namespace) -> int:
    """Cut them and print what came of it."""
    if options.samples < 1:
        raise ValueError(f'--samples {options.samples}: expected at least 1')
    from cs3_training.data.annotations import read_segments
    from cs3_training.data.extraction import extract
    from cs3_training.data.jobs import REPORT
    from cs3_training.data.sampling import Cutting

    cutting = Cutting(options.pictures_per_s, options.most_pictures, options.side, options.quality)
    segments = read_segments(options.annotations, options.dataset)
    report = extract(
        segments, options.videos, options.out, cutting, options.samples, options.workers,
        options.force, options.ray,
    )  # fmt: skip
    print(as_text(report))
    print(options.out / REPORT)
    return 0 if report['samples'] else 1


def as_text(report: Mapping[str, Any]) -> str:
    """The report of ``extract`` in a few lines."""
    lines = [
        f'{report["samples"]} samples with {report["pictures"]} pictures in {report["shards"]} '
        f'shards, {report["bytes"] / 1e9:.3f} GB'
    ]
    for name, what in (('missing_videos', 'not there'), ('without_sound', 'without sound')):
        if videos := report[name]:
            lines.append(
                f'{len(videos)} videos {what}, {sum(videos.values())} segments left out: '
                + _some(list(videos))
            )
    for name, what in (('unreadable', 'cannot be read'), ('damaged', 'are damaged')):
        if videos := report[name]:
            lines.append(f'{len(videos)} videos {what}: ' + _some([*map(str, videos.items())]))
    if short := report['short']:
        out = sum(not one['kept'] for one in short)
        lines.append(
            f'{len(short)} segments reach beyond their video, {out} of them left out: '
            + _some([one['id'] for one in short])
        )
    return '\n'.join(lines)


def _some(names: list[str]) -> str:
    more = f' and {len(names) - TOLD} more' if len(names) > TOLD else ''
    return ', '.join(names[:TOLD]) + more
