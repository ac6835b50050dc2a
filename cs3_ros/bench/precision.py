"""What a smaller number format changes: the networks of a bundle against themselves in float32.

``cs3 bench precision --random-weights`` builds the networks twice and compares, for every picture
and sound, the logits of the localiser's CLIPSeg under the sound: Pearson correlation, and IoU of
the maps binarised at the median of the float32 map, since random networks have no threshold of
their own that halves a map. The spatial standard deviation of the float32 logits is printed, since
a constant map would agree with anything. Expected are a correlation of at least 0.99 and an IoU of
at least 0.95. For information: how alike the conditions are that sounds are turned into (random
networks hardly tell two sounds apart); the IoU of the boxes of the whole localiser, with the second
look, and of the masks of fixed boxes; how far scores and boxes of the detector lie apart (with
random weights a lottery: the best of hundreds of nearly equal queries wins).
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.bench.events import fixed_boxes, random_event
from cs3_ros.bench.pipeline import add_network_arguments, picture_size, weights_of
from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.collision import AudioClip, Box, Frame, Prompt
from cs3_ros.files.jsonfile import add_json, prepare_json, write_json
from cs3_ros.files.progress import Bar
from cs3_ros.metrics import iou
from cs3_ros.pipeline import Pipeline
from cs3_ros.runtime import RuntimeConfig

LEAST_CORRELATION = 0.99
LEAST_IOU = 0.95


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``cs3 bench precision``."""
    add_network_arguments(parser)
    parser.set_defaults(precision='bfloat16')
    parser.add_argument('--pictures', type=int, default=3, help='random pictures')
    parser.add_argument('--sounds', type=int, default=3, help='random sounds for each picture')
    add_json(parser, 'also write all figures to this file')


def main(options: argparse.Namespace) -> int:
    """Print the table; 1 where the localiser's maps differ by more than expected."""
    if min(options.pictures, options.sounds) < 1:
        raise ValueError('--pictures and --sounds: expected at least 1')
    if options.precision not in ('bfloat16', 'float16'):
        raise ValueError(f'--precision {options.precision}: expected bfloat16 or float16')
    size = picture_size(options.size)
    prepare_json(options.json, options.force)
    bundle = load_bundle(options.bundle, as_written=options.random_weights)
    if bundle.stages.get('localiser', {}).get('type') != 'audio_visual':
        raise ValueError(f'bundle {bundle.name}: expected a localiser of type audio_visual')
    if bundle.stages.get('hands', {}).get('type') == 'detr':  # whatever the scores
        hands = {**bundle.stages['hands'], 'hand_threshold': 0.0, 'object_threshold': 0.0}
        bundle = dataclasses.replace(bundle, stages={**bundle.stages, 'hands': hands})
    with weights_of(options, bundle):
        exact, other = (
            bundle.build(runtime=RuntimeConfig(options.device, precision))
            for precision in ('float32', options.precision)
        )
        figures: defaultdict[str, list[float]] = defaultdict(list)
        for picture in Bar(range(options.pictures), 'pictures', unit='picture'):
            clips = [
                random_event(options.sounds * picture + sound, *size, bundle.audio_s)
                for sound in range(options.sounds)
            ]
            _compare(exact, other, clips[0].frame, [clip.audio for clip in clips], figures)
    table = {name: _summary(values) for name, values in figures.items()}
    print(f'\n{options.precision} against float32\n')
    print('| | least | median | greatest |\n|---|---|---|---|')
    for name, row in table.items():
        print(f'| {name} | {row["least"]:.4f} | {row["median"]:.4f} | {row["greatest"]:.4f} |')
    good = (
        table['correlation of logits']['least'] >= LEAST_CORRELATION
        and table['IoU of binarised maps']['least'] >= LEAST_IOU
    )
    print(
        f'\ncorrelation at least {LEAST_CORRELATION} and IoU at least {LEAST_IOU}: '
        f'{"yes" if good else "NO"}'
    )
    result = {'precision': options.precision, 'networks': options.networks, 'good': good}
    write_json(options.json, {**result, 'figures': table})
    return 0 if good else 1


def _compare(
    exact: Pipeline,
    other: Pipeline,
    frame: Frame,
    sounds: Sequence[AudioClip],
    figures: defaultdict[str, list[float]],
) -> None:
    """Add the figures of one picture under several sounds."""
    conditions: list[NDArray[np.float32]] = []
    for sound in sounds:
        condition, logits = _asked(exact, frame, sound)
        other_condition, other_logits = _asked(other, frame, sound)
        figures['spatial deviation of logits'].append(float(logits.std()))
        figures['correlation of logits'].append(_correlation(logits, other_logits))
        middle = np.median(logits)
        figures['IoU of binarised maps'].append(iou(logits > middle, other_logits > middle))
        figures['correlation of conditions'].append(_correlation(condition, other_condition))
        for earlier in conditions:
            figures['correlation of conditions of two sounds'].append(
                _correlation(condition, earlier)
            )
        conditions.append(condition)
        boxes = [_box(pipeline, frame, sound) for pipeline in (exact, other)]
        figures['IoU of boxes of the sound'].append(_box_iou(*boxes))
    prompts = [Prompt(box) for box in fixed_boxes(*frame.image.shape[:2])]
    masks = [
        pipeline.masker.segment(pipeline.masker.encode(frame.image), prompts)
        for pipeline in (exact, other)
    ]
    figures['IoU of masks'] += [iou(one, two) for one, two in zip(*masks, strict=True)]
    found = [_held(pipeline, frame) for pipeline in (exact, other)]
    for side in set(found[0]) & set(found[1]):
        (score, box), (other_score, other_box) = (held[side] for held in found)
        figures['difference of scores of held objects'].append(abs(score - other_score))
        figures['IoU of boxes of held objects'].append(_box_iou(box, other_box))


def _asked(
    pipeline: Pipeline, frame: Frame, audio: AudioClip
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The condition [P] that a sound is turned into, and CLIPSeg's logits [S, S] under it."""
    import torch

    localiser: Any = pipeline.localiser
    encoded = localiser.encode((frame,), 0)
    if torch.cuda.is_available():  # encode works on a stream of its own
        torch.cuda.synchronize()
    with torch.inference_mode():
        condition = localiser.condition(audio)  # [1, P]
        logits = localiser.clipseg.decode(encoded.features, condition)  # [1, 1, S, S]
        return condition[0].float().cpu().numpy(), logits[0, 0].cpu().numpy()


def _correlation(one: NDArray[np.float32], two: NDArray[np.float32]) -> float:
    return float(np.corrcoef(one.ravel(), two.ravel())[0, 1])


def _box(pipeline: Pipeline, frame: Frame, audio: AudioClip) -> Box:
    localiser: Any = pipeline.localiser
    found = localiser.locate(localiser.encode((frame,), 0), audio)
    box: Box = (0.0, 0.0, 0.0, 0.0) if found is None else found.box
    return box


def _held(pipeline: Pipeline, frame: Frame) -> dict[str, tuple[float, Box]]:
    """Side -> score and box of the held object."""
    hands = () if pipeline.hands is None else pipeline.hands.detect((frame,), 0)
    return {hand.side: (hand.score, hand.object_box) for hand in hands if hand.object_box}


def _box_iou(one: Box, two: Box) -> float:
    """Intersection over union of two boxes; 1 where both are empty."""
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, two))
    return float(shared / (areas - shared)) if areas > shared else 1.0


def _summary(values: list[float]) -> dict[str, float]:
    return {
        'least': float(np.min(values)),
        'median': float(np.median(values)),
        'greatest': float(np.max(values)),
    }
