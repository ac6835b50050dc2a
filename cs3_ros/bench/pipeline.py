"""Speed of a bundle with networks of full size, beside a plain composition of public packages.

``cs3 bench pipeline --bundle cs3 --random-weights`` needs no download: it writes random weights in
the official formats to a temporary folder and loads them as it would real ones. An event is a
random picture, the bundle's length of random sound and three boxes: random detectors find nothing,
so the detector runs and two fixed boxes take the place of what it found; the localiser's is the
third. ``prepare`` is what runs before the sound is there, ``finish`` what the user then waits for;
each is timed until the device has nothing left to do. Decoding the picture and loading are not in
it. The plain composition (``cs3_ros.bench.naive``) answers every event after the pipeline, in the
same process; it can do nothing before the sound.

Stage times: ``host`` is how long the pipeline's own call took, on CUDA mostly the time to launch;
``alone`` is a second pass that waits for the device before and after every stage. ``operations``
are the aten operations that a stage dispatches, ``kernels`` those of them that are no mere views:
on CUDA each is a launch or more.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from tqdm import tqdm

from cs3_ros.bundle import Bundle, load_bundle
from cs3_ros.collision import (
    AudioClip,
    Box,
    CollisionClip,
    Frame,
    HandObject,
    Onset,
)
from cs3_ros.jsonfile import prepare_json, write_json
from cs3_ros.pipeline import HandDetector, Localiser, Masker, Pipeline
from cs3_ros.runtime import GIB, RuntimeConfig

if TYPE_CHECKING:
    import torch

    from cs3_ros.bench.naive import PlainComposition

RATE = 48_000
SAM2_SIZES = ('tiny', 'small', 'base_plus', 'large')
EXTRA_EVENTS = 10
"""Events of the pass that waits at every stage, at most."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``cs3 bench pipeline``."""
    add_network_arguments(parser)
    parser.add_argument('--size', default='1280x720', help='width x height of the picture, pixels')
    parser.add_argument('--events', type=int, default=20, help='events to measure')
    parser.add_argument(
        '--no-naive', action='store_true', help='leave the plain composition of packages out'
    )
    parser.add_argument('--json', type=Path, help='also write all figures to this file')


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that choose the networks and what they run on."""
    parser.add_argument('--bundle', default='cs3', help='bundle name or .yaml path')
    parser.add_argument('--device', default='auto', choices=('auto', 'cpu', 'cuda'))
    parser.add_argument(
        '--precision', default='auto', choices=('auto', 'float32', 'bfloat16', 'float16')
    )
    parser.add_argument(
        '--random-weights', action='store_true', help='no files of weights are needed'
    )
    parser.add_argument(
        '--sam2', default='base_plus', choices=SAM2_SIZES, help='random SAM 2.1 of this size'
    )
    parser.add_argument(
        '--networks',
        default='full',
        choices=('full', 'tiny'),
        help='size of the random networks; tiny ones only try out the benchmark',
    )


@contextmanager
def weights_of(options: argparse.Namespace, bundle: Bundle) -> Iterator[None]:
    """Inside, the bundle finds what it loads: random weights where they were asked for."""
    if not options.random_weights:
        yield
        return
    from cs3_ros.bench.random_weights import random_home

    with random_home(bundle, options.networks, options.sam2):
        yield


def main(options: argparse.Namespace) -> int:
    """Print the tables; 130 when interrupted, with the events measured so far."""
    width, height = _picture_size(options.size)
    if options.events < 1:
        raise ValueError(f'--events {options.events}: expected a number of events')
    prepare_json(options.json)
    bundle = load_bundle(options.bundle)
    runtime = RuntimeConfig(options.device, options.precision)
    with weights_of(options, bundle):
        pipeline = bundle.build(runtime=runtime)
        measured = _Measured(bundle, pipeline, options, (width, height))
        interrupted = measured.run()
    result = measured.result()
    _report(result)
    write_json(options.json, result)
    return 130 if interrupted else 0


def _picture_size(text: str) -> tuple[int, int]:
    width, _, height = text.partition('x')
    if not (width.isdecimal() and height.isdecimal() and int(width) >= 64 and int(height) >= 64):
        raise ValueError(f'--size {text}: expected WIDTHxHEIGHT of at least 64, like 1280x720')
    return int(width), int(height)


class FixedBoxes:
    """The detector runs; what it found is replaced by two objects in the middle of the picture."""

    def __init__(self, detector: HandDetector | None) -> None:
        self.detector = detector

    def detect(self, frames: Sequence[Frame], index: int) -> tuple[HandObject, ...]:
        """A right and a left hand with touching objects."""
        if self.detector is not None:
            self.detector.detect(frames, index)
        right, left = fixed_boxes(*frames[index].image.shape[:2])
        return (
            HandObject('right', 0.9, right, object_box=right),
            HandObject('left', 0.8, left, object_box=left),
        )


def fixed_boxes(height: int, width: int) -> tuple[Box, Box]:
    """The objects of the right and of the left hand."""
    x, y = width / 2, height / 2
    return (x, 0.6 * y, 1.4 * x, 1.4 * y), (0.6 * x, 0.6 * y, x, 1.4 * y)


def random_event(seed: int, width: int, height: int, audio_s: float) -> CollisionClip:
    """A picture of coloured patches and a sound of noise that starts with an impact."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (-(-height // 40), -(-width // 40), 3))
    image = patches.repeat(40, 0).repeat(40, 1)[:height, :width]
    image = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    count = max(round(audio_s * RATE), 1)
    fade = np.exp(-np.abs(np.arange(count) - count // 2) / (0.05 * RATE))
    sound = rng.normal(0, 0.2, count) * (fade + 0.01)
    audio = AudioClip(1, RATE, sound.clip(-1, 1).astype(np.float32), np.ones(count, bool))
    return CollisionClip(Onset(1, -20.0, 20.0), (Frame.from_rgb(1, image),), 0, audio)


class _Measured:
    """The run and what came out of it."""

    def __init__(
        self,
        bundle: Bundle,
        pipeline: Pipeline,
        options: argparse.Namespace,
        size: tuple[int, int],
    ) -> None:
        pipeline.hands = FixedBoxes(pipeline.hands)
        self.bundle, self.pipeline, self.options, self.size = bundle, pipeline, options, size
        self.device = _device(options.device)
        self.ours: defaultdict[str, list[float]] = defaultdict(list)
        self.host: defaultdict[str, list[float]] = defaultdict(list)
        self.alone: defaultdict[str, list[float]] = defaultdict(list)
        self.naive: defaultdict[str, list[float]] = defaultdict(list)
        self.operations: dict[str, dict[str, int]] = {}
        self.memory_gib: float | None = None
        self.naive_memory_gib: float | None = None
        self.naive_lacks = ['it was left out (--no-naive)']

    def event(self, seed: int) -> CollisionClip:
        return random_event(seed, *self.size, self.bundle.audio_s)

    def run(self) -> bool:
        """Measure; True where the user interrupted it."""
        events = self.options.events
        try:
            self.pipeline(self.event(0))  # warm up
            self._count()
            self._peak()
            naive = self._load_naive()
            for seed in tqdm(range(1, events + 1), 'events', unit='event'):
                clip = self.event(seed)
                self._ours(clip)
                if naive is not None:
                    self._naive(naive, clip)
            for seed in tqdm(range(min(events, EXTRA_EVENTS)), 'stages alone', unit='event'):
                self._alone(self.event(seed))
        except KeyboardInterrupt:
            print('interrupted: what was measured so far')
            return True
        return False

    def _wait(self) -> None:
        if self.device.type == 'cuda':
            import torch

            torch.cuda.synchronize(self.device)

    def _ours(self, clip: CollisionClip) -> None:
        self._wait()
        start = time.perf_counter()
        prepared = self.pipeline.prepare(clip.frames, clip.event_index)
        self._wait()
        middle = time.perf_counter()
        collision = self.pipeline.finish(prepared, clip)
        self._wait()
        end = time.perf_counter()
        if (found := len(collision.candidates)) != 3:
            raise RuntimeError(f'{found} boxes instead of 3: the localiser found no sounding region')
        self.ours['prepare'].append((middle - start) * 1e3)
        self.ours['finish'].append((end - middle) * 1e3)
        self.ours['total'].append((end - start) * 1e3)
        for stage, value in collision.timings_ms.items():
            self.host[stage].append(value)
