"""The progress bar of long work."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm


class Bar(tqdm):
    """tqdm's bar, which a signal may also end while it is made.

    tqdm closes what its constructor left half-made, and that ends in a traceback.
    """

    def __del__(self) -> None:
        if hasattr(self, 'start_t'):  # the last that the constructor sets
            super().__del__()


class QuietBar(Bar):
    """A bar without tqdm's thread, which would outlive it."""

    monitor_interval: Any = 0
