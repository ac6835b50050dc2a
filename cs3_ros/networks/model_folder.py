"""Folders of transformers: what they hold, and models read from them within bounds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from cs3_ros.files.fields import mapping
from cs3_ros.files.jsonfile import read_json
from cs3_ros.networks.sizes import check_description, check_parameters


def kind_of(folder: str | Path) -> Any:
    """What the description in a folder says it is of; None where there is none."""
    where = Path(folder) / 'config.json'
    if not where.is_file():
        return None
    return mapping(read_json(where, f'{where}'), f'{where}', others=None).get('model_type')


def load_model(model: Any, config: Any, folder: Path, **options: Any) -> Any:
    """A model of transformers from its folder, with all of its weights, float32.

    Args:
        model: class of the model.
        config: class of its description.
        folder: config.json and model.safetensors.
        options: of the model.

    Raises:
        ValueError: absurd sizes, another model or lacking weights; names the folder and the fix.
    """
    try:
        check_description(folder / 'config.json')
        described = config.from_pretrained(folder, local_files_only=True)
        check_parameters(partial(model, described, **options), folder)
        loaded, info = model.from_pretrained(
            folder,
            config=described,
            local_files_only=True,
            use_safetensors=True,  # never a pickle
            attn_implementation='sdpa',  # else config.json may name code of a hub
            dtype=torch.float32,
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # transformers and safetensors raise errors of many kinds
        raise ValueError(
            f'{model.__name__} in {folder}: {error}; bring its files again, weights as '
            'model.safetensors'
        ) from error
    if lacking := sorted(str(key) for key in info['missing_keys']):
        raise ValueError(
            f'{model.__name__} in {folder}: model.safetensors lacks {len(lacking)} tensors, first '
            f'{lacking[0]}'
        )
    return loaded
