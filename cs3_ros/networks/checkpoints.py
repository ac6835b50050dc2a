"""Files of weights, read so that nothing in them is executed; networks filled from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cs3_ros.files.jsonfile import load_json


def read_torch(path: str | Path, plain: tuple[type, ...] = ()) -> Any:
    """What ``torch.save`` wrote, where that is tensors and plain data; tensors on the CPU.

    Args:
        path: the file.
        plain: further classes that may be in it; making one must do nothing but set attributes.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or holds anything else; nothing of it was executed.
    """
    try:
        with torch.serialization.safe_globals([*plain]):
            return torch.load(path, map_location='cpu', weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a broken file makes the unpickler raise whatever it likes
        # Torch's own text advises to load the file nevertheless.
        raise ValueError(
            f'{path}: refused, it is damaged or holds more than plain weights '
            f'({type(error).__name__}); bring the official file again'
        ) from error


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors, on the CPU, and metadata of a safetensors file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or of another format.
    """
    from safetensors import SafetensorError, safe_open  # only for those who have such files

    try:
        with safe_open(path, framework='pt') as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            return tensors, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f'{path}: refused, it is no safetensors file or damaged ({error}); bring it again'
        ) from error


def described(
    path: str | Path, metadata: Mapping[str, str], name: str, build: Callable[[Any], Any]
) -> Any:
    """What the metadata of a file describe, such as a network without weights.

    Args:
        path: the file, for errors.
        metadata: its metadata.
        name: which of them, JSON.
        build: makes it of the data; called on the meta device.

    Raises:
        ValueError: no such metadata, or nothing can be made of them.
    """
    try:
        description = load_json(metadata[name])
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


def fill(parts: Mapping[str, nn.Module], tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Give every part its tensors, all of them and no others, as float32, in evaluation mode.

    Args:
        parts: prefix -> network, which may be on the meta device.
        tensors: ``prefix.name`` -> values.
        path: the file, for errors.

    Raises:
        ValueError: lacking or unknown tensors, or one of another shape; names it.
    """
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
