"""The vocabulary of nano's CLIP: every word of the world is one token, in CLIP's own files."""

from __future__ import annotations

import json
import string
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from cs3_ros.networks.towers import TextIds
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


class Texts(TextIds):
    """Texts to ids of ``LENGTH``, by the tokenizer of a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, LENGTH)
