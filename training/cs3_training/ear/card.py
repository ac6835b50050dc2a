"""The card of the gate, filled from the numbers of its run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from cs3_ros.trigger.gate import SHAPES
from cs3_ros.trigger.gate_features import AFTER_S, BEFORE_S
from cs3_training.ear.examples import SECONDS, Examples
from cs3_training.ear.train import KEPT, EarConfig

_CARD = """\
# gate

The network behind `onset.gate`: from {before} ms before to {after} ms after a sudden sound it says
how probable a struck object is. {weights} weights, float32.

- Made by: `cs3-train ear --out DIR{options}`, seed {seed}, {steps} steps of {batch} candidates.
- Licence: Apache-2.0. Recordings named below were listened to in training; none is in the package.

## Data

{scenes} scenes of {seconds:.0f} s at 8 to 48 kHz gave {candidates} candidates of the detector:
{impacts} impacts and {false} others, {talk} of these in speech. Tones, motors, wind, noise, hum,
faults of wires, rooms and microphones are computed.

- Impacts: computed, by `cs3_training.synth.impact` and wider families{struck}.
- Speech: espeak-ng in all its languages and voices{speech}.

## Figures

{judges} other scenes chose the weights{judged}. At the threshold {threshold:.2f}, where
{kept:.0%} of all their impacts pass:

| | |
|---|---|
| impacts in speech that pass | {impacts_in_speech:.3f} |
| impacts elsewhere that pass | {impacts_elsewhere:.3f} |
| others in speech turned away | {turned_away_in_speech:.3f} |
| others elsewhere turned away | {turned_away_elsewhere:.3f} |

`cs3 bench ear` measures it on sounds that nobody has learned from; docs/benchmarks.md has them.

## Limits

It has learned what is sudden in speech, tones and machines, not every sound there is. Sounds that
are made as impacts are, such as drums and clapping, pass. It does not know what was struck, nor
whether it matters.
"""


def card(
    config: EarConfig,
    examples: Examples,
    judges: Examples,
    figures: Mapping[str, float],
    folders: Mapping[str, Sequence[Path]],
) -> str:
    """The card as Markdown.

    Args:
        config: settings.
        examples: what was learned from.
        judges: what chose the weights.
        figures: of ``train.rates`` on the judges.
        folders: recordings, as ``recipe.make_gate``.
    """
    size = sum(math.prod(shape) + shape[0] for shape in SHAPES.values())

    def recordings(name: str, words: str) -> str:
        names = ', '.join(folder.name for folder in folders[name])
        return f'{words}: {names}' if names else ''

    impact = examples.impact == 1
    return _CARD.format(
        before=round(BEFORE_S * 1000),
        after=round(AFTER_S * 1000),
        weights=size,
        options=''.join(f' --{name} ...' for name, given in folders.items() if given),
        seed=config.seed,
        steps=config.steps,
        batch=config.batch,
        scenes=config.scenes,
        seconds=SECONDS,
        candidates=impact.size,
        impacts=int(impact.sum()),
        false=int((~impact).sum()),
        talk=int((~impact & (examples.talk == 1)).sum()),
        struck=recordings('impacts', '; recordings'),
        speech=recordings('speech', '; recordings'),
        judges=config.judges,
        judged=recordings('judges', '; recordings'),
        kept=KEPT,
        **figures,
    )
