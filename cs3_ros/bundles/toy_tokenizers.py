"""Toy tokenizers in the official files of byte-level BPE, ``vocab.json`` and ``merges.txt``."""

from __future__ import annotations

import json
from pathlib import Path

WORDS = ('a', 'photo', 'of', 'the', 'sound', 'object')
"""Words that the toy tokenizers know whole; others are spelled, a token per letter."""


def write_clip_tokenizer(folder: Path) -> int:
    """A toy CLIP tokenizer; returns the size of its vocabulary."""
    letters = _byte_letters()
    merges = [pair for word in WORDS for pair in _merges([*word[:-1], f'{word[-1]}</w>'])]
    tokens = [*letters, *(f'{letter}</w>' for letter in letters)]
    specials = ['<|startoftext|>', '<|endoftext|>']
    return _write_bpe(folder, tokens, merges, [], specials)


def write_roberta_tokenizer(folder: Path) -> int:
    """A toy RoBERTa tokenizer, as CLAP's; returns the size of its vocabulary."""
    merges = [pair for word in WORDS for pair in _merges(['\u0120', *word])]
    first = ['<s>', '<pad>', '</s>', '<unk>']
    return _write_bpe(folder, _byte_letters(), merges, first, ['<mask>'])


def _write_bpe(
    folder: Path,
    letters: list[str],
    merges: list[tuple[str, str]],
    first: list[str],
    last: list[str],
) -> int:
    """``vocab.json`` and ``merges.txt`` in the format of both."""
    merges = list(dict.fromkeys(merges))
    tokens = [*first, *letters, *(left + right for left, right in merges), *last]
    tokens = list(dict.fromkeys(tokens))
    vocabulary = {token: number for number, token in enumerate(tokens)}
    text = json.dumps(vocabulary, ensure_ascii=False)
    (folder / 'vocab.json').write_text(text, 'utf-8')
    lines = ['#version: 0.2', *(f'{left} {right}' for left, right in merges), '']
    (folder / 'merges.txt').write_text('\n'.join(lines), 'utf-8')
    return len(tokens)


def _merges(parts: list[str]) -> list[tuple[str, str]]:
    """The merges that build a word from the left."""
    return [(''.join(parts[:end]), parts[end]) for end in range(1, len(parts))]


def _byte_letters() -> list[str]:
    """The 256 printable stand-ins for bytes of byte-level BPE (GPT-2, section 2.2), in order."""
    own = [*range(ord('!'), ord('~') + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in own]
    return [chr(byte) for byte in own] + [chr(256 + number) for number in range(len(others))]
