"""Stage bundle: what was trained, in half precision, as files that ``load_bundle`` reads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.bundles.weights import digest_of
from cs3_ros.networks.checkpoints import read_safetensors
from cs3_training.localiser.train import CHECKPOINT
from cs3_training.nano.card import model_card
from cs3_training.nano.config import NanoConfig
from cs3_training.nano.masks import FILE as SAM2_FILE
from cs3_training.sounding.ship import FILE as SOUNDING

MOST_BYTES = 25_000_000
"""Largest size of the bundle."""
DESCRIPTION = (
    'The complete system of the CS3 paper at tiny size, for demonstrations and tests on any '
    'machine. It knows ONLY the synthetic world.'
)
WARNING = (
    'It knows ONLY the synthetic world of cs3_training (drawn objects, drawn hands, computed '
    'sounds) and finds nothing useful in real images: use lite, zero_shot or cs3 there.'
)
_CLIPSEG, _HANDS = 'clipseg', 'hands'
_MODEL = 'model.safetensors'
_KEPT = ('config.json', 'vocab.json', 'merges.txt', 'preprocessor_config.json')


def write_bundle(
    config: NanoConfig, stages: Path, folder: Path, records: Mapping[str, Mapping[str, Any]]
) -> dict[str, float]:
    """Write the bundle and load it once.

    Args:
        config: the recipe.
        stages: folder with what the stages left.
        folder: of the bundle; an earlier bundle there is replaced.
        records: ``done.json`` of every stage, for the card.

    Returns:
        Figures: megabytes, and parameters in millions.

    Raises:
        ValueError: it is larger than ``MOST_BYTES``.
        FileExistsError: the folder holds other things than a bundle.
        BundleError: it cannot be loaded.
    """
    part = folder.with_name(f'{folder.name}.part')
    _remove(folder, look_only=True)
    _remove(part)
    part.mkdir(parents=True)
    counts: dict[str, int] = {}
    for name, source in ((_CLIPSEG, stages / 'clipseg'), (_HANDS, stages / 'hands')):
        (part / name).mkdir()
        for file in sorted(source.glob('*')):
            if file.name in _KEPT:
                shutil.copyfile(file, part / name / file.name)
        counts[f'{name}/'] = _halve(source / _MODEL, part / name / _MODEL)
    counts[CHECKPOINT] = _halve(stages / 'weak' / CHECKPOINT, part / CHECKPOINT)
    counts[SAM2_FILE] = _halve(stages / 'masks' / SAM2_FILE, part / SAM2_FILE)
    files = [file for file in sorted(part.rglob('*')) if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    if size > MOST_BYTES:
        raise ValueError(f'{part}: {size} bytes, expected at most {MOST_BYTES}: make it smaller')
    (part / 'nano.yaml').write_text(
        _yaml(part, files, records['hands']['figures'], config.weak.wait_s), 'utf-8'
    )
    (part / 'MODEL_CARD.md').write_text(model_card(config, records, counts, size), 'utf-8')
    load_bundle(str(part / 'nano.yaml')).build()
    _remove(folder)
    part.rename(folder)
    return {'megabytes': size / 1e6, 'million parameters': sum(counts.values()) / 1e6}


def _remove(folder: Path, look_only: bool = False) -> None:
    """Remove a bundle, or the half of one; what holds anything else is left and refused."""
    if not os.path.lexists(folder):
        return
    parts = [f'{name}/{file}' for name in (_CLIPSEG, _HANDS) for file in (*_KEPT, _MODEL)]
    known = {
        *parts,
        _CLIPSEG,
        _HANDS,
        CHECKPOINT,
        SAM2_FILE,
        SOUNDING,
        'nano.yaml',
        'MODEL_CARD.md',
    }
    found = {str(path.relative_to(folder)) for path in folder.rglob('*')}
    if folder.is_symlink() or not folder.is_dir() or found - known:
        what = ', '.join(sorted(found - known)[:5]) or 'no bundle'
        raise FileExistsError(f'{folder}: holds {what}: move that, expected nothing but a bundle')
    if not look_only:
        shutil.rmtree(folder)


def _halve(source: Path, target: Path) -> int:
    """Copy a safetensors file in float16; returns the number of its parameters."""
    tensors, metadata = read_safetensors(source)
    halved = {}
    for name, value in tensors.items():
        small = value.half() if value.is_floating_point() else value
        if not torch.isfinite(small).all():
            raise ValueError(f'{source}: {name} does not fit into half precision')
        halved[name] = small.contiguous()
    save_file(halved, target, metadata)
    target.chmod(0o644)  # safetensors' files are for their owner alone; these get installed
    return sum(value.numel() for value in tensors.values())


def _yaml(folder: Path, files: list[Path], hands: Mapping[str, float], wait_s: float) -> str:
    """The bundle's own file; ``hands`` are the figures of that stage, its thresholds among them."""
    listed: dict[str, dict[str, Any]] = {}
    for file in files:
        name = file.relative_to(folder)
        listed.setdefault(str(name.parent), {})[name.name] = {
            'bytes': file.stat().st_size,
            'sha256': digest_of(file),
        }
    bundle = {
        'name': 'nano',
        'description': DESCRIPTION,
        'warning': WARNING,
        'clip': {'audio_before_s': 1.0, 'audio_after_s': wait_s, 'audio_after_most_s': 1.0},
        'localiser': {'type': 'audio_visual', 'clipseg': _CLIPSEG, 'checkpoint': CHECKPOINT},
        'hands': {
            'type': 'detr',
            'model': _HANDS,
            'hand_threshold': hands['threshold hands'],
            'object_threshold': hands['threshold held objects'],
        },
        'masker': {'type': 'sam2', 'checkpoint': SAM2_FILE},
        'weights': [
            {
                'folder': name,
                'licence': 'Apache-2.0',
                'origin': 'the package cs3_ros; cs3-train nano makes another',
                'files': facts,
            }
            for name, facts in listed.items()
        ],
    }
    return yaml.safe_dump(bundle, sort_keys=False, width=100)
