"""Lets test modules import their shared helpers by name; no test depends on the clock."""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))
settings.register_profile('cs3', deadline=None)
settings.load_profile('cs3')
