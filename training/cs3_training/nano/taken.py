"""Stages that are taken from a finished bundle: ``weak`` then goes on from what it holds.

What a stage leaves is copied out of the bundle, and its figures are read from the bundle's card.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.bundles.weights import digest_of
from cs3_ros.networks.audio_visual import load_checkpoint
from cs3_training.localiser.train import CHECKPOINT
from cs3_training.nano.audio import FILE as BEATS_FILE
from cs3_training.nano.card import read_card
from cs3_training.nano.masks import FILE as SAM2_FILE

TAKEN = ('clip', 'clipseg', 'audio', 'hands', 'masks')
"""All stages before ``weak`` but the scenes."""


class Taken:
    """A bundle that this recipe made.

    Args:
        bundle: name of the bundle or path of its YAML.

    Attributes:
        facts: name, and SHA-256 and steps of the localiser that ``weak`` goes on from.
        card: stage -> steps, seconds and figures, of the bundle's card; ``scenes`` has the digests.

    Raises:
        ValueError: no such bundle, or none of this recipe.
        OSError: a file of it cannot be read.
    """

    def __init__(self, bundle: str) -> None:
        found = load_bundle(bundle)
        self.folder = found.folder
        card = self.folder / 'MODEL_CARD.md'
        if not card.is_file():
            raise ValueError(f'bundle {bundle!r}: no {card}; expected a bundle of cs3-train nano')
        self.card = read_card(card.read_text('utf-8'), str(card))
        self.facts = {
            'bundle': found.name,
            'sha256': digest_of(self.folder / CHECKPOINT),
            'steps': self.card['weak']['steps'],
        }

    def leave(self, stage: str, folder: Path) -> Mapping[str, Any]:
        """Put what ``stage`` would have left into its folder; its steps, seconds and figures."""
        folder.mkdir(parents=True, exist_ok=True)
        if stage in ('clipseg', 'hands'):
            for file in sorted((self.folder / stage).iterdir()):
                shutil.copyfile(file, folder / file.name)
        elif stage == 'masks':
            shutil.copyfile(self.folder / SAM2_FILE, folder / SAM2_FILE)
        elif stage == 'audio':
            shutil.copyfile(self.folder / CHECKPOINT, folder / CHECKPOINT)
            beats = load_checkpoint(folder / CHECKPOINT).beats
            if beats is None:
                raise ValueError(f'{self.folder / CHECKPOINT}: has no BEATs to go on from')
            state = {name: value.contiguous() for name, value in beats.state_dict().items()}
            save_file(state, folder / BEATS_FILE)
        return self.card[stage]
