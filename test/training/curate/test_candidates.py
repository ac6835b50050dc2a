"""Candidates of a folder of videos: where something is heard, whole, once, and none that is not."""

from __future__ import annotations

import needs

needs.training()

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_media import impulses, write_media

from cs3_ros.collision import NS_PER_S
from cs3_training.cli import main
from cs3_training.curate import gathering
from cs3_training.curate.command import listening
from cs3_training.curate.gathering import Task, gather
from cs3_training.curate.listening import HEARD, Listening, listen_to
from cs3_training.curate.narrations import Narration, read_narrations, social_videos
from cs3_training.data.annotations import read_own
from cs3_training.data.records import CLASSES
from cs3_training.data.videos import find_videos

UID = '0a1b2c3d-0000-4000-8000-00000000000a'


def strike(at_s: float, seconds: float, level: float = 0.5, seed: int = 0) -> np.ndarray:
    """A struck object in quiet noise, float32 [N, 1] at 48 kHz."""
    rng = np.random.default_rng(seed)
    sound = rng.normal(0, 1e-4, round(seconds * 48_000))
    first = round(at_s * 48_000)
    time = np.arange(min(14_400, len(sound) - first)) / 48_000
    ring = np.sin(2 * np.pi * 2_300 * time) + 0.5 * np.sin(2 * np.pi * 4_100 * time)
    sound[first : first + len(time)] += level * ring / 1.5 * np.exp(-time / 0.05)
    return sound.astype(np.float32)[:, None]


@pytest.fixture(scope='module')
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos with impacts, a copy of one, a silent one, one without sound, a broken one."""
    folder = tmp_path_factory.mktemp('videos')
    both = strike(3.0, 12, seed=1) + strike(8.5, 12, seed=2) + strike(9.3, 12, 0.2, seed=3)
    write_media(folder / 'a (1).mkv', frames=360, sound=both)
    write_media(folder / 'b.mkv', frames=120, sound=strike(0.7, 4, seed=4))
    shutil.copy(folder / 'b.mkv', folder / 'b copy.mkv')
    write_media(folder / 'c.mkv', frames=120, sound=impulses(4, 48_000, []))
    write_media(folder / 'd.mkv', frames=30)
    (folder / 'e.mp4').write_bytes(b'no video')
    return folder


class Listener:
    """A classifier that says the same of every sound; counts what it was asked."""

    labels = ('metal-only-collision', 'speech', 'water', *CLASSES[1:])

    def __init__(self, says: Callable[[np.ndarray], str] = lambda sound: 'metal-only-collision'):
        self.says, self.asked = says, 0

    def __call__(self, sounds: np.ndarray) -> np.ndarray:
        self.asked += len(sounds)
        rows = np.full((len(sounds), len(self.labels)), 0.01, np.float32)
        for row, sound in zip(rows, sounds, strict=True):
            row[self.labels.index(self.says(sound))] = 0.3
        return rows


def test_onsets_become_windows(videos: Path) -> None:
    heard = listen_to(videos / 'a (1).mkv', Listening())
    segments = [each.segment for each in heard.candidates]
    assert [segment.onset_ns / NS_PER_S for segment in segments] == pytest.approx(
        [3.0, 8.5], abs=0.02
    )
    assert [segment.stop_ns - segment.start_ns for segment in segments] == [3 * NS_PER_S] * 2
    for each in heard.candidates:
        assert each.heard.shape == (HEARD,)
        assert abs(int(np.abs(each.heard).argmax()) - HEARD // 2) < 400
    assert heard.dropped == {'onsets': 3, 'close_to_a_louder_one': 1}
    near = listen_to(videos / 'a (1).mkv', listening(['apart_s=0.5']))
    assert len(near.candidates) == 3
    none = listen_to(videos / 'a (1).mkv', listening(['minimum_rms_dbfs=-10']))
    assert none.candidates == [] and none.dropped['quiet'] == 2
    assert listen_to(videos / 'a (1).mkv', listening(['onset.minimum_dbfs=0'])).candidates == []
    early = listen_to(videos / 'b.mkv', Listening()).candidates[0]
    assert (early.segment.start_ns, early.segment.onset_ns) == (0, pytest.approx(7e8, abs=2e7))


def test_narrations_become_windows(videos: Path) -> None:
    narrations = [
        Narration('0', 'a (1)', 3_600_000_000, 'puts the pan down'),
        Narration('1', 'a (1)', 7_000_000_000, 'talks', ('speech',)),
        Narration('2', 'a (1)', 6_600_000_000, 'waits'),
        Narration('3', 'a (1)', 99 * NS_PER_S, 'leaves'),
    ]
    heard = listen_to(videos / 'a (1).mkv', Listening(), narrations)
    (one,) = heard.candidates
    assert one.segment.onset_ns == pytest.approx(3.0 * NS_PER_S, abs=1e7)
    assert one.segment.text == 'puts the pan down'
    dropped = {'narrations': 4, 'speech': 1, 'quiet': 1, 'beyond_the_end': 1}
    assert heard.dropped == dropped


@pytest.fixture
def task(videos: Path) -> Task:
    return Task(find_videos(videos, None), Listening(), validation=0.5)


def test_tables_accounts_and_report(task: Task, tmp_path: Path) -> None:
    listener = Listener(lambda sound: 'speech' if np.abs(sound).max() < 0.1 else CLASSES[0])
    report = gather(task, listener, 'fake', tmp_path, 1, False)
    assert report['onsets'] >= 5 and report['kept'] == 3
    assert report['dropped']['copy_of_another_sound'] == 1
    assert report['dropped']['without_sound'] == 1
    assert list(report['unreadable']) == ['e'] and report['classes'] == {CLASSES[0]: 3}
    found = [
        segment
        for name in gathering.TABLES
        if (tmp_path / name).is_file()
        for segment in read_own(tmp_path / name)
    ]
    assert sorted(segment.video for segment in found) == ['a (1)', 'a (1)', 'b copy']
    assert {segment.score for segment in found} == {0.3}
    assert report['train.csv'] + report['val.csv'] == 3
    assert json.loads((tmp_path / 'report.json').read_text()) == report


def test_what_is_no_collision_is_counted(task: Task, tmp_path: Path) -> None:
    report = gather(task, Listener(lambda sound: 'speech'), 'fake', tmp_path / 'a', 1, False)
    assert report['kept'] == 0 and report['dropped']['speech_or_music'] == 4
    report = gather(task, Listener(lambda sound: 'water'), 'fake', tmp_path / 'b', 1, False)
    assert report['kept'] == 0 and report['dropped']['no_collision'] == 4
    assert not list(tmp_path.glob('*/*.csv'))


def test_names_that_fit_no_table_are_told(videos: Path, tmp_path: Path) -> None:
    (tmp_path / 'in').mkdir()
    for name in ('.hidden.mkv', 'n' * 161 + '.mkv', 'a\nb.mkv', 'end .mkv'):
        shutil.copy(videos / 'b.mkv', tmp_path / 'in' / name)
    found = find_videos(tmp_path / 'in', None)
    assert len(found) == 3
    report = gather(Task(found, Listening()), Listener(), 'fake', tmp_path / 'out', 2, False)
    assert set(report['unreadable']) == set(found) and report['kept'] == 0


def test_a_run_that_was_cut_off_goes_on(task: Task, tmp_path: Path) -> None:
    whole = gather(task, Listener(), 'fake', tmp_path / 'whole', 2, False)

    class Cut(Listener):
        def __call__(self, sounds: np.ndarray) -> np.ndarray:
            if self.asked:
                raise KeyboardInterrupt
            return super().__call__(sounds)

    with pytest.raises(KeyboardInterrupt):
        gather(task, Cut(), 'fake', tmp_path / 'cut', 1, False)
    before = len(list((tmp_path / 'cut' / 'videos').iterdir()))
    assert 0 < before < 6
    listener = Listener()
    assert gather(task, listener, 'fake', tmp_path / 'cut', 1, False) == whole
    assert listener.asked == 4 - 2
    for name in gathering.TABLES:
        texts = {
            (tmp_path / run / name).read_text() if (tmp_path / run / name).exists() else ''
            for run in ('whole', 'cut')
        }
        assert len(texts) == 1
    with pytest.raises(ValueError, match='other settings \\(classifier\\)'):
        gather(task, listener, 'another', tmp_path / 'cut', 1, False)


def test_videos_stay_on_their_side() -> None:
    def segments(names: list[str]) -> list[Any]:
        return [gathering.Segment(f'{n}_0', 'own', n, 0, 1) for n in names for _ in range(2)]

    few, many = ([f'v{k}' for k in range(count)] for count in (20, 200))
    train, held = gathering.split(segments(few), 0.3)
    assert not {s.video for s in train} & {s.video for s in held}
    more_train, more_held = gathering.split(segments(many), 0.3)
    assert {s.video for s in held} <= {s.video for s in more_held}
    assert 0.2 < len(more_held) / len(more_train + more_held) < 0.4


def test_files_of_narrations(tmp_path: Path) -> None:
    epic = tmp_path / 'EPIC_100_train.csv'
    epic.write_text(
        'narration_id,participant_id,video_id,narration_timestamp,narration\n'
        'P01_01_0,P01,P01_01,00:00:01.089,open door\n'
    )
    assert read_narrations(epic) == [Narration('P01_01_0', 'P01_01', 1_089_000_000, 'open door')]
    sounds = tmp_path / 'ego4dsounds.tsv'
    sounds.write_text(
        'video_uid\tnarration_source\tnarration_ind\tclip_start\tclip_end\tclip_text\tspeech\n'
        f'{UID}\tnarration_pass_1\t7\t3.0\t6.0\tputs a cup down\t1.0\n'
    )
    (one,) = read_narrations(sounds)
    assert (one.time_ns, one.text, one.noises) == (4_500_000_000, 'puts a cup down', ('speech',))
    said = {'timestamp_sec': 2.5, 'narration_text': '#C C puts\na cup', 'annotation_uid': 'x'}
    ego4d = tmp_path / 'narration.json'
    passes = {'narration_pass_1': {'narrations': [said]}, 'status': 'complete'}
    for data in ({'videos': {UID: passes}}, {UID: passes}):
        ego4d.write_text(json.dumps(data))
        (one,) = read_narrations(ego4d)
        assert (one.video, one.time_ns, one.text) == (UID, 2_500_000_000, '#C C puts a cup')
    ego4d.write_text(json.dumps({UID: {'narration_pass_1': {'narrations': [{'text': ''}]}}}))
    with pytest.raises(ValueError, match='narrations\\[0\\]: missing'):
        read_narrations(ego4d)
    metadata = tmp_path / 'ego4d.json'
    scenarios = {'a': ['Cooking'], 'b': ['Talking with friends/housemates'], 'c': None}
    metadata.write_text(
        json.dumps({'videos': [{'video_uid': k, 'scenarios': v} for k, v in scenarios.items()]})
    )
    assert social_videos(metadata) == {'b'}


def test_the_command_with_clap(
    videos: Path, cs3_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tiny weights say anything, but of every sound."""
    (tmp_path / 'in').mkdir()
    shutil.copy(videos / 'b.mkv', tmp_path / 'in')
    out = tmp_path / 'out'
    words = ['curate', 'candidates', '--videos', str(tmp_path / 'in'), '--out', str(out)]
    status = main([*words, '--device', 'cpu', '--validation', '0'])
    printed = capsys.readouterr().out
    report = json.loads((out / 'report.json').read_text())
    assert status == (0 if report['kept'] else 1)
    assert report['kept'] + sum(report['dropped'].values()) == report['onsets'] == 1
    assert f'1 videos, 1 onsets: {report["kept"]} candidates' in printed
    for more, said in (
        (('--set', 'loudness=3'), 'unknown key(s) loudness'),
        (('--set', 'apart_s=x'), 'expected NAME=NUMBER'),
        (('--head', str(videos / 'e.mp4')), 'no safetensors file'),
        (('--clap', 'nowhere'), 'cs3 fetch zero_shot'),
        (('--validation', '2'), '--validation 2'),
    ):
        assert main([*words, *more]) == 1
        assert said in capsys.readouterr().err


def test_what_was_found_is_cut_and_annotated(
    videos: Path, cs3_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The three commands that docs/curate.md begins with; the page itself has a test of its own."""
    from cs3_ros.maskers.grabcut import GrabCutMasker
    from cs3_training.curate import classifiers
    from cs3_training.curate.drawing import DrawnObject
    from cs3_training.curate.work import Work
    from cs3_training.data.manifest import read_manifest

    monkeypatch.setattr(classifiers, 'ClapClassifier', lambda *_: Listener())
    found = tmp_path / 'found'
    words = ['--videos', str(videos), '--out']
    more = ['--workers', '1', '--device', 'cpu', '--validation', '0']
    assert main(['curate', 'candidates', *words, str(found), *more]) == 0
    words = ['--annotations', str(found / 'train.csv'), *words, str(tmp_path / 'shards')]
    assert main(['extract', 'own', *words, '--workers', '1']) == 0
    report = json.loads((tmp_path / 'shards' / 'report.json').read_text())
    assert report['samples'] == 3 and report['pictures'] == 3 * 12
    segments = read_own(found / 'train.csv')
    work = Work(segments, find_videos(videos, None), tmp_path, GrabCutMasker())
    box = DrawnObject((5.0, 5.0, 40.0, 40.0))
    work.save(0, replace(work.drawing(0), objects=(box,), verdict='done'))
    (frame,) = read_manifest(tmp_path / 'manifest.jsonl')
    assert frame.onset_ns == segments[0].onset_ns and frame.group == segments[0].video
    assert abs(frame.frame_ns - frame.onset_ns) < NS_PER_S / 50
