"""Quality of a bundle on annotated clips, with the event frame forced to the annotated one.

``cs3 bench lite CLIPS_DIR --out DIR --json FILE`` runs every clip folder (``clip.mp4``,
``clip.json`` with ``peak_frame``, ``masks/FFF_L.png``), prints the score of each beside a centred
square of 10 % of the image, the mean of both and the time of each stage, and writes one picture
per clip: frame, truth, result. ``--every N`` also scores every Nth frame as event frame, a check
that a figure is not the luck of a few frames. ``--without`` leaves a stage out.

``cs3-train manifest clips`` and ``cs3-train evaluate --data``, of the training package, give the
same scores with all tables and a report; this command does without that package and tells the time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cs3_ros.bench import REAL_CLIPS
from cs3_ros.bundles.bundle import Bundle, load_bundle
from cs3_ros.collision import (
    NS_PER_S,
    AudioClip,
    Collision,
    CollisionClip,
    Frame,
    Image,
    Mask,
    Onset,
)
from cs3_ros.drawing.overlay import OBJECT_COLOURS, overlay
from cs3_ros.files.fields import mapping, whole
from cs3_ros.files.images import save_image
from cs3_ros.files.jsonfile import add_json, prepare_json, read_json, write_json
from cs3_ros.files.media import VideoFile
from cs3_ros.files.output_folder import OutputFolder
from cs3_ros.metrics import auc, centred_square, sample_score
from cs3_ros.pipeline import Pipeline
from cs3_ros.trigger.assembler import ClipConfig

REPORTED_STAGES_MS = 0.5
"""Stages that take less on average are left out of the printed table."""


@dataclass(frozen=True, eq=False)
class AnnotatedClip:
    """A clip folder."""

    name: str
    folder: Path
    frames: tuple[Frame, ...]
    peak_frame: int
    """Number of the frame nearest the impact."""

    def objects(self, number: int) -> dict[str, Mask]:
        """Label -> mask of every object that is annotated in one frame, bool [H, W]."""
        import cv2

        masks = {}
        for path in sorted((self.folder / 'masks').glob(f'{number:03d}_*.png')):
            picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            if picture is None:
                raise ValueError(f'{path}: expected a PNG mask, cannot be read')
            masks[path.stem.partition('_')[2]] = picture > 127
        return masks

    def truth(self, number: int) -> list[Mask]:
        """The annotated masks of one frame, bool [H, W]; none where no object is visible."""
        return list(self.objects(number).values())


def read_clips(folder: Path) -> Iterator[AnnotatedClip]:
    """The clips of a folder in order of their names.

    Raises:
        ValueError: no clip in the folder, or a clip whose peak frame does not exist.
    """
    names = sorted(path.parent for path in folder.glob('*/clip.json'))
    if not names:
        raise ValueError(f'{folder}: expected clip folders with clip.json and clip.mp4, found none')
    for path in names:
        about = path / 'clip.json'
        facts = mapping(read_json(about, f'{about}'), f'{about}', ('peak_frame',), None)
        peak = whole(facts['peak_frame'], f'{about}: peak_frame', 0)
        frames = tuple(VideoFile(path / 'clip.mp4').frames())
        if peak >= len(frames):
            raise ValueError(f'{path}/clip.json: peak_frame {peak}, but {len(frames)} frames')
        yield AnnotatedClip(path.name, path, frames, peak)


def event_at(clip: AnnotatedClip, number: int, spans: ClipConfig) -> CollisionClip:
    """The event a bundle would get if the impact had been heard exactly at one frame; no sound."""
    stamp = clip.frames[number].stamp_ns
    first, last = (
        stamp - round(spans.frames_before_s * NS_PER_S),
        stamp + round(spans.frames_after_s * NS_PER_S),
    )
    frames = [frame for frame in clip.frames if first <= frame.stamp_ns <= last]
    silence = AudioClip(stamp, 16_000, np.zeros(0, np.float32), np.zeros(0, bool))
    onset = Onset(stamp, peak_dbfs=0.0, prominence_db=0.0)
    return CollisionClip(onset, tuple(frames), frames.index(clip.frames[number]), silence)


def score_frame(
    pipeline: Pipeline, spans: ClipConfig, clip: AnnotatedClip, number: int
) -> tuple[dict[str, Any], Collision] | None:
    """Score of one event frame in percent; None where nothing is annotated."""
    truth = clip.truth(number)
    if not truth:
        return None
    collision = pipeline(event_at(clip, number, spans))
    row: dict[str, Any] = {
        'clip': clip.name,
        'frame': number,
        'score': 100 * sample_score(truth, [found.mask for found in collision.objects]),
        'centred_square': 100 * sample_score(truth, [centred_square(*truth[0].shape)]),
        'truth_masks': len(truth),
        'objects': [found.label for found in collision.objects],
        'hands': [hand.side for hand in collision.hands],
        'rule': collision.verdict.rule,
        'timings_ms': dict(collision.timings_ms),
    }
    return row, collision


def picture(image: Image, truth: Sequence[Mask], collision: Collision) -> Image:
    """Frame, truth and result side by side, RGB uint8 [H, 3 W, 3]."""
    marked = image.copy()
    for mask, colour in zip(truth, OBJECT_COLOURS, strict=False):
        marked[mask] = marked[mask] // 2 + np.asarray(colour, np.uint8) // 2
    return np.hstack([image, marked, overlay(image, collision, collision.onset.stamp_ns)])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``cs3 bench lite``."""
    parser.add_argument(
        'clips',
        type=Path,
        nargs='?',
        default=REAL_CLIPS,
        help='folder of annotated clip folders',
    )
    parser.add_argument('--out', type=Path, help='folder for one picture per clip')
    add_json(parser, 'file for all figures')
    parser.add_argument('--bundle', default='lite', help='bundle to run (default: lite)')
    parser.add_argument(
        '--every', type=int, default=0, help='also score every Nth frame as event frame'
    )
    parser.add_argument(
        '--without',
        choices=('hands', 'localiser', 'objects'),
        help='leave a stage out, to see what it gives',
    )


def main(args: argparse.Namespace) -> int:
    """Run the benchmark; 0 when all clips were scored."""
    if args.every < 0:
        raise ValueError(f'--every {args.every}: expected 0 or a number of frames')
    prepare_json(args.json, args.force)
    bundle = load_bundle(args.bundle)
    pipeline = _without(bundle.build(), args.without)
    with ExitStack() as stack:
        output = None
        if args.out is not None:
            folder = OutputFolder(args.out, 'bench lite', (r'[^/]+\.png',), force=args.force)
            output = stack.enter_context(folder)
        return _score(args, bundle, pipeline, output)


def _score(
    args: argparse.Namespace, bundle: Bundle, pipeline: Pipeline, output: OutputFolder | None
) -> int:
    peaks: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    print(f'{"clip":12s} {"frame":>5s} {"score":>6s} {"square":>6s}  objects', flush=True)
    for clip in read_clips(args.clips):
        scored = score_frame(pipeline, bundle.clip, clip, clip.peak_frame)
        if scored is None:
            print(f'{clip.name:12s} {clip.peak_frame:5d}  nothing annotated: left out', flush=True)
            continue
        row, collision = scored
        peaks.append(row)
        print(_line(row), flush=True)
        if output is not None:
            truth = clip.truth(clip.peak_frame)
            shown = picture(collision.frame.image, truth, collision)
            with output.replacing(f'{clip.name}.png') as part:
                save_image(part, shown)
        for number in range(0, len(clip.frames), args.every) if args.every else ():
            if (other := score_frame(pipeline, bundle.clip, clip, number)) is not None:
                others.append(other[0])
    if not peaks:
        raise ValueError(f'{args.clips}: no clip has masks at its peak frame, nothing to score')
    result = {
        'bundle': args.bundle,
        'without': args.without,
        'peak_frames': _summary(peaks),
        'every': args.every,
        'every_frames': _summary(others) if others else None,
        'clips': peaks,
        'frames': others,
    }
    _report(result)
    write_json(args.json, result)
    return 0


def _without(pipeline: Pipeline, stage: str | None) -> Pipeline:
    return Pipeline(
        pipeline.name,
        pipeline.masker,
        hands=None if stage == 'hands' else pipeline.hands,
        localiser=None if stage == 'localiser' else pipeline.localiser,
        verification=pipeline.verification,
        verifier=pipeline.verifier,
        objects=None if stage == 'objects' else pipeline.objects,
    )


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over clips of their means over frames; every clip counts the same."""
    clips = sorted({row['clip'] for row in rows})

    def mean(key: str) -> float:
        per_clip = [[row[key] for row in rows if row['clip'] == clip] for clip in clips]
        return float(np.mean([np.mean(values) for values in per_clip]))

    stages = sorted({stage for row in rows for stage in row['timings_ms']})
    times = {stage: [row['timings_ms'].get(stage, 0.0) for row in rows] for stage in stages}
    totals = [sum(row['timings_ms'].values()) for row in rows]
    return {
        'samples': len(rows),
        'miou': mean('score'),
        'auc': 100 * auc([row['score'] / 100 for row in rows]),
        'centred_square': mean('centred_square'),
        'stages_ms': {
            stage: {'mean': float(np.mean(values)), 'max': float(np.max(values))}
            for stage, values in [*times.items(), ('total', totals)]
        },
    }


def _line(row: dict[str, Any]) -> str:
    found = ' + '.join(row['objects']) or 'nothing'
    return (
        f'{row["clip"]:12s} {row["frame"]:5d} {row["score"]:6.1f} {row["centred_square"]:6.1f}  '
        f'{found} of {row["truth_masks"]} annotated ({row["rule"]})'
    )


def _report(result: dict[str, Any]) -> None:
    for key, title in (('peak_frames', 'peak frames'), ('every_frames', 'check frames')):
        summary = result[key]
        if summary is None:
            continue
        print(
            f'{title} ({summary["samples"]}): mIoU {summary["miou"]:.1f}, '
            f'AUC {summary["auc"]:.1f}, centred square {summary["centred_square"]:.1f}'
        )
        for stage, times in summary['stages_ms'].items():
            if times['mean'] >= REPORTED_STAGES_MS:
                print(f'  {stage:18s} {times["mean"]:7.1f} ms mean {times["max"]:8.1f} ms max')
