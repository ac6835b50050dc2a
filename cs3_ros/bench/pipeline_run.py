"""One pipeline of ``cs3 bench pipeline`` on random events, and what came of it."""

from __future__ import annotations

import copy
import gc
import resource
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from cs3_ros.bench.events import FixedBoxes, fixed_boxes, random_event
from cs3_ros.bench.stage_watch import OperationCounter, watched
from cs3_ros.bundles.bundle import Bundle
from cs3_ros.collision import Collision, CollisionClip
from cs3_ros.files.progress import Bar
from cs3_ros.metrics import iou
from cs3_ros.pipeline import Pipeline, Prepared
from cs3_ros.runtime import GIB, RuntimeConfig, gpu_memory_gib
from cs3_ros.verification import ContactVerifier

if TYPE_CHECKING:
    import torch

    from cs3_ros.bench.naive import PlainComposition

EVENTS_ALONE = 10
"""Events of the pass that waits at every stage, at most."""
FRAMES_AROUND = 5
"""Frames before and after that of the event; the localiser ``motion`` looks 4 far."""


class PipelineRun:
    """What is measured, and what came out so far."""

    pipeline: Pipeline
    """From ``take`` to ``free``."""
    answer: Collision
    """To the first event."""

    def __init__(self, bundle: Bundle, device: torch.device, size: tuple[int, int]) -> None:
        self.bundle, self.device, self.size = bundle, device, size
        self.build_s, self._accelerated = 0.0, False
        self.pipelines: dict[str, Pipeline] = {}
        self.times: dict[str, defaultdict[str, list[float]]] = {
            kind: defaultdict(list) for kind in ('ours', 'contact', 'host', 'alone', 'naive')
        }
        self.operations: dict[str, dict[str, int]] = {}
        self.memory: dict[str, float] = {}
        self.naive_lacks = ['it was left out']

    def build(self, config: RuntimeConfig) -> None:
        """Load the stages; what is compiled and recorded is so afterwards."""
        start = time.perf_counter()
        pipeline = self.bundle.build(runtime=config)
        self.build_s = time.perf_counter() - start
        pipeline.hands = FixedBoxes(pipeline.hands)
        self._accelerated = config.accelerated
        self.take(pipeline)

    def take(self, pipeline: Pipeline) -> None:
        """Measure this one, and where its strategy is its own, contact beside it."""
        self.pipeline = pipeline
        self.pipelines = {'ours': pipeline}
        if not isinstance(pipeline.verifier, ContactVerifier):
            by_contact = copy.copy(pipeline)  # the same networks
            by_contact.verifier = ContactVerifier()
            self.pipelines['contact'] = by_contact

    def free(self) -> None:
        """Let go of the networks, so that the next ones find the memory that these found."""
        import torch

        del self.pipeline
        self.pipelines = {}
        torch.compiler.reset()
        if self.device.type == 'cuda':
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def profile(self) -> dict[str, Any]:
        """Launches and waits of both halves of one event."""
        from cs3_ros.bench.launches import count_launches

        clip = self._clip(0)
        states: list[Prepared] = []
        return {
            'prepare': count_launches(
                lambda: states.append(self.pipeline.prepare(clip.frames, clip.event_index)),
                self.device,
            ),
            'finish': count_launches(lambda: self.pipeline.finish(states[0], clip), self.device),
        }

    def measure(self, events: int, with_naive: bool) -> None:
        self._event(0)
        self.answer = self.pipeline(self._clip(0))
        if not self._accelerated:  # operations cannot be seen within a graph
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
        kinds = list(self.pipelines)
        for kind in kinds[:: 1 if seed % 2 else -1]:  # by turns the first one
            self._pass(kind, self.pipelines[kind], self._clip(seed))

    def _pass(self, kind: str, pipeline: Pipeline, clip: CollisionClip) -> None:
        self._wait()
        processor = time.process_time()
        start = time.perf_counter()
        prepared = pipeline.prepare(clip.frames, clip.event_index)
        self._wait()
        middle = time.perf_counter()
        collision = pipeline.finish(prepared, clip)
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
            self.times[kind][name].append(value * 1e3)
        if kind == 'ours':
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

    def result(self, reference: PipelineRun) -> dict[str, Any]:
        """All figures, for JSON, beside those of the run that comes first."""
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
            'build_s': self.build_s,
            'not_accelerated': self.pipeline.counts['not_accelerated'],
            'speedup': {
                name: float(np.median(reference.times['ours'][name])) / p50[name] for name in p50
            },
            'agreement': _agreement(self.answer, reference.answer),
            'naive_lacks': self.naive_lacks,
            'ratio': {
                'both': float(np.median(naive)) / p50['both'],
                'finish': float(np.median(naive)) / p50['finish'],
            }
            if naive
            else None,
        }


def _agreement(one: Collision, other: Collision) -> dict[str, float]:
    """How alike two answers to the same event are."""
    pairs = zip(one.candidates, other.candidates, strict=True)
    heat, before = one.heat_map, other.heat_map
    return {
        'least_mask_iou': min((iou(a.mask, b.mask) for a, b in pairs), default=1.0),
        'greatest_heat_difference': 0.0
        if heat is None or before is None
        else float(np.abs(heat - before).max()),
    }


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {'p50': float(np.percentile(values, 50)), 'p95': float(np.percentile(values, 95))}
