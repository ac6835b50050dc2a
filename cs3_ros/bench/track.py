"""How well masks are carried forward on annotated clips, and what it costs.

``cs3 bench track CLIPS`` begins a track at every Nth frame of each clip folder (``clip.mp4``,
``clip.json``, ``masks/FFF_L.png``) with the masks annotated there, follows it for ``--seconds`` and
prints the mean IoU with the annotated masks after 0.2, 0.5, 1 and 2 s, beside that of the masks
that stay where they were. An object that is not annotated in the later frame is not visible: both
score 0 there, and how many the tracker had dropped by then is told. ``--json`` writes it.

``--live SECONDS`` measures instead how late tracked masks are on their topic, with a camera of
720p30 JPEG and an event every second and a half.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cs3_ros.bench import REAL_CLIPS
from cs3_ros.bench.lite import AnnotatedClip, read_clips
from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.collision import NS_PER_S, Frame, Image
from cs3_ros.drawing.overlay import answer_picture
from cs3_ros.files.atomic import replacing
from cs3_ros.files.images import as_jpeg, compressed_frame, save_image
from cs3_ros.files.jsonfile import add_json, prepare_json, write_json
from cs3_ros.metrics import iou
from cs3_ros.pipeline import Tracker

AFTER_S = (0.2, 0.5, 1.0, 2.0)
"""Times after the start that are scored, seconds."""
SIZE = (1280, 720)
"""Width and height of the frames on which the cost is measured."""
STRIP_HEIGHT = 240
"""Height of the pictures of ``--picture``."""


@dataclass(frozen=True)
class Score:
    """One object of one start, some time later."""

    clip: str
    start: int
    """Frame that the track began at."""
    label: str
    """Of the object."""
    after_s: float
    visible: bool
    """Whether it is annotated in the later frame."""
    stale: float
    """IoU of the mask that stayed where it was."""
    tracked: float
    """IoU of the tracked one; 0 where the tracker has dropped it."""
    confidence: float | None
    """That the tracker gave; None where it has dropped it."""


def score_clip(tracker: Tracker, clip: AnnotatedClip, starts: Sequence[int]) -> Iterator[Score]:
    """Tracks from each of some frames of a clip; those without a mask are left out."""
    stamps = np.array([frame.stamp_ns for frame in clip.frames])
    for start in starts:
        masks = clip.objects(start)
        if not masks:
            continue
        due: defaultdict[int, list[float]] = defaultdict(list)
        for after_s in AFTER_S:
            wanted = stamps[start] + round(after_s * NS_PER_S)
            later = int(np.abs(stamps - wanted).argmin())
            if later > start and abs(stamps[later] - wanted) < NS_PER_S / 50:
                due[later].append(after_s)
        state = tracker.begin(clip.frames[start], list(masks.values()))
        for number in range(start + 1, max(due, default=start) + 1):
            found = tracker.follow(state, clip.frames[number])
            truth = clip.objects(number) if number in due else {}
            for after_s in due.get(number, ()):
                for (label, stale), now in zip(masks.items(), found, strict=True):
                    true = truth.get(label)
                    yield Score(
                        clip.name,
                        start,
                        label,
                        after_s,
                        true is not None,
                        0.0 if true is None else iou(stale, true),
                        0.0 if true is None or now is None else iou(now.mask, true),
                        None if now is None else now.confidence,
                    )


def strip(tracker: Tracker, clip: AnnotatedClip, start: int) -> Image:
    """The start and the frames that are scored, side by side: masks tinted, the truth in white."""
    masks = clip.objects(start)
    state = tracker.begin(clip.frames[start], list(masks.values()))
    first_ns = clip.frames[start].stamp_ns
    views = []
    labels = np.zeros(clip.frames[start].image.shape[:2], np.uint8)
    for number, mask in enumerate(masks.values(), 1):
        labels[mask] = number
    wanted = list(AFTER_S[:3])
    for number in range(start, len(clip.frames)):
        frame = clip.frames[number]
        passed_s = (frame.stamp_ns - first_ns) / NS_PER_S
        if number > start:
            labels = np.zeros_like(labels)
            for value, found in enumerate(tracker.follow(state, frame), 1):
                if found is not None:
                    labels[found.mask] = value
        if number == start or (wanted and passed_s >= wanted[0] - 1e-3):
            caption = [clip.name, f'{passed_s:.1f} s']
            view = answer_picture(frame.image, labels, (), caption, clip.truth(number))
            width = round(STRIP_HEIGHT * view.shape[1] / view.shape[0])
            size = (width, STRIP_HEIGHT)
            views.append(cv2.resize(view, size, interpolation=cv2.INTER_AREA))
            if number > start:
                wanted.pop(0)
    while len(views) < 4:
        views.append(np.zeros_like(views[0]))
    return np.hstack(views)


def time_frames(tracker: Tracker, clip: AnnotatedClip, start: int) -> list[float]:
    """Milliseconds of each frame that follows, a JPEG of ``SIZE``, its decoding included."""
    frames = []
    for frame in clip.frames[start:]:
        picture = np.asarray(cv2.resize(frame.image, SIZE), np.uint8)
        frame.forget()
        frames.append(compressed_frame(frame.stamp_ns, '', 'jpeg', as_jpeg(picture)))
    masks = [
        cv2.resize(mask.astype(np.uint8), SIZE, interpolation=cv2.INTER_NEAREST) > 0
        for mask in clip.truth(start)
    ]
    state = tracker.begin(frames[0], masks)
    return [_timed(tracker, state, frame) for frame in frames[1:]]


def _timed(tracker: Tracker, state: Any, frame: Frame) -> float:
    began = time.process_time()
    tracker.follow(state, frame)
    return (time.process_time() - began) * 1e3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``cs3 bench track``."""
    parser.add_argument(
        'clips', type=Path, nargs='?', default=REAL_CLIPS, help='folder of annotated clip folders'
    )
    add_json(parser, 'file for all figures')
    parser.add_argument(
        '--picture', type=Path, metavar='JPG', help='write the two best and two worst clips here'
    )
    parser.add_argument('--live', type=float, metavar='SECONDS', help='latency of the live node')
    parser.add_argument(
        '--bundle', default='lite', help='bundle whose tracker runs (default: lite)'
    )
    parser.add_argument('--first', type=int, default=5, help='first start, a frame (default: 5)')
    parser.add_argument('--every', type=int, default=15, help='frames between starts (default: 15)')


def main(args: argparse.Namespace) -> int:
    """Run the benchmark."""
    if args.every < 1 or args.first < 0:
        raise ValueError(
            f'--every {args.every}, --first {args.first}: expected at least 1 and at least 0 frames'
        )
    prepare_json(args.json, args.force)
    if args.live is not None:
        from cs3_ros.bench.track_live import measure, told

        figures = measure(args.live)
        print(told(figures))
        write_json(args.json, figures)
        return 0
    tracker = load_bundle(args.bundle).build_tracker()
    if tracker is None:
        raise ValueError(f'bundle {args.bundle!r} has no tracker: add one, such as tracker: flow')
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        result = _run(args, tracker)
    finally:
        cv2.setNumThreads(threads)
    write_json(args.json, result)
    return 0


def _run(args: argparse.Namespace, tracker: Tracker) -> dict[str, Any]:
    scores: list[Score] = []
    costs: list[float] = []
    for clip in read_clips(args.clips):
        starts = range(args.first, len(clip.frames), args.every)
        scores += score_clip(tracker, clip, starts)
        annotated = next((start for start in starts if clip.truth(start)), None)
        if not costs and annotated is not None:
            costs = time_frames(tracker, clip, annotated)
        own = [score for score in scores if score.clip == clip.name]
        line = '  '.join(
            f'{after_s:g} s {row["stale"]:.2f} {row["tracked"]:.2f}'
            for after_s, row in _by_time(own).items()
        )
        print(f'{clip.name:12s} {line or "nothing annotated: left out"}', flush=True)
        for frame in clip.frames:
            frame.forget()
    if not scores:
        raise ValueError(
            f'{args.clips}: no mask with a frame {AFTER_S[0]:g} s later, nothing to score'
        )
    if args.picture is not None:
        _write_picture(args, tracker, scores)
    by_time = _by_time(scores)
    print(f'{"after":>7s} {"masks":>6s} {"stays":>6s} {"tracked":>8s} {"gone":>5s} {"dropped":>8s}')
    for after_s, row in by_time.items():
        print(
            f'{after_s:5g} s {row["n"]:6d} {row["stale"]:6.3f} {row["tracked"]:8.3f} '
            f'{row["gone"]:5d} {row["gone_and_dropped"]:8d}'
        )
    cost = {'median': float(np.median(costs)), 'p95': float(np.percentile(costs, 95))}
    width, height = SIZE
    print(
        f'one core, {width}x{height} JPEG, decoding included: {cost["median"]:.1f} ms per frame, '
        f'95 % within {cost["p95"]:.1f} ms'
    )
    return {
        'bundle': args.bundle,
        'first': args.first,
        'every': args.every,
        'after_s': {f'{after_s:g}': row for after_s, row in by_time.items()},
        'frame_ms': cost,
        'clips': {
            name: {
                f'{after_s:g}': row
                for after_s, row in _by_time([s for s in scores if s.clip == name]).items()
            }
            for name in sorted({score.clip for score in scores})
        },
        'confidence': _confidence(scores),
    }


def _write_picture(args: argparse.Namespace, tracker: Tracker, scores: Sequence[Score]) -> None:
    """One row per clip, best first, from its first start on."""
    names = sorted({score.clip for score in scores})
    order = sorted(names, key=lambda name: -np.mean([s.tracked for s in scores if s.clip == name]))
    shown = [name for name in order if name in (*order[:2], *order[-2:])]
    firsts = {name: min(s.start for s in scores if s.clip == name) for name in shown}
    rows = {
        clip.name: strip(tracker, clip, firsts[clip.name])
        for clip in read_clips(args.clips)
        if clip.name in firsts
    }
    width = min(row.shape[1] for row in rows.values())
    picture = np.vstack([rows[name][:, :width] for name in shown])
    with replacing(args.picture) as part:
        save_image(part, np.asarray(picture, np.uint8))


def _by_time(scores: Sequence[Score]) -> dict[float, dict[str, Any]]:
    """Time after the start -> number of masks and their mean IoU; every mask counts the same."""
    rows: dict[float, dict[str, Any]] = {}
    for after_s in AFTER_S:
        at = [score for score in scores if score.after_s == after_s]
        if at:
            gone = [score for score in at if not score.visible]
            rows[after_s] = {
                'n': len(at),
                'stale': float(np.mean([score.stale for score in at])),
                'tracked': float(np.mean([score.tracked for score in at])),
                'gone': len(gone),
                'gone_and_dropped': sum(score.confidence is None for score in gone),
            }
    return rows


def _confidence(scores: Sequence[Score]) -> list[dict[str, float]]:
    """Mean IoU of the masks that were given a confidence within each quarter of [0, 1]."""
    rows = []
    for low in (0.0, 0.25, 0.5, 0.75):
        within = [
            score.tracked
            for score in scores
            if score.confidence is not None and min(score.confidence, 0.999) // 0.25 * 0.25 == low
        ]
        if within:
            rows.append({'from': low, 'n': len(within), 'iou': float(np.mean(within))})
    return rows
