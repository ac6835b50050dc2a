"""Ear benchmark: does the gate behind the onset detector turn away speech, and nothing else?

``cs3 bench ear --speech DIR ... --json FILE`` prints the false onsets per minute in speech alone,
and recall and false onsets of impacts in quiet, noise, tones and speech at four levels, each
without and with the gate. A level is the peak of an impact over that of the loudest 2 % of the
background; in quiet, over full scale. Impacts are those of ``cs3 bench onset``, with
``--impacts`` recordings, one in each file. Speech is that of folders of recordings, and of
espeak-ng where it is installed.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import time
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.bench.onset import Counts, compare, detect, pooled
from cs3_ros.bench.sounds import impact, pink_noise, tones
from cs3_ros.files.jsonfile import add_json, prepare_json, write_json
from cs3_ros.files.progress import Bar
from cs3_ros.files.recordings import list_recordings, read_recording
from cs3_ros.trigger.gate import shipped_gate
from cs3_ros.trigger.gate_features import span
from cs3_ros.trigger.onset import OnsetConfig

Samples = NDArray[np.float32]

LEVELS = (2.0, 1.0, 0.5, 0.25)
QUIET_LEVELS = (0.5, 0.1, 0.03, 0.01)
QUIET_DBFS = -75.0
RATE = 16000
"""Of what is computed here; recordings keep their own."""
PAUSE_S = (0.05, 0.5)
GAP_S = (0.5, 1.5)
"""Between impacts."""
VOICES = ('en-us', 'de', 'fr-fr', 'es', 'it', 'ru', 'cmn', 'tr')
TEXT = (
    'The big black dog took a piece of bread from the table, and put the cup back. '
    'Peter, could you please bring ten more plates? 42 17 305 1996. '
)

Speech = Callable[[np.random.Generator, float], tuple[Samples, int]]
"""Draws so many seconds of speech and tells their rate."""


@dataclass(frozen=True)
class Row:
    """One background at one level."""

    background: str
    """Its name."""
    level: float | None
    """Peak of the impacts over that of the background; None without impacts."""
    seconds: float
    """Length of all scenes."""
    without: Counts
    """Onsets of the detector alone."""
    gated: Counts
    """Onsets with the gate."""

    def figures(self) -> dict[str, Any]:
        """All that is printed."""
        values: dict[str, Any] = {'background': self.background, 'level': self.level}
        for name, counts in (('without', self.without), ('gated', self.gated)):
            false = counts.found - counts.hits
            values[name] = {
                'recall': round(counts.recall, 4) if counts.truth else None,
                'false_per_minute': round(60 * false / self.seconds, 2),
            }
        return values


def recorded(folder: Path) -> Speech:
    """Recordings of a folder in random order, with short pauses.

    Raises:
        ValueError: there are none.
    """
    files = list_recordings(folder)

    def draw(rng: np.random.Generator, seconds: float) -> tuple[Samples, int]:
        parts: list[Samples] = []
        rate, count = 0, 0
        for index in rng.permutation(len(files)).tolist():
            try:
                sound, own_rate = read_recording(files[index])
            except ValueError:
                continue
            if rate and own_rate != rate:  # rather one rate than a resampler's traces
                continue
            rate = own_rate
            parts += [sound, np.zeros(int(rng.uniform(*PAUSE_S) * rate), np.float32)]
            count += sum(part.size for part in parts[-2:])
            if count > seconds * rate:
                break
        if not parts:
            raise ValueError(f'{folder}: none of its recordings can be read')
        return np.concatenate(parts)[: round(seconds * rate)], rate

    return draw


def synthetic(rng: np.random.Generator, seconds: float) -> tuple[Samples, int]:
    """espeak-ng in several languages."""
    parts: list[Samples] = []
    rate, count = 22050, 0
    while count < seconds * rate:
        command = ['espeak-ng', '-v', str(rng.choice(VOICES)), '-s', str(rng.integers(130, 200))]
        command += ['-p', str(rng.integers(20, 80)), '--stdout', TEXT]
        answer = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
        with wave.open(io.BytesIO(answer)) as speech:
            data = speech.readframes(min(speech.getnframes(), 60 * rate))
        parts.append(np.frombuffer(data, '<i2').astype(np.float32) / 32768)
        count += parts[-1].size
    return np.concatenate(parts)[: round(seconds * rate)], rate


def struck(folder: Path) -> Callable[[np.random.Generator, int], NDArray[np.float64]]:
    """Recordings of single impacts, each from shortly before its peak, at any rate, peak 1.

    Raises:
        ValueError: there are none.
    """
    sounds = [read_recording(path) for path in list_recordings(folder)]

    def draw(rng: np.random.Generator, rate: int) -> NDArray[np.float64]:
        sound, own_rate = sounds[rng.integers(len(sounds))]
        length = min(sound.size / own_rate, 1.0)
        times = np.arange(int(length * rate)) / rate
        spectrum = np.fft.rfft(sound)
        # what a lower rate cannot hold goes first
        spectrum[np.fft.rfftfreq(sound.size, 1 / own_rate) > 0.47 * rate] = 0
        passed = np.fft.irfft(spectrum, sound.size)
        at_rate = np.interp(times, np.arange(sound.size) / own_rate, passed)
        hit: NDArray[np.float64] = at_rate / (np.abs(at_rate).max() + 1e-9)
        return hit

    return draw


def loudest(sound: Samples, rate: int) -> float:
    """Peak of the loudest 2 % of the stretches of 20 ms."""
    width = rate // 50
    peaks = np.abs(sound[: sound.size // width * width]).reshape(-1, width).max(1)
    return float(np.quantile(peaks, 0.98))


def with_impacts(
    ground: Samples,
    rate: int,
    peak: float,
    strike: Callable[[np.random.Generator, int], NDArray[np.float64]],
    rng: np.random.Generator,
) -> tuple[Samples, NDArray[np.float64]]:
    """A background with impacts of that peak, and the times of their peaks in seconds."""
    sound = ground.astype(np.float64)
    peaks: list[float] = []
    at = rng.uniform(1, 2)
    while at < sound.size / rate - 0.6:
        hit = strike(rng, rate)
        start = int(at * rate)
        hit = hit[: sound.size - start]
        sound[start : start + hit.size] += peak * hit
        peaks.append((start + int(np.abs(hit).argmax())) / rate)
        at += rng.uniform(*GAP_S)
    sound /= max(1.0, float(np.abs(sound).max()))
    return (np.round(sound * 32767) / 32768).astype(np.float32), np.array(peaks)


def backgrounds(speech: dict[str, Speech]) -> dict[str, Speech]:
    """What impacts are put into, by name; quiet is the first."""

    def of(make: Callable[..., NDArray[np.float64]], dbfs: float) -> Speech:
        def draw(rng: np.random.Generator, seconds: float) -> tuple[Samples, int]:
            sound = 10 ** (dbfs / 20) * make(rng, int(seconds * RATE), RATE)
            return sound.astype(np.float32), RATE

        return draw

    return {
        'quiet': of(pink_noise, QUIET_DBFS),
        'pink noise': of(pink_noise, -35.0),
        'tones': of(tones, -25.0),
        **speech,
    }


def run(
    speech: dict[str, Speech],
    config: OnsetConfig = OnsetConfig(),
    minutes: float = 3.0,
    seed: int = 23,
    strike: Callable[[np.random.Generator, int], NDArray[np.float64]] = impact,
    json_path: Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Measure, print the tables and return all figures.

    Args:
        speech: sources of speech by name.
        config: with the gate that is measured; without it, the same with ``gate`` 0.
        minutes: length of each background, for every level.
        seed: of everything random.
        strike: draws an impact at a rate, peak 1.
        json_path: where to write the figures, if anywhere.
        force: as ``prepare_json``.

    Raises:
        OSError: ``json_path`` cannot be written.
    """
    prepare_json(json_path, force)
    ungated = OnsetConfig(**{**vars(config), 'gate': 0.0})
    grounds = backgrounds(speech)
    rows: list[Row] = []
    steps: list[tuple[str, float | None]] = [(name, None) for name in speech]
    steps += [(n, lv) for n in grounds for lv in (QUIET_LEVELS if n == 'quiet' else LEVELS)]
    for number, (name, level) in enumerate(Bar(steps, desc='ear bench', unit='row')):
        counts: list[tuple[Counts, Counts]] = []
        length = 0.0
        while length < 60 * minutes - 1:
            rng = np.random.default_rng([seed, number, len(counts)])
            sound, rate = grounds[name](rng, min(60.0, 60 * minutes - length))
            peaks = np.zeros(0)
            if level is not None:
                top = 1.0 if name == 'quiet' else loudest(sound, rate)
                sound, peaks = with_impacts(sound, rate, level * top, strike, rng)
            counts.append(
                (
                    compare(detect(sound, rate, config=ungated), peaks),
                    compare(detect(sound, rate, config=config), peaks),
                )
            )
            length += max(sound.size / rate, 1.0)
        without, gated = (pooled(column) for column in zip(*counts, strict=True))
        rows.append(Row(name, level, length, without, gated))
    figures = {
        'gate': config.gate,
        'minutes': minutes,
        'seed': seed,
        'ms_per_candidate': round(_cost_ms(), 3),
        'rows': [row.figures() for row in rows],
    }
    _print(figures)
    write_json(json_path, figures)
    return figures


def _cost_ms(tries: int = 50) -> float:
    """Milliseconds that the gate takes for one candidate at 48 kHz, the median of some tries."""
    sound = np.random.default_rng(0).normal(0, 0.1, sum(span(48000))).astype(np.float32)
    times = []
    for _ in range(tries):
        begin = time.perf_counter()
        shipped_gate(sound, 48000)
        times.append(time.perf_counter() - begin)
    return 1000 * float(np.median(times))


def _print(figures: dict[str, Any]) -> None:
    print(f'\n| speech alone | false onsets a minute | with gate {figures["gate"]:g} |')
    print('|---|---|---|')
    alone = [row for row in figures['rows'] if row['level'] is None]
    for row in alone:
        false = [row[name]['false_per_minute'] for name in ('without', 'gated')]
        print(f'| {row["background"]} | {false[0]:.1f} | {false[1]:.1f} |')
    print('\n| impacts in | level | recall | with gate | false a minute | with gate |')
    print('|---|---|---|---|---|---|')
    for row in figures['rows']:
        if row['level'] is not None:
            recall = [row[name]['recall'] for name in ('without', 'gated')]
            false = [row[name]['false_per_minute'] for name in ('without', 'gated')]
            cells = [f'{value:.3f}' for value in recall] + [f'{value:.1f}' for value in false]
            print(f'| {row["background"]} | {row["level"]:g} | ' + ' | '.join(cells) + ' |')
    print(f'\nThe gate takes {figures["ms_per_candidate"]:.2f} ms per candidate at 48 kHz.')


def sources(folders: Sequence[Path]) -> dict[str, Speech]:
    """Folders of recordings by their name, and espeak-ng where it is installed.

    Raises:
        ValueError: a folder has no recordings, or there is no speech at all.
    """
    speech: dict[str, Speech] = {folder.name or str(folder): recorded(folder) for folder in folders}
    if shutil.which('espeak-ng'):
        speech['espeak-ng'] = synthetic
    if not speech:
        raise ValueError(
            'no speech: name a folder of recordings with --speech, or apt-get install espeak-ng'
        )
    return speech


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``cs3 bench ear``."""
    parser.add_argument(
        '--speech', type=Path, nargs='+', default=[], metavar='DIR', help='folders of recordings'
    )
    parser.add_argument('--impacts', type=Path, metavar='DIR', help='recordings of single impacts')
    parser.add_argument('--minutes', type=float, default=3.0, help='length of every background')
    parser.add_argument('--seed', type=int, default=23, help='of everything random')
    parser.add_argument(
        '--gate', type=float, default=OnsetConfig().gate, help='onset.gate (default: the default)'
    )
    add_json(parser, 'write the figures here')


def main(args: argparse.Namespace) -> int:
    """Run the benchmark with parsed options; returns the exit status."""
    run(
        sources(args.speech),
        OnsetConfig(gate=args.gate),
        args.minutes,
        args.seed,
        struck(args.impacts) if args.impacts else impact,
        args.json,
        args.force,
    )
    return 0
