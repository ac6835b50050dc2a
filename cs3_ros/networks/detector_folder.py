"""Object detectors in folders of transformers, read within bounds and without code of theirs."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForObjectDetection,
    PreTrainedConfig,
    PreTrainedModel,
)

from cs3_ros.networks.sizes import check_description, check_parameters


def read_description(folder: Path) -> PreTrainedConfig:
    """What config.json says, once its numbers have been looked at.

    Raises:
        ValueError: a number that no network needs, or no kind that transformers knows.
        OSError: config.json is missing.
    """
    described = folder / 'config.json'
    if not described.is_file():
        raise FileNotFoundError(f'{described}: expected the description of a detector')
    check_description(described)
    config: PreTrainedConfig = AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    return config


def load_detector(folder: Path, config: PreTrainedConfig) -> PreTrainedModel:
    """The network of a folder, float32, on the CPU.

    Args:
        folder: config.json and model.safetensors.
        config: of ``read_description``.

    Raises:
        ValueError: no detector, one of absurd size, or the file lacks some of its weights.
        OSError: model.safetensors is missing.
    """
    # else config.json may name code of a hub; backbones have no attention
    attention = {'': 'sdpa', 'backbone_config': 'eager'}
    check_parameters(
        lambda: AutoModelForObjectDetection.from_config(
            copy.deepcopy(config), trust_remote_code=False, attn_implementation=attention
        ),
        folder,
    )
    network, report = AutoModelForObjectDetection.from_pretrained(
        folder,
        config=config,
        local_files_only=True,
        trust_remote_code=False,  # else an auto_map in config.json may run code of the folder
        use_safetensors=True,
        attn_implementation=attention,
        dtype=torch.float32,
        output_loading_info=True,
    )
    if missing := sorted(report['missing_keys']):
        raise ValueError(
            f'{folder}: model.safetensors lacks {len(missing)} of the weights that config.json '
            f'describes, first {missing[0]}; the two files must come from one network'
        )
    detector: PreTrainedModel = network
    return detector
