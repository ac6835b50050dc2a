"""The sounding region without training: CLAP names the collision, CLIPSeg looks for what it names.

The sound chooses words and the words choose a region, so nothing links how *this* bowl sounds to
how it looks; in return no weights of our own are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from cs3_ros.collision import AudioClip
from cs3_ros.config import require, setting
from cs3_ros.localisers.conditioned import ConditionedLocaliser
from cs3_ros.localisers.heat_map import HeatMapConfig
from cs3_ros.localisers.vocabulary import Phrase, read_vocabulary
from cs3_ros.networks.clap import CHUNK, AudioTower, LogMel, embed_sounds, load_clap, tokenize
from cs3_ros.networks.clipseg import ClipSeg, load_tokenizer
from cs3_ros.networks.sound import waveform
from cs3_ros.runtime import Runtime


@dataclass(frozen=True)
class ZeroShotConfig(HeatMapConfig):
    """Settings of ``ZeroShotLocaliser``."""

    clipseg: str = setting(
        '', 'Folder of CLIPSeg (CIDAS/clipseg-rd64-refined) as transformers saves it.', weights=True
    )
    clap: str = setting(
        '', 'Folder of CLAP (laion/clap-htsat-unfused) as transformers saves it.', weights=True
    )
    vocabulary: str = setting(
        '', 'YAML file of collision phrases; empty takes the one of the package.', weights=True
    )
    phrases: int = setting(
        3, 'Number of best phrases whose things are looked for.', minimum=1, maximum=1000
    )


class ZeroShotLocaliser(ConditionedLocaliser):
    """Localiser that looks for the things which the sound is most likely made by.

    The texts are embedded once, here, in float32; CLAP's text tower is not kept.

    Args:
        config: needs ``clipseg`` and ``clap``.
        runtime: what the networks run on.

    Raises:
        ValueError: weights or the vocabulary are not named, missing or broken.
    """

    def __init__(self, config: ZeroShotConfig, runtime: Runtime) -> None:
        require(config, 'clipseg', 'clap')
        phrases = read_vocabulary(config.vocabulary)
        clap, clipseg = load_clap(config.clap), ClipSeg.from_folder(config.clipseg)
        with torch.inference_mode():
            clap.model.to(runtime.device)
            clipseg.to(runtime.device)
            self._sounds = embed_sounds(clap, [phrase.sound for phrase in phrases])  # [V, E]
            self._things, self._lengths = embed_things(clipseg, config.clipseg, phrases)
        self._log_mel = LogMel(clap.extractor, runtime.device)
        self._scale = float(clap.model.logit_scale_a.exp())
        self._tower = runtime.module_to_device(AudioTower(clap.model))
        self._best = min(config.phrases, len(phrases))
        super().__init__(clipseg, runtime, config)

    def hear(self, audio: AudioClip) -> Tensor:
        """CLAP's spectrogram [1, 1, T, M], always as long."""
        sound = self.runtime.to_device(waveform(audio, self._log_mel.rate, shortest=1))  # [N]
        return self._log_mel(sound)

    def understand(self, heard: Tensor) -> Tensor:
        """CLIPSeg's condition for the best phrases' things, [1, P].

        The embeddings of the best phrases' things, weighted by the phrases' probabilities. CLIPSeg
        was trained with embeddings that are not normalised, so the mean direction gets the mean
        length back that averaging takes away.
        """
        weights, indices = self._probabilities(heard).topk(self._best)  # [V] -> [K], [K]
        weights = weights / weights.sum()
        direction = F.normalize(weights @ self._things[indices], dim=-1)  # [K] @ [K, P] -> [P]
        return (direction * (weights @ self._lengths[indices]))[None]  # [P] -> [1, P]

    def probabilities(self, audio: AudioClip) -> Tensor:
        """How likely each phrase describes the sound, float32 [V] on the device, summing to 1."""
        return self._probabilities(self.hear(audio))

    def _probabilities(self, heard: Tensor) -> Tensor:
        embedded = self._tower(heard)[0]  # [1, 1, T, M] -> [1, E] -> [E]
        return (self._scale * (self._sounds @ embedded)).softmax(0)  # [V, E] @ [E] -> [V]


def embed_things(clipseg: ClipSeg, folder: str, phrases: Sequence[Phrase]) -> tuple[Tensor, Tensor]:
    """CLIPSeg's embeddings of the things of each phrase.

    Args:
        clipseg: on any device; its text tower is used.
        folder: where its tokenizer lies.
        phrases: V of them.

    Returns:
        Mean of the things' directions [V, P] and mean of their lengths [V], on that device.

    Raises:
        ValueError: a text is longer than CLIP takes.
    """
    tokenizer = load_tokenizer(folder)
    text_config: Any = clipseg.model.config.text_config
    device = clipseg.model.device
    texts = list(dict.fromkeys(thing for phrase in phrases for thing in phrase.objects))
    chunks = []
    for start in range(0, len(texts), CHUNK):
        tokens = tokenize(
            tokenizer, texts[start : start + CHUNK], text_config.max_position_embeddings
        ).to(device)
        chunks.append(clipseg.embed_text(tokens['input_ids'], tokens['attention_mask']))
    embeddings = torch.cat(chunks)  # [things, P]
    share = torch.zeros(len(phrases), len(texts))
    for row, phrase in enumerate(phrases):
        for thing in phrase.objects:
            share[row, texts.index(thing)] = 1 / len(phrase.objects)
    share = share.to(device)  # [V, things]
    directions, lengths = F.normalize(embeddings, dim=-1), embeddings.norm(dim=-1)
    return share @ directions, share @ lengths  # [V, things] @ [things, P] -> [V, P]; -> [V]
