"""``cs3 demo`` refuses what cannot be before it touches anything; test/ros/test_demo.py runs it."""

import argparse
import subprocess

import needs
import pytest
from tiny_media import impulses, write_media

from cs3_ros.bundles.bundle import Bundle
from cs3_ros.demo import run as command
from cs3_ros.files.truth import ClipTruth, write_truth


@pytest.fixture
def ready(monkeypatch):
    """Nothing of a bundle is loaded here, so nothing of it has to be installed."""
    monkeypatch.setattr(Bundle, 'lacking_packages', {})
    monkeypatch.setattr(Bundle, 'lacking_weights', ())


def options(folder, clip=None, truth=None, bundle=None, force=False):
    return argparse.Namespace(clip=clip, truth=truth, bundle=bundle, out=folder, force=force)


@pytest.mark.usefixtures('ready')
@pytest.mark.parametrize(
    'clip, reason',
    [
        ('nothing.mp4', 'no such video'),
        ('silent.mkv', 'has no sound'),
        ('other size.mkv', 'frames of 64x48, truth of 352x352'),
    ],
)
def test_a_refused_clip_costs_nothing(tmp_path, clip, reason):
    write_media(tmp_path / 'silent.mkv', frames=5)
    write_media(tmp_path / 'other size.mkv', frames=5, sound=impulses(0.2, 48000, [0.1]))
    write_truth(tmp_path / 'truth.json', ClipTruth('', 352, 352, ()))
    (tmp_path / command.WORK).mkdir()
    (tmp_path / command.WORK / 'earlier').touch()
    with pytest.raises((ValueError, FileNotFoundError), match=reason):
        command.main(options(tmp_path, tmp_path / clip, tmp_path / 'truth.json'))
    assert (tmp_path / command.WORK / 'earlier').exists()


@pytest.mark.usefixtures('ready')
@pytest.mark.parametrize('clip', ['overlay.mp4', f'{command.WORK}/bag/a.mp4'])
def test_a_clip_is_not_overwritten(tmp_path, clip):
    path = tmp_path / clip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_media(tmp_path / 'a.mkv', frames=5, sound=impulses(0.2, 48000, [0.1])).rename(path)
    with pytest.raises(ValueError, match='the demo would overwrite it: give another --out'):
        command.main(options(tmp_path, path))
    assert path.exists()


def test_a_truth_needs_its_clip(tmp_path):
    with pytest.raises(ValueError, match='expected its clip'):
        command.main(options(tmp_path, truth=tmp_path / 'truth.json'))


@pytest.mark.parametrize(
    'clip, bundle, runs',
    [(False, None, 'nano'), (True, None, 'lite'), (False, 'lite', 'lite'), (True, 'cs3', 'cs3')],
)
def test_the_bundle_that_suits_the_clip(tmp_path, monkeypatch, clip, bundle, runs):
    loaded = []

    def load(name):
        loaded.append(name)
        raise ValueError('enough')

    monkeypatch.setattr(command, 'load_bundle', load)
    path = write_media(tmp_path / 'a.mkv', frames=2) if clip else None
    with pytest.raises(ValueError, match='enough'):
        command.main(options(tmp_path, path, bundle=bundle))
    assert loaded == [runs]


@pytest.mark.usefixtures('ready')
def test_without_the_training_package_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(command, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match=r"name a video of yours.*\[train\]' -e training$"):
        command.main(options(tmp_path, bundle='lite'))


@pytest.mark.usefixtures('ready')
def test_a_clip_that_could_not_be_made_is_told(tmp_path, monkeypatch):
    pytest.importorskip('cs3_training', reason='pip install -e training')
    failed = subprocess.CompletedProcess([], 1, '', 'cs3-train synth: no space left\n')
    monkeypatch.setattr(command.subprocess, 'run', lambda *given, **more: failed)
    with pytest.raises(RuntimeError, match='could not be made: cs3-train synth: no space left'):
        command.main(options(tmp_path, bundle='lite'))


def test_what_the_bundle_lacks_is_told_at_once(tmp_path, monkeypatch):
    bundle = command.load_bundle('lite')
    monkeypatch.setattr(type(bundle), 'lacking_packages', {'mediapipe': 'pip install it'})
    with pytest.raises(ImportError, match='bundle lite needs mediapipe: pip install'):
        command.main(options(tmp_path, bundle='lite'))
    monkeypatch.setattr(type(bundle), 'lacking_packages', {})
    monkeypatch.setenv('CS3_HOME', str(tmp_path))
    with pytest.raises(FileNotFoundError, match='bundle cs3 needs .*: '):
        command.main(options(tmp_path, bundle='cs3'))


def test_a_folder_of_other_things_is_refused(tmp_path):
    """Before a clip is made or played, and with all that lies in it."""
    needs.training()
    clip = write_media(tmp_path / 'a.mkv', frames=5, sound=impulses(0.2, 48000, [0.1]))
    out = tmp_path / 'out'
    for name in ('picture.jpg', f'{command.WORK}/mine.txt', f'{command.WORK}/1_strip.jpg'):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text('mine')
    for given in (None, clip):
        with pytest.raises(FileExistsError, match='replaces picture.jpg, demo_files/1_strip.jpg$'):
            command.main(options(out, given))
    assert all(path.read_text() == 'mine' for path in out.rglob('*') if path.is_file())
    assert not (out / command.SYNTHETIC).exists()


def test_what_a_demo_left_is_cleared_and_the_rest_kept(tmp_path, monkeypatch):
    """The bag goes with its folder; whatever else lies there stays."""
    needs.hands()
    clip = write_media(tmp_path / 'a.mkv', frames=5, sound=impulses(0.2, 48000, [0.1]))
    out, bags = tmp_path / 'out', []

    def play(bag, name):
        bags.append(sorted(path.name for path in bag.iterdir()))
        raise ValueError('enough')

    spectator = pytest.importorskip('cs3_ros.ros.spectator')
    monkeypatch.setattr(spectator, 'play', play)
    for number in range(2):
        with pytest.raises(ValueError, match='enough'):
            command.main(options(out, clip))
        (out / command.WORK / f'mine {number}.txt').touch()
    assert bags == [['bag.mcap', 'metadata.yaml']] * 2
    assert (out / command.WORK / 'mine 0.txt').exists()
    (out / command.WORK / 'bag' / 'bag.mcap').write_bytes(b'mine')
    with pytest.raises(FileExistsError, match='replaces demo_files/bag/bag.mcap$'):
        command.main(options(out, clip))
