"""The localiser of the CS3 paper: the sound, as a word of a prompt, conditions CLIPSeg.

BEATs -> audio token -> CLIP's text tower -> CLIPSeg (CS3 section 3.1; method.md A). What training
leaves is a checkpoint, read and written here: a safetensors file with the audio token, scale and
bias of the mask and, where it was fine-tuned, BEATs.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cs3_ros.checkpoints import read_safetensors
from cs3_ros.collision import AudioClip
from cs3_ros.config import from_mapping, require, setting
from cs3_ros.localisers.audio_token import AudioToken, AudioTokenConfig, embed_prompt, prompt_ids
from cs3_ros.localisers.beats import (
    MIN_SAMPLES,
    RATE,
    Beats,
    BeatsConfig,
    beats_fbank,
    load_beats,
)
from cs3_ros.localisers.clipseg import ClipSeg, load_tokenizer
from cs3_ros.localisers.conditioned import ConditionedLocaliser
from cs3_ros.localisers.heat_map import HeatMapConfig, MaskScale
from cs3_ros.localisers.sound import waveform
from cs3_ros.runtime import Runtime

FORMAT = 'cs3-audio-visual-1'
"""Value of ``format`` in the checkpoint's metadata."""


@dataclass(frozen=True)
class AudioVisualConfig(HeatMapConfig):
    """Settings of ``AudioVisualLocaliser``."""

    clipseg: str = setting('', 'Folder of CIDAS/clipseg-rd64-refined.', weights=True)
    beats: str = setting(
        '', 'Official BEATs file; not read where the checkpoint has BEATs.', weights=True
    )
    checkpoint: str = setting(
        '', 'Checkpoint of the training, audio_visual.safetensors.', weights=True
    )


@dataclass(frozen=True, eq=False)
class AudioVisualCheckpoint:
    """What a training run leaves."""

    audio_token: AudioToken
    """Projection and pooling, with the prompt that they were trained for."""
    mask: MaskScale
    """Scale and bias of the mask."""
    beats: Beats | None
    """The fine-tuned sound network; None where BEATs stayed as published."""


class AudioVisualLocaliser(ConditionedLocaliser):
    """Localiser that was trained to find what made a sound.

    Args:
        config: names the weights.
        runtime: what the networks run on.

    Attributes:
        audio_token: projection and pooling of what BEATs hears.

    Raises:
        ValueError: weights are not named, damaged, or do not belong together.
        OSError: a file cannot be read.
    """

    def __init__(self, config: AudioVisualConfig, runtime: Runtime) -> None:
        require(config, 'clipseg', 'checkpoint')
        checkpoint = load_checkpoint(config.checkpoint)
        if checkpoint.beats is None and not config.beats:
            raise ValueError(
                f'{config.checkpoint} has no BEATs weights and the bundle names none; set beats to '
                'the path of the official file BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt'
            )
        beats = checkpoint.beats or load_beats(config.beats)
        clipseg = ClipSeg.from_folder(config.clipseg)
        _check_fit(checkpoint.audio_token.config, beats.config, clipseg)
        super().__init__(clipseg, runtime, config, checkpoint.mask.offset.item())
        self.config = config
        self._beats = runtime.place(beats)
        self.audio_token = runtime.place(checkpoint.audio_token)
        ids = prompt_ids(load_tokenizer(config.clipseg), checkpoint.audio_token.config)  # [L]
        with self._stream.work():
            self._prompt = runtime.to_device(ids)

    def condition(self, audio: AudioClip) -> Tensor:
        """The prompt with the sound as its missing word, [1, P]; short sounds are zero-padded."""
        sound = self.runtime.to_device(waveform(audio, RATE, MIN_SAMPLES))  # [N]
        token_config, clip = self.audio_token.config, self.clipseg.model.clip
        fbank = beats_fbank(sound[None])  # [1, N] -> [1, T, 128]
        token = self.audio_token(self._beats(fbank, token_config.blocks))  # [1, E]
        return embed_prompt(
            clip.text_model, clip.text_projection, self._prompt, token, token_config.position
        )  # [1, P]


def save_checkpoint(
    path: str | Path,
    audio_token: AudioToken,
    mask: MaskScale | None = None,
    beats: Beats | None = None,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write a checkpoint for ``AudioVisualLocaliser``.

    Args:
        path: ``audio_visual.safetensors``; replaced where it exists.
        audio_token: its configuration is kept too.
        mask: scale and bias; None for those that training starts from.
        beats: the sound network where it was fine-tuned; None for the published one.
        notes: further metadata, for people: settings of the training, digest of the data, scores.
    """
    parts: dict[str, nn.Module] = {'audio_token': audio_token, 'mask': mask or MaskScale()}
    metadata = {
        **(notes or {}),
        'format': FORMAT,
        'audio_token': json.dumps(dataclasses.asdict(audio_token.config)),
    }
    if beats is not None:
        parts['beats'] = beats
        metadata['beats'] = json.dumps(dataclasses.asdict(beats.config))
    tensors = {
        f'{prefix}.{name}': tensor.detach().cpu().contiguous()
        for prefix, module in parts.items()
        for name, tensor in module.state_dict().items()
    }
    save_file(tensors, path, metadata)


def load_checkpoint(path: str | Path) -> AudioVisualCheckpoint:
    """Read a checkpoint, float32 on the CPU, in evaluation mode.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not such a checkpoint, or damaged; says what was expected.
    """
    tensors, metadata = read_safetensors(path)
    if metadata.get('format') != FORMAT:
        raise ValueError(
            f'{path}: format {metadata.get("format")!r}: expected {FORMAT!r}; '
            'take a checkpoint that the training of the audio-visual localiser wrote'
        )
    audio_token = _build(
        path,
        metadata,
        'audio_token',
        lambda data: AudioToken(from_mapping(AudioTokenConfig, data, 'settings')),
    )
    mask, beats = MaskScale(), None
    parts: dict[str, nn.Module] = {'audio_token': audio_token, 'mask': mask}
    if 'beats' in metadata:
        parts['beats'] = beats = _build(
            path, metadata, 'beats', lambda data: Beats(BeatsConfig.from_cfg(data))
        )
    _fill(parts, tensors, path)
    if not (mask.scale > 0 and mask.offset.isfinite()):
        raise ValueError(
            f'{path}: mask.scale = {mask.scale.item()}, mask.bias = {mask.bias.item()}: expected '
            'finite numbers and a positive scale'
        )
    return AudioVisualCheckpoint(audio_token, mask, beats)


def _build(
    path: str | Path, metadata: Mapping[str, str], name: str, build: Callable[[Any], Any]
) -> Any:
    """A network, still without weights, as the metadata describes it."""
    try:
        description = json.loads(metadata[name])
        with torch.device('meta'):  # no time for random weights that are thrown away
            return build(description)
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:
        raise ValueError(
            f'{path}: metadata {name!r}: {error}; expected the JSON that the training writes'
        ) from error


def _fill(parts: Mapping[str, nn.Module], tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Give every part its tensors, all of them and no others."""
    expected = {
        f'{prefix}.{name}': tensor.shape
        for prefix, module in parts.items()
        for name, tensor in module.state_dict().items()
    }
    if lacking := sorted(set(expected) - set(tensors)):
        raise ValueError(f'{path}: lacks {len(lacking)} tensors, first {lacking[0]}')
    if unknown := sorted(set(tensors) - set(expected)):
        raise ValueError(
            f'{path}: {len(unknown)} unknown tensors, first {unknown[0]}; '
            f'known: those of {", ".join(parts)}'
        )
    for name, shape in expected.items():
        if tensors[name].shape != shape or not tensors[name].is_floating_point():
            raise ValueError(
                f'{path}: {name} is {tensors[name].dtype} {list(tensors[name].shape)}, expected '
                f'floating point {list(shape)} by the metadata of the same file'
            )
    for prefix, module in parts.items():
        state = {name: tensors[f'{prefix}.{name}'].float() for name in module.state_dict()}
        module.load_state_dict(state, assign=True)
        module.eval()


def _check_fit(token: AudioTokenConfig, beats: BeatsConfig, clipseg: ClipSeg) -> None:
    """Refuse weights that do not belong together."""
    width = clipseg.model.config.text_config.hidden_size
    for what, got, expected in (
        ('width of BEATs', beats.encoder_embed_dim, token.audio_width),
        ("width of CLIPSeg's text tower", width, token.text_width),
    ):
        if got != expected:
            raise ValueError(
                f'{what} is {got}, the checkpoint was trained for {expected}; '
                'take the weights that it was trained with'
            )
    if max(token.blocks) > beats.encoder_layers:
        raise ValueError(
            f'the checkpoint takes BEATs blocks {token.blocks}, BEATs has '
            f'{beats.encoder_layers}; take the weights that it was trained with'
        )
