"""Runs that go on, tables and gates from known scores, and the command."""

from __future__ import annotations

import needs

needs.training()

import json

import numpy as np
import pytest
from evaluation_fakes import OTHERS, result

from cs3_ros.files.output_folder import MARKER
from cs3_training import cli
from cs3_training.evaluation import runner
from cs3_training.evaluation.intervals import compare, summarise
from cs3_training.evaluation.rows import ROWS
from cs3_training.evaluation.runner import Job, identity, run
from cs3_training.evaluation.tables import (
    BROKEN_DOWN,
    ORDERINGS,
    acceptance,
    as_json,
    orderings,
    rows_as_json,
    tabulate,
)
from cs3_training.evaluation.text import as_text

JOB = Job('somewhere')
GOOD = {
    'random': 0.03,
    'centre': 0.07,
    'av_shuffled': 0.1,
    'av': 0.2,
    'full_shuffled': 0.35,
    'full_random_av': 0.36,
    'full': 0.4,
    'oracle': 0.5,
}


def noisy(count: int = 60, **changed: float):
    """Results whose rows lie round ``GOOD``."""
    rng = np.random.default_rng(0)
    return [
        result(k, {row: v + rng.uniform(-0.01, 0.01) for row, v in (GOOD | changed).items()})
        for k in range(count)
    ]


@pytest.fixture
def scored(monkeypatch):
    """Samples that were scored, in order; nothing is loaded."""
    asked: list[int] = []

    def score_all(indices):
        asked.extend(indices)
        return [result(index, index / 100) for index in indices]

    monkeypatch.setattr(runner, 'scorer', lambda job: score_all)
    monkeypatch.setattr(runner, 'identity', lambda job: {'bundle': job.bundle, 'split': job.split})
    return asked


def test_a_run_goes_on_where_it_was_ended(scored, tmp_path):
    path = tmp_path / 'new' / 'results.jsonl'
    whole = run(JOB, 7)
    assert [r.index for r in whole] == list(range(7))
    scored.clear()
    assert run(JOB, 3, path=path) == whole[:3] and scored == [0, 1, 2]
    with path.open('a') as file:
        file.write('{"index": 3, "se')  # killed while it wrote
    scored.clear()
    assert run(JOB, 7, path=path) == whole and scored == [3, 4, 5, 6]
    text = path.read_text()
    assert len(text.splitlines()) == 8 and json.loads(text.splitlines()[0])['split'] == 'test'
    scored.clear()
    assert run(JOB, 5, path=path) == whole[:5] and scored == []
    assert path.read_text() == text


def test_a_file_that_was_cut_off_in_its_first_line_begins_anew(scored, tmp_path):
    path = tmp_path / 'results.jsonl'
    path.write_text('{"bundle": "som')
    run(JOB, 2, path=path)
    assert run(JOB, 2, path=path) and scored == [0, 1]


def test_results_of_something_else_are_refused(scored, tmp_path):
    path = tmp_path / 'results.jsonl'
    run(JOB, 2, path=path)
    with pytest.raises(ValueError, match=r'results\.jsonl.*other split.*name another file'):
        run(Job('somewhere', 'validation'), 2, path=path)
    for text in ('hello\n', '[1]\n', '{"bundle": "somewhere", "split": "test"}\n{"index": 1}\n'):
        path.write_text(text)
        with pytest.raises(ValueError, match='name another file'):
            run(JOB, 2, path=path)
        assert path.read_text() == text


def test_what_results_depend_on(cs3_home, tmp_path):
    facts = identity(Job('cs3'))
    assert facts == identity(Job('cs3'))
    assert 'cs3/audio_visual.safetensors' in facts['weights']
    assert 'cs3/hands/model.safetensors' in facts['weights']
    assert all(len(digest) == 64 for digest in facts['weights'].values())
    assert identity(Job('cs3', rows=('av', 'random'))) == facts | {'rows': ['av', 'random']}
    other = identity(Job('cs3', 'validation'))
    assert {name for name in facts if facts[name] != other[name]} == {'split', 'world'}


def test_rows_and_differences_are_those_of_the_metrics():
    results = noisy()
    tables = tabulate(results)
    groups = [k // 2 for k in range(60)]
    full, av = ([r.scores[row] for r in results] for row in ('full', 'av'))
    assert tables.rows['full'] == summarise(full, groups)
    assert tables.differences['full', 'av'] == compare(full, av, groups)
    assert list(tables.rows) == list(ROWS)
    with pytest.raises(ValueError, match='at least one scene'):
        tabulate([])


def test_breakdowns_count_what_they_should():
    results = [result(k, 0.1 * k, areas=[0.003] if k < 2 else [0.03, 0.3]) for k in range(5)]
    tables = tabulate(results).breakdowns
    count, hands, sizes = (tables[kind] for kind in tables)
    assert {group: rows['full'].n for group, rows in count.items()} == {'one': 2, 'two': 3}
    assert count['one']['full'].miou == pytest.approx(5) and list(count['one']) == [*BROKEN_DOWN]
    assert {group: rows['av'].n for group, rows in hands.items()} == {
        'a hand holds a colliding object': 4,
        'no hand does': 1,
    }
    assert {group: rows['full'].n for group, rows in sizes.items()} == {
        '0-0.5 %': 2,
        '2-5 %': 3,
        '20-100 %': 3,
    }
    shares = tabulate(results).shares
    assert shares['number of objects: 2'] == 100 and shares['number of objects is right'] == 60
    assert shares['candidate audio_visual was chosen'] == 100


def test_the_json_has_the_four_numbers_of_every_row():
    data = json.loads(json.dumps(rows_as_json(tabulate(noisy()))))
    assert set(data) == set(ROWS)
    for row in data.values():
        assert set(row) == {'miou', 'auc', 'ci', 'n', 'over'}
        assert row['ci'][0] - 1e-9 <= row['miou'] <= row['ci'][1] + 1e-9 and row['n'] == 60
    for first, second in ORDERINGS:
        over = data[first]['over'][second]
        assert over['ci'][0] <= over['mean'] <= over['ci'][1]
        assert over['mean'] == pytest.approx(data[first]['miou'] - data[second]['miou'])
    everything = as_json(tabulate(noisy()))
    json.dumps(everything)
    assert set(everything) == {
        'rows', 'breakdowns', 'shares', 'gates', 'paper', 'single', 'sweep',
    }  # fmt: skip
    assert set(everything['gates']) == {'orderings', 'acceptance'}


@pytest.mark.parametrize('better, worse', ORDERINGS)
def test_each_ordering_can_fail_by_itself(better, worse):
    assert all(check.good for check in orderings(tabulate(noisy())))
    tables = tabulate(noisy(**{worse: GOOD[better] + 0.03}))
    failed = [check.what for check in orderings(tables) if not check.good]
    assert f'{ROWS[worse].title} < {ROWS[better].title}' in failed


@pytest.mark.parametrize(
    'changed, failed',
    [
        ({}, []),
        ({'av': 0.145, 'av_shuffled': 0.08}, ['AV >= 15']),
        ({'centre': 0.15}, ['AV >= 1.5 x Centre']),
        ({'av_shuffled': 0.16}, ['AV - AV, shuffled audio >= 5']),
        ({'full_shuffled': 0.39}, ['Full - Full, shuffled audio >= 2']),
        ({'full_random_av': 0.39}, ['Full - Full, random AV >= 2']),
        ({'full': 0.355, 'full_shuffled': 0.3, 'full_random_av': 0.3}, ['Full >= 36']),
    ],
)
def test_acceptance_asks_for_the_scores_of_the_issue(changed, failed):
    checks = acceptance(tabulate(noisy(**changed)))
    assert [check.what for check in checks if not check.good] == failed


def test_acceptance_wants_intervals_above_zero_where_orderings_want_means():
    rng = np.random.default_rng(1)
    spread = rng.uniform(-0.2, 0.2, 60)
    spread += 0.005 - spread.mean()
    results = [result(k, GOOD | {'oracle': 0.4 + d, 'full': 0.4}) for k, d in enumerate(spread)]
    tables = tabulate(results)
    assert all(check.good for check in orderings(tables))
    assert [c.what for c in acceptance(tables) if not c.good] == ['Full < Oracle']


def test_rows_that_are_not_there_fail_their_checks():
    results = noisy()
    for scores in (r.scores for r in results):
        del scores['av'], scores['full_random_av']
    tables = tabulate(results)
    failed = [check for check in orderings(tables) if not check.good]
    assert len(failed) == 4 and 'cannot make' in failed[0].found
    assert not all(check.good for check in acceptance(tables))
    assert 'AV + SAM' in as_text(tables)


def test_the_command_on_tiny_networks(cs3_home, tmp_path, capsys):
    out = tmp_path / 'report'
    call = ['evaluate', '--bundle', 'cs3', '--scenes', '2', '--device', 'cpu', '--workers', '1']
    call += ['--report', str(out), '--json', str(tmp_path / 'rows.json'), '--waits', '0.5', '0.1']
    assert cli.main(call) == 0
    rows = json.loads((tmp_path / 'rows.json').read_text())
    curves = rows.pop('waits')
    assert list(curves) == ['av', 'full'] and list(curves['av']) == ['0.1', '0.5']
    assert curves['full']['0.5']['over_longest'] == {'mean': 0.0, 'ci': [0.0, 0.0]}
    assert set(rows) == set(ROWS) - OTHERS and rows['full']['n'] == 2
    assert set(rows['full']) == {'miou', 'auc', 'ci', 'n', 'over'}
    assert {path.name for path in out.iterdir()} == {
        'report.html',
        'results.jsonl',
        'summary.json',
        'waits.svg',
        MARKER,
    }
    printed = capsys.readouterr().out
    assert 'synthetic' in printed and 'Oracle' in printed and 'AV over the wait' in printed
    again = [*call[:-7], *call[-3:], '--results', str(out / 'results.jsonl')]
    assert cli.main([*again, '--gate', 'orderings']) == 1
    assert 'NOT OK' in capsys.readouterr().out
    (out / 'summary.json').write_text('mine')
    (out / 'notes.txt').write_text('mine')
    assert cli.main(call) == 1
    assert (out / 'summary.json').read_text() == 'mine'
    assert 'replaces summary.json' in capsys.readouterr().err
    assert cli.main([*call, '--force']) == 0
    assert (out / 'notes.txt').read_text() == 'mine' and (out / 'results.jsonl').stat().st_size


def test_processes_give_what_one_process_gives(cs3_home, tmp_path):
    job = Job('cs3', device='cpu')
    alone = run(job, 3, workers=1)
    assert run(job, 3, workers=2, path=tmp_path / 'results.jsonl') == alone
    assert run(job, 3, workers=2, path=tmp_path / 'results.jsonl') == alone


def test_wrong_calls_say_what_is_wrong(capsys):
    assert cli.main(['evaluate', '--bundle', 'nothing', '--scenes', '2']) == 1
    assert 'nothing' in capsys.readouterr().err
    for wrong in (
        ['--scenes', '0'],
        ['--split', 'train'],
        ['--gate', 'heaven'],
        ['--waits', '0.01'],
        ['--waits', 'nan'],
    ):
        with pytest.raises(SystemExit):
            cli.main(['evaluate', '--bundle', 'cs3', *wrong])
