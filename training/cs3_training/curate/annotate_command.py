"""``cs3-train annotate``: a page on which people draw the masks of what collided."""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path
from typing import get_args

from cs3_ros.files.interrupts import Terminated
from cs3_ros.files.output_folder import add_force, claim, locked
from cs3_training.data.records import Dataset
from cs3_training.options import add_device


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        'annotate', help='draw the masks of what collided, on a page in your browser; goes on later'
    )
    parser.add_argument(
        '--candidates', type=Path, required=True, metavar='FILE',
        help='table of cs3-train curate candidates, or an official one',
    )  # fmt: skip
    parser.add_argument(
        '--dataset', choices=get_args(Dataset), default='own',
        help='whose table it is (default own: of curate candidates)',
    )  # fmt: skip
    parser.add_argument(
        '--videos', type=Path, required=True, metavar='DIR',
        help='folder with the videos, in it or below',
    )  # fmt: skip
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR',
        help='folder for the manifest, the masks and the drawings; an earlier one is continued',
    )  # fmt: skip
    parser.add_argument(
        '--bundle', default='lite', metavar='NAME',
        help='bundle whose masker makes the masks (default lite, which needs no weights)',
    )  # fmt: skip
    add_device(parser)
    parser.add_argument(
        '--port', type=int, default=0, metavar='N', help='of the page (default: a free one)'
    )
    add_force(parser, replaces=False)


def run(options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C; 0 then."""
    if not 0 <= options.port < 1 << 16:
        raise ValueError(f'--port {options.port}: expected 0 to {(1 << 16) - 1}')
    from cs3_ros.bundles.bundle import load_bundle
    from cs3_ros.runtime import RuntimeConfig
    from cs3_training.curate.work import MANIFEST, Work
    from cs3_training.data.annotations import read_segments
    from cs3_training.data.videos import find_videos

    try:
        from cs3_training.curate.server import listen, serve
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"no {error.name}: pip install -c requirements/constraints.txt -e 'training[annotate]'"
        ) from error

    segments = read_segments(options.candidates, options.dataset)
    videos = find_videos(options.videos, {segment.video for segment in segments})
    if not videos:
        raise ValueError(f'{options.videos}: none of the videos of {options.candidates} below it')
    bundle = load_bundle(options.bundle)
    # people add points to a box that gave too much or too little
    masker = bundle.build_masker(RuntimeConfig(options.device), points_in_box=True)
    claim(options.out, 'annotate', force=options.force)
    with locked(options.out), listen(options.port) as opened:
        work = Work(segments, videos, options.out, masker)
        missing = {segment.video for segment in segments} - set(videos)
        if missing:
            print(f'{len(missing)} videos not there, such as {min(missing)}')
        token = secrets.token_urlsafe(32)
        print(f'http://127.0.0.1:{opened.getsockname()[1]}/?token={token}')
        print('Open this in a browser on this machine; Ctrl-C ends. Nobody else may know it.')
        print(f'{work.verdicts.count("done")} of {len(segments)} are done.', flush=True)
        try:
            serve(work, f'{bundle.name}: {bundle.stages["masker"]["type"]}', token, opened)
        except Terminated:
            raise
        except KeyboardInterrupt:
            pass
        verdicts = work.verdicts
        print(
            f'{verdicts.count("done")} done, {verdicts.count("skipped")} skipped, '
            f'{verdicts.count("open")} open: {options.out / MANIFEST}'
        )
    return 0
