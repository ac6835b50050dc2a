"""``Sam2Tracker`` equals the video predictor of the ``sam2`` package on tiny random weights."""

from __future__ import annotations

import needs

needs.networks()

import dataclasses
from importlib import resources

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from sam2.sam2_video_predictor import SAM2VideoPredictor

from cs3_ros.collision import Frame
from cs3_ros.networks.sam2_model import Sam2Architecture
from cs3_ros.networks.sam2_video import build_sam2_video, load_sam2_video
from cs3_ros.runtime import Runtime, RuntimeConfig
from cs3_ros.trackers.sam2 import Sam2Tracker, Sam2TrackerConfig

TINY = Sam2Architecture(
    embed_dim=24, num_heads=1, stages=(1, 1, 3, 1), global_att_blocks=(4,),
    window_pos_embed_bkg_spatial_size=(7, 7), width=64, decoder_heads=8, image_size=128,
)  # fmt: skip
FRAMES = 20
OTHERWISE = {'image_size', 'compile_image_encoder', 'use_mlp_for_obj_ptr_proj'}
"""Options that are no attributes, or differ by intent."""
SHAPES = {
    'memory_encoder.out_proj.weight': torch.zeros(16, 1),
    'memory_attention.layers.0.linear1.weight': torch.zeros(32, 1),
    'memory_attention.layers.1.': torch.zeros(1),
    'memory_encoder.fuser.layers.0.': torch.zeros(1),
    'maskmem_tpos_enc': torch.zeros(7, 1, 1, 1),
    'obj_ptr_tpos_proj.weight': torch.zeros(1),
    'no_obj_embed_spatial': torch.zeros(1),
}


@pytest.fixture(scope='module')
def official():
    """The package's network, tiny and random, put together by its configs' options."""
    torch.manual_seed(0)
    model = build_sam2_video(TINY, SHAPES)
    torch.nn.init.normal_(model.image_encoder.trunk.pos_embed)
    # Random weights see no object in most frames: this bias keeps both.
    torch.nn.init.constant_(model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, 4.0)
    return model.eval()


@pytest.fixture(scope='module')
def checkpoint(official, tmp_path_factory):
    path = tmp_path_factory.mktemp('sam2') / 'tiny.pt'
    torch.save({'model': official.state_dict(), 'architecture': dataclasses.asdict(TINY)}, path)
    return path


def clip(size=(96, 150)):
    """Pictures of a square that moves, and the masks of two objects in the first."""
    rng = np.random.default_rng(1)
    wall = rng.integers(0, 256, (*size, 3), np.uint8)
    pictures = []
    for k in range(FRAMES):
        picture = wall.copy()
        picture[20:60, 10 + 3 * k : 50 + 3 * k] = (220, 60, 40)
        pictures.append(picture)
    masks = np.zeros((2, *size), bool)
    masks[0, 20:60, 10:50] = True
    masks[1, 60:90, 80:140] = True
    return pictures, masks


def tracker(checkpoint, **config):
    runtime = Runtime(RuntimeConfig('cpu', 'float32', 1))
    return Sam2Tracker(Sam2TrackerConfig(str(checkpoint), **config), runtime)


def test_masks_and_logits_equal_those_of_the_video_predictor(official, checkpoint, tmp_path):
    pictures, masks = clip()
    predictor = SAM2VideoPredictor.__new__(SAM2VideoPredictor)
    predictor.__dict__.update(load_sam2_video(checkpoint).__dict__)
    predictor.fill_hole_area, predictor.non_overlap_masks = 0, False
    predictor.clear_non_cond_mem_around_input = predictor.add_all_frames_to_correct_as_cond = False
    for k, picture in enumerate(pictures):  # by this ending it reads files; PNG would be refused
        Image.fromarray(picture).save(tmp_path / f'{k:05d}.jpg', quality=95)
    seen = [np.array(Image.open(path).convert('RGB')) for path in sorted(tmp_path.iterdir())]
    state = predictor.init_state(str(tmp_path))
    for number, mask in enumerate(masks):
        predictor.add_new_mask(state, 0, number, mask)
    expected = {k: logits for k, _, logits in predictor.propagate_in_video(state)}
    ours = tracker(checkpoint)
    track = ours.begin(Frame.from_rgb(1, seen[0]), list(masks))
    areas = set()
    for k in range(1, FRAMES):
        found = ours.follow(track, Frame.from_rgb(1 + k, seen[k]))
        logits = torch.nn.functional.interpolate(track.logits, seen[0].shape[:2], mode='bilinear')
        assert (logits - expected[k]).abs().max() < 1e-3
        for one, their in zip(found, expected[k][:, 0], strict=True):
            assert one is not None and 0 < one.confidence <= 1
            undecided = their.abs().numpy() < 1e-3
            assert np.array_equal(one.mask | undecided, (their > 0).numpy() | undecided)
            areas.add(int(one.mask.sum()))
    assert len(areas) > FRAMES, 'the masks change, and differ'


@pytest.mark.parametrize('version, key', [('2.1', 'obj_ptr_tpos_proj.weight'), ('2', '')])
def test_options_are_those_of_the_packages_configs(version, key):
    shapes = dict(SHAPES)
    if not key:
        del shapes['obj_ptr_tpos_proj.weight'], shapes['no_obj_embed_spatial']
    model = build_sam2_video(TINY, shapes)
    name = {'2.1': 'sam2.1/sam2.1_hiera_t.yaml', '2': 'sam2/sam2_hiera_t.yaml'}[version]
    told = yaml.safe_load((resources.files('sam2') / 'configs' / name).read_text())['model']
    for option, value in told.items():
        if isinstance(value, (bool, int, float)) and option not in OTHERWISE:
            found = getattr(model, option)
            found = found is not None if option == 'no_obj_embed_spatial' else found
            assert found == value, option
    assert model.binarize_mask_from_pts_for_mem_enc  # as build_sam2_video_predictor adds


def test_what_is_remembered_is_bounded(checkpoint):
    pictures, masks = clip()
    ours = tracker(checkpoint, memories=8)
    track = ours.begin(Frame.from_rgb(1, pictures[0]), list(masks))
    for k, picture in enumerate(pictures[1:], 2):
        ours.follow(track, Frame.from_rgb(k, picture))
    recent = track.outputs['non_cond_frame_outputs']
    assert list(recent) == list(range(FRAMES - 8, FRAMES))
    assert sum(out['maskmem_features'] is not None for out in recent.values()) == 6
    assert list(track.outputs['cond_frame_outputs']) == [0]


def test_bad_frames_masks_and_checkpoints_are_refused(checkpoint, official, tmp_path):
    pictures, masks = clip()
    ours = tracker(checkpoint)
    track = ours.begin(Frame.from_rgb(1, pictures[0]), [masks[0], np.zeros_like(masks[0])])
    with pytest.raises(ValueError, match='150x50 after one of 150x96'):
        ours.follow(track, Frame.from_rgb(2, pictures[1][:50]))
    first, second = ours.follow(track, Frame.from_rgb(2, pictures[1]))
    assert first is not None and second is None
    with pytest.raises(ValueError, match='expected at least one'):
        ours.begin(Frame.from_rgb(1, pictures[0]), [])
    bare = {k: v for k, v in official.state_dict().items() if not k.startswith('memory_')}
    path = tmp_path / 'bare.pt'
    torch.save({'model': bare, 'architecture': dataclasses.asdict(TINY)}, path)
    with pytest.raises(ValueError, match=r'bare\.pt: expected .* memory for videos'):
        tracker(path)
