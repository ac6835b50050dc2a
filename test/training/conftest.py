"""Lets the modules of the folders below import the fakes that lie here by name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
