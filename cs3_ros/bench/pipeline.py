"""Speed of any bundle with networks of full size, beside a plain composition of public packages.

``cs3 bench pipeline --bundle cs3 --random-weights`` needs no download: it writes random weights in
the official formats to a temporary folder and loads them as it would real ones. An event is a
random picture of which a part moves, a synthetic impact as long as the bundle asks for, and three
boxes: random detectors find nothing, so the detector runs and two fixed boxes take the place of
what it found; the localiser's is the third. ``prepare`` is what runs before the sound is there,
``finish`` what the user then waits for; each is timed until the device has nothing left to do.
``processor`` is the time that all threads of the CPU took for both: other work on the machine
disturbs it less. Decoding the picture and loading are not in it. The plain composition
(``cs3_ros.bench.naive``) answers every event after the pipeline, in the same process; it can do
nothing before the sound.

Stage times: ``host`` is how long the pipeline's own call took, on CUDA mostly the time to launch;
``alone`` is a second pass that waits for the device before and after every stage. ``operations``
are the aten operations that a stage dispatches, ``kernels`` those of them that are no mere views:
on CUDA each is a launch or more.
"""

from __future__ import annotations

import argparse
import logging
import resource
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cs3_ros.bench.events import FixedBoxes, fixed_boxes, random_event
from cs3_ros.bench.stage_watch import OperationCounter, watched
from cs3_ros.bundles.bundle import Bundle, load_bundle
from cs3_ros.collision import CollisionClip
from cs3_ros.files.jsonfile import add_json, prepare_json, write_json
from cs3_ros.files.progress import Bar
from cs3_ros.pipeline import Pipeline
from cs3_ros.runtime import GIB, Runtime, RuntimeConfig, gpu_memory_gib, machine_name

if TYPE_CHECKING:
    import torch

    from cs3_ros.bench.naive import PlainComposition

MASKERS = ('grabcut', 'edgetam', 'sam2')
SAM2_SIZES = ('tiny', 'small', 'base_plus', 'large')
EVENTS_ALONE = 10
"""Events of the pass that waits at every stage, at most."""
FRAMES_AROUND = 5
"""Frames before and after that of the event; the localiser ``motion`` looks 4 far."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``cs3 bench pipeline``."""
    add_network_arguments(parser)
    parser.add_argument('--events', type=int, default=20, help='events to measure')
    parser.add_argument('--masker', choices=MASKERS, help="this one in place of the bundle's")
    parser.add_argument(
        '--side', type=int, default=0, help='side of the square that SAM 2.1 sees, pixels'
    )
    parser.add_argument(
        '--no-naive', action='store_true', help='leave the plain composition of packages out'
    )
    add_json(parser, 'also write all figures to this file')


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that choose the networks and what they run on."""
    parser.add_argument('--bundle', default='cs3', help='bundle name or .yaml path')
    parser.add_argument(
        '--device', default='auto', choices=('auto', 'cpu', 'cuda'), help='where networks run'
    )
    parser.add_argument(
        '--precision',
        default='auto',
        choices=('auto', 'float32', 'bfloat16', 'float16'),
        help='number format of the networks',
    )
    parser.add_argument(
        '--random-weights', action='store_true', help='no files of weights are needed'
    )
    parser.add_argument(
        '--sam2', default='base_plus', choices=SAM2_SIZES, help='size of the random SAM 2.1'
    )
    parser.add_argument(
        '--networks',
        default='full',
        choices=('full', 'tiny'),
        help='size of the random networks; tiny ones only try out the benchmark',
    )
    parser.add_argument('--size', default='1280x720', help='width x height of the picture, pixels')


@contextmanager
def weights_of(options: argparse.Namespace, bundle: Bundle) -> Iterator[None]:
    """Inside, the bundle finds what it loads: random weights where they were asked for."""
    if not options.random_weights:
        yield
        return
    from cs3_ros.bundles.random_weights import random_home

    log = logging.getLogger('cs3_ros')
    level = log.level
    log.setLevel(logging.ERROR)  # masks of random networks are odd, and would be told one by one
    try:
        with random_home(bundle, options.networks, options.sam2):
            yield
    finally:
        log.setLevel(level)


def main(options: argparse.Namespace) -> int:
    """Print the tables; 130 when interrupted, with what was measured so far."""
    width, height = picture_size(options.size)
    if options.events < 1:
        raise ValueError(f'--events {options.events}: expected at least 1')
    prepare_json(options.json, options.force)
    bundle = with_masker(load_bundle(options.bundle, as_written=options.random_weights), options)
    config = RuntimeConfig(options.device, options.precision)
    machine = Runtime(config)
    with weights_of(options, bundle):
        pipeline = bundle.build(runtime=config)
        pipeline.hands = FixedBoxes(pipeline.hands)
        run = _Run(bundle, pipeline, machine.device, (width, height))
        interrupted = False
        try:
            run.measure(options.events, not options.no_naive)
        except KeyboardInterrupt:
            interrupted = True
            print('interrupted: what was measured so far')
    result = {
        'bundle': bundle.name,
        'machine': machine_name(machine.device),
        'precision': str(machine.dtype).removeprefix('torch.'),
        'networks': f'random, {options.networks}' if options.random_weights else 'own weights',
        'masker': masker_name(bundle, options),
        'size': options.size,
        'audio_s': bundle.audio_s,
        **run.result(),
    }
    _report(result)
    write_json(options.json, result)
    return 130 if interrupted else 0


def with_masker(bundle: Bundle, options: argparse.Namespace) -> Bundle:
    """The bundle with the masker that the options name."""
    masker = {
        None: dict(bundle.stages['masker']),
        'grabcut': {'type': 'grabcut'},
        'edgetam': {'type': 'edgetam', 'model': 'edgetam'},
        'sam2': {
            'type': 'sam2',
            'checkpoint': 'sam2/sam2.1_hiera_'
            # random ones all have the name that our bundles give
            f'{"base_plus" if options.random_weights else options.sam2}.pt',
        },
    }[options.masker]
    if options.side:
        if masker['type'] != 'sam2':
            raise ValueError(
                f'--side {options.side}: expected the masker sam2, not {masker["type"]}'
            )
        masker['side'] = options.side
    return bundle.with_stage('masker', masker) if options.masker or options.side else bundle


def masker_name(bundle: Bundle, options: argparse.Namespace) -> str:
    """Type, size and side of its masker, as far as they are known."""
    masker = bundle.stages['masker']
    parts = [str(masker['type'])]
    if masker['type'] == 'sam2':
        parts += [
            options.sam2 if options.random_weights else f'({Path(masker["checkpoint"]).name})'
        ]
        parts += [f'at {masker["side"]} pixels'] if masker.get('side') else []
    return ' '.join(parts)


def picture_size(text: str) -> tuple[int, int]:
    """Width and height from the text of ``--size``."""
    width, _, height = text.partition('x')
    if not (width.isdecimal() and height.isdecimal() and int(width) >= 64 and int(height) >= 64):
        raise ValueError(f'--size {text}: expected WIDTHxHEIGHT of at least 64, like 1280x720')
    return int(width), int(height)


class _Run:
    """What is measured, and what came out so far."""

    def __init__(
        self, bundle: Bundle, pipeline: Pipeline, device: torch.device, size: tuple[int, int]
    ) -> None:
        self.bundle, self.pipeline, self.device, self.size = bundle, pipeline, device, size
        self.times: dict[str, defaultdict[str, list[float]]] = {
            kind: defaultdict(list) for kind in ('ours', 'host', 'alone', 'naive')
        }
        self.operations: dict[str, dict[str, int]] = {}
        self.memory: dict[str, float] = {}
        self.naive_lacks = ['it was left out']

    def measure(self, events: int, with_naive: bool) -> None:
        self._event(0)
        counter = OperationCounter()
        watched(self.pipeline, counter)(self._clip(0))
        self.operations = counter.counts
        self._note_memory('ours')
        naive = self._load_naive() if with_naive else None
        for kind in self.times:  # of the warm-up
            self.times[kind].clear()
        for seed in Bar(range(1, events + 1), 'events', unit='event'):
            self._event(seed)
            if naive is not None:
                self._naive_event(naive, seed)
        if naive is not None:
            self._note_memory('with naive')
        alone = watched(self.pipeline, self._timed_alone)
        for seed in Bar(range(min(events, EVENTS_ALONE)), 'stages alone', unit='event'):
            alone(self._clip(seed))

    def _clip(self, seed: int) -> CollisionClip:
        return random_event(seed, *self.size, self.bundle.audio_s, FRAMES_AROUND)

    def _event(self, seed: int) -> None:
        clip = self._clip(seed)
        self._wait()
        processor = time.process_time()
        start = time.perf_counter()
        prepared = self.pipeline.prepare(clip.frames, clip.event_index)
        self._wait()
        middle = time.perf_counter()
        collision = self.pipeline.finish(prepared, clip)
        self._wait()
        end = time.perf_counter()
        processor = time.process_time() - processor
        if (found := len(collision.candidates)) != 3:
            raise RuntimeError(
                f'{found} boxes instead of 3: the localiser found no sounding region'
            )
        for name, value in (
            ('prepare', middle - start),
            ('finish', end - middle),
            ('both', end - start),
            ('processor', processor),
        ):
            self.times['ours'][name].append(value * 1e3)
        for stage, milliseconds in collision.timings_ms.items():
            self.times['host'][stage].append(milliseconds)

    def _naive_event(self, naive: PlainComposition, seed: int) -> None:
        clip = self._clip(seed)
        image = clip.frame.image
        start = time.perf_counter()
        naive(image, clip.audio, fixed_boxes(*image.shape[:2]))
        self.times['naive']['all'].append((time.perf_counter() - start) * 1e3)
        for step, milliseconds in naive.timings_ms.items():
            self.times['naive'][step].append(milliseconds)

    def _load_naive(self) -> PlainComposition | None:
        from cs3_ros.bench import naive

        self.naive_lacks = naive.missing(self.bundle)
        if self.naive_lacks:
            return None
        composition = naive.PlainComposition(self.bundle, self.device)
        clip = self._clip(0)  # warm up
        composition(clip.frame.image, clip.audio, fixed_boxes(*clip.frame.image.shape[:2]))
        return composition

    @contextmanager
    def _timed_alone(self, stage: str) -> Iterator[None]:
        self._wait()
        start = time.perf_counter()
        yield
        self._wait()
        self.times['alone'][stage].append((time.perf_counter() - start) * 1e3)

    def _wait(self) -> None:
        if self.device.type == 'cuda':
            import torch

            torch.cuda.synchronize(self.device)

    def _note_memory(self, when: str) -> None:
        """GiB at most so far: of the GPU, or of the process on the CPU."""
        if (used := gpu_memory_gib()) is not None:
            self.memory[when] = used[1]
        else:
            self.memory[when] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB

    def result(self) -> dict[str, Any]:
        """All figures, for JSON."""
        naive = self.times['naive']['all']
        p50 = {name: float(np.median(values)) for name, values in self.times['ours'].items()}
        return {
            'events': len(self.times['ours']['both']),
            'milliseconds': {
                kind: {name: _summary(values) for name, values in rows.items() if values}
                for kind, rows in self.times.items()
            },
            'operations': self.operations,
            'peak_memory_gib': self.memory,
            'naive_lacks': self.naive_lacks,
            'ratio': {
                'both': float(np.median(naive)) / p50['both'],
                'finish': float(np.median(naive)) / p50['finish'],
            }
            if naive
            else None,
        }


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {'p50': float(np.percentile(values, 50)), 'p95': float(np.percentile(values, 95))}


def _report(result: dict[str, Any]) -> None:
    """The tables in Markdown."""
    times = result['milliseconds']
    print(
        f'\n{result["bundle"]} ({result["networks"]}; masks by {result["masker"]}) on '
        f'{result["machine"]}, {result["precision"]}, {result["size"]}, '
        f'{result["audio_s"]:g} s of sound, 3 boxes, {result["events"]} events\n'
    )
    print('| ms | p50 | p95 |\n|---|---|---|')
    for kind, title in (('ours', ''), ('naive', 'plain composition: ')):
        for name, row in times[kind].items():
            print(f'| {title}{name} | {row["p50"]:.1f} | {row["p95"]:.1f} |')
    print('\n| stage | host p50 | host p95 | alone p50 | alone p95 | operations | kernels |')
    print('|---|---|---|---|---|---|---|')
    for stage, host in times['host'].items():
        alone = times['alone'].get(stage)
        counts = result['operations'].get(stage)
        cells = [f'{host["p50"]:.1f}', f'{host["p95"]:.1f}']
        cells += [f'{alone["p50"]:.1f}', f'{alone["p95"]:.1f}'] if alone else ['', '']
        cells += [f'{counts["operations"]}', f'{counts["kernels"]}'] if counts else ['', '']
        print(f'| {stage} | {" | ".join(cells)} |')
    memory = ', '.join(f'{when} {gib:.2f} GiB' for when, gib in result['peak_memory_gib'].items())
    print(f'\npeak memory: {memory}')
    if (ratio := result['ratio']) is not None:
        print(
            f'plain composition / ours, p50: {ratio["both"]:.1f} x (prepare and finish), '
            f'{ratio["finish"]:.1f} x (wait after the sound)'
        )
    else:
        print(f'no plain composition: {", ".join(result["naive_lacks"])}')
