"""The report of an evaluation: one HTML file that needs nothing beside it, not even a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cs3_ros.drawing.page import render
from cs3_ros.files.atomic import write_text
from cs3_training.evaluation import runner
from cs3_training.evaluation.intervals import Summary
from cs3_training.evaluation.paper import TABLES
from cs3_training.evaluation.pictures import CANDIDATE_COLOURS, pictures_of
from cs3_training.evaluation.rows import ROWS, LeftOut, Result, SystemRow, title
from cs3_training.evaluation.tables import (
    Tables,
    groups_of,
    words_of,
    words_of_part,
)
from cs3_training.evaluation.text import paper_table
from cs3_training.evaluation.waits import Curves, drawing

CASES = 4
"""Best, worst and other cases that are shown, each."""

_CASE_ROWS = ('full', 'av', 'right_left', 'oracle')  # whose scores a case shows


def write_report(
    path: Path,
    job: runner.Job,
    results: Sequence[Result],
    tables: Tables,
    scorer: runner.Scorer | None = None,
    left_out: Sequence[LeftOut] = (),
) -> None:
    """Write the file; the samples that it shows are scored again for their pictures.

    Args:
        path: the file, replaced where it exists.
        job: what was evaluated.
        results: of all samples, at least one.
        tables: made of them.
        scorer: gives samples and evidence; None loads the job's bundle, where this process has not.
        left_out: what could not be scored.

    Raises:
        OSError: the file cannot be written.
    """
    scorer = scorer or runner.scorer(job)
    page = render(
        'cs3_training.evaluation',
        'report.html',
        bundle=scorer.evaluator.name,
        scenes=len(results),
        split=job.split,
        data=job.data,
        groups=len(set(groups_of(results))),
        left_out=[(each.id, each.reason) for each in left_out],
        share_of_pairs=sum(len(result.areas) == 2 for result in results) / len(results),
        share_in_hand=sum(bool(result.in_hand) for result in results) / len(results),
        system_rows={
            row: ROWS.get(row, SystemRow(row, 'Masks of another method, imported.'))
            for row in tables.rows
        },
        tables=tables,
        paper_tables={name: paper_table(tables, name) for name in TABLES},
        sweep=[
            (f'{each.beta:g} of {each.reference}', f'{each.miou:.2f}', f'{each.single:.1f}')
            for each in tables.sweep
        ],
        differences=_differences(tables),
        curve=drawing(tables.waits) if tables.waits else None,
        gates=tables.gates,
        breakdowns={kind: _breakdown(groups) for kind, groups in tables.breakdowns.items()},
        shares=[(name, f'{share:.1f}') for name, share in tables.shares.items()],
        candidate_colours=CANDIDATE_COLOURS,
        cases={
            heading: [_case(scorer, result) for result in group]
            for heading, group in choose_cases(results).items()
        },
    )
    write_text(path, page)


def write_curve(path: Path, curves: Curves) -> None:
    """Draw scores over the wait into an SVG file.

    Raises:
        OSError: the file cannot be written.
    """
    write_text(path, render('cs3_training.evaluation', 'waits.svg', curve=drawing(curves)))


def choose_cases(results: Sequence[Result], seed: int = 0) -> dict[str, list[Result]]:
    """Heading -> the samples shown below it; no sample twice."""
    ranked = sorted(results, key=lambda r: (-r.scores['full'], r.index))
    count = min(CASES, len(ranked) // 3 or 1)
    best, rest = ranked[:count], ranked[count:]
    worst, middle = rest[len(rest) - min(count, len(rest)) :][::-1], rest[: -count or None]
    drawn = np.random.default_rng(seed).permutation(len(middle))[:CASES]
    others = [middle[k] for k in sorted(drawn)]
    groups = {'Best': best, 'Worst': worst, 'Drawn at random': others}
    return {heading: group for heading, group in groups.items() if group}


def _differences(tables: Tables) -> list[tuple[str, str, str]]:
    """Both rows, by how much the first is better, whether the interval excludes zero."""
    return [
        (
            f'{title(first)} - {title(second)}',
            words_of(difference),
            'apart' if difference.apart else 'not apart',
        )
        for (first, second), difference in tables.differences.items()
    ]


def _breakdown(groups: Mapping[str, Mapping[str, Summary]]) -> tuple[list[str], list[list[str]]]:
    """Head and cells."""
    names = list(next(iter(groups.values())))
    cells = [
        [group, str(scores[names[0]].n), *(words_of_part(scores[row]) for row in names)]
        for group, scores in groups.items()
    ]
    return ['', 'n', *(title(row) for row in names)], cells


def _case(scorer: runner.Scorer, result: Result) -> dict[str, Any]:
    """What a section shows of a sample."""
    sample = scorer.samples[result.index]
    collision = scorer.evaluator.look(sample).found['own']
    return {
        'title': ': '.join([sample.id or f'scene {result.seed}', *[' and '.join(sample.names)]]),
        'scores': [
            f'{title(row)} {100 * result.scores[row]:.0f}'
            for row in _CASE_ROWS
            if row in result.scores
        ],
        'pictures': pictures_of(sample, collision),
        'trace': collision.verdict.trace,
    }
