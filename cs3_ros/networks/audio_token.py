"""The audio token: a sound becomes a word of a sentence that CLIP's text tower reads.

CS3 after ACL-SSL (method.md A2, A3): BEATs features are projected and pooled by attention to one
vector, which stands for the missing noun in "A photo of a"; the sentence's embedding is the
condition of CLIPSeg.

Shapes: B batch, N audio tokens, W their width per block, E width of the text tower, L words,
P width of CLIP's joint space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cs3_ros.config import setting, validate
from cs3_ros.files.fields import expect, whole
from cs3_ros.networks.sizes import MAX_LAYERS, MAX_WIDTH


@dataclass(frozen=True)
class AudioTokenConfig:
    """Architecture of ``AudioToken`` and the sentence that it completes."""

    blocks: tuple[int, ...] = setting(
        (4, 8, 12), 'BEATs blocks, from 1, whose outputs are taken together.'
    )
    audio_width: int = setting(768, 'Width of a BEATs output.', minimum=1, maximum=MAX_WIDTH)
    text_width: int = setting(512, "Width of the text tower's words.", minimum=1, maximum=MAX_WIDTH)
    prompt: str = setting('A photo of a', 'The sentence; the token is its missing word.')
    position: int = setting(
        5,
        'Place of the token: words before it, start of sentence included (ACL-SSL: prompt '
        '"A photo of", position 4).',
        minimum=1,
        maximum=75,
    )
    dropout: float = setting(
        0.5, 'Dropout in the attention of the pooling, while training.', minimum=0.0, maximum=0.99
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, 'blocks', tuple(self.blocks))  # JSON has lists only
        validate(self)
        where = 'AudioTokenConfig.blocks'
        expect(1 <= len(self.blocks) <= MAX_LAYERS, where, self.blocks, f'1 to {MAX_LAYERS} blocks')
        for block in self.blocks:
            whole(block, where, 1, MAX_LAYERS)


class AttentivePooling(nn.Module):
    """One vector of many: factor graph attention with a unary and a self factor (method.md A2).

    Args:
        width: E, of the vectors and of both factors.
        dropout: share of the unary factor's hidden values that are dropped in training, in [0, 1).
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.unary_hidden, self.unary = nn.Linear(width, width), nn.Linear(width, 1)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.factors = nn.Linear(2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, E] -> [B, E], a weighted mean over N."""
        hidden = F.dropout(F.relu(self.unary_hidden(x)), self.dropout, self.training)  # [B, N, E]
        unary = self.unary(hidden)  # [B, N, 1]
        query = F.normalize(self.query(x), dim=2)  # [B, N, E]
        # The mean of cosines is the product with the mean of the unit vectors.
        key = F.normalize(self.key(x), dim=2).mean(1)  # [B, E]
        similarity = query @ key[:, :, None]  # [B, N, 1]
        logits = self.factors(torch.cat((unary, similarity), 2))  # [B, N, 1]
        return (logits.softmax(1) * x).sum(1)  # [B, N, 1] * [B, N, E] -> [B, E]


class AudioToken(nn.Module):
    """BEATs features -> one word for the text tower; 7 279 363 parameters by default.

    Args:
        config: its sizes, and the sentence that it is trained for.
    """

    def __init__(self, config: AudioTokenConfig = AudioTokenConfig()) -> None:
        super().__init__()
        self.config = config
        width = len(config.blocks) * config.audio_width
        self.fc1, self.fc2 = nn.Linear(width, width), nn.Linear(width, config.text_width)
        self.pooling = AttentivePooling(config.text_width, config.dropout)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Project and pool.

        Args:
            features: [B, N, W] for each of ``config.blocks``, what ``Beats`` returns for them.

        Returns:
            The token, [B, E].
        """
        x = torch.cat(tuple(features), 2)  # [B, N, blocks * W]
        x = self.fc2(F.gelu(self.fc1(x)))  # [B, N, blocks * W] -> [B, N, E]
        return self.pooling(x)  # [B, E]


def prompt_ids(tokenizer: Any, config: AudioTokenConfig) -> Tensor:
    """The sentence as ids: start, words, a stand-in where the token goes, end.

    Args:
        tokenizer: the ``CLIPTokenizer`` of the CLIPSeg folder.
        config: gives prompt and position.

    Returns:
        int64 [L] on the CPU, without padding.

    Raises:
        ValueError: the position does not lie between start and end, or the sentence is too long.
    """
    ids = list(tokenizer(config.prompt)['input_ids'])  # start, words, end
    if not 1 <= config.position <= len(ids) - 1:
        raise ValueError(
            f'position = {config.position}: the prompt {config.prompt!r} has {len(ids) - 2} words '
            f'for the tokenizer, expected a position from 1 to {len(ids) - 1}'
        )
    ids.insert(config.position, tokenizer.bos_token_id)
    if len(ids) > tokenizer.model_max_length:
        raise ValueError(
            f'the prompt {config.prompt!r} has {len(ids)} tokens with the sound, the text tower '
            f'takes {tokenizer.model_max_length}: shorten it'
        )
    return torch.tensor(ids)  # [L]


def embed_prompt(
    text_model: Any, projection: nn.Module, input_ids: Tensor, token: Tensor, position: int
) -> Tensor:
    """The sentence's embedding with an audio token as one of its words; gradients reach the token.

    The word is exchanged behind the tower's word table, so position embeddings, the causal mask and
    everything else are the tower's own (method.md A3). Not safe in two threads on one tower.

    Args:
        text_model: ``CLIPSegModel.text_model``.
        projection: ``CLIPSegModel.text_projection``.
        input_ids: int64 [L] from ``prompt_ids``, on the tower's device; the last is the end.
        token: what takes the word's place, [B, E].
        position: index in ``input_ids`` of the word that it replaces.

    Returns:
        The condition, [B, P], not normalised.
    """

    def exchange(module: nn.Module, inputs: Any, words: Tensor) -> Tensor:
        word = token[:, None].to(words.dtype)  # [B, 1, E]
        return torch.cat((words[:, :position], word, words[:, position + 1 :]), 1)  # [B, L, E]

    ids = input_ids.expand(len(token), -1)  # [B, L]
    hook = text_model.embeddings.token_embedding.register_forward_hook(exchange)
    try:
        hidden = text_model(input_ids=ids).last_hidden_state  # [B, L, E], normalised
    finally:
        hook.remove()
    return projection(hidden[:, -1])  # [B, P]
