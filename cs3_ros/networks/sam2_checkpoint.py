"""Checkpoints of SAM 2: read safely, the architecture taken from the file, written.

Read are the official ``.pt`` files (``{'model': state dict}``, SAM 2.1 and 2.0, whose image parts
are the same), such files with an ``architecture`` beside ``model`` for networks of other sizes, and
``.safetensors`` whose metadata has ``architecture`` as JSON.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cs3_ros.files.jsonfile import load_json
from cs3_ros.networks.checkpoints import read_safetensors, read_torch
from cs3_ros.networks.sam2_model import PRESETS, Sam2, Sam2Architecture

VIDEO_ONLY = (
    'mask_downsample.',
    'maskmem_tpos_enc',
    'memory_attention.',
    'memory_encoder.',
    'no_mem_pos_enc',
    'no_obj_embed_spatial',
    'no_obj_ptr',
    'obj_ptr_proj.',
    'obj_ptr_tpos_proj.',
)
"""Beginnings of names that official checkpoints have for videos only; they are left out."""


class _OnMeta(TorchFunctionMode):
    """Makes parameters on the meta device; ``torch.device('meta')`` would, but Hiera reads one."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func in (torch.empty, torch.ones, torch.randn, torch.zeros)
        return func(*args, **{**(kwargs or {}), **({'device': 'meta'} if made else {})})


def unfilled(architecture: Sam2Architecture) -> Sam2:
    """A network whose parameters have shapes but no values, to load a checkpoint into."""
    with _OnMeta():
        return Sam2(architecture)


def load_sam2(path: str | Path, side: int = 0) -> Sam2:
    """A network from a file, in float32 on the CPU.

    Args:
        path: an official ``.pt`` (``{'model': state dict}``, SAM 2.1 or 2.0), one with an
            ``architecture`` beside ``model`` for other sizes, or a ``.safetensors`` whose metadata
            has ``architecture`` as JSON.
        side: of the square that it is to see, pixels; 0 for that of its training. No weight
            depends on it.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such checkpoint, holds more than tensors (then nothing of it is
            executed), or its tensors do not fit; the message names the file and what was expected.
    """
    path = Path(path)
    state, architecture = read_sam2(path)
    try:
        architecture = dataclasses.replace(architecture, image_size=side or architecture.image_size)
        model = unfilled(architecture)
        wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        given = {
            name: tensor.float()
            for name, tensor in state.items()
            if name in wanted or not name.startswith(VIDEO_ONLY)
        }
        found = {name: tuple(tensor.shape) for name, tensor in given.items()}
        if found != wanted:
            raise ValueError(_difference(found, wanted))
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    model.load_state_dict(given, assign=True)
    return model


def read_sam2(path: Path) -> tuple[dict[str, Tensor], Sam2Architecture]:
    """State dict and architecture of a file, as ``load_sam2`` takes it.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such checkpoint; names the file.
    """
    state, sizes = _read(path)
    try:
        return state, recognise(state) if sizes is None else _architecture(sizes)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def sam2_checkpoint(model: Sam2) -> dict[str, Any]:
    """What ``torch.save`` writes as a checkpoint: the official format, and for sizes of our own an
    ``architecture`` beside ``model``.
    """
    checkpoint: dict[str, Any] = {'model': model.state_dict()}
    if model.architecture not in PRESETS.values():
        checkpoint['architecture'] = dataclasses.asdict(model.architecture)
    return checkpoint


def save_sam2(path: str | Path, model: Sam2) -> None:
    """Write what ``load_sam2`` reads: ``.safetensors``, or ``.pt`` by any other name.

    Raises:
        OSError: the file cannot be written.
    """
    if Path(path).suffix == '.safetensors':
        from safetensors.torch import save_file

        sizes = json.dumps(dataclasses.asdict(model.architecture))
        state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(state, path, metadata={'architecture': sizes})
    else:
        torch.save(sam2_checkpoint(model), path)


def recognise(state: Mapping[str, Tensor]) -> Sam2Architecture:
    """Which official network a state dict belongs to, from the shapes of its trunk.

    Raises:
        ValueError: none of them.
    """
    trunk = 'image_encoder.trunk.'
    position = state.get(f'{trunk}pos_embed')
    if position is None or position.ndim != 4:
        raise ValueError(f"expected SAM 2's state dict with {trunk}pos_embed [1, C, h, w]")
    blocks = {int(name.split('.')[3]) for name in state if name.startswith(f'{trunk}blocks.')}
    # A stage's first block widens its residual path, and only such blocks have a projection.
    starts = [k for k in sorted(blocks) if f'{trunk}blocks.{k}.proj.weight' in state]
    edges = [0, *starts, len(blocks)]
    stages = tuple(end - start for start, end in zip(edges, edges[1:], strict=False))
    width, cells = position.shape[1], tuple(position.shape[2:])
    for preset in PRESETS.values():
        known = (preset.embed_dim, preset.stages, preset.window_pos_embed_bkg_spatial_size)
        if known == (width, stages, cells):
            return preset
    raise ValueError(
        f'a trunk of width {width} with {stages} blocks and {cells} positions is none of '
        f'{", ".join(PRESETS)}: other sizes need an `architecture` beside `model`'
    )


def _architecture(sizes: Any) -> Sam2Architecture:
    """The description in a checkpoint, checked."""
    known = {field.name for field in dataclasses.fields(Sam2Architecture)}
    if not isinstance(sizes, Mapping) or set(sizes) != known:
        raise ValueError(f'architecture = {sizes!r}: expected the keys {", ".join(sorted(known))}')
    return Sam2Architecture(**sizes)


def _read(path: Path) -> tuple[dict[str, Tensor], Any]:
    """State dict of a file and its architecture; None where the file names none."""
    if path.suffix == '.safetensors':
        state, metadata = read_safetensors(path)
        try:
            return state, load_json(metadata.get('architecture', 'null'))
        except ValueError as error:
            raise ValueError(f'{path}: metadata architecture is no JSON: {error}') from error
    checkpoint = read_torch(path)
    model = checkpoint.get('model') if isinstance(checkpoint, dict) else None
    if not isinstance(model, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in model.items()
    ):
        raise ValueError(
            f"{path}: expected {{'model': state dict}}, as SAM 2's checkpoints have it"
        )
    return model, checkpoint.get('architecture')


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What does not fit, a few of each kind."""
    kinds = {
        'missing': [name for name in wanted if name not in found],
        'unknown': [name for name in found if name not in wanted],
        'of another shape': [
            f'{name} {found[name]}, expected {wanted[name]}'
            for name in wanted
            if name in found and found[name] != wanted[name]
        ],
    }
    texts = [
        f'{len(names)} {kind}: {", ".join(names[:3])}{", ..." if len(names) > 3 else ""}'
        for kind, names in kinds.items()
        if names
    ]
    return f'the tensors do not fit SAM 2 of its architecture; {"; ".join(texts)}'
