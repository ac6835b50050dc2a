"""The vocabulary of nano's CLIP: every word of the world is one token, in CLIP's own files."""

from __future__ import annotations

import json
import string
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from cs3_ros.networks.clipseg import load_tokenizer
from cs3_training.synth.vocabulary import WORDS

START, END = '<|startoftext|>', '<|endoftext|>'
LENGTH = 17
"""Tokens of the longest text, start and end included."""
_LETTERS = string.ascii_lowercase + string.digits + ".,-'"


def write_tokenizer(folder: Path) -> int:
    """``vocab.json`` and ``merges.txt`` of byte-level BPE; returns the size of the vocabulary.

    Words of the world are one token each, others are spelled. END has the largest id, as CLIP's
    pooling expects.
    """
    merges = _learn(WORDS)
    tokens = [*_LETTERS, *(f'{letter}</w>' for letter in _LETTERS)]
    tokens = list(dict.fromkeys([*tokens, *(left + right for left, right in merges), START, END]))
    vocabulary = {token: number for number, token in enumerate(tokens)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'vocab.json').write_text(json.dumps(vocabulary), 'utf-8')
    lines = ['#version: 0.2', *(f'{left} {right}' for left, right in merges), '']
    (folder / 'merges.txt').write_text('\n'.join(lines), 'utf-8')
    return len(tokens)


def _learn(words: Sequence[str]) -> list[tuple[str, str]]:
    """Merges by which every word becomes one token: byte-pair encoding, learned to its end."""
    spelled = [[*word[:-1], f'{word[-1]}</w>'] for word in words]
    merges = []
    while pairs := Counter(pair for parts in spelled for pair in pairwise(parts)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for parts in spelled:
            index = 0
            while index < len(parts) - 1:
                if (parts[index], parts[index + 1]) == best:
                    parts[index : index + 2] = [''.join(best)]
                index += 1
    return merges


class Texts:
    """Texts to ids, by the tokenizer of a folder."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = load_tokenizer(folder)
        self._one = lru_cache(maxsize=20_000)(self._ids)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """int64 [n, LENGTH], filled up with the end of text."""
        return torch.tensor([self._one(text) for text in texts])

    def _ids(self, text: str) -> list[int]:
        ids = list(self._tokenizer(text)['input_ids'])
        if len(ids) > LENGTH:
            raise ValueError(f'{text!r} has {len(ids)} tokens: expected at most {LENGTH}')
        return ids + [self._tokenizer.eos_token_id] * (LENGTH - len(ids))
