"""Draws docs/bundles.jpg: what every bundle answers on one frame of the clip of ``make demo``.

python tools/bundle_pictures.py docs/bundles.jpg demo/synthetic_clip 3

A bundle whose weights are not at hand (``CS3_HOME``) gets a tile that says so: nothing is invented.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from cs3_ros.bundles.bundle import Bundle, load_bundle
from cs3_ros.collision import NS_PER_S, Image, Mask
from cs3_ros.drawing.lettering import BLACK, WHITE, heading
from cs3_ros.drawing.overlay import answer_picture
from cs3_ros.files.images import as_jpeg
from cs3_ros.files.media import VideoFile
from cs3_ros.files.truth import TrueEvent, read_truth
from cs3_ros.metrics import sample_score
from cs3_ros.offline.run import Found, Run
from cs3_ros.runtime import RuntimeConfig
from cs3_ros.settings import Settings

BUNDLES = ('lite', 'small', 'nano', 'zero_shot', 'acl', 'cs3')
COLUMNS = 3
SIDE = 400
"""Width and height of a tile's picture, pixels."""
GAP = 8
GREY = (226, 226, 226)


def tile(title: str, picture: Image) -> Image:
    """A picture under its title, RGB uint8."""
    return np.vstack([heading(SIDE, title), picture])


def absent(bundle: Bundle) -> Image:
    """The tile of a bundle that cannot run here."""
    canvas = np.full((SIDE // 4, SIDE, 3), GREY, np.uint8)
    largest = max(bundle.lacking_weights, key=lambda file: file.bytes or 0)
    lines = ('Not drawn, for want of its weights:', str(largest.path))
    for row, line in enumerate(lines):
        place = (14, 30 + 24 * row)
        cv2.putText(canvas, line, place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, BLACK, 1, cv2.LINE_AA)
    return tile(bundle.name, canvas)


def answer(bundle: Bundle, clip: Path, event: TrueEvent) -> tuple[Found, VideoFile]:
    """What a bundle says of the collision, as ``cs3 run`` would.

    Raises:
        RuntimeError: it heard nothing within 50 ms of it.
    """
    video = VideoFile(clip, origin_ns=NS_PER_S)
    for found in Run(video, bundle, bundle.build(runtime=RuntimeConfig('cpu')), Settings()):
        onset_ns = found.collision.onset.stamp_ns - video.origin_ns
        if abs(onset_ns - event.time_ns) < 0.05 * NS_PER_S:
            return found, video
    raise RuntimeError(f'{bundle.name} heard nothing at {event.time_ns / NS_PER_S:.2f} s')


def drawn(bundle: Bundle, found: Found, truth: tuple[Mask, ...]) -> Image:
    """The tile of a bundle's answer."""
    collision = found.collision
    names = [one.label for one in collision.objects]
    score = sample_score(truth, [one.mask for one in collision.objects])
    caption = [collision.verdict.rule.replace('_', ' '), f'mIoU {100 * score:.0f}']
    image = answer_picture(collision.frame.image, collision.label_image(), names, caption, truth)
    shown = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return tile(f'{bundle.name}: masks by {bundle.stages["masker"]["type"]}', shown)


def main(path: str, folder: str, number: int) -> None:
    """Draw the tiles of one true event of a clip with its truth."""
    truth = read_truth(Path(folder) / 'truth.json')
    event = truth.events[number]
    tiles = []
    for name in BUNDLES:
        bundle = load_bundle(name)
        if bundle.lacking_weights:
            tiles.append(absent(bundle))
            continue
        found, video = answer(bundle, Path(folder) / 'clip.mp4', event)
        time_ns = found.collision.frame.stamp_ns - video.origin_ns
        if (masks := truth.masks_at(event, time_ns)) is None:
            raise RuntimeError(f'the truth does not know the frame at {time_ns} ns')
        print(name, found.frame_index, [one.label for one in found.collision.objects])
        tiles.append(drawn(bundle, found, masks))
    rows = []
    for first in range(0, len(tiles), COLUMNS):
        some = tiles[first : first + COLUMNS]
        high = max(len(one) for one in some) + GAP
        some = [
            cv2.copyMakeBorder(one, 0, high - len(one), 0, GAP, cv2.BORDER_CONSTANT, value=WHITE)
            for one in some
        ]
        rows.append(np.hstack(some))
    Path(path).write_bytes(as_jpeg(np.vstack(rows), 85))


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
