"""Onset benchmark: synthetic impacts in noise, hum and speech-like sound, beside librosa.

``cs3 bench onset --json FILE`` prints precision, recall and F1 at +-20 ms for every background and
signal-to-noise ratio, the speed of both detectors in the same run, and the false onsets in sound
without impacts. SNR is the RMS of the impact's first 20 ms over the RMS of the background.
Every figure pools several scenes, so that no single impact decides. librosa gets, per background,
the ``delta`` that maximises its mean F1; this package runs at its default settings throughout,
``--gate`` apart. Nothing here depends on how the detector works.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.bench.sounds import BACKGROUNDS, IMPACT_FREE, SoundScene, scene
from cs3_ros.files.jsonfile import add_json, prepare_json, write_json
from cs3_ros.files.progress import Bar
from cs3_ros.trigger.onset import OnsetConfig, OnsetDetector

SNRS_DB = (0, 5, 10, 15, 20, 25, 30)
TOLERANCE_S = 0.02
LIBROSA_DELTAS = tuple(np.round(np.geomspace(0.005, 0.7, 40), 4))


@dataclass(frozen=True)
class Counts:
    """Onsets found against onsets that are there."""

    hits: int
    found: int
    truth: int

    @property
    def precision(self) -> float:
        """Share of the found onsets that are true; 1 when none was found."""
        return self.hits / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        """Share of the true onsets that were found; 1 when there is none."""
        return self.hits / self.truth if self.truth else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.hits / max(self.found + self.truth, 1)


def pooled(counts: Iterable[Counts]) -> Counts:
    """The counts of several scenes together."""
    rows = [(item.hits, item.found, item.truth) for item in counts]
    return Counts(*(int(total) for total in np.sum(rows, axis=0)))


def compare(found_s: NDArray[Any], truth_s: NDArray[Any]) -> Counts:
    """Match found and true times one to one within +-20 ms; both [N] in seconds and rising."""
    hits = first = 0
    for moment in truth_s:
        while first < len(found_s) and found_s[first] < moment - TOLERANCE_S:
            first += 1
        if first < len(found_s) and found_s[first] <= moment + TOLERANCE_S:
            hits += 1
            first += 1
    return Counts(hits, len(found_s), len(truth_s))


def detect(
    samples: NDArray[np.float32],
    rate: int,
    chunk_s: float = 1.0,
    config: OnsetConfig = OnsetConfig(),
) -> NDArray[np.float64]:
    """Times in seconds of the onsets in ``samples`` [N], pushed in chunks of ``chunk_s``."""
    detector = OnsetDetector(rate, config)
    size = max(1, round(chunk_s * rate))
    onsets = []
    for begin in range(0, samples.size, size):
        onsets += detector.push(samples[begin : begin + size])
    onsets += detector.flush()
    return np.array([onset.sample / rate for onset in onsets])


def _librosa_strength(samples: NDArray[np.float32], rate: int) -> Any:
    import librosa

    return librosa.onset.onset_strength(y=samples, sr=rate, hop_length=round(0.005 * rate))


def _librosa_onsets(strength: Any, rate: int, delta: float) -> NDArray[np.float64]:
    import librosa

    hop = round(0.005 * rate)
    times: NDArray[np.float64] = librosa.onset.onset_detect(
        onset_envelope=strength, sr=rate, hop_length=hop, units='time', delta=delta
    )
    return times


def _speeds(
    sound: Sequence[NDArray[np.float32]], rate: int, config: OnsetConfig
) -> dict[str, float]:
    """Seconds of sound per second of CPU time of both detectors."""
    _librosa_strength(np.zeros(rate, np.float32), rate)  # compiles what librosa compiles lazily
    delta = float(LIBROSA_DELTAS[0])
    works: dict[str, Callable[[NDArray[np.float32]], Any]] = {
        'cs3, 1 s chunks': lambda samples: detect(samples, rate, config=config),
        'cs3, 20 ms chunks': lambda samples: detect(samples, rate, 0.02, config),
        'cs3, 10 ms chunks': lambda samples: detect(samples, rate, 0.01, config),
        'librosa, whole scenes': lambda samples: _librosa_onsets(
            _librosa_strength(samples, rate), rate, delta
        ),
    }
    length = sum(samples.size for samples in sound) / rate
    speeds = {}
    for name, work in works.items():
        begin = time.process_time()
        for samples in sound:
            work(samples)
        speeds[name] = length / (time.process_time() - begin)
    return speeds


def run(
    seconds: float = 60.0,
    seed: int = 11,
    rate: int = 48000,
    scenes: int = 3,
    snrs_db: Sequence[int] = SNRS_DB,
    config: OnsetConfig = OnsetConfig(),
    json_path: Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Measure both detectors, print the tables and return all figures.

    Args:
        seconds: length of every scene.
        seed: seed of the first scene; the others count up.
        rate: samples per second.
        scenes: number of scenes pooled for every figure.
        snrs_db: signal-to-noise ratios to try.
        config: of this package's detector.
        json_path: where to write the figures, if anywhere.
        force: as ``prepare_json``.

    Raises:
        ModuleNotFoundError: the bench extra (librosa) is not installed.
        OSError: ``json_path`` cannot be written.
    """
    prepare_json(json_path, force)
    seeds = range(seed, seed + scenes)
    cs3_counts: dict[str, list[Counts]] = {}
    librosa_counts: dict[str, list[Counts]] = {}
    deltas: dict[str, float] = {}
    timed: list[NDArray[np.float32]] = []
    total = len(BACKGROUNDS) * len(snrs_db) * scenes + len(IMPACT_FREE) * scenes
    bar = Bar(total=total, desc='onset bench', unit='scene')

    def measure(item: SoundScene) -> tuple[Counts, list[Counts]]:
        strength = _librosa_strength(item.samples, rate)
        tried = [
            compare(_librosa_onsets(strength, rate, delta), item.peaks_s)
            for delta in LIBROSA_DELTAS
        ]
        bar.update()
        return compare(detect(item.samples, rate, config=config), item.peaks_s), tried

    for number, background in enumerate(BACKGROUNDS):
        ours, theirs = [], []
        for snr_db in snrs_db:
            items = [
                scene(one * 10000 + number * 100 + snr_db, background, snr_db, seconds, rate)
                for one in seeds
            ]
            timed += [items[0].samples] if snr_db in snrs_db[::3] else []
            results = [measure(item) for item in items]
            ours.append(pooled(own for own, _ in results))
            theirs.append(
                [pooled(column) for column in zip(*(tried for _, tried in results), strict=True)]
            )
        by_delta = list(zip(*theirs, strict=True))
        best = int(np.argmax([_mean_f1(counts) for counts in by_delta]))
        cs3_counts[background], librosa_counts[background] = ours, list(by_delta[best])
        deltas[background] = float(LIBROSA_DELTAS[best])
    false_onsets: dict[str, list[int]] = {}
    for number, background in enumerate(IMPACT_FREE):
        false_onsets[background] = []
        for one in seeds:
            quiet = scene(one * 10000 + number * 100 + 99, background, None, 60, rate)
            false_onsets[background].append(len(detect(quiet.samples, rate, config=config)))
            bar.update()
    bar.close()
    figures: dict[str, Any] = {
        'rate': rate,
        'seconds_per_scene': seconds,
        'scenes': scenes,
        'seed': seed,
        'config': asdict(config),
        'snrs_db': list(snrs_db),
        'cs3': _as_figures(cs3_counts),
        'librosa': _as_figures(librosa_counts),
        'librosa_delta': deltas,
        'false_onsets_in_60_s': false_onsets,
        'times_real_time': _speeds(timed, rate, config),
    }
    _print(figures)
    write_json(json_path, figures)
    return figures


def _mean_f1(counts: Iterable[Counts]) -> float:
    return float(np.mean([item.f1 for item in counts]))


def _as_figures(counts: dict[str, list[Counts]]) -> dict[str, dict[str, list[float]]]:
    return {
        background: {
            name: [round(getattr(item, name), 4) for item in row]
            for name in ('precision', 'recall', 'f1')
        }
        for background, row in counts.items()
    }


def _print(figures: dict[str, Any]) -> None:
    """Write the figures as markdown tables."""
    for background in figures['cs3']:
        print(f'\n**{background}** (librosa delta {figures["librosa_delta"][background]:g})\n')
        print('| SNR dB | cs3 P | cs3 R | cs3 F1 | librosa P | librosa R | librosa F1 |')
        print('|---|---|---|---|---|---|---|')
        columns = [
            figures[name][background][measure]
            for name in ('cs3', 'librosa')
            for measure in ('precision', 'recall', 'f1')
        ]
        for row in zip(figures['snrs_db'], *columns, strict=True):
            print(f'| {row[0]} | ' + ' | '.join(f'{value:.3f}' for value in row[1:]) + ' |')
        means = [float(np.mean(column)) for column in columns]
        print('| mean | ' + ' | '.join(f'{value:.3f}' for value in means) + ' |')
    print('\n| sound without impacts | false onsets in each 60 s |\n|---|---|')
    for background, counts in figures['false_onsets_in_60_s'].items():
        print(f'| {background} | {", ".join(map(str, counts))} |')
    print('\n| speed, CPU time | x real time |\n|---|---|')
    for name, value in figures['times_real_time'].items():
        print(f'| {name} | {value:.0f} |')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``cs3 bench onset``."""
    parser.add_argument('--seconds', type=float, default=60.0, help='length of every scene')
    parser.add_argument('--seed', type=int, default=11, help='seed of the scenes')
    parser.add_argument('--rate', type=int, default=48000, help='samples per second')
    parser.add_argument('--scenes', type=int, default=3, help='scenes pooled for every figure')
    parser.add_argument(
        '--gate', type=float, default=OnsetConfig().gate, help='onset.gate (default: the default)'
    )
    add_json(parser, 'write the figures here')


def main(args: argparse.Namespace) -> int:
    """Run the benchmark with parsed options; returns the exit status."""
    config = OnsetConfig(gate=args.gate)
    run(
        args.seconds,
        args.seed,
        args.rate,
        args.scenes,
        config=config,
        json_path=args.json,
        force=args.force,
    )
    return 0
