"""From the scores of samples to the table: rows, differences, breakdowns and checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from cs3_training.evaluation.intervals import Difference, Summary, by_size, compare, summarise
from cs3_training.evaluation.rows import ROWS, Result
from cs3_training.evaluation.waits import Curves, curves
from cs3_training.evaluation.waits import as_json as waits_as_json
from cs3_training.evaluation.waits import as_text as waits_as_text

ORDERINGS: tuple[tuple[str, str], ...] = (
    ('centre', 'random'),
    ('av', 'centre'),
    ('full', 'av'),
    ('oracle', 'full'),
    ('av', 'av_shuffled'),
    ('full', 'full_shuffled'),
    ('full', 'full_random_av'),
)
"""Pairs of rows of which the first has to be better."""

PARTS: tuple[tuple[str, str], ...] = (
    ('av', 'av_no_crop'),
    ('av_sam', 'av'),
    ('full', 'full_no_av'),
    ('full', 'full_no_sam'),
    ('full', 'full_no_crop'),
    ('full', 'right_left'),
    ('full', 'right_av'),
    ('full_sounding', 'full_contact'),
    ('full_sounding', 'full_sounding_shuffled'),
    ('full_sounding_shuffled', 'full_contact'),
    ('oracle', 'full_sounding'),
)
"""Pairs whose difference says what a part is worth."""

BROKEN_DOWN = ('centre', 'av', 'av_sam', 'right_left', 'full', 'oracle')
"""Rows that are broken down."""


@dataclass(frozen=True)
class Check:
    """One of the things that have to hold."""

    what: str
    found: str
    good: bool


@dataclass(frozen=True)
class Tables:
    """Everything that is printed, written or drawn; scores in percent."""

    rows: Mapping[str, Summary]
    differences: Mapping[tuple[str, str], Difference]
    """(row, other row) -> by how much the first is better."""
    breakdowns: Mapping[str, Mapping[str, Mapping[str, Summary]]]
    """What it is broken down by -> group -> row -> scores."""
    shares: Mapping[str, float]
    """What the full system answers, percent of the samples."""
    waits: Curves = field(default_factory=dict)
    """Scores over the wait for sound."""


def tabulate(results: Sequence[Result]) -> Tables:
    """Make the tables.

    Partners share their sounds in the shuffled rows, so the bootstrap draws them together.

    Raises:
        ValueError: no results.
    """
    if not results:
        raise ValueError('no results: expected at least one scene')
    names = [row for row in ROWS if row in results[0].scores]
    rows = {row: _summary(results, row) for row in names}
    pairs = [pair for pair in (*ORDERINGS, *PARTS) if set(pair) <= set(names)]
    differences = {
        (first, second): compare(
            [r.scores[first] for r in results],
            [r.scores[second] for r in results],
            pairs_of(results),
        )
        for first, second in pairs
    }
    shown = [row for row in BROKEN_DOWN if row in names]
    waits = curves(results, pairs_of(results))
    return Tables(rows, differences, _breakdowns(results, shown), _shares(results), waits)


def pairs_of(results: Sequence[Result]) -> list[int]:
    """Number of the pair of partners that each result belongs to, groups for the bootstrap."""
    return [result.index // 2 for result in results]


def _summary(results: Sequence[Result], row: str) -> Summary:
    return summarise([result.scores[row] for result in results], pairs_of(results))


def _breakdowns(
    results: Sequence[Result], rows: Sequence[str]
) -> dict[str, dict[str, dict[str, Summary]]]:
    kinds: dict[str, dict[str, Callable[[Result], bool]]] = {
        'number of colliding objects': {
            'one': lambda r: len(r.areas) == 1,
            'two': lambda r: len(r.areas) == 2,
        },
        'hands': {
            'a hand holds a colliding object': lambda r: r.in_hand,
            'no hand does': lambda r: not r.in_hand,
        },
    }
    tables: dict[str, dict[str, dict[str, Summary]]] = {}
    for kind, groups in kinds.items():
        tables[kind] = {}
        for group, belongs in groups.items():
            members = [result for result in results if belongs(result)]
            if members:
                tables[kind][group] = {row: _summary(members, row) for row in rows}
    areas = [area for result in results for area in result.areas]
    sizes = {row: by_size(areas, [iou for r in results for iou in r.ious[row]]) for row in rows}
    tables['share of the picture that an object covers (each object counts by itself)'] = {
        group: {row: sizes[row][group] for row in rows} for group in next(iter(sizes.values()))
    }
    return tables


def _shares(results: Sequence[Result]) -> dict[str, float]:
    """Percent of the samples, by what the full system had, chose and why."""
    counts: Counter[str] = Counter()
    for result in results:
        counts[f'number of objects: {len(result.chosen)}'] += 1
        if len(result.chosen) == len(result.areas):
            counts['number of objects is right'] += 1
        for label in result.candidates:
            counts[f'candidate {label} was there'] += 1
        for label in result.chosen:
            counts[f'candidate {label} was chosen'] += 1
        counts[f'rule {result.rule}'] += 1
    return {name: 100 * counts[name] / len(results) for name in sorted(counts)}


def orderings(tables: Tables) -> list[Check]:
    """Whether means stand in the order that the issue asks for; what CI looks at."""
    return [_ordered(tables, pair, lambda d: d.mean > 0) for pair in ORDERINGS]


def acceptance(tables: Tables) -> list[Check]:
    """Everything that the issue asks of the 2 000 scenes: orders apart by intervals, and scores."""
    checks = [_ordered(tables, pair, lambda d: d.low > 0) for pair in ORDERINGS]
    for pair, least in (
        (('av', 'av_shuffled'), 5.0),
        (('full', 'full_shuffled'), 2.0),
        (('full', 'full_random_av'), 2.0),
    ):
        checks.append(_ordered(tables, pair, partial(_at_least, least), least))
    scores = {row: summary.miou for row, summary in tables.rows.items()}
    for row, least in (('av', 15.0), ('full', 36.0)):
        found = scores.get(row)
        words = 'no such row' if found is None else f'{found:.2f}'
        checks.append(
            Check(f'{ROWS[row].title} >= {least:g}', words, found is not None and found >= least)
        )
    ratio = scores['av'] / scores['centre'] if 'av' in scores and scores['centre'] else 0.0
    checks.append(Check('AV >= 1.5 x Centre', f'{ratio:.2f} x', ratio >= 1.5))
    return checks


def _at_least(least: float, difference: Difference) -> bool:
    return difference.mean >= least


def _ordered(
    tables: Tables,
    pair: tuple[str, str],
    holds: Callable[[Difference], bool],
    least: float = 0.0,
) -> Check:
    first, second = (ROWS[row].title for row in pair)
    what = f'{first} - {second} >= {least:g}' if least else f'{second} < {first}'
    if pair not in tables.differences:
        return Check(what, 'the bundle cannot make these rows', False)
    difference = tables.differences[pair]
    return Check(what, words_of(difference), holds(difference))


GATES: Mapping[str, Callable[[Tables], list[Check]]] = {
    'orderings': orderings,
    'acceptance': acceptance,
}
"""Name of a gate -> its checks."""


def words_of(difference: Difference) -> str:
    """Such as '+3.21 [+2.10, +4.30]'."""
    return f'{difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]'


def rows_as_json(tables: Tables) -> dict[str, Any]:
    """{row: {miou, auc, ci, n, over}}; ``over`` holds what it is better by than other rows.

    With waits they are there as ``waits``: {row: {wait: {miou, auc, ci, n, over_longest}}}.
    """
    data: dict[str, Any] = {row: asdict(summary) for row, summary in tables.rows.items()}
    for row in data:
        data[row]['over'] = {
            second: {'mean': d.mean, 'ci': (d.low, d.high)}
            for (first, second), d in tables.differences.items()
            if first == row
        }
    if tables.waits:
        data['waits'] = waits_as_json(tables.waits)
    return data


def as_json(tables: Tables) -> dict[str, Any]:
    """Everything, with the checks of both gates."""
    return {
        'rows': rows_as_json(tables),
        'breakdowns': {
            kind: {
                group: {row: asdict(summary) for row, summary in rows.items()}
                for group, rows in groups.items()
            }
            for kind, groups in tables.breakdowns.items()
        },
        'shares': dict(tables.shares),
        'gates': {name: [asdict(c) for c in checks(tables)] for name, checks in GATES.items()},
    }


def as_text(tables: Tables) -> str:
    """The table and the differences for a terminal."""
    lines = [f'{"":38}{"mIoU":>7}{"AUC":>8}   95 % interval']
    for row, summary in tables.rows.items():
        interval = f'{summary.ci[0]:6.2f} to {summary.ci[1]:.2f}'
        lines.append(f'{ROWS[row].title:38}{summary.miou:7.2f}{summary.auc:8.2f}   {interval}')
    lines.append('')
    for (first, second), difference in tables.differences.items():
        name = f'{ROWS[first].title} - {ROWS[second].title}'
        lines.append(f'{name:58}{words_of(difference)}')
    if tables.waits:
        lines += ['', waits_as_text(tables.waits)]
    return '\n'.join(lines)
