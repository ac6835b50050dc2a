"""The report of an evaluation: one HTML file that needs nothing beside it, not even a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from cs3_ros.drawing.overlay import OBJECT_COLOURS
from cs3_ros.drawing.page import figure, page, patch, table
from cs3_training.evaluation.intervals import Summary
from cs3_training.evaluation.pictures import CANDIDATE_COLOURS, pictures_of
from cs3_training.evaluation.rows import ROWS, Result
from cs3_training.evaluation.runner import Job, Scorer, scorer
from cs3_training.evaluation.tables import GATES, Tables, words_of

CASES = 4
"""Best, worst and other cases that are shown, each."""

_BAR = 240  # width of a bar of 100 %, pixels


def write_report(
    path: Path,
    job: Job,
    results: Sequence[Result],
    tables: Tables,
    look: Scorer | None = None,
) -> None:
    """Write the file; the samples that it shows are looked at again for their pictures.

    Args:
        path: the file, replaced where it exists.
        job: what was evaluated.
        results: of all samples.
        tables: made of them.
        look: gives samples and evidence; None loads the job's bundle, where this process has not.
    """
    look = look or scorer(job)
    parts = [
        _about(job, look, results),
        '<h2>Scores</h2>',
        _scores(tables),
        '<p>The row Touch of the paper is left out: it needs the second object that a held one '
        'touches, which this detector of hands does not look for.</p>',
        '<h2>Differences</h2>',
        '<p>Percent points on the same scenes, with the 95 % interval of the paired bootstrap.</p>',
        _differences(tables),
        '<h2>What has to hold</h2>',
        *(f'<h3>{escape(name)}</h3>{_checks(tables, name)}' for name in GATES),
        '<h2>Breakdowns</h2>',
        *(_breakdown(kind, groups) for kind, groups in tables.breakdowns.items()),
        '<h2>What the full system answers</h2>',
        table(['', '% of scenes'], ([n, f'{v:.1f}'] for n, v in tables.shares.items())),
        '<h2>Cases</h2>',
        _legend(),
        *_cases(look, results),
    ]
    title = f'Evaluation of the bundle {look.evaluator.name}'
    path.write_text(page(title, '\n'.join(parts)), 'utf-8')


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


def _about(job: Job, look: Scorer, results: Sequence[Result]) -> str:
    seeds = 'seeds that are never used in training'
    if job.split == 'validation':
        seeds += '; checkpoint and thresholds of nano were chosen on some of them'
    pairs = sum(len(result.areas) == 2 for result in results) / len(results)
    held = sum(result.in_hand for result in results) / len(results)
    return (
        f'<p>Bundle <b>{escape(look.evaluator.name)}</b> on {len(results)} scenes of the synthetic '
        f'collision world (split {escape(job.split)}: {seeds}). '
        f'In {pairs:.0%} of them two objects collide, in the others one object hits the table; '
        f'in {held:.0%} a hand holds one of them.</p>'
        '<p class="note">These are drawn pictures and computed sounds. The figures compare methods '
        'on them and say nothing about photographs.</p>'
        '<p>The task: a picture and the sound of a collision are given; the masks of the one or '
        'two objects that collided are asked for. The score of a scene is the IoU of the answered '
        'with the true masks under the best assignment, divided by the larger number of masks, so '
        'a missing and a needless mask both count as 0. mIoU is its mean in percent; AUC is the '
        'area under the share of scenes that reach a score, over the score.</p>'
    )


def _scores(tables: Tables) -> str:
    rows = (
        [
            f'<b>{escape(ROWS[row].title)}</b><br><small>{escape(ROWS[row].meaning)}</small>',
            f'{summary.miou:.2f}',
            f'{summary.auc:.2f}',
            _bar(summary),
        ]
        for row, summary in tables.rows.items()
    )
    return table(['', 'mIoU', 'AUC', 'mIoU with its 95 % interval'], rows, raw=True)


def _bar(summary: Summary) -> str:
    x, low, high = (value * _BAR / 100 for value in (summary.miou, *summary.ci))
    return (
        f'<svg width="{_BAR}" height="18" role="img" aria-label="{summary.miou:.1f} %">'
        f'<rect width="{_BAR}" height="18" class="scale"/>'
        f'<rect y="3" width="{x:.1f}" height="12" class="bar"/>'
        f'<path d="M{low:.1f} 5v8M{low:.1f} 9H{high:.1f}M{high:.1f} 5v8" class="whisker"/></svg>'
        f' <small>{summary.ci[0]:.2f} to {summary.ci[1]:.2f}</small>'
    )


def _differences(tables: Tables) -> str:
    rows = (
        [
            f'{ROWS[first].title} - {ROWS[second].title}',
            words_of(difference),
            'apart' if difference.apart else 'not apart',
        ]
        for (first, second), difference in tables.differences.items()
    )
    return table(['', 'difference', ''], rows)


def _checks(tables: Tables, gate: str) -> str:
    rows = (
        [
            escape(check.what),
            escape(check.found),
            f'<span class="{"good" if check.good else "bad"}">'
            f'{"holds" if check.good else "does not hold"}</span>',
        ]
        for check in GATES[gate](tables)
    )
    return table(['', 'found', ''], rows, raw=True)


def _breakdown(kind: str, groups: Mapping[str, Mapping[str, Summary]]) -> str:
    names = list(next(iter(groups.values())))
    rows = (
        [group, str(scores[names[0]].n), *(f'{scores[row].miou:.1f}' for row in names)]
        for group, scores in groups.items()
    )
    titles = [ROWS[row].title for row in names]
    return f'<h3>By {escape(kind)}</h3>' + table(['', 'n', *titles], rows)


def _legend() -> str:
    objects = [patch(c, f'object {k}') for k, c in enumerate(OBJECT_COLOURS, 1)]
    candidates = [patch(c, label.replace('_', ' ')) for label, c in CANDIDATE_COLOURS.items()]
    return (
        '<p>Each case shows the scene, the truth, the sound (time to the right, frequency upwards, '
        'ticks at the collision), the heat map of the second look (its region of 0.5 and more in '
        'white), the candidate masks and the answer, in the colours of the true objects that it is '
        'compared with.</p>'
        f'<p>Truth and answer: {" ".join(objects)}. Candidates: {" ".join(candidates)}.</p>'
    )


def _cases(look: Scorer, results: Sequence[Result]) -> Iterable[str]:
    for heading, chosen in choose_cases(results).items():
        yield f'<h3>{escape(heading)}</h3>'
        for result in chosen:
            sample = look.samples[result.index]
            collision = look.evaluator.look(sample).found['own']
            shown = ('full', 'av', 'right_left', 'oracle')
            scores = ', '.join(
                f'{ROWS[row].title} {100 * result.scores[row]:.0f}'
                for row in shown
                if row in result.scores
            )
            figures = ''.join(
                figure(image, caption) for caption, image in pictures_of(sample, collision)
            )
            trace = ' '.join(collision.verdict.trace)
            yield (
                f'<section><h4>Scene {result.seed}: {escape(" and ".join(sample.names))}</h4>'
                f'<p>Scores: {escape(scores)}.</p><div class="row">{figures}</div>'
                f'<p><small>{escape(trace)}</small></p></section>'
            )
