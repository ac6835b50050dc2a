import needs

needs.networks()

import dataclasses
import inspect
import json
import logging
from importlib import resources

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.transformer import RoPEAttention
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_image_predictor import SAM2ImagePredictor
from trap import Trap

from cs3_ros.collision import Prompt
from cs3_ros.maskers.sam2 import Sam2Config, Sam2Masker
from cs3_ros.metrics import iou
from cs3_ros.networks.sam2_checkpoint import (
    load_sam2,
    recognise,
    sam2_checkpoint,
    save_sam2,
    unfilled,
)
from cs3_ros.networks.sam2_model import ABSENT, PRESETS, Sam2, Sam2Architecture
from cs3_ros.runtime import Runtime, RuntimeConfig

TINY = Sam2Architecture(
    embed_dim=24,
    num_heads=1,
    stages=(1, 1, 3, 1),
    global_att_blocks=(4,),
    window_spec=(8, 4, 8, 4),
    window_pos_embed_bkg_spatial_size=(7, 7),
    width=64,
    image_size=128,
)
BOX, OTHER_BOX = (20.0, 16.0, 90.0, 80.0), (60.5, 30.0, 150.0, 99.5)


@pytest.fixture(scope='module')
def official():
    """sam2's own model for videos, tiny and random, as its configs put it together."""
    torch.manual_seed(0)
    width = TINY.width

    def rope(**more):
        return RoPEAttention(
            embedding_dim=width, num_heads=1, downsample_rate=1, feat_sizes=(8, 8), **more
        )

    layer = MemoryAttentionLayer(
        activation='relu',
        cross_attention=rope(rope_k_repeat=True, kv_in_dim=16),
        d_model=width,
        dim_feedforward=32,
        dropout=0.0,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        self_attention=rope(),
    )
    trunk = Hiera(
        embed_dim=24,
        num_heads=1,
        stages=(1, 1, 3, 1),
        global_att_blocks=(4,),
        window_spec=(8, 4, 8, 4),
        window_pos_embed_bkg_spatial_size=(7, 7),
    )
    neck = FpnNeck(
        PositionEmbeddingSine(width),
        width,
        [192, 96, 48, 24],
        fpn_top_down_levels=[2, 3],
        fpn_interp_model='nearest',
    )
    memory = MemoryEncoder(
        out_dim=16,
        mask_downsampler=MaskDownSampler(width, kernel_size=3, stride=2, padding=1),
        fuser=Fuser(CXBlock(width), num_layers=1),
        position_encoding=PositionEmbeddingSine(16),
        in_dim=width,
    )
    model = SAM2Base(
        ImageEncoder(trunk, neck, scalp=1),
        MemoryAttention(width, True, layer, num_layers=1),
        memory,
        image_size=TINY.image_size,
        directly_add_no_mem_embed=True,
        use_high_res_features_in_sam=True,
        multimask_output_in_sam=True,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        proj_tpos_enc_in_obj_ptrs=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        fixed_no_obj_ptr=True,
        use_multimask_token_for_obj_ptr=True,
        use_mlp_for_obj_ptr_proj=True,
        no_obj_embed_spatial=True,
        # build_sam2's defaults
        sam_mask_decoder_extra_args=dict(
            dynamic_multimask_via_stability=True,
            dynamic_multimask_stability_delta=0.05,
            dynamic_multimask_stability_thresh=0.98,
        ),
    )
    torch.nn.init.normal_(trunk.pos_embed)
    torch.nn.init.normal_(trunk.pos_embed_window)
    return model.eval()


@pytest.fixture(scope='module')
def checkpoint(official, tmp_path_factory):
    """Its official file, with its sizes."""
    path = tmp_path_factory.mktemp('sam2') / 'tiny.pt'
    sizes = dataclasses.asdict(TINY)
    torch.save({'model': official.state_dict(), 'architecture': sizes}, path)
    return path


@pytest.fixture(scope='module')
def masker(checkpoint):
    return build(checkpoint)


@pytest.fixture(scope='module')
def network(checkpoint):
    return load_sam2(checkpoint).eval()


def build(checkpoint, precision='float32', device='cpu', **config):
    return Sam2Masker(
        Sam2Config(str(checkpoint), **config), Runtime(RuntimeConfig(device, precision, 1))
    )


def predictor(official, image):
    predictor = SAM2ImagePredictor(official)
    predictor._bb_feat_sizes = [(32, 32), (16, 16), (8, 8)]  # hard-coded for 1024 pixels
    predictor.set_image(image)
    return predictor


def picture(size=(120, 170), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def points(*xy):
    return np.array(xy, np.float32).reshape(-1, 2)


def ask(predictor, prompt, multimask=False):
    """Mask and logits of the best answer of sam2's own predictor."""
    if prompt.box is not None:
        question = dict(box=np.array(prompt.box))
    else:
        coords = np.concatenate([prompt.positive_points, prompt.negative_points])
        labels = [1] * len(prompt.positive_points) + [0] * len(prompt.negative_points)
        question = dict(point_coords=coords, point_labels=np.array(labels))
    masks, quality, logits = predictor.predict(**question, multimask_output=multimask)
    best = quality.argmax()
    return masks[best].astype(bool), logits[best]


# ---- parity with SAM2ImagePredictor -------------------------------------------------------------


@pytest.mark.parametrize('size', [(120, 170), (170, 120), (128, 128), (300, 90)])
def test_the_picture_is_prepared_as_sam2_does(network, official, size):
    image = picture(size)
    expected = SAM2ImagePredictor(official)._transforms(image)
    actual = network.normalise(torch.from_numpy(image)[None])
    torch.testing.assert_close(actual[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize('multimask', [False, True])
@pytest.mark.parametrize('size', [(120, 170), (260, 200)])
def test_masks_equal_those_of_sam2s_predictor(official, checkpoint, size, multimask):
    image = picture(size)
    # points alone are not judged here
    masker = build(checkpoint, multimask=multimask, max_point_share=1.0)
    prompts = [
        Prompt(BOX),
        Prompt(OTHER_BOX),
        Prompt(positive_points=points((30, 40))),
        Prompt(
            positive_points=points((100, 90), (90, 70)),
            negative_points=points((20, 20), (60, 5), (10, 100)),
        ),
    ]
    masks = masker.segment(masker.encode(image), prompts)
    reference = predictor(official, image)
    for mask, prompt in zip(masks, prompts, strict=True):
        expected, _ = ask(reference, prompt, multimask)
        assert 0.02 < expected.mean() < 0.98, 'says nothing'
        np.testing.assert_array_equal(mask, expected)
    assert not np.array_equal(masks[0], masks[1]) and not np.array_equal(masks[2], masks[3])


def test_prompts_of_one_batch_have_the_logits_that_each_has_alone(official, network):
    image = picture()
    reference = predictor(official, image)
    box = Prompt(BOX)
    clicks = Prompt(
        positive_points=points((30, 40), (99, 20)), negative_points=points((5, 5), (8, 90))
    )
    scale = torch.tensor([TINY.image_size / 170, TINY.image_size / 120])
    asked = torch.zeros(2, 4, 2)
    asked[0, :2] = torch.tensor(BOX).reshape(2, 2)
    asked[1] = torch.tensor(np.concatenate([clicks.positive_points, clicks.negative_points]))
    labels = torch.tensor([[2, 3, ABSENT, ABSENT], [1, 1, 0, 0]])
    with torch.inference_mode():
        features = network.encode(network.normalise(torch.from_numpy(image)[None]))
        logits, _ = network.decode(features, asked * scale, labels)
        filled, _ = network.decode(features, asked * scale, labels.clamp(min=-1))
    assert logits.shape == (2, 1, 32, 32)
    for k, prompt in enumerate((box, clicks)):
        _, expected = ask(reference, prompt)
        np.testing.assert_allclose(logits[k, 0].numpy(), expected, rtol=0, atol=1e-4)
    # sam2's own filling, points labelled "none", would have a say
    assert (filled[0] - logits[0]).abs().max() > 1e-3


def test_points_correct_a_box_where_asked(official, checkpoint, masker):
    image = picture()
    prompt = Prompt(BOX, points((60, 50)), points((20, 20), (500, 500)))
    expected, _, _ = predictor(official, image).predict(
        box=np.array(BOX), point_coords=points((60, 50), (20, 20)),
        point_labels=np.array([1, 0]), multimask_output=False,
    )  # fmt: skip
    corrected = build(checkpoint, points_in_box=True)
    (mask,) = corrected.segment(corrected.encode(image), [prompt])
    np.testing.assert_array_equal(mask, expected[0].astype(bool))
    (alone,) = masker.segment(masker.encode(image), [prompt])
    assert not np.array_equal(mask, alone)


def test_a_box_is_asked_alone(masker):
    encoded = masker.encode(picture())
    plain, dotted = masker.segment(
        encoded, [Prompt(BOX), Prompt(BOX, points((50, 50)), points((30, 30)))]
    )
    np.testing.assert_array_equal(plain, dotted)


# ---- one batch, no state ------------------------------------------------------------------------


def test_all_prompts_are_decoded_at_once_and_copied_once(checkpoint, monkeypatch):
    masker = build(checkpoint)
    decodes, copies = [], []
    decode, copy = MaskDecoder.forward, Runtime.to_host
    monkeypatch.setattr(
        MaskDecoder, 'forward', lambda *a, **k: decodes.append(1) or decode(*a, **k)
    )
    monkeypatch.setattr(Runtime, 'to_host', lambda *a: copies.append(1) or copy(*a))
    encoded = masker.encode(picture())
    assert masker.segment(encoded, []) == [] and not decodes and not copies
    prompts = [
        Prompt(BOX),
        Prompt(positive_points=points((9, 9), (20, 9), (40, 9))),
        Prompt(OTHER_BOX),
    ]
    assert len(masker.segment(encoded, prompts)) == 3
    assert len(decodes) == 1 and len(copies) == 1


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_masks_do_not_depend_on_earlier_calls(checkpoint, precision):
    masker = build(checkpoint, precision)
    prompts = [Prompt(BOX), Prompt(positive_points=points((30, 40)))]
    first = masker.segment(masker.encode(picture()), prompts)
    masker.segment(masker.encode(picture((64, 200), seed=1)), prompts[::-1] * 2)
    again = masker.segment(masker.encode(picture()), prompts)
    fresh = build(checkpoint, precision)
    new = fresh.segment(fresh.encode(picture()), prompts)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, new)


@pytest.mark.parametrize('precision', ['bfloat16', 'float16'])
def test_half_precision_is_close_to_float32(checkpoint, precision):
    image, prompts = picture(), [Prompt(BOX), Prompt(OTHER_BOX)]
    exact = build(checkpoint)
    expected = exact.segment(exact.encode(image), prompts)
    masker = build(checkpoint, precision)
    encoded = masker.encode(image)
    assert encoded.features.embedding.dtype == torch.float32
    assert not torch.equal(encoded.features.embedding, exact.encode(image).features.embedding)
    for mask, whole in zip(masker.segment(encoded, prompts), expected, strict=True):
        assert iou(mask, whole) > 0.97


@pytest.mark.gpu
@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_masks_on_a_gpu(checkpoint, precision):
    image, prompts = (
        picture(),
        [Prompt(BOX), Prompt(OTHER_BOX), Prompt(positive_points=points((9, 9)))],
    )
    exact = build(checkpoint)
    expected = exact.segment(exact.encode(image), prompts)
    masker = build(checkpoint, precision, 'cuda')
    masks = masker.segment(masker.encode(image), prompts)
    for mask, whole in zip(masks, expected, strict=True):
        assert iou(mask, whole) > 0.97 or not whole.any()
    np.testing.assert_array_equal(masker.segment(masker.encode(image.copy()), prompts), masks)


@pytest.mark.gpu
def test_nothing_waits_for_the_gpu_but_the_copy_of_the_masks(checkpoint, monkeypatch):
    masker = build(checkpoint, 'bfloat16', 'cuda')
    masker.segment(masker.encode(picture()), [Prompt(BOX)])
    torch.cuda.synchronize()
    copy = Runtime.to_host

    def to_host(runtime, tensor):
        torch.cuda.set_sync_debug_mode('default')
        return copy(runtime, tensor)

    monkeypatch.setattr(Runtime, 'to_host', to_host)
    torch.cuda.set_sync_debug_mode('error')
    try:
        masks = masker.segment(masker.encode(picture(seed=1)), [Prompt(BOX), Prompt(OTHER_BOX)])
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert len(masks) == 2


def test_all_masks_at_once_are_the_single_one_and_the_three():
    torch.manual_seed(0)
    model = Sam2(TINY)  # training: without the choice that replaces an unstable single mask
    features = model.encode(model.normalise(torch.from_numpy(picture()[None])))
    asked, labels = torch.tensor(BOX).reshape(1, 2, 2), torch.tensor([[2, 3]])
    both = [model.decode(features, asked, labels, multimask) for multimask in (False, True)]
    for part, whole in enumerate(model.decode_all(features, asked, labels)):
        assert torch.equal(torch.cat([both[0][part], both[1][part]], 1), whole)


def test_gradients_reach_the_trunk_and_the_tokens():
    torch.manual_seed(0)
    model = Sam2(TINY)
    pixels = model.normalise(torch.from_numpy(np.stack([picture(), picture(seed=1)])))
    asked = torch.tensor(BOX).reshape(1, 2, 2).repeat(2, 1, 1)  # a box for each of two pictures
    logits, quality = model.decode(model.encode(pixels), asked, torch.tensor([[2, 3]] * 2), True)
    assert logits.shape == (2, 3, 32, 32) and quality.shape == (2, 3)
    (logits.square().mean() + quality.mean()).backward()
    for parameter in (
        model.image_encoder.trunk.patch_embed.proj.weight,
        model.image_encoder.trunk.pos_embed,
        model.sam_mask_decoder.mask_tokens.weight,
        model.sam_prompt_encoder.point_embeddings[2].weight,
        model.no_mem_embed,
    ):
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0


# ---- odd masks and prompts ----------------------------------------------------------------------


@pytest.fixture
def drawn(checkpoint, monkeypatch):
    """A masker whose network finds just the rectangle that ``draw`` says, in [0, 1]."""
    masker = build(checkpoint)

    def draw(x0, y0, x1, y1):
        grid = (torch.arange(32) + 0.5) / 32
        inside = ((grid > y0) & (grid < y1))[:, None] & ((grid > x0) & (grid < x1))
        logits = torch.where(inside, 8.0, -8.0)

        def decode(network, features, points, labels, multimask):
            return logits.expand(len(points), 1, 32, 32), torch.ones(len(points), 1)

        monkeypatch.setattr(Sam2, 'decode', decode)
        return masker, masker.encode(picture((128, 128)))

    return draw


def test_nothing_in_a_box_gives_the_filled_box(drawn, caplog):
    masker, encoded = drawn(0, 0, 0, 0)
    with caplog.at_level(logging.INFO):
        (mask,) = masker.segment(encoded, [Prompt((10.0, 20.0, 30.5, 300.0))])
    expected = np.zeros((128, 128), bool)
    expected[20:, 10:31] = True
    np.testing.assert_array_equal(mask, expected)
    assert 'nothing found' in caplog.text


def test_nothing_at_points_gives_nothing(drawn):
    masker, encoded = drawn(0, 0, 0, 0)
    (mask,) = masker.segment(encoded, [Prompt(positive_points=points((9, 9)))])
    assert not mask.any()


def test_a_near_full_mask_of_a_box_is_kept_and_logged(drawn, caplog):
    masker, encoded = drawn(0, 0, 1, 0.75)
    (mask,) = masker.segment(encoded, [Prompt((0.0, 0.0, 128.0, 128.0))])
    assert mask.mean() == pytest.approx(0.75, abs=0.01)
    assert 'covers 75 % of the picture' in caplog.text


def test_points_alone_reject_what_is_too_large(drawn):
    prompt = Prompt(positive_points=points((64, 64)))
    masker, encoded = drawn(0, 0, 1, 0.38)
    assert masker.segment(encoded, [prompt])[0].any()
    masker, encoded = drawn(0, 0, 1, 0.44)
    assert not masker.segment(encoded, [prompt])[0].any()


def test_points_alone_reject_the_hand(drawn):
    masker, encoded = drawn(0.25, 0.25, 0.75, 0.75)  # 32 to 96
    hand = points((32, 32), (96, 32), (96, 80), (32, 80))  # three quarters of it
    part = points((32, 32), (96, 32), (96, 56), (32, 56))
    line = points((32, 32), (96, 96))
    box = Prompt((32.0, 32.0, 96.0, 96.0), exclude=(hand,))
    at = points((64, 64))
    masks = masker.segment(
        encoded,
        [
            Prompt(positive_points=at, exclude=(part, hand)),
            Prompt(positive_points=at, exclude=(part, line)),
            box,
        ],
    )
    assert [bool(mask.any()) for mask in masks] == [False, True, True]


@pytest.mark.parametrize(
    'prompt',
    [
        Prompt((200.0, 10.0, 260.0, 60.0)),
        Prompt((-50.0, 10.0, -2.0, 60.0)),
        Prompt((80.0, 10.0, 20.0, 60.0)),
        Prompt((20.0, 10.0, 20.0, 60.0)),
        Prompt((165.0, 10.0, 260.0, 11.0)),
        Prompt(positive_points=points((170, 50), (-1, 50)), negative_points=points((20, 20))),
    ],
    ids=['right of it', 'left of it', 'turned round', 'no width', 'thin', 'points beside it'],
)
def test_what_is_not_in_the_picture_gives_an_empty_mask(masker, prompt):
    encoded = masker.encode(picture())
    empty, there = masker.segment(encoded, [prompt, Prompt(BOX)])
    assert not empty.any() and there.any()
    (alone,) = masker.segment(encoded, [prompt])
    assert alone.shape == (120, 170) and not alone.any()


@pytest.mark.parametrize(
    ('prompt', 'words'),
    [
        (Prompt(), 'needs a box or at least one positive point'),
        (Prompt(negative_points=points((3, 3))), 'needs a box or at least one positive point'),
        (Prompt((0.0, float('nan'), 9.0, 9.0)), 'expected finite pixels'),
        (Prompt(positive_points=points((float('inf'), 0))), 'expected finite pixels'),
    ],
)
def test_prompts_that_ask_nothing_are_refused(masker, prompt, words):
    with pytest.raises(ValueError, match=words):
        masker.segment(masker.encode(picture()), [prompt])


NUMBERS = st.floats(-60, 260, width=32)
XY = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=4).map(lambda xy: points(*xy))
POLYGONS = st.lists(XY, max_size=2).map(tuple)
PROMPTS = st.builds(
    Prompt, st.none() | st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), XY, XY, POLYGONS
).filter(lambda prompt: prompt.box is not None or len(prompt.positive_points) > 0)


@settings(max_examples=25)
@given(prompts=st.lists(PROMPTS, max_size=4))
def test_every_prompt_gets_a_mask(masker, prompts):
    encoded = masker.encode(picture((50, 70)))
    masks = masker.segment(encoded, prompts)
    assert len(masks) == len(prompts)
    for mask in masks:
        assert mask.dtype == bool and mask.shape == (50, 70)


# ---- checkpoints --------------------------------------------------------------------------------


CONFIGS = {'tiny': 't', 'small': 's', 'base_plus': 'b+', 'large': 'l'}


@pytest.mark.parametrize('name', PRESETS)
@pytest.mark.parametrize('version', ['2.1', '2'])
def test_presets_are_those_of_the_package(name, version):
    folder = resources.files('sam2') / f'configs/sam{version}'
    text = (folder / f'sam{version}_hiera_{CONFIGS[name]}.yaml').read_text()
    model = yaml.safe_load(text)['model']
    encoder = model['image_encoder']
    hiera = {key: value.default for key, value in inspect.signature(Hiera).parameters.items()}
    hiera |= encoder['trunk']
    preset = PRESETS[name]
    for field in (
        'embed_dim',
        'num_heads',
        'stages',
        'global_att_blocks',
        'window_spec',
        'window_pos_embed_bkg_spatial_size',
    ):
        value = getattr(preset, field)
        assert (list(value) if isinstance(value, tuple) else value) == (
            list(hiera[field]) if isinstance(value, tuple) else hiera[field]
        )
    assert (encoder['scalp'], encoder['neck']['d_model']) == (1, preset.width)
    assert encoder['neck']['fpn_top_down_levels'] == [2, 3]
    assert encoder['neck']['fpn_interp_model'] == 'nearest'
    assert model['image_size'] == preset.image_size
    for key in (
        'directly_add_no_mem_embed',
        'use_high_res_features_in_sam',
        'iou_prediction_use_sigmoid',
        'pred_obj_scores',
        'pred_obj_scores_mlp',
        'use_multimask_token_for_obj_ptr',
    ):
        assert model[key] is True


@pytest.mark.parametrize('name', PRESETS)
def test_official_sizes_are_recognised_from_the_weights(name):
    model = unfilled(PRESETS[name])
    assert all(parameter.is_meta for parameter in model.parameters())
    assert recognise(model.state_dict()) == PRESETS[name]
    assert set(sam2_checkpoint(model)) == {'model'}


def test_other_sizes_need_a_description(official, checkpoint, tmp_path):
    with pytest.raises(ValueError, match=r'width 24 with \(1, 1, 3, 1\) blocks.*`architecture`'):
        recognise(official.state_dict())
    assert load_sam2(checkpoint).architecture == TINY


def test_a_checkpoint_of_sam_2_0_loads(official, checkpoint, tmp_path):
    newer = ('no_obj_embed_spatial', 'obj_ptr_tpos_proj.')
    state = {name: t for name, t in official.state_dict().items() if not name.startswith(newer)}
    path = tmp_path / 'older.pt'
    torch.save({'model': state, 'architecture': dataclasses.asdict(TINY)}, path)
    expected = load_sam2(checkpoint).state_dict()
    for name, tensor in load_sam2(path).state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)


@pytest.mark.parametrize('suffix', ['pt', 'safetensors'])
def test_what_is_saved_is_loaded(suffix, tmp_path):
    model, path = Sam2(TINY).half(), tmp_path / f'model.{suffix}'
    save_sam2(path, model)
    loaded = load_sam2(path)
    assert loaded.architecture == TINY and all(p.requires_grad for p in loaded.parameters())
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor.float(), rtol=0, atol=0)


def test_a_malicious_pickle_is_refused_and_never_executed(tmp_path, official):
    path, trace = tmp_path / 'model.pt', tmp_path / 'executed'
    torch.save({'model': official.state_dict(), 'more': Trap(trace)}, path)
    with pytest.raises(ValueError, match=r'model\.pt: refused'):
        load_sam2(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists(), 'the file is harmless'


@pytest.mark.parametrize('content', [b'', b'not a checkpoint', b'PK\x03\x04broken'])
@pytest.mark.parametrize('suffix', ['pt', 'safetensors'])
def test_broken_files_are_named(tmp_path, suffix, content):
    path = tmp_path / f'model.{suffix}'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf'model\.{suffix}'):
        load_sam2(path)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda file: file['model'].pop('no_mem_embed'), '1 missing: no_mem_embed'),
        (lambda file: file['model'].update(lora=torch.zeros(1)), '1 unknown: lora'),
        (
            lambda file: file['model'].update(no_mem_embed=torch.zeros(1, 1, 8)),
            r'1 of another shape: no_mem_embed \(1, 1, 8\), expected \(1, 1, 64\)',
        ),
        (lambda file: file['architecture'].update(depth=3), 'expected the keys decoder_heads'),
        (
            lambda file: file['architecture'].update(width='64'),
            'expected a whole number of 1 to 65536',
        ),
        (lambda file: file['architecture'].update(stages=(1, 1)), 'stages has 4 entries'),
        (lambda file: file['model'].update(no_mem_embed=3), 'expected .*state dict'),
        (lambda file: file.pop('model'), 'expected .*state dict'),
        (lambda file: file.update(model={}, architecture=None), 'expected SAM 2'),
    ],
)
def test_checkpoints_that_do_not_fit_are_refused(checkpoint, tmp_path, change, words):
    file = torch.load(checkpoint, weights_only=True)
    change(file)
    path = tmp_path / 'changed.pt'
    torch.save(file, path)
    with pytest.raises(ValueError, match=rf'changed\.pt: .*{words}'):
        load_sam2(path)


@pytest.mark.parametrize(
    ('sizes', 'words'),
    [
        (dict(global_att_blocks=(5,)), 'does not begin a stage'),
        (dict(global_att_blocks=(24,)), 'global blocks exist'),
        (dict(image_size=100), 'multiple of 32'),
        (dict(image_size=96, window_spec=(16, 4, 14, 7)), 'first window divides'),
        (dict(window_spec=(8, 5, 14, 7)), 'windows before pooling are even'),
        (dict(embed_dim=111), 'num_heads divides embed_dim'),
        (dict(width=40), 'multiple of 2 decoder_heads'),
        (dict(width=0), 'expected a whole number of 1 to 65536'),
        (dict(stages=(10**9, 1, 1, 1)), 'a whole number of 1 to 128'),
        (dict(stages=(100, 100, 100, 1)), 'stages are 256 blocks at most'),
        (dict(image_size=1 << 20), 'a whole number of 1 to 4096'),
        (dict(stages=3), 'expected up to 128 whole numbers'),
    ],
)
def test_architectures_that_cannot_be_built_are_refused(sizes, words):
    with pytest.raises(ValueError, match=words):
        Sam2Architecture(**sizes)


def test_an_architecture_survives_json():
    sizes = json.loads(json.dumps(dataclasses.asdict(TINY)))
    assert Sam2Architecture(**sizes) == TINY


def test_a_masker_needs_a_checkpoint():
    with pytest.raises(ValueError, match='checkpoint is empty'):
        Sam2Masker(Sam2Config(), Runtime(RuntimeConfig('cpu')))


def test_another_side_is_the_same_network_on_another_square(official, checkpoint, tmp_path):
    """As a checkpoint that says of itself that its square is half as large."""
    sizes = dataclasses.asdict(TINY) | {'image_size': TINY.image_size // 2}
    half = tmp_path / 'half.pt'
    torch.save({'model': official.state_dict(), 'architecture': sizes}, half)
    image, prompts = picture(), [Prompt(BOX), Prompt(OTHER_BOX)]
    smaller, expected = build(checkpoint, side=TINY.image_size // 2), build(half)
    found = smaller.segment(smaller.encode(image), prompts)
    wanted = expected.segment(expected.encode(image), prompts)
    assert all((one == other).all() for one, other in zip(found, wanted, strict=True))
    whole = build(checkpoint)
    assert any(
        (one != other).any()
        for one, other in zip(found, whole.segment(whole.encode(image), prompts), strict=True)
    )
    with pytest.raises(ValueError, match='image_size'):
        build(checkpoint, side=100)


def test_a_guess_is_asked_by_its_points(masker):
    image, hand = picture(), points((110, 70), (130, 70), (130, 90), (110, 90))
    guess = Prompt(BOX, points((50, 40)), exclude=(hand,), guessed=True)
    plain = Prompt(None, points((50, 40)), points((120, 80)), exclude=(hand,))
    first, second = masker.segment(masker.encode(image), [guess, plain])
    assert (first == second).all()
