"""Candidates with their answers: scenes are mixed, and the detector of the package finds peaks.

A shard holds the candidates of one scene. It depends on its number and the settings alone, so a
folder that was begun can be gone on with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.files.atomic import replacing
from cs3_ros.trigger.gate_features import Features, features
from cs3_ros.trigger.onset import OnsetConfig, OnsetDetector
from cs3_training.ear.speech import Recordings, spoken
from cs3_training.ear.strikes import Struck, strike
from cs3_training.ear.surroundings import (
    KINDS,
    in_a_room,
    loudest,
    surrounding,
    through_a_microphone,
)
from cs3_training.synth.impact import Samples

RATES = (8000, 11025, 16000, 16000, 22050, 24000, 32000, 44100, 48000, 48000)
SECONDS = 20.0
NEAR_S = (-0.015, 0.025)
"""A candidate this near the peak of an impact is one."""
DROWNED_DB = -3.0
"""An impact with less power than this over that of the rest, differences of samples, is drowned."""
UNCLEAR_S = (-0.08, 0.3)
"""Any other candidate this near is left out: echo, or something that is masked."""


FEATURES = ('core', 'context', 'voice', 'envelope')
"""Names of what the gate sees."""
NAMES = (*FEATURES, 'impact', 'talk')
"""Names of what is kept of a candidate."""


@dataclass(frozen=True)
class Sources:
    """Recordings beside what is computed."""

    speech: Recordings | None = None
    """People who speak."""
    struck: Struck | None = None
    """Things that are struck."""

    @classmethod
    def of(cls, speech: Sequence[Path], struck: Sequence[Path]) -> Sources:
        """From folders; may be none.

        Raises:
            ValueError: a folder has no recordings.
        """
        return cls(
            Recordings(speech) if speech else None,
            Struck(struck) if struck else None,
        )


@dataclass(frozen=True, eq=False)
class Scene:
    """A sound with the places of its impacts."""

    sound: Samples
    """float32 [N]."""
    rate: int
    """Samples per second."""
    peaks_s: NDArray[np.float64]
    """Peaks of the impacts, seconds, rising."""
    clear: NDArray[np.bool_]
    """Which of them are not drowned by what else is heard."""
    talk: bool
    """Somebody speaks."""


def make_scene(rng: np.random.Generator, sources: Sources) -> Scene:
    """A random scene."""
    rate = RATES[rng.integers(len(RATES))]
    count = int(SECONDS * rate)
    talk = bool(rng.random() < 0.6)
    ground = _talk(rate, rng, sources.speech) if talk else np.zeros(count, np.float32)
    if not talk or rng.random() < 0.3:
        other = surrounding(KINDS[rng.integers(len(KINDS))], count, rate, rng)
        share = 10 ** rng.uniform(-2, -0.3) * (loudest(ground, rate) if talk else 1.0)
        ground = ground + other * np.float32(share / loudest(other, rate))
    hits = np.zeros(count, np.float32)
    peaks: list[float] = []
    if not talk or rng.random() < 0.6:
        gap_s, at = rng.uniform(0.4, 1.6), rng.uniform(0.1, 1)
        level = loudest(ground, rate)
        spread = 0.9 if talk else 1.5  # decades from the quietest to the loudest
        while at < SECONDS - 0.2:
            sound, places = strike(rate, rng, sources.struck)
            start = int(at * rate)
            loud = level * 10 ** rng.uniform(-0.5, spread - 0.5)
            room = min(sound.size, count - start)
            hits[start : start + room] += sound[:room] * np.float32(loud)
            peaks += [(start + place) / rate for place in places if start + place < count]
            at += gap_s * rng.uniform(0.5, 2)
    if rng.random() < 0.5:
        ground, hits = in_a_room([ground, hits], rate, rng)
    peaks_s = np.sort(np.array(peaks))
    clear = np.array([_stands_out(hits, ground, int(at_s * rate), rate) for at_s in peaks_s], bool)
    return Scene(through_a_microphone(ground + hits, rate, rng), rate, peaks_s, clear, talk)


def _stands_out(hits: Samples, ground: Samples, at: int, rate: int) -> bool:
    """Whether an impact is heard at all beside the rest."""
    begin, end = max(0, at - rate // 200), at + rate // 50
    powers = [float(np.sum(np.diff(one[begin:end]) ** 2)) for one in (hits, ground)]
    return powers[0] > powers[1] * 10 ** (DROWNED_DB / 10)


def _talk(rate: int, rng: np.random.Generator, recordings: Recordings | None) -> Samples:
    """One voice, or several of different loudness."""

    def voice() -> Samples:
        if recordings is not None and rng.random() < 0.75:
            return recordings.spoken(SECONDS, rate, rng)
        return spoken(SECONDS, rate, rng)

    sound = voice()
    if rng.random() < 0.15:
        for _ in range(rng.integers(1, 4)):
            sound = sound + voice() * np.float32(rng.uniform(0.2, 1))
    return sound


def candidates(
    sound: Samples, rate: int, config: OnsetConfig = OnsetConfig(gate=1.0)
) -> tuple[NDArray[np.float64], list[Features]]:
    """Peaks that the detector would ask the gate about, in seconds, and what the gate would see."""
    seen: list[Features] = []

    def remember(cut: Samples, cut_rate: int) -> float:
        seen.append(features(cut, cut_rate))
        return 0.0

    detector = OnsetDetector(rate, config, remember)
    detector.push(sound)
    detector.flush()
    return np.array([peak.sample / rate for peak in detector.turned_away()]), seen


def label(times_s: NDArray[np.float64], scene: Scene) -> NDArray[np.int8]:
    """1 for impacts, 0 for anything else, -1 where that is not clear; [N]."""
    answers = np.zeros(times_s.size, np.int8)
    for index, time_s in enumerate(times_s):
        since = time_s - scene.peaks_s
        if np.any((since >= UNCLEAR_S[0]) & (since <= UNCLEAR_S[1])):
            answers[index] = -1
        if np.any((since >= NEAR_S[0]) & (since <= NEAR_S[1]) & scene.clear):
            answers[index] = 1
    return answers


@dataclass(frozen=True, eq=False)
class Examples:
    """Candidates of one or more scenes."""

    core: NDArray[np.float16]
    """[N, BANDS, CORE], as in ``Features``."""
    context: NDArray[np.float16]
    """[N, BANDS, CONTEXT]."""
    voice: NDArray[np.float16]
    """[N, 2, VOICE]."""
    envelope: NDArray[np.float16]
    """[N, 2, ENVELOPE]."""
    impact: NDArray[np.int8]
    """1 for an impact, else 0; [N]."""
    talk: NDArray[np.int8]
    """1 where somebody speaks in the scene; [N]."""


def make_examples(seed: int, number: int, sources: Sources) -> Examples:
    """The candidates of a scene, those that are not clear left out."""
    rng = np.random.default_rng([seed, number, 83])
    scene = make_scene(rng, sources)
    least = (0.9, 0.9, 0.6) if scene.talk else (0.9, 0.6, 0.45)  # of steady noise, chance jumps
    config = OnsetConfig(gate=1.0, threshold_db=float(rng.choice(least)))
    times_s, seen = candidates(scene.sound, scene.rate, config)
    answers = label(times_s, scene)
    kept = [index for index in range(len(seen)) if answers[index] >= 0]
    parts: dict[str, Any] = {
        name: np.array([getattr(seen[index], name) for index in kept], np.float16)
        for name in FEATURES
    }
    talk = np.full(len(kept), scene.talk, np.int8)
    return Examples(**parts, impact=answers[kept], talk=talk)


def write_shard(folder: Path, seed: int, sources: Sources, number: int) -> Path:
    """Make the candidates of a scene, or leave them where they lie already."""
    path = folder / f'{number:05d}.npz'
    if not path.is_file():
        made = make_examples(seed, number, sources)
        with replacing(path) as part, part.open('wb') as file:
            np.savez(file, **{name: getattr(made, name) for name in NAMES})
    return path


def read_shards(paths: Sequence[Path]) -> Examples:
    """All candidates of some shards."""
    rows: dict[str, list[Any]] = {name: [] for name in NAMES}
    for path in paths:
        with np.load(path) as shard:
            if shard['impact'].size:
                for name in NAMES:
                    rows[name].append(shard[name])
    return Examples(**{name: np.concatenate(rows[name]) for name in NAMES})
