"""What training leaves: audio token, scale and bias of the mask and, where fine-tuned, BEATs.

A safetensors file that describes itself; read and written here. Those of ACL-SSL are read, too.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cs3_ros.config import from_mapping
from cs3_ros.networks.acl_format import SOUND_S, read_acl
from cs3_ros.networks.audio_token import AudioToken, AudioTokenConfig
from cs3_ros.networks.beats import Beats, BeatsConfig
from cs3_ros.networks.checkpoints import described, fill, read_safetensors

FORMAT = 'cs3-audio-visual-1'
"""Value of ``format`` in the checkpoint's metadata."""
TORCH_SUFFIXES = ('.pth', '.pt')
"""Files of these names are taken for checkpoints of ACL-SSL, all others for our own."""


class MaskScale(nn.Module):
    """Learned scale w and bias b of CLIPSeg's logits X, which are mostly negative (method.md A5).

    Args:
        scale: w at the start.
        bias: b at the start.
    """

    def __init__(self, scale: float = 10.0, bias: float = 14.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(float(scale)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def forward(self, logits: Tensor) -> Tensor:
        """w * X + b, logits of the training mask; any shape."""
        return self.scale * logits + self.bias

    @property
    def offset(self) -> Tensor:
        """b / w, scalar: at inference the heat map is sigmoid(X + b / w)."""
        return self.bias / self.scale


@dataclass(frozen=True, eq=False)
class AudioVisualCheckpoint:
    """What a training run leaves."""

    audio_token: AudioToken
    """Projection and pooling, with the prompt that they were trained for."""
    mask: MaskScale
    """Scale and bias of the mask."""
    beats: Beats | None
    """The fine-tuned sound network; None where BEATs stayed as published."""
    sound_s: float = 0.0
    """Seconds of sound that they were trained on, always: more is cut off at the end, less is
    filled up with zeros. 0: any."""


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

    Raises:
        OSError: the file cannot be written.
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

    Args:
        path: ``audio_visual.safetensors``; or, by its suffix ``.pth``, one of ACL-SSL.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not such a checkpoint, or damaged; says what was expected.
    """
    if Path(path).suffix in TORCH_SUFFIXES:
        token, scale, bias = read_acl(path)
        mask = MaskScale(scale.item(), bias.item())
        return AudioVisualCheckpoint(token, _checked(mask, path), None, SOUND_S)
    tensors, metadata = read_safetensors(path)
    if metadata.get('format') != FORMAT:
        raise ValueError(
            f'{path}: format {metadata.get("format")!r}: expected {FORMAT!r}; '
            'take a checkpoint that the training of the audio-visual localiser wrote'
        )
    audio_token = described(
        path,
        metadata,
        'audio_token',
        lambda data: AudioToken(from_mapping(AudioTokenConfig, data, 'settings')),
    )
    mask, beats = MaskScale(), None
    parts: dict[str, nn.Module] = {'audio_token': audio_token, 'mask': mask}
    if 'beats' in metadata:
        parts['beats'] = beats = described(
            path, metadata, 'beats', lambda data: Beats(BeatsConfig.from_cfg(data))
        )
    fill(parts, tensors, path)
    return AudioVisualCheckpoint(audio_token, _checked(mask, path), beats)


def _checked(mask: MaskScale, path: str | Path) -> MaskScale:
    """Refuse a scale that turns masks round, and what is no number."""
    if not (mask.scale > 0 and mask.offset.isfinite()):
        raise ValueError(
            f'{path}: mask.scale = {mask.scale.item()}, mask.bias = {mask.bias.item()}: expected '
            'finite numbers and a positive scale'
        )
    return mask


def check_fit(token: AudioTokenConfig, beats: BeatsConfig, text_width: int) -> None:
    """Refuse weights that do not belong together.

    Args:
        token: of a checkpoint.
        beats: of the sound network.
        text_width: of CLIPSeg's text tower.

    Raises:
        ValueError: says which do not.
    """
    for what, got, expected in (
        ('width of BEATs', beats.encoder_embed_dim, token.audio_width),
        ("width of CLIPSeg's text tower", text_width, token.text_width),
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
