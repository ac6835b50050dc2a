"""Real clips through bag, player and live node: when it fires, what is lost, do all ways agree.

For every clip folder (``clip.mp4``, ``clip.json`` with ``audio_peak_s``): the distance of the
nearest event to the loudest peak, the events, the frames that the node received, and whether the
label images of the live node equal those of ``cs3 replay`` on the same bag, bit for bit, with JPEG
and with raw images; with raw images they must equal those of ``cs3 run`` on the video, too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.bench import REAL_CLIPS
from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.collision import NS_PER_S
from cs3_ros.files.bag_writer import make_bag
from cs3_ros.files.bags import BagRecording
from cs3_ros.files.jsonfile import add_json, prepare_json, write_json
from cs3_ros.files.media import Recording, VideoFile
from cs3_ros.files.progress import Bar
from cs3_ros.offline.run import Run
from cs3_ros.settings import Settings

START_S = 1000.0

Labels = dict[int, NDArray[np.uint8]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``cs3 bench live``."""
    parser.add_argument(
        'clips', type=Path, nargs='?', default=REAL_CLIPS, help='folder of clip folders'
    )
    parser.add_argument('--bundle', default='lite', help='bundle name or .yaml path')
    add_json(parser, 'also write the table to this file')


def main(options: argparse.Namespace) -> int:
    """Print the table; 1 when answers disagree or frames were lost."""
    folders = sorted(path.parent for path in options.clips.glob('*/clip.json'))
    if not folders:
        raise ValueError(f'{options.clips}: expected folders with clip.mp4 and clip.json in it')
    prepare_json(options.json, options.force)
    rows = []
    for folder in Bar(folders, unit='clip'):
        with tempfile.TemporaryDirectory(prefix='cs3_live_') as scratch:
            rows.append(_measure(folder, options.bundle, Path(scratch)))
    print(
        '| clip | nearest event ms | events | objects | frames | JPEG live = replay | raw = run |'
    )
    print('|---|---|---|---|---|---|---|')
    for row in rows:
        error = '-' if row['error_ms'] is None else f'{row["error_ms"]:.0f}'
        print(
            f'| {row["clip"]} | {error} | {row["events"]} | {row["with_objects"]} '
            f'| {row["received"]}/{row["frames"]} | {row["replay_equal"]} | {row["run_equal"]} |'
        )
    near = sum(row['error_ms'] is not None and row['error_ms'] <= 50 for row in rows)
    print(
        f'\nwithin 50 ms: {near} of {len(rows)}; most events in a clip: '
        f'{max(row["events"] for row in rows)}'
    )
    write_json(options.json, rows)
    good = all(r['replay_equal'] and r['run_equal'] and r['received'] == r['frames'] for r in rows)
    return 0 if good else 1


def _measure(folder: Path, bundle: str, scratch: Path) -> dict[str, Any]:
    from cs3_ros.ros.spectator import play

    peak_s = json.loads((folder / 'clip.json').read_text())['audio_peak_s']
    origin_ns = round(START_S * NS_PER_S)
    jpeg = make_bag(folder / 'clip.mp4', scratch / 'jpeg', start_s=START_S)
    raw = make_bag(folder / 'clip.mp4', scratch / 'raw', start_s=START_S, image='raw')
    live, live_raw = play(jpeg, bundle), play(raw, bundle)
    errors = [abs((e.onset_ns - origin_ns) / NS_PER_S - peak_s) for e in live.events]
    run = _offline(VideoFile(folder / 'clip.mp4', origin_ns=origin_ns), bundle)
    seen_raw = {e.onset_ns: e.label_image for e in live_raw.events if e.label_image is not None}
    seen = {e.onset_ns: e.label_image for e in live.events if e.label_image is not None}
    recording = BagRecording(jpeg)
    return dict(
        clip=folder.name,
        error_ms=min(errors) * 1e3 if errors else None,
        events=len(live.events),
        with_objects=len(seen),
        frames=2 * recording.image_topic.count,
        received=live.counts['frames'] + live_raw.counts['frames'],
        replay_equal=_equal(seen, _offline(recording, bundle)),
        run_equal=_equal(seen_raw, run) and _equal(run, _offline(BagRecording(raw), bundle)),
    )


def _offline(recording: Recording, bundle_name: str) -> Labels:
    bundle = load_bundle(bundle_name)
    events = Run(recording, bundle, bundle.build(), Settings())
    collisions = [found.collision for found in events]
    return {c.onset.stamp_ns: c.label_image() for c in collisions if c.objects}


def _equal(one: Labels, other: Labels) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)
