"""The report: everything is inside of one file, and texts stay texts."""

from __future__ import annotations

import needs

needs.training()

import base64
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from evaluation_fakes import known_sample, known_scorer, result
from html_page import HOSTILE, Page

from cs3_training.evaluation.pictures import pictures_of
from cs3_training.evaluation.report import choose_cases, write_report
from cs3_training.evaluation.rows import ROWS
from cs3_training.evaluation.runner import Job
from cs3_training.evaluation.tables import tabulate


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp('report') / 'report.html'
    results = [result(k, k / 20) for k in range(20)]
    write_report(path, Job('x'), results, tabulate(results), known_scorer())
    return Page(path.read_text('utf-8'))


def test_nothing_is_loaded_from_elsewhere(page):
    page.check_that_nothing_is_loaded()


def test_it_says_what_it_is_and_shows_everything(page):
    assert 'synthetic' in page.text and 'nothing about photographs' in page.text
    assert all(row.title in page.text for row in ROWS.values())
    pictures = page.of('img')
    assert len(pictures) == 12 * 6 and all(a['alt'] for a in pictures)
    data = base64.b64decode(pictures[0]['src'].partition(',')[2])
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (100, 100, 3)


def test_bars_are_as_long_as_their_scores(page):
    """240 pixels are 100 %; every row scores 47.5 on average."""
    bars = [rect['width'] for rect in page.of('rect') if rect['class'] == 'bar']
    assert bars == ['114.0'] * len(ROWS)
    whiskers = [path['d'] for path in page.of('path') if path['class'] == 'whisker']
    low, high = (float(x) for x in re.findall(r'M([0-9.]+) 5', whiskers[0]))
    assert 0 < low < 114 < high < 240


def test_validation_says_what_was_chosen_on_it(tmp_path):
    results = [result(0, 0.5)]
    job = Job('x', 'validation')
    write_report(tmp_path / 'report.html', job, results, tabulate(results), known_scorer(1))
    text = Page((tmp_path / 'report.html').read_text('utf-8')).text
    words = 'split validation: seeds that are never used in training; checkpoint and thresholds'
    assert words in text and 'on 1 scenes' in text


def test_hostile_texts_stay_texts_in_every_place(tmp_path):
    """Of the bundle, its answer, the objects, and whatever the tables name."""
    places = ('bundle', 'thing', 'trace', 'kind', 'group', 'share')
    texts = {place: f'{place} {HOSTILE}' for place in places}
    results = [result(0, 0.5)]
    tables = tabulate(results)
    (groups, *_) = tables.breakdowns.values()
    (scores, *_) = groups.values()
    tables = replace(
        tables,
        breakdowns={texts['kind']: {texts['group']: scores}},
        shares={texts['share']: 50.0},
    )
    scorer = known_scorer(1, name=texts['bundle'])
    scorer.samples[0] = known_sample((texts['thing'],))
    scorer.evaluator = Tracing(scorer.evaluator, texts['trace'])
    path = tmp_path / 'report.html'
    write_report(path, Job('x'), results, tables, scorer)
    page = Page(path.read_text('utf-8'))
    page.check_that_nothing_is_loaded()
    expected = dict.fromkeys(places, 1) | {'bundle': 3}  # title twice, and in the first line
    assert {place: page.text.count(text) for place, text in texts.items()} == expected


class Tracing:
    """An evaluator whose verdicts have this trace."""

    def __init__(self, evaluator, trace):
        self.name, self.look_at, self.trace = evaluator.name, evaluator.look, trace

    def look(self, sample):
        evidence = self.look_at(sample)
        own = evidence.found['own']
        traced = replace(own, verdict=replace(own.verdict, trace=(self.trace,)))
        return replace(evidence, found=evidence.found | {'own': traced})


@pytest.mark.parametrize('count', [1, 2, 3, 5, 12, 40])
def test_cases_are_the_best_the_worst_and_others(count):
    rng = np.random.default_rng(count)
    results = [result(k, float(rng.random())) for k in range(count)]
    cases = choose_cases(results)
    shown = [r.index for group in cases.values() for r in group]
    assert len(shown) == len(set(shown)) and len(shown) <= 12
    scores = sorted(r.scores['full'] for r in results)
    assert cases['Best'][0].scores['full'] == scores[-1]
    if count > 1:
        assert cases['Worst'][0].scores['full'] == scores[0]
    assert choose_cases(results) == cases


def test_pictures_of_a_case():
    scorer = known_scorer(1)
    sample = scorer.samples[0]
    collision = scorer.evaluator.look(sample).found['own']
    pictures = dict(pictures_of(sample, collision))
    assert list(pictures) == ['scene', 'truth', 'sound', 'heat map', 'candidates', 'answer']
    assert all(p.dtype == np.uint8 and p.shape[1:] == (100, 3) for p in pictures.values())
    image = sample.clip.frame.image
    assert np.array_equal(pictures['scene'], image)
    changed = (pictures['truth'] != image).any(2)
    assert changed[25:35, 25:55].all() and not changed[60:].any()
    assert np.array_equal(pictures['answer'], pictures['truth']), 'it found both'
    green = pictures['candidates'][80, 0].astype(int) - (90, 230, 90)
    assert abs(green).max() < 40, 'what the left hand holds'
