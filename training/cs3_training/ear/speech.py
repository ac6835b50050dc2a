"""Speech to learn from: espeak-ng in its voices and languages, and folders of recordings."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import wave
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from cs3_ros.files.recordings import list_recordings, read_recording
from cs3_training.synth.impact import Samples

PROGRAM = 'espeak-ng'
TIMEOUT_S = 60.0
_ONSETS = 'p t k b d g m n f s v z l r ch sh st tr kl pr th h w j sp bl ts'.split()
_VOWELS = 'a e i o u ai ou ea ie oa'.split()
_CODAS = ('', '', '', 'n', 't', 'k', 's', 'p', 'r', 'm', 'st', 'l')


def check_espeak() -> None:
    """Refuse to go on without espeak-ng.

    Raises:
        FileNotFoundError: it is not installed; says what brings it.
    """
    if shutil.which(PROGRAM) is None:
        raise FileNotFoundError(
            f'{PROGRAM} is not installed, which speaks what the ear learns from: '
            f'apt-get install {PROGRAM}'
        )


@cache
def voices() -> tuple[str, ...]:
    """Names of the languages that espeak-ng speaks."""
    return _listed('--voices')


@cache
def variants() -> tuple[str, ...]:
    """Names of the speakers that espeak-ng imitates."""
    return _listed('--voices=variant')


def _listed(option: str) -> tuple[str, ...]:
    check_espeak()
    table = subprocess.run(
        [PROGRAM, option], capture_output=True, text=True, check=True, timeout=TIMEOUT_S
    ).stdout
    files = [line.split()[-1] for line in table.splitlines()[1:] if line.strip()]
    names = [re.sub(r'^.*/', '', line.strip()) for line in files]
    return tuple(sorted({name for name in names if re.fullmatch(r'[\w-]+', name)}))


def spoken(seconds: float, rate: int, rng: np.random.Generator) -> Samples:
    """One voice of espeak-ng that speaks words without sense, float32 [N] at ``rate``."""
    voice = voices()[rng.integers(len(voices()))]
    if variants() and rng.random() < 0.85:
        voice += '+' + variants()[rng.integers(len(variants()))]
    options = ['-s', rng.integers(110, 260), '-p', rng.integers(5, 95), '-g', rng.integers(0, 12)]
    parts: list[Samples] = []
    count, own_rate = 0, 22050
    for _ in range(40):
        if count >= seconds * own_rate:
            break
        command = [PROGRAM, '-v', voice, *map(str, options), '--stdout', _text(rng)]
        answer = subprocess.run(command, capture_output=True, check=True, timeout=TIMEOUT_S).stdout
        with wave.open(io.BytesIO(answer)) as speech:
            own_rate = speech.getframerate()
            data = speech.readframes(min(speech.getnframes(), 60 * own_rate))
        parts.append(np.frombuffer(data, '<i2').astype(np.float32) / 32768)
        parts.append(np.zeros(int(rng.uniform(0.02, 0.6) * own_rate), np.float32))
        count += sum(part.size for part in parts[-2:])
    return fitted(np.concatenate(parts), own_rate, seconds, rate, rng)


def _text(rng: np.random.Generator) -> str:
    words = []
    for _ in range(rng.integers(6, 18)):
        if rng.random() < 0.12:  # every language has words of its own for these
            words.append(str(rng.integers(2000)))
            continue
        syllables = [
            _ONSETS[rng.integers(len(_ONSETS))]
            + _VOWELS[rng.integers(len(_VOWELS))]
            + _CODAS[rng.integers(len(_CODAS))]
            for _ in range(rng.integers(1, 4))
        ]
        words.append(''.join(syllables) + rng.choice(('', '', '', ',', '.', '?')))
    return ' '.join(words)


class Recordings:
    """Folders of recorded speech, one per speaker or language.

    Args:
        folders: each is drawn from as often as the others.

    Raises:
        ValueError: a folder has no recordings.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._files = [list_recordings(folder) for folder in folders]

    def __len__(self) -> int:
        """Number of folders."""
        return len(self._files)

    def spoken(self, seconds: float, rate: int, rng: np.random.Generator) -> Samples:
        """Recordings of one folder one after the other, float32 [N] at ``rate``."""
        files = self._files[rng.integers(len(self._files))]
        parts: list[Samples] = []
        total = 0.0
        pause = 10 ** rng.uniform(-1.5, 0.2)
        for _ in range(60):
            if total >= seconds:
                break
            try:
                sound, own_rate = read_recording(files[rng.integers(len(files))])
            except ValueError:  # packages have broken files, too: the others do
                continue
            sound = sound[: int(20 * own_rate)]
            sound = sound / (np.abs(sound).max() + np.float32(1e-6))
            part = resampled(sound * np.float32(rng.uniform(0.6, 1)), own_rate, rate)
            parts += [part, np.zeros(int(rng.uniform(0, pause) * rate), np.float32)]
            total += sum(one.size for one in parts[-2:]) / rate
        return fitted(np.concatenate([np.zeros(1, np.float32), *parts]), rate, seconds, rate, rng)


def resampled(sound: Samples, own_rate: int, rate: int) -> Samples:
    """The sound at another rate."""
    if own_rate == rate:
        return sound
    common = np.gcd(own_rate, rate)
    up, down = rate // common, own_rate // common
    if max(up, down) > 2000:  # odd rates: near enough
        own_rate = round(own_rate / 50) * 50
        common = np.gcd(own_rate, rate)
        up, down = rate // common, own_rate // common
    return resample_poly(sound, up, down).astype(np.float32)


def fitted(
    sound: Samples, own_rate: int, seconds: float, rate: int, rng: np.random.Generator
) -> Samples:
    """The sound at ``rate``, cut or repeated to exactly ``seconds``."""
    sound = resampled(sound, own_rate, rate)
    count = round(seconds * rate)
    if sound.size < count:
        return np.resize(sound, count)
    start = int(rng.integers(sound.size - count + 1))
    return sound[start : start + count]
