"""Tables of Clink! Chop! Thud! on the synthetic world: what a network detects and discovers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from cs3_ros.networks.sounding import SoundingObjects
from cs3_training.evaluation.intervals import summarise
from cs3_training.evaluation.sounding import Discovery, discovery
from cs3_training.sounding.validation import DetectionScore, fit_of_held
from cs3_training.synth.store import Scenes


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    top_1: float
    """Sounding object detection, percent of the scenes whose action sounds."""
    ci: tuple[float, float]
    """95 % bootstrap interval of it."""
    discovery: Discovery | None = None
    """Sounding action discovery; None where all actions are of one kind, or nothing is heard."""


def without_ears(network: SoundingObjects, scenes: Scenes) -> dict[str, Row]:
    """Any candidate, and the largest one.

    Args:
        network: whose window of the picture is taken.
        scenes: with their truth.
    """
    some, largest = DetectionScore(scenes, len(scenes)).chance(network)
    return {'random': _row(some), 'largest mask': _row(largest)}


def evaluate(
    network: SoundingObjects, scenes: Scenes, name: str, exclude_background: bool = False
) -> dict[str, Row]:
    """A network, and the same one that hears the sound of the next scene.

    Args:
        network: on the device where it is.
        scenes: with their truth.
        name: of its row.
        exclude_background: as ``DetectionScore``.

    Raises:
        ValueError: no action of the scenes makes a sound.
    """
    network = network.eval()
    count, found = len(scenes), None
    if scenes.sounding.any() and not scenes.sounding.all():
        found = discovery(fit_of_held(network, scenes, count), scenes.sounding)
    own = DetectionScore(scenes, count, exclude_background=exclude_background).hits(network)
    other = DetectionScore(scenes, count, True, exclude_background).hits(network)
    return {name: _row(own, found), f'{name}, shuffled': _row(other)}


def as_text(rows: Mapping[str, Row]) -> str:
    """The table for a terminal."""
    wide = max(map(len, rows))
    lines = [f'{"":{wide}}  top-1 %   95 % interval   ROC AUC   PR AUC']
    for name, row in rows.items():
        text = f'{name:{wide}}  {row.top_1:7.2f}   {row.ci[0]:5.2f} to {row.ci[1]:5.2f}'
        if row.discovery is not None:
            text += f'   {row.discovery.roc:7.3f}   {row.discovery.precision_recall:6.3f}'
        lines.append(text)
    return '\n'.join(lines)


def _row(hits: NDArray[Any], found: Discovery | None = None) -> Row:
    if not len(hits):
        raise ValueError('no action of these scenes makes a sound: expected at least one')
    summary = summarise(hits.astype(float))
    return Row(summary.miou, summary.ci, found)
