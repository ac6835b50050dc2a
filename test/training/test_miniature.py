"""From a lab's own videos to the tables: miniature data sets go the whole way, as docs/data.md has
it, and the frames and sounds of an evaluation are where they should be."""

from __future__ import annotations

import needs

needs.training()

import json
from pathlib import Path

import numpy as np
import pytest
from miniature import number_of
from miniature_labels import RATES, Truth, make_ego4d_val, make_epic_val

from cs3_ros.collision import NS_PER_S
from cs3_ros.trigger.assembler import ClipConfig
from cs3_training.cli import main
from cs3_training.evaluation.manifest_samples import ManifestSamples

SPANS = ClipConfig(frames_before_s=0.1, audio_before_s=1.0, audio_after_s=1.0)
"""As the bundles with networks hear, and some frames before."""


def manifest(folder: Path, data_set: str, videos: str) -> Path:
    out = folder / f'{data_set}_val.jsonl'
    words = ['manifest', data_set, '--videos', str(folder / videos)]
    words += ['--annotations', str(folder / f'{data_set}_val_filtered.csv')]
    assert main([*words, '--masks', str(folder / 'masks'), '--out', str(out)]) == 0
    return out


def check(path: Path, truth: dict[str, Truth]) -> None:
    """Event frames are those nearest to the chosen times, impacts are heard within 5 ms."""
    samples = ManifestSamples(path, SPANS)
    assert [frame.id for frame in samples.frames] == list(truth)
    for frame, expected in zip(samples.frames, truth.values(), strict=True):
        sample = samples[samples.frames.index(frame)]
        clip = sample.clip
        assert number_of(clip.frame.image) == expected.number, frame.id
        assert abs(clip.frame.stamp_ns / NS_PER_S - expected.frame_s) < 0.001
        numbers = [number_of(each.image) for each in clip.frames]
        assert numbers == list(range(numbers[0], expected.number + 1)), 'none is left out'
        assert len(clip.audio.samples) == 32_000
        loud = np.flatnonzero(np.abs(clip.audio.samples) > 0.25) / 16_000
        heard = clip.audio.start_ns / NS_PER_S + loud[0]
        assert heard == pytest.approx(expected.click_s, abs=0.005), frame.id
        assert sample.truth[0].shape == (128, 192)


def test_epic_at_every_rate(tmp_path: Path) -> None:
    truth = make_epic_val(tmp_path)
    path = manifest(tmp_path, 'epic', 'EPIC-KITCHENS')
    check(path, truth)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line['group'] for line in lines} == set(RATES)
    assert {line['dataset'] for line in lines} == {'epic'}
    assert [line['duration_s'] for line in lines[:2]] == [0.6, 2.6]
    assert [line['onset_s'] for line in lines[::2]] == [2.3] * 5, 'the middle of a short segment'


def test_ego4d_hears_the_loudest_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = make_ego4d_val(tmp_path)
    path = manifest(tmp_path, 'ego4d', 'ego4d')
    check(path, truth)
    gone = list(truth)[0]
    for mask in (tmp_path / 'masks').glob(f'{gone}_*'):
        mask.unlink()
    next((tmp_path / 'ego4d').rglob('*b.mp4')).unlink()
    capsys.readouterr()
    assert len(manifest(tmp_path, 'ego4d', 'ego4d').read_text().splitlines()) == 1
    printed = capsys.readouterr().out
    assert f'left out, without masks: 1 ({gone})' in printed
    assert 'left out, videos that are not there: 2' in printed
