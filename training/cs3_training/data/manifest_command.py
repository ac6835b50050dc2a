"""``cs3-train manifest``: the evaluation manifest of a data set, or pictures of its frames."""

from __future__ import annotations

import argparse
from pathlib import Path

TOLD = 3
"""So many ids of those that are left out are printed for each reason."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        'manifest',
        help='write the manifest of annotated frames that cs3-train evaluate --data reads',
    )
    kinds = parser.add_subparsers(dest='kind', required=True, metavar='KIND')
    for name, words in (('epic', 'EPIC-CS3'), ('ego4d', 'Ego4D-CS3')):
        kind = kinds.add_parser(name, help=f'the frames of {words}')
        kind.add_argument(
            '--videos', type=Path, required=True, metavar='DIR',
            help='folder with the videos under their official names, in it or below',
        )  # fmt: skip
        kind.add_argument(
            '--annotations', type=Path, required=True, metavar='CSV',
            help='val table of CS3, with the chosen frames',
        )  # fmt: skip
        kind.add_argument(
            '--masks', type=Path, required=True, metavar='DIR',
            help='masks of the frames: ID_1.png, ID/1.png, ID.png or ID.npz, in it or below',
        )  # fmt: skip
        _add_out(kind)
    clips = kinds.add_parser(
        'clips', help='folders with clip.mp4, clip.json (peak_frame) and masks/FFF_L.png'
    )
    clips.add_argument('--clips', type=Path, required=True, metavar='DIR', help='holds the folders')
    clips.add_argument(
        '--every', type=int, default=0, metavar='N',
        help='take every Nth frame as event frame (default: the one nearest the impact)',
    )  # fmt: skip
    _add_out(clips)
    pictures = kinds.add_parser(
        'pictures', help='ID.png of each frame of a manifest, for a detector that runs elsewhere'
    )
    pictures.add_argument('--data', type=Path, required=True, metavar='MANIFEST')
    pictures.add_argument('--out', type=Path, required=True, metavar='DIR', help='where to')


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--out', type=Path, required=True, metavar='MANIFEST',
        help='file of JSON lines, replaced where it exists',
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Write it and say what is not in it; 1 where pictures were left out."""
    from cs3_training.data.annotations import read_segments
    from cs3_training.data.manifest import read_manifest
    from cs3_training.data.manifest_makers import from_clips, from_segments, write_pictures

    if options.kind == 'pictures':
        frames = read_manifest(options.data)
        left_out = write_pictures(frames, options.out)
        print(f'{len(frames) - len(left_out)} pictures in {options.out}')
        for line in left_out:
            print(f'left out: {line}')
        return 1 if left_out else 0
    if options.kind == 'clips':
        if options.every < 0:
            raise ValueError(f'--every {options.every}: expected 0 or a number of frames')
        made = from_clips(options.clips, options.every)
    else:
        segments = read_segments(options.annotations, options.kind)
        made = from_segments(segments, options.videos, options.masks)
    made.write(options.out)
    print(f'{len(made.frames)} frames in {options.out}')
    for reason, ids in made.left_out.items():
        more = ', ...' if len(ids) > TOLD else ''
        print(f'left out, {reason}: {len(ids)} ({", ".join(ids[:TOLD])}{more})')
    return 0
