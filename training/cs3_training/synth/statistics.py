"""How hard the world is: measured properties of scenes against what is asked for."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from cs3_ros.metrics import auc, centred_square, sample_score
from cs3_training.synth.config import WorldConfig
from cs3_training.synth.scene import Scene
from cs3_training.synth.vocabulary import MATERIALS
from cs3_training.synth.world import make_scene

_SEEN = 100  # pixels of 352 x 352 from which a distractor counts
_HIDDEN = 150  # pixels of 352 x 352 below which a hand counts as hidden


@dataclass(frozen=True)
class SceneFacts:
    """What is counted of one scene."""

    centre: float
    """Score of the centred square."""
    areas: tuple[float, ...]
    """Visible share of the image of each colliding object."""
    pair: bool
    in_hand: bool
    """A hand holds a colliding object."""
    no_hand: bool
    """A colliding object is in no hand, or its hand is hidden."""
    distractors: int
    """Visible objects that do not collide."""
    same_material: bool
    """One of those is of a colliding material."""
    contact: tuple[float, float]
    """Share of width and height."""
    materials: tuple[str, ...]
    """Of the colliding objects."""


def measure(scene: Scene) -> SceneFacts:
    """Count one scene."""
    height, width = scene.instance_map.shape
    unit = height * width / 352**2
    colliding = scene.colliding
    hands = {hand.side: np.count_nonzero(hand.mask) for hand in scene.hands}
    others = [i for i in scene.instances if not i.colliding and i.area >= _SEEN * unit]
    materials = tuple(i.material for i in colliding)
    return SceneFacts(
        centre=sample_score(list(scene.masks), [centred_square(height, width)]),
        areas=tuple(i.area / (height * width) for i in colliding),
        pair=len(colliding) == 2,
        in_hand=any(i.hand for i in colliding),
        no_hand=any(not i.hand or hands[i.hand] < _HIDDEN * unit for i in colliding),
        distractors=len(others),
        same_material=any(other.material in materials for other in others),
        contact=(scene.contact[0] / width, scene.contact[1] / height),
        materials=materials,
    )


def _measure_seed(config: WorldConfig, seed: int) -> SceneFacts:
    return measure(make_scene(config, seed))


def measure_all(config: WorldConfig, seeds: range, workers: int = 1) -> Iterator[SceneFacts]:
    """Count scenes, in the order of their seeds.

    Args:
        config: settings of the world.
        seeds: which scenes.
        workers: processes to use; 1 works in this one.
    """
    work = partial(_measure_seed, config)
    if workers == 1:
        yield from map(work, seeds)
        return
    with multiprocessing.get_context('spawn').Pool(workers) as pool:
        yield from pool.imap(work, seeds, chunksize=8)


@dataclass(frozen=True)
class StatisticsRow:
    """One line of the table."""

    name: str
    value: float
    low: float
    """Smallest value asked for."""
    high: float
    """Largest value asked for."""

    @property
    def good(self) -> bool:
        """The value is within its bounds."""
        return self.low <= self.value <= self.high


def difficulty(facts: list[SceneFacts]) -> list[StatisticsRow]:
    """The properties that make the test set as hard as it has to be, and their bounds."""
    inf = float('inf')
    percent = 100 / len(facts)
    return [
        StatisticsRow('Centre mIoU, %', percent * sum(f.centre for f in facts), 5, 8),
        StatisticsRow(
            'median object area, %',
            100 * float(np.median([a for f in facts for a in f.areas])),
            0,
            10,
        ),
        StatisticsRow('pairs, %', percent * sum(f.pair for f in facts), 75, 79),
        StatisticsRow('in hand, %', percent * sum(f.in_hand for f in facts), 78, 82),
        StatisticsRow('fewest distractors', min(f.distractors for f in facts), 3, inf),
        StatisticsRow(
            'with a distractor of a colliding material, %',
            percent * sum(f.same_material for f in facts),
            40,
            inf,
        ),
        StatisticsRow(
            'a colliding object without hand or its hand hidden, %',
            percent * sum(f.no_hand for f in facts),
            10,
            inf,
        ),
    ]


def further(facts: list[SceneFacts]) -> dict[str, float]:
    """Other figures worth knowing, without bounds."""
    areas = np.array([a for f in facts for a in f.areas])
    places = np.array([f.contact for f in facts])
    figures = {
        'Centre AUC, %': 100 * auc([f.centre for f in facts]),
        'smallest object area, %': 100 * float(areas.min()),
        'object area, 5 %': 100 * float(np.quantile(areas, 0.05)),
        'object area, 95 %': 100 * float(np.quantile(areas, 0.95)),
        'distractors, mean': float(np.mean([f.distractors for f in facts])),
        'contact x, deviation': float(places[:, 0].std()),
        'contact y, deviation': float(places[:, 1].std()),
    }
    for material in MATERIALS:
        share = np.mean([material in f.materials for f in facts])
        figures[f'scenes with colliding {material}, %'] = 100 * float(share)
    return figures
