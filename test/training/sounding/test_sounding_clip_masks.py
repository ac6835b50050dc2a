"""Masks for clips that have none, with a stand-in for SAM 2 that follows a bright square."""

from __future__ import annotations

import needs

needs.training()

import logging
from functools import partial

import numpy as np
import pytest
import torch
from tiny_media import write_media

from cs3_ros.collision import Frame, HandObject
from cs3_training.cli import main
from cs3_training.sounding import clip_masks, propagation
from cs3_training.sounding.clip_masks import ClipMasksConfig, make_masks, mask_clips
from cs3_training.sounding.clips import ClipSet, read_table
from cs3_training.sounding.mask_files import read_masks, write_masks
from cs3_training.sounding.propagation import Sam2Propagator
from cs3_training.synth.config import WorldConfig, split_seeds
from cs3_training.synth.world import make_scene

SIZE = (60, 80)


def picture(number: int) -> np.ndarray:
    """A square of brightness 200 that goes right, one of 120 that stands, on black."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[10:30, number : number + 20] = 200
    image[40:55, 50:70] = 120
    return image


class Hands:
    """Both hands hold the bright square; in the last look the left one holds the other."""

    def __init__(self, boxless: bool = False) -> None:
        self.seen: list[int] = []
        self.boxless = boxless

    def detect(self, frames, index):
        image = frames[index].image
        left = int((image[20, :, 0] > 150).argmax())
        self.seen.append(left)
        box = None if self.boxless else (float(left), 10.0, left + 20.0, 30.0)
        other = (50.0, 40.0, 70.0, 55.0) if left > 20 else box
        return (
            HandObject('right', 0.9, None, object_box=box),
            HandObject('left', 0.7, None, object_box=None if self.boxless else other),
        )


class Follower:
    """Follows by brightness, whatever its frame."""

    def __init__(self) -> None:
        self.calls = []

    def propagate(self, pictures, index, boxes):
        self.calls.append((len(pictures), index, len(boxes)))
        tracks = []
        for x0, y0, x1, y1 in boxes:
            value = pictures[index][int(y0 + y1) // 2, int(x0 + x1) // 2, 0]
            tracks.append([np.abs(one[..., 0].astype(int) - value) < 30 for one in pictures])
        return np.array(tracks)

    def propose(self, image):
        grey = image[..., 0].astype(int)
        masks = [np.abs(grey - value) < 30 for value in (200, 120, 0)]
        masks.append(np.zeros(SIZE, bool))
        return np.array(masks), np.array([0.9, 0.8, 0.7, 0.99])


def frames(count: int = 30) -> list[Frame]:
    return [Frame.from_rgb(number, picture(number)) for number in range(count)]


def test_what_hands_hold_is_followed():
    hands, follower = Hands(), Follower()
    found = make_masks(frames(), hands, follower)
    assert found.frames == tuple(range(0, 30, 3)) and hands.seen == [9, 18, 24]
    assert follower.calls == [(10, 3, 2), (10, 6, 2), (10, 8, 2)]
    for row, number in enumerate(found.frames):
        assert np.array_equal(found.masks[row, 0], picture(number)[..., 0] == 200), 'best score'
        assert np.array_equal(found.masks[row, 1], picture(number)[..., 0] == 120)
    assert found.valid.all() and found.pool_frame == 9
    assert np.array_equal(found.pool, [picture(9)[..., 0] == 0]), 'neither objects nor nothing'


def test_a_clip_in_which_nothing_is_held():
    follower = Follower()
    found = make_masks(frames(), Hands(boxless=True), follower)
    assert not found.valid.any() and not found.masks.any() and not follower.calls
    assert len(found.pool) == 3
    none = make_masks(frames(1), Hands(boxless=True), follower, ClipMasksConfig(pool=0))
    assert none.frames == (0,) and len(none.pool) == 0
    with pytest.raises(ValueError, match='a clip without pictures'):
        make_masks([], Hands(), follower)


@pytest.fixture
def clips(tmp_path):
    (tmp_path / 'mine_clips').mkdir()
    lines = ['clip_file\tclip_text', *(f'v{k}.mp4\tmoves' for k in range(4))]
    (tmp_path / 'mine.csv').write_text('\n'.join(lines) + '\n')
    for number in range(3):
        path = tmp_path / 'mine_clips' / f'v{number}.mp4'
        write_media(path, frames=30, size=(80, 60), picture=lambda k, size=None: picture(k))
    (tmp_path / 'mine_clips' / 'v1.mp4').write_bytes(b'no video')
    return tmp_path


def run(clips, follower, **about):
    rows = read_table(clips, 'mine')
    return mask_clips(rows, Hands(), follower, clips / 'mine_masks', ClipMasksConfig(), about)


def test_many_clips_go_on_where_they_stopped(clips, caplog):
    class Killed(Exception):
        pass

    class Dying(Follower):
        def propose(self, image):
            raise Killed

    first = Follower()
    caplog.set_level(logging.WARNING)
    assert run(clips, first) == 2, 'v1 is no video, v3 is not there'
    assert 'v1.mp4: no masks' in caplog.text and 'v3.mp4: no masks' in caplog.text
    folder = clips / 'mine_masks'
    names = sorted(path.name for path in folder.iterdir())
    assert names == ['settings.json', 'v0.npz', 'v2.npz']
    whole = read_masks(folder / 'v2.npz')
    assert whole.valid.all() and len(whole.frames) == 10
    (folder / 'v2.npz').unlink()
    with pytest.raises(Killed):
        run(clips, Dying())
    assert not (folder / 'v2.npz').exists(), 'whole or not at all'
    second = Follower()
    assert run(clips, second) == 2 and len(second.calls) == 3, 'only what was left'
    assert np.array_equal(read_masks(folder / 'v2.npz').masks, whole.masks)
    with pytest.raises(ValueError, match='made with other settings: name other clips'):
        run(clips, second, size='tiny')


def test_wrong_calls_are_told(clips, tmp_path, capsys):
    words = ['sounding', 'masks', '--clips', str(clips / 'mine'), '--sam2', 'nowhere.pt']
    assert main([*words, '--pool', '16']) == 1
    assert 'ClipMasksConfig.pool = 16' in capsys.readouterr().err
    assert main(words) == 1
    assert 'nowhere.pt' in capsys.readouterr().err
    with pytest.raises(ValueError, match="SAM 2 of size 'huge': expected one of tiny"):
        Sam2Propagator('huge', None, 'cpu')


def test_the_packages_predictor_is_called_as_it_wants(tmp_path):
    """With random weights: forwards and backwards, a mask for each box and picture."""
    cpu = torch.device('cpu')
    torch.manual_seed(0)
    sam = Sam2Propagator('tiny', None, cpu, ['++model.image_size=256'])
    decoder = sam._predictor.sam_mask_decoder
    with torch.no_grad():  # it is sure that things are seen
        decoder.pred_obj_score_head.layers[-1].bias.fill_(9.0)
    boxes = [(5.0, 10.0, 25.0, 30.0), (50.0, 40.0, 70.0, 55.0)]
    found = sam.propagate([picture(k) for k in (0, 5, 10)], 1, boxes)
    assert found.shape == (2, 3, *SIZE) and found.dtype == bool
    assert found.any((2, 3)).all(), 'seen before, in and after the picture of the boxes'
    torch.save({'model': {'other': torch.zeros(2)}}, tmp_path / 'other.pt')
    with pytest.raises(ValueError, match='other.pt: no weights of SAM 2.1 tiny'):
        Sam2Propagator('tiny', tmp_path / 'other.pt', cpu)
    (tmp_path / 'torn.pt').write_bytes(b'no weights')
    with pytest.raises(ValueError, match='torn.pt: refused') as caught:
        Sam2Propagator('tiny', tmp_path / 'torn.pt', cpu)
    assert 'weights_only' not in str(caught.value)


@pytest.fixture
def scene_clips(tmp_path):
    """Two clips in which hands of the synthetic world hold something."""
    (tmp_path / 'mine_clips').mkdir()
    (tmp_path / 'mine.csv').write_text('clip_file\tclip_text\nv0.mp4\thits\nv1.mp4\thits\n')
    for number, seed in enumerate(split_seeds('validation', 0, 4)[::2]):
        image = make_scene(WorldConfig(), seed).image
        path = tmp_path / 'mine_clips' / f'v{number}.mp4'
        write_media(path, frames=4, size=(352, 352), picture=lambda k, size=None, one=image: one)
    return tmp_path


def test_the_command_from_clips_to_masks_goes_on_after_a_kill(scene_clips, monkeypatch, capsys):
    """SAM 2.1 tiny with random weights in its official file, on small pictures."""
    small = ['++model.image_size=128']
    torch.manual_seed(0)
    some = Sam2Propagator('tiny', None, torch.device('cpu'), small)._predictor
    with torch.no_grad():  # it is sure that things are seen
        some.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(9.0)
    weights, folder = scene_clips / 'sam2.1_hiera_tiny.pt', scene_clips / 'mine_masks'
    torch.save({'model': some.state_dict()}, weights)
    monkeypatch.setattr(propagation, 'Sam2Propagator', partial(Sam2Propagator, overrides=small))
    words = [
        'sounding', 'masks', '--clips', str(scene_clips / 'mine'), '--bundle', 'nano', '--sam2',
        str(weights), '--size', 'tiny', '--pool', '0', '--device', 'cpu',
    ]  # fmt: skip

    written = []

    def killed(path, masks):
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write_masks(path, masks)

    with monkeypatch.context() as patch:
        patch.setattr(clip_masks, 'write_masks', killed)
        assert main(words) == 130
    assert sorted(path.name for path in folder.iterdir()) == ['settings.json', 'v0.npz']
    first = folder / 'v0.npz'
    left = first.stat().st_mtime_ns, first.read_bytes()
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f'{folder}: 2 of 2 clips'
    assert (first.stat().st_mtime_ns, first.read_bytes()) == left, 'it was passed over'
    found = [read_masks(folder / f'v{number}.npz') for number in range(2)]
    assert all(one.frames == (0, 3) and one.valid.any() for one in found)
    assert ClipSet(scene_clips, 'mine').missing == 0, 'what training reads'
