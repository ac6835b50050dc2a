"""The model card of nano, filled from the numbers of its run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cs3_training.nano.config import NanoConfig
from cs3_training.synth.vocabulary import MATERIALS

_WHAT = {
    'clip': 'CLIP towers: image-text contrast, patch-text loss',
    'clipseg': 'CLIPSeg: masks by text',
    'audio': 'BEATs: materials and shapes by sound',
    'hands': 'RT-DETRv2: hands and held objects',
    'masks': 'SAM 2: masks by boxes and points',
    'weak': 'CS3: audio token and BEATs, weakly supervised',
}

_CARD = """\
# nano

The complete CS3 pipeline at tiny size: an audio token made by BEATs tells CLIPSeg where a sound
is, RT-DETRv2 finds hands and what they hold, SAM 2 cuts out the masks. The classes are those of
the full system, only the numbers in their configurations are small.

**It knows only the synthetic world of `cs3_training.synth`**: drawn table tops, objects and hands,
computed sounds. In real images and sounds it finds nothing useful. It is there for demonstrations,
tests and continuous integration.

- Licence: Apache-2.0, weights and data. No other data and no other weights were used.
- Size: {million:.1f} million parameters ({parts}), {megabytes:.1f} MB in half precision.
- Made by: `cs3-train nano --out DIR{taken}`{settings}, seed {seed}.{start}

## Data

Scenes of {size} x {size} pixels with 2 s of sound at 16 kHz, from `cs3_training.synth`:

- {pretrain} scenes of the split *train* with their truth, for all stages but the last;
- {pairs} further scenes of *train*, of which the last stage sees picture and sound alone;
- {validation} scenes of *validation*; the figures below are of the first 48 or more of them. The
  test split was not used.

SHA-256 of the sets: {digests}.

The last stage is trained without labels; but **its checkpoint was chosen by the mIoU of the heat
map on labelled validation scenes**.

## Figures on validation scenes

{table}

Chance is 0.14 for materials, 0.13 for shapes, 0.5 for AUC; the surest material of a sound is one of
two in most scenes. The thresholds of the hands were chosen on these scenes by F1, and recall is at
these. The mIoU of AV is that of the heat map with the second look, cut at 0.5, as the only mask,
with {wait_s:g} s of sound after the onset unless it says otherwise; it was selected on the same
scenes. All were measured before the weights were cut to half precision. Figures on the test split
are in the documentation of the package, under benchmarks.

## Limits

Real images, real sounds, other shapes and materials, other points of view, more than two hands,
events that are no collisions. Of the materials it hears {worst} worst; of several things of one
material it hears no difference.
"""


_START = (
    ' All stages are those of an earlier bundle `{bundle}`, whose `audio_visual.safetensors` '
    '(SHA-256 `{sha256}`, {steps} steps of the last stage) was taught to hear less of a sound.'
)


def read_card(text: str, where: str) -> dict[str, dict[str, Any]]:
    """Stage -> its ``steps``, ``seconds`` and ``figures``, as the table of a card has them.

    ``scenes`` has the ``digests`` instead, the first 16 digits of each.

    Raises:
        ValueError: ``where`` is no card of this recipe.
    """
    rows = dict(re.findall(r'^\| (.+?) \| (\d+ \| \d+ \| .+) \|$', text, re.MULTILINE))
    found: dict[str, dict[str, Any]] = {
        'scenes': {'digests': dict(re.findall(r'(\w+) `([0-9a-f]{16})`', text))}
    }
    for name, what in _WHAT.items():
        if what not in rows:
            raise ValueError(f'{where}: no row {what!r}; expected a card of cs3-train nano')
        steps, minutes, figures = rows[what].split(' | ')
        pairs = (pair.rsplit(' ', 1) for pair in _FIGURE.findall(figures))
        found[name] = {
            'steps': int(steps),
            'seconds': 60.0 * int(minutes),
            'figures': {key: float(value) for key, value in pairs},
        }
    return found


def _changed(config: NanoConfig) -> str:
    """The settings that are not those of the recipe, as YAML for ``--settings``; '' for none."""
    usual = asdict(NanoConfig())
    parts = {
        name: {k: v for k, v in values.items() if v != usual[name][k]}
        for name, values in asdict(config).items()
        if isinstance(values, dict)
    }
    parts = {name: values for name, values in parts.items() if values}
    return f' with the settings `{json.dumps(parts)}`' if parts else ''


_FIGURE = re.compile(r'(\S.*? -?\d+\.\d+)(?:, |$)')


def model_card(
    config: NanoConfig,
    records: Mapping[str, Mapping[str, Any]],
    counts: Mapping[str, int],
    size: int,
) -> str:
    """The card as Markdown.

    Args:
        config: the recipe.
        records: what each stage left in ``done.json``; ``scenes`` holds the digests.
        counts: file or folder of weights -> number of parameters.
        size: of all files together, bytes.
    """
    rows = ['| Stage | Steps | Minutes | Figures |', '|---|---|---|---|']
    for name, what in _WHAT.items():
        record = records[name]
        figures = ', '.join(f'{key} {value:.3f}' for key, value in record['figures'].items())
        minutes = record['seconds'] / 60
        rows.append(f'| {what} | {record["steps"]} | {minutes:.0f} | {figures} |')
    digests = ', '.join(f'{k} `{v[:16]}`' for k, v in records['scenes']['digests'].items())
    scenes, taken = config.scenes, records['audio']['settings'].get('taken')
    heard = records['audio']['figures']
    materials = sorted(MATERIALS, key=lambda material: heard[f'AUC {material}'])
    return _CARD.format(
        seed=config.seed,
        taken=' --from nano.yaml' if taken else '',
        start=_START.format(**taken) if taken else '',
        settings=_changed(config),
        wait_s=config.weak.wait_s,
        size=scenes.size,
        pretrain=scenes.pretrain,
        pairs=scenes.pairs,
        validation=scenes.validation,
        digests=digests,
        table='\n'.join(rows),
        million=sum(counts.values()) / 1e6,
        megabytes=size / 1e6,
        parts=', '.join(f'{count / 1e6:.1f} in `{name}`' for name, count in counts.items()),
        worst=f'{", ".join(materials[:2])} and {materials[2]}',
    )
