"""Hands on the frames of a manifest, found beforehand: by a bundle's detector, or by Hands23."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from cs3_ros.bundles.bundle import Bundle, load_bundle
from cs3_ros.collision import HandObject
from cs3_ros.files.media import VideoFile
from cs3_ros.files.progress import Bar
from cs3_ros.files.regular import one_line
from cs3_ros.hands.boxes import MIN_OBJECT_AREA, clipped
from cs3_ros.hands.hands23_results import Hands23Hand, held, read_results
from cs3_ros.runtime import RuntimeConfig
from cs3_training.data.detections import Found
from cs3_training.data.manifest import read_manifest
from cs3_training.evaluation.manifest_samples import ManifestSamples

HAND, OBJECT, SECOND = 0.7, 0.5, 0.3
"""Thresholds of Hands23, the authors' own (method.md B1)."""


class Detector:
    """Looks at every frame of a manifest.

    Args:
        manifest: path of the manifest.
        bundle: whose detector looks.
        device: as ``RuntimeConfig.device``.

    Raises:
        ValueError: the bundle looks for no hands, or as ``Bundle.build``.
    """

    def __init__(self, manifest: Path, bundle: str, device: str = 'auto') -> None:
        alone = only_hands(load_bundle(bundle))
        pipeline = alone.build(runtime=RuntimeConfig(device=device))
        assert pipeline.hands is not None
        self._hands = pipeline.hands
        self._samples = ManifestSamples(manifest, alone.clip)
        self.left_out: list[str] = []

    def found(self) -> Iterator[tuple[str, Found]]:
        """Id and hands of each frame; ``left_out`` gets a line for each that cannot be read."""
        for frame in Bar(self._samples.frames, unit='frame', disable=None):
            try:
                pictures, index = self._samples.pictures(frame)
            except (ValueError, OSError) as error:
                self.left_out.append(f'{frame.id}: {one_line(error)}')
                continue
            yield frame.id, Found(self._hands.detect(pictures, index))


def only_hands(bundle: Bundle) -> Bundle:
    """A bundle of which nothing but the detector of hands has to be loaded.

    Raises:
        ValueError: it has none.
    """
    if 'hands' not in bundle.stages:
        raise ValueError(f'bundle {bundle.name!r} looks for no hands: name another one')
    hands: dict[str, Any] = dict(bundle.stages['hands'])
    named = [value for value in hands.values() if isinstance(value, str)]
    return replace(
        bundle,
        stages={'hands': hands, 'masker': {'type': 'grabcut'}},
        weights=tuple(
            weight
            for weight in bundle.weights
            if any(f'{weight.path}/'.startswith(f'{name}/') for name in named)
        ),
    )


def from_hands23(results: Path, manifest: Path) -> tuple[dict[str, Found], list[str]]:
    """What the demo of Hands23 found on ``ID.png`` or ``ID.jpg`` of each frame of a manifest.

    Args:
        results: its ``result.json``.
        manifest: whose frames were given to it, as ``cs3-train manifest pictures`` writes them.

    Returns:
        Id -> hands, with what the right hand's object is used on; and a line for each frame that
        is left out.

    Raises:
        ValueError: it is no such file.
    """
    by_stem = {Path(name).stem: hands for name, hands in read_results(results).items()}
    size_of = lru_cache(maxsize=2)(lambda path: VideoFile(path).size)
    found: dict[str, Found] = {}
    left_out = []
    for frame in read_manifest(manifest):
        if frame.id not in by_stem:
            left_out.append(f'{frame.id}: not in {results}')
            continue
        try:
            width, height = size_of(frame.video)
        except (ValueError, OSError) as error:
            left_out.append(f'{frame.id}: {one_line(error)}')
            continue
        found[frame.id] = of_hands23(by_stem[frame.id], (height, width))
    return found, left_out


def of_hands23(hands: Sequence[Hands23Hand], shape: tuple[int, int]) -> Found:
    """The hands that count, and the second object of the right one (method.md B2, B3).

    Args:
        hands: all of one picture.
        shape: its height and width.
    """
    chosen = held(hands, shape, HAND, OBJECT)
    right = next((hand for hand in chosen if hand.side == 'right' and hand.object_box), None)
    if right is None:
        return Found(chosen)
    # `held` keeps neither rows nor second objects: the row is the one that alone gives this hand
    rows = (hand for hand in hands if _same(held([hand], shape, HAND, OBJECT), right))
    row = next(rows)
    if row.second_box is None or (row.second_score or 0.0) < SECOND:
        return Found(chosen)
    return Found(chosen, clipped(row.second_box, shape, MIN_OBJECT_AREA))


def _same(alone: Sequence[HandObject], hand: HandObject) -> bool:
    def facts(one: HandObject) -> tuple[object, ...]:
        return one.side, one.score, one.hand_box, one.object_box

    return any(facts(one) == facts(hand) for one in alone)
