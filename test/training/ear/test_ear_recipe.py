"""The gate's training: scenes, candidates and their answers, resuming, weights, card."""

from __future__ import annotations

import needs

needs.training()

import wave

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from cs3_ros.trigger import gate
from cs3_ros.trigger.gate_features import features, span
from cs3_training.ear import examples, recipe, speech, strikes, surroundings
from cs3_training.ear.network import GateNetwork
from cs3_training.ear.train import EarConfig, load_config

RATE = 16000


def talk(seconds, rate, rng):
    """A voice without espeak-ng: swells of a hum."""
    time = np.arange(round(seconds * rate)) / rate
    swell = np.clip(np.sin(2 * np.pi * 3 * time + rng.uniform(0, 6)), 0, 1) ** 0.3
    return (swell * np.sign(np.sin(2 * np.pi * 140 * time))).astype(np.float32) * 0.3


@pytest.fixture(autouse=True)
def without_espeak(monkeypatch):
    monkeypatch.setattr(examples, 'spoken', talk)
    monkeypatch.setattr(recipe, 'check_espeak', lambda: None)
    monkeypatch.setattr(examples, 'SECONDS', 3.0)


def write_wave(path, sound, rate):
    with wave.open(str(path), 'wb') as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype('<i2').tobytes())


@pytest.fixture
def folders(tmp_path):
    """A speaker and some things that were struck."""
    rng = np.random.default_rng(0)
    for name in ('speaker', 'struck'):
        (tmp_path / name).mkdir()
    write_wave(tmp_path / 'speaker' / 'words.wav', talk(2, 8000, rng), 8000)
    write_wave(tmp_path / 'struck' / 'cup.wav', strikes.strike(44100, rng)[0], 44100)
    (tmp_path / 'speaker' / 'broken.wav').write_bytes(b'no sound')
    return {'speech': [tmp_path / 'speaker'], 'impacts': [tmp_path / 'struck'], 'judges': []}


@pytest.mark.parametrize('rate', [8000, 48000])
def test_impacts_have_their_peaks_where_they_say(rate):
    rng = np.random.default_rng(3)
    for _ in range(40):
        sound, peaks = strikes.strike(rate, rng)
        assert np.isfinite(sound).all() and 0 < np.abs(sound).max() < 3
        assert peaks == sorted(peaks) and 0 <= peaks[0] < sound.size
        near = np.abs(sound[max(0, peaks[0] - rate // 100) : peaks[0] + rate // 100]).max()
        assert near > 0.3


@pytest.mark.parametrize('kind', surroundings.KINDS)
@pytest.mark.parametrize('rate', [8000, 48000])
def test_surroundings_are_finite_and_of_one_loudness(kind, rate):
    sound = surroundings.surrounding(kind, 2 * rate, rate, np.random.default_rng(2))
    assert sound.shape == (2 * rate,) and sound.dtype == np.float32
    assert sound.std() == pytest.approx(1, abs=0.01)


def test_scenes_are_drawn_again_alike_and_are_heard(folders):
    sources = examples.Sources.of(folders['speech'], folders['impacts'])
    made = [examples.make_examples(1, number, sources) for number in range(12)]
    again = examples.make_examples(1, 3, sources)
    np.testing.assert_array_equal(made[3].core, again.core)
    impacts = sum(int(part.impact.sum()) for part in made)
    others = sum(int((part.impact == 0).sum()) for part in made)
    assert impacts >= 5 and others >= 3
    assert {int(part.talk[0]) for part in made if part.talk.size} == {0, 1}
    assert all(np.isfinite(part.core).all() for part in made)


def test_answers_are_those_of_clear_impacts_and_what_is_near_is_left_out():
    scene = examples.Scene(
        np.zeros(1, np.float32), RATE, np.array([1.0, 2.0]), np.array([True, False]), True
    )
    times = np.array([0.5, 0.99, 1.02, 1.2, 1.5, 2.0, 2.5])
    assert examples.label(times, scene).tolist() == [0, 1, 1, -1, 0, -1, 0]


def test_a_drowned_impact_is_not_clear():
    rng = np.random.default_rng(0)
    ground = rng.normal(size=RATE).astype(np.float32)
    hits = np.zeros(RATE, np.float32)
    hits[8000:8100] = 3 * rng.normal(size=100)
    assert examples._stands_out(hits, ground, 8000, RATE)
    assert not examples._stands_out(0.1 * hits, ground, 8000, RATE)


def test_the_network_says_without_torch_what_it_says_with_it():
    torch.manual_seed(1)
    network = GateNetwork().eval()
    plain = gate.Network({name: value.numpy() for name, value in network.weights().items()})
    rng = np.random.default_rng(0)
    for rate in (8000, 48000):
        seen = features(rng.normal(size=sum(span(rate))).astype(np.float32), rate)
        parts = (seen.core, seen.context, seen.voice, seen.envelope)
        with torch.no_grad():
            logit = network(*(torch.from_numpy(part)[None] for part in parts))
        assert plain.probability(seen) == pytest.approx(float(logit.sigmoid()), abs=1e-6)


def test_a_run_is_gone_on_with_and_leaves_weights_and_card(folders, tmp_path, monkeypatch):
    config = EarConfig(
        scenes=8, judges=6, steps=12, batch=8, warm_up=2, validate_every=6, save_every=6
    )

    path = recipe.make_gate(config, tmp_path / 'whole', folders, 1)
    begun = tmp_path / 'begun'

    def interrupted(folder, seed, sources, number):
        if number == 5:
            raise KeyboardInterrupt
        return examples.write_shard(folder, seed, sources, number)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(recipe, 'write_shard', interrupted)
        recipe.make_gate(config, begun, folders, 1)
    assert len(list((begun / 'scenes').glob('*.npz'))) == 5
    again = load_file(recipe.make_gate(config, begun, folders, 1))
    assert again.keys() == load_file(path).keys()
    for name, weight in load_file(path).items():
        np.testing.assert_array_equal(again[name], weight)
    gate.load_network(path)
    card = (begun / recipe.CARD).read_text()
    assert 'speaker' in card and 'struck' in card and '36445 weights' in card


def test_espeak_that_is_lacking_is_named_with_what_brings_it(monkeypatch):
    monkeypatch.setattr(speech.shutil, 'which', lambda name: None)
    with pytest.raises(FileNotFoundError, match='apt-get install espeak-ng'):
        speech.check_espeak()


def test_settings_that_are_unknown_are_refused(tmp_path):
    (tmp_path / 'settings.yaml').write_text('scenes: 3\nvoices: 2\n')
    with pytest.raises(ValueError, match='voices'):
        load_config(tmp_path / 'settings.yaml')
