"""What waiting for less sound costs: the rows AV and Full over the seconds after the onset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cs3_training.evaluation.intervals import Difference, Summary, compare, summarise
from cs3_training.evaluation.rows import ROWS, WAIT_ROWS, Result

WIDE, HIGH = 640, 320
"""Size of the drawing, pixels."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 16, 16, 40  # margins
_COLOURS = {'av': '#c2571a', 'full': '#3d7dca'}


@dataclass(frozen=True)
class WaitPoint:
    """A row at one wait, in percent."""

    score: Summary
    over_longest: Difference
    """Less the same row at the longest wait, scene by scene."""


Curves = Mapping[str, Mapping[float, WaitPoint]]
"""Row -> wait in seconds, rising -> point."""


def curves(results: Sequence[Result], groups: Sequence[int]) -> Curves:
    """The curves of all rows that were scored at several waits; empty without waits.

    Args:
        results: of all samples, at least one.
        groups: as ``intervals.summarise``.
    """
    waits = sorted(results[0].waits, key=float)
    found: dict[str, dict[float, WaitPoint]] = {}
    for row in WAIT_ROWS:
        if not waits or row not in results[0].waits[waits[0]]:
            continue
        scores = {wait: [result.waits[wait][row] for result in results] for wait in waits}
        found[row] = {
            float(wait): WaitPoint(
                summarise(scores[wait], groups), compare(scores[wait], scores[waits[-1]], groups)
            )
            for wait in waits
        }
    return found


def as_json(found: Curves) -> dict[str, Any]:
    """{row: {wait: {miou, auc, ci, n, over_longest: {mean, ci}}}}."""
    return {
        row: {
            f'{wait:g}': {
                **asdict(point.score),
                'over_longest': {
                    'mean': point.over_longest.mean,
                    'ci': (point.over_longest.low, point.over_longest.high),
                },
            }
            for wait, point in points.items()
        }
        for row, points in found.items()
    }


def as_text(found: Curves) -> str:
    """A table for a terminal; '' without curves."""
    lines = []
    for row, points in found.items():
        longest = max(points)
        head = f'{ROWS[row].title} over the wait'
        lines.append(f'{head:24}{"mIoU":>7}   {"95 % interval":18}less than at {longest:g} s')
        for wait, point in points.items():
            low, high = point.score.ci
            interval, less = f'{low:.2f} to {high:.2f}', point.over_longest
            lines.append(
                f'{f"{wait:g} s":24}{point.score.miou:7.2f}   {interval:18}'
                + (
                    ''
                    if wait == longest
                    else f'{less.mean:+.2f} [{less.low:+.2f}, {less.high:+.2f}]'
                )
            )
        lines.append('')
    return '\n'.join(lines)


def drawing(found: Curves) -> dict[str, Any]:
    """What ``waits.svg`` draws: lines and intervals in pixels, ticks of both axes.

    The wait is on a logarithmic axis.
    """
    waits = sorted({wait for points in found.values() for wait in points})
    most = max(point.score.ci[1] for points in found.values() for point in points.values())
    top = 10 * float(np.ceil(most / 10)) or 10.0
    low, high = np.log(waits[0]), np.log(waits[-1])

    def x(wait: float) -> float:
        share = (np.log(wait) - low) / (high - low) if high > low else 0.5
        return round(float(_LEFT + share * (WIDE - _LEFT - _RIGHT)), 1)

    def y(score: float) -> float:
        return round(HIGH - _BOTTOM - score / top * (HIGH - _TOP - _BOTTOM), 1)

    return {
        'wide': WIDE,
        'high': HIGH,
        'left': _LEFT,
        'right': WIDE - _RIGHT,
        'bottom': HIGH - _BOTTOM,
        'waits': [(x(wait), f'{wait:g}') for wait in waits],
        'scores': [(y(score), f'{score:g}') for score in np.arange(0, top + 1, 10)],
        'lines': [
            {
                'title': ROWS[row].title,
                'colour': _COLOURS[row],
                'points': [(x(wait), y(point.score.miou)) for wait, point in points.items()],
                'intervals': [(x(wait), *map(y, point.score.ci)) for wait, point in points.items()],
            }
            for row, points in found.items()
        ],
    }
