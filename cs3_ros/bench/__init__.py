"""Benchmarks behind ``cs3 bench``; each module has ``add_arguments`` and ``main``."""

from pathlib import Path

REAL_CLIPS = Path('../shared/data/real_clips')
"""Real clips beside a developer's checkout; a user's machine has none."""
