"""``cs3 run`` and ``cs3 replay``: events, failures and files, with fake stages."""

from __future__ import annotations

import needs

needs.opencv()

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import ClickRecording, click_sound, fake_pipeline
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from tiny_media import write_media

from cs3_ros.bundles.bundle import Bundle, BundleError, load_bundle
from cs3_ros.collision import Frame
from cs3_ros.files.bag_writer import make_bag
from cs3_ros.files.media import VideoFile
from cs3_ros.offline import run as offline
from cs3_ros.offline.run import Run
from cs3_ros.settings import Settings
from cs3_ros.trackers.flow import FlowTracker

BUNDLE = load_bundle('lite')
BLIND = 'name: blind\nwarning: it sees nothing\nclip: {}\nhands: {type: mediapipe}\n'
BLIND += 'masker: {type: grabcut}\n'


class Recorded(ClickRecording):
    """Stamps from 1000 s; frames may be spoilt or doubled by number."""

    origin_ns = 1_000_000_000_000

    def __init__(self, *arguments, broken=(), doubled=(), **keywords) -> None:
        super().__init__(*arguments, **keywords)
        self._broken, self._doubled = broken, doubled

    def __iter__(self):
        number = 0
        for item in super().__iter__():
            item = replace(item, stamp_ns=item.stamp_ns + self.origin_ns)
            if not isinstance(item, Frame):
                yield item
                continue
            if number in self._broken:
                item = Frame(item.stamp_ns, b'', self._spoilt)
            yield item
            if number in self._doubled:
                yield item
            number += 1

    @staticmethod
    def _spoilt(payload) -> np.ndarray:
        raise ValueError('the picture is broken')


def run(recording, pipeline=None, settings=Settings()) -> Run:
    return Run(recording, BUNDLE, pipeline or fake_pipeline(), settings)


def test_each_click_is_found_on_the_nearest_frame():
    found = list(run(Recorded((0.5, 1.21, 2.0))))
    onsets_s = [event.collision.onset.stamp_ns / 1e9 - 1000 for event in found]
    assert np.allclose(onsets_s, (0.5, 1.21, 2.0), atol=1e-3)
    assert [event.frame_index for event in found] == [15, 36, 60]
    assert [event.collision.frame.image[0, 0, 0] for event in found] == [45, 108, 180]
    assert all(len(event.collision.objects) == 2 for event in found)


def test_events_at_both_ends_are_found():
    """The last one has less sound and fewer frames after it than the bundle asks for."""
    found = list(run(Recorded((0.13, 2.97))))
    assert [event.frame_index for event in found] == [4, 89]


def test_the_same_recording_gives_the_same_labels():
    images = [
        [event.collision.label_image().tobytes() for event in run(Recorded((0.5, 1.2)))]
        for _ in range(2)
    ]
    assert images[0] == images[1] and len(images[0]) == 2


def test_a_frame_that_cannot_be_decoded_costs_its_event_and_no_other():
    events = run(Recorded((0.5, 1.2, 2.0), broken={36}))
    assert [event.frame_index for event in events] == [15, 60]
    ((stamp_ns, reason),) = events.failed
    assert abs(stamp_ns / 1e9 - 1001.2) < 1e-3 and reason == 'the picture is broken'


def test_a_stage_that_raises_costs_its_event_and_no_other():
    failures = iter([False, True, False])
    events = run(Recorded((0.5, 1.2, 2.0)), fake_pipeline(fail=lambda: next(failures)))
    assert [event.frame_index for event in events] == [15, 60]
    ((stamp_ns, reason),) = events.failed
    assert abs(stamp_ns / 1e9 - 1001.2) < 1e-3 and 'told to fail' in reason


def test_frames_are_numbered_as_they_lie_in_the_recording():
    """Frame 3 comes twice, with the same stamp: the second one is number 4."""
    events = run(Recorded((0.5,), doubled={3}))
    assert [event.frame_index for event in events] == [16]
    assert events.stream.counts['duplicate_frames'] == 1


def test_losses_are_told():
    events = Run(Recorded((0.5,)), load_bundle('lite'), fake_pipeline(), Settings())
    list(events)
    assert events.losses() == ''
    events.stream.counts['gaps'] += 2
    assert events.losses() == 'gaps 2'


def test_settings_take_effect():
    deaf = Settings(onset=replace(Settings().onset, minimum_dbfs=0.0))
    assert list(run(Recorded((0.5,)), settings=deaf)) == []


# ---- commands ---------------------------------------------------------------------------------


@pytest.fixture
def fake_stages(monkeypatch) -> None:
    monkeypatch.setattr(Bundle, 'build', lambda self, *settings: fake_pipeline())


@pytest.fixture(scope='module')
def video(tmp_path_factory) -> Path:
    sound = click_sound((0.4,), 0.8)[:, None]
    return write_media(tmp_path_factory.mktemp('video') / 'clip.mkv', frames=24, sound=sound)


def options(source: Path, out: Path, **changes) -> argparse.Namespace:
    given = dict(video=source, bag=source, bundle=None, out=out, params=None, settings=[])
    given |= dict(force=False, strict=False, track=False)
    given |= dict(no_overlay=False, start=1000.0, image_topic='', audio_topic='', info_topic='')
    given |= dict(depth_topic='', camera_info_topic='', space=[])
    return argparse.Namespace(**given | changes)


def test_run_writes_events_labels_masks_and_overlay(fake_stages, video, tmp_path, capsys):
    out = tmp_path / 'deep' / 'out'
    assert offline.run_video(options(video, out)) == 0
    (entry,) = json.loads((out / 'events.json').read_text())
    assert abs(entry['onset_s'] - 0.4) < 1e-3 and entry['frame_index'] == 12
    assert entry['frame_s'] == pytest.approx(0.4, abs=1e-3)
    assert entry['onset_stamp_ns'] == pytest.approx(1000.4e9, abs=1e6)
    labels = cv2.imread(str(out / entry['label_image']), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (48, 64) and set(labels.ravel()) == {0, 1, 2}
    for number, found in enumerate(entry['objects'], 1):
        mask = cv2.imread(str(out / found['mask']), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(mask == 255, labels == number)
    assert (out / 'overlay.mp4').stat().st_size > 0
    assert f'1 event(s): {out / "events.json"}' in capsys.readouterr().out


def test_tracks_are_written_and_drawn(fake_stages, video, tmp_path, capsys, monkeypatch):
    build = Bundle.build

    def with_tracker(self, *settings):
        pipeline = build(self, *settings)
        pipeline.tracker = FlowTracker()
        return pipeline

    out = tmp_path / 'out'
    with pytest.raises(ValueError, match='tracker: {type: flow}'):
        offline.run_video(options(video, out, track=True))
    monkeypatch.setattr(Bundle, 'build', with_tracker)
    given = options(video, out, track=True, settings=['tracking.seconds=0.25'])
    assert offline.run_video(given) == 0
    (event,) = json.loads((out / 'events.json').read_text())
    tracks = json.loads((out / 'tracks.json').read_text())
    first_ns = event['frame_stamp_ns']
    assert tracks[0]['frame_stamp_ns'] == first_ns and len(tracks) > 4
    assert all(0 <= t['frame_stamp_ns'] - first_ns <= 0.25e9 for t in tracks)
    assert {t['event'] for t in tracks} == {event['id']}
    labels = [cv2.imread(str(out / t['label_image']), cv2.IMREAD_UNCHANGED) for t in tracks]
    first = cv2.imread(str(out / event['label_image']), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(labels[0], first)
    for track, picture in zip(tracks, labels, strict=True):
        seen = {k for k, each in enumerate(track['objects'], 1) if each is not None}
        assert seen == set(np.unique(picture)) - {0}
        assert all(0 <= each['confidence'] <= 1 for each in track['objects'] if each)
    assert (out / 'overlay.mp4').stat().st_size > 0
    before = {t['label_image']: (out / t['label_image']).read_bytes() for t in tracks}
    assert offline.run_video(given) == 0
    assert before == {name: (out / name).read_bytes() for name in before}


def test_run_without_overlay_and_with_another_start(fake_stages, video, tmp_path):
    assert offline.run_video(options(video, tmp_path / 'out', no_overlay=True, start=5.0)) == 0
    assert not (tmp_path / 'out' / 'overlay.mp4').exists()
    (entry,) = json.loads((tmp_path / 'out' / 'events.json').read_text())
    assert entry['id'].startswith('5.4') and abs(entry['onset_s'] - 0.4) < 1e-3


def test_replay_finds_what_run_finds(fake_stages, video, tmp_path):
    bag = make_bag(video, tmp_path / 'bag', image='raw')
    assert offline.run_video(options(video, tmp_path / 'a', no_overlay=True)) == 0
    assert offline.replay(options(bag, tmp_path / 'b', no_overlay=True)) == 0
    entries = [json.loads((tmp_path / k / 'events.json').read_text()) for k in 'ab']
    for entry in (*entries[0], *entries[1]):
        del entry['timings_ms']
    assert entries[0] == entries[1] and len(entries[0]) == 1
    images = [(tmp_path / k / entries[0][0]['label_image']).read_bytes() for k in 'ab']
    assert images[0] == images[1]


def without_info(bag: Path, out: Path) -> Path:
    """A copy of a bag in which ``audio_info`` was not recorded."""
    with Reader(bag) as reader, Writer(out, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        kept = [c for c in reader.connections if not c.topic.endswith('audio_info')]
        added = {
            c.id: writer.add_connection(c.topic, c.msgtype, msgdef=c.msgdef.data, rihs01=c.digest)
            for c in kept
        }
        for connection, stamp_ns, data in reader.messages(kept):
            writer.write(added[connection.id], stamp_ns, data)
    return out


def test_the_format_of_the_sound_can_be_set(fake_stages, video, tmp_path):
    bag = without_info(make_bag(video, tmp_path / 'whole'), tmp_path / 'bag')
    with pytest.raises(ValueError, match='AudioInfo'):
        offline.replay(options(bag, tmp_path / 'out', no_overlay=True))
    texts = ['audio_rate=48000', 'audio_channels=1']
    assert offline.replay(options(bag, tmp_path / 'out', no_overlay=True, settings=texts)) == 0
    (entry,) = json.loads((tmp_path / 'out' / 'events.json').read_text())
    assert entry['onset_stamp_ns'] == pytest.approx(1000.4e9, abs=1e6)


def test_a_setting_of_the_command_line_overrules_the_file(fake_stages, video, tmp_path):
    params = tmp_path / 'deaf.yaml'
    params.write_text('/**:\n  ros__parameters:\n    onset.minimum_dbfs: 0.0\n')
    given = options(video, tmp_path / 'out', params=params, settings=['onset.minimum_dbfs=-60'])
    assert offline.run_video(given) == 0
    assert len(json.loads((tmp_path / 'out' / 'events.json').read_text())) == 1


def test_parameters_of_a_file_are_used(fake_stages, video, tmp_path, capsys):
    params = tmp_path / 'deaf.yaml'
    params.write_text('/**:\n  ros__parameters:\n    onset.minimum_dbfs: 0.0\n')
    assert offline.run_video(options(video, tmp_path / 'out', params=params)) == 0
    assert json.loads((tmp_path / 'out' / 'events.json').read_text()) == []
    assert '0 event(s)' in capsys.readouterr().out
    params.write_text('/**:\n  ros__parameters:\n    onset.minimum_db: 0.0\n')
    with pytest.raises(ValueError, match=r'deaf.yaml.*unknown key\(s\) minimum_db'):
        offline.run_video(options(video, tmp_path / 'out', params=params))


def test_the_bundle_of_a_parameter_file_is_used_unless_another_is_given(
    fake_stages, video, tmp_path
):
    params = tmp_path / 'params.yaml'
    params.write_text('/**:\n  ros__parameters:\n    bundle: nothing\n')
    with pytest.raises(BundleError, match="'nothing' not found"):
        offline.run_video(options(video, tmp_path / 'out', params=params))
    assert offline.run_video(options(video, tmp_path / 'out', params=params, bundle='lite')) == 0


def test_what_the_bundle_warns_of_is_told(fake_stages, video, tmp_path, capsys):
    path = tmp_path / 'blind.yaml'
    path.write_text(BLIND)
    assert (
        offline.run_video(options(video, tmp_path / 'out', bundle=str(path), no_overlay=True)) == 0
    )
    assert 'bundle blind: it sees nothing\n' in capsys.readouterr().err
    assert offline.run_video(options(video, tmp_path / 'out', no_overlay=True)) == 0
    assert 'bundle' not in capsys.readouterr().err


def test_a_bag_without_audio_info_is_read_by_parameters(fake_stages, video, tmp_path):
    bag = make_bag(video, tmp_path / 'bag')
    params = tmp_path / 'params.yaml'
    values = ('audio_rate: 48000', 'audio_channels: 1')
    params.write_text('/**:\n  ros__parameters:\n    ' + '\n    '.join(values) + '\n')
    topics = dict(image_topic='/cs3/image/compressed', audio_topic='/cs3/audio')
    assert offline.replay(options(bag, tmp_path / 'out', params=params, **topics)) == 0
    assert len(json.loads((tmp_path / 'out' / 'events.json').read_text())) == 1
    with pytest.raises(ValueError, match='has no topic'):
        offline.replay(options(bag, tmp_path / 'out', image_topic='/elsewhere'))


def test_the_recording_is_not_overwritten(fake_stages, video, tmp_path):
    own = tmp_path / 'overlay.mp4'
    own.write_bytes(video.read_bytes())
    with pytest.raises(ValueError, match='would overwrite the recording'):
        offline.run_video(options(own, tmp_path))
    assert own.read_bytes() == video.read_bytes()


def test_failed_events_are_named_and_end_with_1(monkeypatch, video, tmp_path, capsys):
    pipeline = fake_pipeline(fail=lambda: True)
    monkeypatch.setattr(Bundle, 'build', lambda self, *settings: pipeline)
    assert offline.run_video(options(video, tmp_path / 'out')) == 1
    assert 'event at 0.400 s failed: this stage was told to fail' in capsys.readouterr().err
    assert json.loads((tmp_path / 'out' / 'events.json').read_text()) == []


def test_a_video_without_sound_says_so(fake_stages, tmp_path):
    silent = write_media(tmp_path / 'silent.mkv', frames=5)
    with pytest.raises(ValueError, match='silent.mkv: has no sound'):
        offline.run_video(options(silent, tmp_path / 'out'))
    assert not (tmp_path / 'out').exists()


def test_a_bag_without_sound_says_so(fake_stages, tmp_path):
    bag = make_bag(write_media(tmp_path / 'silent.mkv', frames=5), tmp_path / 'bag')
    with pytest.raises(ValueError, match='bag: has no sound'):
        offline.replay(options(bag, tmp_path / 'out'))


def test_channels_and_waits_that_are_not_there_are_refused(fake_stages, video, tmp_path):
    bag = make_bag(video, tmp_path / 'bag')
    for text, words in {
        'audio.channels=[0, 7]': r'audio.channels = .0, 7.: the sound has 1 channel',
        'clip.audio_after_s=9.5': 'clip.audio_after_s = 9.5: this bundle takes',
    }.items():
        with pytest.raises(ValueError, match=words):
            offline.replay(options(bag, tmp_path / 'out', settings=[text], force=True))


@pytest.mark.parametrize('command', [offline.run_video, offline.replay])
def test_what_is_not_there_is_named(fake_stages, tmp_path, command):
    with pytest.raises(FileNotFoundError, match='nothing.mp4'):
        command(options(tmp_path / 'nothing.mp4', tmp_path / 'out'))


def test_a_bundle_that_is_not_there_is_named_before_anything_is_written(video, tmp_path):
    with pytest.raises(BundleError, match="'nothing' not found"):
        offline.run_video(options(video, tmp_path / 'out', bundle='nothing'))
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('start', [0.0, -1.0, 2.0**31, float('nan'), float('inf')])
def test_a_start_that_no_header_can_hold(video, tmp_path, start):
    with pytest.raises(ValueError, match=r'--start .*: expected seconds above 0'):
        offline.run_video(options(video, tmp_path / 'out', start=start))


class TwoClocks(Recorded):
    """Pictures by the time of day, sound since the microphone started."""

    def __iter__(self):
        for item in super().__iter__():
            later_ns = 1_700_000_000_000_000_000 if isinstance(item, Frame) else 0
            yield replace(item, stamp_ns=item.stamp_ns + later_ns)


def test_sound_and_pictures_that_never_meet_are_named():
    events = run(TwoClocks((0.5, 1.21)))
    seconds = []
    events.on_time = lambda: seconds.append(events.seconds)
    assert list(events) == []
    assert 'sound (1000.000' in events.stream.spans.problem
    assert 'time of day' in events.stream.spans.problem
    assert 2.9 < max(seconds) < 3.1 and seconds == sorted(seconds), 'no bar runs to the year 2023'


# ---- the output folder -------------------------------------------------------------------------


def test_the_folder_of_the_recording_is_refused_without_force(fake_stages, video, tmp_path):
    clip = tmp_path / 'clip.mkv'
    clip.write_bytes(video.read_bytes())
    (tmp_path / 'overlay.mp4').hardlink_to(clip)
    before = clip.stat()
    with pytest.raises(FileExistsError, match=r'replaces overlay\.mp4$'):
        offline.run_video(options(clip, tmp_path))
    assert clip.stat().st_nlink == 2 and {path.name for path in tmp_path.iterdir()} == {
        'clip.mkv',
        'overlay.mp4',
    }
    assert offline.run_video(options(clip, tmp_path, force=True)) == 0
    after = clip.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_nlink) == (
        before.st_ino,
        before.st_mtime_ns,
        1,
    )
    assert clip.read_bytes() == video.read_bytes()


def test_a_folder_is_refused_before_the_bundle_is_loaded(video, tmp_path):
    (tmp_path / 'events.json').write_text('mine')
    with pytest.raises(FileExistsError, match=r'replaces events\.json$'):
        offline.run_video(options(video, tmp_path, bundle='nothing'))


def test_a_bag_is_not_written_into(fake_stages, video, tmp_path):
    bag = make_bag(video, tmp_path / 'bag')
    for out in (bag, bag / 'out'):
        with pytest.raises(ValueError, match='would overwrite the recording'):
            offline.replay(options(bag, out, force=True))
    assert sorted(path.name for path in bag.iterdir()) == ['bag.mcap', 'metadata.yaml']


@pytest.mark.parametrize('loss', ['', 'counted', 'told', 'logged'])
def test_strict_tells_losses_by_the_exit_status(
    fake_stages, video, tmp_path, monkeypatch, loss, capsys
):
    if loss == 'counted':
        monkeypatch.setattr(Run, 'losses', lambda self: 'gaps 2')
    if loss == 'told':

        class Told(VideoFile):
            def __init__(self, *given, **more):
                super().__init__(*given, **more)
                self.problems.append('ends early')

        monkeypatch.setattr(offline, 'VideoFile', Told)
    if loss == 'logged':
        write = offline.write_overlay_video

        def warn(*given, **more):
            logging.getLogger('cs3_ros.drawing').warning('lacks 3 frames')
            write(*given, **more)

        monkeypatch.setattr(offline, 'write_overlay_video', warn)
    assert offline.run_video(options(video, tmp_path / 'out')) == 0
    told = {'': '', 'counted': 'gaps 2', 'told': 'ends early', 'logged': 'lacks 3 frames'}[loss]
    printed = capsys.readouterr().err
    assert told in printed and 'status 1' not in printed
    assert offline.run_video(options(video, tmp_path / 'out', strict=True)) == int(loss != '')
    assert ('status 1 for --strict' in capsys.readouterr().err) == (loss != '')
    assert len(json.loads((tmp_path / 'out' / 'events.json').read_text())) == 1
