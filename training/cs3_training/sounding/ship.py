"""A bundle that chooses by the strategy ``sounding``: a copy of one, the checkpoint beside it."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.bundles.weights import digest_of
from cs3_ros.files.atomic import write_text
from cs3_ros.files.yamlfile import read_yaml
from cs3_ros.networks.checkpoints import read_safetensors
from cs3_ros.verifiers.sounding import Weighing

FILE = 'sounding.safetensors'
CARD = 'MODEL_CARD.md'
HEADING = '## Which object sounded'
_TEXT = """
`sounding.safetensors` ({parts:.2f} million parameters) was trained after all that, by `cs3-train
sounding train` on labelled scenes of *train* that no other stage has seen, with its towers frozen:
linear layers alone. Which of its checkpoints is kept, and gap, reach and lead in `nano.yaml`, were
chosen on labelled scenes of *validation*. SHA-256 of its data: `{data}`.
"""


def add_strategy(bundle: str, checkpoint: Path, by: Weighing, out: Path) -> Path:
    """Copy a bundle and let it choose by sound; built once, so it works.

    Args:
        bundle: one with its weights in its folder and a localiser ``audio_visual``, whose towers
            the checkpoint was trained with; a strategy that it has is replaced.
        checkpoint: of ``cs3-train sounding train --freeze``; written in half precision.
        by: how much the scores count.
        out: folder of the copy, which is not there yet.

    Returns:
        The YAML file of the copy.

    Raises:
        ValueError: the bundle has no such localiser, weights elsewhere, or the checkpoint does not
            fit its towers or into half precision.
        OSError: the folder is there, or a file cannot be read or written.
    """
    found = load_bundle(bundle)
    localiser = found.stages.get('localiser', {})
    if localiser.get('type') != 'audio_visual' or found.lacking_weights:
        raise ValueError(
            f'bundle {bundle!r}: expected a localiser audio_visual, and all weights there'
        )
    source = found.folder / f'{found.name}.yaml'
    values = read_yaml(source, f'bundle {bundle!r}')
    shutil.copytree(found.folder, out)
    count, data = _write_half(checkpoint, out / FILE)
    values['verifier'] = {
        'type': 'sounding',
        'checkpoint': FILE,
        'vision': localiser['clipseg'],
        'beats': localiser['checkpoint'],
        **asdict(by),
    }
    here = next(part for part in values['weights'] if part['folder'] == '.')
    file = out / FILE
    here['files'][FILE] = {'bytes': file.stat().st_size, 'sha256': digest_of(file)}
    order = [*(name for name in values if name != 'weights'), 'weights']
    path = out / source.name
    text = yaml.safe_dump({name: values[name] for name in order}, sort_keys=False, width=100)
    write_text(path, text)
    card = out / CARD
    told = card.read_text('utf-8').split(f'\n{HEADING}\n')[0].rstrip()
    words = _TEXT.format(parts=count / 1e6, data=data)
    write_text(card, f'{told}\n\n{HEADING}\n{words}')
    load_bundle(str(path)).build()
    return path


def _write_half(source: Path, target: Path) -> tuple[int, str]:
    """Write a checkpoint in float16; how many parameters it has, and its data's digest."""
    tensors, metadata = read_safetensors(source)
    halved = {name: value.half().contiguous() for name, value in tensors.items()}
    if odd := [name for name, value in halved.items() if not torch.isfinite(value).all()]:
        raise ValueError(f'{source}: {odd[0]} does not fit into half precision')
    save_file(halved, target, metadata)
    target.chmod(0o644)  # safetensors' files are for their owner alone; these get installed
    return sum(value.numel() for value in tensors.values()), metadata.get('data', 'not told')
