"""From nothing to the weights of the gate: scenes, candidates, training, card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from cs3_ros.files.atomic import replacing
from cs3_ros.files.progress import Bar
from cs3_ros.files.recordings import list_recordings
from cs3_training.ear.card import card
from cs3_training.ear.examples import Examples, Sources, read_shards, write_shard
from cs3_training.ear.network import GateNetwork
from cs3_training.ear.speech import check_espeak
from cs3_training.ear.train import CHECKPOINT, EarConfig, GateTrainer, probabilities, rates

CARD = 'GATE_CARD.md'
"""What a run leaves for people."""
_JUDGES = 1_000_000
"""Added to the seed for the scenes that choose the weights."""


def make_gate(
    config: EarConfig,
    folder: Path,
    folders: Mapping[str, Sequence[Path]],
    workers: int,
) -> Path:
    """Run what is not yet done.

    Args:
        config: settings.
        folder: of the run.
        folders: ``speech`` and ``impacts`` to learn from, ``judges``: speech of the scenes that
            choose the weights; each may be empty.
        workers: processes that make scenes.

    Returns:
        The file of the weights.

    Raises:
        ValueError: a folder has no recordings, or the folder of the run belongs to another one.
        FileNotFoundError: espeak-ng is not installed.
    """
    check_espeak()
    about = {name: _digest(folders[name]) for name in ('speech', 'impacts', 'judges')}
    examples, judged = (
        _heard(folder / name, seed, count, Sources.of(folders[speech], folders['impacts']), workers)
        for name, speech, seed, count in (
            ('scenes', 'speech', config.seed, config.scenes),
            ('judges', 'judges', config.seed + _JUDGES, config.judges),
        )
    )
    torch.manual_seed(config.seed)
    trainer = GateTrainer(GateNetwork(config.drop), examples, judged, config, folder, about)
    trainer.run()
    best = GateNetwork()
    best.load_file(folder / CHECKPOINT)
    figures = rates(probabilities(best, judged), judged)
    with replacing(folder / CARD) as part:
        part.write_text(card(config, examples, judged, figures, folders), 'utf-8')
    return folder / CHECKPOINT


def _heard(folder: Path, seed: int, scenes: int, sources: Sources, workers: int) -> Examples:
    """The candidates of so many scenes; what lies in the folder is not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    if workers == 1:
        work = partial(write_shard, folder, seed, sources)
        return read_shards([work(number) for number in Bar(range(scenes), desc=folder.name)])
    with get_context('spawn').Pool(workers, _begin, (folder, seed, sources)) as pool:
        paths = list(Bar(pool.imap(_make, range(scenes)), desc=folder.name, total=scenes))
    return read_shards(paths)


_work: Callable[[int], Path]


def _begin(folder: Path, seed: int, sources: Sources) -> None:
    """In a process of its own: keep what does not change."""
    global _work
    _work = partial(write_shard, folder, seed, sources)


def _make(number: int) -> Path:
    return _work(number)


def _digest(folders: Sequence[Path]) -> str:
    """Of the names of all recordings; empty without any."""
    if not folders:
        return ''
    names = [[path.name for path in list_recordings(folder)] for folder in folders]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]
