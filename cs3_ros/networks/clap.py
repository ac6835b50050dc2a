"""CLAP (Wu et al., ICASSP 2023) as transformers' ``ClapModel``: how well do texts describe a sound?

The texts are known beforehand and are embedded once; only the audio half stays in memory.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    BatchEncoding,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    PreTrainedTokenizerBase,
    RobertaTokenizer,
)

from cs3_ros.networks.sizes import check_description, check_parameters

CHUNK = 32
"""Texts that go through a text tower at once; bounds the memory that a long vocabulary takes."""
QUIETEST = 1e-10
"""Floor of the mel power, -100 dB (transformers' ``spectrogram``)."""
COMPUTED = ('position_ids', 'token_type_ids', 'relative_position_index', 'num_batches_tracked')
"""Ends of names that a checkpoint may lack, since the model computes them."""


@dataclass(frozen=True, eq=False)
class Clap:
    """What a folder of CLAP weights holds."""

    model: Any
    """The ``ClapModel``, float32, on the CPU; transformers' own types do not fit its use."""
    tokenizer: PreTrainedTokenizerBase
    """RoBERTa's."""
    extractor: ClapFeatureExtractor
    """Holds the parameters of the log-mel spectrogram."""


def load_clap(folder: str | Path) -> Clap:
    """Read a transformers folder of an unfused CLAP, such as ``laion/clap-htsat-unfused``.

    Args:
        folder: config.json, model.safetensors (or pytorch_model.bin, read as plain tensors),
            vocab.json, merges.txt, preprocessor_config.json.

    Raises:
        ValueError: not such a folder, another model, one of absurd size, an incomplete or unsafe
            file; names the folder and the fix.
    """
    bring = 'bring the files of laion/clap-htsat-unfused, weights as model.safetensors'
    if not Path(folder, 'config.json').is_file():  # transformers would take its defaults
        raise ValueError(f'CLAP folder {folder}: no config.json; {bring}')
    try:
        for name in ('config.json', 'preprocessor_config.json'):
            check_description(Path(folder, name))
        pickled = Path(folder, 'pytorch_model.bin')
        if pickled.is_file() and not Path(folder, 'model.safetensors').is_file():
            torch.load(pickled, 'meta', weights_only=True)  # before its size is believed
        described = ClapConfig.from_pretrained(folder, local_files_only=True)
        check_parameters(
            lambda: ClapModel._from_config(described, attn_implementation='eager'),
            Path(folder),
            ('*.safetensors', '*.bin'),
        )
        loaded: Any = ClapModel.from_pretrained(
            folder,
            local_files_only=True,
            attn_implementation='eager',  # else config.json may name code of a hub
            dtype=torch.float32,
            output_loading_info=True,
        )
        model, found = loaded
        extractor = ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
        tokenizer = RobertaTokenizer.from_pretrained(folder, local_files_only=True)
    except pickle.UnpicklingError as error:  # its text advises to load the file nevertheless
        raise ValueError(
            f'CLAP folder {folder}: pytorch_model.bin is damaged or holds more than tensors, and '
            f'was not loaded; {bring}'
        ) from error
    except Exception as error:  # transformers and tokenizers raise errors of many kinds
        raise ValueError(f'CLAP folder {folder}: {error}; {bring}') from error
    if lacking := sorted(key for key in found['missing_keys'] if not key.endswith(COMPUTED)):
        raise ValueError(
            f'CLAP folder {folder}: its weights lack {len(lacking)} tensors of a ClapModel, first '
            f'{lacking[0]}; {bring}'
        )
    given = (model.config.audio_config.enable_fusion, extractor.truncation, extractor.padding)
    if given != (False, 'rand_trunc', 'repeatpad'):
        raise ValueError(
            f'CLAP folder {folder}: enable_fusion, truncation, padding = {given}: expected those '
            f"of an unfused CLAP, (False, 'rand_trunc', 'repeatpad'); {bring}"
        )
    if len(tokenizer) > model.config.text_config.vocab_size:
        raise ValueError(
            f'CLAP folder {folder}: vocab.json has {len(tokenizer)} tokens, config.json expects at '
            f'most {model.config.text_config.vocab_size}; {bring}'
        )
    return Clap(model.eval().requires_grad_(False), tokenizer, extractor)


class LogMel:
    """The spectrogram of ``ClapFeatureExtractor`` in torch: on the device, without its Python loop.

    Always as long as CLAP was trained on (10 s): shorter sound is repeated as often as it fits,
    then zeros follow. Of longer sound the middle is taken, where the extractor takes a random part.

    Args:
        extractor: its parameters and (Slaney) mel filters.
        device: where the spectrogram is computed, in float32.
    """

    def __init__(self, extractor: ClapFeatureExtractor, device: torch.device) -> None:
        self.rate = int(extractor.sampling_rate)
        self.samples = int(extractor.nb_max_samples)
        self._hop = int(extractor.hop_length)
        self._window = torch.hann_window(extractor.fft_window_size, device=device)  # [F]
        filters = torch.as_tensor(extractor.mel_filters_slaney, dtype=torch.float32)
        self._filters = filters.to(device)  # [F // 2 + 1, M]

    def __call__(self, waveform: Tensor) -> Tensor:
        """Log-mel power in dB.

        Args:
            waveform: float32 [N] in [-1, 1] at ``rate``, N >= 1, on the device.

        Returns:
            float32 [1, 1, T, M], T = samples // hop + 1.
        """
        middle = max(len(waveform) - self.samples, 0) // 2
        waveform = waveform[middle : middle + self.samples]  # [min(N, samples)]
        waveform = waveform.repeat(self.samples // len(waveform))  # [<= samples]
        waveform = F.pad(waveform, (0, self.samples - len(waveform)))  # [samples]
        size = len(self._window)
        spectrum = torch.stft(
            waveform, size, self._hop, window=self._window, return_complex=True
        )  # [F // 2 + 1, T]
        mel = spectrum.abs().square().T @ self._filters  # [T, F // 2 + 1] -> [T, M]
        return 10 * mel.clamp(min=QUIETEST).log10()[None, None]  # [T, M] -> [1, 1, T, M]


class AudioTower(nn.Module):
    """The audio half of CLAP.

    Args:
        model: whose audio tower and projection these are.
    """

    def __init__(self, model: ClapModel) -> None:
        super().__init__()
        self.tower = model.audio_model
        self.projection = model.audio_projection

    def forward(self, mel: Tensor) -> Tensor:
        """Embeddings of length 1, float32 [B, E], from log-mel spectrograms [B, 1, T, M]."""
        dtype = next(self.projection.parameters()).dtype
        pooled = self.tower(input_features=mel.to(dtype)).pooler_output  # [B, 1, T, M] -> [B, W]
        return F.normalize(self.projection(pooled).float(), dim=-1)  # [B, W] -> [B, E]


def embed_sounds(clap: Clap, texts: Sequence[str]) -> Tensor:
    """Embeddings of length 1 of texts that describe sounds.

    Args:
        clap: its text tower is used, where it lies.
        texts: V of them, at least one.

    Returns:
        float32 [V, E], on the model's device.

    Raises:
        ValueError: a text is longer than the model takes.
    """
    text: Any = clap.model.config.text_config
    longest = text.max_position_embeddings - text.pad_token_id - 1  # RoBERTa counts from there
    embeddings = []
    for start in range(0, len(texts), CHUNK):
        tokens = tokenize(clap.tokenizer, texts[start : start + CHUNK], longest)
        tokens = tokens.to(clap.model.device)
        pooled = clap.model.text_model(
            input_ids=tokens['input_ids'], attention_mask=tokens['attention_mask']
        ).pooler_output  # at most [CHUNK, W]
        projected = clap.model.text_projection(pooled)  # at most [CHUNK, E]
        embeddings.append(F.normalize(projected, dim=-1))
    return torch.cat(embeddings)  # [V, E]


def tokenize(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], longest: int
) -> BatchEncoding:
    """Tokens of texts, ``input_ids`` and ``attention_mask``, each [B, L], padded to one length.

    Raises:
        ValueError: a text has more than ``longest`` tokens.
    """
    for text, tokens in zip(texts, tokenizer(list(texts))['input_ids'], strict=True):
        if len(tokens) > longest:
            raise ValueError(f'{text!r}: {len(tokens)} tokens, expected at most {longest}')
    return tokenizer(list(texts), padding=True, return_tensors='pt')
