"""What an offline run leaves on disk."""

import needs

needs.opencv()

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from cs3_ros.collision import Candidate, Collision, Frame, Onset, Verdict
from cs3_ros.files.output_folder import OutputFolder
from cs3_ros.offline.results import NAMES, ResultWriter


def output(folder: Path) -> OutputFolder:
    return OutputFolder(folder, 'run', NAMES)


def collision(onset_ns: int, masks: int) -> Collision:
    image = np.zeros((20, 30, 3), np.uint8)
    objects = []
    for k in range(masks):
        mask = np.zeros((20, 30), bool)
        mask[2:10, 3 + 10 * k : 9 + 10 * k] = True
        objects.append(Candidate('right_hand' if k == 0 else 'left_hand', mask, 0.5))
    verdict = Verdict(tuple(objects), 'closest_pair' if masks == 2 else 'none', 4.0, ('why',))
    frame = Frame.from_rgb(onset_ns + 1, image)
    onset = Onset(onset_ns, -3.0, 30.0)
    return Collision(onset, frame, verdict, tuple(objects), (), None, {'masks': 1.23456}, 'fake')


def test_entries_and_pictures_agree(tmp_path) -> None:
    with output(tmp_path / 'out') as folder:
        writer = ResultWriter(folder, origin_ns=10**9)
        writer.add(collision(1_500_000_000, 2), frame_index=7)
        writer.add(collision(2_500_000_000, 0), frame_index=9)
    entries = json.loads(writer.path.read_text())
    first, second = entries
    assert first['id'] == '1.500000000' and first['onset_s'] == 0.5 and first['frame_index'] == 7
    labels = cv2.imread(str(tmp_path / 'out' / first['label_image']), cv2.IMREAD_UNCHANGED)
    for number, entry in enumerate(first['objects'], 1):
        mask = cv2.imread(str(tmp_path / 'out' / entry['mask']), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(mask)) == {0, 255}
        assert np.array_equal(mask > 0, labels == number)
    assert first['objects'][0]['box'] == [3.0, 2.0, 9.0, 10.0]
    assert second['objects'] == [] and second['label_image'] is None


def test_how_well_an_object_fits_the_sound_is_written(tmp_path) -> None:
    found = collision(1_500_000_000, 2)
    first, second = found.objects
    objects = (replace(first, sounding=0.123456789), second)
    found = replace(found, verdict=replace(found.verdict, objects=objects))
    with output(tmp_path / 'out') as folder:
        entry = ResultWriter(folder, origin_ns=0).add(found, 0)
    assert [one['sounding'] for one in entry['objects']] == [0.123457, None]


def test_a_second_run_replaces_the_first(tmp_path) -> None:
    for onset_ns in (1_500_000_000, 1_700_000_000):
        with output(tmp_path / 'out') as folder:
            ResultWriter(folder, origin_ns=0).add(collision(onset_ns, 1), 0)
            with folder.replacing('overlay.mp4') as part:
                part.touch()
    labels = tmp_path / 'out' / 'labels'
    assert [path.name for path in labels.iterdir()] == ['1.700000000.png']
    with output(tmp_path / 'out') as folder:
        ResultWriter(folder, origin_ns=0)
    assert not labels.exists() and not (tmp_path / 'out' / 'overlay.mp4').exists()


def test_entries_are_there_after_each_event(tmp_path) -> None:
    with output(tmp_path) as folder:
        writer = ResultWriter(folder, origin_ns=0)
        assert json.loads(writer.path.read_text()) == []
        for count, onset_ns in enumerate((1_500_000_000, 1_700_000_000), 1):
            writer.add(collision(onset_ns, 1), 0)
            assert len(json.loads(writer.path.read_text())) == count
    assert writer.path.read_text() == json.dumps(writer.entries, indent=1) + '\n'
