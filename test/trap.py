"""What a hostile file of weights holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Trap:
    """Whoever unpickles it makes a file."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sprung,)
