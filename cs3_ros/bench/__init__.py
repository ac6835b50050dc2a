"""Benchmarks behind ``cs3 bench``, and what they need.

``onset``, ``lite``, ``live`` and ``cs3_ros.ros.bench_node`` have ``add_arguments`` and ``main``;
``sounds`` and ``fake_stages`` serve them.
"""

from pathlib import Path

REAL_CLIPS = Path('../shared/data/real_clips')
"""Real clips beside a developer's checkout; a user's machine has none."""
