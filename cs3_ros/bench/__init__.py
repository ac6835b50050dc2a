"""Benchmarks behind ``cs3 bench``, and what they need.

``onset``, ``lite``, ``live``, ``pipeline``, ``precision`` and ``cs3_ros.bench.node`` have
``add_arguments`` and ``main``; the others serve them, and the tests: synthetic sounds, stages that
need no model, random weights in the official formats, a plain composition to compare with.
"""

from pathlib import Path

REAL_CLIPS = Path('../shared/data/real_clips')
"""Real clips beside a developer's checkout; a user's machine has none."""
