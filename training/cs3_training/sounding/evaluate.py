"""Tables of Clink! Chop! Thud! on the synthetic world: what networks detect and discover."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cs3_ros.files.progress import Bar
from cs3_ros.localisers.sounding import heat_map
from cs3_ros.networks.sounding import SoundingObjects, pool
from cs3_training.evaluation.intervals import Difference, compare, summarise
from cs3_training.evaluation.sounding import discovery, is_hit, roc_areas
from cs3_training.evaluation.tables import words_of
from cs3_training.sounding.data import SceneSet, object_patches
from cs3_training.sounding.frozen import Frozen
from cs3_training.sounding.losses import cosines
from cs3_training.sounding.mask_files import OBJECTS
from cs3_training.sounding.validation import Inputs, scene_candidates, scene_hits
from cs3_training.synth.store import Scenes

PAIRS = ('picture and sound', 'text and sound', 'picture and text')
"""Whose cosine may tell whether an action made the sound."""
Ids = Callable[[Sequence[str]], Tensor]
Ends = tuple[float, float]


@dataclass(frozen=True)
class Discovered:
    """Sounding action discovery by the cosines of one of ``PAIRS``."""

    roc: float
    """Area under ROC, in [0, 1]."""
    ci: Ends
    """95 % bootstrap interval of it."""
    precision_recall: float
    """Area under precision and recall, in [0, 1]."""


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    top_1: float
    """Sounding object detection, percent of the scenes whose action sounds."""
    ci: Ends
    """95 % bootstrap interval of it."""
    discovery: Mapping[str, Discovered] = field(default_factory=dict)
    """By pair; none where all actions are of one kind, or the sound is another scene's."""
    over: Mapping[str, Difference] = field(default_factory=dict)
    """How much better its top-1 is than that of other rows, on the same scenes."""
    roc_over: Mapping[str, Difference] = field(default_factory=dict)
    """The same of the area under ROC by picture and sound, in hundredths."""


@torch.no_grad()
def evaluate(
    networks: Mapping[str, SoundingObjects],
    scenes: Scenes,
    exclude_background: bool = False,
    frozen: Frozen | None = None,
    ids: Ids | None = None,
) -> dict[str, Row]:
    """Networks, the same ones that hear the sound of the next scene, and two without ears.

    Args:
        networks: by name, of the same vision tower; on one device.
        scenes: with their truth.
        exclude_background: as ``DetectionScore``.
        frozen: as ``Inputs``.
        ids: texts to token ids, where the networks have a text tower: what is done tells whether
            it sounds, too.

    Raises:
        ValueError: no action of the scenes makes a sound.
    """
    if not scenes.sounding.any():
        raise ValueError('no action of these scenes makes a sound: expected at least one')
    inputs, some = Inputs(scenes, frozen), next(iter(networks.values()))
    hits: dict[str, list[float]] = defaultdict(list)
    fits: dict[str, list[list[float]]] = defaultdict(list)
    for row in Bar(range(len(scenes)), 'scenes', disable=None):
        sample = SceneSet(scenes).sample(row, 1, OBJECTS, np.random.default_rng(row))
        held = object_patches(some, sample.masks, OBJECTS)[0]  # [O, N]
        heats: dict[str, Tensor] = {}
        for name, network in networks.items():
            patches, heard = inputs.patches(network, row), inputs.sound(network, row)
            other = inputs.sound(network, (row + 1) % len(scenes))
            for title, sound in ((name, heard), (_shuffled(name), other)):
                heats[title] = heat_map(patches, sound, network.vision.size)  # [S, S]
            seen = pool(patches, held.to(patches.device)).mean(0)  # [O, E] -> [E]
            pairs = [(seen, heard)]
            if ids is not None:
                said = network.embed_text(ids([sample.text]).to(patches.device))[0]  # [E]
                pairs += [(said, heard), (seen, said)]
            fits[name].append([float(cosines(a[None], b[None])) for a, b in pairs])
        if scenes.sounding[row]:
            found = scene_candidates(scenes, row, some.vision)
            hits['random'].append(found.positive.mean() if len(found.positive) else 0.0)
            hits['largest mask'].append(is_hit(found.masks.sum((1, 2)), found.positive))
            maps = torch.stack(list(heats.values()))  # [K, S, S]
            told = scene_hits(maps, found, exclude_background)
            for title, hit in zip(heats, told, strict=True):
                hits[title].append(hit)
    scores = {name: np.array(found).T for name, found in fits.items()}  # [pairs, N] each
    return _rows({name: np.array(found, float) for name, found in hits.items()}, scores, scenes)


def _shuffled(name: str) -> str:
    return f'{name}, shuffled'


def _rows(
    hits: Mapping[str, NDArray[np.float64]],
    fits: Mapping[str, NDArray[np.float64]],
    scenes: Scenes,
) -> dict[str, Row]:
    """All rows, and what each network is better by than those before it and without its sound."""
    sounding = scenes.sounding
    areas: dict[str, list[NDArray[np.float64]]] = {}
    if not sounding.all():
        areas = {name: [roc_areas(one, sounding) for one in fits[name]] for name in fits}
    over: dict[str, dict[str, Difference]] = {name: {} for name in hits}
    roc_over: dict[str, dict[str, Difference]] = {name: {} for name in hits}
    for name in fits:
        over[name][_shuffled(name)] = compare(hits[name], hits[_shuffled(name)])
    for earlier, name in combinations(fits, 2):
        over[name][earlier] = compare(hits[name], hits[earlier])
        if areas:
            roc_over[name][earlier] = _apart(areas[name][0], areas[earlier][0])
    rows = {}
    for name, values in hits.items():
        found = {}
        for pair, scores, drawn in zip(
            PAIRS, fits.get(name, ()), areas.get(name, ()), strict=False
        ):
            whole, (low, high) = discovery(scores, sounding), np.percentile(drawn, [2.5, 97.5])
            ends = (float(low), float(high))
            found[pair] = Discovered(whole.roc, ends, whole.precision_recall)
        summary = summarise(values)
        rows[name] = Row(summary.miou, summary.ci, found, over[name], roc_over[name])
    return rows


def _apart(areas: NDArray[np.float64], others: NDArray[np.float64]) -> Difference:
    """Of the areas of paired resamples, in hundredths."""
    gaps = 100 * (areas - others)
    low, high = np.percentile(gaps, [2.5, 97.5])
    return Difference(float(gaps.mean()), float(low), float(high))


def as_text(rows: Mapping[str, Row]) -> str:
    """The tables for a terminal."""
    wide = max(map(len, rows))
    lines = [f'{"":{wide}}  top-1 %   95 % interval']
    for name, row in rows.items():
        lines.append(f'{name:{wide}}  {row.top_1:7.2f}   {row.ci[0]:5.2f} to {row.ci[1]:5.2f}')
    for name, row in rows.items():
        for pair, one in row.discovery.items():
            ends = f'{one.ci[0]:.3f} to {one.ci[1]:.3f}'
            area = f'ROC AUC {one.roc:.3f} [{ends}], PR AUC {one.precision_recall:.3f}'
            lines.append(f'{name}, by {pair}: {area}')
    first = next((name for name, row in rows.items() if row.over), '')
    for name, row in rows.items():  # JSON has the other pairs, too
        for other, by in row.over.items():
            if other in (first, _shuffled(name)):
                lines.append(f'{name} less {other}: {words_of(by)} points')
        if first in row.roc_over:
            by = row.roc_over[first]
            lines.append(f'{name} less {first}: {words_of(by)} hundredths of ROC AUC')
    return '\n'.join(lines)
