"""The report: everything is inside of one file, and texts stay texts."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

pytest.importorskip('torch', reason='pip install "cs3_ros[train]"')

from evaluation_fakes import known_sample, known_scorer, result  # noqa: E402

from cs3_training.evaluation.pictures import pictures_of  # noqa: E402
from cs3_training.evaluation.report import choose_cases, write_report  # noqa: E402
from cs3_training.evaluation.rows import ROWS  # noqa: E402
from cs3_training.evaluation.runner import Job  # noqa: E402
from cs3_training.evaluation.tables import tabulate  # noqa: E402

VOID = {'meta', 'img', 'br', 'link', 'input'}


class Page(HTMLParser):
    """Tags, attributes and text; complains about tags that are not closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp('report') / 'report.html'
    results = [result(k, k / 20) for k in range(20)]
    scorer = known_scorer(name='a <b>bold</b> & "quoted" bundle')
    scorer.samples[19] = known_sample(('<script>alert(1)</script>', 'a & b'), 19)
    write_report(path, Job('x'), results, tabulate(results), scorer)
    return Page(path.read_text('utf-8'))


def test_nothing_is_loaded_from_elsewhere(page):
    for tag, attributes in page.tags:
        assert tag not in {'script', 'link', 'iframe', 'object', 'base'}, tag
        for name, value in attributes.items():
            assert not name.startswith('on') and name not in {'href', 'srcset', 'action'}
            assert name != 'src' or value.startswith('data:image/jpeg;base64,')
            assert '://' not in (value or '') and 'url(' not in (value or '')
    style = ''.join(page.text)
    assert '@import' not in style and 'url(' not in style
    policy = [a['content'] for t, a in page.tags if t == 'meta' and 'content' in a]
    assert any("default-src 'none'" in text for text in policy)


def test_texts_are_escaped(page):
    text = ''.join(page.text)
    assert 'a <b>bold</b> & "quoted" bundle' in text
    assert '<script>alert(1)</script> and a & b' in text


def test_it_says_what_it_is_and_shows_everything(page):
    text = ''.join(page.text)
    assert 'synthetic' in text and 'nothing about photographs' in text
    assert all(row.title in text for row in ROWS.values())
    pictures = [a for t, a in page.tags if t == 'img']
    assert len(pictures) == 12 * 6 and all(a['alt'] for a in pictures)
    data = base64.b64decode(pictures[0]['src'].partition(',')[2])
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (100, 100, 3)


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
