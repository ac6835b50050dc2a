"""The official tables are read as they are; what is broken is named."""

from __future__ import annotations

import needs

needs.training()

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared_data import shared_data

from cs3_training.cli import main
from cs3_training.data import tables
from cs3_training.data.annotations import (
    read_ego4d,
    read_ego4d_sounds,
    read_epic,
    read_epic_sounds,
    read_segments,
)
from cs3_training.data.records import CLASSES, collision_name

UID = '0a1b2c3d-0000-4000-8000-00000000000a'
COLUMNS = 'annotation_id,participant_id,video_id,start_timestamp,stop_timestamp'
EPIC = f"""{COLUMNS},start_sample,stop_sample,class
P01_01_0,P01,P01_01,00:00:02.466,00:00:05.315,59184,127560,plastic-only-collision
P01_102_5,P01,P01_102,01:00:16.924,01:00:17.549,406176,421176,metal-wood-collision
"""
EGO4D = f"""annotation_id,video_id,start_timestamp,stop_timestamp,class,score
{UID}_194.79_197.79,{UID},00:03:14.788,00:03:17.788,ceramic-only-collision,0.0663478299975395
"""
SOUNDS = f"""{COLUMNS},description,class,class_id
P01_01_0,P01,P01_01,00:00:02.466,00:00:05.315,"clang, clatter",metal / wood collision,10
P01_01_1,P01,P01_01,00:00:06.000,00:00:07.000,tap,water,3
"""
EGO4D_SOUNDS = (
    'video_uid\tvideo_dur\tnarration_source\tnarration_ind\tnarration_time\tclip_start\tclip_end\t'
    'clip_text\tspeech\tbackground_music\n'
    f'{UID}\t99.5\tnarration_pass_1\t7\t4.5\t3.0\t6.0\t#C C puts a pan down\t1\t0\n'
)
TOTALS = {
    'epic_train': (
        *(9507, 2988, 1451, 1303, 1285, 685, 473, 472, 346, 314, 275, 243, 154, 124, 123, 121),
        *(101, 84, 82, 57, 50, 43, 42, 29),
    ),
    'epic_val': (
        *(256, 77, 53, 80, 68, 9, 6, 9, 7, 4, 11, 15, 0, 2, 3, 7, 1, 1, 0, 3, 1, 0, 0, 1),
    ),
    'ego4d_val': (*(408, 72, 2, 27, 0, 16, 0, 0, 2, 0, 1), *(0,) * 13),
}


@pytest.mark.parametrize(
    'name, dataset, rows, videos',
    [
        ('epic_train', 'epic', 20_352, 487),
        ('epic_val', 'epic', 614, 29),
        ('ego4d_val', 'ego4d', 528, 166),
    ],
)
def test_the_official_files(name: str, dataset: str, rows: int, videos: int) -> None:
    path = shared_data('cs3_annotations') / f'{name}_filtered.csv'
    segments = read_segments(path, dataset)  # type: ignore[arg-type]
    counts = Counter(segment.label for segment in segments)
    assert len(segments) == len({segment.id for segment in segments}) == rows
    assert len({segment.video for segment in segments}) == videos
    assert tuple(counts[label] for label in CLASSES) == TOTALS[name]
    assert sum(TOTALS[name]) == rows and all(segment.collides for segment in segments)
    assert all((segment.selected_ns is None) == (name == 'epic_train') for segment in segments)
    if name == 'ego4d_val':
        assert {segment.stop_ns - segment.start_ns for segment in segments} == {3_000_000_000}
        scores = sorted(segment.score or 0 for segment in segments)
        assert (scores[0], scores[-1]) == pytest.approx((0.0397, 0.641), abs=5e-4)
    if name == 'epic_train':
        assert len({segment.video[:3] for segment in segments}) == 32
        lengths = sorted((segment.stop_ns - segment.start_ns) / 1e9 for segment in segments)
        assert (lengths[0], lengths[-1]) == pytest.approx((0.2, 81.8), abs=0.05)


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / 'rows.csv'
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_each_kind_is_known_by_its_columns(tmp_path: Path) -> None:
    first, second = read_segments(written(tmp_path, EPIC), 'epic')
    assert (first.id, first.video, first.label) == ('P01_01_0', 'P01_01', 'plastic-only-collision')
    assert (first.start_ns, first.stop_ns) == (2_466_000_000, 5_315_000_000)
    assert second.start_ns == 3_616_924_000_000 and second.score is None
    (clip,) = read_segments(written(tmp_path, EGO4D), 'ego4d')
    assert clip.video == UID and clip.score == 0.0663478299975395
    sounds = read_segments(written(tmp_path, SOUNDS), 'epic')
    assert [(one.label, one.text, one.collides) for one in sounds] == [
        ('metal-wood-collision', 'clang, clatter', True),
        ('water', 'tap', False),
    ]
    (clip,) = read_segments(written(tmp_path, EGO4D_SOUNDS), 'ego4d')
    assert clip.id == f'{UID}_narration_pass_1_7' and clip.label == ''
    assert (clip.start_ns, clip.stop_ns) == (3_000_000_000, 6_000_000_000)
    assert clip.noises == ('speech',) and clip.text == '#C C puts a pan down'


def test_names_of_classes() -> None:
    assert collision_name('metal / wood collision') == 'metal-wood-collision'
    assert collision_name('metal-only collision') == 'metal-only-collision'
    assert collision_name('cut / chop') == 'cut / chop'


def test_sample_columns_are_not_read(tmp_path: Path) -> None:
    other = EPIC.replace('59184,127560', '-1,nonsense')
    assert read_epic(written(tmp_path, other)) == read_epic(written(tmp_path, EPIC))


@pytest.mark.parametrize(
    'old, new, told',
    [
        ('stop_timestamp', 'end', 'line 1: column(s) stop_timestamp missing: expected'),
        ('participant_id', 'video_id', "line 1: column(s) ['video_id'] twice"),
        (
            '00:00:02.466',
            '00:00:61.000',
            "line 2, start_timestamp = '00:00:61.000': expected a time",
        ),
        ('00:00:02.466', '2.466', "line 2, start_timestamp = '2.466': expected a time HH:MM:SS"),
        ('00:00:02.466', '', "line 2, start_timestamp = '': expected a time"),
        ('00:00:05.315', '00:00:02.466', 'line 2, stop_timestamp'),
        ('00:00:05.315', '00:59:05.315', 'at most 300 s later'),
        ('P01_01_0', 'P01_02_0', "line 2, annotation_id = 'P01_02_0': expected the name of the"),
        ('P01,P01_01,', 'P02,P01_01,', "line 2, participant_id = 'P02': expected P01"),
        ('P01,P01_01,', 'P01,../etc,', "line 2, video_id = '../etc': expected a video"),
        ('plastic-only-collision', 'plastic', "line 2, class = 'plastic': expected one of the 24"),
        ('59184,127560,', '59184,', 'line 2, 7 fields: expected 8'),
        ('P01_102_5,P01,P01_102', 'P01_01_0,P01,P01_01', "line 3, id = 'P01_01_0': expected one"),
        ('P01_01_0', '"P01_01_0', 'line 2: no row of a table'),
        ('P01_01_0', 'x' * 70_000, 'line 2: longer than the 65536 bytes'),
    ],
)
def test_what_is_broken_is_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = written(tmp_path, EPIC.replace(old, new, 1))
    with pytest.raises(ValueError, match='rows.csv') as caught:
        read_epic(path)
    assert told in str(caught.value) and '\n' not in str(caught.value)


def test_no_text_and_no_rows(tmp_path: Path) -> None:
    for data, told in (
        (EPIC.encode().replace(b'plastic', b'\xff\xfe'), 'line 2: no UTF-8'),
        (b'', 'a table whose first line'),
        (EPIC.encode().splitlines()[0], 'no rows below its header'),
    ):
        with pytest.raises(ValueError, match=told):
            read_epic(written(tmp_path, data))
    with pytest.raises(FileNotFoundError, match='no such annotation file'):
        read_epic(tmp_path / 'none.csv')


def test_the_first_bad_rows_are_told_and_all_counted(tmp_path: Path) -> None:
    head, row, _ = EPIC.splitlines()
    text = '\n'.join([head, *[row.replace('00:00:02', 'soon')] * 9])
    with pytest.raises(ValueError) as caught:
        read_epic(written(tmp_path, text))
    assert '9 bad row(s): line 2, ' in str(caught.value) and 'and 4 more' in str(caught.value)
    assert str(caught.value).count('soon') == tables.TOLD


def test_scores_and_clips_of_ego4d(tmp_path: Path) -> None:
    for bad in ('1.5', 'nan', '', '1_0', '٣'):
        text = EGO4D.replace('0.0663478299975395', bad)
        with pytest.raises(ValueError, match='line 2, score = '):
            read_ego4d(written(tmp_path, text))
    with pytest.raises(ValueError, match='line 2, clip_end = '):
        read_ego4d_sounds(written(tmp_path, EGO4D_SOUNDS.replace('\t6.0', '\t2.0')))
    with pytest.raises(ValueError, match='line 2, class_id = '):
        read_epic_sounds(written(tmp_path, SOUNDS.replace(',10\n', ',44\n')))


def test_a_byte_order_mark_windows_lines_and_further_columns_do_no_harm(tmp_path: Path) -> None:
    text = EPIC.replace('\n', ',x\r\n')
    assert read_epic(written(tmp_path, '\ufeff' + text)) == read_epic(written(tmp_path, EPIC))


KINDS = {
    'epic': (EPIC, 'epic'),
    'ego4d': (EGO4D, 'ego4d'),
    'epic_sounds': (SOUNDS, 'epic'),
    'ego4d_sounds': (EGO4D_SOUNDS, 'ego4d'),
}


@pytest.mark.parametrize('kind', KINDS)
@given(place=st.integers(0, 500), length=st.integers(0, 30), put=st.text(max_size=12))
def test_any_damage_is_read_or_named(
    tmp_path_factory: pytest.TempPathFactory, kind: str, place: int, length: int, put: str
) -> None:
    text, dataset = KINDS[kind]
    place %= len(text)
    path = tmp_path_factory.getbasetemp() / 'fuzzed.csv'
    path.write_bytes((text[:place] + put + text[place + length :]).encode('utf-8', 'surrogatepass'))
    try:
        segments = read_segments(path, dataset)  # type: ignore[arg-type]
    except ValueError as error:
        message = str(error)
        assert message.startswith(str(path)) and len(message) < 2500 and message.isprintable()
    else:
        for segment in segments:
            assert 0 <= segment.start_ns < segment.stop_ns and segment.dataset == dataset
            assert segment.id.startswith(f'{segment.video}_')
            assert segment.collides or kind.endswith('sounds')


def test_the_command_says_it_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, EPIC.replace('00:00:02.466', 'soon'))
    words = ['extract', 'epic', '--videos', str(tmp_path), '--annotations', str(path)]
    assert main([*words, '--out', str(tmp_path / 'out')]) == 1
    told = capsys.readouterr().err
    assert told.startswith('cs3-train extract: ') and told.count('\n') == 1
    assert not (tmp_path / 'out').exists()
