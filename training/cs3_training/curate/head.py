"""A head on BEATs that tells the 44 classes of EPIC-SOUNDS, and its file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cs3_ros.files.fields import expect, items, text
from cs3_ros.files.jsonfile import load_json
from cs3_ros.networks.beats import Beats, BeatsConfig
from cs3_ros.networks.checkpoints import described, fill, read_safetensors

FORMAT = 'cs3-sound-classes-1'
"""Value of ``format`` in the checkpoint's metadata."""
MOST_CLASSES = 1000


class SoundClasses(nn.Module):
    """Logits of classes from the mean of BEATs' last tokens.

    Args:
        beats: the sound network.
        classes: how many.
        train_beats: whether it is trained, too.
    """

    def __init__(self, beats: Beats, classes: int, train_beats: bool = False) -> None:
        super().__init__()
        width = beats.config.encoder_embed_dim
        self.beats = beats.requires_grad_(train_beats)
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, classes)
        self.train_beats = train_beats

    def forward(self, fbank: Tensor) -> Tensor:
        """Logits [B, C] of spectrograms [B, T, 128]."""
        with torch.set_grad_enabled(self.train_beats and torch.is_grad_enabled()):
            (tokens,) = self.beats(fbank, (self.beats.config.encoder_layers,))  # [B, L, W]
        logits: Tensor = self.linear(self.norm(tokens.mean(1)))  # [B, L, W] -> [B, W] -> [B, C]
        return logits


def save_head(
    path: Path, model: SoundClasses, labels: Sequence[str], notes: Mapping[str, str]
) -> None:
    """Write a checkpoint, whole: BEATs is in it.

    Args:
        path: a safetensors file, replaced where it exists.
        model: the network.
        labels: names of its classes.
        notes: further metadata, for people.

    Raises:
        OSError: it cannot be written.
    """
    metadata = {
        **notes,
        'format': FORMAT,
        'labels': json.dumps(list(labels)),
        'beats': json.dumps(dataclasses.asdict(model.beats.config)),
    }
    state = {name: value.detach().cpu().contiguous() for name, value in _parts(model)}
    save_file(state, path, metadata)


def load_head(path: Path) -> tuple[SoundClasses, tuple[str, ...]]:
    """Read a checkpoint: the network in float32 on the CPU in evaluation mode, and its classes.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such checkpoint, or damaged; says what was expected.
    """
    tensors, metadata = read_safetensors(path)
    if metadata.get('format') != FORMAT:
        raise ValueError(
            f'{path}: format {metadata.get("format")!r}: expected {FORMAT!r}; take a checkpoint '
            'that cs3-train curate head wrote'
        )
    labels = tuple(
        text(each, f'{path}: metadata labels[{k}]')
        for k, each in enumerate(items(load_json(metadata.get('labels', '')), 'labels', 2))
    )
    good = len(set(labels)) == len(labels) <= MOST_CLASSES
    expect(good, f'{path}: metadata labels', labels, 'different names')
    model: SoundClasses = described(
        path, metadata, 'beats',
        lambda data: SoundClasses(Beats(BeatsConfig.from_cfg(data)), len(labels)),
    )  # fmt: skip
    fill({'beats': model.beats, 'norm': model.norm, 'linear': model.linear}, tensors, path)
    return model.eval(), labels


def _parts(model: SoundClasses) -> list[tuple[str, Tensor]]:
    return list(model.state_dict().items())
