"""Draws docs/sounding.jpg: scenes in which the sound changes what is answered.

python tools/sounding_pictures.py docs/sounding.jpg 1000 60
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import cv2
import numpy as np

from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.collision import Candidate, Image
from cs3_ros.metrics import sample_score
from cs3_ros.runtime import RuntimeConfig
from cs3_ros.verification import verify
from cs3_training.evaluation.samples import SyntheticSamples

COLOURS = {'right_hand': (255, 120, 0), 'left_hand': (0, 160, 255), 'audio_visual': (230, 0, 200)}
ROWS = 3


def panel(image: Image, objects: Sequence[Candidate], title: str, scores: bool) -> Image:
    """The picture with outlines of candidates and, where asked for, their scores."""
    shown = cv2.resize(image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    for one in objects:
        mask = cv2.resize(one.mask.astype(np.uint8), (shown.shape[1], shown.shape[0]))
        outline, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(shown, outline, -1, COLOURS[one.label], 2)
        if scores and one.sounding is not None and mask.any():
            place = int(np.nonzero(mask.any(0))[0][0]), int(np.nonzero(mask.any(1))[0][0]) + 12
            for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
                text = f'{one.sounding:.2f}'
                cv2.putText(shown, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, width)
    head = np.full((18, shown.shape[1], 3), 255, np.uint8)
    cv2.putText(head, title, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1)
    return np.concatenate([head, shown])


def main(path: str, first: int, count: int) -> None:
    """Look at ``count`` validation scenes, draw the first ``ROWS`` whose answer changes."""
    bundle = load_bundle('nano')
    pipeline = bundle.build(runtime=RuntimeConfig('cpu', threads=1))
    samples, rows = SyntheticSamples('validation', bundle.clip), []
    for number in range(first, first + count):
        sample = samples[number]
        found = pipeline(sample.clip)
        plain = verify(found.candidates, pipeline.verification)
        told = [one.label for one in found.objects]
        if told == [one.label for one in plain.objects]:
            continue
        scored = pipeline.verifier.scored(  # type: ignore[attr-defined]
            pipeline.verifier.encode(sample.clip.frame), sample.clip.audio, found.candidates,
            pipeline.verification, [],
        )  # fmt: skip
        image = np.array(sample.clip.frame.image)
        truth = cv2.findContours(
            np.any(sample.truth, 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )[0]
        marked = cv2.drawContours(image.copy(), truth, -1, (255, 255, 255), 3)
        scores = [sample_score(sample.truth, [o.mask for o in some]) for some in
                  (plain.objects, found.objects)]  # fmt: skip
        print(number, [one.label for one in plain.objects], told, scores)
        parts = [
            panel(marked, (), f'scene {number}: what collided', False),
            panel(image, scored, 'candidates and scores', True),
            panel(image, plain.objects, f'contact: IoU {scores[0]:.2f}', False),
            panel(image, found.objects, f'sounding: IoU {scores[1]:.2f}', False),
        ]
        rows.append(np.concatenate(parts, 1))
        if len(rows) == ROWS:
            break
    picture = cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR)
    cv2.imwrite(path, picture, [cv2.IMWRITE_JPEG_QUALITY, 80])


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
