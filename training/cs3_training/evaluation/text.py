"""The tables for a terminal: rows, differences, those of the paper, breakdowns, single frames."""

from __future__ import annotations

from collections.abc import Sequence

from cs3_training.evaluation.intervals import Summary
from cs3_training.evaluation.paper import PUBLISHED, TABLES
from cs3_training.evaluation.rows import Result, title
from cs3_training.evaluation.tables import (
    Tables,
    words_of,
    words_of_figures,
    words_of_part,
)
from cs3_training.evaluation.waits import as_text as waits_as_text


def paper_table(tables: Tables, name: str) -> list[list[str]]:
    """The cells of a table of the paper: row, mIoU and AUC here, their interval, and the paper's.

    Rows of which neither this run nor the paper has figures are left out.
    """
    published = {} if tables.paper is None else PUBLISHED[tables.paper]
    cells = []
    for row, words in TABLES[name].items():
        summary, figures = tables.rows.get(row), published.get(row)
        if summary is None and figures is None:
            continue
        theirs = '' if figures is None else words_of_figures(figures)
        cells.append([words, *_ours(summary), theirs])
    return cells


def _ours(summary: Summary | None) -> list[str]:
    if summary is None:
        return ['', '', '']
    low, high = summary.ci
    return [f'{summary.miou:.2f}', f'{summary.auc:.2f}', f'{low:.2f} to {high:.2f}']


def as_text(tables: Tables) -> str:
    """The rows and the differences for a terminal."""
    lines = [f'{"":38}{"mIoU":>7}{"AUC":>8}   95 % interval']
    for row, summary in tables.rows.items():
        miou, area, interval = _ours(summary)
        lines.append(f'{title(row):38}{miou:>7}{area:>8}   {interval}')
    lines.append('')
    for (first, second), difference in tables.differences.items():
        name = f'{title(first)} - {title(second)}'
        lines.append(f'{name:58}{words_of(difference)}')
    if tables.waits:
        lines += ['', waits_as_text(tables.waits)]
    return '\n'.join(lines)


def each_as_text(results: Sequence[Result]) -> str:
    """Score and answer of every sample, for a terminal; for a few samples."""
    lines = [f'{"":38}{"Full":>7}{"Centre":>8}   answered']
    for result in results:
        full, centre = (100 * result.scores[row] for row in ('full', 'centre'))
        answer = ' + '.join(result.chosen) or 'nothing'
        lines.append(
            f'{result.id:38}{full:7.1f}{centre:8.1f}   {answer} of {len(result.areas)} annotated'
        )
    return '\n'.join(lines)


def as_paper_text(tables: Tables) -> str:
    """The paper's Tables 1 to 3, the breakdowns of its Figures 6 to 8 and beta, for a terminal."""
    beside = '' if tables.paper is None else f'paper ({tables.paper})'
    lines = []
    for name in TABLES:
        lines.append(f'{name:38}{"mIoU":>7}{"AUC":>8}   {"95 % interval":18}{beside}')
        for words, miou, area, interval, theirs in paper_table(tables, name):
            lines.append(f'{words:38}{miou:>7}{area:>8}   {interval:18}{theirs}'.rstrip())
        lines.append('')
    for kind, groups in tables.breakdowns.items():
        names = list(next(iter(groups.values())))
        lines.append(f'by {kind}')
        lines.append(f'{"":38}{"n":>5}' + ''.join(f'{title(row)[:15]:>17}' for row in names))
        for group, scores in groups.items():
            cells = ''.join(f'{words_of_part(scores[row]):>17}' for row in names)
            lines.append(f'{group:38}{scores[names[0]].n:5}{cells}')
        lines.append('')
    if tables.sweep:
        lines.append(f'{"beta, pixels":38}{"mIoU":>7}   one mask (truth {tables.single:.1f} %)')
        for each in tables.sweep:
            lines.append(
                f'{f"{each.beta:g} of {each.reference}":38}{each.miou:7.2f}   {each.single:.1f} %'
            )
    return '\n'.join(lines)
