"""Files of weights, read so that nothing in them is executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def read_torch(path: str | Path) -> Any:
    """What ``torch.save`` wrote, where that is tensors and plain data; tensors on the CPU.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or holds anything else; nothing of it was executed.
    """
    try:
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
