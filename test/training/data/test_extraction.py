"""Shards hold what was heard and seen at the times of the annotations, however they were made."""

from __future__ import annotations

import needs

needs.training()

import json
import tarfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from killing import digests, words
from miniature import (
    EPIC,
    UIDS,
    even,
    make_ego4d,
    make_epic,
    make_video,
    number_of,
    uneven,
    write_epic,
)

from cs3_ros.collision import NS_PER_S
from cs3_training.cli import main
from cs3_training.data import extraction
from cs3_training.data.excerpts import RATE
from cs3_training.data.shards import Sample, decode


@pytest.fixture(scope='module')
def epic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_epic(tmp_path_factory.mktemp('epic'))


@pytest.fixture(scope='module')
def ego4d(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_ego4d(tmp_path_factory.mktemp('ego4d'))


def read(folder: Path) -> list[Sample]:
    """The samples of a folder, read without the library."""
    found = []
    for path in sorted(folder.glob('shard-*.tar')):
        with tarfile.open(path) as tar:
            groups: dict[str, dict[str, bytes]] = {}
            for member in tar:
                key, _, ending = member.name.partition('.')
                groups.setdefault(key, {})[ending] = tar.extractfile(member).read()  # type: ignore[union-attr]
        found += [decode(group) for group in groups.values()]
    return found


@pytest.fixture(scope='module')
def whole(epic: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('whole') / 'shards'
    assert main(words(epic, out)) == 0
    return out


def check(sample: Sample, stamps_s: list[float], clicks_s: list[float]) -> None:
    """Pictures are within a frame of where they should be, clicks within 5 ms."""
    facts = sample.facts
    start_s = facts['start_ns'] / NS_PER_S
    length_s = facts['stop_ns'] / NS_PER_S - start_s
    assert len(sample.pictures) == len(facts['pictures_ns']) > 0
    numbers = [number_of(image) for image in sample.pictures]
    for number, stamp_ns in zip(numbers, facts['pictures_ns'], strict=True):
        assert stamps_s[number] == pytest.approx(stamp_ns / NS_PER_S, abs=0.001)
    if facts['dataset'] == 'epic':
        count = len(numbers)
        wanted = [start_s + (k + 0.5) * length_s / count for k in range(count)]
        nearest = [int(np.abs(np.array(stamps_s) - time).argmin()) for time in wanted]
        np.testing.assert_allclose(numbers, nearest, atol=1)
    sound_s = facts['sound_ns'] / NS_PER_S
    assert sound_s == pytest.approx(start_s - 1)
    assert len(sample.sound) == round((length_s + 2) * RATE)
    loud = np.flatnonzero(np.abs(sample.sound) > 0.25) / RATE + sound_s
    onsets = loud[np.diff(loud, prepend=-10) > 0.05]
    inside = [time for time in clicks_s if sound_s + 0.01 < time < sound_s + length_s + 1.99]
    np.testing.assert_allclose(onsets, inside, atol=0.005)


@pytest.mark.parametrize('fps', ['30000/1001', '30', '50', '60000/1001', 'variable'])
@pytest.mark.parametrize('gop', [12, 250])
def test_pictures_and_sounds_are_where_they_should_be(tmp_path: Path, fps: str, gop: int) -> None:
    stamps = uneven(8) if fps == 'variable' else even(8, Fraction(fps))
    clicks = [0.4, 1.5, 3.02, 4.4, 6.123, 7.7]
    rate = 44_100 if fps == '50' else 48_000
    make_video(tmp_path / 'P01_01.MP4', stamps, clicks, seconds=8, gop=gop, rate=rate)
    spans = [(6.0, 6.4), (0.2, 0.45), (1.45, 1.61), (1.0, 4.5), (4.3, 4.6), (7.4, 7.9)]
    rows = [('P01_01', start, stop) for start, stop in spans]
    annotations = write_epic(tmp_path / 'a.csv', rows)
    assert main(words((tmp_path, annotations), tmp_path / 'out')) == 0
    samples = read(tmp_path / 'out')
    assert [sample.facts['id'] for sample in samples] == [f'P01_01_{k}' for k in range(6)]
    for sample in samples:
        check(sample, stamps, clicks)
        assert sample.facts['missing_s'] == 0
    first = samples[1]  # begins 0.8 s before the video
    assert not first.sound[: round(0.79 * RATE)].any()


def test_long_gaps_are_jumped_over(tmp_path: Path) -> None:
    stamps, clicks = even(100, Fraction(10)), [1.0, 40.0, 95.5]
    video = make_video(tmp_path / 'P01_01.MP4', stamps, clicks, seconds=100, gop=40)
    rows = [('P01_01', time - 0.2, time + 0.3) for time in clicks]
    annotations = write_epic(tmp_path / 'a.csv', rows)
    assert main(words((tmp_path, annotations), tmp_path / 'out')) == 0
    for sample in read(tmp_path / 'out'):
        check(sample, stamps, clicks)
    assert video.path.is_file()


def test_all_of_a_miniature_epic(whole: Path, epic: tuple[Path, Path]) -> None:
    samples = read(whole)
    assert [sample.facts['video'] for sample in samples] == [v for v in EPIC for _ in range(4)]
    rates = (Fraction(60000, 1001), Fraction(50), Fraction(30000, 1001))
    for sample in samples:
        fps = rates[EPIC.index(sample.facts['video'])]
        check(sample, even(6, fps), [0.5, 1.5, 2.25, 4.0, 5.5])
    assert [len(sample.pictures) for sample in samples[:4]] == [5, 4, 6, 24]
    report = json.loads((whole / 'report.json').read_text())
    assert report['samples'] == 12 and report['shards'] == 4
    assert report['missing_videos'] == {'P04_01': 1} and report['without_sound'] == {'P03_01': 1}


def test_ego4d_pictures_lie_about_the_loudest_sample(
    ego4d: tuple[Path, Path], tmp_path: Path
) -> None:
    assert main(words(ego4d, tmp_path / 'out', dataset='ego4d')) == 0
    samples = read(tmp_path / 'out')
    loudest = [1.2, 5.0, 8.9, 2.0, 4.5]
    for sample, peak in zip(samples, loudest, strict=True):
        stamps = even(10, Fraction(30)) if sample.facts['video'] == UIDS[0] else uneven(8)
        clicks = [1.2, 5.0, 8.9] if sample.facts['video'] == UIDS[0] else [2.0, 4.5]
        check(sample, stamps, clicks)
        times = np.array(sample.facts['pictures_ns']) / NS_PER_S
        start = sample.facts['start_ns'] / NS_PER_S
        begin = min(max(peak - 0.75, start), start + 1.5)
        assert len(times) == 12
        assert begin - 0.1 < times[0] < begin + 0.2 and begin + 1.3 < times[-1] < begin + 1.6


def test_a_chosen_frame_is_the_only_one(epic: tuple[Path, Path], tmp_path: Path) -> None:
    annotations = write_epic(tmp_path / 'val.csv', [('P01_01', 1.3, 1.7)], [1.55])
    assert main(words((epic[0], annotations), tmp_path / 'out')) == 0
    (sample,) = read(tmp_path / 'out')
    assert [number_of(image) for image in sample.pictures] == [round(1.55 * 60000 / 1001)]


def test_the_library_reads_the_same(whole: Path) -> None:
    pytest.importorskip('webdataset', reason='pip install webdataset (extra train)')
    from cs3_training.data.shards import samples

    found, expected = list(samples(whole)), read(whole)
    assert [one.facts for one in found] == [one.facts for one in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.sound, other.sound)
        assert all(map(np.array_equal, one.pictures, other.pictures))


def test_any_number_of_workers_makes_the_same(
    whole: Path, epic: tuple[Path, Path], tmp_path: Path
) -> None:
    assert main(words(epic, tmp_path / 'out', '--workers', '3')) == 0
    assert digests(tmp_path / 'out') == digests(whole)


def test_a_video_that_comes_later_is_cut(epic: tuple[Path, Path], tmp_path: Path) -> None:
    videos = tmp_path / 'videos'
    videos.mkdir()
    places = {path.stem: path for path in epic[0].rglob('*.MP4')}
    for name in EPIC[:2]:
        (videos / f'{name}.MP4').symlink_to(places[name])
    out = tmp_path / 'out'
    assert main(words((videos, epic[1]), out)) == 0
    before = digests(out)
    for name in (EPIC[2], 'P03_01'):
        (videos / f'{name}.MP4').symlink_to(places[name])
    assert main(words((videos, epic[1]), out)) == 0
    assert main(words(epic, tmp_path / 'at_once')) == 0
    assert digests(out) == digests(tmp_path / 'at_once')
    assert digests(out)['shard-000000.tar'] == before['shard-000000.tar']


def test_what_the_videos_lack_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_video(tmp_path / 'P01_01.MP4', even(4, Fraction(30)), [1.0], seconds=2.5)
    (tmp_path / 'P01_02.MP4').write_bytes(b'no video at all' * 99)
    rows = [('P01_01', 0.8, 1.2), ('P01_01', 2.2, 2.8), ('P01_01', 3.0, 3.5), ('P01_01', 9, 9.5)]
    annotations = write_epic(tmp_path / 'a.csv', [*rows, ('P01_02', 0.5, 1.0)])
    assert main(words((tmp_path, annotations), tmp_path / 'out')) == 0
    report = json.loads((tmp_path / 'out' / 'report.json').read_text())
    short = {one['id']: one for one in report['short']}
    assert list(short) == ['P01_01_1', 'P01_01_2', 'P01_01_3']
    assert short['P01_01_1']['kept'] and not short['P01_01_2']['kept']
    assert short['P01_01_1']['missing_sound_s'] == pytest.approx(0.3, abs=0.03)
    assert short['P01_01_3']['missing_pictures'] == 4
    assert 'expected a media file' in report['unreadable']['P01_02']
    assert [one.facts['id'] for one in read(tmp_path / 'out')] == ['P01_01_0', 'P01_01_1']
    printed = capsys.readouterr().out
    assert '1 videos cannot be read' in printed and '3 segments reach beyond' in printed


def test_a_broken_video_gives_what_it_has(tmp_path: Path) -> None:
    made = make_video(tmp_path / 'P01_01.MP4', even(6, Fraction(30)), [1.0, 5.0], seconds=6)
    data = bytearray(made.path.read_bytes())
    third = len(data) // 3
    data[third : third + 4000] = bytes(4000)
    made.path.write_bytes(data)
    annotations = write_epic(tmp_path / 'a.csv', [('P01_01', t, t + 0.4) for t in range(6)])
    assert main(words((tmp_path, annotations), tmp_path / 'out')) == 0
    report = json.loads((tmp_path / 'out' / 'report.json').read_text())
    assert report['samples'] + sum(not one['kept'] for one in report['short']) == 6


def refused(call: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(call) == 1
    return capsys.readouterr().err


def test_wrong_calls_are_refused(
    epic: tuple[Path, Path],
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert '--samples 0: expected' in refused(words(epic, tmp_path / 'a', '--samples', '0'), capsys)
    with pytest.raises(SystemExit):
        main(words(epic, tmp_path / 'a', '--workers', '0'))
    assert '--workers: 0: expected at least 1' in capsys.readouterr().err
    assert 'other annotations or settings (cutting)' in refused(
        words(epic, whole, '--quality', '50'), capsys
    )
    nothing = tmp_path / 'nothing'
    nothing.mkdir()
    assert 'none of the videos' in refused(words((nothing, epic[1]), tmp_path / 'a'), capsys)
    (nothing / 'x').write_text('theirs')
    assert 'is not empty' in refused(words(epic, nothing), capsys)
    with extraction.locked(whole):
        assert 'another command is writing' in refused(words(epic, whole), capsys)
    twice = tmp_path / 'twice'
    for place in ('a', 'b'):
        (twice / place).mkdir(parents=True)
        (twice / place / 'P01_01.mp4').write_bytes(b'')
    assert 'two videos of one name' in refused(words((twice, epic[1]), tmp_path / 'a'), capsys)
    monkeypatch.setattr(extraction, 'estimated_bytes', lambda work: 10**18)
    assert 'GB free: make room' in refused(words(epic, tmp_path / 'b'), capsys)


def test_the_estimate_is_near(epic: tuple[Path, Path], whole: Path) -> None:
    from cs3_training.data.annotations import read_segments
    from cs3_training.data.sampling import Cutting
    from cs3_training.data.videos import find_videos

    segments = read_segments(epic[1], 'epic')
    videos = find_videos(epic[0], {segment.video for segment in segments})
    work = extraction.jobs(whole, segments, videos, Cutting(side=0), 4)
    written = sum(path.stat().st_size for path in whole.glob('*.tar'))
    assert extraction.estimated_bytes(work) == pytest.approx(written, rel=0.25)
