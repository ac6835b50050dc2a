"""The onset benchmark's scenes and its scoring."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest

from cs3_ros.bench import onset as bench
from cs3_ros.bench import sounds


@pytest.mark.parametrize('background', sounds.IMPACT_FREE)
def test_scene_has_the_asked_ratio(background):
    loud = sounds.scene(1, background, 20, 4, 16000)
    quiet = sounds.scene(1, background, None, 4, 16000)
    level = np.sqrt(np.mean(quiet.samples.astype(float) ** 2))
    assert 20 * np.log10(level) == pytest.approx(sounds.BACKGROUND_DBFS, abs=0.2)
    assert len(loud.peaks_s) >= 2 and np.diff(loud.peaks_s).min() > 0.3
    assert len(quiet.peaks_s) == 0
    np.testing.assert_array_equal(loud.samples, sounds.scene(1, background, 20, 4, 16000).samples)


def test_impacts_start_loud_and_differ():
    rng = np.random.default_rng(0)
    hits = [sounds.impact(rng, 16000) for _ in range(5)]
    assert all(np.abs(hit).max() == 1 and np.isfinite(hit).all() for hit in hits)
    for hit in hits:
        peak = int(np.abs(hit).argmax())
        assert peak < 0.02 * 16000
        assert np.abs(hit[peak + 160 :]).max() < 0.9
    assert not np.allclose(hits[0], hits[1])


def test_compare_matches_one_to_one():
    counts = bench.compare(np.array([1.0, 1.01, 2.5]), np.array([1.005, 2.0]))
    assert (counts.hits, counts.found, counts.truth) == (1, 3, 2)
    assert counts.precision == pytest.approx(1 / 3)
    assert counts.recall == 0.5
    assert counts.f1 == pytest.approx(0.4)
    assert bench.compare(np.zeros(0), np.zeros(0)).precision == 1


def test_scenes_are_pooled_by_their_counts():
    assert bench.pooled([bench.Counts(1, 3, 2), bench.Counts(4, 4, 5)]) == bench.Counts(5, 7, 7)


def test_detector_holds_at_10_db_in_pink_noise():
    sound = sounds.scene(42, 'pink noise', 10, 15, 16000)
    assert bench.compare(bench.detect(sound.samples, 16000), sound.peaks_s).f1 >= 0.95


def test_options_reach_the_run(monkeypatch, tmp_path, capsys):
    figures = {
        'snrs_db': [10],
        'cs3': {'hum': {'precision': [1.0], 'recall': [0.5], 'f1': [0.667]}},
        'librosa': {'hum': {'precision': [0.5], 'recall': [0.5], 'f1': [0.5]}},
        'librosa_delta': {'hum': 0.1},
        'false_onsets_in_60_s': {'hum': [0, 2]},
        'times_real_time': {'cs3, 1 s chunks': 700.0},
    }
    bench._print(figures)
    written = capsys.readouterr().out
    assert '| 10 | 1.000 | 0.500 | 0.667 | 0.500 | 0.500 | 0.500 |' in written
    assert '| hum | 0, 2 |' in written
    seen = {}
    monkeypatch.setattr(bench, 'run', lambda *a, **k: seen.update(args=a, **k))
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    file = tmp_path / 'onset.json'
    assert (
        bench.main(parser.parse_args(['--seconds', '5', '--gate', '0.2', '--json', str(file)])) == 0
    )
    config = bench.OnsetConfig(gate=0.2)
    assert seen == {
        'args': (5.0, 11, 48000, 3),
        'config': config,
        'json_path': file,
        'force': False,
    }
    assert json.dumps(figures)
