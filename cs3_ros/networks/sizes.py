"""Sizes of a network as its folder describes them, held against bounds before it is built.

A description is a small file of strangers that may ask for any memory: first its numbers are looked
at, then the network is made on the meta device, where parameters have shapes but no values, and
counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cs3_ros.files.fields import expect, mapping, number
from cs3_ros.files.jsonfile import read_json

MAX_LAYERS = 128
"""Most layers, blocks, levels and the like that a description may ask for; modules are made of
each, whatever the device."""
MAX_LAYERS_IN_ALL = 256
"""Most of them in all stages."""
MAX_SIDE = 4096
"""Largest side of pictures and of position tables, pixels or cells."""
MAX_WIDTH = 65_536
"""Largest width, number of heads or of classes, of a layer."""
MAX_NUMBER = 1 << 20
"""Largest number of any other meaning: vocabularies, positions, samples of ten seconds."""
MAX_ITEMS = 1024
"""Longest list."""
MAX_PARAMETERS = 2_000_000_000
"""Most parameters: 8 GB in float32; those of the bundles have up to 0.25e9."""
MAX_BUFFERS = 100_000_000
"""Most numbers in tables that a network computes for itself."""

_COUNTS = re.compile(r'layers|depth|blocks|levels|num_stages|points|labels')
_SIDES = re.compile(r'(image|anchor|eval|spec|window|patch|kernel)_?(image)?_?size|stride')
_WIDTHS = re.compile(
    r'hidden|width|heads|_dim$|d_model|channels|fft_window_size|bins|feature_size|hop_length'
)
_RANGES: tuple[tuple[re.Pattern[str], int], ...] = (
    (_COUNTS, MAX_LAYERS),
    (_SIDES, MAX_SIDE),
    (_WIDTHS, MAX_WIDTH),
)


def check_description(path: Path) -> None:
    """Refuse a config.json or preprocessor_config.json with a number that no network needs.

    Args:
        path: the file, in transformers' format.

    Raises:
        ValueError: it cannot be read, is no mapping, or a number is out of its range; names file,
            name, value and range.
    """
    _check(mapping(read_json(path, f'{path}'), f'{path}', others=None), f'{path}: ', '')


def _check(value: Any, where: str, name: str) -> None:
    if isinstance(value, dict):
        for key, below in value.items():
            _check(below, f'{where}.{key}' if name else f'{where}{key}', str(key))
    elif isinstance(value, list):
        expect(len(value) <= MAX_ITEMS, where, value, f'at most {MAX_ITEMS} items')
        for index, below in enumerate(value):
            _check(below, f'{where}[{index}]', name)
        numbers = [below for below in value if type(below) in (int, float)]
        if _COUNTS.search(name) and sum(numbers) > MAX_LAYERS_IN_ALL:
            expect(False, where, value, f'at most {MAX_LAYERS_IN_ALL} in all')
    elif type(value) in (int, float):
        most = next((most for pattern, most in _RANGES if pattern.search(name)), MAX_NUMBER)
        number(value, where, -most, most)


def check_parameters(
    build: Callable[[], nn.Module], folder: Path, weights: tuple[str, ...] = ('*.safetensors',)
) -> None:
    """Refuse a network of more parameters than its files of weights can hold.

    Args:
        build: makes it; called on the meta device.
        folder: where the files are.
        weights: patterns of their names.

    Raises:
        ValueError: too many parameters or buffers; names the folder, the number and the bound.
    """
    with torch.device('meta'):
        network = build()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    buffers = sum(buffer.numel() for buffer in network.buffers())
    files = [file for pattern in weights for file in folder.glob(pattern)]
    held = sum(file.stat().st_size for file in files)
    for what, count, most, why in (
        ('parameters', parameters, MAX_PARAMETERS, ''),
        ('parameters', parameters, held, f', a byte for each in {held} bytes of weights'),
        ('numbers in its tables', buffers, MAX_BUFFERS, ''),
    ):
        if count > most and files:  # without one there is nothing to load
            raise ValueError(
                f'{folder / "config.json"} describes {count} {what}: expected at most {most}{why}; '
                'bring the files of one network'
            )
