"""Benchmarks behind ``cs3 bench``, one file each, those of the node too; ``command.py`` runs them.

The other files serve them and the tests: synthetic sounds, stages that need no model, a plain
composition of the public packages to compare with.
"""

from pathlib import Path

REAL_CLIPS = Path('../shared/data/real_clips')
"""Real clips beside a developer's checkout; a user's machine has none."""
