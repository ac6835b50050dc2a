"""The ear benchmark: its scenes, its rows, its options."""

from __future__ import annotations

import argparse
import json
import wave

import numpy as np
import pytest

from cs3_ros.bench import ear
from cs3_ros.bench.sounds import impact, speech_like
from cs3_ros.trigger.onset import OnsetConfig


def speech(rng, seconds):
    rate = 8000
    return (0.1 * speech_like(rng, int(seconds * rate), rate)).astype(np.float32), rate


def write_wave(path, sound, rate=8000):
    with wave.open(str(path), 'wb') as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype('<i2').tobytes())


def test_impacts_have_the_level_that_is_asked():
    ground = speech(np.random.default_rng(0), 20)[0]
    rng = np.random.default_rng(1)
    sound, peaks = ear.with_impacts(ground, 8000, 0.5, impact, rng)
    assert len(peaks) >= 10 and peaks[-1] < 19.5
    heights = [
        np.abs(sound - ground)[int(at * 8000) - 2 : int(at * 8000) + 3].max() for at in peaks
    ]
    assert np.median(heights) == pytest.approx(0.5, abs=0.01)


def test_a_run_measures_with_and_without_the_gate(tmp_path, capsys):
    path = tmp_path / 'ear.json'
    figures = ear.run({'talk': speech}, OnsetConfig(gate=1.0), minutes=0.1, json_path=path)
    assert json.loads(path.read_text()) == figures
    rows = figures['rows']
    assert [row['level'] for row in rows] == [None, *ear.QUIET_LEVELS, *ear.LEVELS * 3]
    quiet = rows[1]
    assert quiet['without']['recall'] == 1.0
    assert all(row['gated']['recall'] <= 0.5 for row in rows if row['level'])  # 1 is too much
    assert 0 < figures['ms_per_candidate'] < 1000
    printed = capsys.readouterr().out
    assert '| talk |' in printed and '| pink noise | 0.25 |' in printed


def test_recordings_are_drawn_without_pauses_longer_than_said(tmp_path):
    with pytest.raises(ValueError, match='expected a folder with recordings'):
        ear.recorded(tmp_path)
    for number in range(3):
        write_wave(tmp_path / f'{number}.wav', speech(np.random.default_rng(number), 2)[0])
    struck = ear.struck(tmp_path)
    assert np.abs(struck(np.random.default_rng(0), 16000)).max() == pytest.approx(1)
    (tmp_path / 'broken.ogg').write_bytes(b'nothing')
    sound, rate = ear.recorded(tmp_path)(np.random.default_rng(0), 5.0)
    assert rate == 8000 and sound.size == 5 * 8000
    again, _ = ear.recorded(tmp_path)(np.random.default_rng(0), 5.0)
    np.testing.assert_array_equal(sound, again)
    with pytest.raises(ValueError, match='broken.ogg'):
        ear.struck(tmp_path)


def test_options_reach_the_run(monkeypatch, tmp_path):
    given = {}
    monkeypatch.setattr(ear, 'run', lambda *args: given.update(args=args))
    monkeypatch.setattr(ear.shutil, 'which', lambda name: None)
    parser = argparse.ArgumentParser()
    ear.add_arguments(parser)
    with pytest.raises(ValueError, match='--speech, or apt-get install espeak-ng'):
        ear.main(parser.parse_args([]))
    write_wave(tmp_path / 'a.wav', speech(np.random.default_rng(0), 1)[0])
    ear.main(parser.parse_args(['--speech', str(tmp_path), '--gate', '0.3', '--minutes', '2']))
    sources, config, minutes = given['args'][:3]
    assert list(sources) == [tmp_path.name] and config.gate == 0.3 and minutes == 2
