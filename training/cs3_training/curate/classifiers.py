"""Which of the 24 collisions a sound is, or what else: by a trained head, else by CLAP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from cs3_ros.collision import AudioClip
from cs3_ros.localisers.vocabulary import read_vocabulary
from cs3_ros.networks.beats import beats_fbank
from cs3_ros.networks.clap import AudioTower, LogMel, embed_sounds, load_clap
from cs3_ros.networks.sound import waveform
from cs3_ros.runtime import Runtime
from cs3_training.curate.head import load_head
from cs3_training.data.excerpts import RATE

OTHERS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        'speech': ('a person is talking', 'people are having a conversation', 'a child speaks'),
        'music': ('music is playing', 'a song plays on the radio', 'a person is singing'),
        'water': ('water runs from a tap', 'water is poured', 'dishes are washed in water'),
        'rustle': ('a plastic bag rustles', 'clothes rustle'),
        'open / close': ('a cupboard door is opened', 'a fridge is opened', 'a drawer slides'),
        'footstep': ('footsteps on a floor', 'a person walks'),
        'wipe': ('a cloth wipes a table', 'a sponge scrubs a pan'),
        'cut / chop': ('vegetables are being sliced', 'a saw cuts wood'),
        'stir': ('food is stirred in a pot',),
        'slide object': ('a thing slides over a table',),
        'sizzling / boiling': ('food sizzles in a pan', 'water boils'),
        'appliance': ('a kettle hums', 'an extractor fan runs', 'a vacuum cleaner runs'),
        'beep': ('a machine beeps', 'a phone rings'),
        'click': ('a switch clicks', 'a button is pressed'),
        'spray': ('a spray bottle sprays',),
        'breath': ('a person breathes', 'a person coughs', 'a person chews'),
        'background': ('silence', 'quiet noise of a room', 'wind', 'traffic'),
    }
)
"""What is heard where nothing collides, in words for CLAP."""


class Classifier(Protocol):
    """Tells classes of sounds."""

    labels: tuple[str, ...]
    """Names of the classes; those that are in ``records.CLASSES`` are collisions."""

    def __call__(self, sounds: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities [B, C] of sounds [B, N] at 16 kHz."""


class HeadClassifier:
    """The head on BEATs that ``cs3-train curate head`` trains.

    Args:
        path: its checkpoint.
        runtime: what it runs on.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such checkpoint.
    """

    def __init__(self, path: Path, runtime: Runtime) -> None:
        model, self.labels = load_head(path)
        self._model, self._device = model.to(runtime.device), runtime.device

    @torch.inference_mode()
    def __call__(self, sounds: NDArray[np.float32]) -> NDArray[np.float32]:
        """As ``Classifier``."""
        logits = self._model(beats_fbank(torch.from_numpy(sounds).to(self._device)))  # [B, C]
        probabilities: NDArray[np.float32] = logits.float().softmax(1).cpu().numpy()
        return probabilities


class ClapClassifier:
    """Zero-shot: a class is the mean direction of its phrases, the probability CLAP's own softmax.

    The phrases of collisions are those of the zero-shot localiser.

    Args:
        folder: of CLAP.
        runtime: what it runs on.

    Raises:
        ValueError: it is no such folder.
    """

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        phrases: dict[str, list[str]] = {}
        for phrase in read_vocabulary():
            phrases.setdefault(f'{phrase.materials}-collision', []).append(phrase.sound)
        phrases |= {label: list(texts) for label, texts in OTHERS.items()}
        self.labels = tuple(phrases)
        clap = load_clap(folder)
        with torch.inference_mode():
            clap.model.to(runtime.device)
            means = [embed_sounds(clap, texts).mean(0) for texts in phrases.values()]  # C of [E]
            self._classes = F.normalize(torch.stack(means), dim=-1)  # [C, E]
        self._scale = float(clap.model.logit_scale_a.exp())
        self._mel = LogMel(clap.extractor, runtime.device)
        self._tower = runtime.module_to_device(AudioTower(clap.model))
        self._device = runtime.device

    @torch.inference_mode()
    def __call__(self, sounds: NDArray[np.float32]) -> NDArray[np.float32]:
        """As ``Classifier``."""
        mels = [self._mel(self._at_rate(sound)) for sound in sounds]  # B of [1, 1, T, M]
        heard = self._tower(torch.cat(mels))  # [B, 1, T, M] -> [B, E]
        logits = self._scale * (heard @ self._classes.T)  # [B, E] @ [E, C] -> [B, C]
        probabilities: NDArray[np.float32] = logits.softmax(1).cpu().numpy()
        return probabilities

    def _at_rate(self, sound: NDArray[np.float32]) -> torch.Tensor:
        clip = AudioClip(0, RATE, sound, np.ones(len(sound), bool))
        return waveform(clip, self._mel.rate, shortest=1).to(self._device)
