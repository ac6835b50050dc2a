"""How much the answer depends on beta: the paper leaves its unit open (method.md C2, G23)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cs3_ros.collision import Candidate
from cs3_ros.verification import VerificationConfig, closest, distinct, touching_pairs

BETAS = (2.0, 5.0, 10.0, 15.0, 30.0, 60.0)
"""What is tried, pixels."""
REFERENCES = (352, 0)
"""Long side of the grid on which they are pixels; 0 is the picture as it is."""
SETTINGS = tuple(f'{reference}:{beta:g}' for reference in REFERENCES for beta in BETAS)
"""Name of each setting, grid and beta."""

_ALL = 10_000.0  # more than any distance that is measured


@dataclass(frozen=True)
class Swept:
    """One setting over all samples, in percent."""

    reference: str
    """Grid, in words."""
    beta: float
    """Pixels of it."""
    miou: float
    """Mean score of the choice by contact."""
    single: float
    """Share of the samples that are answered with one mask; the truth's share is its aim."""


def chosen_by_setting(
    candidates: Sequence[Candidate], config: VerificationConfig
) -> dict[str, tuple[Candidate, ...]]:
    """Setting -> what the strategy ``contact`` chooses by it; distances are measured once a grid.

    Args:
        candidates: of one sample.
        config: all other thresholds.
    """
    chosen: dict[str, tuple[Candidate, ...]] = {}
    kept = distinct(candidates, config, [])
    for reference in REFERENCES:
        pairs = touching_pairs(kept, replace(config, beta=_ALL, beta_reference=reference), [])
        for beta in BETAS:
            touching = [pair for pair in pairs if pair.distance < beta]
            answer = tuple(kept[:1])
            if touching:
                pair, _ = closest(touching, [])
                answer = (pair.first, pair.second)
            chosen[f'{reference}:{beta:g}'] = answer
    return chosen


def swept(results: Sequence[Mapping[str, Sequence[float]]]) -> list[Swept]:
    """The settings over the samples, each with its ``Result.sweep``; empty where none has any."""
    found = []
    for name in SETTINGS:
        values = np.array([sweep[name] for sweep in results if name in sweep], np.float64)
        if len(values):
            reference, beta = name.split(':')
            grid = 'the picture as it is' if reference == '0' else f'long side {reference}'
            score, count = values.T  # [N], [N]
            found.append(
                Swept(
                    grid, float(beta), 100 * float(score.mean()), 100 * float((count == 1).mean())
                )
            )
    return found
