"""The head learns to tell struck things from hiss, keeps itself in one file, and is used."""

from __future__ import annotations

import needs

needs.training()

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_candidates import strike

from cs3_ros.collision import NS_PER_S
from cs3_ros.files.jsonfile import write_json
from cs3_ros.networks.beats import load_beats
from cs3_ros.runtime import Runtime, RuntimeConfig
from cs3_training.cli import main
from cs3_training.curate.classifiers import ClapClassifier, HeadClassifier
from cs3_training.curate.head import SoundClasses, load_head
from cs3_training.curate.sounds import LabelledSounds, SoundSamples
from cs3_training.data.records import CLASSES
from cs3_training.data.shards import add_file, as_json, as_wav

LABELS = ('metal-only-collision', 'water')
BEATS = 'beats/BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt'


def sound_of(label: str, seed: int) -> np.ndarray:
    """int16 [N] at 16 kHz: 0.6 s with 1 s before and after."""
    if label == 'water':
        values = np.random.default_rng(seed).normal(0, 0.1, 41_600)
    else:
        values = strike(1.3, 2.6, seed=seed)[::3, 0]
    return (values.clip(-1, 1) * 32767).astype(np.int16)


def write_shards(folder: Path, count: int, first: int = 0) -> Path:
    folder.mkdir()
    with tarfile.open(folder / 'shard-000000.tar', 'w') as tar:
        for k in range(count):
            label = LABELS[k % 2] if k else ''
            facts = {'label': label, 'start_ns': 9 * NS_PER_S, 'stop_ns': 9_600_000_000}
            add_file(tar, f'{k:08d}.json', as_json(facts | {'sound_ns': 8 * NS_PER_S}))
            add_file(tar, f'{k:08d}.wav', as_wav(sound_of(LABELS[k % 2], first + k)))
            add_file(tar, f'{k:08d}.000.jpg', b'a picture')
    write_json(folder / 'extract.json', {'annotations_sha256': f'{first:064x}'})
    return folder


@pytest.fixture(scope='module')
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp('shards')
    return write_shards(folder / 'train', 25), write_shards(folder / 'val', 13, 100)


def test_sounds_are_read_where_they_lie(shards: tuple[Path, Path]) -> None:
    sounds = LabelledSounds(shards[0])
    assert len(sounds) == 24 and sounds.labels == LABELS  # one has no class
    whole = sound_of(sounds.label(0), 1).astype(np.float32) / 32768
    for share, middle in ((0, 16_000), (0.5, 20_800), (1, 25_600)):
        np.testing.assert_array_equal(
            sounds.window(0, share), whole[middle - 16_000 : middle + 16_000]
        )
    samples = SoundSamples(sounds, LABELS, 3)
    again = SoundSamples(sounds, LABELS, 3)
    torch.testing.assert_close(samples[30], again[30])
    with pytest.raises(ValueError, match='0 sounds of 0 classes'):
        LabelledSounds(shards[0].parent)


def test_the_head_learns_is_written_and_used(
    shards: tuple[Path, Path], cs3_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / 'head.yaml'
    settings.write_text('{steps: 24, batch: 8, workers: 0, validate_every: 12, lr: 0.05}')
    words = ['curate', 'head', '--shards', str(shards[0]), '--validation', str(shards[1])]
    words += ['--out', str(tmp_path / 'run'), '--device', 'cpu', '--settings', str(settings)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert 'validation: 100.0 % right, 100.0 % whether it collides' in printed
    path = tmp_path / 'run' / 'head.safetensors'
    model, labels = load_head(path)
    assert labels == LABELS
    for name, value in load_beats(cs3_home / BEATS).state_dict().items():
        torch.testing.assert_close(model.beats.state_dict()[name], value)  # stayed as published
    classifier = HeadClassifier(path, Runtime(RuntimeConfig('cpu')))
    judges = LabelledSounds(shards[1])
    rows = classifier(np.stack([judges.window(k) for k in range(len(judges))]))
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-5)
    said = [labels[best] for best in rows.argmax(1)]
    assert said == [judges.label(k) for k in range(len(judges))]


def test_beats_is_trained_where_asked(cs3_home: Path) -> None:
    fbank = torch.randn(2, 64, 128)
    for trained in (False, True):
        model = SoundClasses(load_beats(cs3_home / BEATS), 3, trained)
        model(fbank).sum().backward()
        assert (model.beats.patch_embedding.weight.grad is not None) == trained
        assert model.linear.weight.grad is not None


def test_damaged_heads_are_refused(
    shards: tuple[Path, Path], cs3_home: Path, tmp_path: Path
) -> None:
    from cs3_training.curate.head import save_head

    path = tmp_path / 'head.safetensors'
    save_head(path, SoundClasses(load_beats(cs3_home / BEATS), 2), LABELS, {})
    assert load_head(path)[1] == LABELS
    tensors = load_file(path)
    for metadata, said in (
        ({}, 'format None'),
        ({'format': 'cs3-sound-classes-1', 'labels': '["a", "a"]', 'beats': '{}'}, 'different'),
        ({'format': 'cs3-sound-classes-1', 'labels': '["a", "b"]', 'beats': '{}'}, 'cfg lacks'),
    ):
        save_file(tensors, path, metadata)
        with pytest.raises(ValueError, match=said):
            load_head(path)


def test_clap_knows_the_24_collisions_and_others(cs3_home: Path) -> None:
    classifier = ClapClassifier(cs3_home / 'clap-htsat-unfused', Runtime(RuntimeConfig('cpu')))
    assert set(CLASSES) < set(classifier.labels) and {'speech', 'music'} < set(classifier.labels)
    rows = classifier(strike(0.5, 2)[None, ::3, 0])
    assert rows.shape == (1, len(classifier.labels))
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-5)
