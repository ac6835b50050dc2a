"""Sound in pieces: a detector must not care how it was cut."""

from collections.abc import Sequence

import numpy as np

from cs3_ros.trigger.onset import OnsetDetector


def in_chunks(
    detector: OnsetDetector, sound: np.ndarray, sizes: Sequence[int], gap: int, gap_at: int
) -> list:
    """What a detector finds in pieces of these sizes, then the rest, with a gap of samples."""
    onsets, position, skipped = [], 0, False
    for size in [*sizes, sound.size]:
        while size and position < sound.size:
            if position == gap_at and not skipped:
                detector.skip(gap)
                skipped = True
            stop = min(sound.size, position + size, sound.size if skipped else gap_at)
            onsets += detector.push(sound[position:stop])
            size -= stop - position
            position = stop
    return onsets + detector.flush()
