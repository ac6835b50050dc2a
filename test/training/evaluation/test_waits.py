"""Scores over the wait for sound: sounds end at their wait, curves are those of the metrics."""

from __future__ import annotations

import needs

needs.training()

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from evaluation_fakes import known_pipeline, known_sample, result, sound

from cs3_ros.trigger.assembler import ClipConfig
from cs3_training.evaluation.evidence import Evaluator
from cs3_training.evaluation.intervals import compare, summarise
from cs3_training.evaluation.report import write_curve
from cs3_training.evaluation.rows import Result, score
from cs3_training.evaluation.samples import SyntheticSamples
from cs3_training.evaluation.tables import rows_as_json, tabulate
from cs3_training.evaluation.text import as_text
from cs3_training.evaluation.waits import curves, drawing


def waited(count: int = 40) -> list[Result]:
    """AV loses 0.1 at the shorter wait, Full nothing on the whole."""
    rng = np.random.default_rng(0)
    found = []
    for index in range(count):
        full = {wait: 0.4 + float(rng.uniform(-0.1, 0.1)) for wait in ('0.25', '1')}
        av = {'0.25': 0.1, '1': 0.2}
        waits = {wait: {'av': av[wait], 'full': full[wait]} for wait in av}
        found.append(replace(result(index, 0.3), waits=waits))
    return found


def test_each_sound_ends_at_its_wait_and_begins_as_the_bundles_own():
    spans = ClipConfig(audio_before_s=1.0, audio_after_s=0.25)
    sample = SyntheticSamples('test', spans, waits=(0.1, 0.25, 1.0))[3]
    assert list(sample.waits) == [0.1, 0.25, 1.0]
    onset_ns, own = sample.clip.onset.stamp_ns, sample.clip.audio
    for wait, audio in sample.waits.items():
        assert audio.start_ns == own.start_ns
        end_ns = audio.start_ns + len(audio.samples) * 62_500
        assert end_ns == pytest.approx(min(onset_ns + wait * 1e9, 3e9), abs=1e5)
    assert sample.waits[0.25] is own


def test_a_wait_is_scored_by_what_is_heard_then():
    sample = replace(known_sample(), waits={0.1: sound(0.1), 1.0: sound(0.5)})
    pipeline = known_pipeline()
    evidence = Evaluator(pipeline).look(sample)
    found = score(sample, evidence)
    assert pipeline.localiser.encoded == 1, 'the picture stays the same'
    assert found.waits['1'] == {row: found.scores[row] for row in ('av', 'full')}
    assert found.waits['0.1'] == {
        'av': found.scores['av_shuffled'],
        'full': found.scores['full_shuffled'],
    }
    assert Result.from_json(json.loads(json.dumps(found.as_json()))).waits == found.waits


def test_curves_are_those_of_the_metrics_and_paired():
    results = waited()
    groups = [k // 2 for k in range(40)]
    found = curves(results, groups)
    full = {wait: [r.waits[wait]['full'] for r in results] for wait in ('0.25', '1')}
    assert list(found) == ['av', 'full'] and list(found['full']) == [0.25, 1.0]
    assert found['full'][0.25].score == summarise(full['0.25'], groups)
    assert found['full'][0.25].over_longest == compare(full['0.25'], full['1'], groups)
    assert found['av'][0.25].over_longest.mean == pytest.approx(-10)
    assert curves([result(0, 0.1)], [0]) == {}
    tables = tabulate(results)
    data = json.loads(json.dumps(rows_as_json(tables)))['waits']
    assert data['av']['0.25']['miou'] == pytest.approx(10) and data['av']['1']['n'] == 40
    assert 'less than at 1 s' in as_text(tables) and '-10.00 [-10.00, -10.00]' in as_text(tables)
    assert 'waits' not in rows_as_json(tabulate([result(k, 0.1) for k in range(4)]))


@pytest.mark.parametrize('waits', [('0.25', '1'), ('0.25',)])
def test_the_drawing_holds_every_point(waits, tmp_path):
    results = [replace(r, waits={w: r.waits[w] for w in waits}) for r in waited()]
    found = curves(results, range(40))
    write_curve(tmp_path / 'waits.svg', found)
    root = ElementTree.fromstring((tmp_path / 'waits.svg').read_text())
    lines = [e for e in root.iter() if e.tag.endswith('polyline')]
    assert [len(line.get('points').split()) for line in lines] == [len(waits)] * 2
    drawn = drawing(found)
    (_, av), (_, full) = (line['points'][-1] for line in drawn['lines'])
    assert av > full, 'a better score is higher up'
    for number in re.findall(r'-?[0-9.]+', ' '.join(line.get('points') for line in lines)):
        assert 0 <= float(number) <= drawn['wide']
