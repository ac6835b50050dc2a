"""Sound files as arrays: folders of recordings for benchmarks and training."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from cs3_ros.files.regular import check_regular, one_line

ENDINGS = ('.flac', '.gsm', '.mp3', '.ogg', '.opus', '.wav')
"""Names of files that are taken for recordings."""
CONTAINERS = ('flac', 'gsm', 'mp3', 'ogg', 'wav')
"""FFmpeg's names of their containers: none that opens other files."""
LONGEST_S = 600.0
"""What comes after this in a file is left out."""


def list_recordings(folder: Path) -> list[Path]:
    """The recordings below a folder, sorted.

    Raises:
        ValueError: there are none.
    """
    found = sorted(p for p in folder.rglob('*') if p.suffix.lower() in ENDINGS and p.is_file())
    if not found:
        raise ValueError(f'{folder}: expected a folder with recordings ({", ".join(ENDINGS)})')
    return found


def read_recording(path: Path) -> tuple[NDArray[np.float32], int]:
    """The sound of a file.

    Returns:
        Mono float32 [N] in [-1, 1], the mean of the channels, and its samples per second.

    Raises:
        ValueError: it cannot be read, or has no sound.
    """
    check_regular(path, 'a recording')
    parts, rate, count = [], 0, 0
    try:
        with av.open(
            str(path), container_options={'format_whitelist': ','.join(CONTAINERS)}
        ) as box:
            resampler = None
            for frame in box.decode(audio=0):
                rate = frame.sample_rate
                resampler = resampler or av.AudioResampler('fltp', 'mono', rate)
                for part in resampler.resample(frame):
                    parts.append(part.to_ndarray()[0])
                    count += parts[-1].size
                if count > LONGEST_S * rate:
                    break
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f'{path}: no recording that can be read: {one_line(error)}') from error
    if not count:
        raise ValueError(f'{path}: holds no sound')
    return np.concatenate(parts).astype(np.float32), rate
