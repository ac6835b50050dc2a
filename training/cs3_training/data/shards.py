"""WebDataset shards: plain tar files, a few files for each sample; the same data, the same bytes.

A sample ``00000012`` is ``00000012.json`` (what ``Segment`` says, with the times of what was cut),
``00000012.wav`` (mono, 16 kHz, 16 bits) and ``00000012.000.jpg``, ``00000012.001.jpg`` and so on.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import wave
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import Image
from cs3_ros.files.images import decode_compressed
from cs3_ros.files.jsonfile import load_json
from cs3_training.data.excerpts import RATE

BLOCK = 512
"""Bytes that a tar file is made of; each file in it has one more, its header."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A sample of a shard, decoded."""

    facts: Mapping[str, Any]
    """What its JSON file says: the fields of ``Segment``, ``sound_ns`` (media time of the first
    sample), ``pictures_ns`` (media times of the pictures) and ``missing_s`` (sound of the segment
    that the video lacks)."""
    sound: NDArray[np.float32]
    """[N] at 16 kHz in [-1, 1]."""
    pictures: tuple[Image, ...]
    """RGB uint8 [H, W, 3], at least one."""


def add_file(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file whose header depends on nothing but its name and its length."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    tar.addfile(info, io.BytesIO(data))


def as_wav(samples: NDArray[np.int16]) -> bytes:
    """Mono sound [N] at 16 kHz as the bytes of a WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, 'wb') as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype('<i2').tobytes())
    return buffer.getvalue()


def as_json(facts: Mapping[str, Any]) -> bytes:
    """The JSON file of a sample."""
    return json.dumps(facts, sort_keys=True).encode()


def facts_of(sample: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the JSON file of a sample says, which ``webdataset`` read as ending -> bytes.

    Raises:
        ValueError: the file is missing or damaged; so do the others.
    """
    with _named(sample):
        facts: Mapping[str, Any] = load_json(sample['json'].decode())
        return facts


def sound_of(sample: Mapping[str, Any]) -> NDArray[np.int16]:
    """Its sound [N] at 16 kHz; as ``facts_of``."""
    with _named(sample), wave.open(io.BytesIO(sample['wav'])) as file:
        return np.frombuffer(file.readframes(file.getnframes()), '<i2')


def pictures_of(sample: Mapping[str, Any]) -> list[str]:
    """The endings of its pictures, in their order."""
    return sorted(key for key in sample if re.fullmatch(r'\d+\.jpg', key))


def decode(sample: Mapping[str, Any]) -> Sample:
    """All of a sample; as ``facts_of``."""
    with _named(sample):
        return Sample(
            facts_of(sample),
            sound_of(sample).astype(np.float32) / np.float32(1 << 15),
            tuple(decode_compressed('jpeg', sample[ending]) for ending in pictures_of(sample)),
        )


@contextmanager
def _named(sample: Mapping[str, Any]) -> Iterator[None]:
    """Tells the sample where something is wrong with it."""
    try:
        yield
    except (KeyError, EOFError, wave.Error, ValueError) as error:
        name = str(sample.get('__key__', 'sample'))
        if str(error).startswith(f'{name}: '):
            raise
        raise ValueError(
            f'{name}: no sample of cs3-train extract ({type(error).__name__}: {error})'
        ) from error


def samples(folder: Path) -> Iterator[Sample]:
    """All samples of a folder of shards, in their order, read by ``webdataset``.

    Raises:
        ModuleNotFoundError: it is not installed (extra ``train``).
        ValueError: there are no shards.
    """
    import webdataset

    paths = [str(path) for path in sorted(folder.glob('shard-*.tar')) if '.part.' not in path.name]
    if not paths:
        raise ValueError(f'{folder}: no shards there; make them with cs3-train extract')
    yield from map(decode, webdataset.WebDataset(paths, shardshuffle=False, empty_check=False))
