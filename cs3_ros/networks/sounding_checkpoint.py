"""What the training of the sounding objects leaves: slots, sound tower and aligners.

A safetensors file that describes itself; read and written here. The frozen towers are files of
their own, and so is BEATs where it was not trained.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from cs3_ros.config import from_mapping
from cs3_ros.files.fields import items, mapping, number, one_of, whole
from cs3_ros.networks.beats import Beats, BeatsConfig
from cs3_ros.networks.checkpoints import described, fill, read_safetensors
from cs3_ros.networks.sizes import MAX_WIDTH
from cs3_ros.networks.slots import SlotAutoencoder, SlotsConfig
from cs3_ros.networks.sound_towers import AstSizes, AstTower, BeatsTower, SoundTower
from cs3_ros.networks.sounding import Aligner, SoundingObjects
from cs3_ros.networks.towers import TextTower, VisionTower

FORMAT = 'cs3-sounding-1'
"""Value of ``format`` in the checkpoint's metadata."""
MAX_SECONDS = 60.0
"""Longest sound that a checkpoint may ask for, before or after the action."""


def save_sounding(
    path: str | Path,
    network: SoundingObjects,
    notes: Mapping[str, str] | None = None,
    with_beats: bool = True,
) -> None:
    """Write a checkpoint.

    Args:
        path: ``sounding.safetensors``; replaced where it exists.
        network: its vision and text towers are not written.
        notes: further metadata, for people: settings of the training, digest of the data, scores.
        with_beats: whether BEATs is written; without it ``load_sounding`` has to be given the same
            one. The head is always written, and AST, too.

    Raises:
        OSError: the file cannot be written.
    """
    parts = _parts(network.slots, network.sound, network.aligner, with_beats)
    tensors = {
        f'{prefix}.{name}': tensor.detach().cpu().contiguous()
        for prefix, module in parts.items()
        for name, tensor in module.state_dict().items()
    }
    aligner, slots = network.aligner, network.slots
    facts = {
        'patch_width': aligner.patch_width,
        'text_width': aligner.text_width,
        'embedding': aligner.embedding,
        'window': network.window,
        'slots': None if slots is None else dataclasses.asdict(slots.config),
        'sound': _describe(network.sound, with_beats),
    }
    metadata = {**(notes or {}), 'format': FORMAT, 'network': json.dumps(facts)}
    save_file(tensors, path, metadata)


def load_sounding(
    path: str | Path,
    vision: VisionTower,
    beats: Beats | None = None,
    text: TextTower | None = None,
) -> SoundingObjects:
    """Read a checkpoint, float32 on the CPU, in evaluation mode.

    Args:
        path: the checkpoint.
        vision: the tower that it was trained with.
        beats: where the checkpoint has none.
        text: where texts are needed.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not such a checkpoint, damaged, or the towers are others; says what was
            expected.
    """
    tensors, metadata = read_safetensors(path)
    if metadata.get('format') != FORMAT:
        raise ValueError(
            f'{path}: format {metadata.get("format")!r}: expected {FORMAT!r}; '
            'take a checkpoint that cs3-train sounding wrote'
        )
    slots: SlotAutoencoder | None
    sound: Any
    slots, sound, aligner, window = described(path, metadata, 'network', _build)
    with_beats = isinstance(sound, BeatsTower)
    if isinstance(sound, nn.Sequential):  # the head of a BEATs that lies elsewhere
        if beats is None:
            raise ValueError(
                f'{path} has no BEATs weights: name the BEATs that it was trained with (of the '
                'bundle nano: audio_visual.safetensors)'
            )
        width = int(sound.get_parameter('0.weight').numel())
        sound = BeatsTower(beats, aligner.embedding)
        if width != beats.config.encoder_embed_dim:
            raise ValueError(
                f'{path}: trained with a BEATs of width {width}, got one of '
                f'{beats.config.encoder_embed_dim}; take the weights that it was trained with'
            )
    fill(_parts(slots, sound, aligner, with_beats), tensors, path)
    try:
        return SoundingObjects(vision, slots, sound, aligner, text, None, window).eval()
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def _parts(
    slots: SlotAutoencoder | None, sound: SoundTower, aligner: Aligner, with_beats: bool
) -> dict[str, nn.Module]:
    """Prefix of the tensors -> network."""
    alone = isinstance(sound, BeatsTower) and not with_beats
    parts: dict[str, nn.Module] = {'aligner': aligner}
    parts['head' if alone else 'sound'] = sound.head if alone else sound
    if slots is not None:
        parts['slots'] = slots
    return parts


def _describe(sound: SoundTower, with_beats: bool) -> dict[str, Any]:
    if isinstance(sound, AstTower):
        return {'type': 'ast', 'sizes': dataclasses.asdict(sound.sizes)}
    assert isinstance(sound, BeatsTower)
    if with_beats:
        return {'type': 'beats', 'sizes': dataclasses.asdict(sound.beats.config)}
    return {'type': 'head', 'sizes': {'width': sound.beats.config.encoder_embed_dim}}


def _build(data: Any) -> tuple[SlotAutoencoder | None, Any, Aligner, tuple[float, float]]:
    """Slots, sound tower, or its head alone, aligners and window of a description."""
    names = ('patch_width', 'text_width', 'embedding', 'slots', 'sound', 'window')
    facts = mapping(data, 'network', names)
    patch, text, embedding = (whole(facts[name], name, 1, MAX_WIDTH) for name in names[:3])
    given = facts['slots']
    slots = None
    if given is not None:
        slots = SlotAutoencoder(from_mapping(SlotsConfig, given, 'slots'))
    tower = mapping(facts['sound'], 'sound', ('type', 'sizes'))
    kind = one_of(tower['type'], 'sound.type', ('ast', 'beats', 'head'))
    sound: Any
    if kind == 'ast':
        sound = AstTower(from_mapping(AstSizes, tower['sizes'], 'sound.sizes'), embedding)
    elif kind == 'beats':
        sound = BeatsTower(Beats(BeatsConfig.from_cfg(tower['sizes'])), embedding)
    else:
        sizes = mapping(tower['sizes'], 'sound.sizes', ('width',))
        width = whole(sizes['width'], 'sound.sizes.width', 1, MAX_WIDTH)
        sound = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, embedding))
    sides = items(facts['window'], 'window', 2)
    before, after = (number(side, 'window', 0, MAX_SECONDS) for side in sides)
    return slots, sound, Aligner(patch, text, embedding), (before, after)
