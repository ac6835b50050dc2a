"""Lets the modules of the folders below import the fakes that lie here, and the miniature data
sets of ``data``, by name."""

import sys
from pathlib import Path

for folder in ('data', '.'):
    sys.path.insert(0, str(Path(__file__).parent / folder))
